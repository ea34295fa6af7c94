"""Checked expressions as closures, with the cost of what they do counted as they run.

The cost model is that of upstream's interpreter (a unit is roughly one operation): the server gives a call and an
object's rules a budget, so that no expression, however large its data, holds it up. Going over it ends the evaluation
with ``CostExceeded``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import values
from .costs import Cost, call_cost
from .declarations import Function
from .folds import MACROS, binder, sort_by
from .operators import has_key, index, is_in, optional_index, show_key
from .running import MISSING, CostExceeded, Eval, Run, spend
from .syntax import Bind, Call, CompileError, Expr, Ident, ListExpr, Literal, Macro, MapExpr, Select, StructExpr
from .values import CelError, NoSuchOverload, OptionalValue, TypeValue, equal

LIST_COST, MAP_COST, STRUCT_COST, BIND_COST = 10, 30, 40, 10


class ProgramError(CompileError):
    """An expression that checks but cannot become a program: a constant in it is bad."""


class Builder:
    """Compiles one checked expression."""

    def __init__(self, variables: Iterable[str], functions: Mapping[str, Function]) -> None:
        self.names = {name: slot for slot, name in enumerate(variables)}
        self.functions = functions
        self.size = len(self.names)

    def build(self, node: Expr) -> Eval:
        value = self.constant(node)
        if value is not MISSING:
            return lambda run: value
        made: Eval = _BUILD[type(node)](self, node)
        return made

    def constant(self, node: Expr) -> Any:
        """The value of what does not change: literals, aggregates of constants, conversions of them."""
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, ListExpr) and not node.optional:
            items = [self.constant(i) for i in node.items]
            return MISSING if any(i is MISSING for i in items) else items
        if isinstance(node, MapExpr) and not any(e[2] for e in node.entries):
            pairs = [(self.constant(k), self.constant(v)) for k, v, _ in node.entries]
            if not any(p is MISSING for pair in pairs for p in pair) and _distinct_keys([k for k, _ in pairs]):
                return dict(pairs)
        if isinstance(node, Call) and node.target is None and len(node.args) == 1 and node.function in _CONVERSIONS:
            argument = self.constant(node.args[0])
            if argument is not MISSING:
                try:
                    return self.functions[node.function].run(argument)
                except CelError as failure:
                    raise ProgramError(str(failure)) from failure
        return MISSING

    def local(self, name: str) -> int:
        """A slot for a variable of a comprehension."""
        self.size += 1
        self.names[name] = self.size - 1
        return self.size - 1

    # -- leaves ------------------------------------------------------------------------------------------------------

    def literal(self, node: Literal) -> Eval:
        value = node.value
        return lambda run: value

    def ident(self, node: Ident) -> Eval:
        slot = self.names.get(node.name)
        if slot is None:
            return self.type_name(node.name)
        name = node.name

        def load(run: Run) -> Any:
            run.cost += 1
            value = run.slots[slot]
            if value is MISSING:
                raise CelError(f"no such attribute(s): {name}")
            return value

        return load

    def type_name(self, name: str) -> Eval:
        value = TypeValue(name)
        return lambda run: value

    def select(self, node: Select) -> Eval:
        if node.type.kind == "type":
            from .checker import qualified_name

            return self.type_name(qualified_name(node))
        operand, field = self.build(node.operand), node.json_name or node.field
        if node.test:
            return _test(operand, field)
        extra = 1 if _is_attribute(node.operand) else 2

        def get(run: Run) -> Any:
            value = operand(run)
            run.cost += extra
            try:
                return value[field]
            except (KeyError, TypeError, IndexError):
                return _get(value, field)

        return get

    # -- calls -------------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Eval:
        special = _CALLS.get(node.function)
        if special is not None:
            made: Eval = special(self, node)
            return made
        args = [self.build(e) for e in ([node.target] if node.target is not None else []) + node.args]
        run_function = self.functions[node.function].run
        if len(node.overloads) > 1 and node.function[0].isalpha():
            run_function = _named(run_function, node.function)
        cost = call_cost(node.function, node.overloads)
        late = getattr(cost, "needs_result", False)
        if node.function == "_+_" and len(args) == 2:
            return _addition(args[0], args[1], run_function, cost)
        if len(args) == 2:
            return _binary(run_function, args[0], args[1], cost)
        if len(args) == 1 and not late:
            return _unary(run_function, args[0], cost)

        def call(run: Run) -> Any:
            given = [a(run) for a in args]
            if not late:
                spend(run, 1 if cost is None else cost(given, None))
            result = run_function(*given)
            if late and cost is not None:
                spend(run, cost(given, result))
            return result

        return call

    def equality(self, node: Call) -> Eval:
        left, right = self.build(node.args[0]), self.build(node.args[1])
        positive = node.function == "_==_"
        cost = call_cost(node.function, node.overloads)
        assert cost is not None

        def compare(run: Run) -> Any:
            a = left(run)
            b = right(run)
            kind = a.__class__
            if kind is int and b.__class__ is int:
                run.cost += 1
                return (a == b) is positive
            run.cost += cost((a, b), None)
            if run.cost > run.limit:
                raise CostExceeded
            return equal(a, b) is positive

        return compare

    def logical(self, node: Call) -> Eval:
        left, right = self.build(node.args[0]), self.build(node.args[1])
        decisive = node.function == "_||_"

        def decide(run: Run) -> Any:
            try:
                first = left(run)
            except CostExceeded:
                raise
            except CelError as failure:
                if right(run) is decisive:
                    return decisive
                raise failure
            if first is decisive:
                return decisive
            if first.__class__ is not bool:
                if right(run) is decisive:
                    return decisive
                raise NoSuchOverload
            second = right(run)
            if second.__class__ is not bool:
                raise NoSuchOverload
            return second

        return decide

    def conditional(self, node: Call) -> Eval:
        condition, chosen, other = (self.build(a) for a in node.args)

        def choose(run: Run) -> Any:
            value = condition(run)
            if value is True:
                return chosen(run)
            if value is False:
                return other(run)
            raise NoSuchOverload

        return choose

    def indexing(self, node: Call) -> Eval:
        container, key = self.build(node.args[0]), self.build(node.args[1])
        extra = (1 if isinstance(node.args[1], Literal) else 0) + (0 if _is_attribute(node.args[0]) else 1)

        def get(run: Run) -> Any:
            held = container(run)
            wanted = key(run)
            run.cost += extra
            return index(held, wanted)

        return get

    def optional_indexing(self, node: Call) -> Eval:
        container, key = self.build(node.args[0]), self.build(node.args[1])
        extra = (1 if isinstance(node.args[1], Literal) else 0) + (0 if _is_attribute(node.args[0]) else 1)

        def get(run: Run) -> Any:
            held = container(run)
            wanted = key(run)
            found = optional_index(held, wanted)
            if found.present:
                run.cost += extra
            return found

        return get

    def membership(self, node: Call) -> Eval:
        left, right = self.build(node.args[0]), self.build(node.args[1])
        known = self.constant(node.args[1])
        if isinstance(known, list) and known:
            return _constant_membership(left, known)
        is_list = node.overloads == ("in_list",)

        def test(run: Run) -> Any:
            value = left(run)
            items = right(run)
            run.cost += len(items) if is_list and isinstance(items, list) else 1
            if run.cost > run.limit:
                raise CostExceeded
            return is_in(value, items)

        return test

    def or_value(self, node: Call) -> Eval:
        """The alternative is only worked out where it is needed."""
        assert node.target is not None
        operand, other = self.build(node.target), self.build(node.args[0])
        unwraps = node.function == "orValue"

        def choose(run: Run) -> Any:
            value = operand(run)
            if value.__class__ is not OptionalValue:
                raise NoSuchOverload
            if value.present:
                return value.value if unwraps else value
            return other(run)

        return choose

    # -- aggregates --------------------------------------------------------------------------------------------------

    def list_literal(self, node: ListExpr) -> Eval:
        items = [(self.build(item), at in node.optional) for at, item in enumerate(node.items)]

        def make(run: Run) -> Any:
            out = []
            for item, optional in items:
                value = item(run)
                if not optional:
                    out.append(value)
                elif value.__class__ is not OptionalValue:
                    raise CelError(f"cannot initialize optional list element from non-optional value {value}")
                elif value.present:
                    out.append(value.value)
            run.cost += LIST_COST
            return out

        return make

    def map_literal(self, node: MapExpr) -> Eval:
        entries = [(self.build(k), self.build(v), optional) for k, v, optional in node.entries]

        def make(run: Run) -> Any:
            out: dict[Any, Any] = {}
            for key, item, optional in entries:
                name, value = key(run), item(run)
                if name.__class__ not in (str, int, bool, values.UInt, float):
                    raise CelError(f"unsupported key type: {values.type_name(name)}")
                if optional:
                    if not value.present:
                        continue
                    value = value.value
                if has_key(out, name):
                    raise CelError(f"insert failed: key {show_key(name)} already exists")
                out[name] = value
            run.cost += MAP_COST
            return out

        return make

    def struct_literal(self, node: StructExpr) -> Eval:
        fields = node.type.fields or {}
        entries = [
            (fields[name].json_name if name in fields else name, self.build(value), optional)
            for _, name, value, optional in node.entries
        ]

        def make(run: Run) -> Any:
            out = {}
            for name, item, optional in entries:
                value = item(run)
                if optional:
                    if not value.present:
                        continue
                    value = value.value
                out[name] = value
            run.cost += STRUCT_COST
            return out

        return make

    # -- comprehensions ----------------------------------------------------------------------------------------------

    def macro(self, node: Macro) -> Eval:
        over = self.build(node.range)
        before = dict(self.names)
        first = self.local(node.variable)
        second = self.local(node.second) if node.second else -1
        chosen = self.build(node.filter) if node.filter is not None else None
        body = self.build(node.body) if node.body is not None else None
        self.names = before
        if node.kind == "sortBy":
            return sort_by(over, binder(first, second), body, typed=node.range.type.kind == "list")
        made: Eval = MACROS[node.kind](over, binder(first, second), chosen, body)
        return made

    def bind(self, node: Bind) -> Eval:
        operand = self.build(node.value)
        before = dict(self.names)
        slot = self.local(node.variable)
        body = self.build(node.body)
        self.names = before
        if node.kind == "bind":
            return _binding(slot, operand, body)
        wraps = node.kind == "optMap"

        def apply(run: Run) -> Any:
            before = run.cost
            value = operand(run)
            if value.__class__ is not OptionalValue:
                raise NoSuchOverload
            if not value.present:
                run.cost += 2
                return values.NONE
            # the macro stands for hasValue() and value() on the operand, which costs it twice
            run.cost += (run.cost - before) + (3 if wraps else 2)
            run.slots[slot] = value.value
            result = body(run)
            return OptionalValue(True, result) if wraps else result

        return apply


def _binding(slot: int, operand: Eval, body: Eval) -> Eval:
    """``cel.bind``: upstream folds over an empty list, and that has a price."""

    def apply(run: Run) -> Any:
        run.slots[slot] = operand(run)
        spend(run, BIND_COST)
        return body(run)

    return apply


def _is_attribute(node: Expr) -> bool:
    """Names and what is selected from them are one attribute, which costs its qualifiers; other operands cost more."""
    if isinstance(node, Ident):
        return True
    if isinstance(node, Select):
        return not node.test
    return isinstance(node, Call) and node.function in ("_[_]", "_[?_]", "_?._")


_CONVERSIONS = ("bool", "bytes", "double", "duration", "int", "string", "timestamp", "type", "uint", "dyn")


def _distinct_keys(keys: list[Any]) -> bool:
    scalars = all(k.__class__ in (str, int, bool, values.UInt, float) for k in keys)
    return scalars and len({(k.__class__ is bool, k) for k in keys}) == len(keys)


def _get(value: Any, field: str) -> Any:
    if value.__class__ is OptionalValue:
        if not value.present:
            return values.NONE
        return _optional_field(value.value, field)
    if isinstance(value, list):
        raise CelError("unsupported index type 'string' in list")
    raise CelError(f"no such key: {field}")


def _optional_field(value: Any, field: str) -> OptionalValue:
    if isinstance(value, dict):
        return OptionalValue(True, value[field]) if field in value else values.NONE
    raise NoSuchOverload


def _test(operand: Eval, field: str) -> Eval:
    def has(run: Run) -> Any:
        value = operand(run)
        if value.__class__ is OptionalValue:
            if not value.present:
                return False
            value = value.value
        if isinstance(value, dict):
            return field in value
        raise NoSuchOverload

    return has


def _optional_select(builder: Builder, node: Call) -> Eval:
    operand = builder.build(node.args[0])
    name = node.args[1]
    field = name.value if isinstance(name, Literal) else ""
    extra = 1 if _is_attribute(node.args[0]) else 2

    def get(run: Run) -> Any:
        value = operand(run)
        if value.__class__ is OptionalValue:
            if not value.present:
                return value
            value = value.value
        found = _optional_field(value, field)
        if found.present:
            run.cost += extra
        return found

    return get


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Where the types did not decide for an overload, a failure names the function."""

    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except NoSuchOverload:
            raise CelError(f"no such overload: {name}") from None

    return call


