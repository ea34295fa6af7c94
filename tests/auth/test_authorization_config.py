"""``--authorization-config``: what is refused in upstream's words, what reloads keep, and how webhooks are asked."""

import asyncio
import random

import orjson
import pytest
from attack_support import attacked_server
from auth_support import NOW, FakeReader, FixedClock, attributes, obj, user
from click.testing import CliRunner

from pybernetes.api.errors import StatusError, internal_error
from pybernetes.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from pybernetes.apiserver import authz
from pybernetes.apiserver.authz import configuration
from pybernetes.apiserver.authz.metrics import AuthorizationMetrics
from pybernetes.apiserver.authz.webhook import WebhookAuthorizer, review_of
from pybernetes.apiserver.command import apiserver
from pybernetes.apiserver.express import at_once
from pybernetes.client.transport import TransportError
from pybernetes.concurrency import RealClock, VirtualClock, virtual_event_loop
from pybernetes.hooks.authorization import Attributes, Decision
from pybernetes.hooks.identity import UserInfo

HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n"
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LOADING = "failed to load AuthorizationConfiguration from file: "


def chain(*entries):
    return (HEAD + "authorizers:\n" + "".join(f"- {e}\n" for e in entries)).encode()


def hook(name="w", **fields):
    webhook = {
        "timeout": "3s",
        "subjectAccessReviewVersion": "v1",
        "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/dev/null/none"},
    } | fields
    entry = {"type": "Webhook", "name": name, "webhook": {k: v for k, v in webhook.items() if v is not None}}
    return orjson.dumps(entry).decode()


def kubeconfig(tmp_path, port, name="webhook.conf"):
    file = tmp_path / name
    server = f"http://127.0.0.1:{port}/authorize?who=me"
    document = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "current-context": "x",
    }
    file.write_bytes(orjson.dumps(document))
    return {"type": "KubeConfigFile", "kubeConfigFile": str(file)}


# What kube-apiserver v1.36 says of the same files.
REFUSED = [
    (HEAD, "authorizers: Required value: at least one authorization mode must be defined"),
    (chain("{name: x}"), "authorizers[0].type: Required value"),
    (
        chain("{type: Foo, name: foo}"),
        'authorizers[0].type: Unsupported value: "Foo": supported values: "ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"',
    ),
    (chain("{type: RBAC, name: rbac}", "{type: RBAC, name: b}"), 'authorizers[1].type: Duplicate value: "RBAC"'),
    (chain("{type: RBAC, name: foo}"), "expected name rbac for authorizer RBAC instead of foo"),
    (
        chain("{type: Webhook, name: Foo_}", "{type: Webhook, name: foo, webhook: {}}", "{type: Node, name: node, webhook: {}}"),
        f'[authorizers[0].name: Invalid value: "Foo_": authorizer name is invalid: {SUBDOMAIN}, '
        "authorizers[0].webhook: Required value: required when type=Webhook, authorizers[1].timeout: Required value, "
        "authorizers[1].subjectAccessReviewVersion: Required value, authorizers[1].failurePolicy: Required value, "
        "authorizers[1].connectionInfo.type: Required value, "
        'authorizers[2].webhook: Invalid value: "non-null": may only be specified when type=Webhook]',
    ),
    (chain("{type: RBAC, name: rbac, foo: 1}"), f'{LOADING}strict decoding error: unknown field "authorizers[0].foo"'),
    (
        b"apiVersion: apiserver.config.k8s.io/v2\nkind: AuthorizationConfiguration",
        f'{LOADING}no kind "AuthorizationConfiguration" is registered for version "apiserver.config.k8s.io/v2"',
    ),
    (b"{}", f"{LOADING}Object 'Kind' is missing in '{{}}'"),
    (
        chain("{type: 5, name: rbac}"),
        f"{LOADING}json: cannot unmarshal number into Go struct field AuthorizerConfiguration.authorizers.type of type string",
    ),
    (chain(hook(timeout="x")), f'{LOADING}time: invalid duration "x"'),
    (chain(hook(timeout="31s", connectionInfo={})), "authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s"),
    (chain(hook(authorizedTTL="-5m")), 'authorizers[0].authorizedTTL: Invalid value: "-5m0s": must be > 0s'),
    (
        chain(hook(subjectAccessReviewVersion="v2")),
        'authorizers[0].subjectAccessReviewVersion: Unsupported value: "v2": supported values: "v1", "v1beta1"',
    ),
    (
        chain(hook(matchConditions=[{"expression": "true"}])),
        "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified",
    ),
    (chain(hook(failurePolicy="Foo")), 'authorizers[0].failurePolicy: Unsupported value: "Foo": supported values: "NoOpinion", "Deny"'),
    (
        chain(hook(connectionInfo={"type": "Foo"})),
        'authorizers[0].connectionInfo.type: Unsupported value: {"Type":"Foo","KubeConfigFile":null}: '
        'supported values: "InClusterConfig", "KubeConfigFile"',
    ),
    (
        chain(hook(connectionInfo={"type": "KubeConfigFile", "kubeConfigFile": "/nonexistent"})),
        'authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "/nonexistent": '
        "error loading file: stat /nonexistent: no such file or directory",
    ),
    (
        chain(hook(connectionInfo={"type": "KubeConfigFile", "kubeConfigFile": "a"})),
        'authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "a": must be an absolute path',
    ),
    (
        chain(hook(connectionInfo={"type": "InClusterConfig", "kubeConfigFile": "/a"})),
        'authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "/a": can only be set when type=KubeConfigFile',
    ),
    (chain(hook(connectionInfo={"type": "InClusterConfig"})), "connectionInfo.type InClusterConfig is not allowed for kube-apiserver"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), REFUSED)
