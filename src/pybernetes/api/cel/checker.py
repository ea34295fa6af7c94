"""Type checking: every node gets a type, every call its overloads; what cannot be is reported with its place.

dyn fits everywhere, type parameters are bound by unification as in the language definition ("Gradual type checking").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import celtypes as t
from .celtypes import BOOL, BYTES, DOUBLE, DURATION, DYN, ERROR, INT, NULL, STRING, TIMESTAMP, UINT, Type
from .declarations import Function, Overload
from .syntax import (
    Bind,
    Call,
    CompileError,
    Expr,
    Ident,
    Issue,
    ListExpr,
    Literal,
    Macro,
    MapExpr,
    Select,
    StructExpr,
    render,
)
from .values import UInt

_LITERALS: dict[type, Type] = {
    bool: BOOL,
    int: INT,
    UInt: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    type(None): NULL,
}
TYPE_NAMES: dict[str, Type] = {
    "bool": BOOL,
    "bytes": BYTES,
    "double": DOUBLE,
    "int": INT,
    "uint": UINT,
    "string": STRING,
    "list": t.list_of(DYN),
    "map": t.map_of(DYN, DYN),
    "null_type": NULL,
    "type": t.TYPE,
    "google.protobuf.Timestamp": TIMESTAMP,
    "google.protobuf.Duration": DURATION,
    "optional_type": t.optional_of(DYN),
}


class Substitution:
    """What type parameters stand for, so far."""

    def __init__(self) -> None:
        self.bound: dict[str, Type] = {}
        self.count = 0

    def fresh(self, type_: Type, names: dict[str, Type]) -> Type:
        """The same type with its parameters renamed, so that calls do not share them."""
        if type_.kind == "param":
            if type_.name not in names:
                self.count += 1
                names[type_.name] = Type("param", name=f"_var{self.count}")
            return names[type_.name]
        if type_.parameters:
            return Type(type_.kind, tuple(self.fresh(p, names) for p in type_.parameters), type_.name, type_.fields)
        return type_

    def resolve(self, type_: Type) -> Type:
        while type_.kind == "param" and type_.name in self.bound:
            type_ = self.bound[type_.name]
        if type_.parameters:
            return Type(type_.kind, tuple(map(self.resolve, type_.parameters)), type_.name, type_.fields)
        return type_

    def final(self, type_: Type) -> Type:
        """Unbound parameters are dyn."""
        resolved = self.resolve(type_)
        if resolved.kind == "param":
            return DYN
        if resolved.parameters:
            return Type(resolved.kind, tuple(map(self.final, resolved.parameters)), resolved.name, resolved.fields)
        return resolved

    def assignable(self, wanted: Type, given: Type) -> bool:
        """Whether ``given`` fits where ``wanted`` is declared; binds parameters, all or none."""
        before = dict(self.bound)
        if self._fits(wanted, given):
            return True
        self.bound = before
        return False

    def _fits(self, wanted: Type, given: Type) -> bool:
        wanted, given = self.resolve(wanted), self.resolve(given)
        if wanted.kind == "param" or given.kind == "param":
            if wanted == given:
                return True
            name, other = (wanted.name, given) if wanted.kind == "param" else (given.name, wanted)
            if _occurs(name, other):
                return False
            self.bound[name] = other
            return True
        if DYN in (wanted, given) or ERROR in (wanted, given):
            return True
        if given.kind == "null" or wanted.kind == "null":
            other = wanted if given.kind == "null" else given
            return other.kind in ("null", "object", "opaque", "timestamp", "duration", "optional")
        if wanted.kind != given.kind:
            return False
        if wanted.kind in ("object", "opaque"):
            return wanted.name == given.name
        if wanted.kind == "type":
            return True
        return len(wanted.parameters) == len(given.parameters) and all(
            map(self._fits, wanted.parameters, given.parameters)
        )


def _occurs(name: str, type_: Type) -> bool:
    return (type_.kind == "param" and type_.name == name) or any(_occurs(name, p) for p in type_.parameters)


class Checker:
    """Checks one expression. ``objects`` are the types that struct literals may make."""

    def __init__(
        self,
        variables: Mapping[str, Type],
        functions: Mapping[str, Function],
        objects: Mapping[str, Type] | None = None,
    ) -> None:
        self.scopes: list[Mapping[str, Type]] = [variables]
        self.functions = functions
        self.objects = objects or {}
        self.issues: list[Issue] = []
        self.types = Substitution()
        self.nodes: list[Expr] = []
        self.aggregates: list[list[tuple[int, Type]]] = []
        self.exempt = 0
        """Inside the arguments of format, whose lists may be mixed."""

    def check(self, expression: Expr, source: str) -> Type:
        """The type of the whole. Raises CompileError with all findings."""
        try:
            self.infer(expression)
        except RecursionError:
            self.issues = [Issue(0, "expression recursion limit exceeded: 250")]
        if not self.issues:
            self.mixed_aggregates()
        if self.issues:
            raise CompileError(render(self.issues, source))
        for node in self.nodes:
            node.type = self.types.final(node.type)
        return expression.type

    def error(self, offset: int, message: str) -> Type:
        self.issues.append(Issue(offset, message))
        return ERROR

    def infer(self, node: Expr) -> Type:
        self.nodes.append(node)
        node.type = _plain(_INFER[type(node)](self, node))
        return node.type

    def lookup(self, name: str) -> Type | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    # -- leaves ------------------------------------------------------------------------------------------------------

    def literal(self, node: Literal) -> Type:
        return _LITERALS[type(node.value)]

    def ident(self, node: Ident) -> Type:
        found = self.lookup(node.name)
        if found is not None:
            return found
        if node.name in TYPE_NAMES:
            return t.type_of(TYPE_NAMES[node.name])
        return self.error(node.offset, f"undeclared reference to '{node.name}' (in container '')")

    def select(self, node: Select) -> Type:
        qualified = qualified_name(node)
        if qualified in TYPE_NAMES and not node.test and self.lookup(qualified.split(".")[0]) is None:
            return t.type_of(TYPE_NAMES[qualified])
        operand = self.types.resolve(self.infer(node.operand))
        field = self.field_type(node, operand)
        return BOOL if node.test else field

    def field_type(self, node: Select, operand: Type) -> Type:
        if operand.kind == "optional":
            return t.optional_of(self.field_type(node, self.types.resolve(operand.parameters[0])))
        if operand.kind == "map":
            return operand.parameters[1]
        if operand.kind == "object" and operand.fields is not None:
            known = operand.fields.get(node.field)
            if known is None:
                return self.error(node.offset, f"undefined field '{node.field}'")
            node.json_name = known.json_name
            return known.type
        if operand.kind in ("dyn", "error"):
            return DYN
        if operand.kind == "param":
            self.types.bound[operand.name] = DYN
            return DYN
        return self.error(node.offset, f"type '{self.types.final(operand)}' does not support field selection")

    # -- calls -------------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Type:
        special = _SPECIAL.get(node.function)
        if special is not None:
            checked: Type = special(self, node)
            return checked
        target = node.target
        if target is not None:
            name = qualified_name(target)
            namespaced = f"{name}.{node.function}" if name else ""
            if namespaced in self.functions and self.lookup(name.split(".")[0]) is None:
                node.function, node.target, target = namespaced, None, None
        function = self.functions.get(node.function)
        self.exempt += node.function == "format"
        given = [self.infer(e) for e in ([target] if target is not None else []) + node.args]
        self.exempt -= node.function == "format"
        if function is None:
            return self.error(node.offset, f"undeclared reference to '{node.function}' (in container '')")
        return self.overloads(node, function, given)

    def overloads(self, node: Call, function: Function, given: list[Type]) -> Type:
        member = node.target is not None
        found: list[str] = []
        result: Type | None = None
        for overload in function.overloads:
            if overload.member != member or len(overload.arguments) != len(given):
                continue
            candidate = self.match(overload, given, keep=result is None)
            if candidate is None:
                continue
            found.append(overload.id)
            result = candidate if result is None or self._same(result, candidate) else DYN
        if result is None:
            return self.error(node.offset, self._no_overload(node.function, given, member=member))
        node.overloads = tuple(found)
        return result

    def match(self, overload: Overload, given: list[Type], *, keep: bool) -> Type | None:
        """The result type if the arguments fit; bindings of later candidates do not last."""
        before = dict(self.types.bound)
        names: dict[str, Type] = {}
        wanted = [self.types.fresh(a, names) for a in overload.arguments]
        fits = all(self.types.assignable(w, g) for w, g in zip(wanted, given, strict=True))
        result = self.types.resolve(self.types.fresh(overload.result, names)) if fits else None
        if not fits or not keep:
            self.types.bound = before
        return result

    def _same(self, left: Type, right: Type) -> bool:
        return self.types.resolve(left) == self.types.resolve(right)

    def _no_overload(self, function: str, given: list[Type], *, member: bool) -> str:
        shown = [str(self.types.final(g)) for g in given]
        applied = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
        return f"found no matching overload for '{function}' applied to '{applied}'"

    def logical(self, node: Call) -> Type:
        given = [self.infer(a) for a in node.args]
        if not all(self.types.assignable(BOOL, g) for g in given):
            for argument, type_ in zip(node.args, given, strict=True):
                resolved = self.types.final(type_)
                if resolved not in (BOOL, DYN, ERROR):
                    self.error(argument.offset, f"expected type 'bool' but found '{resolved}'")
        node.overloads = ("logical_and" if node.function == "_&&_" else "logical_or",)
        return BOOL

    def conditional(self, node: Call) -> Type:
        condition, chosen, other = (self.infer(a) for a in node.args)
        node.overloads = ("conditional",)
        fits = self.types.assignable(BOOL, condition)
        if not fits or not self.types.assignable(chosen, other):
            return self.error(node.offset, self._no_overload("_?_:_", [condition, chosen, other], member=False))
        first = self.types.resolve(chosen)
        return other if first.kind in ("null", "dyn") else chosen

    def optional_select(self, node: Call) -> Type:
        operand = self.types.resolve(self.infer(node.args[0]))
        name = node.args[1]
        self.infer(name)
        node.overloads = ("select_optional_field",)
        inner = self.types.resolve(operand.parameters[0]) if operand.kind == "optional" else operand
        select = Select(node.offset, node.args[0], name.value if isinstance(name, Literal) else "")
        field = self.field_type(select, inner)
        if select.json_name and isinstance(name, Literal):
            name.value = select.json_name
        return field if field == ERROR else t.optional_of(field)

    # -- aggregates --------------------------------------------------------------------------------------------------

    def list_literal(self, node: ListExpr) -> Type:
        joined: Type | None = None
        elements = []
        for index, item in enumerate(node.items):
            elements.append((item.offset, self._element(item, index in node.optional)))
            joined = self._join(joined, elements[-1][1])
        self._homogeneous(elements)
        if joined is None:
            self.types.count += 1
            joined = Type("param", name=f"_var{self.types.count}")
        return t.list_of(joined)

    def _element(self, item: Expr, optional: bool) -> Type:
        type_ = self.infer(item)
        if not optional:
            return type_
        resolved = self.types.resolve(type_)
        if resolved.kind != "optional":
            if resolved not in (DYN, ERROR):
                self.error(item.offset, f"expected type 'optional_type({resolved})' but found '{resolved}'")
            return type_
        return resolved.parameters[0]

    def _join(self, joined: Type | None, type_: Type) -> Type:
        """The common type of an aggregate's elements; dyn for mixed ones."""
        if joined is None or self.types.resolve(joined) == DYN:
            return type_ if joined is None else joined
        if self.types.assignable(joined, type_):
            return type_ if self.types.resolve(joined).kind == "null" else joined
        return DYN

    def _homogeneous(self, elements: list[tuple[int, Type]]) -> None:
        """Remembers to look, when all types are known, whether elements written out are of one type."""
        if len(elements) > 1 and not self.exempt:
            self.aggregates.append(elements)

    def mixed_aggregates(self) -> None:
        for elements in self.aggregates:
            first = self.types.final(elements[0][1])
            for offset, type_ in elements[1:]:
                found = self.types.final(type_)
                if found != first and ERROR not in (found, first):
                    self.error(offset, f"expected type '{first}' but found '{found}'")
                    break

    def map_literal(self, node: MapExpr) -> Type:
        keys: Type | None = None
        joined: Type | None = None
        key_types: list[tuple[int, Type]] = []
        value_types: list[tuple[int, Type]] = []
        for key, value, optional in node.entries:
            key_types.append((key.offset, self.infer(key)))
            value_types.append((value.offset, self._element(value, optional)))
            keys = self._join(keys, key_types[-1][1])
            joined = self._join(joined, value_types[-1][1])
        self._homogeneous(key_types)
        self._homogeneous(value_types)
        if keys is None or joined is None:
            names: dict[str, Type] = {}
            fresh = self.types.fresh(t.map_of(t.parameter("K"), t.parameter("V")), names)
            return fresh
        return t.map_of(keys, joined)

    def struct_literal(self, node: StructExpr) -> Type:
        made = self.objects.get(node.name)
        if made is None or made.fields is None:
            for _, _, value, _ in node.entries:
                self.infer(value)
            return self.error(node.offset, f"undeclared reference to '{node.name}' (in container '')")
        for offset, name, value, optional in node.entries:
            type_ = self._element(value, optional)
            known = made.fields.get(name)
            if known is None:
                self.error(offset, f"undefined field '{name}'")
            elif not self.types.assignable(known.type, type_):
                found = self.types.final(type_)
                self.error(offset, f"expected type of field '{name}' is '{known.type}' but provided type is '{found}'")
        return made

    # -- comprehensions ----------------------------------------------------------------------------------------------

    def macro(self, node: Macro) -> Type:
        over = self.types.resolve(self.infer(node.range))
        first, second = self._element_types(node, over)
        scope = {node.variable: first}
        if node.second:
            scope = {node.variable: first, node.second: second}
        elif over.kind == "map":
            scope = {node.variable: over.parameters[0]}
        else:
            scope = {node.variable: second}
        self.scopes.append(scope)
        try:
            return self._macro_result(node, over, second)
        finally:
            self.scopes.pop()

    def _element_types(self, node: Macro, over: Type) -> tuple[Type, Type]:
        if over.kind == "list":
            return INT, over.parameters[0]
        if over.kind == "map":
            return over.parameters[0], over.parameters[1]
        if over.kind not in ("dyn", "error", "param"):
            words = f"expression of type '{self.types.final(over)}' cannot be range of a comprehension"
            self.error(node.range.offset, words + " (must be list, map, or dynamic)")
        return DYN, DYN

    def _condition(self, node: Expr | None) -> None:
        if node is None:
            return
        type_ = self.infer(node)
        if not self.types.assignable(BOOL, type_):
            self.error(node.offset, f"expected type 'bool' but found '{self.types.final(type_)}'")

    def _macro_result(self, node: Macro, over: Type, element: Type) -> Type:
        if node.kind in ("all", "exists", "exists_one", "existsOne"):
            self._condition(node.body)
            return BOOL
        self._condition(node.filter)
        if node.kind == "filter":
            variable = self.scopes[-1][node.variable]
            return t.list_of(variable)
        body = self.infer(node.body) if node.body is not None else DYN
        if node.kind == "sortBy":
            return t.list_of(element) if over.kind != "dyn" else DYN
        if node.kind in ("map", "transformList"):
            return t.list_of(body)
        if node.kind == "transformMapEntry":
            resolved = self.types.resolve(body)
            return resolved if resolved.kind == "map" else t.map_of(DYN, DYN)
        key = INT if over.kind == "list" else self.scopes[-1][node.variable]
        return t.map_of(key, body)

    def bind(self, node: Bind) -> Type:
        operand = self.types.resolve(self.infer(node.value))
        if node.kind == "bind":
            return self._bound(node, operand)
        inner: Type = DYN
        if operand.kind == "optional":
            inner = operand.parameters[0]
        elif operand.kind not in ("dyn", "error"):
            self.error(node.value.offset, self._no_overload("hasValue", [operand], member=True))
        body = self._bound(node, inner)
        if node.kind == "optMap":
            return t.optional_of(body)
        resolved = self.types.resolve(body)
        if resolved.kind not in ("optional", "dyn", "error"):
            self.error(node.offset, f"expected type 'optional_type' but found '{self.types.final(body)}'")
        return body

    def _bound(self, node: Bind, value: Type) -> Type:
        self.scopes.append({node.variable: _plain(value)})
        body = self.infer(node.body)
        self.scopes.pop()
        return body


def _plain(type_: Type) -> Type:
    """A value of any type by itself is dyn; only inside of other types it keeps its name."""
    return DYN if type_.kind == "dyn" else type_


def qualified_name(node: Expr) -> str:
    """``a.b.c`` of nested selections of a name; empty for anything else."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test:
        inner = qualified_name(node.operand)
        return f"{inner}.{node.field}" if inner else ""
    return ""


_SPECIAL: dict[str, Any] = {
    "_&&_": Checker.logical,
    "_||_": Checker.logical,
    "_?_:_": Checker.conditional,
    "_?._": Checker.optional_select,
}
_INFER: dict[type, Any] = {
    Literal: Checker.literal,
    Ident: Checker.ident,
    Select: Checker.select,
    Call: Checker.call,
    ListExpr: Checker.list_literal,
    MapExpr: Checker.map_literal,
    StructExpr: Checker.struct_literal,
    Macro: Checker.macro,
    Bind: Checker.bind,
}
