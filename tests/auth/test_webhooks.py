"""Admission webhooks over real TLS: what they are asked, what they change, and how their failures end."""

import asyncio
import base64
import contextlib
import copy
import random
import ssl

import orjson
import pytest
from auth_support import FakeReader, ListAuthorizer, account, obj, user

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import ENDPOINT_SLICES, GVK, GVR, NAMESPACES, PODS, SERVICES
from pybernetes.apiserver.admission import build_chain
from pybernetes.apiserver.admission.matching import Equivalent, rule_matches
from pybernetes.apiserver.admission.webhooks.plugins import MUTATING, VALIDATING
from pybernetes.apiserver.services import ServiceResolver, Unresolvable
from pybernetes.client import signing
from pybernetes.client.signing import Subject
from pybernetes.concurrency import RealClock
from pybernetes.hooks.admission import CREATE, UPDATE, AdmissionAttributes, AdmissionContext

HOST = "hook.hooks.svc"
POD = GVK("", "v1", "Pod")


def certificates(names=(HOST, "localhost", "127.0.0.1")):
    now = RealClock().now()
    ca = signing.new_authority("hooks", now=now, lifetime=3600)
    certificate, key = signing.issue(ca, Subject("hook", (), names), signing.SERVER_USAGES, now=now, lifetime=3600)
    return ca, certificate + key


class HookServer:
    """A small HTTPS server whose paths are handlers: request -> response, or bytes for a raw HTTP answer."""

    def __init__(self, tmp_path, names=(HOST, "localhost", "127.0.0.1")):
        self.ca, pair = certificates(names)
        file = tmp_path / "hook.pem"
        file.write_bytes(pair)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(file)
        self.handlers, self.asked, self.connections = {}, [], 0
        self.drop_next = False

    @contextlib.asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(
                    next(line for line in head.split("\r\n") if line.lower().startswith("content-length")).split(":")[1]
                )
                body = orjson.loads(await reader.readexactly(length))
                target, host = head.split(" ")[1], head.split("Host: ")[1].split("\r\n")[0]
                path = target.partition("?")[0]
                self.asked.append((path, target, host, body))
                answer = self.handlers[path](body["request"])
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if not isinstance(answer, bytes):
                    response = {"uid": body["request"]["uid"], **answer}
                    raw = orjson.dumps(
                        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}
                    )
                    answer = (
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw)
                        + raw
                    )
                writer.write(answer)
                await writer.drain()
                if self.drop_next:
                    self.drop_next = False
                    break
        writer.close()

    def config(self, path="/", **more):
        return {
            "url": f"https://localhost:{self.port}{path}",
            "caBundle": base64.b64encode(self.ca.pem).decode(),
            **more,
        }


RULES = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]


def hook(name, config, **fields):
    return {
        "name": name,
        "clientConfig": config,
        "rules": RULES,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **fields,
    }


class World:
    def __init__(self, *, mutating=(), validating=(), settings=None, clock=None):
        self.reader = FakeReader((NAMESPACES, obj("ns", meta={"labels": {"team": "a"}})), account())
        context = AdmissionContext(self.reader, None, ListAuthorizer(), clock or RealClock(), settings or {})
        self.chain = build_chain(context, entry_points=False)
        if mutating:
            self.reader.put(MUTATING, obj("m", webhooks=list(mutating)))
        if validating:
            self.reader.put(VALIDATING, obj("v", webhooks=list(validating)))

    async def write(self, new=None, old=None, gvr=PODS, gvk=POD, subresource="", dry_run=False, only=("Webhook",)):
        new = copy.deepcopy(new if new is not None else pod())
        operation = UPDATE if old else CREATE
        a = AdmissionAttributes(
            operation, gvr, gvk, subresource, "ns", "p", new, old, user(), {"kind": "CreateOptions"}, dry_run
        )
        plugins = [p for p in self.chain if p.handles(operation, gvr, subresource) and p.name.endswith(only)]
        for plugin in plugins:
            await plugin.admit(a)
        for plugin in plugins:
            await plugin.validate(a)
        return a

    async def refused(self, *args, **options):
        with pytest.raises(StatusError) as caught:
            await self.write(*args, **options)
        return caught.value


def pod(**labels):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "ns", "labels": labels},
        "spec": {"containers": []},
    }


