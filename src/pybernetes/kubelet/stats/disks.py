"""How full file systems and directories are. Walking a directory is dear: answers are kept for a minute."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ...concurrency import Clock
from .snapshot import FileSystem

KEPT = 60.0


def file_system(directory: Path, now: float) -> FileSystem:
    """The file system that a directory is on, all zeros where there is no such directory."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return FileSystem(at=now)
    return FileSystem(
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
        (found.f_blocks - found.f_bfree) * found.f_frsize,
        found.f_files,
        found.f_ffree,
        found.f_files - found.f_ffree,
        now,
    )


def directory_usage(directory: Path) -> tuple[int, int]:
    """(bytes, inodes) below a directory, hard links counted once, other file systems left out."""
    used = inodes = 0
    seen: set[int] = set()
    try:
        top = os.lstat(directory)
    except OSError:
        return 0, 0
    waiting = [str(directory)]
    used, inodes = top.st_blocks * 512, 1
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_dev != top.st_dev or found.st_ino in seen:
                        continue
                    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                        seen.add(found.st_ino)
                    used += found.st_blocks * 512
                    inodes += 1
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
        except OSError:
            # Files come and go while they are counted.
            continue
    return used, inodes


class DirectoryUsage:
    """``directory_usage`` with a memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[Path, tuple[float, FileSystem]] = {}

    def read(self, directory: Path) -> FileSystem:
        """The directory's own use, with what is free around it."""
        moment = self._clock.monotonic()
        known = self._known.get(directory)
        if known is not None and moment - known[0] < KEPT:
            return known[1]
        around = file_system(directory, self._clock.now())
        used, inodes = directory_usage(directory)
        found = FileSystem(
            around.available, around.capacity, used, around.inodes, around.inodes_free, inodes, around.at
        )
        self._known[directory] = moment, found
        return found

    def forget_others(self, wanted: set[Path]) -> None:
        for directory in [d for d in self._known if d not in wanted]:
            del self._known[directory]
