"""``--audit-*``: modes, formats, batches, truncation, and what is refused in upstream's words."""

import asyncio

import orjson
import pytest
from attack_support import CLOCK, NOW, attacked_server, request
from auth_support import FixedClock
from click.testing import CliRunner

from pybernetes.api.resources import GVK
from pybernetes.apiserver.audit.legacy import legacy_line, legacy_lines
from pybernetes.apiserver.audit.log import BatchingLog, BlockingLog, RotatingFile, TokenBucket
from pybernetes.apiserver.audit.options import AuditOptions, auditor_of
from pybernetes.apiserver.command import apiserver
from pybernetes.concurrency import VirtualClock, virtual_event_loop
from pybernetes.wire import protobuf

POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: %s}]\n"
MAPS = "/api/v1/namespaces/default/configmaps"


# What kube-apiserver v1.36 says of the same flags.
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--audit-log-mode=x", 'invalid audit log mode x, allowed modes are "batch,blocking,blocking-strict"'),
        ("--audit-log-format=x", 'invalid audit log format x, allowed formats are "legacy,json"'),
        (
            "--audit-log-maxage=-1 --audit-log-maxsize=-1 --audit-log-maxbackup=-1",
            "[--audit-log-maxage -1 can't be a negative number, --audit-log-maxbackup -1 can't be a negative number, "
            "--audit-log-maxsize -1 can't be a negative number]",
        ),
        ("--audit-log-mode=batch --audit-log-batch-buffer-size=0", "invalid audit batch log buffer size 0, must be a positive number"),
        ("--audit-log-mode=batch --audit-log-batch-max-size=0", "invalid audit batch log max batch size 0, must be a positive number"),
        (
            "--audit-log-mode=batch --audit-log-batch-throttle-enable --audit-log-batch-throttle-qps=0",
            "invalid audit batch log throttle QPS 0, must be a positive number",
        ),
        (
            "--audit-log-mode=batch --audit-log-batch-throttle-enable=true --audit-log-batch-throttle-qps=1",
            "invalid audit batch log throttle burst 0, must be a positive number",
        ),
        ("--audit-log-truncate-max-event-size=0", "invalid audit truncate log max event size 0, must be a positive number"),
        (
            "--audit-log-truncate-max-batch-size=5",
            "invalid audit truncate log max batch size 5, must be greater than max event size (102400)",
        ),
        ("--audit-log-version=audit.k8s.io/v2", 'invalid group version, allowed versions are ["audit.k8s.io/v1"]'),
        ("--audit-policy-file=/nonexistent", "loading audit policy file: [Errno 2] No such file or directory: '/nonexistent'"),
    ],
)  # fmt: skip
def test_what_the_flags_cannot_say(tmp_path, flags, words):
    start = ["--data-dir", str(tmp_path), "--authorization-mode=RBAC", f"--audit-log-path={tmp_path}/a.log"]
    result = CliRunner().invoke(apiserver, [*start, *flags.split()])
    assert (result.exit_code, result.output) == (1, f"Error: {words}\n")


def test_a_log_that_cannot_be_written_ends_the_start(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY % "Metadata")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        auditor_of(
            AuditOptions(policy_file=str(tmp_path / "policy.yaml"), log_path=str(tmp_path / "file/a.log")), FixedClock()
        )


def test_defaults_are_upstreams(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY % "Metadata")
    made = auditor_of(
        AuditOptions(policy_file=str(tmp_path / "policy.yaml"), log_path=str(tmp_path / "a.log")), FixedClock()
    )
    assert isinstance(made.log, BlockingLog) and not made.strict
    assert auditor_of(AuditOptions(policy_file=str(tmp_path / "policy.yaml")), FixedClock()) is None
    assert auditor_of(AuditOptions(log_path="x"), FixedClock()) is None


# -- formats -----------------------------------------------------------------------------------------------------------

EVENT = {
    "level": "Metadata",
    "auditID": "id-1",
    "stage": "ResponseComplete",
    "requestURI": "/api/v1/namespaces/ns/pods",
    "verb": "list",
    "user": {"username": "alice", "groups": ["a", "b"]},
    "sourceIPs": ["10.0.0.9", "10.0.0.1"],
    "userAgent": "kubectl",
    "objectRef": {"resource": "pods", "namespace": "ns"},
    "responseStatus": {"code": 200},
    "requestReceivedTimestamp": "2026-11-27T22:00:00.120000Z",
}


def test_the_legacy_format():
    assert legacy_line(EVENT) == (
        '2026-11-27T22:00:00.12Z AUDIT: id="id-1" stage="ResponseComplete" ip="10.0.0.9" method="list" user="alice" '
        r'groups="\"a\",\"b\"" as="<self>" asgroups="<lookup>" user-agent="kubectl" namespace="ns" '
        'uri="/api/v1/namespaces/ns/pods" response="200"'
    )
    bare = {"auditID": "x", "impersonatedUser": {"username": "bob", "groups": ["g"]}, "requestReceivedTimestamp": "2026-11-27T22:00:00.000000Z"}  # fmt: skip
    assert legacy_line(bare) == (
        '2026-11-27T22:00:00Z AUDIT: id="x" stage="" ip="<unknown>" method="" user="<none>" groups="<none>" as="bob" '
        r'asgroups="\"g\"" user-agent="" namespace="<none>" uri="" response="<deferred>"'
    )
    two = orjson.dumps(EVENT) + b"\n" + orjson.dumps(bare) + b"\n"
    assert legacy_lines(two).count(b"\n") == 2


