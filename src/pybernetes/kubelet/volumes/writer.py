"""Writing a payload into a volume in one step: readers see the old files or the new ones, never a mixture.

Files lie in a directory named after the time, ``..data`` points to it, and what the user sees are links through ``..data``.
Layout and order of steps are upstream's (``pkg/volume/util/atomic_writer.go``): programs watch for the ``..data`` rename.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from .payload import Payload

DATA, DATA_TEMPORARY = "..data", "..data_tmp"
_OWN = re.compile(r"\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+")


def write_atomically(target: Path, payload: Payload, now: float, prepare: Callable[[Path], None]) -> bool:
    """Makes ``target`` show exactly ``payload``; ``prepare`` sets owners in the new directory before it is shown.

    False where nothing had to be changed.
    """
    link = target / DATA
    current = _current(link)
    stale = _stale_names(target, payload)
    if current is not None and not stale and _same(target / current, payload) and _complete(target, payload):
        return False
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y_%m_%d_%H_%M_%S")
    fresh = target / f"..{moment}.{secrets.randbelow(1 << 32)}"
    fresh.mkdir(mode=0o755)
    fresh.chmod(0o755)
    for path, file in payload.items():
        destination = fresh / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(file.content)
        destination.chmod(file.mode)
        if file.owner is not None:
            os.chown(destination, file.owner, -1)
    prepare(fresh)
    temporary = target / DATA_TEMPORARY
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    os.replace(temporary, link)
    for name in _tops(payload):
        visible = target / name
        if not visible.is_symlink():
            visible.symlink_to(f"{DATA}/{name}")
    for name in stale:
        (target / name).unlink(missing_ok=True)
    if current is not None:
        shutil.rmtree(target / current, ignore_errors=True)
    return True


def _current(link: Path) -> str | None:
    try:
        name = os.readlink(link)
    except OSError:
        return None
    # Only a directory of our own making: what is not shown any more is removed with all that is in it.
    own = _OWN.fullmatch(name) is not None and not (link.parent / name).is_symlink()
    return name if own and (link.parent / name).is_dir() else None


def _tops(payload: Payload) -> set[str]:
    return {path.split("/", 1)[0] for path in payload}


def _stale_names(target: Path, payload: Payload) -> set[str]:
    shown = {e.name for e in os.scandir(target) if not e.name.startswith("..")}
    return shown - _tops(payload)


def _complete(target: Path, payload: Payload) -> bool:
    return all((target / name).is_symlink() for name in _tops(payload))


def _same(directory: Path, payload: Payload) -> bool:
    present = {str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir()}
    if present != set(payload):
        return False
    for path, file in payload.items():
        found = directory / path
        if found.read_bytes() != file.content:
            return False
        # Ownership by fsGroup may have widened the mode; it never narrows it.
        if file.mode & ~stat.S_IMODE(found.stat().st_mode):
            return False
    return True
