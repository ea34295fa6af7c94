"""What installed packages announce by entry point (https://packaging.python.org/en/latest/specifications/entry-points/)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Those of a group, by name so that the order does not change with the installation."""
    return _read(group, tuple(sys.path))


@cache
def _read(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Kept, for reading every package's metadata takes longer than starting the controllers in a test process."""
    if not _may_be_announced(group, path):
        return ()
    from importlib import metadata

    return tuple(sorted(metadata.entry_points(group=group), key=lambda e: e.name))


def _may_be_announced(group: str, path: Iterable[str]) -> bool:
    """False where it certainly is not: ``importlib.metadata`` takes longer to load (30 ms) than to find nothing."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True
    header = f"[{group}]".encode()
    for place in path:
        try:
            found = os.listdir(place or ".")
        except NotADirectoryError:
            return True  # an archive
        except OSError:
            continue
        for name in found:
            if name.endswith(".egg"):
                return True
            if name.endswith((".dist-info", ".egg-info")) and header in _announcements(os.path.join(place, name)):
                return True
    return False


def _announcements(directory: str) -> bytes:
    try:
        with open(os.path.join(directory, "entry_points.txt"), "rb") as file:
            return file.read()
    except OSError:
        return b""
