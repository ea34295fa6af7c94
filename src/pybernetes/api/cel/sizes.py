"""Ranges of sizes and costs, and what is known of the sizes of an expression's parts (see ``estimate``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .selftypes import Declared
from .syntax import Expr, Ident, ListExpr, Literal, MapExpr

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
class Entry:
    """Sizes of a container's keys and values."""

    kind: str
    key: Range
    value: Range


@dataclass(slots=True)
class Local:
    path: Path
    size: Range | None
    entry: Entry | None = None


class Sizes:
    """Sizes of an expression's nodes: found on the way, given by literals, or bounded by the schema."""

    def __init__(self, root: Declared) -> None:
        self.root = root
        self.locals: dict[str, list[Local]] = {}
        self.paths: dict[int, Path] = {}
        self.sizes: dict[int, Range] = {}
        self.entries: dict[int, Entry] = {}

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

    def local(self, node: Expr) -> Local | None:
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

    def entry(self, node: Expr) -> Entry | None:
        if id(node) in self.entries:
            return self.entries[id(node)]
        local = self.local(node)
        return local.entry if local is not None else None

    def item_size(self, node: Expr) -> Range:
        """Of a list's elements."""
        path = self.path(node)
        return (self.bound((*path, "@items")) if path else None) or UNKNOWN


def _literal_size(node: Expr) -> Range | None:
    if isinstance(node, Literal):
        return fixed(len(node.value)) if isinstance(node.value, str | bytes) else ONE
    if isinstance(node, ListExpr):
        return fixed(len(node.items))
    if isinstance(node, MapExpr):
        return fixed(len(node.entries))
    return None
