"""Schemas of custom resources as documents publish them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..resources import GVK
from .definitions import Builder, Json

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
SELECTABLE = "x-kubernetes-selectable-fields"
"""Put into a version's published schema beside what its definition says of it."""
_V2_DROPPED = ("nullable", "anyOf", "oneOf", "not", "default")


def definition_name(gvk: GVK) -> str:
    """``com.example.v1.Foo``: the group's labels in reverse."""
    return ".".join([*reversed(gvk.group.split(".")), gvk.version, gvk.kind])


def definition(schema: Mapping[str, Any] | None, gvk: GVK, builder: Builder) -> Json:
    """The schema of a kind with what every object has, in the form of an OpenAPI version."""
    version = builder.version
    about = [{"group": gvk.group, "kind": gvk.kind, "version": gvk.version}]
    if version == 2 and (schema or {}).get("x-kubernetes-preserve-unknown-fields"):
        # With any property kubectl would refuse all others.
        selectable = {k: v for k, v in (schema or {}).items() if k == SELECTABLE}
        return {"type": "object", "x-kubernetes-group-version-kind": about, **selectable}
    out = _convert(schema or {}, version)
    if not out or out.get("x-kubernetes-preserve-unknown-fields") and not out.get("properties"):
        out.setdefault("type", "object")
    if out.get("type") == "object" or out.get("properties"):
        properties = dict(out.get("properties") or {})
        properties |= _meta_properties(builder, OBJECT_META)
        out["properties"] = dict(sorted(properties.items()))
    out["x-kubernetes-group-version-kind"] = about
    return out


def _meta_properties(builder: Builder, metadata: str) -> Json:
    """apiVersion, kind and metadata with the words that built-in kinds have for them."""
    ref = builder.ref(metadata)
    words = {name: builder.words("io.k8s.api.core.v1.Pod", name) for name in ("apiVersion", "kind", "metadata")}
    return {
        "apiVersion": {**words["apiVersion"], "type": "string"},
        "kind": {**words["kind"], "type": "string"},
        "metadata": {**words["metadata"], **(ref if builder.version == 2 else {"allOf": [ref]})},
    }


def list_definition(schema: Mapping[str, Any] | None, gvk: GVK, list_kind: str, builder: Builder) -> Json:
    selectable = {k: v for k, v in (schema or {}).items() if k == SELECTABLE}
    item = builder.ref(definition_name(gvk))
    items = {"description": f"The objects of kind {gvk.kind}.", "type": "array", "items": item}
    return {
        "description": f"{list_kind} is a list of {gvk.kind}",
        "type": "object",
        "required": ["items"],
        "properties": dict(sorted({**_meta_properties(builder, LIST_META), "items": items}.items())),
        "x-kubernetes-group-version-kind": [{"group": gvk.group, "kind": list_kind, "version": gvk.version}],
        **selectable,
    }


def _convert(schema: Mapping[str, Any], version: int) -> Json:
    """v2 knows less: what it cannot say is left out rather than said wrongly, as upstream does."""
    out: Json = {}
    for key, value in schema.items():
        if version == 2 and key in _V2_DROPPED:
            continue
        if key == "properties":
            out[key] = {k: _convert(v, version) for k, v in sorted(value.items())}
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
            out[key] = _convert(value, version)
        else:
            out[key] = value
    if version == 2:
        _weaken(schema, out)
    return out


def _weaken(schema: Mapping[str, Any], out: Json) -> None:
    if schema.get("nullable"):
        # a null would not fit the type; kubectl's validation must not refuse it
        for key in ("type", "items", "properties", "additionalProperties", "enum", "format"):
            out.pop(key, None)
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        out.pop("items", None)
        out.pop("properties", None)
        out.pop("type", None)


def friendly_group(group: str) -> str:
    """``rbacAuthorization`` of ``rbac.authorization.k8s.io``: the tag and operation prefix of a group."""
    if not group:
        return "core"
    words = re.split(r"[.-]", group.removesuffix(".k8s.io"))
    return words[0] + "".join(w[:1].upper() + w[1:] for w in words[1:])
