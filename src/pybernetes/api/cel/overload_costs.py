"""What single overloads and functions of the libraries may cost: the tables of the static estimate (see ``estimate``).

Upstream's cost estimators of cel-go's checker and of ``k8s.io/apiserver/pkg/cel/library`` say the numbers.
"""

from __future__ import annotations

import math
from typing import Any

from .celtypes import Type
from .costs import REGEX_FACTOR, STRING_FACTOR
from .kubernetes import Format
from .sizes import MAX, ONE, ZERO, Entry, Range, Sizes, fixed
from .syntax import Call, Expr, Literal

# -- overloads of the language -------------------------------------------------------------------------------------------


def _logical(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    return Range(arguments[0].low, (arguments[0] + arguments[1]).high), None


def _conditional(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
    size = e.sized(node.args[1]) | e.sized(node.args[2])
    return arguments[0] + (arguments[1] | arguments[2]), size


def _concatenation(factor: float) -> Any:
    def cost(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
        size = e.sized(node.args[0]) + e.sized(node.args[1])
        left, right = e.entry(node.args[0]), e.entry(node.args[1])
        if left is not None or right is not None:
            both = left or right
            assert both is not None
            other = right or left or both
            e.entries[id(node)] = Entry(both.kind, both.key | other.key, both.value | other.value)
        return (size.scaled(factor) if factor else ONE) + together, size

    return cost


def _comparison(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    smallest = min(e.sized(node.args[0]).high, e.sized(node.args[1]).high)
    return Range(1 if smallest > 0 else 0, smallest).scaled(STRING_FACTOR) + together, None


def _of_argument(factor: float) -> Any:
    def cost(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
        return e.sized(node.args[-1]).scaled(factor) + together, None

    return cost


def _matches(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    assert node.target is not None
    return _regex_cost(e, node.target, node.args[0]) + together, None


def _regex_cost(e: Sizes, text: Expr, pattern: Expr) -> Range:
    return (e.sized(text) + ONE).scaled(STRING_FACTOR) * e.sized(pattern).scaled(REGEX_FACTOR)


def _contains(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    assert node.target is not None
    text, part = e.sized(node.target).scaled(STRING_FACTOR), e.sized(node.args[0]).scaled(STRING_FACTOR)
    return text * part + together, None


def _to_bytes(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
    size = e.sized(node.args[0])
    return size.scaled(STRING_FACTOR) + together, Range(size.low, min(MAX, size.high * 4))


def _from_bytes(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
    size = e.sized(node.args[0])
    return size.scaled(STRING_FACTOR) + together, Range(size.low // 4, size.high)


def _quoted(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
    size = e.sized(node.args[0])
    return size.scaled(STRING_FACTOR) + together, Range(size.low + 2, min(MAX, size.high * 2 + 2))


def _formatted(e: Sizes, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    assert node.target is not None
    return e.sized(node.target).scaled(STRING_FACTOR) + together, None


OVERLOADS: dict[str, Any] = {
    "logical_and": _logical,
    "logical_or": _logical,
    "conditional": _conditional,
    "add_string": _concatenation(STRING_FACTOR),
    "add_bytes": _concatenation(STRING_FACTOR),
    "add_list": _concatenation(0),
    "starts_with_string": _of_argument(STRING_FACTOR),
    "ends_with_string": _of_argument(STRING_FACTOR),
    "in_list": _of_argument(1),
    "matches_string": _matches,
    "contains_string": _contains,
    "string_to_bytes": _to_bytes,
    "bytes_to_string": _from_bytes,
    "strings_quote": _quoted,
    "string_format": _formatted,
    **dict.fromkeys(
        ["equals", "not_equals"]
        + [f"{o}_{k}" for o in ("less", "less_equals", "greater", "greater_equals") for k in ("string", "bytes")],
        _comparison,
    ),
}


# -- libraries -----------------------------------------------------------------------------------------------------------

_Found = tuple[Range, Range | None] | None


def _unit(e: Sizes, node: Call, overload: str) -> _Found:
    return ONE, None


def _elements(e: Sizes, node: Call, overload: str) -> _Found:
    target = node.target
    if target is None:
        return None
    if not target.type.parameters:
        return e.sized(target).scaled(STRING_FACTOR), None
    element = ONE
    if target.type.parameters[0].kind in ("string", "bytes"):
        element += e.item_size(target).scaled(STRING_FACTOR)
    return e.sized(target) * element, None


def _parsed(factor: float, *, keeps_size: bool = False) -> Any:
    def cost(e: Sizes, node: Call, overload: str) -> _Found:
        if not node.args:
            return None
        size = e.sized(node.args[0])
        return size.scaled(factor), size if keeps_size else None

    return cost


def _text(e: Sizes, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    size = e.sized(node.target)
    return size.scaled(STRING_FACTOR), size


def _replace(e: Sizes, node: Call, overload: str) -> _Found:
    if node.target is None or len(node.args) < 2:
        return None
    size, old, new = e.sized(node.target), e.sized(node.args[0]), e.sized(node.args[1])
    if old.low == 0:
        most, kept_most = (size.high + 1 if size.high < MAX else size.high), size.high
    elif new.high <= old.low:
        most, kept_most = 0, size.high
    else:
        most, kept_most = math.ceil(float(size.high) / float(old.low)), 0
    if old.high == 0:
        least, kept_least = (size.low + 1 if size.low < MAX else size.low), size.low
    elif old.high <= new.low:
        least, kept_least = 0, size.low
    else:
        least, kept_least = math.ceil(float(size.low) / float(old.high)), 0
    result = Range(least, min(MAX, most)) * new + Range(kept_least, kept_most)
    return size.scaled(2 * STRING_FACTOR), result


def _split(e: Sizes, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    size = e.sized(node.target)
    most = size.high
    if len(node.args) > 1 and isinstance(node.args[1], Literal) and isinstance(node.args[1].value, int):
        most = node.args[1].value % 2**64
    return size.scaled(2 * STRING_FACTOR), Range(0, most)


def _join(e: Sizes, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    count = e.sized(node.target)
    size = count * e.item_size(node.target) if node.target.type.parameters else ZERO
    if node.args:
        between = Range(max(0, count.low - 1), max(0, count.high - 1))
        size += e.sized(node.args[0]) * between
    return size.scaled(STRING_FACTOR), size


def _find(e: Sizes, node: Call, overload: str) -> _Found:
    if node.target is None or not node.args:
        return None
    return _regex_cost(e, node.target, node.args[0]), Range(0, e.sized(node.target).high)


def _ip(e: Sizes, node: Call, overload: str) -> _Found:
    if overload == "cidr_ip" or not node.args:
        return ONE, None
    return e.sized(node.args[0]).scaled(STRING_FACTOR), None


def _contains_ip(e: Sizes, node: Call, overload: str) -> _Found:
    if not node.args:
        return None
    address = Range(4, 16)
    cost = (address + address).scaled(STRING_FACTOR)
    if node.function == "containsCIDR":
        cost += address.scaled(STRING_FACTOR) + ONE
    if overload in ("cidr_contains_ip_string", "cidr_contains_cidr_string"):
        cost += e.sized(node.args[0]).scaled(STRING_FACTOR)
    return cost, None


def _validate(e: Sizes, node: Call, overload: str) -> _Found:
    size = e.sized(node.args[0])
    return size.scaled(STRING_FACTOR).scaled(128 * REGEX_FACTOR), None


_UNIT_TYPES = ("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver")


def _equality(e: Sizes, node: Call, overload: str) -> _Found:
    left, right = node.args[0].type, node.args[1].type
    if left == right and left.kind == "opaque":
        if left.name in _UNIT_TYPES:
            return ONE, None
        if left.name == Format.TYPE_NAME:
            return Range(1, 64).scaled(STRING_FACTOR), None
        if left.name == "kubernetes.URL":
            size = e.size(node.args[1])
            return Range(1, size.high if size is not None else 1).scaled(STRING_FACTOR), None
    return None


def _sets(factor: float) -> Any:
    def cost(e: Sizes, node: Call, overload: str) -> _Found:
        return (e.sized(node.args[0]) * e.sized(node.args[1])).scaled(factor) + ONE, None

    return cost


def _new_list(factor: float, size: Range) -> _Found:
    return size.scaled(factor) + fixed(11), size


def _reversed(e: Sizes, node: Call, overload: str) -> _Found:
    return _new_list(1, e.sized(node.target)) if node.target is not None else None


def _number(node: Expr, otherwise: int) -> int:
    if isinstance(node, Literal) and isinstance(node.value, int) and node.value >= 0:
        return node.value
    return otherwise


def _slice(e: Sizes, node: Call, overload: str) -> _Found:
    if node.target is None or len(node.args) != 2:
        return None
    end = _number(node.args[1], e.sized(node.target).high)
    return _new_list(1, fixed((end - _number(node.args[0], 0)) % 2**64))


def _range(e: Sizes, node: Call, overload: str) -> _Found:
    return _new_list(1, fixed(_number(node.args[0], MAX)))


def _flatten(e: Sizes, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    depth = _number(node.args[0], MAX) if node.args else 1
    return _new_list(float(depth), e.sized(node.target))


def _quadratic(e: Sizes, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    size = e.sized(node.target)
    texts = node.function == "sort" and bool(node.target.type.parameters) and _is_text(node.target.type.parameters[0])
    return _new_list(2.0 + (STRING_FACTOR if texts else 0), size * size)


def _is_text(type_: Type) -> bool:
    return type_.kind in ("string", "bytes")


_UNITS = [
    "masked",
    "prefixLength",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "format.named",
    "sign",
    "asInteger",
    "isInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "major",
    "minor",
    "patch",
    "getScheme",
    "getHostname",
    "getHost",
    "getPort",
    "getEscapedPath",
    "getQuery",
]
LIBRARY: dict[str, Any] = {
    **dict.fromkeys(_UNITS, _unit),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _elements),
    **dict.fromkeys(("url", "jsonpatch.escapeKey"), _parsed(STRING_FACTOR, keeps_size=True)),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _text),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _parsed(STRING_FACTOR)),
    "ip.isCanonical": _parsed(2 * STRING_FACTOR),
    "replace": _replace,
    "split": _split,
    "join": _join,
    "find": _find,
    "findAll": _find,
    "ip": _ip,
    "containsIP": _contains_ip,
    "containsCIDR": _contains_ip,
    "validate": _validate,
    "_==_": _equality,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
    "reverse": _reversed,
    "slice": _slice,
    "lists.range": _range,
    "flatten": _flatten,
    "distinct": _quadratic,
    "sort": _quadratic,
}
