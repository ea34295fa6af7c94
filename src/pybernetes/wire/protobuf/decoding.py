"""Decoders compiled from the type table: by field number, what to do with a field's value."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from ...api.schema.builtin import facts
from . import special
from .encoding import _JSON_SCHEMA, _VARINTS, WRAPPED
from .varint import ProtobufError, fields, read_varint, signed

Reader = Callable[[Any], Any]
"""Of a field's value (an integer, or bytes)."""
Setter = Callable[[dict[str, Any], Any], None]

MESSAGES: dict[str, Reader] = {
    "time": special.decode_time,
    "microtime": special.decode_micro_time,
    "duration": special.decode_duration,
    "quantity": special.decode_quantity,
    "intorstring": special.decode_int_or_string,
    "raw": special.decode_raw,
    "fieldsv1": special.decode_raw,
    "json": special.decode_raw,
}


@cache
def message_decoder(definition: str) -> Callable[[bytes, dict[str, Any]], None]:
    """Fills a dict with the fields of a struct's message."""
    compiled: list[dict[int, Setter]] = []

    def decode(data: bytes, out: dict[str, Any]) -> None:
        if not compiled:
            compiled.append(_setters(definition))
        table = compiled[0]
        for number, _, value in fields(data):
            setter = table.get(number)
            if setter is not None:
                setter(out, value)

    return decode


def decode_message(definition: str, data: bytes) -> dict[str, Any]:
    out: dict[str, Any] = {}
    message_decoder(definition)(data, out)
    return out


def _setters(definition: str) -> dict[int, Setter]:
    table: dict[int, Setter] = {}
    for name, type_, flags, number, _wire, *_ in facts().structs[definition]:
        if "i" in flags:
            if number:
                table[number] = _embedded(type_.lstrip("*"))
        elif number:
            table[number] = _setter(name, type_)
    return table


def _embedded(definition: str) -> Setter:
    decode = message_decoder(definition)
    return lambda out, value: decode(_bytes(value), out)


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 0 for a message")
    return value


def _setter(name: str, type_: str) -> Setter:
    type_ = type_.lstrip("*")
    named = facts().named.get(type_)
    if named is not None and type_.rpartition(".")[2] not in WRAPPED:
        return _setter(name, named)
    if type_.startswith("[]") and type_ not in ("[]byte", "[]uint8"):
        return _appender(name, type_[2:])
    if type_.startswith("map:"):
        return _map_setter(name, type_[4:])
    read = reader(type_)

    def set_field(out: dict[str, Any], value: Any) -> None:
        out[name] = read(value)

    return set_field


def _appender(name: str, item_type: str) -> Setter:
    read = reader(item_type)
    packable = facts().named.get(item_type.lstrip("*"), item_type.lstrip("*")) in _VARINTS

    def append(out: dict[str, Any], value: Any) -> None:
        items = out.get(name)
        if items is None:
            items = out[name] = []
        if packable and not isinstance(value, int):
            at = 0
            while at < len(value):
                number, at = read_varint(value, at)
                items.append(read(number))
            return
        items.append(read(value))

    return append


def _map_setter(name: str, value_type: str) -> Setter:
    read = reader(value_type)
    stripped = value_type.lstrip("*")
    empty = 0 if facts().named.get(stripped, stripped) in _VARINTS else b""

    def put(out: dict[str, Any], value: Any) -> None:
        key, item = "", None
        for number, _, part in fields(_bytes(value)):
            if number == 1:
                key = special.text(part)
            elif number == 2:
                item = read(part)
        items = out.get(name)
        if items is None:
            items = out[name] = {}
        items[key] = read(empty) if item is None else item

    return put


def reader(type_: str) -> Reader:
    type_ = type_.lstrip("*")
    table = facts()
    short = type_.rpartition(".")[2]
    if short in WRAPPED and type_ in table.named:
        return lambda value: [special.text(v) for n, _, v in fields(_bytes(value)) if n == 1]
    if type_ in table.named:
        return reader(table.named[type_])
    if type_ == "string":
        return _string
    if type_ in ("[]byte", "[]uint8"):
        return lambda value: base64.b64encode(_bytes(value)).decode()
    if type_ in _VARINTS:
        return _unsigned if type_.startswith("u") else _signed
    if type_ == "bool":
        return lambda value: bool(value)
    if type_ in ("float64", "float32"):
        return _double
    if type_ in MESSAGES:
        read = MESSAGES[type_]
        return lambda value: read(_bytes(value))
    unions = {"schemaorarray": _schema_or_array, "schemaorbool": _schema_or_bool, "schemaorstrings": _schema_or_strings}
    if type_ in unions:
        return unions[type_]
    if type_.startswith(("[]", "map:")):
        raise ProtobufError(f"proto: no message for {type_}")
    decode = message_decoder(type_)

    def message(value: Any) -> Any:
        out: dict[str, Any] = {}
        decode(_bytes(value), out)
        return out

    return message


def _string(value: Any) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        return str(value, "utf-8", "replace")
    except TypeError as failure:
        raise ProtobufError("proto: wrong wireType = 0 for a string") from failure


def _signed(value: Any) -> int:
    if not isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 2 for an integer")
    return signed(value)


def _unsigned(value: Any) -> int:
    if not isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 2 for an integer")
    return value


def _double(value: Any) -> float:
    if isinstance(value, int) or len(value) != 8:
        raise ProtobufError("proto: wrong wireType for a double")
    number: float = struct.unpack("<d", value)[0]
    return number


def _schema(data: Any) -> dict[str, Any]:
    return decode_message(_JSON_SCHEMA, _bytes(data))


def _schema_or_array(value: Any) -> Any:
    items: list[Any] = []
    for number, _, part in fields(_bytes(value)):
        if number == 1:
            return _schema(part)
        if number == 2:
            items.append(_schema(part))
    return items


def _schema_or_bool(value: Any) -> Any:
    allows: Any = False
    for number, _, part in fields(_bytes(value)):
        if number == 2:
            return _schema(part)
        if number == 1:
            allows = bool(part)
    return allows


def _schema_or_strings(value: Any) -> Any:
    items: list[Any] = []
    for number, _, part in fields(_bytes(value)):
        if number == 1:
            return _schema(part)
        if number == 2:
            items.append(special.text(part))
    return items
