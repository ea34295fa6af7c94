"""Protocol-buffer messages as plain dicts, by a table of field numbers.

The kubelet sends some thirty kinds of message and must stay small, so it does not carry generated classes and descriptors: a
table line ``Mount container_path=1 readonly=3:bool propagation=5:MountPropagation uidMappings=6:IDMapping*`` says all there is.
A field without a type is a string; ``int`` is any varint, ``*`` means repeated, ``{}`` a map of strings. Enums are their names.
Decoding leaves absent fields out, except enums, whose zero value carries a meaning. Specified by the proto3 encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

Message = dict[str, Any]

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_SCALARS = ("int", "bool", "", "bytes", "double")


class CodecError(ValueError):
    """Bytes that are no message, or a dict with a field that the table does not have."""


class _Field(NamedTuple):
    name: str
    number: int
    kind: str
    """A scalar's name, ``enum``, ``message`` or ``map``."""
    repeated: bool
    type: str


def _append_varint(out: bytearray, value: int) -> None:
    if value < 0:
        value += 1 << 64
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise CodecError("varint longer than ten bytes")


class Schema:
    """The messages of one table. Lines that begin with ``enum`` name the values of an enum from zero."""

    def __init__(self, table: str) -> None:
        self._enums: dict[str, list[str]] = {}
        self._lines: dict[str, list[str]] = {}
        entries = [line.split() for line in table.replace("\n ", " ").splitlines() if line.strip()]
        for words in entries:
            if words[0] == "enum":
                self._enums[words[1]] = words[2:]
            else:
                self._lines[words[0]] = words[1:]
        self._compiled: dict[str, tuple[dict[str, _Field], dict[int, _Field], tuple[_Field, ...]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def _message(self, name: str) -> tuple[dict[str, _Field], dict[int, _Field], tuple[_Field, ...]]:
        compiled = self._compiled.get(name)
        if compiled is None:
            fields = [self._field(word) for word in self._lines[name]]
            enums = tuple(f for f in fields if f.kind == "enum" and not f.repeated)
            compiled = {f.name: f for f in fields}, {f.number: f for f in fields}, enums
            self._compiled[name] = compiled
        return compiled

    def _field(self, word: str) -> _Field:
        name, _, rest = word.partition("=")
        number, _, kind = rest.partition(":")
        repeated = kind.endswith("*")
        kind = kind.rstrip("*")
        if kind == "{}":
            return _Field(name, int(number), "map", True, "")
        if kind in _SCALARS:
            return _Field(name, int(number), kind, repeated, "")
        if kind in self._enums:
            return _Field(name, int(number), "enum", repeated, kind)
        if kind not in self._lines:
            raise CodecError(f"unknown type {kind!r} of field {name!r}")
        return _Field(name, int(number), "message", repeated, kind)

    # -- encoding --------------------------------------------------------------------------------------------------

    def encode(self, name: str, message: Mapping[str, Any]) -> bytes:
        out = bytearray()
        self._encode(out, name, message)
        return bytes(out)

    def _encode(self, out: bytearray, name: str, message: Mapping[str, Any]) -> None:
        by_name = self._message(name)[0]
        for key, value in message.items():
            field = by_name.get(key)
            if field is None:
                raise CodecError(f"{name} has no field {key!r}")
            if value is None:
                continue
            if field.kind == "map":
                for pair in value.items():
                    self._encode_pair(out, field.number, pair)
            elif field.repeated:
                for item in value:
                    self._encode_one(out, field, item)
            elif field.kind == "message" or value and (field.kind != "enum" or value != self._enums[field.type][0]):
                self._encode_one(out, field, value)

    def _encode_pair(self, out: bytearray, number: int, pair: tuple[str, str]) -> None:
        entry = bytearray()
        for index, text in enumerate(pair, 1):
            self._encode_bytes(entry, index, text.encode())
        self._encode_bytes(out, number, entry)

    @staticmethod
    def _encode_bytes(out: bytearray, number: int, data: bytes | bytearray) -> None:
        _append_varint(out, number << 3 | _LEN)
        _append_varint(out, len(data))
        out += data

    def _encode_one(self, out: bytearray, field: _Field, value: Any) -> None:
        kind = field.kind
        if kind == "":
            self._encode_bytes(out, field.number, value.encode())
        elif kind == "message":
            inner = bytearray()
            self._encode(inner, field.type, value)
            self._encode_bytes(out, field.number, inner)
        elif kind == "bytes":
            self._encode_bytes(out, field.number, value)
        elif kind == "double":
            _append_varint(out, field.number << 3 | _I64)
            out += struct.pack("<d", value)
        else:
            _append_varint(out, field.number << 3 | _VARINT)
            _append_varint(out, self._enums[field.type].index(value) if kind == "enum" else int(value))

    # -- decoding --------------------------------------------------------------------------------------------------

    def decode(self, name: str, data: bytes) -> Message:
        """Unknown fields are skipped. Raises CodecError where the bytes are damaged."""
        try:
            return self._decode(name, data)
        except (IndexError, UnicodeDecodeError, struct.error) as failure:
            raise CodecError(f"damaged {name}: {failure}") from failure

    def _decode(self, name: str, data: bytes) -> Message:
        _, by_number, enums = self._message(name)
        message: Message = {f.name: self._enums[f.type][0] for f in enums}
        at, end = 0, len(data)
        while at < end:
            key, at = _varint(data, at)
            wire = key & 7
            value: Any
            if wire == _VARINT:
                value, at = _varint(data, at)
            elif wire == _LEN:
                length, at = _varint(data, at)
                if at + length > end:
                    raise CodecError(f"damaged {name}: cut short")
                value = data[at : at + length]
                at += length
            elif wire in (_I64, _I32):
                size = 8 if wire == _I64 else 4
                value = data[at : at + size]
                at += size
            else:
                raise CodecError(f"damaged {name}: wire type {wire}")
            field = by_number.get(key >> 3)
            if field is not None:
                self._store(message, field, wire, value)
        return message

    def _store(self, message: Message, field: _Field, wire: int, value: Any) -> None:
        kind = field.kind
        if kind == "":
            value = value.decode()
        elif kind == "message":
            value = self._decode(field.type, value)
        elif kind == "map":
            pair = self._decode_pair(value)
            message.setdefault(field.name, {})[pair[0]] = pair[1]
            return
        elif kind in ("int", "enum", "bool") and wire == _LEN:
            # Packed: proto3's default for repeated numbers.
            at = 0
            while at < len(value):
                number, at = _varint(value, at)
                message.setdefault(field.name, []).append(self._number(field, number))
            return
        elif kind == "double":
            value = struct.unpack("<d", value)[0]
        elif kind != "bytes":
            value = self._number(field, value)
        if field.repeated:
            message.setdefault(field.name, []).append(value)
        else:
            message[field.name] = value

    def _number(self, field: _Field, value: int) -> Any:
        if field.kind == "bool":
            return bool(value)
        if field.kind == "enum":
            names = self._enums[field.type]
            return names[value] if value < len(names) else str(value)
        return value - (1 << 64) if value >= 1 << 63 else value

    @staticmethod
    def _decode_pair(data: bytes) -> tuple[str, str]:
        parts = {1: "", 2: ""}
        at = 0
        while at < len(data):
            key, at = _varint(data, at)
            length, at = _varint(data, at)
            parts[key >> 3] = data[at : at + length].decode()
            at += length
        return parts[1], parts[2]