def patch(*operations):
    encoded = base64.b64encode(orjson.dumps(list(operations))).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def label(key, value="x"):
    return {"op": "add", "path": f"/metadata/labels/{key}", "value": value}


@pytest.fixture
async def server(tmp_path):
    async with HookServer(tmp_path).running() as running:
        yield running


# -- matching ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({}, True),
        ({"operations": ["UPDATE"]}, False),
        ({"apiGroups": ["apps"]}, False),
        ({"apiVersions": ["v2"]}, False),
        ({"resources": ["pods"]}, True),
        ({"resources": ["pods/*"]}, True),
        ({"resources": ["pods/status"]}, False),
        ({"resources": ["*"]}, True),
        ({"scope": "Cluster"}, False),
        ({"scope": "Namespaced"}, True),
    ],
)
def test_rules(rule, matches):
    assert rule_matches(RULES[0] | rule, CREATE, PODS, "", "ns") is matches


def test_rules_for_subresources_and_namespaces():
    assert not rule_matches(RULES[0] | {"resources": ["pods"]}, CREATE, PODS, "exec", "ns")
    assert rule_matches(RULES[0] | {"resources": ["*/exec"]}, CREATE, PODS, "exec", "ns")
    assert rule_matches(RULES[0] | {"scope": "Cluster"}, CREATE, NAMESPACES, "", "ns")


async def test_selectors(server):
    server.handlers["/"] = lambda r: {"allowed": False}
    by_namespace = hook("n.x", server.config(), namespaceSelector={"matchLabels": {"team": "b"}})
    await World(validating=[by_namespace]).write()
    by_object = hook("o.x", server.config(), objectSelector={"matchLabels": {"a": "b"}})
    world = World(validating=[by_object])
    await world.write()
    await world.refused(pod(a="b"))
    await world.refused(pod(), old=pod(a="b"))
    assert not (await World(validating=[hook("n.x", server.config(), rules=[])]).write()).warnings


async def test_configurations_are_never_asked_about(server):
    server.handlers["/"] = lambda r: {"allowed": False}
    world = World(validating=[hook("a.b", server.config())])
    await world.write(
        obj("v"), gvr=VALIDATING, gvk=GVK("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration")
    )


# -- what is asked -----------------------------------------------------------------------------------------------------


async def test_the_review(server):
    server.handlers["/path"] = lambda r: {"allowed": True, "warnings": ["mind"], "auditAnnotations": {"k": "v"}}
    world = World(validating=[hook("a.b", server.config("/path"), timeoutSeconds=3)])
    a = await world.write(old=pod(), dry_run=True)
    assert a.warnings == ["mind"] and a.audit_annotations == {"a.b/k": "v"}
    ((_, target, _, review),) = server.asked
    assert target == "/path?timeout=3s"
    request = review["request"]
    request.pop("uid")
    assert request == {
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "name": "p",
        "namespace": "ns",
        "operation": "UPDATE",
        "userInfo": {"username": "alice"},
        "object": pod(),
        "oldObject": pod(),
        "dryRun": True,
        "options": {"kind": "CreateOptions"},
    }


