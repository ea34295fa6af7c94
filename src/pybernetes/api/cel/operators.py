"""The operators and conversions of the language itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from ..regexes import PatternError, compile_pattern
from . import values
from .values import (
    NANOS,
    CelError,
    Duration,
    MapList,
    NoSuchOverload,
    OptionalValue,
    SetList,
    Timestamp,
    TypeValue,
    UInt,
    checked_int,
    checked_uint,
    compare,
    equal,
    type_name,
)


def add(left: Any, right: Any) -> Any:
    kind, other = left.__class__, right.__class__
    if kind is other:
        if kind is int:
            return checked_int(left + right)
        if kind is str or kind is float or kind is bytes or kind is list:
            return left + right
        if kind is UInt:
            return checked_uint(int(left) + int(right))
        if kind is Duration:
            return Duration.of(left.nanos + right.nanos)
    if isinstance(left, list) and isinstance(right, list):
        return _concatenate(left, right)
    if kind is Timestamp and other is Duration:
        return Timestamp.of(left.nanos + right.nanos)
    if kind is Duration and other is Timestamp:
        return Timestamp.of(left.nanos + right.nanos)
    raise NoSuchOverload


def _concatenate(left: list[Any], right: list[Any]) -> list[Any]:
    """Lists of sets and maps keep their items distinct; those of the left keep their places."""
    if isinstance(left, SetList):
        out = SetList(left)
        out += [v for v in right if not values.contains(left, v)]
        return out
    if isinstance(left, MapList):
        merged = {left.identity(item): item for item in left}
        for item in right:
            merged[left.identity(item)] = item
        return MapList(merged.values(), left.keys)
    return [*left, *right]


def subtract(left: Any, right: Any) -> Any:
    kind, other = left.__class__, right.__class__
    if kind is other:
        if kind is int:
            return checked_int(left - right)
        if kind is float:
            return left - right
        if kind is UInt:
            return checked_uint(int(left) - int(right))
        if kind is Duration or kind is Timestamp:
            return Duration.of(left.nanos - right.nanos)
    if kind is Timestamp and other is Duration:
        return Timestamp.of(left.nanos - right.nanos)
    raise NoSuchOverload


def multiply(left: Any, right: Any) -> Any:
    kind = left.__class__
    if kind is right.__class__:
        if kind is int:
            return checked_int(left * right)
        if kind is float:
            return left * right
        if kind is UInt:
            return checked_uint(int(left) * int(right))
    raise NoSuchOverload


def divide(left: Any, right: Any) -> Any:
    kind = left.__class__
    if kind is right.__class__:
        if kind is float:
            if right == 0:
                return (
                    math.nan if left == 0 or left != left else math.copysign(math.inf, left) * math.copysign(1, right)
                )
            return left / right
        if kind is int or kind is UInt:
            if right == 0:
                raise CelError("division by zero")
            quotient = abs(int(left)) // abs(int(right))
            signed = quotient if (left < 0) == (right < 0) else -quotient
            return checked_int(signed) if kind is int else UInt(signed)
    raise NoSuchOverload


def modulo(left: Any, right: Any) -> Any:
    kind = left.__class__
    if kind is right.__class__ and kind in (int, UInt):
        if right == 0:
            raise CelError("modulus by zero")
        rest = abs(int(left)) % abs(int(right))
        return UInt(rest) if kind is UInt else (-rest if left < 0 else rest)
    raise NoSuchOverload


def negate(value: Any) -> Any:
    if value.__class__ is int:
        return checked_int(-value)
    if value.__class__ is float:
        return -value
    raise NoSuchOverload


def logical_not(value: Any) -> Any:
    if value.__class__ is not bool:
        raise NoSuchOverload
    return not value


def less(left: Any, right: Any) -> bool:
    return compare(left, right) < 0


def less_equal(left: Any, right: Any) -> bool:
    return compare(left, right) <= 0


def greater(left: Any, right: Any) -> bool:
    return compare(left, right) > 0


def greater_equal(left: Any, right: Any) -> bool:
    return compare(left, right) >= 0


def not_equal(left: Any, right: Any) -> bool:
    return not equal(left, right)


def is_in(value: Any, items: Any) -> bool:
    if isinstance(items, list):
        return values.contains(items, value)
    if isinstance(items, dict):
        return has_key(items, value)
    raise NoSuchOverload


def has_key(items: dict[Any, Any], key: Any) -> bool:
    try:
        if key not in items:
            return False
    except TypeError:
        return False
    return key.__class__ is not bool or any(k is key for k in items)


def as_index(value: Any) -> int:
    if value.__class__ is int or value.__class__ is UInt:
        return int(value)
    if value.__class__ is float and value.is_integer():
        return int(value)
    raise CelError(f"unsupported index type '{type_name(value)}' in list")


def index(container: Any, key: Any) -> Any:
    if isinstance(container, list):
        place = as_index(key)
        if not 0 <= place < len(container):
            raise CelError(f"index out of bounds: {place}")
        return container[place]
    if isinstance(container, dict):
        if not has_key(container, key):
            raise CelError(f"no such key: {show_key(key)}")
        return container[key]
    if container.__class__ is OptionalValue:
        return optional_index(container, key)
    raise NoSuchOverload


def show_key(key: Any) -> str:
    if key.__class__ is bool:
        return "true" if key else "false"
    return values.format_double(key) if key.__class__ is float else str(key)


def optional_index(container: Any, key: Any) -> OptionalValue:
    """``a[?k]``: the value if it is there."""
    if container.__class__ is OptionalValue:
        if not container.present:
            return values.NONE
        container = container.value
    if isinstance(container, list):
        place = as_index(key)
        return OptionalValue(True, container[place]) if 0 <= place < len(container) else values.NONE
    if isinstance(container, dict):
        return OptionalValue(True, container[key]) if has_key(container, key) else values.NONE
    raise NoSuchOverload


# -- functions of the language ---------------------------------------------------------------------------------------


def size(value: Any) -> int:
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    raise NoSuchOverload


def starts_with(text: Any, prefix: Any) -> bool:
    return _text(text).startswith(_text(prefix))


def ends_with(text: Any, suffix: Any) -> bool:
    return _text(text).endswith(_text(suffix))


def text_contains(text: Any, part: Any) -> bool:
    return _text(part) in _text(text)


def _text(value: Any) -> str:
    if value.__class__ is not str:
        raise NoSuchOverload
    return value  # type: ignore[no-any-return]


def matches(text: Any, pattern: Any) -> bool:
    try:
        return compile_pattern(_text(pattern)).search(_text(text)) is not None
    except PatternError as failure:
        raise CelError(str(failure)) from failure


def type_of(value: Any) -> TypeValue:
    return TypeValue(type_name(value))


def dyn(value: Any) -> Any:
    return value


def _conversion_error(value: Any, wanted: str) -> CelError:
    return CelError(f"type conversion error from '{type_name(value)}' to '{wanted}'")


_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


def to_bool(value: Any) -> bool:
    if value.__class__ is bool:
        return bool(value)
    if value.__class__ is str and value in _TRUE + _FALSE:
        return value in _TRUE
    raise _conversion_error(value, "bool") if value.__class__ is str else NoSuchOverload()


def to_int(value: Any) -> int:
    kind = value.__class__
    if kind is int:
        return int(value)
    if kind is UInt:
        return checked_int(int(value))
    if kind is float:
        if value != value or not -(2.0**63) < value < 2.0**63:
            raise CelError("integer overflow")
        return int(value)
    if kind is Timestamp:
        return int(value.nanos // NANOS)
    if kind is Duration:
        return int(value.nanos)
    if kind is str:
        try:
            number = int(value) if value.strip() == value and "_" not in value else None
        except ValueError:
            number = None
        if number is None or not values.MIN_INT <= number <= values.MAX_INT:
            raise _conversion_error(value, "int")
        return number
    raise NoSuchOverload


def to_uint(value: Any) -> UInt:
    kind = value.__class__
    if kind in (int, UInt):
        return checked_uint(int(value))
    if kind is float:
        if value != value or not 0 <= value < 2.0**64:
            raise CelError("unsigned integer overflow")
        return UInt(int(value))
    if kind is str:
        if not (value.isascii() and value.isdigit()) or int(value) > values.MAX_UINT:
            raise _conversion_error(value, "uint")
        return UInt(int(value))
    raise NoSuchOverload


def to_double(value: Any) -> float:
    kind = value.__class__
    if kind in (int, UInt, float):
        return float(value)
    if kind is str:
        try:
            return float(value) if value.strip() == value and "_" not in value else _fail(value)
        except ValueError:
            raise _conversion_error(value, "double") from None
    raise NoSuchOverload


def _fail(value: Any) -> float:
    raise ValueError(value)


def to_string(value: Any) -> str:
    kind = value.__class__
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind in (int, UInt):
        return str(int(value))
    if kind is float:
        return values.format_double(value)
    if kind is bytes:
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
    if kind in (Timestamp, Duration) or hasattr(value, "to_string"):
        return str(value)
    raise NoSuchOverload


def to_bytes(value: Any) -> bytes:
    if value.__class__ is bytes:
        return bytes(value)
    return _text(value).encode()


def to_timestamp(value: Any) -> Timestamp:
    kind = value.__class__
    if kind is Timestamp:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return Timestamp.of(value * NANOS)
    if kind is str:
        try:
            moment = Timestamp.parse(value)
        except ValueError:
            raise _conversion_error(value, "google.protobuf.Timestamp") from None
        return Timestamp.of(moment.nanos)
    raise NoSuchOverload


def to_duration(value: Any) -> Duration:
    kind = value.__class__
    if kind is Duration:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return Duration.of(value)
    if kind is str:
        try:
            return Duration.parse(value)
        except ValueError:
            raise _conversion_error(value, "google.protobuf.Duration") from None
    raise NoSuchOverload


# -- parts of moments and spans ----------------------------------------------------------------------------------------


def zone_of(name: str) -> tzinfo:
    """Of an IANA name or an offset as ``-08:00``."""
    from datetime import UTC, timedelta, timezone
    from zoneinfo import ZoneInfo

    if name in ("", "UTC"):
        return UTC
    if ":" in name:
        hours, _, minutes = name.partition(":")
        try:
            whole, part = int(hours), int(minutes)
        except ValueError as failure:
            raise CelError(f"unknown time zone {name}") from failure
        span = timedelta(hours=whole, minutes=-part if hours.startswith("-") else part)
        if abs(span) >= timedelta(hours=24):
            raise CelError(f"unknown time zone {name}")
        return timezone(span)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as failure:
        raise CelError(f"unknown time zone {name}") from failure


def _moment_part(part: Callable[[Any, Timestamp], int]) -> Callable[..., int]:
    def get(value: Any, zone: Any = "") -> int:
        if value.__class__ is not Timestamp or zone.__class__ is not str:
            raise NoSuchOverload
        return part(value.at(zone_of(zone)), value)

    return get


def _part(of_moment: Callable[[Any, Timestamp], int], of_span: Callable[[int], int]) -> Callable[..., int]:
    moment = _moment_part(of_moment)

    def get(value: Any, zone: Any = "") -> int:
        return of_span(value.nanos) if value.__class__ is Duration else moment(value, zone)

    return get


def _toward_zero(nanos: int, unit: int) -> int:
    return nanos // unit if nanos >= 0 else -(-nanos // unit)


PARTS: dict[str, Callable[..., int]] = {
    "getFullYear": _moment_part(lambda t, _: t.year),
    "getMonth": _moment_part(lambda t, _: t.month - 1),
    "getDayOfYear": _moment_part(lambda t, _: t.timetuple().tm_yday - 1),
    "getDayOfMonth": _moment_part(lambda t, _: t.day - 1),
    "getDate": _moment_part(lambda t, _: t.day),
    "getDayOfWeek": _moment_part(lambda t, _: (t.weekday() + 1) % 7),
    "getHours": _part(lambda t, _: t.hour, lambda n: _toward_zero(n, 3600 * NANOS)),
    "getMinutes": _part(lambda t, _: t.minute, lambda n: _toward_zero(n, 60 * NANOS)),
    "getSeconds": _part(lambda t, _: t.second, lambda n: _toward_zero(n, NANOS)),
    "getMilliseconds": _part(lambda _, v: v.nanos % NANOS // 10**6, lambda n: _toward_zero(n, 10**6)),
}
