"""Reading built-in objects as a Go server would: one pass that checks types, drops what is unknown and normalises.

A JSON body that went through Go's types comes back changed in well-known ways: empty optional fields vanish, required
ones appear (``status: {}``, ``containers: null``), null list items become zero values, quantities and times get their
canonical text. Clients see this, server-side apply compares against it, so it is part of the API.

Every field becomes one closure ``value -> value`` that may answer ``DROP``; a struct is a loop over the keys that are
there. A wrong type raises ``Mismatch`` without details: ``mismatch.py`` then finds upstream's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import scalars
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

Reader = Callable[[Any], Any]


class Mismatch(Exception):
    """A value that Go's decoder would refuse."""


class _Drop:
    __slots__ = ()


DROP = _Drop()
"""The field does not appear."""

_TEXTS: dict[str, Reader] = {
    TIME: scalars.read_time,
    MICRO_TIME: scalars.read_micro_time,
    DURATION: scalars.read_duration,
    QUANTITY: scalars.read_quantity,
    BYTES: scalars.read_bytes,
}
_ZERO: dict[str, Any] = {
    STRING: "",
    BOOL: False,
    INT: 0,
    NUMBER: 0,
    INT_OR_STRING: 0,
    QUANTITY: "0",
    DURATION: "0s",
}


def zero_of(node: Node) -> Any:
    """The JSON of Go's zero value (a new one where it is mutable)."""
    if node.kind == STRUCT and node.struct is not None:
        return {name: make() for name, make in always_of(node.struct)}
    return _ZERO.get(node.kind)


def always_of(struct: StructType) -> tuple[tuple[str, Callable[[], Any]], ...]:
    """The fields that appear even when nobody set them, with makers of their zero values."""
    known = struct.compiled.get("always")
    if known is None:
        known = tuple((f.name, _zero_maker(f)) for f in struct.fields.values() if _always(f))
        struct.compiled["always"] = known
    result: tuple[tuple[str, Callable[[], Any]], ...] = known
    return result


def _always(field: Field) -> bool:
    if field.omit_zero:
        return False
    if not field.omit_empty:
        return field.name not in ("kind", "apiVersion")
    return not field.pointer and (
        field.node.kind in (STRUCT, QUANTITY, INT_OR_STRING, TIME, MICRO_TIME, DURATION) or _raw_value(field.node)
    )


def _raw_value(node: Node) -> bool:
    return node.kind == ANY and node.go in ("runtime.RawExtension", "v1.JSON")


def _zero_maker(field: Field) -> Callable[[], Any]:
    if field.pointer:
        return lambda: None
    node = field.node
    if node.kind == STRUCT:
        return lambda: zero_of(node)
    zero = _ZERO.get(node.kind)
    return lambda: zero


def value_reader(node: Node) -> Reader:
    """Reads a value that is not null."""
    known: Reader | None = node.compiled.get("read")
    if known is None:
        known = node.compiled["read"] = _make_value_reader(node)
    return known


def _make_value_reader(node: Node) -> Reader:
    kind = node.kind
    if kind == STRUCT and node.struct is not None:
        return struct_reader(node.struct)
    if kind == MAP and node.values is not None:
        return _map_reader(node.values)
    if kind == LIST and node.items is not None:
        return _list_reader(node.items, pointers=node.nullable)
    if kind == INT:
        return _int_reader(node.bits, signed=not node.go.startswith("uint"))
    if kind in _TEXTS:
        return _text_reader(_TEXTS[kind])
    if kind == ANY and node.go.startswith("v1.JSONSchemaPropsOr"):
        return _schema_or_reader(node.go)
    return {STRING: _string, BOOL: _bool, NUMBER: _number, INT_OR_STRING: _int_or_string, ANY: _any}[kind]


def _string(value: Any) -> Any:
    if value.__class__ is not str:
        raise Mismatch
    return value


def _bool(value: Any) -> Any:
    if value.__class__ is not bool:
        raise Mismatch
    return value


def _number(value: Any) -> Any:
    if value.__class__ is not int and value.__class__ is not float:
        raise Mismatch
    return value


def _int_or_string(value: Any) -> Any:
    if value.__class__ is str or (value.__class__ is int and -(2**31) <= value < 2**31):
        return value
    raise Mismatch


def _any(value: Any) -> Any:
    return value


