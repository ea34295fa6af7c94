"""RBAC: decisions, their freshness, escalation, and the set that every cluster starts with."""

import copy

import pytest
from auth_support import FakeReader, FixedClock, attributes, obj, user

from pybernetes.api.errors import StatusError, not_found
from pybernetes.api.meta import name_of, namespace_of
from pybernetes.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from pybernetes.apiserver import authz
from pybernetes.apiserver.authz import bootstrap, rules
from pybernetes.apiserver.authz.escalation import RbacEscalation
from pybernetes.apiserver.authz.messages import forbidden_error
from pybernetes.hooks.admission import AdmissionAttributes
from pybernetes.hooks.authorization import Attributes, Decision

GROUP = "rbac.authorization.k8s.io"


def rule(verbs, resources, groups="", names=None):
    made = {"verbs": verbs.split(), "apiGroups": [groups], "resources": resources.split()}
    return made | {"resourceNames": names.split()} if names else made


def role(name, *rules_, namespace=""):
    return (ROLES if namespace else CLUSTER_ROLES), obj(name, namespace, rules=list(rules_))


def binding(name, role_, *subjects, namespace="", kind=None):
    ref = {"apiGroup": GROUP, "kind": kind or ("Role" if namespace else "ClusterRole"), "name": role_}
    parsed = [dict(zip(("kind", "name", "namespace"), s.split("/"), strict=False)) for s in subjects]
    return (ROLE_BINDINGS if namespace else CLUSTER_ROLE_BINDINGS), obj(name, namespace, roleRef=ref, subjects=parsed)


class World:
    def __init__(self, *objects, **options):
        self.reader = FakeReader(*objects)
        self.stack = authz.build(
            authz.AuthorizationOptions(**({"modes": ("RBAC",)} | options)), self.reader, FixedClock()
        )
        self.escalation = RbacEscalation(self.stack.rbac, self.stack.authorizer)

    async def allowed(self, who, verb, resource="pods", **more):
        return (await self.ask(who, verb, resource, **more)).decision is Decision.ALLOW

    async def ask(self, who, verb, resource="pods", **more):
        return await self.stack.authorizer.authorize(attributes(who, verb, resource, **more))

    async def path(self, who, verb, path):
        return (await self.stack.authorizer.authorize(Attributes(who, verb, path=path))).decision is Decision.ALLOW

    async def grant(self, who, gvr, new, old=None):
        await self.escalation.validate(
            AdmissionAttributes(
                "UPDATE" if old else "CREATE", gvr, None, "", namespace_of(new), name_of(new), new, old, who
            )
        )


ALICE = user("alice", "dev")


async def test_cluster_wide_and_namespaced():
    world = World(
        role("reader", rule("get list", "pods")), binding("b", "reader", "User/alice"),
        role("writer", rule("create", "pods"), namespace="a"), binding("b", "writer", "Group/dev", namespace="a"),
        binding("c", "reader", "User/bob", namespace="a", kind="ClusterRole"),
    )  # fmt: skip
    assert await world.allowed(ALICE, "get", namespace="b") and await world.allowed(ALICE, "list")
    assert await world.allowed(ALICE, "create", namespace="a")
    assert not await world.allowed(ALICE, "create", namespace="b") and not await world.allowed(ALICE, "create")
    assert await world.allowed(user("bob"), "get", namespace="a") and not await world.allowed(
        user("bob"), "get", namespace="b"
    )
    verdict = await world.ask(ALICE, "create", namespace="a")
    assert verdict.reason == 'RBAC: allowed by RoleBinding "b/a" of Role "writer" to Group "dev"'


async def test_service_accounts_as_subjects():
    world = World(
        role("r", rule("get", "pods")), binding("b", "r", "ServiceAccount/sa/ns"),
        role("r", rule("create", "pods"), namespace="ns"), binding("b", "r", "ServiceAccount/sa", namespace="ns"),
    )  # fmt: skip
    who = user("system:serviceaccount:ns:sa")
    verdict = await world.ask(who, "get")
    assert verdict.reason == 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to ServiceAccount "sa/ns"'
    assert await world.allowed(who, "create", namespace="ns")
    assert not await world.allowed(user("system:serviceaccount:other:sa"), "get")


