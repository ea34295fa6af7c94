"""Claims for devices, classes and slices: one field made wrong -> the error, as upstream's server words it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pybernetes.api.cel.devices import SelectorError, compile_selector

from .test_validation import LABEL_WORDS, create_errors, prepared, update_errors

Obj = dict[str, Any]
API = "resource.k8s.io/v1"
DEVICE: Obj = {"name": "dev", "attributes": {"model": {"string": "x"}}, "capacity": {"memory": {"value": "8Gi"}}}
OPAQUE: Obj = {"opaque": {"driver": "d.example.com", "parameters": {"a": 1}}}
CLAIM: Obj = {
    "apiVersion": API,
    "kind": "ResourceClaim",
    "metadata": {"name": "c"},
    "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}},
}
SLICE: Obj = {
    "apiVersion": API,
    "kind": "ResourceSlice",
    "metadata": {"name": "s"},
    "spec": {
        "driver": "d.example.com",
        "nodeName": "n",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        "devices": [DEVICE],
    },
}
CLASS: Obj = {
    "apiVersion": API,
    "kind": "DeviceClass",
    "metadata": {"name": "c"},
    "spec": {"selectors": [{"cel": {"expression": 'device.driver == "d"'}}]},
}
EXACTLY = "spec.devices.requests.0.exactly"
REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


def changed(good: Obj, where: str, value: Any) -> Obj:
    made = copy.deepcopy(good)
    *steps, last = where.split(".")
    at: Any = made
    for step in steps:
        at = at[int(step) if step.isdigit() else step]
    at[int(last) if last.isdigit() else last] = value
    return made


def cel(expression: str) -> list[Obj]:
    return [{"cel": {"expression": expression}}]


CLAIMS: list[tuple[str, Any, list[str]]] = [
    ("spec.devices.requests.0.name", "", [f'spec.devices.requests[0].name: Invalid value: "": {LABEL_WORDS}']),
    (
        "spec.devices.requests.0",
        {"name": "r"},
        ["spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"],
    ),
    (f"{EXACTLY}.deviceClassName", "", ["spec.devices.requests[0].exactly.deviceClassName: Required value"]),
    (
        f"{EXACTLY}.allocationMode",
        "Odd",
        [
            'spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Odd": supported values: "All", '
            '"ExactCount"'
        ],
    ),
    (
        f"{EXACTLY}.count",
        -1,
        ["spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"],
    ),
    (f"{EXACTLY}.selectors", [{}], ["spec.devices.requests[0].exactly.selectors[0].cel: Required value"]),
    (
        f"{EXACTLY}.selectors",
        cel("1"),
        [
            'spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: "1": must evaluate to bool or '
            "the unknown type, not int"
        ],
    ),
    (
        f"{EXACTLY}.tolerations",
        [{"key": "a", "operator": "Exists", "value": "x"}],
        [
            'spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: "x": must be empty for operator '
            "`Exists`"
        ],
    ),
    (
        "spec.devices.constraints",
        [{"requests": ["odd"], "matchAttribute": "x"}],
        [
            f'spec.devices.constraints[0].requests[0]: Invalid value: "odd": {REFERENCE}',
            'spec.devices.constraints[0].matchAttribute: Invalid value: "x": a fully qualified name must be a domain and a '
            "name separated by a slash",
        ],
    ),
    (
        "spec.devices.config",
        [{"opaque": {"driver": "d", "parameters": [1]}}],
        ['spec.devices.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object'],
    ),
    (
        "spec.devices.config",
        [{"opaque": {"driver": "d", "parameters": {"a": "x" * 10_240}}}],
        ["spec.devices.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"],
    ),
    ("spec.devices.config", [OPAQUE] * 33, ["spec.devices.config: Too many: 33: must have at most 32 items"]),
]
SLICES: list[tuple[str, Any, list[str]]] = [
    ("spec.driver", "", ["spec.driver: Required value"]),
    ("spec.nodeName", None, [f"spec: Required value: {ONE_PLACE}"]),
    (
        "spec.allNodes",
        True,
        [f'spec: Invalid value: "{{`nodeName`, `allNodes`}}": {ONE_PLACE}, but multiple fields are set'],
    ),
    (
        "spec.sharedCounters",
        [{"name": "s", "counters": {"m": {"value": "1"}}}],
        ['spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'],
    ),
    ("spec.devices", [DEVICE, DEVICE], ['spec.devices[1]: Duplicate value: "dev"']),
    (
        "spec.devices.0.attributes",
        {"a": {}},
        ['spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be specified'],
    ),
    (
        "spec.devices.0.attributes",
        {"a": {"version": "1.2"}},
        [
            'spec.devices[0].attributes[a].version: Invalid value: "1.2": must be a string compatible with semver.org spec '
            "2.0.0"
        ],
    ),
    (
        "spec.devices.0.attributes",
        {"a": {"ints": [1, 2]}},  # behind a gate that is off: dropped, and then nothing is left
        ['spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be specified'],
    ),
    (
        "spec.devices.0.capacity",
        {"m": {"value": "8Gi", "requestPolicy": {"default": "1Gi"}}},
        ["spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
    ),
    (
        "spec.devices.0",
        {
            "name": "d",
            "allowMultipleAllocations": True,
            "capacity": {
                "m": {"value": "8Gi", "requestPolicy": {"default": "5Gi", "validRange": {"min": "6Gi", "max": "4Gi"}}}
            },
        },
        [
            'spec.devices[0].capacity[m].requestPolicy.validRange.min: Invalid value: "5Gi": default is less than min: 6Gi',
            'spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: "6Gi": min is larger than max: 4Gi',
            'spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: "5Gi": default is more than max: 4Gi',
        ],
    ),
    (
        "spec.devices.0.taints",
        [{"key": "a", "effect": "Odd", "timeAdded": "2026-01-01T00:00:00Z"}],
        [
            'spec.devices[0].taints[0].effect: Unsupported value: "Odd": supported values: "NoExecute", "NoSchedule", "None"'
        ],
    ),
    (
        "spec.devices.0.consumesCounters",
        [{"counterSet": "s"}],
        ["spec.devices[0].consumesCounters[0].counters: Required value"],
    ),
    (
        "spec.devices.0.bindingConditions",
        ["a"],
        [
            "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use "
            "bindingConditions"
        ],
    ),
]


def test_what_is_good_passes():
    assert [create_errors(o) for o in (CLAIM, SLICE, CLASS)] == [[], [], []]


@pytest.mark.parametrize(("where", "value", "wanted"), CLAIMS)
def test_claims_and_templates(where, value, wanted):
    claim = changed(CLAIM, where, value)
    assert create_errors(claim) == wanted
    template = {**claim, "kind": "ResourceClaimTemplate", "spec": {"spec": claim["spec"]}}
    assert create_errors(template) == [w.replace("spec.", "spec.spec.", 1) for w in wanted]


@pytest.mark.parametrize(("where", "value", "wanted"), SLICES)
def test_slices(where, value, wanted):
    assert create_errors(changed(SLICE, where, value)) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("example.com/gpu", []),
        ("cpu", ['spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name']),
    ],
)
def test_classes(value, wanted):
    assert create_errors(changed(CLASS, "spec.extendedResourceName", value)) == wanted


def test_a_claim_does_not_change():
    (error,) = update_errors(CLAIM, changed(CLAIM, "spec.devices.requests.0.name", "other"))
    assert error.startswith(
        'spec: Invalid value: {"Devices":{"Requests":[{"Name":"other","Exactly":{"DeviceClassName":"c",'
    )
    assert error.endswith('"Constraints":null,"Config":null}}: field is immutable')


def test_a_slice_keeps_its_place():
    errors = update_errors(SLICE, changed(SLICE, "spec.nodeName", "m"))
    assert errors == ['spec.nodeName: Invalid value: "m": field is immutable']


RESULT: Obj = {"request": "r", "driver": "d.example.com", "pool": "p", "device": "dev"}
ALLOCATION: Obj = {"devices": {"results": [RESULT]}}
CONSUMER: Obj = {"resource": "pods", "name": "p", "uid": "u"}


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"allocation": ALLOCATION, "reservedFor": [CONSUMER]}, []),
        (
            {"reservedFor": [CONSUMER]},
            ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        ),
        (
            {"allocation": ALLOCATION, "reservedFor": [CONSUMER, CONSUMER]},
            ['status.reservedFor[1]: Duplicate value: "u"'],
        ),
        (
            {"allocation": {"devices": {"results": [{**RESULT, "request": "odd"}]}}},
            [f'status.allocation.devices.results[0].request: Invalid value: "odd": {REFERENCE}'],
        ),
        (
            {"allocation": {"devices": {"results": [{**RESULT, "shareID": "x"}]}}},
            [
                'status.allocation.devices.results[0].shareID: Invalid value: "x": error validating uid: invalid UUID length: '
                "1"
            ],
        ),
        (
            {"allocation": ALLOCATION, "devices": [{**RESULT, "device": "other"}]},
            [
                'status.devices[0]: Invalid value: {"Driver":"d.example.com","Pool":"p","Device":"other","ShareID":""}: must be '
                "an allocated device in the claim"
            ],
        ),
        (
            {"allocation": ALLOCATION, "devices": [{**RESULT, "networkData": {"ips": ["2001:DB8::1/64"]}}]},
            [
                'status.devices[0].networkData.ips[0]: Invalid value: "2001:DB8::1/64": must be in canonical form '
                '("2001:db8::1/64")'
            ],
        ),
    ],
)
def test_the_status_of_a_claim(status, wanted):
    devices = [{k: v for k, v in d.items() if k != "request"} for d in status.get("devices") or ()]
    new = {**CLAIM, "status": {**status, **({"devices": devices} if devices else {})}}
    assert update_errors({**CLAIM, "status": {}}, new, "status") == wanted


def test_an_allocation_does_not_change():
    other = {"devices": {"results": [{**RESULT, "device": "other"}]}}
    (error,) = update_errors(
        {**CLAIM, "status": {"allocation": ALLOCATION}}, {**CLAIM, "status": {"allocation": other}}, "status"
    )
    assert error.startswith(
        'status.allocation: Invalid value: {"Devices":{"Results":[{"Request":"r","Driver":"d.example.com",'
    )
    assert error.endswith('"NodeSelector":null,"AllocationTimestamp":null}: field is immutable')


def test_defaults_of_a_request():
    request = prepared(CLAIM)["spec"]["devices"]["requests"][0]
    assert request["exactly"] == {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}


# -- selectors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "true",
        'device.attributes["d"].x == 5',
        'device.attributes["d"].x',
        'device.capacity["d"].memory.compareTo(quantity("1Gi")) >= 0',
        "device.allowMultipleAllocations",
        'cel.bind(dra, device.attributes["d"], dra.a && dra.b)',
        'device.attributes["d"].v.isGreaterThan(semver("1.0.0"))',
    ],
)
def test_good_selectors(expression):
    compile_selector(expression)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("device.odd", "undefined field 'odd'"),
        ("", "<input>:1:0: Syntax error: mismatched input '<EOF>'"),
        ("device.attributes", "not map(string, map(string, google.protobuf.Any))"),
        ('device.attributes["d"].v.includes("x")', "undeclared reference to 'includes'"),
        (
            "device.attributes.all(d, device.attributes.all(e, device.attributes.all(f, device.attributes.all(g, true))))",
            "too complex, exceeds cost limit",
        ),
    ],
)
def test_bad_selectors(expression, words):
    with pytest.raises(SelectorError) as refused:
        compile_selector(expression)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("attributes", "wanted"), [({"d": {"a": True, "b": True}}, True), ({"d": {"a": True, "b": False}}, False)]
)
def test_a_selector_is_evaluated(attributes, wanted):
    program = compile_selector('cel.bind(dra, device.attributes["d"], dra.a && dra.b) && device.driver == "x"')
    value, cost = program.evaluate({"device": {"driver": "x", "attributes": attributes, "capacity": {}}})
    assert value is wanted
    assert cost > 10