def _unary(function: Callable[..., Any], operand: Eval, cost: Any) -> Eval:
    def call(run: Run) -> Any:
        value = operand(run)
        run.cost += 1 if cost is None else cost((value,), None)
        if run.cost > run.limit:
            raise CostExceeded
        return function(value)

    return call


def _addition(left: Eval, right: Eval, add: Callable[..., Any], cost: Cost | None) -> Eval:
    """Long results cost more than upstream says: joining lists, and texts of unknown type, is not free here."""

    def join(run: Run) -> Any:
        a = left(run)
        b = right(run)
        if a.__class__ is int:
            run.cost += 1
            return add(a, b)
        spend(run, 1 if cost is None else cost((a, b), None))
        if cost is None and isinstance(a, str | bytes | list) and isinstance(b, str | bytes | list):
            length = len(a) + len(b)
            if length > 1024:
                spend(run, length // 16)
        return add(a, b)

    return join


def _binary(function: Callable[..., Any], left: Eval, right: Eval, cost: Any) -> Eval:
    def call(run: Run) -> Any:
        a = left(run)
        b = right(run)
        run.cost += 1 if cost is None else cost((a, b), None)
        if run.cost > run.limit:
            raise CostExceeded
        return function(a, b)

    def call_with_result(run: Run) -> Any:
        a = left(run)
        b = right(run)
        result = function(a, b)
        run.cost += cost((a, b), result)
        if run.cost > run.limit:
            raise CostExceeded
        return result

    return call_with_result if getattr(cost, "needs_result", False) else call


def _constant_membership(left: Eval, items: list[Any]) -> Eval:
    simple = {(v.__class__, v) for v in items}

    def test(run: Run) -> Any:
        value = left(run)
        try:
            return (value.__class__, value) in simple or values.contains(items, value)
        except TypeError:
            return False

    return test


_CALLS: dict[str, Any] = {
    "_&&_": Builder.logical,
    "_||_": Builder.logical,
    "_?_:_": Builder.conditional,
    "_==_": Builder.equality,
    "_!=_": Builder.equality,
    "_[_]": Builder.indexing,
    "_[?_]": Builder.optional_indexing,
    "_?._": _optional_select,
    "@in": Builder.membership,
    "or": Builder.or_value,
    "orValue": Builder.or_value,
}
_BUILD: dict[type, Any] = {
    Literal: Builder.literal,
    Ident: Builder.ident,
    Select: Builder.select,
    Call: Builder.call,
    ListExpr: Builder.list_literal,
    MapExpr: Builder.map_literal,
    StructExpr: Builder.struct_literal,
    Macro: Builder.macro,
    Bind: Builder.bind,
}
