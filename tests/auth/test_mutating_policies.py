"""MutatingAdmissionPolicy: what expressions change, in which order, what runs again, and what a failure means."""

import pytest
from auth_support import FakeReader, FixedClock, ListAuthorizer, obj, user

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS, DEPLOYMENTS, GVK, NAMESPACES
from pybernetes.api.schema import builtin_schema
from pybernetes.api.validation.admission import CREATE
from pybernetes.apiserver.admission.mutations import BINDINGS, POLICIES, MutatingAdmissionPolicy
from pybernetes.hooks.admission import AdmissionAttributes, AdmissionContext

RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
DEPLOYMENT = GVK("apps", "v1", "Deployment")


def deployment(**spec):
    container = {"name": "c", "image": "i"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container], **spec.pop("pod", {})}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def apply(expression):
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patch(expression):
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


class Earlier:
    """A plugin before the policies; counts its calls, and may change something itself."""

    name = "Earlier"

    def __init__(self):
        self.calls = 0
        self.change = None

    def handles(self, operation, gvr, subresource):
        return True

    async def admit(self, a):
        self.calls += 1
        if self.change is not None:
            a.object = {**a.object, "metadata": {**a.object["metadata"], **self.change}}


class World:
    def __init__(self):
        self.reader = FakeReader((NAMESPACES, obj("ns", meta={"labels": {"team": "a"}})))
        settings = {
            "schema_of": lambda gvr: builtin_schema(DEPLOYMENT) if gvr == DEPLOYMENTS else None,
            "resource_of_kind": lambda version, kind: {"ConfigMap": (CONFIG_MAPS, True)}.get(kind),
        }
        context = AdmissionContext(self.reader, None, ListAuthorizer(), FixedClock(), settings)
        self.plugin = MutatingAdmissionPolicy(context)
        self.plugin.earlier = (earlier := Earlier(),)
        self.earlier = earlier

    def policy(self, *mutations, name="p", binding=(), **spec):
        spec = {"matchConstraints": {"resourceRules": [RULE]}, "mutations": list(mutations), **spec}
        self.reader.put(POLICIES, obj(name, spec={"failurePolicy": "Fail", "reinvocationPolicy": "Never", **spec}))
        self.reader.put(BINDINGS, obj(f"b-{name}", spec={"policyName": name, **dict(binding)}))
        return self

    def attributes(self, new=None):
        new = new or deployment()
        return AdmissionAttributes("CREATE", DEPLOYMENTS, DEPLOYMENT, "", "ns", "d", new, None, user("eve", "g"))

    async def write(self, new=None):
        a = self.attributes(new)
        await self.plugin.admit(a)
        return a.object

    async def refused(self, new=None):
        with pytest.raises(StatusError) as caught:
            await self.write(new)
        return caught.value


async def test_an_apply_configuration_is_merged_as_server_side_apply_merges():
    mutation = apply("""Object{
        metadata: Object.metadata{annotations: {"team": namespaceObject.metadata.labels.team}},
        spec: Object.spec{replicas: object.spec.replicas + 2, template: Object.spec.template{
            spec: Object.spec.template.spec{
                containers: object.spec.template.spec.containers.map(c,
                    Object.spec.template.spec.containers{name: c.name, imagePullPolicy: "Always"})
                    + [Object.spec.template.spec.containers{name: "extra", image: "e"}]}}}}""")
    made = await World().policy(mutation).write()
    assert made["metadata"] == {"name": "d", "annotations": {"team": "a"}}
    assert made["spec"]["replicas"] == 3 and made["spec"]["selector"] == {"matchLabels": {"a": "b"}}
    assert made["spec"]["template"]["spec"]["containers"] == [
        {"name": "c", "image": "i", "imagePullPolicy": "Always"},
        {"name": "extra", "image": "e"},
    ]


async def test_a_json_patch():
    mutation = patch("""[
        JSONPatch{op: "test", path: "/spec/replicas", value: 1},
        JSONPatch{op: "add", path: "/metadata/labels", value: {}},
        JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/x~y"), value: "1"},
        JSONPatch{op: "add", path: "/spec/template/spec/initContainers",
                  value: [Object.spec.template.spec.initContainers{name: "first", image: "i"}]},
        JSONPatch{op: "copy", from: "/metadata/name", path: "/spec/template/metadata/name"}]""")
    world = World().policy(mutation)
    made = await world.write()
    assert made["metadata"]["labels"] == {"example.com/x~y": "1"}
    assert made["spec"]["template"]["spec"]["initContainers"] == [{"name": "first", "image": "i"}]
    assert made["spec"]["template"]["metadata"]["name"] == "d"
    # A test that does not hold leaves the object as it is.
    other = deployment(replicas=2)
    assert await world.write(other) == deployment(replicas=2)


async def test_each_mutation_sees_the_one_before():
    plus_one = apply("Object{spec: Object.spec{replicas: variables.next}}")
    variables = [{"name": "next", "expression": "object.spec.replicas + 1"}]
    world = (
        World()
        .policy(plus_one, plus_one, variables=variables, name="a")
        .policy(plus_one, variables=variables, name="b")
    )
    assert (await world.write())["spec"]["replicas"] == 4
    assert world.earlier.calls == 1