async def test_resource_names_subresources_and_wildcards():
    world = World(
        role("n", rule("get update", "configmaps", names="one two")), binding("n", "n", "User/alice"),
        role("s", rule("get", "pods/log"), rule("*", "*/scale")), binding("s", "s", "User/alice"),
        role("x", {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}), binding("x", "x", "User/alice"),
    )  # fmt: skip
    assert await world.allowed(ALICE, "get", "configmaps", name="one", namespace="a")
    assert not await world.allowed(ALICE, "get", "configmaps", name="three", namespace="a")
    assert not await world.allowed(ALICE, "list", "configmaps", namespace="a")
    assert not await world.allowed(ALICE, "get", "configmaps", namespace="a")
    assert await world.allowed(ALICE, "get", "pods", subresource="log") and not await world.allowed(
        ALICE, "get", "pods"
    )
    assert not await world.allowed(ALICE, "get", "pods", subresource="exec")
    assert await world.allowed(ALICE, "update", "deployments", subresource="scale", group="")
    assert await world.path(ALICE, "get", "/healthz") and await world.path(ALICE, "get", "/logs/a/b")
    assert not await world.path(ALICE, "post", "/healthz") and not await world.path(ALICE, "get", "/healthz/")
    assert not await world.path(ALICE, "get", "/log")


async def test_decisions_follow_the_objects():
    world = World()
    assert not await world.allowed(ALICE, "get")
    world.reader.put(*binding("b", "reader", "User/alice"))
    verdict = await world.ask(ALICE, "get")
    assert verdict.decision is Decision.NO_OPINION
    assert verdict.reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found'
    world.reader.put(*role("reader", rule("get", "pods")))
    assert await world.allowed(ALICE, "get")
    world.reader.put(*role("reader", rule("list", "pods")))
    assert not await world.allowed(ALICE, "get")
    world.reader.put(*role("reader", rule("get", "pods")))
    world.reader.put(*binding("b", "reader", "User/bob"))
    assert not await world.allowed(ALICE, "get") and await world.allowed(user("bob"), "get")
    world.reader.put(*binding("b", "reader", "Group/dev"))
    assert await world.allowed(ALICE, "get") and not await world.allowed(user("bob"), "get")
    world.reader.delete(CLUSTER_ROLE_BINDINGS, "", "b")
    assert not await world.allowed(ALICE, "get")


async def test_masters_need_no_rule():
    assert await World().allowed(user("root", "system:masters"), "delete", "nodes")


def test_the_words_of_a_refusal():
    def words(a, reason=""):
        return forbidden_error(a, reason).message

    assert words(attributes(user("x"), "list", namespace="default")) == (
        'pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    assert words(attributes(user("x"), "get", "deployments", group="apps", subresource="scale", name="d"), "no") == (
        'deployments.apps "d" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" at the cluster scope: no'
    )
    assert words(Attributes(user("a<b>"), "get", path="/x")) == 'forbidden: User "a&lt;b&gt;" cannot get path "/x"'


# -- escalation --------------------------------------------------------------------------------------------------------


HELD = (
    role("held", rule("get list", "pods"), rule("get", "configmaps", names="one")),
    binding("b", "held", "User/alice"),
)


async def refused(awaitable):
    with pytest.raises(StatusError) as caught:
        await awaitable
    return caught.value


async def test_roles_cannot_exceed_what_one_has():
    world = World(*HELD)
    await world.grant(ALICE, CLUSTER_ROLES, role("new", rule("get", "pods"), rule("get", "configmaps", names="one"))[1])
    failure = await refused(
        world.grant(ALICE, CLUSTER_ROLES, role("new", rule("delete create", "pods"), rule("get", "configmaps"))[1])
    )
    assert (failure.code, failure.message) == (
        403,
        'clusterroles.rbac.authorization.k8s.io "new" is forbidden: user "alice" (groups=["dev"]) is attempting to grant RBAC '
        "permissions not currently held:\n"
        '{APIGroups:[""], Resources:["configmaps"], Verbs:["get"]}\n'
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "create"]}',
    )


