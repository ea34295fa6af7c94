"""What calls cost at run time, by function and size of their arguments (upstream's cost model for its libraries)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .lists import MAX_RANGE
from .values import Timestamp, size_of

STRING_FACTOR, REGEX_FACTOR = 0.1, 0.25
Cost = Callable[[Sequence[Any], Any], int]


def _traversal(factor: float, place: int = 0) -> Cost:
    return lambda args, result: math.ceil(size_of(args[place]) * factor)


def _equality(args: Sequence[Any], result: Any) -> int:
    if hasattr(args[0], "TYPE_NAME"):
        return 1
    return math.ceil(min(size_of(args[0]), size_of(args[1])) * STRING_FACTOR)


def _smaller(args: Sequence[Any], result: Any) -> int:
    return math.ceil(min(size_of(args[0]), size_of(args[1])) * STRING_FACTOR)


def _sum(args: Sequence[Any], result: Any) -> int:
    if isinstance(args[0], str | bytes):
        return math.ceil((size_of(args[0]) + size_of(args[1])) * STRING_FACTOR)
    return 1


def _regex(args: Sequence[Any], result: Any) -> int:
    text = math.ceil((1.0 + size_of(args[0])) * STRING_FACTOR)
    return text * math.ceil(size_of(args[1]) * REGEX_FACTOR)


def _contains(args: Sequence[Any], result: Any) -> int:
    return math.ceil(size_of(args[0]) * STRING_FACTOR) * math.ceil(size_of(args[1]) * STRING_FACTOR)


def _deep(args: Sequence[Any], result: Any) -> int:
    return traversal(args[0])


def traversal(value: Any) -> int:
    """Of a whole tree."""
    if isinstance(value, str | bytes):
        return int(len(value) * STRING_FACTOR)
    if isinstance(value, list):
        return sum(map(traversal, value))
    if isinstance(value, dict):
        return sum(traversal(k) + traversal(v) for k, v in value.items())
    return 1


def _join(args: Sequence[Any], result: Any) -> int:
    """By the length of what comes out, known before it is made."""
    items, separator = args[0], args[1] if len(args) > 1 else ""
    if not isinstance(items, list) or not isinstance(separator, str):
        return 1
    length = sum(len(i) for i in items if isinstance(i, str)) + len(separator) * max(0, len(items) - 1)
    return math.ceil(length * 2 * STRING_FACTOR)


def _contains_ip(args: Sequence[Any], result: Any) -> int:
    cost = math.ceil(2 * size_of(args[0]) * STRING_FACTOR)
    return cost + (math.ceil(size_of(args[1]) * STRING_FACTOR) if isinstance(args[1], str) else 0)


def _contains_cidr(args: Sequence[Any], result: Any) -> int:
    return _contains_ip(args, result) + math.ceil(size_of(args[0]) * STRING_FACTOR) + 1


def _validate(args: Sequence[Any], result: Any) -> int:
    text = math.ceil((1.0 + size_of(args[1])) * STRING_FACTOR)
    return text * math.ceil(getattr(args[0], "pattern_size", 0) * REGEX_FACTOR)


def _ip(args: Sequence[Any], result: Any) -> int:
    return math.ceil(size_of(args[0]) * STRING_FACTOR) if isinstance(args[0], str) else 1


def _text_conversion(args: Sequence[Any], result: Any) -> int:
    return math.ceil(size_of(args[0]) * STRING_FACTOR) if isinstance(args[0], str | bytes) else 1


def _sets(args: Sequence[Any], result: Any) -> int:
    return size_of(args[0]) * size_of(args[1]) + 1


def _sets_twice(args: Sequence[Any], result: Any) -> int:
    return 2 * size_of(args[0]) * size_of(args[1]) + 1


_NEW_LIST = 11
"""A call that makes a list."""


def _result_size(args: Sequence[Any], result: Any) -> int:
    return _NEW_LIST + size_of(result)


_result_size.needs_result = True  # type: ignore[attr-defined]


def _range(args: Sequence[Any], result: Any) -> int:
    return _NEW_LIST + (args[0] if isinstance(args[0], int) and 0 < args[0] <= MAX_RANGE else 0)


def _flatten(args: Sequence[Any], result: Any) -> int:
    depth = args[1] if len(args) > 1 else 1
    return _NEW_LIST + max(0, int(depth)) * size_of(args[0])


def quadratic(args: Sequence[Any], result: Any) -> int:
    return _NEW_LIST + 2 * size_of(args[0]) * size_of(args[0])


_ONE = _traversal(STRING_FACTOR)
_TWO = _traversal(2 * STRING_FACTOR)
_COSTS: dict[str, Cost] = {
    "_==_": _equality,
    "_!=_": _smaller,
    "_+_": _sum,
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _smaller),
    **dict.fromkeys(("startsWith", "endsWith", "strings.quote", "format"), _ONE),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim", "jsonpatch.escapeKey"), _ONE),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _ONE),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _TWO),
    **dict.fromkeys(("matches", "find", "findAll"), _regex),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _deep),
    "contains": _contains,
    "join": _join,
    "ip": _ip,
    "bytes": _text_conversion,
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "validate": _validate,
    **dict.fromkeys(("slice", "reverse"), _result_size),
    "lists.range": _range,
    **dict.fromkeys(("distinct", "sort"), quadratic),
    **dict.fromkeys(("sets.contains", "sets.intersects"), _sets),
    "sets.equivalent": _sets_twice,
    "flatten": _flatten,
}
_BY_OVERLOAD = frozenset(
    ("startsWith", "endsWith", "matches", "contains", "_+_", "bytes", "string", "strings.quote", "format")
    + ("_<_", "_<=_", "_>_", "_>=_", "distinct", "sort", "slice", "flatten", "reverse")
)
"""Functions whose cost goes by their overload: where several fit (dyn), a call costs one unit."""


def call_cost(function: str, overloads: Sequence[str]) -> Cost | None:
    """The cost of a call, None for one unit."""
    if function in _BY_OVERLOAD and (len(overloads) != 1 or overloads == ("matches",)):
        return None
    if function == "string" and "bytes_to_string" in overloads:
        return _text_conversion
    if function in ("_<_", "_<=_", "_>_", "_>=_"):
        # only texts are traversed; numbers and moments cost one unit
        if not any(o.endswith(("_string", "_bytes")) for o in overloads):
            return None
        return lambda args, result: 1 if isinstance(args[0], int | float | Timestamp) else _smaller(args, result)
    if function == "_+_" and not {"add_string", "add_bytes"} & set(overloads):
        return None
    return _COSTS.get(function)
