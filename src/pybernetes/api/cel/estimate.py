"""What a rule may cost at most, before any object is seen: upstream's static estimate.

It decides which CRDs are accepted, so it follows upstream's model step by step: costs and sizes are ranges, sizes come
from the schema along the path of an expression, comprehensions multiply by the size of what they go over.
"""

from __future__ import annotations

from collections.abc import Sequence

from .overload_costs import LIBRARY, OVERLOADS
from .selftypes import Declared
from .sizes import MAX, ONE, ZERO, Entry, Local, Path, Range, Sizes, fixed
from .syntax import Bind, Call, Expr, Ident, ListExpr, Literal, Macro, MapExpr, Select, StructExpr


def estimate(tree: Expr, root: Declared) -> int:
    """The highest cost of a rule on a ``self`` of this type."""
    return _Estimator(root).cost(tree).high


class _Estimator(Sizes):
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
        self.entries[id(node)] = Entry("list", ONE, size)
        return cost + fixed(10)

    def map_literal(self, node: MapExpr) -> Range:
        cost = ZERO
        for key, value, _ in node.entries:
            cost += self.cost(key) + self.cost(value)
        keys = _joined([self.sized(k) for k, _, _ in node.entries])
        values = _joined([self.sized(v) for _, v, _ in node.entries])
        self.entries[id(node)] = Entry("map", keys, values)
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
        library = LIBRARY.get(node.function)
        if library is not None:
            found: tuple[Range, Range | None] | None = library(self, node, overload)
            if found is not None:
                return found[0] + together, found[1]
        special = OVERLOADS.get(overload)
        if special is not None:
            made: tuple[Range, Range | None] = special(self, node, arguments, together)
            return made
        return ONE + together, None

    # -- comprehensions ----------------------------------------------------------------------------------------------

    def push(self, name: str, local: Local) -> None:
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
            self.push(node.variable, Local(below("@indices" if is_list else "@keys"), keys))
            self.push(node.second, Local(below("@items" if is_list else "@values"), values))
        else:
            self.push(node.variable, Local(below("@items" if is_list else "@keys"), values if is_list else keys))

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
                self.entries[id(node)] = Entry("list", ONE, self.sized(node.body))
        else:
            self.sizes[id(node)] = ONE
        cost = over + init + result + count * step
        if node.kind == "sortBy":
            cost += (count * count).scaled(2) + fixed(12)
        return cost

    def bind(self, node: Bind) -> Range:
        operand = self.cost(node.value)
        self.push(node.variable, Local(self.path(node.value), self.size(node.value)))
        body = self.cost(node.body)
        self.pop(node.variable)
        if node.kind == "bind":
            return operand + fixed(11) + body
        present = fixed(10) + operand + ONE + body + (ONE if node.kind == "optMap" else ZERO)
        return operand + ONE + (present | ONE)


def _joined(sizes: list[Range]) -> Range:
    if not sizes:
        return ZERO
    result = sizes[0]
    for size in sizes[1:]:
        result |= size
    return result
