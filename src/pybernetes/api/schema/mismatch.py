"""The precise, slow twin of ``reading``: what exactly Go's JSON decoder says about an object, and which fields it ignores.

Go reports the first wrong type in the order of the document as ``json: cannot unmarshal string into Go struct field
DeploymentSpec.spec.replicas of type int32``: the struct that owns the field, then the path from the root without list
indices, embedded structs named. An error out of a type's own decoder (times, quantities) ends the decoding at once.
"""

from __future__ import annotations

from typing import Any

import orjson

from .node import ANY, INT, INT_OR_STRING, LIST, MAP, NUMBER, STRING, STRUCT, Node, StructType
from .reading import Mismatch, value_reader
from .scalars import TypeMismatch

MAX_STRICT_ERRORS = 100


class _Stop(Exception):
    """An error that ends the decoding."""


class _Walk:
    """One decoding: ``first`` is the first error of a wrong type."""

    def __init__(self) -> None:
        self.first: str | None = None

    def save(self, value: str, node: Node, struct: str, path: tuple[str, ...], go: str = "") -> None:
        if self.first is None:
            self.first = cannot_unmarshal(value, go or node.go, struct, path)

    def value(self, value: Any, node: Node, struct: str, path: tuple[str, ...]) -> None:
        if value is None:
            return
        kind = node.kind
        if kind == STRUCT and node.struct is not None:
            self.struct(value, node, node.struct, struct, path)
        elif kind == MAP and node.values is not None:
            if not isinstance(value, dict):
                self.save(json_kind(value), node, struct, path)
                return
            for item in value.values():
                self.value(item, node.values, struct, path)
        elif kind == LIST and node.items is not None:
            if not isinstance(value, list):
                self.save(json_kind(value), node, struct, path)
                return
            for item in value:
                self.value(item, node.items, struct, path)
        else:
            self.scalar(value, node, struct, path)

    def struct(self, value: Any, node: Node, type_: StructType, struct: str, path: tuple[str, ...]) -> None:
        if not isinstance(value, dict):
            self.save(json_kind(value), node, struct, path)
            return
        for key, item in value.items():
            field = type_.fields.get(key)
            if field is not None:
                self.value(item, field.node, type_.go_name, (*path, *field.embedded, key))

    def scalar(self, value: Any, node: Node, struct: str, path: tuple[str, ...]) -> None:
        try:
            value_reader(node)(value)
        except Mismatch as failure:
            cause = failure.__cause__
            if isinstance(cause, TypeMismatch) and str(cause) == "string":
                # the type's own decoder reads a string first; the outer decoder adds where it was
                raise _Stop(cannot_unmarshal(json_kind(value), "string", struct, path)) from failure
            if isinstance(cause, ValueError) and not isinstance(cause, TypeMismatch):
                if node.kind == "bytes":
                    self.first = self.first or str(cause)
                    return
                raise _Stop(str(cause)) from failure
            if node.kind == INT_OR_STRING:
                kind = "number" if isinstance(value, float) else json_kind(value)
                shown = f"number {go_number(value)}" if kind == "number" else kind
                raise _Stop(cannot_unmarshal(shown, "int32", struct, path)) from failure
            self.save(number_or_kind(value, node), node, struct, path)


def cannot_unmarshal(value: str, go: str, struct: str, path: tuple[str, ...]) -> str:
    if not path:
        return f"json: cannot unmarshal {value} into Go value of type {go}"
    return f"json: cannot unmarshal {value} into Go struct field {struct}.{'.'.join(path)} of type {go}"


def json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "null"


def number_or_kind(value: Any, node: Node) -> str:
    kind = json_kind(value)
    return f"number {go_number(value)}" if kind == "number" and node.kind in (INT, NUMBER) else kind


def go_number(value: Any) -> str:
    return orjson.dumps(value).decode() if isinstance(value, float) else str(value)


def decode_error(root: Node, value: Any) -> str | None:
    """Upstream's words for the first thing in ``value`` that Go's decoder would refuse."""
    walk = _Walk()
    try:
        walk.value(value, root, "", ())
    except _Stop as stop:
        return str(stop)
    return walk.first


def unknown_fields(root: Node, value: Any) -> list[str]:
    """Paths of the fields that the schema does not know, in the order of the document (at most 100, as upstream)."""
    found: dict[str, None] = {}
    _unknown(root, value, "", found)
    return list(found)[:MAX_STRICT_ERRORS]


def _unknown(node: Node, value: Any, path: str, found: dict[str, None]) -> None:
    if len(found) >= MAX_STRICT_ERRORS:
        return
    if isinstance(value, list):
        if node.items is not None:
            for index, item in enumerate(value):
                _unknown(node.items, item, f"{path}[{index}]", found)
        return
    if not isinstance(value, dict) or node.kind in (ANY, STRING):
        return
    for key, item in value.items():
        child = node.child(key)
        below = f"{path}.{key}" if path else key
        if child is not None:
            _unknown(child, item, below, found)
        elif not node.preserve_unknown:
            found[below] = None
