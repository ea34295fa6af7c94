"""Values while an expression runs: plain Python ones wherever they fit, and classes for what Python has not.

int, float, str, bytes, bool, None, list and dict are themselves; unsigned integers, moments, spans, optionals and the
types that Kubernetes adds have classes. ``equal`` and ``compare`` are CEL's: 1 == 1.0 == 1u, and true is no number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from ..schema.scalars import parse_duration
from ..times import parse_time

MIN_INT, MAX_INT, MAX_UINT = -(2**63), 2**63 - 1, 2**64 - 1
NANOS = 10**9
MIN_TIME, MAX_TIME = -62135596800 * NANOS, 253402300799 * NANOS + NANOS - 1


class CelError(Exception):
    """An evaluation that failed; logic operators may absorb it."""


class NoSuchOverload(CelError):
    def __init__(self) -> None:
        super().__init__("no such overload")


class UInt(int):
    """An unsigned integer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment, in nanoseconds since the epoch."""

    nanos: int

    @classmethod
    def of(cls, nanos: int) -> Timestamp:
        if not MIN_TIME <= nanos <= MAX_TIME:
            raise CelError("timestamp overflow")
        return cls(nanos)

    @classmethod
    def parse(cls, text: str) -> Timestamp:
        """Of RFC 3339 text. Raises ValueError."""
        import re

        fraction = re.search(r"\.(\d+)", text)
        seconds = round(parse_time(text.replace(fraction[0], "") if fraction else text))
        return cls(seconds * NANOS + (int(fraction[1][:9].ljust(9, "0")) if fraction else 0))

    def at(self, zone: tzinfo = UTC) -> datetime:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self.nanos // NANOS)).astimezone(zone)

    def __str__(self) -> str:
        text = self.at().strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        rest = self.nanos % NANOS
        return text + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span in nanoseconds."""

    nanos: int

    @classmethod
    def of(cls, nanos: int) -> Duration:
        if not MIN_INT <= nanos <= MAX_INT:
            raise CelError("duration overflow")
        return cls(nanos)

    @classmethod
    def parse(cls, text: str) -> Duration:
        return cls(parse_duration(text))

    def __str__(self) -> str:
        whole, rest = divmod(abs(self.nanos), NANOS)
        text = f"{whole}" + (f".{rest:09d}".rstrip("0") if rest else "")
        return ("-" if self.nanos < 0 else "") + text + "s"


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value: ``type(1)``, ``int``."""

    name: str


class OptionalValue:
    """``optional.of(x)`` or ``optional.none()``."""

    __slots__ = ("present", "value")

    def __init__(self, present: bool, value: Any = None) -> None:
        self.present = present
        self.value = value


NONE = OptionalValue(False)


class SetList(list[Any]):
    """A list of a schema's list type set: order does not count in comparisons, + adds what is not there."""

    __slots__ = ()


class MapList(list[Any]):
    """A list of a schema's list type map: + replaces items with the same keys."""

    __slots__ = ("keys",)

    def __init__(self, items: Any, keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def identity(self, item: Any) -> tuple[Any, ...]:
        return tuple((type(item.get(k)), item.get(k)) for k in self.keys) if isinstance(item, dict) else ()


_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    SetList: "list",
    MapList: "list",
    dict: "map",
    type(None): "null_type",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    TypeValue: "type",
    OptionalValue: "optional_type",
}


def type_name(value: Any) -> str:
    """The name of a value's type at run time."""
    return str(_NAMES.get(value.__class__) or getattr(value, "TYPE_NAME", "dyn"))


def is_number(value: Any) -> bool:
    return value.__class__ in (int, float, UInt)


def size_of(value: Any) -> int:
    """What the cost model takes for the size of a value; scalars have size 1."""
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    if value.__class__ is OptionalValue and value.present:
        return size_of(value.value)
    size = getattr(value, "size", None)
    return size() if callable(size) else 1


def equal(left: Any, right: Any) -> bool:
    kind = left.__class__
    if kind is right.__class__:
        if kind is dict:
            return len(left) == len(right) and all(k in right and equal(v, right[k]) for k, v in left.items())
        if kind is list:
            return len(left) == len(right) and all(map(equal, left, right))
        if kind is OptionalValue:
            return left.present == right.present and (not left.present or equal(left.value, right.value))
        if kind in (SetList, MapList):
            return _unordered_equal(left, right)
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        if kind in (SetList, MapList):
            return _unordered_equal(left, right)
        if right.__class__ in (SetList, MapList):
            return _unordered_equal(right, left)
        return len(left) == len(right) and all(map(equal, left, right))
    if is_number(left) and is_number(right):
        return bool(left == right)
    return False


def _unordered_equal(left: Any, right: Any) -> bool:
    if len(left) != len(right):
        return False
    if isinstance(left, MapList):
        by_key = {left.identity(item): item for item in right}
        return all(left.identity(v) in by_key and equal(v, by_key[left.identity(v)]) for v in left)
    return all(contains(right, v) for v in left) and all(contains(left, v) for v in right)


def contains(items: Any, value: Any) -> bool:
    if value.__class__ is str:
        return value in items
    return any(equal(value, item) for item in items)


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1. Raises NoSuchOverload for what has no order."""
    if is_number(left) and is_number(right):
        if left != left or right != right:
            raise CelError("NaN values cannot be ordered")
    elif left.__class__ is not right.__class__ or left.__class__ not in (str, bytes, bool, Timestamp, Duration):
        raise NoSuchOverload
    if left == right:
        return 0
    return -1 if left < right else 1


def checked_int(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise CelError("integer overflow")
    return value


def checked_uint(value: int) -> UInt:
    if not 0 <= value <= MAX_UINT:
        raise CelError("unsigned integer overflow")
    return UInt(value)


def format_double(value: float) -> str:
    """As Go's %g."""
    from ..errors import go_float

    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    return go_float(value)
