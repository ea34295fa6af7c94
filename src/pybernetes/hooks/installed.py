"""What installed packages announce by entry point (https://packaging.python.org/en/latest/specifications/entry-points/)."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint
from importlib.metadata import entry_points as _entry_points


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Those of a group, by name so that the order does not change with the installation."""
    return _read(group, tuple(sys.path))


@cache
def _read(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Kept, for reading every package's metadata takes longer than starting the controllers in a test process."""
    return tuple(sorted(_entry_points(group=group), key=lambda e: e.name))
