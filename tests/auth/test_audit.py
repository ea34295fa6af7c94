"""Audit: what a policy chooses, what an event says, where it goes."""

import asyncio
import gzip
import os

import orjson
import pytest
import yaml
from auth_support import NOW, FixedClock, user

from pybernetes.apiserver.audit.log import BatchingLog, BlockingLog, RotatingFile
from pybernetes.apiserver.audit.policy import PolicyError, parse
from pybernetes.apiserver.audit.records import Auditor
from pybernetes.apiserver.request import Request, RequestInfo, Response
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import Credentials

ALICE = user("alice", "dev")


def policy(text):
    return parse({"kind": "Policy", "apiVersion": "audit.k8s.io/v1", **yaml.safe_load(text)})


def info(verb="get", resource="pods", path="/x", **more):
    if not resource:
        return RequestInfo(False, verb, path)
    return RequestInfo(
        True, verb, path, more.pop("group", ""), "v1", resource, **({"namespace": "ns", "name": "p"} | more)
    )


def level(p, who, i):
    return p.decide(who, i).level


def test_the_first_rule_that_matches_decides():
    p = policy("""
rules:
- {level: None, users: [system:kube-proxy], verbs: [watch]}
- {level: None, userGroups: [system:nodes]}
- {level: Request, namespaces: [kube-system], resources: [{group: "", resources: [configmaps]}]}
- {level: RequestResponse, resources: [{group: "", resources: [pods/*, "*/scale"]}]}
- {level: None, nonResourceURLs: ["/healthz*", "/version"]}
- {level: Request, resources: [{group: "apps"}]}
- {level: None, resources: [{group: "", resources: [secrets], resourceNames: [known]}]}
- {level: Metadata}
""")
    assert level(p, user("system:kube-proxy"), info("watch")) == "None"
    assert level(p, user("system:kube-proxy"), info("get", resource="services")) == "Metadata"
    assert level(p, user("x", "system:nodes"), info()) == "None"
    assert level(p, ALICE, info(resource="configmaps", namespace="kube-system")) == "Request"
    assert level(p, ALICE, info(resource="configmaps")) == "Metadata"
    assert level(p, ALICE, info(subresource="exec")) == "RequestResponse"
    assert level(p, ALICE, info(resource="deployments", group="apps", subresource="scale")) == "Request"
    assert level(p, ALICE, info(resource="replicationcontrollers", subresource="scale")) == "RequestResponse"
    assert level(p, ALICE, info(resource="", path="/healthz/ping")) == "None"
    assert level(p, ALICE, info(resource="", path="/versions")) == "Metadata"
    assert level(p, ALICE, info(resource="secrets", name="known")) == "None"
    assert level(p, ALICE, info(resource="secrets", name="other")) == "Metadata"


def test_nothing_matches_nothing_is_recorded():
    p = policy("omitStages: [RequestReceived]\nrules: [{level: Metadata, users: [bob], omitStages: [ResponseStarted]}]")
    assert level(p, ALICE, info()) == "None"
    assert p.decide(user("bob"), info()).omit_stages == {"RequestReceived", "ResponseStarted"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: []", "loaded illegal policy with 0 rules"),
        ("rules: [{}]", r"rules\[0\].level: Required value"),
        (
            "rules: [{level: Most}]",
            'Unsupported value: "Most": supported values: "None", "Metadata", "Request", "RequestResponse"',
        ),
        (
            "rules: [{level: None, omitStages: [X]}]",
            "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
        ),
        ("rules: [{level: None, nonResourceURLs: [x]}]", "must begin with a '/' character"),
        ("rules: [{level: None, nonResourceURLs: ['/a*b']}]", "must be the final character"),
        ("rules: [{level: None, nonResourceURLs: ['/a'], namespaces: [x]}]", "cannot apply to both"),
        ("rules: [{level: None, resources: [{resourceNames: [x]}]}]", "requires at least one resource"),
        (
            "rules: [{level: None, users: x}]",
            "failed decoding: json: cannot unmarshal string into Go struct field PolicyRule.rules.users of type",
        ),
    ],
)
def test_policies_that_make_no_sense(text, message):
    with pytest.raises(PolicyError, match=message):
        policy(text)
    with pytest.raises(PolicyError):
        parse([])


class Memory:
    def __init__(self):
        self.lines = []

    def add(self, line):
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        self.lines.append(orjson.loads(line))

    def flush(self):
        pass


