"""JSONPath as kubectl and CustomResourceDefinitions use it: one path, compiled once, evaluated on plain objects.

Specified by the "JSONPath Support" page (``client-go/util/jsonpath``): the leading ``$`` or ``.`` is optional, ``\\.``
is a dot inside a key, ``[*]``, ``.*``, slices, unions ``[a,b]``, filters ``[?(@.type=="Ready")]`` and ``..`` for every
depth. A field that is missing gives no value.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

Step = Callable[[list[Any]], list[Any]]


class JSONPathError(ValueError):
    """A path that cannot be parsed; the message is upstream's."""


class JSONPath:
    """A compiled path: ``find(obj)`` gives the values it selects, in order."""

    __slots__ = ("text", "_steps")

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps = _Parser(text).steps()

    def find(self, obj: Any) -> list[Any]:
        values = [obj]
        for step in self._steps:
            values = step(values)
        return values


def printed(value: Any) -> str:
    """A value as a template prints it: text bare, numbers and truth values as Go's, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if isinstance(value, int):
        return str(value)
    return orjson.dumps(value).decode()


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return (value[k] for k in sorted(value))
    return value if isinstance(value, list) else ()


def _field(name: str) -> Step:
    if name in ("*", ""):
        return _wildcard if name else lambda values: values

    def step(values: list[Any]) -> list[Any]:
        return [v[name] for v in values if isinstance(v, dict) and name in v]

    return step


def _wildcard(values: list[Any]) -> list[Any]:
    return [c for v in values for c in _children(v)]


def _recursive(values: list[Any]) -> list[Any]:
    return [d for v in values for d in _descend(v)]


def _descend(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        here = stack.pop()
        yield here
        stack.extend(c for c in reversed(list(_children(here))) if isinstance(c, dict | list))


def _slice(start: int | None, stop: int | None, step: int | None, single: bool) -> Step:
    def apply(values: list[Any]) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if not isinstance(value, list):
                continue
            if single:
                index = start or 0
                if -len(value) <= index < len(value):
                    found.append(value[index])
            else:
                found += value[start:stop:step]
        return found

    return apply


def _union(paths: list[list[Step]]) -> Step:
    def apply(values: list[Any]) -> list[Any]:
        found: list[Any] = []
        for value in values:
            for path in paths:
                found += _run(path, value)
        return found

    return apply


def _run(steps: list[Step], value: Any) -> list[Any]:
    values = [value]
    for step in steps:
        values = step(values)
    return values


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _compare(left: Any, sign: str, right: Any) -> bool:
    if sign == "==":
        return _same(left, right)
    if sign == "!=":
        return not _same(left, right)
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (left, right))
    if numbers or (isinstance(left, str) and isinstance(right, str)):
        return _COMPARE[sign](left, right)
    return False


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _filter(left: list[Step], sign: str, right: list[Step]) -> Step:
    def keep(item: Any) -> bool:
        found = _run(left, item)
        if sign == "":
            return bool(found)
        wanted = _run(right, item)
        return len(found) == 1 and len(wanted) == 1 and _compare(found[0], sign, wanted[0])

    def apply(values: list[Any]) -> list[Any]:
        return [item for value in values for item in _children(value) if keep(item)]

    return apply


def _literal(value: Any) -> Step:
    return lambda values: [value for _ in values]


_FILTER = re.compile(r"([^!<>=]+)([!<>=]+)(.+)", re.DOTALL)
_KEY = re.compile(r"'([^']*)'")
_SLICE = re.compile(r"(-?\d*)(?::(-?\d*))?(?::(-?\d*))?")
_ENDS = " .[]{}$@,\r\n"
_MAX_DEPTH = 20


class _Parser:
    def __init__(self, text: str, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise JSONPathError("path is nested too deeply")
        self._text = text
        self._at = 0
        self._depth = depth

    def steps(self) -> list[Step]:
        found: list[Step] = []
        text = self._text
        while self._at < len(text):
            here = text[self._at]
            if text.startswith("[?(", self._at):
                found.append(self._filter())
            elif text.startswith("..", self._at):
                if found and found[-1] is _recursive:
                    raise JSONPathError("invalid multiple recursive descent")
                self._at += 2
                found.append(_recursive)
                if self._at < len(text) and (text[self._at].isalnum() or text[self._at] == "_"):
                    found.append(_field(self._name()))
            elif here in " @$":
                self._at += 1
            elif here == "[":
                found.append(self._array())
            elif here == ".":
                self._at += 1
                found.append(_field(self._name()))
            elif here in "\"'":
                found.append(_literal(self._quoted(here)))
            elif here in "+-" or here.isdigit():
                found.append(_literal(self._number()))
            elif here.isalnum() or here == "_":
                word = self._name()
                found.append(_literal(word == "true") if word in ("true", "false") else _field(word))
            else:
                raise JSONPathError(f"unrecognized character in action: U+{ord(here):04X} {here!r}")
        return found

    def _name(self) -> str:
        name = ""
        while self._at < len(self._text):
            here = self._text[self._at]
            if here == "\\" and self._at + 1 < len(self._text):
                self._at += 1
                name += self._text[self._at]
            elif here in _ENDS:
                break
            else:
                name += here
            self._at += 1
        return name

    def _quoted(self, mark: str) -> str:
        end = self._at + 1
        while end < len(self._text) and self._text[end] != mark:
            end += 2 if self._text[end] == "\\" else 1
        if end >= len(self._text):
            raise JSONPathError("unterminated quoted string")
        value = self._text[self._at + 1 : end]
        self._at = end + 1
        return re.sub(r"\\(.)", r"\1", value)

    def _number(self) -> int | float:
        match = re.compile(r"[+-]?[\d.]*").match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        try:
            return float(match[0]) if "." in match[0] else int(match[0])
        except ValueError as failure:
            raise JSONPathError(f"cannot parse number {match[0]}") from failure

    def _array(self) -> Step:
        end = self._text.find("]", self._at)
        if end < 0:
            raise JSONPathError("unterminated array")
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        if inside == "*":
            return _wildcard
        if "," in inside:
            return _union([_Parser(f"[{part.strip()}]", self._depth + 1).steps() for part in inside.split(",")])
        key = _KEY.fullmatch(inside)
        if key is not None:
            steps = _Parser(f".{key[1]}", self._depth + 1).steps()
            return lambda values: [f for v in values for f in _run(steps, v)]
        match = _SLICE.fullmatch(inside)
        if match is None or inside == "":
            raise JSONPathError(f"invalid array index {inside}")
        try:
            numbers = [int(g) if g else None for g in match.groups()]
        except ValueError as failure:
            raise JSONPathError(f"array index {inside} is not a number") from failure
        if numbers[2] is not None and numbers[2] <= 0:
            raise JSONPathError("step must be > 0")
        return _slice(numbers[0], numbers[1], numbers[2], single=":" not in inside)

    def _filter(self) -> Step:
        start = self._at + 3
        at, mark = start, ""
        while at < len(self._text):
            here = self._text[at]
            if mark:
                mark = "" if here == mark and self._text[at - 1] != "\\" else mark
            elif here in "\"'":
                mark = here
            elif here == ")":
                break
            at += 1
        else:
            raise JSONPathError("unterminated filter")
        if not self._text.startswith(")]", at):
            raise JSONPathError("unclosed array expect ]")
        inside = self._text[start:at]
        self._at = at + 2
        match = _FILTER.fullmatch(inside)
        if match is None:
            return _filter(_Parser(inside, self._depth + 1).steps(), "", [])
        if match[2] not in ("==", "!=", *_COMPARE):
            raise JSONPathError(f"unrecognized filter operator {match[2]}")
        left, right = (_Parser(part, self._depth + 1).steps() for part in (match[1], match[3]))
        return _filter(left, match[2], right)
