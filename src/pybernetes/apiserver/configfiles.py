"""Configuration files of the API server (AuthorizationConfiguration and its kin): decoding as strict as upstream's.

A file's shape is written down as ``Struct``s; what is wrong with a file is said in the words of Go's decoder and of ``field.ErrorList``.
Pure: bytes in, plain data out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..api.errors import FieldError
from ..api.schema.mismatch import cannot_unmarshal, go_number, json_kind
from ..api.schema.scalars import format_duration, parse_duration
from .yamls import YamlError, load

STRING, BOOL, INT, FLOAT, DURATION, ANYTHING = "string", "bool", "int", "float32", "duration", "anything"
NANOSECONDS = 1_000_000_000


class ConfigurationError(ValueError):
    """A file that cannot be used; the message is upstream's."""


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


def decode(data: bytes, versions: Collection[str], kinds: Mapping[str, Struct]) -> dict[str, Any]:
    """The document of a file, whose kind is one of ``kinds``. Raises ConfigurationError."""
    document, problems = parse(data)
    return decoded(document, problems, versions, kinds, data)


def decoded(
    document: dict[str, Any],
    problems: list[str],
    versions: Collection[str],
    kinds: Mapping[str, Struct],
    data: bytes = b"",
) -> dict[str, Any]:
    """The document, where it is of one of the kinds; ``problems`` are known already. Raises ConfigurationError."""
    version, kind = document.get("apiVersion") or "", document.get("kind") or ""
    if not kind:
        raise ConfigurationError(f"Object 'Kind' is missing in '{data.decode(errors='replace')}'")
    if not version:
        raise ConfigurationError(f"Object 'apiVersion' is missing in '{data.decode(errors='replace')}'")
    if version not in versions or kind not in kinds:
        raise ConfigurationError(f'no kind "{kind}" is registered for version "{version}"')
    shape = kinds[kind]
    problems += check({k: v for k, v in document.items() if k not in ("apiVersion", "kind")}, shape)
    if problems:
        raise ConfigurationError("strict decoding error: " + ", ".join(problems))
    return document


def parse(data: bytes) -> tuple[dict[str, Any], list[str]]:
    """The mapping in a YAML or JSON file, and what keys it has twice. Raises ConfigurationError."""
    try:
        document, duplicates = load(data)
    except YamlError as failure:
        raise ConfigurationError(str(failure)) from failure
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"couldn't get version/kind; json parse error: {cannot_unmarshal(json_kind(document), 'struct', '', ())}"
        )
    return document, [f"yaml: unmarshal errors:\n  {d}" for d in duplicates]


def check(document: Mapping[str, Any], shape: Struct) -> list[str]:
    """The unknown fields, as ``unknown field "a[0].b"``. Raises ConfigurationError for a value of a wrong type."""
    unknown: list[str] = []
    _walk(document, shape, "", (), "", unknown)
    return [f'unknown field "{u}"' for u in unknown]


def _walk(value: Any, shape: Shape, at: str, path: tuple[str, ...], owner: str, unknown: list[str]) -> None:
    if value is None or shape == ANYTHING:
        return
    if isinstance(shape, Struct):
        if not isinstance(value, dict):
            raise ConfigurationError(cannot_unmarshal(json_kind(value), shape.go, owner, path))
        for key, item in value.items():
            below = f"{at}.{key}" if at else key
            if key in shape.fields:
                _walk(item, shape.fields[key], below, (*path, key), shape.go, unknown)
            else:
                unknown.append(below)
    elif isinstance(shape, Items):
        if not isinstance(value, list):
            go = "[]" + (shape.item.go if isinstance(shape.item, Struct) else "string")
            raise ConfigurationError(cannot_unmarshal(json_kind(value), go, owner, path))
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
        raise ConfigurationError(cannot_unmarshal(shown, _GO[shape], owner, path))
    if not isinstance(value, _KIND[shape]):
        where, named = (path, owner) if shape != DURATION else ((), "")  # a duration decodes itself, and forgets where
        raise ConfigurationError(cannot_unmarshal(json_kind(value), _GO[shape], named, where))
    if shape == DURATION:
        try:
            parse_duration(str(value))
        except ValueError as failure:
            raise ConfigurationError(str(failure)) from failure


def seconds(text: str | None) -> float:
    """A duration that was checked; 0 where there is none."""
    return parse_duration(text) / NANOSECONDS if text else 0.0


def shown(duration: float) -> str:
    """Seconds as Go prints them."""
    return format_duration(round(duration * NANOSECONDS))


def aggregate(problems: Iterable[FieldError | str]) -> str:
    """Several problems as one message: each once, in brackets where they are more than one."""
    texts = list(dict.fromkeys(map(str, problems)))
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
