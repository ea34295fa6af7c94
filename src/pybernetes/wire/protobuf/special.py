"""Types whose message is not what their JSON looks like: times, quantities, unions, raw JSON."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from ...api.schema.scalars import format_duration, parse_duration
from ...api.times import parse_time
from .varint import BYTES, VARINT, ProtobufError, delimited, fields, signed, tag, varint

_ONE_BYTES, _TWO_BYTES, _THREE_BYTES = tag(1, BYTES), tag(2, BYTES), tag(3, BYTES)
_ONE, _TWO = tag(1, VARINT), tag(2, VARINT)
_FRACTION = re.compile(r"\.(\d+)")


# -- encoding: message bytes of a JSON value --------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def encode_time(text: str) -> bytes:
    seconds = int(parse_time(_FRACTION.sub("", text)))
    fraction = _FRACTION.search(text)
    nanos = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return _ONE + varint(seconds) + _TWO + varint(nanos)


@lru_cache(maxsize=256)
def encode_duration(text: str) -> bytes:
    return _ONE + varint(parse_duration(text))


def encode_quantity(value: Any) -> bytes:
    return delimited(_ONE_BYTES, str(value).encode())


def encode_int_or_string(value: Any) -> bytes:
    if isinstance(value, str):
        return _ONE + b"\x01" + _TWO + b"\x00" + delimited(_THREE_BYTES, value.encode())
    return _ONE + b"\x00" + _TWO + varint(value) + _THREE_BYTES + b"\x00"


def encode_raw(value: Any) -> bytes:
    return delimited(_ONE_BYTES, orjson.dumps(value))


# -- decoding: JSON value of message bytes ----------------------------------------------------------------------------


def _pair(data: bytes) -> tuple[int, int]:
    first = second = 0
    for number, wire, value in fields(data):
        if wire == VARINT and isinstance(value, int):
            if number == 1:
                first = signed(value)
            elif number == 2:
                second = signed(value)
    return first, second


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as failure:
        raise ProtobufError("proto: time out of range") from failure


def decode_time(data: bytes) -> Any:
    # Go writes its zero time as an empty message, or as the seconds of year 1
    if not data:
        return None
    seconds, _ = _pair(data)
    if seconds == -62135596800:
        return None
    return _moment(seconds).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


def decode_micro_time(data: bytes) -> Any:
    if not data:
        return None
    seconds, nanos = _pair(data)
    if seconds == -62135596800:
        return None
    return _moment(seconds).strftime("%Y-%m-%dT%H:%M:%S").zfill(19) + f".{nanos // 1000 % 10**6:06d}Z"


def decode_duration(data: bytes) -> Any:
    return format_duration(_pair(data)[0])


def text(value: int | bytes) -> str:
    if isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 0 for a string")
    return value.decode("utf-8", "replace")


def decode_quantity(data: bytes) -> Any:
    for number, _, value in fields(data):
        if number == 1:
            return text(value) or "0"
    return "0"


def decode_int_or_string(data: bytes) -> Any:
    kind, number_value, string = 0, 0, ""
    for number, _, value in fields(data):
        if number == 3:
            string = text(value)
        elif isinstance(value, int):
            if number == 1:
                kind = value
            elif number == 2:
                number_value = signed(value)
    return string if kind == 1 else number_value


def decode_raw(data: bytes) -> Any:
    for number, _, value in fields(data):
        if number == 1 and isinstance(value, bytes) and value:
            try:
                return orjson.loads(value)
            except orjson.JSONDecodeError as failure:
                raise ProtobufError(f"json: {failure}") from failure
    return None
