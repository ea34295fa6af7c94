"""Configuration files of the API server (AuthorizationConfiguration and its kin): decoding as strict as upstream's.

A file's shape is written down as ``Struct``s; what is wrong with a file is said in the words of Go's decoder and of ``field.ErrorList``.
Pure: bytes in, plain data out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..api.errors import FieldError
from ..api.schema.mismatch import cannot_unmarshal, json_kind
from ..api.schema.scalars import format_duration, parse_duration
from ..api.shapes import (
    ANYTHING,
    BOOL,
    DURATION,
    FLOAT,
    INT,
    STRING,
    Items,
    Shape,
    ShapeError,
    Struct,
    check,
)
from .yamls import YamlError, load

__all__ = [
    "ANYTHING",
    "BOOL",
    "DURATION",
    "FLOAT",
    "INT",
    "STRING",
    "ConfigurationError",
    "Items",
    "Shape",
    "Struct",
    "aggregate",
    "check",
    "decode",
    "decoded",
    "parse",
    "seconds",
    "shown",
]
NANOSECONDS = 1_000_000_000
ConfigurationError = ShapeError
"""A file that cannot be used; the message is upstream's."""


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
    for name in ("apiVersion", "kind"):
        if not isinstance(document.get(name) or "", str):
            wrong = cannot_unmarshal(json_kind(document[name]), "string", "", (name,))
            raise ConfigurationError(f"couldn't get version/kind; json parse error: {wrong}")
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
