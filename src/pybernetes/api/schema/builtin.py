"""Schemas of the built-in kinds, compiled lazily from ``data/gotypes.json.gz`` (see ``tools/gotypes.py``).

The table holds names, types, emptiness rules and merge rules of v1.36's API types. Decompressing and parsing it takes
a few milliseconds, a kind's nodes are made when it is first used.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import orjson

from ..resources import GVK
from .node import (
    ANY,
    BOOL,
    BYTES,
    DURATION,
    INT,
    INT_OR_STRING,
    LIST,
    MAP,
    MICRO_TIME,
    NUMBER,
    QUANTITY,
    STRING,
    STRUCT,
    TIME,
    Field,
    Node,
    StructType,
)

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
OBJECT_META = f"{META}.ObjectMeta"
_APIEXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"

_SCALARS = {
    "string": Node(STRING, "string"),
    "bool": Node(BOOL, "bool"),
    "int": Node(INT, "int"),
    "int32": Node(INT, "int32", bits=32),
    "int64": Node(INT, "int64"),
    "uint8": Node(INT, "uint8", bits=8),
    "byte": Node(INT, "uint8", bits=8),
    "uint32": Node(INT, "uint32", bits=32),
    "uint64": Node(INT, "uint64"),
    "float32": Node(NUMBER, "float32"),
    "float64": Node(NUMBER, "float64"),
    "any": Node(ANY, "interface {}"),
    "quantity": Node(QUANTITY, "resource.Quantity"),
    "intorstring": Node(INT_OR_STRING, "intstr.IntOrString"),
    "time": Node(TIME, "v1.Time"),
    "microtime": Node(MICRO_TIME, "v1.MicroTime"),
    "duration": Node(DURATION, "v1.Duration"),
    "fieldsv1": Node(ANY, "v1.FieldsV1"),
    "raw": Node(ANY, "runtime.RawExtension"),
    "json": Node(ANY, "v1.JSON"),
    "schemaorarray": Node(ANY, "v1.JSONSchemaPropsOrArray"),
    "schemaorbool": Node(ANY, "v1.JSONSchemaPropsOrBool"),
    "schemaorstrings": Node(ANY, "v1.JSONSchemaPropsOrStringArray"),
}


_IMPLIED: dict[str, Any] = {STRING: "", BOOL: False, INT: 0, NUMBER: 0}
"""Defaults that upstream's OpenAPI gives to required fields that are no pointers."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The table as it is stored."""

    structs: dict[str, list[list[Any]]]
    named: dict[str, str]
    atomic: frozenset[str]
    enums: dict[str, list[str]]
    """Values of named string types, for documents only: the server's validation decides what is accepted."""
    packages: dict[tuple[str, str], str]
    """Go package (as a definition's prefix) of a group and version."""


@cache
def facts() -> Facts:
    packed = resources.files("pybernetes.api").joinpath("data/gotypes.json.gz").read_bytes()
    table = orjson.loads(gzip.decompress(packed))
    packages = {(group, prefix.rpartition(".")[2]): prefix for prefix, group in table["groups"].items()}
    return Facts(table["structs"], table["named"], frozenset(table["atomic"]), table["enums"], packages)


def definition_name(gvk: GVK) -> str | None:
    """The OpenAPI definition of a kind, as ``io.k8s.api.apps.v1.Deployment``; None where there is no such type."""
    table = facts()
    prefix = table.packages.get((gvk.group, gvk.version))
    if prefix is not None and f"{prefix}.{gvk.kind}" in table.structs:
        return f"{prefix}.{gvk.kind}"
    name = f"{META}.{gvk.kind}"
    return name if name in table.structs else None


def go_type(definition: str) -> str:
    """``v1.PodPhase`` of ``io.k8s.api.core.v1.PodPhase``."""
    return ".".join(definition.rsplit(".", 2)[-2:])


@cache
def struct_type(definition: str) -> StructType:
    table = facts()
    return StructType(
        definition,
        definition.rpartition(".")[2],
        lambda: _fields(definition),
        atomic=definition in table.atomic,
    )


def _fields(definition: str) -> dict[str, Field]:
    """In Go's order; embedded structs are laid flat."""
    made: dict[str, Field] = {}
    for name, type_, flags, number, _wire, *extras in facts().structs[definition]:
        if "i" in flags:
            embedded = type_.lstrip("*")
            for inner in struct_type(embedded).fields.values():
                way = (embedded.rpartition(".")[2], *inner.embedded)
                made.setdefault(inner.name, replace(inner, embedded=way))
            continue
        rules = extras[0] if extras else {}
        node = node_of(type_.removeprefix("*"))
        if "o" not in flags and node.kind in _IMPLIED and not type_.startswith("*"):
            rules = {"default": _IMPLIED[node.kind], **rules}
        made[name] = Field(
            name,
            _with_rules(node, rules),
            pointer=type_.startswith("*"),
            omit_empty="o" in flags,
            omit_zero="z" in flags,
            number=number,
        )
    return made


def _with_rules(node: Node, extras: dict[str, Any]) -> Node:
    if not extras:
        return node
    return node.with_(
        list_type=extras.get("list", ""),
        list_map_keys=tuple(extras.get("keys", ())),
        map_type=extras.get("map", ""),
        patch_strategy=extras.get("strategy", ""),
        patch_merge_key=extras.get("key", ""),
        default=extras.get("default"),
    )


@cache
def node_of(type_: str) -> Node:
    """The node of a type expression of the table: ``[]*x``, ``map:x``, a scalar, a named type or a struct."""
    if type_ in ("[]byte", "[]uint8"):
        return Node(BYTES, "[]uint8")
    if type_.startswith("*"):
        return node_of(type_[1:])
    if type_.startswith("[]"):
        items = node_of(type_[2:])
        star = "*" if type_[2:3] == "*" else ""
        return Node(LIST, f"[]{star}{items.go}", items=items, nullable=bool(star))
    if type_.startswith("map:"):
        values = node_of(type_[4:])
        return Node(MAP, f"map[string]{values.go}", values=values)
    if type_ in _SCALARS:
        return _SCALARS[type_]
    table = facts()
    if type_ in table.named:
        return node_of(table.named[type_]).with_(go=go_type(type_), enum=tuple(table.enums.get(type_, ())))
    return Node(STRUCT, go_type(type_), struct=struct_type(type_))
