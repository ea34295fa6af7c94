"""Macros: calls that are syntax. ``has``, the comprehensions of one and two variables, ``optMap``, ``sortBy``, ``cel.bind``."""

from __future__ import annotations

from collections.abc import Callable

from .syntax import Bind, Expr, Ident, Macro, Select

PREDICATES = ("all", "exists", "exists_one", "existsOne")


class MacroError(ValueError):
    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


def expand(offset: int, name: str, target: Expr | None, args: list[Expr]) -> Expr | None:
    """The expansion of a macro call; None for what is an ordinary call."""
    if target is None:
        return _has(offset, args) if name == "has" and len(args) == 1 else None
    maker = _MEMBERS.get((name, len(args)))
    return maker(offset, name, target, args) if maker is not None else None


def _has(offset: int, args: list[Expr]) -> Expr:
    argument = args[0]
    if not isinstance(argument, Select) or argument.test:
        raise MacroError(argument.offset, "invalid argument to has() macro")
    return Select(offset, argument.operand, argument.field, test=True)


def _variable(argument: Expr, message: str = "argument must be a simple name") -> str:
    if not isinstance(argument, Ident):
        raise MacroError(argument.offset, message)
    if argument.name in ("__result__", "@result"):
        raise MacroError(argument.offset, "iteration variable overwrites accumulator variable")
    return argument.name


def _predicate(offset: int, name: str, target: Expr, args: list[Expr]) -> Expr:
    return Macro(offset, name, target, _variable(args[0]), "", None, args[1])


def _map(offset: int, name: str, target: Expr, args: list[Expr]) -> Expr:
    variable = _variable(args[0], "argument is not an identifier")
    chosen = args[1] if len(args) == 3 else None
    return Macro(offset, "map", target, variable, "", chosen, args[-1])


def _filter(offset: int, name: str, target: Expr, args: list[Expr]) -> Expr:
    variable = _variable(args[0], "argument is not an identifier")
    return Macro(offset, "filter", target, variable, "", args[1], None)


def _pair(args: list[Expr]) -> tuple[str, str]:
    first, second = _variable(args[0]), _variable(args[1])
    if first == second:
        raise MacroError(args[1].offset, f"duplicate variable name: {first}")
    return first, second


def _predicate2(offset: int, name: str, target: Expr, args: list[Expr]) -> Expr:
    first, second = _pair(args)
    return Macro(offset, "exists_one" if name == "existsOne" else name, target, first, second, None, args[2])


def _transform(offset: int, name: str, target: Expr, args: list[Expr]) -> Expr:
    first, second = _pair(args)
    chosen = args[2] if len(args) == 4 else None
    return Macro(offset, name, target, first, second, chosen, args[-1])


def _bind(offset: int, name: str, target: Expr, args: list[Expr]) -> Expr:
    message = f"{name}() variable name must be a simple identifier"
    return Bind(offset, name, _variable(args[0], message), target, args[1])


def expand_bind(offset: int, name: str, target: Expr | None, args: list[Expr]) -> Expr | None:
    """``cel.bind(variable, value, body)``, which only some environments have."""
    if name != "bind" or len(args) != 3 or not isinstance(target, Ident) or target.name != "cel":
        return None
    return Bind(
        offset, name, _variable(args[0], "cel.bind() variable names must be simple identifiers"), args[1], args[2]
    )


def _sort_by(offset: int, name: str, target: Expr, args: list[Expr]) -> Expr:
    return Macro(offset, "sortBy", target, _variable(args[0]), "", None, args[1])


_Maker = Callable[[int, str, Expr, list[Expr]], Expr]
_MEMBERS: dict[tuple[str, int], _Maker] = {
    ("all", 2): _predicate,
    ("exists", 2): _predicate,
    ("exists_one", 2): _predicate,
    ("existsOne", 2): _predicate,
    ("map", 2): _map,
    ("map", 3): _map,
    ("filter", 2): _filter,
    ("all", 3): _predicate2,
    ("exists", 3): _predicate2,
    ("exists_one", 3): _predicate2,
    ("existsOne", 3): _predicate2,
    ("transformList", 3): _transform,
    ("transformList", 4): _transform,
    ("transformMap", 3): _transform,
    ("transformMap", 4): _transform,
    ("transformMapEntry", 3): _transform,
    ("transformMapEntry", 4): _transform,
    ("optMap", 2): _bind,
    ("optFlatMap", 2): _bind,
    ("sortBy", 2): _sort_by,
}
