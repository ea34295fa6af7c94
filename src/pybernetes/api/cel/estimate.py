"""What a rule may cost at most, before any object is seen: upstream's static estimate.

It decides which CRDs are accepted, so it follows upstream's model step by step: costs and sizes are ranges, sizes come
from the schema along the path of an expression, comprehensions multiply by the size of what they go over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .celtypes import Type
from .costs import REGEX_FACTOR, STRING_FACTOR
from .kubernetes import Format
from .selftypes import Declared
from .syntax import Bind, Call, Expr, Ident, ListExpr, Literal, Macro, MapExpr, Select, StructExpr

MAX = 2**64 - 1
_SCALARS = ("bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint")
_FIXED_SIZE = ("bool", "double", "duration", "int", "timestamp", "uint", "null")


@dataclass(frozen=True, slots=True)
class Range:
    """Of a cost or a size, saturating at 64 bits."""

    low: int
    high: int

    def __add__(self, other: Range) -> Range:
        return Range(min(MAX, self.low + other.low), min(MAX, self.high + other.high))

    def __mul__(self, other: Range) -> Range:
        return Range(min(MAX, self.low * other.low), min(MAX, self.high * other.high))

    def __or__(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))

    def scaled(self, factor: float) -> Range:
        return Range(_scale(self.low, factor), _scale(self.high, factor))


def _scale(value: int, factor: float) -> int:
    return min(MAX, math.ceil(float(value) * factor))


def fixed(value: int) -> Range:
    return Range(value, value)


UNKNOWN, ZERO, ONE = Range(0, MAX), fixed(0), fixed(1)
Path = tuple[str, ...] | None


@dataclass(slots=True)
class _Entry:
    """Sizes of a container's keys and values."""

    kind: str
    key: Range
    value: Range


@dataclass(slots=True)
class _Local:
    path: Path
    size: Range | None
    entry: _Entry | None = None


def estimate(tree: Expr, root: Declared) -> int:
    """The highest cost of a rule on a ``self`` of this type."""
    return _Estimator(root).cost(tree).high