def _int_reader(bits: int, *, signed: bool) -> Reader:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)

    def read(value: Any) -> Any:
        if value.__class__ is int and low <= value < high:
            return value
        raise Mismatch

    return read


def _text_reader(reader: Reader) -> Reader:
    def read(value: Any) -> Any:
        try:
            return reader(value)
        except ValueError as failure:
            raise Mismatch from failure

    return read


def _list_reader(items: Node, *, pointers: bool) -> Reader:
    if items.kind == STRING:
        return _strings_reader

    def read(value: Any, read_item: Reader | None = None) -> Any:
        if value.__class__ is not list:
            raise Mismatch
        read_item = value_reader(items)
        return [read_item(item) if item is not None else (None if pointers else zero_of(items)) for item in value]

    return read


def _strings_reader(value: Any) -> Any:
    if value.__class__ is not list:
        raise Mismatch
    out = []
    for item in value:
        if item.__class__ is not str:
            if item is not None:
                raise Mismatch
            item = ""
        out.append(item)
    return out


def _map_reader(values: Node) -> Reader:
    def read(value: Any) -> Any:
        if value.__class__ is not dict:
            raise Mismatch
        read_value = value_reader(values)
        return {k: read_value(v) if v is not None else zero_of(values) for k, v in value.items()}

    return read


def _schema_or_reader(go: str) -> Reader:
    """The three unions of apiextensions: a schema, or a list of schemas, a bool, a list of strings."""
    from .builtin import struct_type

    schema = struct_type("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")

    def read(value: Any) -> Any:
        if value.__class__ is dict:
            return struct_reader(schema)(value)
        if value.__class__ is bool and go.endswith("OrBool"):
            return value
        if value.__class__ is list and go.endswith("OrArray"):
            return [struct_reader(schema)(v) if v is not None else {} for v in value]
        if value.__class__ is list and go.endswith("OrStringArray"):
            return _strings_reader(value)
        raise Mismatch

    return read


def field_reader(field: Field) -> Reader:
    """Reads one field's value, null included, with its emptiness rules."""
    read = value_reader(field.node)
    if field.pointer:
        return _pointer_reader(read, keep_null=not field.omit_empty)
    if field.node.kind in (LIST, MAP, STRING, BOOL, INT, NUMBER, BYTES):
        if field.omit_empty:
            return _omit_empty_reader(read)
        zero = _ZERO.get(field.node.kind)
        if field.node.kind in (LIST, MAP):
            # Upstream stores protobuf, which does not tell an empty list from none: what was [] is read back as null.
            return lambda value: (read(value) or None) if value is not None else zero
        return lambda value: read(value) if value is not None else zero
    if field.node.kind == ANY and field.omit_empty and not _raw_value(field.node):
        return lambda value: read(value) if value is not None else DROP
    if field.omit_zero:
        return lambda value: read(value) if value is not None else DROP
    node = field.node
    return lambda value: read(value) if value is not None else zero_of(node)


def _pointer_reader(read: Reader, *, keep_null: bool) -> Reader:
    absent = None if keep_null else DROP
    return lambda value: read(value) if value is not None else absent


def _omit_empty_reader(read: Reader) -> Reader:
    def optional(value: Any) -> Any:
        if value is None:
            return DROP
        # zero values of these kinds are exactly the false ones; their type still has to be right
        return read(value) or DROP

    return optional


class Seen:
    """What the readers noticed on the way: set by them, cleared by ``Schema.read_noting`` before it reads."""

    unknown = False


def struct_reader(struct: StructType) -> Reader:
    known: Reader | None = struct.compiled.get("read")
    if known is None:
        known = struct.compiled["read"] = _make_struct_reader(struct)
    return known


def _make_struct_reader(struct: StructType) -> Reader:
    fields = struct.fields
    readers: dict[str, Reader] = {}
    always = always_of(struct)

    def read(value: Any) -> Any:
        if value.__class__ is not dict:
            raise Mismatch
        out = {}
        for key, item in value.items():
            reader = readers.get(key)
            if reader is None:
                field = fields.get(key)
                if field is None:
                    Seen.unknown = True
                    continue
                reader = readers[key] = field_reader(field)
            new = reader(item)
            if new is not DROP:
                out[key] = new
        for key, make in always:
            if key not in out:
                out[key] = make()
        return out

    return read