@pytest.mark.parametrize("mode", ["batch", "blocking"])
async def test_a_server_writes_the_legacy_format(tmp_path, mode):
    (tmp_path / "policy2.yaml").write_text(POLICY % "Metadata")
    audit = AuditOptions(
        policy_file=str(tmp_path / "policy2.yaml"), log_path=str(tmp_path / "audit.log"), log_format="legacy", mode=mode
    )
    async with attacked_server(tmp_path, audit=audit) as attacked:
        attacked.server.auditor.log.flush()
        # Three reads on one connection: the later ones go the short way.
        await attacked.raw(*[request("root", "GET", MAPS)] * 3)
        await attacked.ask("alice", "GET", MAPS)
        attacked.server.auditor.log.flush()
        lines = [line for line in (tmp_path / "audit.log").read_text().splitlines() if f'uri="{MAPS}"' in line]
        assert len(lines) == 4
        assert ' user="root" ' in lines[2] and lines[2].endswith(f'uri="{MAPS}" response="200"')
        assert lines[3].endswith('response="403"')


# -- bodies ------------------------------------------------------------------------------------------------------------


async def recorded(tmp_path, level, *requests, **options):
    (tmp_path / "policy2.yaml").write_text(POLICY % level)
    audit = AuditOptions(policy_file=str(tmp_path / "policy2.yaml"), log_path=str(tmp_path / "audit.log"), **options)
    async with attacked_server(tmp_path, audit=audit) as attacked:
        answers = await attacked.raw(*requests)
        lines = attacked.lines()[-len(requests) :]
        metrics = "\n".join(attacked.server.auditor.metrics())
    return [status for status, _ in answers], [orjson.loads(line) for line in lines], metrics


def sent(method, target, body, content_type, accept="application/json"):
    head = f"{method} {target} HTTP/1.1\r\nHost: api\r\nUser-Agent: test\r\nAuthorization: Bearer token-of-root\r\nAccept: {accept}\r\n"
    return f"{head}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_bodies_are_recorded_as_json_whatever_their_form(tmp_path):
    binary = protobuf.encode(GVK("", "v1", "ConfigMap"), {"metadata": {"name": "a"}, "data": {"k": "v"}})
    yaml = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n"
    apply = b"apiVersion: v1\nkind: ConfigMap\ndata: {k: w}\n"
    codes, events, _ = await recorded(
        tmp_path,
        "RequestResponse",
        sent("POST", MAPS, binary, protobuf.CONTENT_TYPE, protobuf.CONTENT_TYPE),
        sent("POST", MAPS, yaml, "application/yaml", "application/yaml"),
        sent("PATCH", f"{MAPS}/b?fieldManager=m&force=true", apply, "application/apply-patch+yaml"),
        sent("POST", MAPS, b"\xff\xfe", protobuf.CONTENT_TYPE),
    )
    assert codes == [201, 201, 200, 400]
    one, two, three, four = events
    expected = {"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"}, "metadata": {"name": "a"}}
    assert one["requestObject"] == expected
    assert (one["responseObject"]["data"], one["responseObject"]["kind"]) == ({"k": "v"}, "ConfigMap")
    assert one["objectRef"]["name"] == "a"
    assert two["requestObject"]["metadata"] == {"name": "b"} and two["responseObject"]["metadata"]["uid"]
    assert three["requestObject"]["data"] == {"k": "w"}
    assert three["responseObject"]["metadata"]["managedFields"]
    assert four["requestObject"] == {"kind": "Unknown", "contentLength": 2}


@pytest.mark.parametrize("rule", ["RequestResponse, omitManagedFields: true", "RequestResponse"])
async def test_managed_fields_can_be_left_out_of_binary_bodies_too(tmp_path, rule):
    binary = protobuf.encode(GVK("", "v1", "ConfigMap"), {"metadata": {"name": "a"}, "data": {"k": "v"}})
    read = sent("GET", MAPS, b"", "application/json", protobuf.CONTENT_TYPE)
    _, events, _ = await recorded(
        tmp_path, rule, sent("POST", MAPS, binary, protobuf.CONTENT_TYPE, protobuf.CONTENT_TYPE), read
    )
    metadata = [events[0]["responseObject"]["metadata"], *(i["metadata"] for i in events[1]["responseObject"]["items"])]
    assert len(metadata) >= 2
    assert any("managedFields" in m for m in metadata) is ("omit" not in rule)


