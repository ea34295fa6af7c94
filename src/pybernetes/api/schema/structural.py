"""Schemas of custom resources: a CRD's ``openAPIV3Schema`` compiled into the same nodes as the built-in kinds.

Specified by "Specifying a structural schema": types, pruning with ``x-kubernetes-preserve-unknown-fields``, embedded
resources, int-or-string, nullable, defaults. A custom object's ``metadata`` is always the built-in ObjectMeta, dropped
field by field where it does not decode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
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
    elif isinstance(value, list):
        items = items_of(node)
        for item in value:
            if items is not None:
                prune(items, item)
            elif not node.preserve_unknown:
                _empty(item)


def items_of(node: Node) -> Node | None:
    """The schema of a list's items. Where the list keeps what is unknown, they do too."""
    items = node.items
    if items is None or not node.preserve_unknown or items.preserve_unknown:
        return items
    kept: Node | None = node.compiled.get("items")
    if kept is None:
        kept = node.compiled["items"] = items.with_(preserve_unknown=True)
    return kept


def _empty(value: Any) -> None:
    """Nothing is known of what is in here."""
    if isinstance(value, dict):
        value.clear()
    elif isinstance(value, list):
        for item in value:
            _empty(item)


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


# -- objects in which there is nothing to drop ---------------------------------------------------------------------------

Fits = Callable[[Any], bool]


def fits(node: Node, value: Any) -> bool:
    """Whether ``prune`` would drop nothing and ``unknown_fields`` would find nothing, metadata of objects apart.

    Most objects are like that; one walk by compiled functions spares them two others.
    """
    check: Fits | None = node.compiled.get("fits")
    if check is None:
        check = node.compiled["fits"] = _compile_fits(node)
    return check(value)


def _compile_fits(node: Node) -> Fits:
    if node.kind in _GO:
        # What is no scalar where one belongs has no field that is known.
        return lambda value: value.__class__ is not dict and value.__class__ is not list
    items = items_of(node)
    fields = {name: field.node for name, field in node.fields.items()}
    embedded, values, preserve = node.embedded, node.values, node.preserve_unknown

    def check(value: Any) -> bool:
        if value.__class__ is list:
            if items is None:
                return preserve or all([not _holds_objects(item) for item in value])
            return all([fits(items, item) for item in value])
        if value.__class__ is not dict:
            return True
        for key, item in value.items():
            if embedded and key in META_FIELDS:
                continue
            child = fields.get(key, values)
            if child is None:
                if not preserve:
                    return False
            elif item is None:
                if not child.nullable and child.default is None and child.kind != ANY:
                    return False
            elif not fits(child, item):
                return False
        return True

    return check


def _holds_objects(value: Any) -> bool:
    return value.__class__ is dict or value.__class__ is list


def coerce_embedded(node: Node, value: dict[str, Any]) -> bool:
    """Coerces the metadata of an object whose other parts fit; False where objects are inside whose metadata counts too."""
    inner: bool | None = node.compiled.get("inner")
    if inner is None:
        inner = node.compiled["inner"] = _has_inner(node)
    if inner:
        return False
    if "metadata" in value:
        value["metadata"] = coerce_metadata(value["metadata"])
    return True


def _has_inner(node: Node) -> bool:
    below = [f.node for f in node.fields.values()] + [n for n in (node.values, node.items) if n is not None]
    return any(n.openapi is not None and (n.embedded or _has_inner(n)) for n in below)


# -- unknown fields --------------------------------------------------------------------------------------------------


def unknown_fields(node: Node, value: Any) -> list[str]:
    """Those of metadata first, then those of the schema, then those of the metadata of objects inside."""
    found: list[str] = []
    metadata: list[str] = []
    _unknown(node, value, "", found, metadata)
    own = [p for p in metadata if p.startswith("metadata.")]
    return own + sorted(found) + sorted(p for p in metadata if not p.startswith("metadata."))


def drops_something(node: Node, value: Any) -> bool:
    """Whether a value has fields that its schema does not know; those of metadata do not count."""
    found: list[str] = []
    _unknown(node, value, "", found, [])
    return bool(found)


def _unknown(node: Node | None, value: Any, path: str, found: list[str], metadata: list[str]) -> None:
    if isinstance(value, list):
        items = items_of(node) if node is not None else None
        if items is None and node is not None and node.preserve_unknown:
            return
        for index, item in enumerate(value):
            _unknown(items, item, f"{path}[{index}]", found, metadata)
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


def _default_plan(node: Node) -> tuple[list[tuple[str, Node]], list[tuple[str, Node]], Mapping[str, Field]]:
    """(fields with a default, fields that have some below, all fields)."""
    own, deep = [], []
    for name, field in node.fields.items():
        child = field.node
        if child.openapi is None:
            continue
        if child.default is not None:
            own.append((name, child))
        if has_defaults(child):
            deep.append((name, child))
    return own, deep, node.fields


def apply_defaults(node: Node, value: Any) -> None:
    """Fills in structural defaults in place, top down, so that a default's own missing fields are filled too."""
    if not has_defaults(node):
        return
    if isinstance(value, dict):
        plan = node.compiled.get("default_plan")
        if plan is None:
            plan = node.compiled["default_plan"] = _default_plan(node)
        own, deep, fields = plan
        for name, child in own:
            if name not in value or (value[name] is None and not child.nullable):
                value[name] = copy.deepcopy(child.default)
        for name, child in deep:
            item = value.get(name)
            if item.__class__ is dict or item.__class__ is list:
                apply_defaults(child, item)
        others = node.values
        if others is not None and others.openapi is not None:
            for key, item in value.items():
                if key in fields:
                    continue
                if item is None and not others.nullable:
                    item = value[key] = copy.deepcopy(others.default)
                if item.__class__ is dict or item.__class__ is list:
                    apply_defaults(others, item)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if item is None and not node.items.nullable:
                item = value[index] = copy.deepcopy(node.items.default)
            apply_defaults(node.items, item)
