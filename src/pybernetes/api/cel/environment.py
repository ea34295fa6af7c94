"""Environments: variables with their types, functions, and the way from text to a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..regexes import PatternError, compile_pattern
from . import celtypes as t
from .celtypes import Type
from .checker import Checker
from .declarations import Function, standard
from .parser import parse
from .program import Builder, ProgramError
from .running import MISSING, CostExceeded, Eval, Run
from .syntax import Call, CompileError, Expr, Issue, ListExpr, Literal, StructExpr, render
from .texts import clauses, format_issue
from .values import CelError, Duration, Timestamp

PER_CALL_LIMIT = 1_000_000
RUNTIME_BUDGET = 10_000_000
"""What all rules of one object may cost together."""

__all__ = [
    "PER_CALL_LIMIT",
    "RUNTIME_BUDGET",
    "CelError",
    "CompileError",
    "CostExceeded",
    "Environment",
    "Program",
    "ProgramError",
]


@dataclass(frozen=True, slots=True)
class Environment:
    """What expressions may refer to."""

    variables: Mapping[str, Type]
    functions: Mapping[str, Function] = field(default_factory=standard)
    objects: Mapping[str, Type] = field(default_factory=dict)
    """Types that struct literals (``Object{...}``) make."""
    bindings: bool = False
    """Whether ``cel.bind`` is known."""

    def compile(self, source: str) -> Program:
        """Raises CompileError."""
        tree = parse(source, bindings=self.bindings)
        checker = Checker(self.variables, self.functions, self.objects)
        type_ = checker.check(tree, source)
        issues = [issue for node in checker.nodes for issue in _literal_issues(node)]
        if issues:
            raise CompileError(render(issues, source))
        builder = Builder(self.variables, self.functions)
        try:
            run = builder.build(tree)
        except RecursionError:
            raise CompileError(render([Issue(0, "expression recursion limit exceeded: 250")], source)) from None
        made = tuple(node for node in checker.nodes if isinstance(node, StructExpr))
        return Program(source, tree, type_, tuple(self.variables), builder.size, run, _names(checker), made)


def _names(checker: Checker) -> frozenset[str]:
    from .syntax import Ident

    return frozenset(node.name for node in checker.nodes if isinstance(node, Ident))


def _literal_issues(node: Expr) -> list[Issue]:
    """Patterns, moments and spans that are written out must be good."""
    if not isinstance(node, Call):
        return []
    if node.function in ("matches", "find", "findAll") and node.args:
        pattern = node.args[-1] if node.target is None else node.args[0]
        if isinstance(pattern, Literal) and isinstance(pattern.value, str):
            try:
                compile_pattern(pattern.value)
            except PatternError as failure:
                if node.function != "matches":
                    raise ProgramError(str(failure)) from failure
                return [Issue(pattern.offset, "invalid matches argument")]
    if node.function == "format":
        return _format_issues(node)
    if node.function in ("duration", "timestamp") and node.target is None and len(node.args) == 1:
        argument = node.args[0]
        if isinstance(argument, Literal) and isinstance(argument.value, str):
            try:
                (Duration if node.function == "duration" else Timestamp).parse(argument.value)
            except ValueError:
                return [Issue(argument.offset, f"invalid {node.function} argument")]
    return []


_CLAUSE_TYPES = {
    "d": ("decimal", "integers", ("int", "uint")),
    "f": ("fixed-point", "doubles", ("double", "string")),
    "e": ("scientific", "doubles", ("double", "string")),
    "b": ("binary", "integers and bools", ("int", "uint", "bool")),
    "o": ("octal", "integers", ("int", "uint")),
    "x": ("hex", "integers, byte buffers, and strings", ("int", "uint", "bytes", "string")),
    "X": ("hex", "integers, byte buffers, and strings", ("int", "uint", "bytes", "string")),
}


def _format_issues(node: Call) -> list[Issue]:
    template, args = node.target, node.args[0] if node.args else None
    if not isinstance(template, Literal) or not isinstance(template.value, str) or not isinstance(args, ListExpr):
        return []
    issue = format_issue(template.value, len(args.items))
    if issue:
        return [Issue(node.offset, issue)]
    for letter, item in zip(clauses(template.value), args.items, strict=False):
        name, words, kinds = _CLAUSE_TYPES.get(letter, ("", "", ()))
        if name and item.type.kind not in (*kinds, "dyn"):
            message = f"error during formatting: {name} clause can only be used on {words}, was given {item.type}"
            return [Issue(item.offset, message)]
    return []


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A compiled expression. Immutable; runs any number of times."""

    source: str
    tree: Expr
    type: Type
    variables: tuple[str, ...]
    slots: int
    run: Eval
    names: frozenset[str]
    """Every name that the expression mentions."""
    literals: tuple[StructExpr, ...] = ()
    """Every object that it makes, with the types of its fields' values."""

    def evaluate(self, variables: Mapping[str, Any], limit: int = PER_CALL_LIMIT) -> tuple[Any, int]:
        """(value, cost). Raises CelError with ``cost`` set; CostExceeded over the limit."""
        slots = [variables.get(name, MISSING) for name in self.variables]
        slots += [None] * (self.slots - len(slots))
        state = Run(slots, limit)
        try:
            value = self.run(state)
            if state.cost > limit:
                raise CostExceeded
        except CelError as failure:
            failure.cost = state.cost  # type: ignore[attr-defined]
            raise
        except RecursionError as failure:
            error = CelError("expression recursion limit exceeded: 250")
            error.cost = state.cost  # type: ignore[attr-defined]
            raise error from failure
        return value, state.cost


def dynamic(*names: str) -> dict[str, Type]:
    """Variables of any type."""
    return dict.fromkeys(names, t.DYN)
