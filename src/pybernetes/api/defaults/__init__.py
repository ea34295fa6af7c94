"""What the API server writes into an object where its author was silent.

``apply_defaults`` has one function a built-in kind, found by group, version and kind; custom resources get theirs from
the schema engine. Each function knows its kind's fields by name and walks nothing else, since every write and every
decoded list item pays for it. Specified by the "default" notes of the API reference (upstream: ``SetDefaults_*`` and
the ``+default`` markers of the Go types).

Two neighbours of defaulting live here too, because a client sees no difference: quantities are stored in canonical text,
and structs that upstream's encoder always writes (``status: {}``, a container's ``resources: {}``) are present.

Zero values: on the wire an unset Go scalar and its zero are the same thing (``""``, ``0``), a pointer's zero is a value.
So scalars are tested for truth, pointers for presence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ..resources import GVK

Defaulter = Callable[[dict[str, Any]], None]


@cache
def _table() -> dict[GVK, Defaulter]:
    from . import apps, batch, core, others, pods, storage

    table: dict[GVK, Defaulter] = {}
    for module in (pods, core, apps, batch, storage, others):
        table.update(module.DEFAULTERS)
    return table


def apply_defaults(gvk: GVK, obj: dict[str, Any]) -> None:
    """Writes the defaults of a built-in kind into ``obj``; other kinds are left as they are."""
    defaulter = _table().get(gvk)
    if defaulter is not None:
        defaulter(obj)
