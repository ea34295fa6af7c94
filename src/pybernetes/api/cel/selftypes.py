"""``self`` of a custom resource's rule: its type out of the schema, its bounds, and its values as CEL has them.

Property names that are no identifiers are escaped (``a-b`` is ``a__dash__b``); what has no type (unknown fields,
untyped parts) cannot be reached. Bounds come from maxItems, maxLength and maxProperties, or from what fits a request.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cel_words import KEYWORDS
from ..schema.node import ANY, BOOL, INT, INT_OR_STRING, LIST, MAP, NUMBER, STRING, STRUCT, Node
from . import celtypes as t
from .celtypes import ObjectField, Type
from .values import Duration, MapList, SetList, Timestamp

MAX_REQUEST = 3 * 1024 * 1024
_UNSAFE = re.compile(r"__|[-./]|[^a-zA-Z0-9_./-]")
_REPLACED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def escape(name: str) -> str | None:
    """The identifier for a property name; None where there is none."""
    if name in KEYWORDS:
        return f"__{name}__"
    if not name or name[0].isdigit():
        return None
    parts = _UNSAFE.sub(lambda m: _REPLACED.get(m[0], "\0"), name)
    return parts if _IDENTIFIER.fullmatch(parts) else None


@dataclass(slots=True)
class Declared:
    """A type with its bounds: ``largest`` in elements or characters, ``smallest`` in bytes of JSON."""

    type: Type
    largest: int = 0
    smallest: int = 1
    fields: dict[str, Declared] = field(default_factory=dict)
    item: Declared | None = None
    key: Declared | None = None


_META = {
    "name": Declared(t.STRING, MAX_REQUEST - 2, 2),
    "generateName": Declared(t.STRING, MAX_REQUEST - 2, 2),
}


def declare(node: Node | None, *, root: bool = False) -> Declared | None:
    """The type of a schema's node; None where rules cannot see it."""
    if node is None or node.openapi is None:
        return None
    schema = node.openapi
    if node.kind == INT_OR_STRING:
        return Declared(t.DYN, _text_bound(schema), 1)
    if root or node.embedded:
        return _object(node, meta=True)
    if node.kind == LIST:
        return _list(node, schema)
    if node.kind in (STRUCT, MAP):
        additional = schema.get("additionalProperties")
        if isinstance(additional, Mapping):
            return _map(node, schema)
        return _object(node) if schema.get("type") == "object" else None
    if node.kind == STRING:
        return _string(schema)
    simple = {BOOL: Declared(t.BOOL, 0, 4), INT: Declared(t.INT, 0, 1), NUMBER: Declared(t.DOUBLE, 0, 1)}
    return simple.get(node.kind)


def _list(node: Node, schema: Mapping[str, Any]) -> Declared | None:
    item = declare(node.items)
    if item is None:
        return None
    most = schema.get("maxItems")
    bound = max(0, most) if most is not None else (MAX_REQUEST - 2) // (item.smallest + 1)
    return Declared(t.list_of(item.type), bound, 2, item=item)


def _map(node: Node, schema: Mapping[str, Any]) -> Declared | None:
    value = declare(node.values)
    if value is None:
        return None
    most = schema.get("maxProperties")
    bound = max(0, most) if most is not None else (MAX_REQUEST - 2) // (value.smallest + 6)
    key = Declared(t.STRING, 0, 2)
    return Declared(t.map_of(t.STRING, value.type), bound, 2, item=value, key=key)


def _object(node: Node, *, meta: bool = False) -> Declared:
    schema = node.openapi or {}
    required = set(schema.get("required") or ())
    fields: dict[str, Declared] = {}
    names: dict[str, str] = {}
    smallest = 2
    for name, known in node.fields.items():
        if meta and name in ("apiVersion", "kind", "metadata"):
            continue
        declared = declare(known.node)
        if declared is None:
            continue
        escaped = escape(name)
        if escaped is not None:
            fields[escaped] = declared
            names[escaped] = name
        if name in required and known.node.default is None:
            smallest += len(name) + declared.smallest + 4
    if meta:
        text = Declared(t.STRING, MAX_REQUEST - 2, 2)
        metadata = _made(dict(_META), {n: n for n in _META})
        fields |= {"apiVersion": text, "kind": text, "metadata": metadata}
        names |= {n: n for n in ("apiVersion", "kind", "metadata")}
    made = _made(fields, names)
    made.smallest = smallest
    return made


def _made(fields: dict[str, Declared], names: dict[str, str]) -> Declared:
    type_ = t.object_type("object", {e: ObjectField(d.type, names[e]) for e, d in fields.items()})
    return Declared(type_, 0, 2, fields)


_FORMATS: dict[str, tuple[Type, int, int]] = {
    "duration": (t.DURATION, 32, 3),
    "date": (t.TIMESTAMP, 12, 12),
    "date-time": (t.TIMESTAMP, 32, 21),
}


def _string(schema: Mapping[str, Any]) -> Declared:
    format_ = schema.get("format") or ""
    if format_ in _FORMATS:
        return Declared(*_FORMATS[format_])
    if format_ == "byte":
        most = schema.get("maxLength")
        return Declared(t.BYTES, max(0, most) if most is not None else MAX_REQUEST - 2, 2)
    if schema.get("maxLength") is None and schema.get("enum"):
        longest = max((len(str(v).encode()) for v in schema["enum"] if isinstance(v, str)), default=0)
        return Declared(t.STRING, longest, 2)
    return Declared(t.STRING, _text_bound(schema), 2)


def _text_bound(schema: Mapping[str, Any]) -> int:
    """In bytes: a character may take four."""
    most = schema.get("maxLength")
    return max(0, most) * 4 if most is not None else MAX_REQUEST - 2


# -- values ------------------------------------------------------------------------------------------------------------


def converts(node: Node) -> bool:
    """Whether values under this node differ from their JSON (times, bytes, doubles, sets ...); computed once."""
    known: bool | None = node.compiled.get("cel_converts")
    if known is None:
        node.compiled["cel_converts"] = known = _converts(node)
    return known


def _converts(node: Node) -> bool:
    schema = node.openapi or {}
    if node.kind == STRING:
        return schema.get("format") in ("byte", *_FORMATS)
    if node.kind == NUMBER or (node.kind == LIST and node.list_type in ("set", "map")):
        return True
    if node.kind == INT:
        return False
    below = [f.node for f in node.fields.values() if f.node.openapi is not None] if node.struct is not None else []
    below += [n for n in (node.values, node.items) if n is not None and n.openapi is not None]
    return any(map(converts, below))


def to_value(node: Node | None, value: Any) -> Any:
    """The CEL value of what is stored under a node. Shares what needs no conversion."""
    if node is None or value is None or node.kind == ANY or not converts(node):
        return value
    if isinstance(value, dict):
        return {k: to_value(node.child(k), v) for k, v in value.items()}
    if isinstance(value, list):
        items = [to_value(node.items, v) for v in value]
        if node.kind == LIST and node.list_type == "set":
            return SetList(items)
        if node.kind == LIST and node.list_type == "map":
            return MapList(items, node.list_map_keys)
        return items
    if node.kind == NUMBER and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _text_value(node, value) if isinstance(value, str) else value


def _text_value(node: Node, value: str) -> Any:
    format_ = (node.openapi or {}).get("format")
    try:
        match format_:
            case "byte":
                return base64.b64decode(value)
            case "duration":
                return Duration.parse(value)
            case "date":
                return Timestamp.parse(value + "T00:00:00Z")
            case "date-time":
                return Timestamp.parse(value.replace("t", "T").replace("z", "Z"))
    except ValueError:
        return value
    return value
