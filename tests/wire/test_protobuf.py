"""The protobuf form of built-in kinds: bytes checked by hand, and a round trip of every field of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from pybernetes.api.resources import GVK, builtin_resources
from pybernetes.api.schema import builtin_schema
from pybernetes.api.schema.node import ANY, LIST, MAP, STRUCT, Node
from pybernetes.wire import protobuf
from pybernetes.wire.protobuf import ProtobufError

POD = GVK("", "v1", "Pod")
SERVICE = GVK("", "v1", "Service")
CRD = GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition")


def message(gvk: GVK, **fields: Any) -> bytes:
    return protobuf.encode_message(gvk, fields)


def through(gvk: GVK, obj: dict[str, Any]) -> dict[str, Any]:
    kind, decoded = protobuf.decode(protobuf.encode(gvk, obj))
    assert kind == gvk
    return builtin_schema(gvk).read(decoded)


# -- by hand: tag is (number << 3 | wire type) ------------------------------------------------------------------------

BY_HAND: list[tuple[GVK, dict[str, Any], str]] = [
    # metadata = 1 { name = 1 "a" }
    (POD, {"metadata": {"name": "a"}}, "0a03 0a0161"),
    # spec = 2 { hostNetwork = 11 true }
    (POD, {"spec": {"hostNetwork": True}}, "1202 5801"),
    # spec = 2 { terminationGracePeriodSeconds = 4 300 }
    (POD, {"spec": {"terminationGracePeriodSeconds": 300}}, "1203 20ac02"),
    # spec = 2 { priority = 25 -1 }: negative numbers take ten bytes
    (POD, {"spec": {"priority": -1}}, "120c c801 ffffffffffffffffff01"),
    # spec = 2 { nodeSelector = 7 { key = 1 "k", value = 2 "v" } }
    (POD, {"spec": {"nodeSelector": {"k": "v"}}}, "1208 3a06 0a016b 120176"),
    # spec = 2 { volumes = 1 { name = 1 "v", volumeSource = 2 { emptyDir = 2 {} } } }
    (POD, {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}, "1209 0a07 0a0176 1202 1200"),
    # metadata = 1 { creationTimestamp = 8 { seconds = 1 1, nanos = 2 0 } }
    (POD, {"metadata": {"creationTimestamp": "1970-01-01T00:00:01Z"}}, "0a06 4204 0801 1000"),
    # spec = 2 { overhead = 32 { key = 1 "cpu", value = 2 { string = 1 "1" } } }
    (POD, {"spec": {"overhead": {"cpu": "1"}}}, "120d 82020a 0a03637075 1203 0a0131"),
    # spec = 2 { ports = 1 { targetPort = 4 { type = 1 1, intVal = 2 0, strVal = 3 "w" } } }
    (SERVICE, {"spec": {"ports": [{"targetPort": "w"}]}}, "120b 0a09 2207 0801 1000 1a0177"),
    (SERVICE, {"spec": {"ports": [{"targetPort": 80}]}}, "120a 0a08 2206 0800 1050 1a00"),
    # data = 2 { key = 1 "k", value = 2 bytes }
    (GVK("", "v1", "Secret"), {"data": {"k": "AAE="}}, "1207 0a016b 12020001"),
]


@pytest.mark.parametrize(("gvk", "obj", "hexadecimal"), BY_HAND)
def test_bytes(gvk: GVK, obj: dict, hexadecimal: str) -> None:
    assert protobuf.encode_message(gvk, obj) == bytes.fromhex(hexadecimal)
    schema = builtin_schema(gvk)
    assert schema.read(protobuf.decode(protobuf.envelope(gvk, bytes.fromhex(hexadecimal)))[1]) == schema.read(
        {"kind": gvk.kind, "apiVersion": gvk.api_version, **obj}
    )


def test_envelope() -> None:
    body = protobuf.envelope(POD, b"\x0a\x00")
    assert body == b"k8s\x00" + bytes.fromhex("0a09 0a027631 1203506f64 1202 0a00 1a00 2200")
    assert protobuf.is_protobuf(body) and not protobuf.is_protobuf(b"{}")


def test_what_go_writes_for_unset_fields_goes_away() -> None:
    # metadata with empty name, generateName, namespace, selfLink, uid, resourceVersion, generation 0, creationTimestamp {}
    meta = bytes.fromhex("0a00 1200 1a00 2200 2a00 3200 3800 4200")
    raw = b"\x0a" + bytes([len(meta)]) + meta
    _, decoded = protobuf.decode(protobuf.envelope(GVK("", "v1", "ConfigMap"), raw))
    assert builtin_schema(GVK("", "v1", "ConfigMap")).read(decoded) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {},
    }


# -- every field of every kind ----------------------------------------------------------------------------------------

SCALARS: dict[str, Any] = {
    "string": "é",
    "bool": True,
    "int": 7,
    "number": 1.5,
    "quantity": "100m",
    "intorstring": "50%",
    "bytes": "AAEC",
    "time": "2024-01-02T03:04:05Z",
    "microtime": "2024-01-02T03:04:05.678901Z",
    "duration": "1h30m0s",
}


def sample(node: Node, seen: tuple[str, ...] = ()) -> Any:
    if node.kind == STRUCT and node.struct is not None:
        if node.struct.name in seen:
            return {}
        below = (*seen, node.struct.name)
        return {f.name: sample(f.node, below) for f in node.struct.fields.values()}
    if node.kind == LIST and node.items is not None:
        return [sample(node.items, seen)]
    if node.kind == MAP and node.values is not None:
        return {"a": sample(node.values, seen), "b": sample(node.values, seen)}
    if node.kind == ANY:
        return True if node.go.endswith("OrBool") else ({} if "OrArray" in node.go else [])
    return SCALARS[node.kind]


def kinds() -> list[GVK]:
    found = {info.gvk for info in builtin_resources()}
    found |= {info.gvk._replace(kind=info.list_kind) for info in builtin_resources() if "list" in info.verbs}
    found |= {s.kind for info in builtin_resources() for s in info.subresources.values()}
    found |= {GVK("", "v1", k) for k in ("Status", "DeleteOptions", "WatchEvent", "APIVersions", "APIResourceList")}
    found |= {GVK("meta.k8s.io", "v1", k) for k in ("PartialObjectMetadata", "PartialObjectMetadataList")}
    return sorted(found)


@pytest.mark.parametrize("gvk", kinds(), ids=str)
def test_round_trip_of_every_kind(gvk: GVK) -> None:
    assert protobuf.supports(gvk)
    schema = builtin_schema(gvk)
    obj = schema.read({**sample(schema.root), "apiVersion": gvk.api_version, "kind": gvk.kind})
    back = through(gvk, obj)
    # apiVersion and kind of objects inside objects have no place in messages
    assert without_types(back) == without_types(obj)


def without_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_types(v) for k, v in value.items() if k not in ("apiVersion", "kind")}
    return [without_types(v) for v in value] if isinstance(value, list) else value


def test_unions_of_json_schemas() -> None:
    props = {
        "a": {"items": {"type": "string"}, "additionalProperties": False},
        "b": {"items": [{"type": "string"}, {}], "additionalProperties": {"type": "integer"}},
        "c": {
            "default": {"x": [1, None]},
            "enum": [1, "a", None],
            "dependencies": {"x": ["y"], "z": {"type": "object"}},
        },
    }
    crd = {
        "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": props}}}]}
    }
    read = builtin_schema(CRD).read({"apiVersion": CRD.api_version, "kind": CRD.kind, **crd})
    assert through(CRD, read) == read


# -- lists and watches --------------------------------------------------------------------------------------------------


def test_a_list_is_joined_from_messages() -> None:
    gvk = GVK("", "v1", "PodList")
    items = [{"metadata": {"name": n}} for n in "ab"]
    joined = protobuf.encode_list(gvk, {"resourceVersion": "7"}, [message(POD, **i) for i in items])
    assert joined == protobuf.encode(gvk, {"metadata": {"resourceVersion": "7"}, "items": items})


def test_watch_frames() -> None:
    body = protobuf.encode(POD, {"metadata": {"name": "a"}})
    frame = protobuf.watch_frame("ADDED", body)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert protobuf.decode_watch_frame(frame[4:]) == ("ADDED", body)


def test_lists_of_anything_carry_json() -> None:
    gvk = GVK("", "v1", "List")
    obj = {"metadata": {}, "items": [{"kind": "X", "apiVersion": "e/v1", "spec": {"n": 1}}]}
    assert through(gvk, obj)["items"] == obj["items"]


# -- bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"k8s\x00\xff",
        b"k8s\x00\x0a\x7f",
        b"k8s\x00" + bytes.fromhex("0a09 0a027631 1203506f64 1203 0a0561"),
        b"k8s\x00" + bytes.fromhex("0a09 0a027631 1203506f64 1202 0801"),
        b"k8s\x00" + bytes.fromhex("0a09 0a027631 1203506f64 1202 0301"),
        b"k8s\x00" + bytes.fromhex("0a09 0a027631 1203587878 1200"),
        b"k8s\x00" + bytes.fromhex("0a09 0a027631 1203506f64 120d 0a0b 420908 ffffffffffffffff7f"),
    ],
)
def test_garbage_is_refused(body: bytes) -> None:
    with pytest.raises(ProtobufError):
        protobuf.decode(body)


def test_deep_nesting_is_refused() -> None:
    inner = b""
    for _ in range(3000):
        # JSONSchemaProps.not = 28
        inner = _wrap(b"\xe2\x01", inner)
    schema = _wrap(b"\x0a", inner)
    version = _wrap(b"\x22", schema)
    raw = _wrap(b"\x12", _wrap(b"\x3a", version))
    with pytest.raises(ProtobufError):
        protobuf.decode(protobuf.envelope(CRD, raw))


def _wrap(tag: bytes, data: bytes) -> bytes:
    from pybernetes.wire.protobuf.varint import delimited

    return delimited(tag, data)