async def test_a_service_is_reached_by_its_endpoints(server):
    server.handlers["/x"] = lambda r: {"allowed": True}
    service = {"namespace": "hooks", "name": "hook", "port": 8443, "path": "/x"}
    config = {"service": service, "caBundle": server.config()["caBundle"]}
    world = World(validating=[hook("a.b", config)])
    failure = await world.refused()
    assert failure.message == (
        'Internal error occurred: failed calling webhook "a.b": failed to call webhook: Post '
        '"https://hook.hooks.svc:8443/x?timeout=10s": service "hook" not found'
    )
    world.reader.put(SERVICES, obj("hook", "hooks", spec={"ports": [{"name": "https", "port": 8443}]}))
    assert "no endpoints available for service" in (await world.refused()).message
    slices = {
        "ports": [{"name": "https", "port": server.port}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
    }
    world.reader.put(
        ENDPOINT_SLICES, obj("s", "hooks", meta={"labels": {"kubernetes.io/service-name": "hook"}}, **slices)
    )
    await world.write()
    assert server.asked[0][2] == "hook.hooks.svc:8443"


def test_resolving_services():
    reader = FakeReader(
        (SERVICES, obj("s", "n", spec={"ports": [{"port": 1}]})),
        (SERVICES, obj("e", "n", spec={"type": "ExternalName", "externalName": "x.y"})),
    )
    resolver = ServiceResolver(reader, random.Random(1))
    assert resolver.resolve("n", "e", 9) == ("x.y", 9)
    with pytest.raises(Unresolvable, match='no service port 2 found for service "s"'):
        resolver.resolve("n", "s", 2)
    labels = {"labels": {"kubernetes.io/service-name": "s"}}
    endpoints = [{"addresses": ["1.1.1.1"], "conditions": {"ready": False}}, {"addresses": ["2.2.2.2"]}]
    reader.put(ENDPOINT_SLICES, obj("a", "n", meta=labels, ports=[{"name": "", "port": 80}], endpoints=endpoints))
    assert resolver.resolve("n", "s", 1) == ("2.2.2.2", 80)
    reader.delete(ENDPOINT_SLICES, "n", "a")
    with pytest.raises(Unresolvable):
        resolver.resolve("n", "s", 1)


async def test_connections_are_reused_and_a_dropped_one_is_made_anew(server):
    server.handlers["/"] = lambda r: {"allowed": True}
    world = World(validating=[hook("a.b", server.config())])
    for _ in range(3):
        await world.write()
    assert server.connections == 1
    server.drop_next = True
    await world.write()
    await world.write()
    assert server.connections == 2


# -- refusing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        (None, 400, "", 'admission webhook "a.b" denied the request without explanation'),
        ({"message": "no"}, 400, "", 'admission webhook "a.b" denied the request: no'),
        ({"reason": "Because", "code": 403}, 403, "Because", 'admission webhook "a.b" denied the request: Because'),
        ({"message": "no", "reason": "R", "code": 200}, 400, "R", 'admission webhook "a.b" denied the request: no'),
    ],
)
async def test_refusals(server, status, code, reason, message):
    server.handlers["/"] = lambda r: {"allowed": False, **({"status": status} if status else {})}
    for world in (World(validating=[hook("a.b", server.config())]), World(mutating=[hook("a.b", server.config())])):
        failure = await world.refused()
        assert (failure.code, failure.reason, failure.message) == (code, reason, message)


async def test_validating_webhooks_are_asked_at_once(server):
    both = asyncio.Barrier(2)

    async def together(request):
        await both.wait()
        return {"allowed": True}

    server.handlers["/"] = together
    await World(validating=[hook("a.b", server.config()), hook("c.d", server.config())]).write()


async def test_dry_run_needs_webhooks_without_side_effects(server):
    server.handlers["/"] = lambda r: {"allowed": True}
    world = World(validating=[hook("a.b", server.config(), sideEffects="Some")])
    await world.write()
    failure = await world.refused(dry_run=True)
    assert (failure.code, failure.message) == (400, 'admission webhook "a.b" does not support dry run')
    await World(validating=[hook("a.b", server.config(), sideEffects="NoneOnDryRun")]).write(dry_run=True)


# -- changing ----------------------------------------------------------------------------------------------------------


async def test_patches_one_after_the_other(server):
    server.handlers["/1"] = lambda r: patch(label("one"))
    server.handlers["/2"] = lambda r: patch(label("two", r["object"]["metadata"]["labels"]["one"] + "!"))
    world = World(mutating=[hook("a.b", server.config("/1")), hook("c.d", server.config("/2"))])
    a = await world.write()
    assert a.object["metadata"]["labels"] == {"one": "x", "two": "x!"}
    notes = a.audit_annotations
    assert orjson.loads(notes["mutation.webhook.admission.k8s.io/round_0_index_0"]) == {
        "configuration": "m",
        "webhook": "a.b",
        "mutated": True,
    }
    assert orjson.loads(notes["patch.webhook.admission.k8s.io/round_0_index_1"])["patch"] == [label("two", "x!")]


async def test_made_objects_are_completed(server):
    def complete(gvr, kind, made):
        made["spec"]["dnsPolicy"] = "ClusterFirst"
        return made

    server.handlers["/"] = lambda r: patch(label("a"))
    a = await World(mutating=[hook("a.b", server.config())], settings={"complete": complete}).write()
    assert a.object["spec"]["dnsPolicy"] == "ClusterFirst"


