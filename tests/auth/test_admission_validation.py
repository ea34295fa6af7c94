"""What is refused of admission webhooks and policies before they can harm."""

import copy

import pytest

from pybernetes.api.resources import GVR, builtin_by_gvr
from pybernetes.api.validation import validate_create, validate_update

GROUP = "admissionregistration.k8s.io"


def info(resource):
    return builtin_by_gvr()[GVR(GROUP, "v1", resource)]


HOOK = {
    "name": "a.b.c",
    "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"}],
    "failurePolicy": "Fail", "matchPolicy": "Equivalent", "sideEffects": "None", "timeoutSeconds": 10,
    "namespaceSelector": {}, "objectSelector": {}, "admissionReviewVersions": ["v1"],
    "clientConfig": {"service": {"namespace": "n", "name": "s", "port": 443, "path": "/x"}},
}  # fmt: skip
CONSTRAINTS = {
    "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
    "resourceRules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "*"}],
}  # fmt: skip
POLICY = {
    "failurePolicy": "Fail",
    "matchConstraints": CONSTRAINTS,
    "validations": [{"expression": "object.spec.a > 1"}],
}
BINDING = {"policyName": "p", "validationActions": ["Deny"]}


def changed(base, path, value):
    made = copy.deepcopy(base)
    *parents, last = path
    at = made
    for step in parents:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return made


def shown(errors):
    return [str(e) for e in errors]


def hooks(hook, resource="validatingwebhookconfigurations"):
    return shown(validate_create(info(resource), {"metadata": {"name": "w"}, "webhooks": [hook]}))


def test_good_ones_pass():
    assert hooks(HOOK) == [] == hooks({**HOOK, "reinvocationPolicy": "Never"}, "mutatingwebhookconfigurations")
    assert hooks({**HOOK, "clientConfig": {"url": "https://host/path"}}) == []
    policy = {"metadata": {"name": "p"}, "spec": POLICY}
    assert shown(validate_create(info("validatingadmissionpolicies"), policy)) == []
    binding = {"metadata": {"name": "b"}, "spec": BINDING}
    assert shown(validate_create(info("validatingadmissionpolicybindings"), binding)) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("name",), "a.b", "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments"),
        (("sideEffects",), "Some", 'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
        (("sideEffects",), None, "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        (("timeoutSeconds",), 31, "the timeout value must be between 1 and 30 seconds"),
        (("admissionReviewVersions",), [], "Required value: must specify one of v1, v1beta1"),
        (("admissionReviewVersions",), ["v9"], "must include at least one of v1, v1beta1"),
        (("rules", 0, "operations"), ["*", "CREATE"], "if '*' is present, must not specify other operations"),
        (("rules", 0, "resources"), ["*", "pods"], "must not specify other resources without subresources"),
        (("rules", 0, "resources"), ["pods/*", "pods/exec"], "if 'pods/*' is present, must not specify pods/exec"),
        (("clientConfig",), {}, "exactly one of url or service is required"),
        (("clientConfig",), {"url": "http://u:p@h/?q#f"}, "'https' is the only allowed URL scheme"),
        (("clientConfig", "service", "path"), "x//y", "segment[0] may not be empty"),
        (("matchConditions",), [{"name": "n", "expression": "... [] bad"}], "compilation failed: "),
        (("matchConditions",), [{"name": "n", "expression": "1"}], "must evaluate to bool"),
        (("matchConditions",), [{"name": "n", "expression": "params.x"}], "undeclared reference to 'params'"),
        (("matchConditions",), [{"name": "n", "expression": "request.foo == 1"}], "undefined field 'foo'"),
        (("matchConditions",), [{"name": "", "expression": ""}], "webhooks[0].matchConditions[0].expression: Required value"),
    ],
)  # fmt: skip
def test_webhooks(path, value, words):
    found = hooks(changed(HOOK, path, value))
    assert any(words in line for line in found), found


def test_two_webhooks_have_two_names():
    found = validate_create(
        info("mutatingwebhookconfigurations"), {"metadata": {"name": "w"}, "webhooks": [HOOK, HOOK]}
    )
    assert shown(found) == ['webhooks[1].name: Duplicate value: "a.b.c"']


def test_what_was_stored_stays_good_enough():
    bad = {**HOOK, "sideEffects": "Some", "matchConditions": [{"name": "n", "expression": "1 +"}]}
    old = {"metadata": {"name": "w", "resourceVersion": "1", "uid": "u"}, "webhooks": [bad]}
    new = copy.deepcopy(old)
    new["webhooks"][0]["timeoutSeconds"] = 5
    assert shown(validate_update(info("validatingwebhookconfigurations"), new, old)) == []
    new["webhooks"][0]["matchConditions"][0]["expression"] = "2 +"
    assert any(
        "compilation failed" in e for e in shown(validate_update(info("validatingwebhookconfigurations"), new, old))
    )


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("failurePolicy",), None, "spec.failurePolicy: Required value"),
        (("matchConstraints",), None, "spec.matchConstraints: Required value"),
        (("matchConstraints", "resourceRules"), [], "spec.matchConstraints.resourceRules: Required value"),
        (("validations",), [], "validations or auditAnnotations must contain at least one item"),
        (("validations", 0, "expression"), "object.", "spec.validations[0].expression: Invalid value"),
        (("validations", 0, "expression"), "'text'", "must evaluate to bool"),
        (("validations", 0, "messageExpression"), "1", "must evaluate to string"),
        (("validations", 0, "message"), "a\nb", "must not contain line breaks"),
        (("validations", 0, "reason"), "Teapot", 'supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"'),
        (("variables",), [{"name": "in", "expression": "1"}], "must be a valid CEL identifier"),
        (("auditAnnotations",), [{"key": "k", "valueExpression": "1"}], "must evaluate to one of [string null_type] but got int"),
        (("paramKind",), {"apiVersion": "a/b/c", "kind": "K"}, "unexpected GroupVersion string: a/b/c"),
    ],
)  # fmt: skip
def test_policies(path, value, words):
    obj = {"metadata": {"name": "p"}, "spec": changed(POLICY, path, value)}
    found = shown(validate_create(info("validatingadmissionpolicies"), obj))
    assert any(words in line for line in found), found


def test_bindings():
    def found(**changes):
        obj = {"metadata": {"name": "b"}, "spec": {**BINDING, **changes}}
        return shown(validate_create(info("validatingadmissionpolicybindings"), obj))

    assert "spec.policyName: Required value" in found(policyName="")
    assert "must not contain both Deny and Warn" in found(validationActions=["Deny", "Warn"])[0]
    assert found(validationActions=[]) == [
        "spec.validationActions: Required value: at least one validation action is required"
    ]
    assert "Unsupported value" in found(validationActions=["Shout"])[0]
    assert "mutually exclusive" in str(found(paramRef={"name": "n", "selector": {}, "parameterNotFoundAction": "Deny"}))