async def test_who_asked_for_it_runs_again_after_a_change():
    count = apply("Object{spec: Object.spec{replicas: object.spec.replicas + 10}}")
    label = apply('Object{metadata: Object.metadata{labels: {"x": "y"}}}')
    world = World().policy(count, name="a", reinvocationPolicy="IfNeeded").policy(label, name="b")
    assert (await world.write())["spec"]["replicas"] == 21
    world.policy(count, name="a", reinvocationPolicy="Never")
    assert (await world.write())["spec"]["replicas"] == 11
    # Nothing changed after it: it has no reason to run again, but where an earlier plugin changes something.
    world = World().policy(count, name="a", reinvocationPolicy="IfNeeded")
    assert (await world.write())["spec"]["replicas"] == 11
    world.earlier.change = {"annotations": {"changed": "by"}}
    assert (await world.write())["spec"]["replicas"] == 21


async def test_after_a_webhooks_change_only_those_run_again():
    count = apply("Object{spec: Object.spec{replicas: object.spec.replicas + 10}}")
    world = World().policy(count, name="a", reinvocationPolicy="IfNeeded").policy(count, name="b")
    a = world.attributes()
    await world.plugin.admit(a)
    assert a.object["spec"]["replicas"] == 31  # a, b, and a again
    await world.plugin.admit(a)  # what the webhook plugin does where a webhook has changed the object
    assert a.object["spec"]["replicas"] == 41


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (apply("Object{spec: Object.spec{replicas: object.missing}}"), "no such key: missing"),
        (apply("Object{spec: Object.metadata{}}"), 'unexpected type name "Object.metadata", expected "Object.spec"'),
        (apply("{}"), "must evaluate to Object"),
        (patch("Object{}"), "must evaluate to list(JSONPatch)"),
        (apply('Object{spec: Object.spec{colour: "red"}}'), ".spec.colour: field not declared in schema"),
        (
            apply('Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {"x": "y"}}}}'),
            "may not mutate atomic arrays, maps or structs: .spec.selector",
        ),
        (patch('[JSONPatch{op: "remove", path: "/spec/nothing"}]'), "JSON Patch: "),
        (patch('[JSONPatch{op: "add", path: "/metadata/x", value: duration("1s")}]'), "could not marshal to JSON"),
    ],
)
async def test_failures_follow_the_failure_policy(mutation, words):
    world = World().policy(mutation)
    failure = await world.refused()
    assert (failure.code, failure.reason) == (403, "Invalid")
    assert failure.message.startswith("policy 'p' with binding 'b-p' denied request: ") and words in failure.message
    assert failure.details["causes"] == [{"message": failure.message}]
    world.policy(mutation, apply("Object{spec: Object.spec{replicas: 7}}"), failurePolicy="Ignore")
    assert (await world.write())["spec"]["replicas"] == 7


async def test_parameters_and_conditions():
    mutation = apply("Object{spec: Object.spec{replicas: int(params.data.replicas)}}")
    world = World().policy(
        mutation,
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConditions=[{"name": "small", "expression": "object.spec.replicas < 5"}],
        binding={"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}},
    )
    assert "no params found" in (await world.refused()).message
    world.reader.put(CONFIG_MAPS, obj("limits", namespace="ns", data={"replicas": "4"}))
    assert (await world.write())["spec"]["replicas"] == 4
    assert (await world.write(deployment(replicas=9)))["spec"]["replicas"] == 9


async def test_nothing_configured_here_can_change_its_own_configuration():
    plugin = World().policy(apply("Object{}")).plugin
    assert not plugin.handles("CREATE", POLICIES, "") and not plugin.handles("UPDATE", BINDINGS, "")
    assert not plugin.handles("DELETE", DEPLOYMENTS, "")


def problems(*mutations, **spec):
    constraints = {"resourceRules": [RULE], "namespaceSelector": {}, "objectSelector": {}, "matchPolicy": "Equivalent"}
    spec = {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": constraints, **spec}
    body = {"metadata": {"name": "p.example.com"}, "spec": {**spec, "mutations": list(mutations)}}
    return [str(e) for e in CREATE["admissionregistration.k8s.io", "mutatingadmissionpolicies"](body)]


def test_what_cannot_be_a_policy():
    good = apply("Object{spec: Object.spec{replicas: 1}}")
    assert problems(good) == [] == problems(patch('[JSONPatch{op: "remove", path: "/x"}]'))
    assert problems(patch("[]")) == [
        'spec.mutations[0].jsonPatch.expression: Invalid value: "[]": must evaluate to list(JSONPatch) but got list(dyn)'
    ]
    assert problems() == ["spec.mutations: Required value: mutations must contain at least one item"]
    assert problems(good, reinvocationPolicy=None) == ["spec.reinvocationPolicy: Required value"]
    assert problems({"patchType": "Merge"}) == [
        'spec.mutations[0].patchType: Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"'
    ]
    path = "spec.mutations[0].jsonPatch"
    assert problems({"patchType": "JSONPatch"}) == [
        f"{path}: Required value: must be specified when patchType is JSONPatch"
    ]
    assert problems({**good, **patch("[]"), "patchType": "ApplyConfiguration"}) == [
        f'{path}: Invalid value: "{{jsonPatch}}": must not be specified when patchType is ApplyConfiguration'
    ]
    (found,) = problems(apply("{'a': 1}"))
    assert found.endswith("must evaluate to Object but got map(string, int)")
    (found,) = problems(apply("Object{"))
    assert "compilation failed: ERROR: <input>:1:" in found
    rules = {**RULE, "operations": ["DELETE"]}
    (found,) = problems(
        good,
        matchConstraints={
            "resourceRules": [rules],
            "namespaceSelector": {},
            "objectSelector": {},
            "matchPolicy": "Exact",
        },
    )
    assert found.endswith('Unsupported value: "DELETE": supported values: "CREATE", "UPDATE"')