async def test_reinvocation(server):
    calls = []

    def first(request):
        calls.append("first")
        labels = request["object"]["metadata"]["labels"]
        return patch(label("seen", ",".join(sorted(labels)))) if "two" in labels else {"allowed": True}

    def second(request):
        calls.append("second")
        return patch(label("two"))

    server.handlers |= {"/1": first, "/2": second}
    once = [hook("a.b", server.config("/1")), hook("c.d", server.config("/2"))]
    await World(mutating=once).write()
    assert calls == ["first", "second"]
    calls.clear()
    again = [once[0] | {"reinvocationPolicy": "IfNeeded"}, once[1]]
    a = await World(mutating=again).write()
    assert calls == ["first", "second", "first"]
    assert a.object["metadata"]["labels"] == {"two": "x", "seen": "two"}
    calls.clear()
    own = [once[0], once[1] | {"reinvocationPolicy": "IfNeeded"}]
    await World(mutating=own).write(only="")
    assert calls == ["first", "second"], "nobody changed anything after it"


async def test_builtin_plugins_look_again_at_what_a_webhook_made(server):
    server.handlers["/"] = lambda r: patch(
        {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "i"}}
    )
    a = await World(mutating=[hook("a.b", server.config())]).write(only=("Webhook", "ServiceAccount"))
    (container,) = a.object["spec"]["containers"]
    assert container["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"


async def test_equivalent_versions(server):
    other = GVR("example.com", "v2", "pods")

    def convert(o):
        return {**o, "apiVersion": "example.com/v2"}

    def back(o):
        return {**o, "apiVersion": "v1"}

    table = {
        PODS: [Equivalent(other, GVK("example.com", "v2", "Pod"), convert)],
        other: [Equivalent(PODS, GVK("", "v1", "Pod"), back)],
    }
    settings = {"equivalents": lambda gvr, sub: table[gvr]}
    server.handlers["/"] = lambda r: patch(label("as", r["kind"]["group"] + "-" + r["requestKind"]["version"]))
    rules = [RULES[0] | {"apiGroups": ["example.com"]}]
    a = await World(mutating=[hook("a.b", server.config(), rules=rules)], settings=settings).write()
    assert a.object["metadata"]["labels"] == {"as": "example.com-v1"} and a.object["apiVersion"] == "v1"
    a = await World(
        mutating=[hook("a.b", server.config(), rules=rules, matchPolicy="Exact")], settings=settings
    ).write()
    assert a.object["metadata"]["labels"] == {}


# -- failing -----------------------------------------------------------------------------------------------------------


def raw(status, body):
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


LIES = {
    "uid": (lambda r: {"uid": "other", "allowed": True}, "received invalid webhook response: expected response.uid="),
    "absent": (lambda r: raw(b"200 OK", b'{"kind":"AdmissionReview"}'), "webhook response was absent"),
    "kind": (lambda r: raw(b"200 OK", orjson.dumps({"response": {"uid": r["uid"]}})), "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview"),
    "garbage": (lambda r: raw(b"200 OK", b"<html>"), "json parse error"),
    "list": (lambda r: raw(b"200 OK", b"[]"), "webhook response was not an object"),
    "error": (lambda r: raw(b"500 Oops", b"broken"), 'an error on the server ("broken") has prevented the request from succeeding'),
    "missing": (lambda r: raw(b"404 Not Found", b""), "the server could not find the requested resource"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_answers_that_are_none(server, lie):
    server.handlers["/"], words = LIES[lie]
    failure = await World(validating=[hook("a.b", server.config())]).refused()
    assert (failure.code, failure.reason) == (500, "InternalError")
    assert (
        failure.message.startswith('Internal error occurred: failed calling webhook "a.b": ')
        and words in failure.message
    )
    a = await World(validating=[hook("a.b", server.config(), failurePolicy="Ignore")]).write()
    assert a.audit_annotations["failed-open.validating.webhook.admission.k8s.io/round_0_index_0"] == "a.b"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"allowed": True, "patch": "e30="}, "webhook returned response.patch but not response.patchType"),
        ({"allowed": True, "patchType": "JSONPatch"}, "webhook returned response.patchType but not response.patch"),
        ({"allowed": True, "patch": "W10=", "patchType": "Merge"}, 'unsupported patch type "Merge"'),
        ({"allowed": True, "patch": "!!", "patchType": "JSONPatch"}, "received undecodable patch in webhook response"),
        (patch({"op": "remove", "path": "/none"}), ""),
        (patch({"op": "replace", "path": "/kind", "value": "Node"}), "attempted to change the kind"),
        (patch({"op": "replace", "path": "", "value": 5}), ""),
    ],
)
async def test_patches_that_are_none(server, answer, words):
    server.handlers["/"] = lambda r: answer
    failure = await World(mutating=[hook("a.b", server.config())]).refused()
    assert failure.code == 500 and words in failure.message


