"""Files that may change while the server runs: authorities, encryption keys. What is broken is said and not taken.

A change is seen by looking, every few seconds: files in mounted volumes are exchanged by links, which the kernel's watches do
not tell in one way on all file systems.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..concurrency import Clock, logger

log = logger("apiserver.reloading")


class FileWatcher:
    """Calls back with a file's new content."""

    def __init__(self, clock: Clock, interval: float = 10.0) -> None:
        self._clock, self._interval = clock, interval
        self._files: list[tuple[Path, Callable[[bytes], None]]] = []
        self._seen: dict[Path, tuple[int, int, int]] = {}

    def add(self, path: str, changed: Callable[[bytes], None]) -> None:
        """``changed`` raises ValueError for content that cannot be used: then the old one stays in force."""
        file = Path(path)
        self._files.append((file, changed))
        self._seen.setdefault(file, self._mark(file))

    @staticmethod
    def _mark(file: Path) -> tuple[int, int, int]:
        try:
            status = os.stat(file)
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def look(self) -> None:
        """Looks once."""
        changed = {f for f, mark in self._seen.items() if self._mark(f) not in (mark, (0, 0, 0))}
        for file, callback in self._files:
            if file not in changed:
                continue
            self._seen[file] = self._mark(file)
            try:
                callback(file.read_bytes())
            except (ValueError, OSError) as failure:
                log.error("a changed file cannot be used, the old content stays", file=str(file), error=str(failure))
            else:
                log.info("took a changed file", file=str(file))

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            self.look()
