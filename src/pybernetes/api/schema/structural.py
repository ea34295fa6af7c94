"""Schemas of custom resources: a CRD's ``openAPIV3Schema`` compiled into the same nodes as the built-in kinds.

Specified by "Specifying a structural schema": types, pruning with ``x-kubernetes-preserve-unknown-fields``, embedded
resources, int-or-string, nullable, defaults. A custom object's ``metadata`` is always the built-in ObjectMeta, dropped
field by field where it does not decode.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from .builtin import OBJECT_META, node_of
from .mismatch import unknown_fields as builtin_unknown_fields
from .node import ANY, BOOL, INT, INT_OR_STRING, LIST, MAP, NUMBER, STRING, STRUCT, Field, Node, StructType
from .reading import DROP, Mismatch, field_reader, struct_reader

_SCALARS = {"string": STRING, "boolean": BOOL, "integer": INT, "number": NUMBER}
_GO = {STRING: "string", BOOL: "bool", INT: "int64", NUMBER: "float64"}
META_FIELDS = ("apiVersion", "kind", "metadata")


def compile_node(schema: Mapping[str, Any]) -> Node:
    """The node of one OpenAPI v3 schema (a JSONSchemaProps as the CRD carries it)."""
    node = Node(
        _kind(schema),
        list_type=schema.get("x-kubernetes-list-type") or "",
        list_map_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        map_type=schema.get("x-kubernetes-map-type") or "",
        preserve_unknown=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        nullable=bool(schema.get("nullable")),
        default=schema.get("default"),
        openapi=schema,
    )
    node.go = _GO.get(node.kind, "")
    items = schema.get("items")
    if isinstance(items, Mapping):
        node.items = compile_node(items)
    if node.kind in (STRUCT, MAP, ANY):
        _compile_object(schema, node)
    return node


def _kind(schema: Mapping[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return INT_OR_STRING
    type_ = schema.get("type") or ""
    if type_ in _SCALARS:
        return _SCALARS[type_]
    if type_ == "array":
        return LIST
    if type_ == "object":
        return MAP if schema.get("additionalProperties") and not schema.get("properties") else STRUCT
    return STRUCT if schema.get("properties") else ANY


def _compile_object(schema: Mapping[str, Any], node: Node) -> None:
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        node.values = compile_node(additional)
    elif additional is True:
        node.values = Node(ANY)
    if node.kind == MAP:
        return
    fields = {name: Field(name, compile_node(sub)) for name, sub in properties.items()}
    if node.embedded:
        add_meta_fields(fields)
    if node.kind == STRUCT or fields:
        node.kind = STRUCT
        node.struct = StructType("", "", lambda: fields, atomic=node.map_type == "atomic")


def add_meta_fields(fields: dict[str, Field]) -> None:
    """What every object has, whatever the CRD's schema says of it."""
    for name in ("apiVersion", "kind"):
        existing = fields.get(name)
        if existing is None or existing.node.kind != STRING:
            fields[name] = Field(name, node_of("string"))
    fields["metadata"] = Field("metadata", node_of(OBJECT_META))


def compile_root(schema: Mapping[str, Any]) -> Node:
    """The node of a whole custom resource; the root is an embedded resource by definition."""
    node = compile_node({**schema, "x-kubernetes-embedded-resource": True})
    node.openapi = schema
    return node


# -- pruning ---------------------------------------------------------------------------------------------------------


def prune(node: Node, value: Any) -> None:
    """Drops unknown fields and forbidden nulls in place, and coerces the metadata of (embedded) objects."""
    if isinstance(value, dict):
        _prune_object(node, value)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            prune(node.items, item)


def _prune_object(node: Node, value: dict[str, Any]) -> None:
    fields = node.fields
    gone = None
    for key, item in value.items():
        if node.embedded and key in META_FIELDS:
            if key == "metadata":
                value[key] = coerce_metadata(item)
            continue
        known = fields.get(key)
        child = known.node if known is not None else node.values
        if child is None:
            if not node.preserve_unknown:
                gone = [key] if gone is None else [*gone, key]
        elif item is None:
            if not child.nullable and child.default is None and child.kind != ANY:
                gone = [key] if gone is None else [*gone, key]
        elif item.__class__ is dict or item.__class__ is list:
            prune(child, item)
    if gone:
        for key in gone:
            del value[key]


def coerce_metadata(value: Any) -> Any:
    """The metadata that a typed server would keep; fields that do not decode are dropped one by one."""
    node = node_of(OBJECT_META)
    if value is None or not isinstance(value, dict) or node.struct is None:
        return value
    try:
        return struct_reader(node.struct)(value)
    except Mismatch:
        pass
    out = {}
    for key, item in value.items():
        field = node.fields.get(key)
        if field is None:
            continue
        try:
            read = field_reader(field)(item)
        except Mismatch:
            continue
        if read is not DROP:
            out[key] = read
    return out


# -- unknown fields --------------------------------------------------------------------------------------------------


def unknown_fields(node: Node, value: Any) -> list[str]:
    """Those of metadata first, then those of the schema, then those of the metadata of objects inside."""
    found: list[str] = []
    metadata: list[str] = []
    _unknown(node, value, "", found, metadata)
    own = [p for p in metadata if p.startswith("metadata.")]
    return own + sorted(found) + sorted(p for p in metadata if not p.startswith("metadata."))


def _unknown(node: Node | None, value: Any, path: str, found: list[str], metadata: list[str]) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _unknown(node.items if node is not None else None, item, f"{path}[{index}]", found, metadata)
        return
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        if node is not None and node.embedded and key in META_FIELDS:
            if key == "metadata":
                metadata += [f"{below}.{p}" for p in builtin_unknown_fields(node_of(OBJECT_META), item)]
            continue
        child = node.child(key) if node is not None else None
        if child is not None:
            _unknown(child, item, below, found, metadata)
        elif node is None or not node.preserve_unknown:
            found.append(below)


# -- defaults --------------------------------------------------------------------------------------------------------


def has_defaults(node: Node) -> bool:
    """Whether this node or one below has a default (computed once)."""
    known: bool | None = node.compiled.get("defaults")
    if known is None:
        below = [f.node for f in node.fields.values()] if node.struct is not None else []
        below += [n for n in (node.values, node.items) if n is not None]
        node.compiled["defaults"] = known = any(
            n.default is not None or (n.openapi is not None and has_defaults(n)) for n in below
        )
    return known


def apply_defaults(node: Node, value: Any) -> None:
    """Fills in structural defaults in place, top down, so that a default's own missing fields are filled too."""
    if not has_defaults(node):
        return
    if isinstance(value, dict):
        for name, field in node.fields.items():
            child = field.node
            if child.default is not None and child.openapi is not None:
                if name not in value or (value[name] is None and not child.nullable):
                    value[name] = copy.deepcopy(child.default)
        for key, item in value.items():
            child_node = node.child(key)
            if child_node is None or child_node.openapi is None:
                continue
            if item is None and not child_node.nullable and key not in node.fields:
                item = value[key] = copy.deepcopy(child_node.default)
            if item.__class__ is dict or item.__class__ is list:
                apply_defaults(child_node, item)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if item is None and not node.items.nullable:
                item = value[index] = copy.deepcopy(node.items.default)
            apply_defaults(node.items, item)