async def test_validating_webhooks_may_not_patch(server):
    server.handlers["/"] = lambda r: patch(label("a"))
    assert (
        "validating webhook may not return response.patch"
        in (await World(validating=[hook("a.b", server.config())]).refused()).message
    )


async def test_who_cannot_be_reached(server):
    config = server.config() | {"url": "https://127.0.0.1:1/x"}
    failure = await World(validating=[hook("a.b", config)]).refused()
    assert failure.message == (
        'Internal error occurred: failed calling webhook "a.b": failed to call webhook: Post "https://127.0.0.1:1/x?timeout=10s": '
        "dial tcp 127.0.0.1:1: connect: connection refused"
    )
    stranger = base64.b64encode(certificates()[0].pem).decode()
    failure = await World(validating=[hook("a.b", server.config(caBundle=stranger))]).refused()
    assert "tls: failed to verify certificate: x509: certificate signed by unknown authority" in failure.message
    failure = await World(validating=[hook("a.b", server.config(caBundle="!!"))]).refused()
    assert "unable to load root certificates" in failure.message


async def test_another_name_in_the_certificate(tmp_path):
    async with HookServer(tmp_path, names=("other",)).running() as server:
        failure = await World(validating=[hook("a.b", server.config())]).refused()
        assert "x509: certificate is not valid for localhost" in failure.message


async def test_hanging_webhooks(server):
    class Impatient(RealClock):
        def timeout(self, seconds):
            assert seconds == 2
            return super().timeout(0.01)

    server.handlers["/"] = lambda r: asyncio.Event().wait()
    failure = await World(validating=[hook("a.b", server.config(), timeoutSeconds=2)], clock=Impatient()).refused()
    assert failure.message.endswith('?timeout=2s": context deadline exceeded')


async def test_old_reviews(server):
    server.handlers["/"] = lambda r: raw(b"200 OK", orjson.dumps({"response": {"allowed": True}}))
    await World(validating=[hook("a.b", server.config(), admissionReviewVersions=["v9", "v1beta1"])]).write()
    assert server.asked[0][3]["apiVersion"] == "admission.k8s.io/v1beta1"
    failure = await World(validating=[hook("a.b", server.config(), admissionReviewVersions=["v9"])]).refused()
    assert "webhook does not accept known AdmissionReview versions (v1, v1beta1)" in failure.message


async def test_a_changed_configuration_counts_at_once(server):
    server.handlers["/"] = lambda r: {"allowed": False}
    world = World(validating=[hook("a.b", server.config())])
    await world.refused()
    world.reader.delete(VALIDATING, "", "v")
    await world.write()


async def test_what_is_measured(server):
    from pybernetes.apiserver.admission.metrics import AdmissionMetrics

    metrics = AdmissionMetrics()
    server.handlers = {
        "/yes": lambda r: {"allowed": True},
        "/no": lambda r: {"allowed": False, "status": {"code": 422}},
        "/garbage": lambda r: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz",
    }
    hooks = [
        hook("yes.a.b", server.config("/yes")),
        hook("open.a.b", server.config("/garbage"), failurePolicy="Ignore"),
    ]
    await World(validating=hooks, settings={"metrics": metrics}).write()
    await World(validating=[hook("no.a.b", server.config("/no"))], settings={"metrics": metrics}).refused()
    await World(mutating=[hook("bad.a.b", server.config("/garbage"))], settings={"metrics": metrics}).refused()
    text = "\n".join(metrics.lines())
    prefix = "apiserver_admission_webhook_"
    for line in (
        'request_total{name="yes.a.b",type="validating",operation="CREATE",code="200",rejected="false"} 1',
        'fail_open_count{name="open.a.b",type="validating"} 1',
        'rejection_count{name="no.a.b",type="validating",operation="CREATE",error_type="no_error",rejection_code="422"} 1',
        'rejection_count{name="bad.a.b",type="admit",operation="CREATE",error_type="calling_webhook_error",rejection_code="0"} 1',
        'admission_duration_seconds_count{name="yes.a.b",type="validating",operation="CREATE",rejected="false"} 1',
    ):
        assert prefix + line in text
