"""Amounts of resources, for people: ``0.4``, ``1.5Gi``."""

from __future__ import annotations

from decimal import Decimal

_UNITS = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


def said(resource: str, value: int) -> str:
    """Short, and never more than there is."""
    if resource == "cpu":
        return f"{Decimal(value) / 1000:f}"
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for unit, size in _UNITS:
            if abs(value) >= size:
                return f"{int(value * 10 / size) / 10:g}{unit}"
    return str(value)


def written(resource: str, value: int) -> str:
    """As a manifest has it."""
    if resource == "cpu":
        return str(value // 1000) if value % 1000 == 0 else f"{value}m"
    for unit, size in _UNITS:
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)