def auditor(rule="{level: Metadata}", more=""):
    return Auditor(policy(f"{more}\nrules: [{rule}]"), Memory(), FixedClock(NOW + 0.25))


def request(body=b"", i=None, **headers):
    h = {"user-agent": "kubectl/1.36", **{k.replace("_", "-"): v for k, v in headers.items()}}
    made = Request(
        "GET",
        "/api/v1/namespaces/ns/pods/p",
        "pretty=1",
        h,
        body,
        Credentials(h, remote_address="10.0.0.9"),
        i or info(),
        ALICE,
    )
    made.audit["id"] = "id-1"
    return made


def test_a_whole_event():
    a, r = auditor(), request()
    a.begin(r, NOW)
    r.audit["annotations"] = {"authorization.k8s.io/decision": "allow"}
    a.finish(r, Response(200, b"{}"))
    received, complete = a.log.lines
    assert received["stage"] == "RequestReceived" and "responseStatus" not in received
    assert complete == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "id-1",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/ns/pods/p?pretty=1",
        "verb": "get",
        "user": {"username": "alice", "groups": ["dev"]},
        "sourceIPs": ["10.0.0.9"],
        "userAgent": "kubectl/1.36",
        "objectRef": {"resource": "pods", "namespace": "ns", "name": "p", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": "2027-01-15T08:00:00.000000Z",
        "stageTimestamp": "2027-01-15T08:00:00.250000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }


def test_levels():
    body = b'{"metadata":{"name":"p","uid":"u","managedFields":[1]},"spec":1}'
    answer = b'{"metadata":{"managedFields":[2]},"items":[{"metadata":{"managedFields":[3]}}]}'
    a, r = auditor("{level: Request, omitStages: [RequestReceived]}"), request(body)
    a.begin(r, NOW)
    a.finish(r, Response(201, answer))
    (event,) = a.log.lines
    assert event["requestObject"]["metadata"]["managedFields"] == [1] and "responseObject" not in event
    assert event["objectRef"]["uid"] == "u"
    a, r = auditor("{level: RequestResponse, omitManagedFields: true, omitStages: [RequestReceived]}"), request(body)
    a.begin(r, NOW)
    a.finish(r, Response(201, answer))
    (event,) = a.log.lines
    assert "managedFields" not in event["requestObject"]["metadata"]
    assert event["responseObject"] == {"metadata": {}, "items": [{"metadata": {}}]}
    a, r = auditor("{level: None}"), request(body)
    a.begin(r, NOW)
    a.finish(r, Response(201, answer))
    assert a.log.lines == []


def test_refusals_and_what_is_no_json():
    a, r = auditor("{level: Request, omitStages: [RequestReceived]}"), request(b"k8s\0\1")
    a.begin(r, NOW)
    status = {"kind": "Status", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403}
    a.finish(r, Response(403, orjson.dumps(status)))
    (event,) = a.log.lines
    assert event["responseStatus"] == {
        "metadata": {},
        "status": "Failure",
        "message": "no",
        "reason": "Forbidden",
        "code": 403,
    }
    assert event["requestObject"] == {"kind": "Unknown", "contentLength": 5}


def test_failed_authentication():
    a, r = auditor(more="omitStages: [RequestReceived]"), request(authorization="Bearer x")
    status = {"kind": "Status", "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401}
    a.failed(r, Response(401, orjson.dumps(status)), NOW)
    (event,) = a.log.lines
    assert event["stage"] == "ResponseStarted" and event["user"] == {}
    assert (event["responseStatus"]["message"], event["responseStatus"]["code"]) == ("Unauthorized", 401)


def test_what_may_run_long_has_two_stages_even_where_it_is_refused():
    for i in (info("watch", name=""), info("create", subresource="exec"), info("get", subresource="log")):
        a, r = auditor(more="omitStages: [RequestReceived]"), request(i=i)
        a.begin(r, NOW)
        a.finish(r, Response(403, b"{}"))
        assert [e["stage"] for e in a.log.lines] == ["ResponseStarted", "ResponseComplete"]


def test_a_path_is_recorded_as_it_was_spelled():
    a, r = auditor(more="omitStages: [RequestReceived]"), request()
    r.raw_path = "/api/v1/namespaces%2fns/pods/p"
    a.begin(r, NOW)
    a.finish(r, Response(404, b"{}"))
    assert a.log.lines[0]["requestURI"] == "/api/v1/namespaces%2fns/pods/p?pretty=1"


def test_impersonation_and_slowness():
    a, r = auditor(more="omitStages: [RequestReceived]"), request(x_forwarded_for="1.1.1.1, 2.2.2.2")
    a.begin(r, NOW - 2)
    a.impersonated(r, user("bob"), "impersonate:user-info")
    a.finish(r, Response(200, b""))
    (event,) = a.log.lines
    assert event["user"]["username"] == "alice" and event["impersonatedUser"] == {"username": "bob"}
    assert event["authenticationMetadata"] == {"impersonationConstraint": "impersonate:user-info"}
    assert event["sourceIPs"] == ["1.1.1.1", "2.2.2.2", "10.0.0.9"]
    assert event["annotations"] == {"apiserver.latency.k8s.io/total": "2.250000s"}


class FakeStream:
    def start(self, sink):
        self.sink = sink

    def resume(self):
        pass

    def stop(self):
        pass


class FakeSink:
    def __init__(self):
        self.ended, self.written = False, []

    def write(self, payload):
        self.written.append(payload)
        return True

    def end(self):
        self.ended = True


def stages(a):
    return [e["stage"] for e in a.log.lines]


def test_watches_are_recorded_twice():
    a, r, inner = auditor(), request(i=info("watch")), FakeStream()
    a.begin(r, NOW)
    response = Response(200, stream=inner)
    a.finish(r, response)
    assert stages(a) == ["RequestReceived", "ResponseStarted"]
    sink = FakeSink()
    response.stream.start(sink)
    inner.sink.write("x")
    inner.sink.end()
    response.stream.stop()
    assert sink.written == ["x"] and sink.ended
    assert stages(a) == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_upgrades_and_chunks_are_recorded_at_their_end():
    async def upgrade(connection):
        assert stages(a)[-1] == "ResponseStarted"

    a, r = auditor(), request()
    a.begin(r, NOW)
    response = Response(101, upgrade=upgrade)
    a.finish(r, response)
    await response.upgrade(None)
    assert stages(a)[-1] == "ResponseComplete"

    async def chunks():
        yield b"1"
        yield b"2"

    a, r = auditor(), request()
    a.begin(r, NOW)
    response = Response(200, chunks())
    a.finish(r, response)
    async for _ in response.body:
        break
    await response.body.aclose()
    assert stages(a)[-1] == "ResponseComplete"


# -- the file ----------------------------------------------------------------------------------------------------------


def test_rotation(tmp_path):
    clock = FixedClock()
    file = RotatingFile(str(tmp_path / "audit.log"), clock, max_bytes=10, max_backups=2)
    for i in range(6):
        clock.time += 1
        file.write([b"line%d\n" % i] * 2)
    assert (tmp_path / "audit.log").read_bytes() == b"line5\n"
    assert len(file.backups()) == 2
    assert file.backups()[0].name == "audit-2027-01-15T08-00-06.000.log"
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


def test_rotation_with_compression_and_age(tmp_path):
    clock = FixedClock()
    file = RotatingFile(str(tmp_path / "a.log"), clock, max_bytes=4, compress=True)
    file.write([b"one\n", b"two\n"])
    (backup,) = file.backups()
    assert backup.name.endswith(".log.gz") and gzip.decompress(backup.read_bytes()) == b"one\n"
    clock.time = backup.stat().st_mtime + 1
    file._max_age = 60
    os.utime(backup, (clock.time - 61, clock.time - 61))
    file.write([b"three\n"])
    (newer,) = file.backups()
    assert newer != backup and gzip.decompress(newer.read_bytes()) == b"two\n"


async def test_batches_are_written_soon_and_at_the_end(tmp_path):
    written, loop = asyncio.Event(), asyncio.get_running_loop()

    class Telling(RotatingFile):
        def write(self, lines):
            super().write(lines)
            loop.call_soon_threadsafe(written.set)

    log = BatchingLog(Telling(str(tmp_path / "a.log"), RealClock()), RealClock(), interval=0.0, max_pending=2)
    log.add(b"1\n")
    log.add(b"2\n")
    log.add(b"3\n")
    assert log.dropped == 1
    task = asyncio.ensure_future(log.run())
    await written.wait()
    log.add(b"4\n")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (tmp_path / "a.log").read_bytes() == b"1\n2\n4\n"


def test_blocking_writes_at_once(tmp_path):
    log = BlockingLog(RotatingFile(str(tmp_path / "a.log"), FixedClock()))
    log.add(b"1\n")
    assert (tmp_path / "a.log").read_bytes() == b"1\n"