def test_what_is_wrong_is_said_in_upstreams_words(data, words):
    with pytest.raises(ValueError, match=r"\w") as failure:
        configuration.parse(data if isinstance(data, bytes) else data.encode())
    assert words in str(failure.value)
    if words.startswith(("[", "failed", "expected")):
        assert str(failure.value) == words


def test_conditions_are_compiled_and_typed():
    expressions = ["", "request.user", "request.foo == 1", "true", "true", "request.resourceAttributes.name == 1"]
    conditions = [{"expression": e} for e in expressions]
    with pytest.raises(ValueError, match="matchConditions") as failure:
        configuration.parse(chain(hook(matchConditions=conditions, matchConditionSubjectAccessReviewVersion="v1")))
    at, text = "authorizers[0].matchConditions", str(failure.value)
    assert f"{at}[0].expression: Required value, " in text
    assert f'{at}[1].expression: Invalid value: "request.user": must evaluate to bool but got string' in text
    assert f"{at}[2].expression: Invalid value" in text
    assert "ERROR: <input>:1:8: undefined field 'foo'\n | request.foo == 1\n | .......^" in text
    assert f'{at}[4].expression: Duplicate value: "true"' in text
    assert "found no matching overload for '_==_' applied to '(string, int)'" in text
    many = [{"expression": f"request.user == '{n}'"} for n in range(65)]
    with pytest.raises(ValueError, match="Too many: 65: must have at most 64 items"):
        configuration.parse(chain(hook(matchConditions=many, matchConditionSubjectAccessReviewVersion="v1")))


def test_a_whole_chain_is_read(tmp_path):
    info = kubeconfig(tmp_path, 1)
    entries = [
        hook("first.example", connectionInfo=info),
        "{type: Node, name: node}",
        "{type: RBAC, name: rbac}",
        hook("second", connectionInfo=info, cacheAuthorizedRequests=False, unauthorizedTTL="1m30s", failurePolicy="NoOpinion"),
    ]  # fmt: skip
    first, node, rbac, second = configuration.parse(chain(*entries))
    assert (first.name, node.type, rbac.name, second.name) == ("first.example", "Node", "rbac", "second")
    assert (first.webhook.allowed_ttl, first.webhook.refused_ttl, first.webhook.fail_closed) == (300, 30, True)
    assert (second.webhook.allowed_ttl, second.webhook.refused_ttl, second.webhook.fail_closed) == (0, 90, False)
    for version in ("v1beta1", "v1alpha1"):
        assert len(configuration.parse(chain(*entries).replace(b"k8s.io/v1", f"k8s.io/{version}".encode()))) == 4


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--authorization-mode=RBAC,RBAC,Foo,ABAC,Webhook"],
            '[authorization-mode "Foo" is not a valid mode, authorization-mode ABAC\'s authorization policy file not passed, '
            "authorization-mode Webhook's authorization config file not passed, "
            'authorization-mode ["RBAC" "RBAC" "Foo" "ABAC" "Webhook"] has mode specified more than once]',
        ),
        (
            ["--authorization-mode=RBAC", "--authorization-policy-file=/x", "--authorization-webhook-config-file=/y"],
            "[cannot specify --authorization-policy-file without mode ABAC, "
            "cannot specify --authorization-webhook-config-file without mode Webhook]",
        ),
        (
            ["--authorization-config=/x", "--authorization-mode=RBAC"],
            "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined",
        ),
        (
            ["--authorization-config=/x", "--authorization-webhook-cache-authorized-ttl=5m"],
            "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined",
        ),
        (["--authorization-config=/nonexistent"], "No such file or directory: '/nonexistent'"),
    ],
)
def test_flags_that_do_not_go_together_end_the_start(tmp_path, flags, words):
    result = CliRunner().invoke(apiserver, ["--data-dir", str(tmp_path), *flags])
    assert result.exit_code == 1
    assert words in result.output
    assert result.output.count("\n") == 1


