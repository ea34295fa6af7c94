"""Encoders compiled from the type table: one closure a field, ``value -> bytes`` with its tag."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from ...api.schema.builtin import facts
from . import special
from .varint import BYTES, FIXED64, VARINT, delimited, tag, varint

Encoder = Callable[[Any], bytes]
_SMALL = tuple(bytes([n]) for n in range(128))
WRAPPED = ("ExtraValue", "Verbs")
"""Named lists that are messages of their own, so that null and empty differ on maps' values."""
_VARINTS = frozenset({"int", "int32", "int64", "uint8", "byte", "uint32", "uint64"})

MESSAGES: dict[str, Encoder] = {
    "time": special.encode_time,
    "microtime": special.encode_time,
    "duration": special.encode_duration,
    "quantity": special.encode_quantity,
    "intorstring": special.encode_int_or_string,
    "raw": special.encode_raw,
    "fieldsv1": special.encode_raw,
    "json": special.encode_raw,
}
_JSON_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"


@cache
def message_encoder(definition: str) -> Encoder:
    """The encoder of a struct: the message's bytes without tag or length."""
    compiled: list[dict[str, tuple[int, Encoder, bool]]] = []

    def encode(value: dict[str, Any]) -> bytes:
        if not compiled:
            compiled.append(_field_table(definition))
        table = compiled[0]
        parts: list[tuple[int, bytes]] = []
        embedded: dict[int, tuple[Encoder, dict[str, Any]]] | None = None
        for key, item in value.items():
            entry = table.get(key)
            if entry is None or item is None:
                continue
            number, encoder, inside = entry
            if not inside:
                parts.append((number, encoder(item)))
            else:
                embedded = {} if embedded is None else embedded
                embedded.setdefault(number, (encoder, {}))[1][key] = item
        if embedded is not None:
            parts += [(number, encoder(inner)) for number, (encoder, inner) in embedded.items()]
        parts.sort()
        return b"".join([p for _, p in parts])

    return encode


def _field_table(definition: str) -> dict[str, tuple[int, Encoder, bool]]:
    """By JSON name: field number, encoder, and whether it belongs into an embedded message, whose encoder it is."""
    table: dict[str, tuple[int, Encoder, bool]] = {}
    for name, type_, flags, number, _wire, *_ in facts().structs[definition]:
        if "i" in flags:
            if number:
                encoder = field_encoder(type_, number)
                table |= {inner: (number, encoder, True) for inner in _field_table(type_.lstrip("*"))}
        elif number:
            table[name] = (number, field_encoder(type_, number), False)
    return table


def field_encoder(type_: str, number: int) -> Encoder:
    type_ = type_.lstrip("*")
    named = facts().named.get(type_)
    if named is not None and type_.rpartition(".")[2] not in WRAPPED:
        return field_encoder(named, number)
    if type_ in ("[]byte", "[]uint8"):
        prefix = tag(number, BYTES)
        return lambda value: delimited(prefix, base64.b64decode(value))
    if type_.startswith("[]"):
        return _list_encoder(field_encoder(type_[2:], number))
    if type_.startswith("map:"):
        return _map_encoder(type_[4:], number)
    return _single_encoder(type_, number)


def _list_encoder(item: Encoder) -> Encoder:
    return lambda value: b"".join([item(v) for v in value])


def _map_encoder(value_type: str, number: int) -> Encoder:
    prefix, key_tag = tag(number, BYTES), tag(1, BYTES)
    value_encoder = field_encoder(value_type, 2)

    def encode(value: dict[str, Any]) -> bytes:
        # Go sorts the keys
        out = []
        for key in sorted(value):
            item = value[key]
            body = delimited(key_tag, key.encode())
            out.append(delimited(prefix, body + value_encoder(item) if item is not None else body))
        return b"".join(out)

    return encode


def _single_encoder(type_: str, number: int) -> Encoder:
    if type_ in _VARINTS:
        prefix = tag(number, VARINT)
        return lambda value: prefix + (_SMALL[value] if 0 <= value < 128 else varint(value))
    if type_ == "bool":
        yes, no = tag(number, VARINT) + b"\x01", tag(number, VARINT) + b"\x00"
        return lambda value: yes if value else no
    if type_ in ("float64", "float32"):
        prefix = tag(number, FIXED64)
        return lambda value: prefix + struct.pack("<d", value)
    prefix = tag(number, BYTES)
    if type_ == "string":
        return _string_encoder(prefix)
    message = _message_of(type_)
    return lambda value: delimited(prefix, message(value))


def _string_encoder(prefix: bytes) -> Encoder:
    def encode(value: str) -> bytes:
        data = value.encode()
        size = len(data)
        return prefix + (_SMALL[size] if size < 128 else varint(size)) + data

    return encode


def _message_of(type_: str) -> Encoder:
    if type_ in MESSAGES:
        return MESSAGES[type_]
    if type_.rpartition(".")[2] in WRAPPED and type_ in facts().named:
        return _list_encoder(_string_encoder(tag(1, BYTES)))
    if type_ == "schemaorarray":
        return _schema_or_array
    if type_ == "schemaorbool":
        return _schema_or_bool
    if type_ == "schemaorstrings":
        return _schema_or_strings
    return message_encoder(type_)


def _schema_or_array(value: Any) -> bytes:
    schema = message_encoder(_JSON_SCHEMA)
    if isinstance(value, list):
        return b"".join([delimited(b"\x12", schema(v)) for v in value])
    return delimited(b"\x0a", schema(value))


def _schema_or_bool(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"\x08\x01" if value else b"\x08\x00"
    return b"\x08\x01" + delimited(b"\x12", message_encoder(_JSON_SCHEMA)(value))


def _schema_or_strings(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join([delimited(b"\x12", v.encode()) for v in value])
    return delimited(b"\x0a", message_encoder(_JSON_SCHEMA)(value))