@pytest.mark.parametrize(
    "made",
    [
        rule("*", "pods"),
        rule("get", "*"),
        rule("get", "pods/log"),
        rule("get", "*/log"),
        rule("get", "pods", "*"),
        rule("get", "configmaps", names="one two"),
        {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ],
)
async def test_every_way_to_say_more(made):
    await refused(World(*HELD).grant(ALICE, CLUSTER_ROLES, role("new", made)[1]))


async def test_escalate_and_bind_verbs():
    world = World(
        *HELD, role("power", rule("*", "secrets")), role("may", rule("escalate", "clusterroles", GROUP, names="new"))
    )
    power = binding("x", "power", "User/alice")[1]
    await refused(world.grant(ALICE, CLUSTER_ROLE_BINDINGS, power))
    world.reader.put(*binding("may", "may", "User/alice"))
    await world.grant(ALICE, CLUSTER_ROLES, role("new", rule("*", "*"))[1])
    await refused(world.grant(ALICE, CLUSTER_ROLES, role("other", rule("*", "*"))[1]))
    await refused(world.grant(ALICE, CLUSTER_ROLE_BINDINGS, power))
    world.reader.put(*role("may", rule("bind", "clusterroles", GROUP, names="power")))
    await world.grant(ALICE, CLUSTER_ROLE_BINDINGS, power)


async def test_binding_in_a_namespace_counts_what_one_has_there():
    world = World(
        role("r", rule("*", "secrets"), namespace="a"), binding("r", "r", "User/alice", namespace="a"),
        role("secrets", rule("get", "secrets")),
    )  # fmt: skip
    made = binding("x", "secrets", "User/bob", namespace="a", kind="ClusterRole")[1]
    await world.grant(ALICE, ROLE_BINDINGS, made)
    await refused(world.grant(ALICE, ROLE_BINDINGS, made | {"metadata": {"name": "x", "namespace": "b"}}))
    await refused(world.grant(ALICE, CLUSTER_ROLE_BINDINGS, binding("x", "secrets", "User/bob")[1]))


async def test_binding_to_a_role_that_is_not_there():
    failure = await refused(World(*HELD).grant(ALICE, CLUSTER_ROLE_BINDINGS, binding("x", "none", "User/bob")[1]))
    assert (failure.code, failure.message) == (404, 'clusterrolebindings.rbac.authorization.k8s.io "none" not found')


async def test_aggregation_needs_everything():
    world = World(*HELD)
    aggregated = obj("agg", aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}, rules=[])
    failure = await refused(world.grant(ALICE, CLUSTER_ROLES, aggregated))
    assert failure.message.endswith("must have cluster-admin privileges to use the aggregationRule")
    failure = await refused(world.grant(ALICE, CLUSTER_ROLES, obj("agg", rules=[]), aggregated))
    await world.grant(user("root", "system:masters"), CLUSTER_ROLES, aggregated)


async def test_the_garbage_collector_may_touch_references():
    old = role("power", rule("*", "*"))[1]
    new = copy.deepcopy(old)
    new["metadata"]["finalizers"] = ["x"]
    await World(*HELD).grant(ALICE, CLUSTER_ROLES, new, old)
    new["metadata"]["labels"] = {"a": "b"}
    await refused(World(*HELD).grant(ALICE, CLUSTER_ROLES, new, old))


def test_descriptions_of_paths():
    missing = rules.compact(rules.uncovered([], [{"verbs": ["get", "post"], "nonResourceURLs": ["/a"]}]))
    assert [rules.describe(m) for m in missing] == [
        '{NonResourceURLs:["/a"], Verbs:["get"]}',
        '{NonResourceURLs:["/a"], Verbs:["post"]}',
    ]


# -- the bootstrap set -------------------------------------------------------------------------------------------------


class StoreRequester:
    """A Requester that keeps objects by path."""

    def __init__(self):
        self.objects, self.writes = {}, []

    async def __call__(self, method, path, body=None, *, content_type="application/json"):
        if method == "GET":
            resource = path.rsplit("/", 1)[1]
            return {"items": [copy.deepcopy(o) for p, o in self.objects.items() if p.rsplit("/", 2)[-2] == resource]}
        self.writes.append((method, path))
        if method == "DELETE":
            if self.objects.pop(path, None) is None:
                raise not_found("", "x", path)
            return {}
        self.objects[f"{path}/{name_of(body)}" if method == "POST" else path] = body
        return body


def test_the_set_has_upstreams_numbers():
    by_kind = {}
    for gvr, _ in bootstrap.bootstrap_objects():
        by_kind[gvr.resource] = by_kind.get(gvr.resource, 0) + 1
    assert by_kind == {"clusterroles": 70, "clusterrolebindings": 51, "roles": 7, "rolebindings": 7}
    assert {o["metadata"]["annotations"][bootstrap.AUTOUPDATE] for _, o in bootstrap.bootstrap_objects()} == {"true"}
    assert any("nodes/status" in r["resources"] for r in bootstrap.node_rules())


