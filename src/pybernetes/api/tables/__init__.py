"""Tables: what ``kubectl get`` prints, made by the server (``application/json;as=Table``).

``columns(gvk)`` are the column definitions of a built-in kind and ``row_cells(gvk, obj, now)`` the cells of one object,
wide columns (priority 1) included; kinds without a printer of their own get Name and Created At. Custom resources have
``columns_for_crd`` and ``row_cells_for_crd``. Specified by "Receiving resources as Tables"; the columns themselves are
upstream's printers. Descriptions are the API reference's and read from the official definitions when first asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ..resources import GVK
from .columns import COLUMNS, Column, described
from .common import Obj, human_duration
from .custom import columns_for_crd, row_cells_for_crd

__all__ = [
    "columns",
    "columns_for_crd",
    "human_duration",
    "row_cells",
    "row_cells_for_crd",
    "row_conditions",
]

Printer = Callable[[Obj, float], list[Any]]


@cache
def _printers() -> dict[tuple[str, str], Printer]:
    from . import cluster, core, others, pods, workloads

    found: dict[tuple[str, str], Printer] = {}
    for module in (pods, core, workloads, cluster, others):
        found.update(module.PRINTERS)
    return found


def _generic(obj: Obj, now: float) -> list[Any]:
    metadata = obj.get("metadata") or {}
    return [metadata.get("name") or "", metadata.get("creationTimestamp")]


GENERIC = (
    Column("Name", format="name", description="@ObjectMeta.name"),
    Column("Created At", "date", description="@ObjectMeta.creationTimestamp"),
)


@cache
def columns(gvk: GVK) -> list[dict[str, Any]]:
    """The ``columnDefinitions`` of a Table of this kind."""
    return [described(column) for column in COLUMNS.get((gvk.group, gvk.kind), GENERIC)]


def row_cells(gvk: GVK, obj: Obj, now: float) -> list[Any]:
    """The cells of one row; ``now`` is the time that ages are counted to."""
    return _printers().get((gvk.group, gvk.kind), _generic)(obj, now)


def row_conditions(gvk: GVK, obj: Obj) -> list[dict[str, Any]]:
    """The ``conditions`` of a row: a pod that has run to its end is Completed (``kubectl`` may hide it)."""
    if gvk.kind == "Pod" and not gvk.group:
        from .pods import completed_conditions

        return completed_conditions(obj)
    return []