# -- reloads -----------------------------------------------------------------------------------------------------------

RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]


def reader():
    binding = obj("b", roleRef={"kind": "ClusterRole", "name": "r"}, subjects=[{"kind": "User", "name": "alice"}])
    return FakeReader((CLUSTER_ROLES, obj("r", rules=RULES)), (CLUSTER_ROLE_BINDINGS, binding))


def stack_of(tmp_path, data, **options):
    file = tmp_path / "authorization.yaml"
    file.write_bytes(data)
    return authz.build(
        authz.AuthorizationOptions(config_file=str(file), **options), reader(), FixedClock(), random.Random(1), "me"
    )


async def decision(stack, name="alice", verb="get"):
    return (await stack.authorizer.authorize(attributes(user(name), verb))).decision


async def test_a_changed_file_takes_effect_and_a_bad_one_does_not(tmp_path):
    stack = stack_of(tmp_path, chain("{type: RBAC, name: rbac}"))
    assert await decision(stack, "bob") is Decision.NO_OPINION
    stack.reload(chain("{type: RBAC, name: rbac}", "{type: AlwaysAllow, name: alwaysallow}"))
    assert await decision(stack, "bob") is Decision.ALLOW
    with pytest.raises(ValueError, match=r"missing required types: \[RBAC\]"):
        stack.reload(chain("{type: AlwaysAllow, name: alwaysallow}"))
    with pytest.raises(ValueError, match="authorizer type Node is not allowed if it was not enabled at initial server"):
        stack.reload(chain("{type: RBAC, name: rbac}", "{type: Node, name: node}"))
    with pytest.raises(ValueError, match="Unsupported value"):
        stack.reload(chain("{type: RBAC, name: rbac}", "{type: Foo, name: foo}"))
    assert await decision(stack, "bob") is Decision.ALLOW
    text = "\n".join(stack.metrics.lines())
    name = "apiserver_authorization_config_controller_automatic_reload"
    server = 'apiserver_id_hash="sha256:2744ccd10c7533bd736ad890f9dd5cab2adb27b07d500b9493f29cdc420cb2e0"'
    assert f'{name}s_total{{status="success",{server}}} 1' in text
    assert f'{name}s_total{{status="failure",{server}}} 3' in text
    assert f'{name}_last_timestamp_seconds{{status="success",{server}}} {NOW!r}' in text
    assert f'last_config_info{{{server},hash="sha256:' in text


