"""inotify(7) as asynchronous waiting: told when something in a directory changes, without polling."""

from __future__ import annotations

import asyncio
import ctypes
import os
from functools import cache
from pathlib import Path
from types import TracebackType

IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO = 0x02, 0x08, 0x40, 0x80
IN_CREATE, IN_DELETE = 0x100, 0x200
CHANGES = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """``with DirectoryWatch(path) as watch: await watch.changed()``. Changes between two waits are not lost, only merged."""

    def __init__(self, directory: Path, mask: int = CHANGES) -> None:
        self._directory, self._mask = directory, mask
        self._fd = -1
        self._event = asyncio.Event()

    def __enter__(self) -> DirectoryWatch:
        """Raises OSError."""
        self._fd = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if _libc().inotify_add_watch(self._fd, os.fsencode(self._directory), self._mask) < 0:
            number = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(number, os.strerror(number), str(self._directory))
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 65536)
        except BlockingIOError:
            return
        self._event.set()

    async def changed(self) -> None:
        """Returns at once where something has changed since the last call."""
        await self._event.wait()
        self._event.clear()
