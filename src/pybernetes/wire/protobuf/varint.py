"""The wire format's own pieces: varints, tags, length-delimited fields."""

from __future__ import annotations

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_SMALL = tuple(bytes([n]) for n in range(128))
_MASK64 = (1 << 64) - 1


class ProtobufError(ValueError):
    """Bytes that are no message; the messages are those of Go's generated code."""


def varint(value: int) -> bytes:
    if 0 <= value < 128:
        return _SMALL[value]
    value &= _MASK64
    out = bytearray()
    while value >= 128:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def delimited(prefix: bytes, data: bytes) -> bytes:
    """A field of bytes: its tag, its length, the bytes."""
    size = len(data)
    return prefix + (_SMALL[size] if size < 128 else varint(size)) + data


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, next position)."""
    result = shift = 0
    while True:
        if at >= len(data):
            raise ProtobufError("unexpected EOF")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 128:
            return result & _MASK64, at
        shift += 7
        if shift >= 64:
            raise ProtobufError("proto: integer overflow")


def signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of each field of a message: integers for varints, bytes for the rest."""
    found: list[tuple[int, int, int | bytes]] = []
    at, end = 0, len(data)
    while at < end:
        key = data[at]
        at += 1
        if key >= 128:
            key, at = read_varint(data, at - 1)
        wire = key & 7
        value: int | bytes
        if wire == BYTES:
            if at < end and data[at] < 128:
                size = data[at]
                at += 1
            else:
                size, at = read_varint(data, at)
            stop = at + size
            if stop > end:
                raise ProtobufError("unexpected EOF")
            value = data[at:stop]
            at = stop
        elif wire == VARINT:
            if at < end and data[at] < 128:
                value = data[at]
                at += 1
            else:
                value, at = read_varint(data, at)
        elif wire in (FIXED64, FIXED32):
            stop = at + (8 if wire == FIXED64 else 4)
            if stop > end:
                raise ProtobufError("unexpected EOF")
            value = data[at:stop]
            at = stop
        else:
            raise ProtobufError(f"proto: illegal wireType {wire}")
        if key >> 3 == 0:
            raise ProtobufError(f"proto: illegal tag 0 (wire type {wire})")
        found.append((key >> 3, wire, value))
    return found
