"""ValidatingAdmissionPolicy: what is matched, what refuses, in which words, and what a failure means."""

import pytest
from auth_support import FakeReader, FixedClock, ListAuthorizer, obj, user

from pybernetes.api.cel import CelError
from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS, DEPLOYMENTS, GVK, NAMESPACES, NODES
from pybernetes.apiserver.admission.expressions import Conditions, bindings
from pybernetes.apiserver.admission.matching import Equivalent
from pybernetes.apiserver.admission.policies import BINDINGS, POLICIES, ValidatingAdmissionPolicy
from pybernetes.hooks.admission import AdmissionAttributes, AdmissionContext

RULE = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}


class World:
    def __init__(self, authorizer=None):
        self.reader = FakeReader((NAMESPACES, obj("ns", meta={"labels": {"team": "a"}})))
        kinds = {("v1", "ConfigMap"): (CONFIG_MAPS, True), ("v1", "Node"): (NODES, False)}
        settings = {"resource_of_kind": lambda version, kind: kinds.get((version, kind))}
        context = AdmissionContext(self.reader, None, authorizer or ListAuthorizer(), FixedClock(), settings)
        self.plugin = ValidatingAdmissionPolicy(context)

    def policy(self, *expressions, actions=("Deny",), binding=(), rules=(RULE,), **spec):
        validations = [e if isinstance(e, dict) else {"expression": e} for e in expressions]
        constraints = {"resourceRules": list(rules)}
        spec = {"matchConstraints": constraints, "validations": validations, **spec}
        self.reader.put(POLICIES, obj("p", spec=spec))
        bound = {"policyName": "p", "validationActions": list(actions), **dict(binding)}
        self.reader.put(BINDINGS, obj("b", spec=bound))
        return self

    async def write(self, new=None, old=None, gvr=DEPLOYMENTS, namespace="ns"):
        """The attributes of a write that was let through. Raises StatusError."""
        new = new if new is not None else {"metadata": {"name": "d"}, "spec": {"replicas": 5}}
        operation = "UPDATE" if old else "CREATE"
        gvk = GVK(gvr.group, gvr.version, "Deployment")
        a = AdmissionAttributes(operation, gvr, gvk, "", namespace, new["metadata"]["name"], new, old, user("eve", "g"))
        await self.plugin.validate(a)
        return a

    async def refused(self, **write):
        with pytest.raises(StatusError) as caught:
            await self.write(**write)
        return caught.value


async def test_a_bound_policy_refuses_in_upstreams_words():
    world = World().policy("object.spec.replicas <= 3")
    failure = await world.refused()
    assert (failure.code, failure.reason) == (422, "Invalid")
    said = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.spec.replicas <= 3"
    assert failure.message == f'deployments.apps "d" is forbidden: {said}'
    assert failure.details["causes"] == [{"message": said}]
    await world.write({"metadata": {"name": "d"}, "spec": {"replicas": 3}})


async def test_without_a_binding_nothing_happens():
    world = World().policy("false")
    world.reader.delete(BINDINGS, "", "b")
    await world.write()


@pytest.mark.parametrize(
    ("validation", "code", "words"),
    [
        ({"message": "too many"}, 422, "too many"),
        ({"messageExpression": "'not ' + string(object.spec.replicas)", "message": "x"}, 422, "not 5"),
        ({"messageExpression": "object.nothing", "message": "fallback"}, 422, "fallback"),
        ({"messageExpression": "'two\\nlines'"}, 422, "failed expression: false"),
        ({"reason": "Forbidden"}, 403, "failed expression: false"),
        ({"reason": "Unauthorized"}, 401, "failed expression: false"),
        ({"reason": "RequestEntityTooLarge"}, 413, "failed expression: false"),
    ],
)
async def test_messages_and_reasons(validation, code, words):
    failure = await World().policy({"expression": "false", **validation}).refused()
    assert failure.code == code and failure.message.endswith(f"denied request: {words}")


@pytest.mark.parametrize(
    "expression",
    [
        "request.userInfo.username == 'eve' && 'g' in request.userInfo.groups",
        "request.operation == 'CREATE' && request.namespace == 'ns' && request.name == 'd'",
        "request.resource.resource == 'deployments' && request.kind.kind == 'Deployment'",
        "namespaceObject.metadata.labels.team == 'a'",
        "oldObject == null && !request.dryRun",
        "!has(object.spec.template)",
        "variables.double == 10 && variables.more == 11",
        "authorizer.group('apps').resource('deployments').namespace('ns').check('delete').allowed()",
        "authorizer.requestResource.check('create').allowed()",
        "authorizer.path('/healthz').check('get').allowed()",
        "authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').allowed()",
    ],
)
async def test_what_expressions_see(expression):
    variables = [
        {"name": "double", "expression": "object.spec.replicas * 2"},
        {"name": "more", "expression": "variables.double + 1"},
        {"name": "broken", "expression": "object.nothing"},
    ]
    await World().policy(expression, variables=variables).write()