async def test_a_webhook_that_is_gone_answers_what_it_was_asked(tmp_path):
    """And is left alone after that."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(h[16:]) for h in head.split("\r\n") if h.lower().startswith("content-length: "))
        review = orjson.loads(await reader.readexactly(length))
        asked.set()
        await answer.wait()
        raw = orjson.dumps({**review, "status": {"allowed": True}})
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw
        )
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    info = kubeconfig(tmp_path, listening.sockets[0].getsockname()[1])
    file = tmp_path / "authorization.yaml"
    file.write_bytes(chain(hook("w", connectionInfo=info), "{type: RBAC, name: rbac}"))
    clock, later = RealClock(), []
    clock.call_later = lambda seconds, callback: later.append((seconds, callback))
    stack = authz.build(authz.AuthorizationOptions(config_file=str(file)), reader(), clock, random.Random(1), "me")
    async with listening:
        question = asyncio.get_running_loop().create_task(decision(stack, "bob"))
        await asyncio.wait_for(asked.wait(), 20)
        stack.reload(chain("{type: RBAC, name: rbac}"))
        assert await decision(stack, "bob") is Decision.NO_OPINION
        answer.set()
        assert await question is Decision.ALLOW
        [(seconds, close)] = later
        assert seconds == authz.GRACE
        close()


async def test_what_changes_only_in_looks_is_no_reload(tmp_path):
    data = chain("{type: RBAC, name: rbac}")
    stack = stack_of(tmp_path, data)
    stack.reload(data)
    stack.reload(data + b"# a remark\n")
    assert "_reloads_total{" not in "\n".join(stack.metrics.lines())


async def test_decisions_are_counted_by_authorizer(tmp_path):
    stack = stack_of(tmp_path, chain("{type: RBAC, name: rbac}", "{type: AlwaysDeny, name: alwaysdeny}"))
    for name in ("alice", "alice", "bob"):
        await decision(stack, name)
    await stack.authorizer.authorize(attributes(user("root", "system:masters"), "get"))
    lines = [line for line in stack.metrics.lines() if line.startswith("apiserver_authorization_decisions_total{")]
    assert lines == ['apiserver_authorization_decisions_total{type="RBAC",name="rbac",decision="allowed"} 2']


# -- webhooks ----------------------------------------------------------------------------------------------------------


class Service:
    """The client of a webhook: ``answers`` are statuses or failures, the last one for good."""

    def __init__(self, *answers):
        self.answers, self.asked, self.transport = list(answers), [], self

    async def request(self, method, path, body, *, timeout):
        self.asked.append((method, path, body, timeout))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if "kind" in answer:
            return answer
        return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": answer}


def webhook(service, clock=None, **settings):
    metrics = AuthorizationMetrics()
    made = WebhookAuthorizer(
        service, clock or FixedClock(), configuration.WebhookSettings("", **settings), name="w", metrics=metrics
    )
    return made, metrics


def asking(name="alice", verb="get", **more):
    return attributes(UserInfo(name, "u1", ("g1", "g2"), {"k": ("v",)}), verb, namespace="ns", name="p", **more)


async def test_what_is_asked_in_both_versions():
    question = asking(field_selector="spec.nodeName=n", label_selector="a in (x,y),!b,c>1")
    spec = review_of(question)["spec"]
    assert spec == {
        "user": "alice",
        "uid": "u1",
        "groups": ["g1", "g2"],
        "extra": {"k": ["v"]},
        "resourceAttributes": {
            "namespace": "ns",
            "verb": "get",
            "version": "v1",
            "resource": "pods",
            "name": "p",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]},
            "labelSelector": {
                "requirements": [
                    {"key": "a", "operator": "In", "values": ["x", "y"]},
                    {"key": "b", "operator": "DoesNotExist"},
                ]
            },
        },
    }
    old = review_of(Attributes(user("bob", "g"), "get", path="/metrics"), "v1beta1")
    assert old["apiVersion"] == "authorization.k8s.io/v1beta1"
    assert old["spec"] == {
        "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        "user": "bob",
        "group": ["g"],
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"allowed": True, "reason": "r"}, (Decision.ALLOW, "r", "")),
        ({"allowed": False}, (Decision.NO_OPINION, "", "")),
        ({"allowed": False, "denied": True, "reason": "no"}, (Decision.DENY, "no", "")),
        (
            {"allowed": True, "denied": True},
            (Decision.DENY, "", "webhook subject access review returned both allow and deny response"),
        ),
        ({}, (Decision.NO_OPINION, "", "")),
    ],
)
async def test_what_an_answer_means(status, expected):
    made, _ = webhook(Service(status))
    verdict = await made.authorize(asking())
    assert (verdict.decision, verdict.reason, verdict.error) == expected


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    "failure",
    [
        TimeoutError(),
        TransportError("dial tcp", sent=False),
        StatusError(403, "Forbidden", "go away"),
        {"kind": "Status"},
        {"kind": "SubjectAccessReview", "apiVersion": "example.com/v1"},
        {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": {"allowed": "yes"}},
        {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": 5},
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_decided_by_the_failure_policy(closed, failure):
    service = Service(failure)
    made, metrics = webhook(service, fail_closed=closed)
    for _ in range(2):
        verdict = await made.authorize(asking())
        assert verdict.decision is (Decision.DENY if closed else Decision.NO_OPINION)
        assert verdict.error
    assert len(service.asked) == 2, "a failure is not remembered, and none of these is tried again"
    text = "\n".join(metrics.lines())
    result = "timeout" if isinstance(failure, TimeoutError) else "error"
    assert f'webhook_evaluations_total{{name="w",result="{result}"}} 2' in text
    assert (f'webhook_evaluations_fail_open_total{{name="w",result="{result}"}} 2' in text) is not closed


@pytest.mark.parametrize(
    ("failure", "times"),
    [
        (internal_error("x"), 5),
        (TransportError("reset", sent=True), 5),
        (StatusError(504, "Timeout", "x"), 5),
        (StatusError(404, "NotFound", "x"), 1),
    ],
)
def test_what_passes_is_tried_again(failure, times):
    clock = VirtualClock()

    async def play():
        service = Service(failure)
        made, _ = webhook(service, clock)
        began = clock.monotonic()
        await made.authorize(asking())
        assert len(service.asked) == times
        waited = clock.monotonic() - began
        assert (4.0 <= waited <= 5.0) if times == 5 else waited == 0
        service.answers = [failure, {"allowed": True}]
        assert (await made.authorize(asking("bob"))).decision is (Decision.ALLOW if times == 5 else Decision.NO_OPINION)

    loop = virtual_event_loop(clock)
    loop.run_until_complete(play())
    loop.close()


async def test_answers_are_remembered_as_long_as_configured():
    clock = FixedClock()
    service = Service({"allowed": True}, {"allowed": False}, {"allowed": True})
    made, _ = webhook(service, clock, allowed_ttl=300.0, refused_ttl=30.0)
    assert (await made.authorize(asking())).decision is Decision.ALLOW
    clock.time += 299
    assert (await made.authorize(asking())).decision is Decision.ALLOW
    assert at_once(made, asking()), "what is remembered is there at once"
    assert len(service.asked) == 1
    clock.time += 2
    assert (await made.authorize(asking())).decision is Decision.NO_OPINION
    clock.time += 29
    assert (await made.authorize(asking())).decision is Decision.NO_OPINION
    assert len(service.asked) == 2
    clock.time += 2
    assert (await made.authorize(asking())).decision is Decision.ALLOW
    await made.authorize(asking(verb="list"))
    await made.authorize(asking("bob"))
    assert len(service.asked) == 5, "other questions are other questions"


async def test_nothing_is_remembered_where_caching_is_off_or_the_question_is_huge():
    service = Service({"allowed": True})
    made, _ = webhook(service, allowed_ttl=0.0)
    for _ in range(3):
        await made.authorize(asking())
    assert len(service.asked) == 3
    made, _ = webhook(service)
    for _ in range(2):
        await made.authorize(Attributes(user("a"), "get", path="/" + "x" * 10_000))
    assert len(service.asked) == 5
    for number in range(made.MAX_ENTRIES + 5):
        await made.authorize(asking(str(number)))
    assert len(made._known) == made.MAX_ENTRIES


async def test_who_wants_an_answer_at_once_makes_no_call():
    service = Service({"allowed": True})
    made, _ = webhook(service)
    assert at_once(made, asking()) is None
    assert service.asked == []


@pytest.mark.parametrize(
    ("conditions", "expected", "asked"),
    [
        (["request.user == 'alice'"], Decision.ALLOW, 1),
        (["has(request.resourceAttributes)", "request.resourceAttributes.namespace != 'kube-system'"], Decision.ALLOW, 1),
        (["'g1' in request.groups", "request.extra['k'] == ['v']", "request.uid == 'u1'"], Decision.ALLOW, 1),
        (["request.resourceAttributes.subresource == ''"], Decision.ALLOW, 1),
        (["request.user == 'bob'"], Decision.NO_OPINION, 0),
        (["request.extra['missing'] == ['v']", "request.user == 'bob'"], Decision.NO_OPINION, 0),
        (["request.extra['missing'] == ['v']", "true"], Decision.DENY, 0),
        (["has(request.nonResourceAttributes)"], Decision.NO_OPINION, 0),
        (["request.resourceAttributes.?labelSelector.hasValue()"], Decision.NO_OPINION, 0),
    ],
)  # fmt: skip
async def test_conditions_decide_whether_it_is_asked(conditions, expected, asked):
    service = Service({"allowed": True})
    made, metrics = webhook(service, conditions=tuple(conditions), fail_closed=True)
    verdict = await made.authorize(asking())
    assert (verdict.decision, len(service.asked)) == (expected, asked)
    text = "\n".join(metrics.lines())
    assert 'match_condition_evaluation_seconds_count{type="Webhook",name="w"} 1' in text
    failed, excluded = expected is Decision.DENY, expected is Decision.NO_OPINION
    assert ('match_condition_evaluation_errors_total{type="Webhook",name="w"} 1' in text) is failed
    assert ('match_condition_exclusions_total{type="Webhook",name="w"} 1' in text) is excluded


async def test_a_selector_is_seen_by_conditions():
    condition = (
        "request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == 'spec.nodeName' && r.values == ['n'])"
    )
    service = Service({"allowed": True})
    made, _ = webhook(service, conditions=(condition,))
    assert (await made.authorize(asking(verb="list", field_selector="spec.nodeName=n"))).decision is Decision.ALLOW
    assert (await made.authorize(asking(verb="list", field_selector="spec.nodeName=o"))).decision is Decision.NO_OPINION


# -- a whole server ----------------------------------------------------------------------------------------------------


class Judge:
    """A webhook behind a socket: allows whom it knows, and can be made to break."""

    def __init__(self):
        self.allowed, self.asked, self.status = {"alice"}, [], b"200 OK"

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(h[16:]) for h in head.split("\r\n") if h.lower().startswith("content-length: "))
                review = orjson.loads(await reader.readexactly(length))
                self.asked.append((head.split()[1], review))
                review["status"] = {"allowed": review["spec"]["user"] in self.allowed, "reason": "the judge"}
                raw = orjson.dumps(review)
                writer.write(b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n" % self.status)
                writer.write(b"Content-Length: %d\r\n\r\n" % len(raw) + raw)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def test_a_server_with_a_configured_chain(tmp_path):
    judge = Judge()
    listening = await asyncio.start_server(judge.serve, "127.0.0.1", 0)
    info = kubeconfig(tmp_path, listening.sockets[0].getsockname()[1])
    conditions = [{"expression": "request.user != 'bob'"}]
    more = {"matchConditions": conditions, "matchConditionSubjectAccessReviewVersion": "v1", "connectionInfo": info}
    file = tmp_path / "authorization.yaml"
    file.write_bytes(chain(hook("judge", **more), "{type: RBAC, name: rbac}"))
    options = authz.AuthorizationOptions(config_file=str(file))
    async with listening, attacked_server(tmp_path, authorization=options) as attacked:
        pods = "/api/v1/namespaces/default/pods"
        assert (await attacked.ask("alice", "GET", pods))[0] == 200
        assert attacked.record()["annotations"]["authorization.k8s.io/reason"] == "the judge"
        assert judge.asked[-1][0] == "/authorize"
        status, words = await attacked.ask("bob", "GET", pods)
        assert (status, len(judge.asked)) == (403, 1)
        assert (
            words
            == 'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"'
        )
        status, words = await attacked.ask("prober", "GET", pods)
        assert (status, "the judge" in words) == (403, True)
        judge.status = b"403 Forbidden"
        status, words = await attacked.ask("watcher", "GET", pods)
        assert status == 500
        assert words.startswith(f'Internal Server Error: "{pods}": ')
        record = attacked.record()
        assert record["annotations"]["authorization.k8s.io/reason"] == "internal error"
        assert "authorization.k8s.io/decision" not in record["annotations"]
        await attacked.grant("namer", RULES)
        pod = await attacked.ask("namer", "GET", f"{pods}/x")
        assert pod[0] == 500, "failurePolicy Deny ends the chain before RBAC"
        judge.status = b"200 OK"
        status, metrics = await attacked.ask("root", "GET", "/metrics")
        assert 'apiserver_authorization_decisions_total{type="Webhook",name="judge",decision="allowed"}' in metrics
