"""The types of whole objects, out of their kinds' schemas: what policies' expressions are checked against.

Fields are looked up when an expression names them, so a kind that contains itself costs nothing. What the schema leaves open has no
type and may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..schema.node import (
    BOOL,
    BYTES,
    DURATION,
    INT,
    LIST,
    MAP,
    MICRO_TIME,
    NUMBER,
    QUANTITY,
    STRING,
    STRUCT,
    TIME,
    Node,
)
from . import celtypes as t
from .celtypes import ObjectField, Type
from .selftypes import escape

_SIMPLE = {
    BOOL: t.BOOL,
    INT: t.INT,
    NUMBER: t.DOUBLE,
    QUANTITY: t.STRING,
    DURATION: t.STRING,
    BYTES: t.BYTES,
    TIME: t.TIMESTAMP,
    MICRO_TIME: t.TIMESTAMP,
}
_FORMATS = {"byte": t.BYTES, "date": t.TIMESTAMP, "date-time": t.TIMESTAMP, "duration": t.DURATION}


class _Fields(Mapping[str, ObjectField]):
    """The fields of a struct by their identifiers."""

    def __init__(self, node: Node, name: str, metadata: Node | None) -> None:
        self._node, self._name, self._metadata = node, name, metadata
        self._names = {e: n for n in node.fields if (e := escape(n)) is not None}
        if metadata is not None:
            self._names |= {n: n for n in ("apiVersion", "kind", "metadata")}

    def __getitem__(self, escaped: str) -> ObjectField:
        name = self._names[escaped]
        if self._metadata is not None and name in ("apiVersion", "kind", "metadata"):
            type_ = t.STRING if name != "metadata" else type_of(self._metadata, f"{self._name}.metadata")
            return ObjectField(type_, name)
        return ObjectField(type_of(self._node.fields[name].node, f"{self._name}.{name}"), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def object_of(root: Node, kind: str, metadata: Node) -> Type:
    """The type of a kind's objects; ``metadata`` is the schema of every object's metadata."""
    return t.object_type(kind, _Fields(root, kind, metadata))


def type_of(node: Node | None, name: str) -> Type:
    """The type of what is stored under a node; ``name`` is what messages call it."""
    if node is None:
        return t.DYN
    if node.kind == LIST:
        return t.list_of(type_of(node.items, f"{name}.@idx"))
    if node.kind == STRING:
        return _FORMATS.get((node.openapi or {}).get("format") or "", t.STRING)
    if node.kind in (STRUCT, MAP):
        if node.fields:
            return t.DYN if node.preserve_unknown else t.object_type(name, _Fields(node, name, None))
        if node.values is not None:
            return t.map_of(t.STRING, type_of(node.values, f"{name}.@elem"))
        return t.DYN
    return _SIMPLE.get(node.kind, t.DYN)