class _Estimator:
    def __init__(self, root: Declared) -> None:
        self.root = root
        self.locals: dict[str, list[_Local]] = {}
        self.paths: dict[int, Path] = {}
        self.sizes: dict[int, Range] = {}
        self.entries: dict[int, _Entry] = {}

    # -- sizes -------------------------------------------------------------------------------------------------------

    def bound(self, path: Path) -> Range | None:
        """The size that the schema allows at a path."""
        if not path:
            return None
        at: Declared | None = self.root
        for step in path[1:]:
            if at is None:
                return None
            if step in ("@items", "@values"):
                at = at.item
            elif step == "@keys":
                at = at.key
            elif step == "@indices":
                return None
            else:
                at = at.fields.get(step)
        return Range(0, at.largest) if at is not None else None

    def local(self, node: Expr) -> _Local | None:
        if isinstance(node, Ident) and self.locals.get(node.name):
            return self.locals[node.name][-1]
        return None

    def path(self, node: Expr) -> Path:
        local = self.local(node)
        return local.path if local is not None else self.paths.get(id(node))

    def size(self, node: Expr) -> Range | None:
        known = self.sizes.get(id(node)) or _literal_size(node) or self.bound(self.path(node))
        if known is not None:
            return known
        if node.type.kind in _SCALARS and node.type.kind not in ("string", "bytes"):
            return ONE
        local = self.local(node)
        return local.size if local is not None else None

    def sized(self, node: Expr) -> Range:
        return self.size(node) or UNKNOWN

    def entry(self, node: Expr) -> _Entry | None:
        if id(node) in self.entries:
            return self.entries[id(node)]
        local = self.local(node)
        return local.entry if local is not None else None

    def item_size(self, node: Expr) -> Range:
        """Of a list's elements."""
        path = self.path(node)
        return (self.bound((*path, "@items")) if path else None) or UNKNOWN

    # -- costs -------------------------------------------------------------------------------------------------------

    def cost(self, node: Expr) -> Range:
        match node:
            case Literal():
                return ZERO
            case Ident():
                return self.ident(node)
            case Select():
                return self.select(node)
            case Call():
                return self.call(node)
            case ListExpr():
                return self.list_literal(node)
            case MapExpr():
                return self.map_literal(node)
            case StructExpr():
                return self.total([e[2] for e in node.entries]) + fixed(40)
            case Macro():
                return self.macro(node)
            case Bind():
                return self.bind(node)
        return ZERO

    def total(self, nodes: Sequence[Expr]) -> Range:
        result = ZERO
        for node in nodes:
            result += self.cost(node)
        return result

    def ident(self, node: Ident) -> Range:
        local = self.local(node)
        self.paths[id(node)] = local.path if local is not None else (node.name,)
        return ONE

    def select(self, node: Select) -> Range:
        cost = self.cost(node.operand)
        if node.test:
            return cost
        if node.operand.type.kind in ("map", "object", "param"):
            cost += ONE
        path = self.path(node.operand)
        self.paths[id(node)] = (*path, node.field) if path is not None else (node.field,)
        return cost

    def list_literal(self, node: ListExpr) -> Range:
        cost = self.total(node.items)
        size = _joined([self.sized(i) for i in node.items])
        self.entries[id(node)] = _Entry("list", ONE, size)
        return cost + fixed(10)

    def map_literal(self, node: MapExpr) -> Range:
        cost = ZERO
        for key, value, _ in node.entries:
            cost += self.cost(key) + self.cost(value)
        keys = _joined([self.sized(k) for k, _, _ in node.entries])
        values = _joined([self.sized(v) for _, v, _ in node.entries])
        self.entries[id(node)] = _Entry("map", keys, values)
        return cost + fixed(30)

    def call(self, node: Call) -> Range:
        if node.function == "dyn" and node.args:
            cost = self.cost(node.args[0]) + ONE
            self._copy(node, node.args[0])
            return cost
        if node.function in ("optional.none",) and not node.args:
            return ONE
        arguments = [self.cost(a) for a in node.args]
        target = self.cost(node.target) if node.target is not None else ZERO
        together = ZERO
        for argument in arguments:
            together += argument
        function: Range | None = None
        size: Range | None = None
        for overload in node.overloads:
            one, made = self.overload(node, overload, arguments, together)
            function = one if function is None else function | one
            if made is not None:
                size = made if size is None else size | made
            size = self._indexed(node, overload, size)
            if size is None:
                size = self.size(node)
        if size is not None:
            self.sizes[id(node)] = size
        return target + (function or ZERO)

    def _indexed(self, node: Call, overload: str, size: Range | None) -> Range | None:
        step = {"index_list": "@items", "index_map": "@values"}.get(overload)
        if step is None:
            return size
        entry, path = self.entry(node.args[0]), self.path(node.args[0])
        self.paths[id(node)] = (*path, step) if path is not None else (step,)
        return entry.value if entry is not None else None

    def _copy(self, node: Expr, source: Expr) -> None:
        size, entry = self.size(source), self.entry(source)
        if size is not None:
            self.sizes[id(node)] = size
        if entry is not None:
            self.entries[id(node)] = entry

    def overload(
        self, node: Call, overload: str, arguments: list[Range], together: Range
    ) -> tuple[Range, Range | None]:
        """(cost with the arguments', size of the result)."""
        library = _LIBRARY.get(node.function)
        if library is not None:
            found: tuple[Range, Range | None] | None = library(self, node, overload)
            if found is not None:
                return found[0] + together, found[1]
        special = _OVERLOADS.get(overload)
        if special is not None:
            made: tuple[Range, Range | None] = special(self, node, arguments, together)
            return made
        return ONE + together, None

    # -- comprehensions ----------------------------------------------------------------------------------------------

    def push(self, name: str, local: _Local) -> None:
        self.locals.setdefault(name, []).append(local)

    def pop(self, *names: str) -> None:
        for name in names:
            if name:
                self.locals[name].pop()

    def macro(self, node: Macro) -> Range:
        over = self.cost(node.range)
        self._variables(node)
        cost = self._fold(node, over)
        self.pop(node.variable, node.second)
        return cost

    def _variables(self, node: Macro) -> None:
        entry, path = self.entry(node.range), self.path(node.range)
        kind = entry.kind if entry is not None else node.range.type.kind
        is_list = kind == "list"

        def below(step: str) -> Path:
            return (*path, step) if path is not None else (step,)

        keys, values = (entry.key, entry.value) if entry is not None else (None, None)
        if node.second:
            self.push(node.variable, _Local(below("@indices" if is_list else "@keys"), keys))
            self.push(node.second, _Local(below("@items" if is_list else "@values"), values))
        else:
            self.push(node.variable, _Local(below("@items" if is_list else "@keys"), values if is_list else keys))

    def _fold(self, node: Macro, over: Range) -> Range:
        """init + result + size * (condition + step), with the folds that macros stand for."""
        count = self.sized(node.range)
        chosen = self.cost(node.filter) if node.filter is not None else None
        body = self.cost(node.body) if node.body is not None else ZERO
        init, result, step = ZERO, ONE, ZERO
        match node.kind:
            case "all":
                step = Range(1, min(MAX, 1 + body.high)) + fixed(2)
            case "exists":
                step = Range(1, min(MAX, 1 + body.high)) + fixed(3)
            case "exists_one" | "existsOne":
                step, result = body + Range(1, 2), fixed(2)
            case "map" | "transformList":
                init, step = fixed(10), body + fixed(12)
            case "filter":
                init, step, chosen = fixed(10), fixed(13), chosen or ZERO
            case "transformMap":
                init, step = fixed(30), body + fixed(3)
            case "transformMapEntry":
                init, step = fixed(30), body + fixed(2)
            case "sortBy":
                init, step = fixed(10), body + fixed(12)
        if chosen is not None:
            step = chosen + (step | ONE)
        if init.high:
            self.sizes[id(node)] = count
            if node.body is not None and node.kind in ("map", "transformList"):
                self.entries[id(node)] = _Entry("list", ONE, self.sized(node.body))
        else:
            self.sizes[id(node)] = ONE
        cost = over + init + result + count * step
        if node.kind == "sortBy":
            cost += (count * count).scaled(2) + fixed(12)
        return cost

    def bind(self, node: Bind) -> Range:
        operand = self.cost(node.value)
        self.push(node.variable, _Local(self.path(node.value), self.size(node.value)))
        body = self.cost(node.body)
        self.pop(node.variable)
        present = fixed(10) + operand + ONE + body + (ONE if node.kind == "optMap" else ZERO)
        return operand + ONE + (present | ONE)


