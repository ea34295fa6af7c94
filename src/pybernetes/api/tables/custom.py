"""Columns and rows of custom resources: ``additionalPrinterColumns`` of a version, or Name and Age."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..jsonpath import JSONPath, JSONPathError, printed
from .columns import AGE, NAME, described
from .common import UNKNOWN, Obj, human_duration, seconds_of

_AGE_COLUMN = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _columns(version: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return version.get("additionalPrinterColumns") or [_AGE_COLUMN]


def columns_for_crd(version: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ``columnDefinitions`` of an entry of a CustomResourceDefinition's spec.versions."""
    found = [described(NAME)]
    for column in _columns(version):
        path = column.get("jsonPath") or ""
        text = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
        if column is _AGE_COLUMN:
            text = described(AGE)["description"]
        found.append(
            {
                "name": column.get("name") or "",
                "type": column.get("type") or "",
                "format": column.get("format") or "",
                "description": text,
                "priority": column.get("priority") or 0,
            }
        )
    return found


@lru_cache(maxsize=2048)
def _compiled(path: str) -> JSONPath | None:
    try:
        return JSONPath(path)
    except JSONPathError:
        return None


def row_cells_for_crd(version: Mapping[str, Any], obj: Obj, now: float) -> list[Any]:
    """The cells of one custom object, for the columns of ``columns_for_crd``."""
    cells: list[Any] = [(obj.get("metadata") or {}).get("name") or ""]
    for column in _columns(version):
        path = _compiled(column.get("jsonPath") or "")
        values = path.find(obj) if path is not None else []
        cells.append(_cell(column.get("type") or "", values[0], now) if values else None)
    return cells


def _cell(kind: str, value: Any, now: float) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "string":
        return printed(value)
    if kind == "integer" and number:
        return int(value)
    if kind == "number" and number:
        return float(value)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "date" and isinstance(value, str):
        if not value or value == "null":
            return UNKNOWN
        moment = seconds_of(value)
        return "<invalid>" if moment is None else human_duration(now - moment)
    return None
