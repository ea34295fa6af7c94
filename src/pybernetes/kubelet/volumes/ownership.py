"""fsGroup: giving a volume to a group. Rules of upstream's ``volume_linux.go`` and of ``fsGroupChangePolicy``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_READ_WRITE, _READ_ONLY, _EXECUTE = 0o660, 0o440, 0o110


def set_group(root: Path, group: int, *, read_only: bool = False, on_root_mismatch: bool = False) -> None:
    """Gives everything under ``root`` to ``group``, with the group's rights on it; links are not followed."""
    if on_root_mismatch and _root_fits(root, group, read_only):
        return
    for directory, names, files in os.walk(root, topdown=False):
        for name in files:
            _give(os.path.join(directory, name), group, read_only)
        for name in names:
            path = os.path.join(directory, name)
            if os.path.islink(path):
                _give(path, group, read_only)
        # The root comes last: whoever sees it done may trust that all is done.
        _give(directory, group, read_only)


def _wanted(mode: int, read_only: bool) -> int:
    mask = _READ_ONLY if read_only else _READ_WRITE
    return mask | stat.S_ISGID | _EXECUTE if stat.S_ISDIR(mode) else mask


def _root_fits(root: Path, group: int, read_only: bool) -> bool:
    status = root.lstat()
    wanted = _wanted(status.st_mode, read_only)
    return status.st_gid == group and stat.S_IMODE(status.st_mode) & wanted == wanted


def _give(path: str, group: int, read_only: bool) -> None:
    try:
        status = os.lstat(path)
        if status.st_gid != group:
            os.chown(path, -1, group, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return
        mode = stat.S_IMODE(status.st_mode)
        wanted = mode | _wanted(status.st_mode, read_only)
        # Changing the owner clears set-id bits, so the mode is set in any case where it matters.
        if wanted != mode or status.st_gid != group:
            os.chmod(path, wanted)
    except FileNotFoundError:
        return