async def test_large_events_lose_their_objects_and_too_large_ones_are_counted(tmp_path):
    big = orjson.dumps({"metadata": {"name": "big"}, "data": {"k": "x" * 5000}})
    small = orjson.dumps({"metadata": {"name": "small"}})
    codes, events, metrics = await recorded(
        tmp_path,
        "Request",
        sent("POST", MAPS, big, "application/json"),
        sent("POST", MAPS, small, "application/json"),
        truncate=True,
        truncate_max_event_size=4000,
    )
    assert codes == [201, 201]
    assert "requestObject" not in events[0]
    assert events[0]["annotations"]["audit.k8s.io/truncated"] == "true"
    assert events[0]["objectRef"]["name"] == "big"
    assert events[1]["requestObject"]["metadata"]["name"] == "small"
    assert "truncated" not in str(events[1]["annotations"])
    assert "apiserver_audit_error_total{" not in metrics
    _, _, metrics = await recorded(
        tmp_path,
        "Request",
        sent("POST", MAPS, small, "application/json"),
        truncate=True,
        truncate_max_event_size=100,
    )
    assert 'apiserver_audit_error_total{plugin="truncate"}' in metrics


async def test_nothing_is_truncated_unasked(tmp_path):
    big = orjson.dumps({"metadata": {"name": "big"}, "data": {"k": "x" * 200_000}})
    _, events, _ = await recorded(tmp_path, "Request", sent("POST", MAPS, big, "application/json"))
    assert len(events[0]["requestObject"]["data"]["k"]) == 200_000


# -- modes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["blocking", "blocking-strict"])
async def test_only_strict_refuses_what_cannot_be_recorded(tmp_path, mode):
    (tmp_path / "policy2.yaml").write_text(POLICY.replace("omitStages: [RequestReceived]\n", "") % "Metadata")
    audit = AuditOptions(policy_file=str(tmp_path / "policy2.yaml"), log_path=str(tmp_path / "audit.log"), mode=mode)
    async with attacked_server(tmp_path, audit=audit) as attacked:
        assert (await attacked.ask("root", "GET", MAPS))[0] == 200

        def full(line):
            raise OSError(28, "No space left on device")

        attacked.server.auditor.log._file.write_one = full
        # Twice on one connection: the second would go the short way.
        answers = await attacked.raw(*[request("root", "GET", MAPS)] * 2)
        if mode == "blocking":
            assert [status for status, _ in answers] == [200, 200]
        else:
            words = f'Internal Server Error: "{MAPS}": failed to store audit event\n'.encode()
            assert answers == [(500, words), (500, words)]
        assert 'apiserver_audit_error_total{plugin="log"}' in "\n".join(attacked.server.auditor.metrics())


def in_virtual_time(play):
    clock = VirtualClock(NOW)
    loop = virtual_event_loop(clock)
    try:
        return loop.run_until_complete(play(clock))
    finally:
        loop.close()


class Noting:
    """A file that notes when what is written."""

    def __init__(self, clock):
        self.clock, self.writes = clock, []

    def write(self, lines):
        self.writes.append((round(self.clock.now() - NOW, 3), len(lines)))

    def close(self):
        pass


def batches(moments, **options):
    """(when, how many) of the writes for lines that come at these moments."""

    async def play(clock):
        file = Noting(clock)
        made = BatchingLog(file, clock, **{k: v(clock) if callable(v) else v for k, v in options.items()})
        running = asyncio.get_running_loop().create_task(made.run())
        for moment in moments:
            await clock.sleep(NOW + moment - clock.now())
            made.add(b"x\n")
        await clock.sleep(100)
        running.cancel()
        await asyncio.wait([running])
        return [w for w in file.writes if w[1]]

    return in_virtual_time(play)


def test_a_batch_is_written_when_it_is_full_or_has_waited_for_long_enough():
    assert batches([0.0, 1.0, 2.0, 3.0], interval=10.0, max_size=3) == [(2.0, 3), (13.0, 1)]
    assert batches([0.0] * 7, interval=10.0, max_size=3) == [(0.0, 3), (0.0, 3), (10.0, 1)]
    assert batches([0.0, 0.05, 0.2], interval=0.1) == [(0.1, 2), (0.3, 1)]


def test_batches_can_be_limited_by_the_second():
    slow = {"throttle": lambda clock: TokenBucket(0.5, 2, clock)}
    assert batches([0.0] * 8, interval=10.0, max_size=2, **slow) == [(0.0, 2), (0.0, 2), (2.0, 2), (4.0, 2)]


def test_what_finds_no_place_is_counted(tmp_path):
    made = BatchingLog(RotatingFile(str(tmp_path / "a.log"), CLOCK), CLOCK, max_pending=2)
    for _ in range(5):
        made.add(b"x\n")
    assert made.dropped == 3


def test_one_line_at_a_time_rotates_too(tmp_path):
    file = RotatingFile(str(tmp_path / "a.log"), FixedClock(), max_bytes=10)
    log = BlockingLog(file)
    for number in range(3):
        log.add(b"%06d\n" % number)
        file._clock.time += 1
    assert (tmp_path / "a.log").read_bytes() == b"000002\n"
    assert len(file.backups()) == 2
