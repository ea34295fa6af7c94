"""Shapes of configuration files: what may stand where, and what Go's decoder says of a document that does not fit. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .schema.mismatch import cannot_unmarshal, go_number, json_kind
from .schema.scalars import parse_duration

STRING, BOOL, INT, FLOAT, DURATION, ANYTHING = "string", "bool", "int", "float32", "duration", "anything"


class ShapeError(ValueError):
    """A document that does not fit; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Struct:
    """An object: the name of its Go type, and its fields."""

    go: str
    fields: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    item: Shape


Shape = Struct | Items | str
_GO = {STRING: "string", BOOL: "bool", INT: "int32", FLOAT: "float32", DURATION: "string"}
_KIND = {STRING: str, BOOL: bool, DURATION: str}


def check(document: Mapping[str, Any], shape: Struct) -> list[str]:
    """The unknown fields, as ``unknown field "a[0].b"``. Raises ShapeError for a value of a wrong type."""
    unknown: list[str] = []
    _walk(document, shape, "", (), "", unknown)
    return [f'unknown field "{u}"' for u in unknown]


def _walk(value: Any, shape: Shape, at: str, path: tuple[str, ...], owner: str, unknown: list[str]) -> None:
    if value is None or shape == ANYTHING:
        return
    if isinstance(shape, Struct):
        if not isinstance(value, dict):
            raise ShapeError(cannot_unmarshal(json_kind(value), shape.go, owner, path))
        for key, item in value.items():
            below = f"{at}.{key}" if at else key
            if key in shape.fields:
                _walk(item, shape.fields[key], below, (*path, key), shape.go.rpartition(".")[2], unknown)
            else:
                unknown.append(below)
    elif isinstance(shape, Items):
        if not isinstance(value, list):
            go = "[]" + (shape.item.go if isinstance(shape.item, Struct) else "string")
            raise ShapeError(cannot_unmarshal(json_kind(value), go, owner, path))
        for number, item in enumerate(value):
            _walk(item, shape.item, f"{at}[{number}]", path, owner, unknown)
    else:
        _scalar(value, shape, path, owner)


def _scalar(value: Any, shape: str, path: tuple[str, ...], owner: str) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if shape in (INT, FLOAT):
        if whole or (shape == FLOAT and isinstance(value, float)):
            return
        shown = f"number {go_number(value)}" if isinstance(value, float) else json_kind(value)
        raise ShapeError(cannot_unmarshal(shown, _GO[shape], owner, path))
    if not isinstance(value, _KIND[shape]):
        where, named = (path, owner) if shape != DURATION else ((), "")  # a duration decodes itself, and forgets where
        raise ShapeError(cannot_unmarshal(json_kind(value), _GO[shape], named, where))
    if shape == DURATION:
        try:
            parse_duration(str(value))
        except ValueError as failure:
            raise ShapeError(str(failure)) from failure
