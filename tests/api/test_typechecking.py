"""What type checking of policies warns of."""

from pybernetes.api.resources import GVK
from pybernetes.api.schema import builtin_schema
from pybernetes.api.typechecking import matched_kinds, warnings

KINDS = {
    ("apps", "v1", "deployments"): GVK("apps", "v1", "Deployment"),
    ("", "v1", "pods"): GVK("", "v1", "Pod"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"): GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
}  # fmt: skip


def kinds_for(group, version, resource):
    gvk = KINDS.get((group, version, resource))
    return [(gvk, builtin_schema(gvk).root)] if gvk else []


def node_of(gvk):
    return builtin_schema(gvk).root if gvk == GVK("", "v1", "ConfigMap") else None


def spec(*expressions, resources=("deployments",), group="apps", **more):
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "resources": list(resources), "operations": ["*"]}
    validations = [e if isinstance(e, dict) else {"expression": e} for e in expressions]
    return {"matchConstraints": {"resourceRules": [rule]}, "validations": validations, **more}


def check(*expressions, **more):
    return warnings(spec(*expressions, **more), kinds_for, node_of)


def test_what_fits_is_not_warned_of():
    good = (
        "object.spec.replicas > 1",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('x') && has(c.resources))",
        "object.metadata.labels['a'] == 'b' && oldObject.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')",
        "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '1%'",
        "object.spec.template.spec.containers.all(c, !has(c.resources.limits) || c.resources.limits['cpu'] == '1')",
        "authorizer.group('').resource('pods').check('get').allowed() && request.operation == 'CREATE'",
    )
    assert check(*good) == []


def test_a_field_that_is_not_there():
    (warning,) = check({"expression": "true", "messageExpression": "object.spec.foo"})
    assert warning["fieldRef"] == "spec.validations[0].messageExpression"
    lines = warning["warning"].splitlines()
    assert lines[0] == "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'foo'"
    assert lines[1:] == [" | object.spec.foo", " | ...........^"]
    assert warning["warning"].endswith("\n")


def test_types_that_do_not_fit():
    (warning,) = check("object.spec.replicas > '1'")
    assert warning["fieldRef"] == "spec.validations[0].expression"
    assert "found no matching overload for '_>_' applied to '(int, string)'" in warning["warning"]


def test_every_kind_is_checked():
    both = {"apiGroups": ["apps", ""], "apiVersions": ["v1"], "resources": ["deployments", "pods"]}
    policy = spec("object.spec.replicas > 1")
    policy["matchConstraints"]["resourceRules"] = [both]
    (warning,) = warnings(policy, kinds_for, node_of)
    assert warning["warning"].startswith("/v1, Kind=Pod: ERROR") and "Deployment" not in warning["warning"]


def test_wildcards_and_what_nobody_serves_are_not_checked():
    for group, resources in (("*", ["deployments"]), ("apps", ["*"]), ("apps", ["deployments/scale"]), ("no", ["x"])):
        assert check("object.spec.nonsense == 1", group=group, resources=resources) == []


def test_variables_have_the_types_of_their_expressions():
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "more", "expression": "variables.replicas + 1"},
        {"name": "broken", "expression": "object.spec.foo"},
    ]
    assert check("variables.more > 1 && variables.broken == 1", variables=variables) == []
    (warning,) = check("variables.more == 'x'", variables=variables)
    assert "'(int, string)'" in warning["warning"]
    (warning,) = check("variables.unknown == 1", variables=variables)
    assert "undefined field 'unknown'" in warning["warning"]


def test_parameters():
    known = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}
    assert check("params.data['x'] == 'y'", **known) == []
    (warning,) = check("params.spec.x == 1", **known)
    assert "undefined field 'spec'" in warning["warning"]
    unknown = {"paramKind": {"apiVersion": "x.io/v1", "kind": "Limit"}}
    assert check("params.spec.x == 1", **unknown) == []


def test_a_kind_that_contains_itself():
    where = {"group": "apiextensions.k8s.io", "resources": ["customresourcedefinitions"]}
    deep = "object.spec.versions.all(v, v.schema.openAPIV3Schema.properties['a'].properties['b'].type == 'string')"
    assert check(deep, **where) == []
    (warning,) = check(deep.replace(".type", ".typo"), **where)
    assert "undefined field 'typo'" in warning["warning"]


def test_no_more_than_ten_kinds():
    found = matched_kinds(
        spec(resources=[f"r{i}" for i in range(30)]),
        lambda g, v, r: [(GVK(g, v, r), builtin_schema(GVK("", "v1", "Pod")).root)],
    )
    assert len(found) == 10
