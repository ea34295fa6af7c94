"""Label and field selectors: their text form (query parameters), their object form (LabelSelector), and matching.

Specified by the "Labels and Selectors" page and ``apimachinery/pkg/labels``; messages are upstream's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Labels = Mapping[str, str]

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_KEY = re.compile(rf"(?:(?P<prefix>{_PREFIX})/)?(?P<name>{_NAME})")
_VALUE = re.compile(rf"(?:{_NAME})?")

IN, NOT_IN, EXISTS, DOES_NOT_EXIST, GREATER, LESS = "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"


class SelectorError(ValueError):
    """A selector that cannot be parsed; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        if value is None:
            return False
        try:
            have, want = int(value), int(next(iter(self.values)))
        except ValueError:
            return False
        return have > want if self.operator == GREATER else have < want

    def __str__(self) -> str:
        values = ",".join(sorted(self.values))
        match self.operator:
            case "In":
                return f"{self.key}={values}" if len(self.values) == 1 else f"{self.key} in ({values})"
            case "NotIn":
                return f"{self.key}!={values}" if len(self.values) == 1 else f"{self.key} notin ({values})"
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case "Gt":
                return f"{self.key}>{values}"
        return f"{self.key}<{values}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A conjunction of requirements. ``nothing`` matches no object (a nil selector); no requirements match all."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Labels | None) -> bool:
        if self.nothing:
            return False
        present = labels or {}
        return all(r.matches(present) for r in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.nothing and not self.requirements

    def __str__(self) -> str:
        return ",".join(sorted(str(r) for r in self.requirements))


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)


def validate_key(key: str) -> None:
    match = _KEY.fullmatch(key)
    if match is None or len(match["name"]) > 63 or len(match["prefix"] or "") > 253:
        raise SelectorError(f"unable to parse requirement: <nil>: Invalid value: {_quote(key)}: {KEY_MESSAGE}")


def validate_value(key: str, value: str) -> None:
    if len(value) > 63 or _VALUE.fullmatch(value) is None:
        raise SelectorError(
            f"unable to parse requirement: values[0][{key}]: Invalid value: {_quote(value)}: {VALUE_MESSAGE}"
        )


KEY_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_TOKEN = re.compile(r"\s*(==|!=|=|!|<|>|\(|\)|,|[^\s=!<>(),]+)\s*")


def parse_label_selector(text: str) -> LabelSelector:
    """The selector of a ``labelSelector`` query parameter. Raises SelectorError with upstream's message."""
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            break
        tokens.append(match[1])
        position = match.end()
    return LabelSelector(tuple(_Parser(tokens).requirements()))


class _Parser:
    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        if not self._tokens:
            return found
        while True:
            found.append(self._requirement())
            separator = self._next()
            if separator == "":
                return found
            if separator != ",":
                raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
            if self._peek() in ("", ","):
                raise SelectorError(f"found '{self._peek()}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._next()
        if key in ("=", "==", "!=", "<", ">", "(", ")", ",", "", "!"):
            raise SelectorError(f"found '{key}', expected: !, identifier, or 'end of string'")
        validate_key(key)
        if negated:
            return Requirement(key, DOES_NOT_EXIST)
        if self._peek() in (",", ""):
            return Requirement(key, EXISTS)
        return self._operation(key)

    def _operation(self, key: str) -> Requirement:
        operator = self._next()
        if operator in ("=", "==", "!="):
            value = "" if self._peek() in (",", "") else self._next()
            validate_value(key, value)
            return Requirement(key, NOT_IN if operator == "!=" else IN, frozenset([value]))
        if operator in ("<", ">"):
            value = self._next()
            if not re.fullmatch(r"[+-]?\d+", value):
                raise SelectorError(
                    f"unable to parse requirement: values[0]: Invalid value: {_quote(value)}: for 'Gt', 'Lt' operators, "
                    "the value must be an integer"
                )
            return Requirement(key, GREATER if operator == ">" else LESS, frozenset([value]))
        if operator in ("in", "notin"):
            return Requirement(key, IN if operator == "in" else NOT_IN, self._values(key))
        raise SelectorError(f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _values(self, key: str) -> frozenset[str]:
        opening = self._next()
        if opening != "(":
            raise SelectorError(f"unable to parse requirement: found '{opening}' expected: '('")
        values: list[str] = []
        current = ""
        while True:
            token = self._next()
            if token == ")" or token == ",":
                validate_value(key, current)
                values.append(current)
                current = ""
                if token == ")":
                    return frozenset(values)
            elif token == "":
                raise SelectorError("unable to parse requirement: found '', expected: ',' or ')'")
            elif current:
                raise SelectorError(f"unable to parse requirement: found '{token}', expected: ',' or ')'")
            else:
                current = token


def selector_from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The meaning of a ``metav1.LabelSelector``: None matches nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    found = [Requirement(k, IN, frozenset([v])) for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        operator = expression.get("operator")
        if operator not in (IN, NOT_IN, EXISTS, DOES_NOT_EXIST):
            raise SelectorError(f"{_quote(str(operator))} is not a valid label selector operator")
        found.append(Requirement(expression["key"], operator, frozenset(expression.get("values") or [])))
    return LabelSelector(tuple(found))


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """The text of a ``metav1.LabelSelector`` as upstream prints it (Scale status, tables): by key, sets in brackets.

    None, which matches nothing, and an empty selector, which matches everything, both give "". Raises SelectorError.
    """
    if selector is None:
        return ""
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        key, operator = expression.get("key") or "", expression.get("operator")
        values = ",".join(sorted(expression.get("values") or []))
        if operator in (IN, NOT_IN):
            parts.append((key, f"{key} {operator.lower()} ({values})"))
        elif operator in (EXISTS, DOES_NOT_EXIST):
            parts.append((key, key if operator == EXISTS else f"!{key}"))
        else:
            raise SelectorError(f"{_quote(str(operator))} is not a valid label selector operator")
    return ",".join(text for _, text in sorted(parts))


def selector_from_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """The meaning of a plain map selector (Service, ReplicationController): an empty one matches everything."""
    return LabelSelector(tuple(Requirement(k, IN, frozenset([v])) for k, v in sorted((labels or {}).items())))


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """``field = value`` or ``field != value``."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{self.value}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """A conjunction of equalities over the fields that a resource offers for selection."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, get: Callable[[str], str]) -> bool:
        """``get`` gives a field's text ('' where it is unset)."""
        return all((get(r.field) == r.value) != r.negated for r in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.requirements

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


def parse_field_selector(text: str) -> FieldSelector:
    """The selector of a ``fieldSelector`` query parameter. Backslash escapes ``\\ , =``. Raises SelectorError."""
    found = []
    for term in re.findall(r"(?:[^,\\]|\\.)+", text):
        match = re.fullmatch(r"((?:[^=!\\]|\\.|!(?!=))+?)(!=|==|=)((?:[^\\]|\\.)*)", term)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        found.append(FieldRequirement(match[1], _unescape(match[3], text), match[2] == "!="))
    return FieldSelector(tuple(found))


def _unescape(value: str, whole: str) -> str:
    bad = re.search(r"\\[^\\,=]|\\$", value)
    if bad is not None:
        raise SelectorError(f"invalid field selector: {whole}: invalid escape sequence: {bad.group()}")
    return re.sub(r"\\(.)", r"\1", value)
