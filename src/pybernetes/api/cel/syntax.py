"""The syntax tree of CEL (https://github.com/google/cel-spec/blob/master/doc/langdef.md), and errors with their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .celtypes import DYN, Type


class CompileError(ValueError):
    """An expression that does not compile; the message is what cel-go prints, with the place marked."""


@dataclass(slots=True, frozen=True)
class Issue:
    """One finding. ``offset`` counts characters from the start."""

    offset: int
    message: str

    def render(self, source: str) -> str:
        if not source:
            return f"ERROR: <input>:1:0: {self.message}"
        line = source.count("\n", 0, self.offset) + 1
        start = source.rfind("\n", 0, self.offset) + 1
        column = self.offset - start
        end = source.find("\n", start)
        snippet = source[start : end if end >= 0 else len(source)].replace("\t", " ")
        marker = "." * column + "^"
        return f"ERROR: <input>:{line}:{column + 1}: {self.message}\n | {snippet}\n | {marker}"


def render(issues: Sequence[Issue], source: str) -> str:
    ordered = sorted(dict.fromkeys(issues), key=lambda i: i.offset)
    return "\n".join(issue.render(source) for issue in ordered)


@dataclass(slots=True, eq=False)
class Expr:
    """A node. ``type`` is filled in by the checker, ``cost`` facts by the estimator."""

    offset: int
    type: Type = field(default=DYN, init=False)


@dataclass(slots=True, eq=False)
class Literal(Expr):
    value: Any


@dataclass(slots=True, eq=False)
class Ident(Expr):
    name: str


@dataclass(slots=True, eq=False)
class Select(Expr):
    """``operand.field``; with ``test`` it is ``has(operand.field)``."""

    operand: Expr
    field: str
    test: bool = False
    json_name: str = ""
    """The field's name in the object, where it is known and differs from the one in the expression."""


@dataclass(slots=True, eq=False)
class Call(Expr):
    """A function, operator (``_+_``) or method call."""

    function: str
    target: Expr | None
    args: list[Expr]
    overloads: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class ListExpr(Expr):
    items: list[Expr]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class MapExpr(Expr):
    entries: list[tuple[Expr, Expr, bool]]
    """(key, value, whether the value is optional)."""


@dataclass(slots=True, eq=False)
class StructExpr(Expr):
    name: str
    entries: list[tuple[int, str, Expr, bool]]


@dataclass(slots=True, eq=False)
class Macro(Expr):
    """A comprehension. ``kind`` is the macro's name; ``second`` is the other variable of two-variable forms."""

    kind: str
    range: Expr
    variable: str
    second: str
    filter: Expr | None
    body: Expr | None
    """The predicate, or the transformation."""
    key: Expr | None = None


@dataclass(slots=True, eq=False)
class Bind(Expr):
    """``cel.bind``; ``optMap`` and its like, which have the body only where the operand has a value."""

    kind: str
    variable: str
    value: Expr
    body: Expr
