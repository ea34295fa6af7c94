"""Functions on lists, sets and optionals: Kubernetes' list library, the ``lists`` and ``sets`` extensions."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from . import values
from .operators import add
from .values import CelError, Duration, NoSuchOverload, OptionalValue, UInt, compare, contains

MAX_RANGE = 1_000_000
_ZEROS: dict[type, Any] = {int: 0, UInt: UInt(0), float: 0.0, Duration: Duration(0)}


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise NoSuchOverload
    return value


def is_sorted(items: Any) -> bool:
    given = _list(items)
    return all(compare(a, b) <= 0 for a, b in zip(given, given[1:], strict=False))


def total(items: Any) -> Any:
    given = _list(items)
    result: Any = _ZEROS.get(given[0].__class__) if given else 0
    for item in given:
        result = add(result, item)
    return result


def _extreme(items: Any, name: str, sign: int) -> Any:
    given = _list(items)
    if not given:
        raise CelError(f"{name} called on empty list")
    best = given[0]
    for item in given[1:]:
        if compare(best, item) == -sign:
            best = item
    return best


def smallest(items: Any) -> Any:
    return _extreme(items, "min", -1)


def largest(items: Any) -> Any:
    return _extreme(items, "max", 1)


def cut(items: Any, start: Any, end: Any) -> list[Any]:
    given = _list(items)
    if start.__class__ is not int or end.__class__ is not int:
        raise NoSuchOverload
    if start < 0 or end < 0:
        raise CelError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CelError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(given):
        raise CelError(f"cannot slice({start}, {end}), list is length {len(given)}")
    return list(given[start:end])


def flatten(items: Any, depth: Any = 1) -> list[Any]:
    if depth.__class__ is not int:
        raise NoSuchOverload
    if depth < 0:
        raise CelError("level must be non-negative")
    out: list[Any] = []
    for item in _list(items):
        if isinstance(item, list) and depth > 0:
            out += flatten(item, depth - 1)
        else:
            out.append(item)
    return out


def count_to(end: Any) -> list[int]:
    if end.__class__ is not int:
        raise NoSuchOverload
    if end > MAX_RANGE:
        raise CelError(f"lists.range size {end} exceeds the limit of {MAX_RANGE}")
    return list(range(end))


def reverse(items: Any) -> list[Any]:
    return list(reversed(_list(items)))


def distinct(items: Any) -> list[Any]:
    out: list[Any] = []
    for item in _list(items):
        if not contains(out, item):
            out.append(item)
    return out


def ordered(items: Any) -> list[Any]:
    return sorted_by(_list(items), _list(items))


def _by_key(left: tuple[Any, Any], right: tuple[Any, Any]) -> int:
    return compare(left[0], right[0])


def sorted_by(items: list[Any], keys: list[Any]) -> list[Any]:
    """Items in the order of their keys, which must be of one comparable type."""
    if len({k.__class__ for k in keys}) > 1:
        raise CelError("list elements must have the same type")
    try:
        pairs = sorted(zip(keys, items, strict=True), key=cmp_to_key(_by_key))
    except NoSuchOverload:
        raise CelError("list elements must be comparable") from None
    return [item for _, item in pairs]


def first(items: Any) -> OptionalValue:
    given = _list(items)
    return OptionalValue(True, given[0]) if given else values.NONE


def last(items: Any) -> OptionalValue:
    given = _list(items)
    return OptionalValue(True, given[-1]) if given else values.NONE


# -- sets --------------------------------------------------------------------------------------------------------------


def sets_contains(items: Any, part: Any) -> bool:
    given = _list(items)
    return all(contains(given, item) for item in _list(part))


def sets_equivalent(left: Any, right: Any) -> bool:
    return sets_contains(left, right) and sets_contains(right, left)


def sets_intersects(left: Any, right: Any) -> bool:
    given = _list(left)
    return any(contains(given, item) for item in _list(right))


# -- optionals ---------------------------------------------------------------------------------------------------------


def _optional(value: Any) -> OptionalValue:
    if value.__class__ is not OptionalValue:
        raise NoSuchOverload
    return value  # type: ignore[no-any-return]


def optional_of(value: Any) -> OptionalValue:
    return OptionalValue(True, value)


def optional_of_non_zero(value: Any) -> OptionalValue:
    empty = value is None or value is False or value == 0 or (hasattr(value, "__len__") and len(value) == 0)
    if value.__class__ is Duration:
        empty = value.nanos == 0
    return values.NONE if empty else OptionalValue(True, value)


def optional_none() -> OptionalValue:
    return values.NONE


def has_value(value: Any) -> bool:
    return _optional(value).present


def value_of(value: Any) -> Any:
    optional = _optional(value)
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


def or_else(value: Any, other: Any) -> OptionalValue:
    return _optional(value) if _optional(value).present else _optional(other)


def or_value(value: Any, other: Any) -> Any:
    return _optional(value).value if _optional(value).present else other


def unwrap(items: Any) -> list[Any]:
    return [o.value for o in map(_optional, _list(items)) if o.present]