def _joined(sizes: list[Range]) -> Range:
    if not sizes:
        return ZERO
    result = sizes[0]
    for size in sizes[1:]:
        result |= size
    return result


def _literal_size(node: Expr) -> Range | None:
    if isinstance(node, Literal):
        return fixed(len(node.value)) if isinstance(node.value, str | bytes) else ONE
    if isinstance(node, ListExpr):
        return fixed(len(node.items))
    if isinstance(node, MapExpr):
        return fixed(len(node.entries))
    return None


# -- overloads of the language -------------------------------------------------------------------------------------------


def _logical(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    return Range(arguments[0].low, (arguments[0] + arguments[1]).high), None


def _conditional(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
    size = e.sized(node.args[1]) | e.sized(node.args[2])
    return arguments[0] + (arguments[1] | arguments[2]), size


def _concatenation(factor: float) -> Any:
    def cost(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
        size = e.sized(node.args[0]) + e.sized(node.args[1])
        left, right = e.entry(node.args[0]), e.entry(node.args[1])
        if left is not None or right is not None:
            both = left or right
            assert both is not None
            other = right or left or both
            e.entries[id(node)] = _Entry(both.kind, both.key | other.key, both.value | other.value)
        return (size.scaled(factor) if factor else ONE) + together, size

    return cost


def _comparison(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    smallest = min(e.sized(node.args[0]).high, e.sized(node.args[1]).high)
    return Range(1 if smallest > 0 else 0, smallest).scaled(STRING_FACTOR) + together, None


def _of_argument(factor: float) -> Any:
    def cost(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
        return e.sized(node.args[-1]).scaled(factor) + together, None

    return cost


def _matches(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    assert node.target is not None
    return _regex_cost(e, node.target, node.args[0]) + together, None


def _regex_cost(e: _Estimator, text: Expr, pattern: Expr) -> Range:
    return (e.sized(text) + ONE).scaled(STRING_FACTOR) * e.sized(pattern).scaled(REGEX_FACTOR)


def _contains(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    assert node.target is not None
    text, part = e.sized(node.target).scaled(STRING_FACTOR), e.sized(node.args[0]).scaled(STRING_FACTOR)
    return text * part + together, None


def _to_bytes(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
    size = e.sized(node.args[0])
    return size.scaled(STRING_FACTOR) + together, Range(size.low, min(MAX, size.high * 4))


def _from_bytes(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
    size = e.sized(node.args[0])
    return size.scaled(STRING_FACTOR) + together, Range(size.low // 4, size.high)


def _quoted(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, Range]:
    size = e.sized(node.args[0])
    return size.scaled(STRING_FACTOR) + together, Range(size.low + 2, min(MAX, size.high * 2 + 2))


def _formatted(e: _Estimator, node: Call, arguments: list[Range], together: Range) -> tuple[Range, None]:
    assert node.target is not None
    return e.sized(node.target).scaled(STRING_FACTOR) + together, None


_OVERLOADS: dict[str, Any] = {
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


def _unit(e: _Estimator, node: Call, overload: str) -> _Found:
    return ONE, None


def _elements(e: _Estimator, node: Call, overload: str) -> _Found:
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
    def cost(e: _Estimator, node: Call, overload: str) -> _Found:
        if not node.args:
            return None
        size = e.sized(node.args[0])
        return size.scaled(factor), size if keeps_size else None

    return cost


def _text(e: _Estimator, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    size = e.sized(node.target)
    return size.scaled(STRING_FACTOR), size


def _replace(e: _Estimator, node: Call, overload: str) -> _Found:
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


def _split(e: _Estimator, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    size = e.sized(node.target)
    most = size.high
    if len(node.args) > 1 and isinstance(node.args[1], Literal) and isinstance(node.args[1].value, int):
        most = node.args[1].value % 2**64
    return size.scaled(2 * STRING_FACTOR), Range(0, most)


def _join(e: _Estimator, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    count = e.sized(node.target)
    size = count * e.item_size(node.target) if node.target.type.parameters else ZERO
    if node.args:
        between = Range(max(0, count.low - 1), max(0, count.high - 1))
        size += e.sized(node.args[0]) * between
    return size.scaled(STRING_FACTOR), size


def _find(e: _Estimator, node: Call, overload: str) -> _Found:
    if node.target is None or not node.args:
        return None
    return _regex_cost(e, node.target, node.args[0]), Range(0, e.sized(node.target).high)


def _ip(e: _Estimator, node: Call, overload: str) -> _Found:
    if overload == "cidr_ip" or not node.args:
        return ONE, None
    return e.sized(node.args[0]).scaled(STRING_FACTOR), None


def _contains_ip(e: _Estimator, node: Call, overload: str) -> _Found:
    if not node.args:
        return None
    address = Range(4, 16)
    cost = (address + address).scaled(STRING_FACTOR)
    if node.function == "containsCIDR":
        cost += address.scaled(STRING_FACTOR) + ONE
    if overload in ("cidr_contains_ip_string", "cidr_contains_cidr_string"):
        cost += e.sized(node.args[0]).scaled(STRING_FACTOR)
    return cost, None


def _validate(e: _Estimator, node: Call, overload: str) -> _Found:
    size = e.sized(node.args[0])
    return size.scaled(STRING_FACTOR).scaled(128 * REGEX_FACTOR), None


_UNIT_TYPES = ("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver")


def _equality(e: _Estimator, node: Call, overload: str) -> _Found:
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
    def cost(e: _Estimator, node: Call, overload: str) -> _Found:
        return (e.sized(node.args[0]) * e.sized(node.args[1])).scaled(factor) + ONE, None

    return cost


def _new_list(factor: float, size: Range) -> _Found:
    return size.scaled(factor) + fixed(11), size


def _reversed(e: _Estimator, node: Call, overload: str) -> _Found:
    return _new_list(1, e.sized(node.target)) if node.target is not None else None


def _number(node: Expr, otherwise: int) -> int:
    if isinstance(node, Literal) and isinstance(node.value, int) and node.value >= 0:
        return node.value
    return otherwise


def _slice(e: _Estimator, node: Call, overload: str) -> _Found:
    if node.target is None or len(node.args) != 2:
        return None
    end = _number(node.args[1], e.sized(node.target).high)
    return _new_list(1, fixed((end - _number(node.args[0], 0)) % 2**64))


def _range(e: _Estimator, node: Call, overload: str) -> _Found:
    return _new_list(1, fixed(_number(node.args[0], MAX)))


def _flatten(e: _Estimator, node: Call, overload: str) -> _Found:
    if node.target is None:
        return None
    depth = _number(node.args[0], MAX) if node.args else 1
    return _new_list(float(depth), e.sized(node.target))


def _quadratic(e: _Estimator, node: Call, overload: str) -> _Found:
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
_LIBRARY: dict[str, Any] = {
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