async def test_the_authorizer_is_asked_exactly():
    authorizer = ListAuthorizer(lambda a: a.user.name == "eve")
    world = World(authorizer).policy(
        "authorizer.group('g').resource('r').subresource('s').namespace('n').name('x').check('v').allowed()",
        "!authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').allowed()",
    )
    await world.write()
    first, second = authorizer.asked
    asked = (first.verb, first.group, first.resource, first.subresource, first.namespace, first.name)
    assert asked == ("v", "g", "r", "s", "n", "x")
    assert second.user.name == "system:serviceaccount:ns:sa"
    assert "system:serviceaccounts:ns" in second.user.groups


async def test_failures_follow_the_failure_policy():
    for expression in ("object.nothing > 1", "object.spec.replicas.foo", "1 +", "request.nothing == 1", "'text'"):
        failure = await World().policy(expression, failurePolicy="Fail").refused()
        assert failure.code == 422
        await World().policy(expression, failurePolicy="Ignore").write()


async def test_a_bomb_is_stopped_by_its_cost():
    many = {"metadata": {"name": "d"}, "spec": {"items": list(range(2000))}}
    failure = (
        await World().policy("object.spec.items.all(a, object.spec.items.all(b, a + b < 100000))").refused(new=many)
    )
    assert "cost" in failure.message


async def test_match_conditions_narrow():
    conditions = [{"name": "c", "expression": "request.userInfo.username != 'eve'"}]
    await World().policy("false", matchConditions=conditions).write()
    conditions = [{"name": "c", "expression": "object.nothing == 1"}]
    assert "no such key" in (await World().policy("true", matchConditions=conditions).refused()).message
    await World().policy("false", matchConditions=conditions, failurePolicy="Ignore").write()


async def test_warn_and_audit_let_through():
    a = await World().policy("false", actions=("Warn", "Audit")).write()
    said = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false"
    assert a.warnings == [said]
    note = a.audit_annotations["validation.policy.admission.k8s.io/validation_failure"]
    assert '"expressionIndex":0' in note and '"policy":"p"' in note
    annotations = [{"key": "who", "valueExpression": "'by ' + request.userInfo.username"}]
    a = await World().policy("true", auditAnnotations=annotations).write()
    assert a.audit_annotations == {"p/who": "by eve"}


async def test_rules_selectors_and_exclusions():
    other = {**RULE, "resources": ["pods"]}
    await World().policy("false", rules=[other]).write()
    await World().policy("false", binding={"matchResources": {"resourceRules": [other]}}).write()
    selector = {"matchLabels": {"team": "b"}}
    await World().policy("false", binding={"matchResources": {"namespaceSelector": selector}}).write()
    selector = {"matchLabels": {"team": "a"}}
    await World().policy("false", binding={"matchResources": {"namespaceSelector": selector}}).refused()
    excluded = {"resourceRules": [RULE], "excludeResourceRules": [{**RULE, "resourceNames": ["d"]}]}
    await World().policy("false", matchConstraints=excluded).write()
    await World().policy("false", matchConstraints=excluded).refused(new={"metadata": {"name": "e"}})


async def test_parameters():
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    world = World().policy(
        "object.spec.replicas <= int(params.data.most)", paramKind=kind, binding={"paramRef": {"name": "limits"}}
    )
    await world.write()  # none found, and that is allowed
    world.reader.put(CONFIG_MAPS, obj("limits", "ns", data={"most": "3"}))
    assert "denied request" in (await world.refused()).message
    world.reader.put(CONFIG_MAPS, obj("limits", "ns", data={"most": "9"}))
    await world.write()
    world.reader.delete(CONFIG_MAPS, "ns", "limits")
    reference = {"name": "limits", "parameterNotFoundAction": "Deny"}
    world.policy("true", paramKind=kind, binding={"paramRef": reference})
    said = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    assert said in (await world.refused()).message
    reference = {"name": "n", "namespace": "ns"}
    world.policy("true", paramKind={"apiVersion": "v1", "kind": "Node"}, binding={"paramRef": reference})
    assert "must not be provided for a cluster-scoped" in (await world.refused()).message
    world.policy("true", paramKind={"apiVersion": "v1", "kind": "Nothing"}, binding={"paramRef": {"name": "n"}})
    assert "not known" in (await world.refused()).message


async def test_a_change_of_a_policy_counts_at_once():
    world = World().policy("false")
    await world.refused()
    world.policy("true")
    await world.write()


def test_one_false_condition_is_enough_and_failures_count_only_without():
    a = AdmissionAttributes(
        "CREATE", DEPLOYMENTS, GVK("apps", "v1", "Deployment"), "", "ns", "d", {"metadata": {}}, None, user()
    )
    values = bindings(a, Equivalent(a.gvr, a.gvk, lambda o: o), ListAuthorizer(), None, None)

    def hold(*expressions):
        return Conditions.of([{"name": "c", "expression": e} for e in expressions], params=False).hold(values)

    assert hold("true") and hold() and not hold("true", "false") and not hold("object.x == 1", "false")
    with pytest.raises(CelError, match="no such key: x"):
        hold("true", "object.x == 1")