async def test_reconciling():
    request = StoreRequester()
    assert await bootstrap.reconcile(request, bootstrap.kubeadm_objects()) == 135 + 8
    assert await bootstrap.reconcile(request, bootstrap.kubeadm_objects()) == 0
    base = "/apis/rbac.authorization.k8s.io/v1"
    admin = request.objects[f"{base}/clusterrolebindings/cluster-admin"]
    admin["subjects"] = [{"kind": "User", "name": "mine", "apiGroup": GROUP}]
    discovery = request.objects[f"{base}/clusterroles/system:discovery"]
    discovery["rules"] = [rule("get", "pods")]
    protected = request.objects[f"{base}/clusterroles/view"]
    protected["metadata"] = protected["metadata"] | {"annotations": {bootstrap.AUTOUPDATE: "false"}, "labels": {}}
    moved = request.objects[f"{base}/clusterrolebindings/system:discovery"]
    moved["roleRef"] = moved["roleRef"] | {"name": "cluster-admin"}
    del request.objects[f"{base}/clusterroles/edit"]
    request.writes.clear()
    assert await bootstrap.reconcile(request) == 4
    assert sorted(request.writes) == [
        ("DELETE", f"{base}/clusterrolebindings/system:discovery"),
        ("POST", f"{base}/clusterrolebindings"),
        ("POST", f"{base}/clusterroles"),
        ("PUT", f"{base}/clusterrolebindings/cluster-admin"),
        ("PUT", f"{base}/clusterroles/system:discovery"),
    ]
    assert [s["name"] for s in request.objects[f"{base}/clusterrolebindings/cluster-admin"]["subjects"]] == [
        "mine",
        "system:masters",
    ]
    assert request.objects[f"{base}/clusterroles/system:discovery"]["rules"][0] == rule("get", "pods")
    assert await bootstrap.reconcile(request) == 0


async def test_an_aggregated_role_keeps_what_the_controller_gave_it():
    request = StoreRequester()
    await bootstrap.reconcile(request)
    request.objects["/apis/rbac.authorization.k8s.io/v1/clusterroles/admin"]["rules"] = [rule("*", "pods")]
    assert await bootstrap.reconcile(request) == 0


async def test_the_bootstrap_set_at_work():
    world = World(*[(g, copy.deepcopy(o)) for g, o in bootstrap.bootstrap_objects()])
    scheduler = user("system:kube-scheduler", "system:authenticated")
    assert await world.allowed(scheduler, "create", "pods", subresource="binding", namespace="x")
    assert not await world.allowed(scheduler, "get", "secrets", namespace="x")
    anybody = user("jane", "system:authenticated")
    assert await world.allowed(anybody, "create", "selfsubjectaccessreviews", group="authorization.k8s.io")
    assert await world.path(anybody, "get", "/api/v1") and await world.path(anybody, "get", "/version")
    nobody = user("system:anonymous", "system:unauthenticated")
    assert await world.path(nobody, "get", "/version") and not await world.path(nobody, "get", "/api/v1")


# -- other modes -------------------------------------------------------------------------------------------------------


async def test_abac(tmp_path):
    path = tmp_path / "policy.jsonl"
    path.write_text(
        '# comment\n\n{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"alice","namespace":"a","resource":"pods","apiGroup":"*","readonly":true}}\n'
        '{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"ops","nonResourcePath":"/logs*"}}\n'
        '{"user":"old","namespace":"b"}\n'
    )
    world = World(modes=("ABAC",), policy_file=str(path))
    assert await world.allowed(ALICE, "get", namespace="a") and not await world.allowed(ALICE, "create", namespace="a")
    assert not await world.allowed(ALICE, "get", namespace="b") and not await world.path(ALICE, "get", "/")
    assert await world.path(user("x", "ops"), "get", "/logs/x") and not await world.path(user("x"), "get", "/logs/x")
    assert await world.allowed(user("old"), "delete", "secrets", namespace="b")
    path.write_text('{"kind":"Policy","apiVersion":"v9"}\n')
    with pytest.raises(ValueError, match="line 1"):
        World(modes=("ABAC",), policy_file=str(path))


async def test_always_allow_and_unknown_modes():
    assert await World(modes=("AlwaysAllow",)).allowed(ALICE, "delete")
    assert not await World(modes=("AlwaysDeny",)).allowed(ALICE, "delete")
    with pytest.raises(ValueError, match='authorization-mode "Magic" is not a valid mode'):
        World(modes=("Magic",))


async def test_rules_of_a_user():
    world = World(
        *HELD, role("r", rule("create", "pods"), namespace="a"), binding("b", "r", "Group/dev", namespace="a")
    )
    found = world.stack.authorizer.rules_for(ALICE, "a")
    assert [r["verbs"] for r in found.rules] == [["get", "list"], ["get"], ["create"]]
    assert not found.errors and not found.incomplete
