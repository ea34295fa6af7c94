"""Wrong objects of resource.k8s.io for ``differential_cases``: made by changing one field of a good object."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Obj = dict[str, Any]
BASE = "/apis/resource.k8s.io/v1"
REQUEST: Obj = {"name": "r", "exactly": {"deviceClassName": "c"}}
CLAIM: Obj = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "spec": {"devices": {"requests": [REQUEST]}}}
OPAQUE: Obj = {"opaque": {"driver": "d.example.com", "parameters": {"a": 1}}}
CLASS: Obj = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "DeviceClass",
    "spec": {"selectors": [{"cel": {"expression": 'device.driver == "d"'}}], "config": [OPAQUE]},
}
DEVICE: Obj = {
    "name": "dev",
    "attributes": {
        "model": {"string": "x"},
        "d.example.com/v": {"version": "1.2.3"},
        "n": {"int": 1},
        "b": {"bool": True},
    },
    "capacity": {"memory": {"value": "8Gi"}},
}
SLICE: Obj = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceSlice",
    "spec": {
        "driver": "d.example.com",
        "nodeName": "n",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        "devices": [DEVICE],
    },
}
MAP_KEYS = "a" * 33


def expression(text: str) -> list[Obj]:
    return [{"cel": {"expression": text}}]


EXPRESSIONS = (
    "",
    "true",
    "1",
    "device",
    "device.driver",
    "device.odd",
    "nothing",
    "device.driver ==",
    'device.attributes["d"].x',
    'device.attributes["d"].x == 5',
    'device.attributes["d"]["x"]',
    'device.attributes["d"].x.matches("[")',
    'device.attributes.d.x.startsWith("y")',
    "device.attributes",
    'device.capacity["d"].memory.compareTo(quantity("1Gi")) >= 0',
    'device.capacity["d"].memory',
    'device.capacity["d"].memory > 5',
    "device.allowMultipleAllocations",
    "device.allowMultipleAllocations == 1",
    'cel.bind(dra, device.attributes["d"], dra.a && dra.b)',
    'device.attributes["d"].v.isGreaterThan(semver("1.0.0"))',
    'device.attributes["d"].v.includes("x")',
    "device.attributes.all(d, device.attributes[d].all(i, true))",
    "device.attributes.all(d, device.attributes.all(e, device.attributes.all(f, device.attributes.all(g, true))))",
    "device.attributes.all(d, device.attributes[d].all(i, device.attributes.all(e, device.attributes[e].all(j, d == e))))",
    'device.attributes.all(d, d.matches("^(a+)+$"))',
    'device.driver in ["a", "b"]',
    '"x" in device.attributes',
    'has(device.attributes["d"].x)',
    'device.attributes[?"d"].orValue({}).x == 1',
    "device.driver.size() > 5 ? true : 1",
    '"' + "a" * 11_000 + '" == "b"',
)
SELECTORS = tuple(expression(e) for e in EXPRESSIONS)
TOLERATIONS = (
    {"key": "a", "operator": "Exists", "value": "x"},
    {"key": "a", "operator": "Odd"},
    {"key": "a b"},
    {"key": "a", "value": "x y"},
    {"effect": "Odd", "operator": "Exists"},
    {"operator": "Equal"},
    {"key": "a", "tolerationSeconds": 5, "effect": "NoExecute"},
)
CLAIM_CHANGES: tuple[tuple[str, Any], ...] = (
    ("spec", None),
    ("spec.devices", {}),
    ("spec.devices.requests", []),
    ("spec.devices.requests", [REQUEST, REQUEST]),
    ("spec.devices.requests", [{**REQUEST, "name": f"r{i}"} for i in range(33)]),
    ("spec.devices.requests.0.name", ""),
    ("spec.devices.requests.0.name", "A_b"),
    ("spec.devices.requests.0.name", "x" * 64),
    ("spec.devices.requests.0", {"name": "r"}),
    ("spec.devices.requests.0.exactly", {}),
    ("spec.devices.requests.0.firstAvailable", [{"name": "a", "deviceClassName": "c"}]),
    ("spec.devices.requests.0.exactly.deviceClassName", ""),
    ("spec.devices.requests.0.exactly.deviceClassName", "A b"),
    ("spec.devices.requests.0.exactly.allocationMode", "All"),
    ("spec.devices.requests.0.exactly.allocationMode", "Odd"),
    ("spec.devices.requests.0.exactly.count", 0),
    ("spec.devices.requests.0.exactly.count", -1),
    ("spec.devices.requests.0.exactly.count", 5),
    ("spec.devices.requests.0.exactly.adminAccess", True),
    ("spec.devices.requests.0.exactly.adminAccess", False),
    ("spec.devices.requests.0.exactly.capacity", {"requests": {"memory": "1Gi"}}),
    ("spec.devices.requests.0.exactly.selectors", [{}]),
    ("spec.devices.requests.0.exactly.selectors", [{"cel": {"expression": "true"}}] * 33),
    *(("spec.devices.requests.0.exactly.selectors", s) for s in SELECTORS),
    *(("spec.devices.requests.0.exactly.tolerations", [t]) for t in TOLERATIONS),
    ("spec.devices.requests.0", {"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "c"}] * 2}),
    (
        "spec.devices.requests.0",
        {"name": "r", "firstAvailable": [{"name": f"a{i}", "deviceClassName": "c"} for i in range(9)]},
    ),
    ("spec.devices.requests.0", {"name": "r", "firstAvailable": [{}]}),
    (
        "spec.devices.requests.0",
        {"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "c", "allocationMode": "All", "count": 2}]},
    ),
    ("spec.devices.constraints", [{}]),
    ("spec.devices.constraints", [{"matchAttribute": "x"}]),
    ("spec.devices.constraints", [{"matchAttribute": "d.example.com/x"}]),
    ("spec.devices.constraints", [{"matchAttribute": "d/"}]),
    ("spec.devices.constraints", [{"matchAttribute": "/x"}]),
    ("spec.devices.constraints", [{"matchAttribute": "a/b/c"}]),
    ("spec.devices.constraints", [{"matchAttribute": "d.example.com/" + MAP_KEYS}]),
    ("spec.devices.constraints", [{"matchAttribute": "d_x/1"}]),
    ("spec.devices.constraints", [{"distinctAttribute": "x"}]),
    ("spec.devices.constraints", [{"matchAttribute": "d/x", "distinctAttribute": "d/y"}]),
    ("spec.devices.constraints", [{"requests": ["odd"], "matchAttribute": "d/x"}]),
    ("spec.devices.constraints", [{"requests": ["r", "r"], "matchAttribute": "d/x"}]),
    ("spec.devices.constraints", [{"requests": ["r/a"], "matchAttribute": "d/x"}]),
    ("spec.devices.constraints", [{"requests": ["r/a/b", "", "/"], "matchAttribute": "d/x"}]),
    ("spec.devices.constraints", [{"matchAttribute": "d/x"}] * 33),
    ("spec.devices.config", [{}]),
    ("spec.devices.config", [{"opaque": {}}]),
    ("spec.devices.config", [{"opaque": {"driver": "d"}}]),
    ("spec.devices.config", [{"opaque": {"driver": "A_", "parameters": "x"}}]),
    ("spec.devices.config", [{"opaque": {"driver": "d", "parameters": [1]}}]),
    ("spec.devices.config", [{"opaque": {"driver": "d", "parameters": 5}}]),
    ("spec.devices.config", [{"opaque": {"driver": "d", "parameters": None}}]),
    ("spec.devices.config", [{"opaque": {"driver": "x" * 64, "parameters": {}}}]),
    ("spec.devices.config", [{"opaque": {"driver": "d", "parameters": {"a": "x" * 10_240}}}]),
    ("spec.devices.config", [{**OPAQUE, "requests": ["r"]}]),
    ("spec.devices.config", [{**OPAQUE, "requests": ["odd", "r", "r"]}]),
    ("spec.devices.config", [OPAQUE] * 33),
    ("status", {"reservedFor": [{"resource": "pods"}]}),
)
CLASS_CHANGES: tuple[tuple[str, Any], ...] = (
    ("spec", None),
    ("spec", {}),
    ("metadata.name", "A_b"),
    ("spec.extendedResourceName", ""),
    ("spec.extendedResourceName", "cpu"),
    ("spec.extendedResourceName", "example.com/gpu"),
    ("spec.extendedResourceName", "requests.example.com/gpu"),
    ("spec.config", [{}]),
    ("spec.config", [{"opaque": {"driver": "", "parameters": {}}}]),
    ("spec.config", [OPAQUE] * 33),
    ("spec.selectors", [{}]),
    *(("spec.selectors", s) for s in SELECTORS[:8]),
)
POLICY: Obj = {"default": "1Gi", "validRange": {"min": "1Gi", "max": "4Gi", "step": "1Gi"}}
COUNTERS: Obj = {"counterSet": "s", "counters": {"memory": {"value": "1Gi"}}}
TAINT: Obj = {"key": "a", "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"}


def capacity(policy: Obj, **device: Any) -> Obj:
    return {"name": "dev", "capacity": {"memory": {"value": "8Gi", "requestPolicy": policy}}, **device}


SHARED: Obj = {"allowMultipleAllocations": True}
SLICE_CHANGES: tuple[tuple[str, Any], ...] = (
    ("spec", None),
    ("spec.driver", ""),
    ("spec.driver", "A_"),
    ("spec.driver", "Upper.Example.com"),
    ("spec.driver", "x" * 64),
    ("spec.pool", {}),
    ("spec.pool", {"name": "a//b", "resourceSliceCount": 1}),
    ("spec.pool", {"name": "A_/b", "resourceSliceCount": 0, "generation": -1}),
    ("spec.pool", {"name": "x" * 254, "resourceSliceCount": 1}),
    ("spec.nodeName", ""),
    ("spec.nodeName", None),
    ("spec.nodeName", "A_"),
    ("spec.allNodes", True),
    ("spec.allNodes", False),
    ("spec.perDeviceNodeSelection", False),
    ("spec.perDeviceNodeSelection", True),
    ("spec.nodeSelector", {"nodeSelectorTerms": []}),
    ("spec.nodeSelector", {"nodeSelectorTerms": [{}, {}]}),
    ("spec.nodeSelector", {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Odd"}]}]}),
    ("spec.sharedCounters", [{"name": "s", "counters": {"memory": {"value": "1Gi"}}}]),
    ("spec.sharedCounters", [{}]),
    ("spec.devices", []),
    ("spec.devices", [DEVICE, DEVICE]),
    ("spec.devices", [{"name": f"d{i}"} for i in range(129)]),
    ("spec.devices", [{"name": f"d{i}", "taints": [TAINT]} for i in range(65)]),
    ("spec.devices.0.name", ""),
    ("spec.devices.0.name", "A_"),
    ("spec.devices.0.attributes", {"a b": {"int": 1}}),
    ("spec.devices.0.attributes", {MAP_KEYS: {"int": 1}}),
    ("spec.devices.0.attributes", {"x" * 200: {}}),
    ("spec.devices.0.attributes", {"/x": {"int": 1}}),
    ("spec.devices.0.attributes", {"d/": {"int": 1}}),
    ("spec.devices.0.attributes", {"A_/x": {"int": 1}}),
    ("spec.devices.0.attributes", {"a": {}}),
    ("spec.devices.0.attributes", {"a": {"int": 1, "bool": True}}),
    ("spec.devices.0.attributes", {"a": {"string": "x" * 65}}),
    ("spec.devices.0.attributes", {"a": {"version": "1.2"}}),
    ("spec.devices.0.attributes", {"a": {"version": "1.2.3-" + "a" * 70}}),
    ("spec.devices.0.attributes", {"a": {"ints": [1, 2]}}),
    ("spec.devices.0.attributes", {f"a{i}": {"int": 1} for i in range(32)}),
    ("spec.devices.0.capacity", {"a b": {"value": "1"}}),
    ("spec.devices.0.capacity", {"a": {}}),
    ("spec.devices.0.capacity", {"a": {"value": "x"}}),
    ("spec.devices.0", capacity(POLICY)),
    ("spec.devices.0", capacity(POLICY, **SHARED)),
    ("spec.devices.0", capacity({"default": "1Gi"}, **SHARED)),
    ("spec.devices.0", capacity({"validValues": ["1Gi"]}, **SHARED)),
    ("spec.devices.0", capacity({"validRange": {}}, **SHARED)),
    ("spec.devices.0", capacity({"default": "1Gi", "validRange": {}}, **SHARED)),
    ("spec.devices.0", capacity({"default": "1Gi", "validValues": ["2Gi", "1Gi", "1Gi", "9Gi"]}, **SHARED)),
    ("spec.devices.0", capacity({"default": "3Gi", "validValues": ["1Gi", "2Gi"]}, **SHARED)),
    ("spec.devices.0", capacity({"default": "1", "validValues": [str(i) for i in range(1, 12)]}, **SHARED)),
    ("spec.devices.0", capacity({"default": "1Gi", "validValues": ["1Gi"], "validRange": {"min": "1Gi"}}, **SHARED)),
    ("spec.devices.0", capacity({"default": "5Gi", "validRange": {"min": "6Gi", "max": "4Gi"}}, **SHARED)),
    ("spec.devices.0", capacity({"default": "1Gi", "validRange": {"min": "9Gi", "max": "10Gi"}}, **SHARED)),
    (
        "spec.devices.0",
        capacity({"default": "1500Mi", "validRange": {"min": "1Gi", "max": "4000Mi", "step": "1Gi"}}, **SHARED),
    ),
    ("spec.devices.0", capacity({"default": "1Gi", "validRange": {"min": "1Gi", "step": "8Gi"}}, **SHARED)),
    ("spec.devices.0.taints", [TAINT]),
    ("spec.devices.0.taints", [{}]),
    ("spec.devices.0.taints", [{**TAINT, "effect": "Odd"}]),
    ("spec.devices.0.taints", [{**TAINT, "key": "a b", "value": "x y"}]),
    ("spec.devices.0.taints", [{**TAINT, "effect": "None"}]),
    ("spec.devices.0.taints", [TAINT] * 17),
    ("spec.devices.0.consumesCounters", [COUNTERS]),
    ("spec.devices.0.consumesCounters", [COUNTERS, COUNTERS]),
    ("spec.devices.0.consumesCounters", [{}, {"counterSet": "A_", "counters": {"B_": {"value": "1"}}}]),
    ("spec.devices.0.consumesCounters", [COUNTERS] * 3),
    ("spec.devices.0.nodeName", "x"),
    ("spec.devices.0.allNodes", False),
    ("spec.devices.0.bindsToNode", True),
    ("spec.devices.0.bindingConditions", ["a"]),
    ("spec.devices.0.bindingFailureConditions", ["a"]),
    ("spec.devices.0", {"name": "d", "bindingConditions": ["a", "a"], "bindingFailureConditions": ["a", "b c"]}),
    ("spec.devices.0", {"name": "d", "bindingConditions": list("abcde"), "bindingFailureConditions": list("fghij")}),
    ("spec.devices.0.nodeAllocatableResourceMappings", {"cpu": {"allocationMultiplier": "1"}}),
)
PER_DEVICE: tuple[Obj, ...] = (
    {"name": "d"},
    {"name": "d", "nodeName": "x"},
    {"name": "d", "nodeName": ""},
    {"name": "d", "nodeName": "x", "allNodes": True},
    {"name": "d", "allNodes": False},
    {"name": "d", "nodeSelector": {"nodeSelectorTerms": []}},
)
COUNTER_SETS: tuple[Any, ...] = (
    [{"name": "s", "counters": {"memory": {"value": "1Gi"}}}],
    [{"name": "s", "counters": {"memory": {"value": "1Gi"}}}] * 2,
    [{}],
    [{"name": "A_", "counters": {"B_": {"value": "1"}}}],
    [{"name": "s", "counters": {f"c{i}": {"value": "1"} for i in range(33)}}],
    [{"name": f"s{i}", "counters": {"c": {"value": "1"}}} for i in range(9)],
)


def _changed(good: Obj, where: str, value: Any) -> Obj:
    made = copy.deepcopy(good)
    made.setdefault("metadata", {})
    *steps, last = where.split(".")
    at: Any = made
    for step in steps:
        at = at[int(step) if step.isdigit() else step]
    at[int(last) if last.isdigit() else last] = value
    return made


def wrong_devices(namespace: str) -> Iterator[tuple[str, str, Obj]]:
    """(label, path of creation, object without a name unless the name is what is wrong)."""
    claims = f"{BASE}/namespaces/{namespace}/resourceclaims"
    for where, value in CLAIM_CHANGES:
        claim = _changed(CLAIM, where, value)
        yield f"claim {where}", claims, claim
        template = {"spec": {"spec": claim["spec"]}, "apiVersion": claim["apiVersion"], "kind": "ResourceClaimTemplate"}
        yield f"claim template {where}", claims + "templates", template | {"metadata": {}}
    for where, value in CLASS_CHANGES:
        yield f"class {where}", f"{BASE}/deviceclasses", _changed(CLASS, where, value)
    slices = f"{BASE}/resourceslices"
    for where, value in SLICE_CHANGES:
        yield f"slice {where}", slices, _changed(SLICE, where, value)
    own = {k: v for k, v in SLICE["spec"].items() if k != "nodeName"} | {"perDeviceNodeSelection": True}
    for device in PER_DEVICE:
        yield "slice with nodes a device", slices, SLICE | {"metadata": {}, "spec": own | {"devices": [device]}}
    counting = {k: v for k, v in SLICE["spec"].items() if k != "devices"}
    for sets in COUNTER_SETS:
        yield "slice of counters", slices, SLICE | {"metadata": {}, "spec": counting | {"sharedCounters": sets}}


RESULT: Obj = {"request": "r", "driver": "d.example.com", "pool": "p", "device": "dev"}
ALLOCATION: Obj = {"devices": {"results": [RESULT], "config": [{"source": "FromClaim", **OPAQUE}]}}
CONSUMER: Obj = {"resource": "pods", "name": "p", "uid": "u"}


def _allocated(**changes: Any) -> Obj:
    return {"allocation": {"devices": {"results": [RESULT | changes]}}}


def claim_updates() -> Iterator[tuple[str, Obj]]:
    """(label, patch of the claim's status), in an order: what is wrong, an allocation, what may follow it."""
    yield "reserved before", {"reservedFor": [CONSUMER]}
    yield "device before", {"devices": [{"driver": "d", "pool": "p", "device": "x"}]}
    for changes in (
        {"request": "odd"},
        {"request": ""},
        {"driver": ""},
        {"pool": ""},
        {"pool": "A_"},
        {"device": "A_"},
        {"shareID": "x"},
        {"shareID": "ABCDEF00-0000-0000-0000-000000000000"},
        {"bindingConditions": ["a"]},
        {"adminAccess": True},
    ):
        yield f"result {changes}", _allocated(**changes)
    yield "config source", {"allocation": {"devices": {"results": [RESULT], "config": [{"source": "Odd", **OPAQUE}]}}}
    yield "config none", {"allocation": {"devices": {"results": [RESULT], "config": [{"requests": ["odd"]}]}}}
    yield "selector", {"allocation": {"devices": {}, "nodeSelector": {"nodeSelectorTerms": []}}}
    yield "results", {"allocation": {"devices": {"results": [RESULT] * 33}}}
    yield "allocated", {"allocation": ALLOCATION, "reservedFor": [CONSUMER]}
    yield "reallocated", {"allocation": {"devices": {"results": [RESULT, RESULT], "config": None}}}
    yield "reserved wrong", {"reservedFor": [{}, {"resource": "pods"}]}
    yield "reserved twice", {"reservedFor": [CONSUMER, CONSUMER]}
    device = {"driver": "d.example.com", "pool": "p", "device": "dev"}
    for changes in (
        {"device": "other"},
        {"driver": "", "pool": "", "device": ""},
        {"conditions": [{"type": "A b", "status": "Odd"}]},
        {"data": [1]},
        {"networkData": {"interfaceName": "x" * 257, "hardwareAddress": "x" * 129, "ips": ["1.2.3.4", "01.2.3.4/8"]}},
        {"networkData": {"ips": ["10.0.0.1/24", "10.0.0.1/24", "2001:DB8::1/64", "::ffff:10.0.0.1/120"]}},
        {"networkData": {"interfaceName": "eth0", "ips": ["10.0.0.1/24"]}},
    ):
        yield f"device {changes}"[:60], {"devices": [device | changes]}
    yield "deallocated", {"allocation": None, "reservedFor": None}
