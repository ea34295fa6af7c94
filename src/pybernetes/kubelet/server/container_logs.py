"""Reading a container's log file: from the end, up to a limit, and on as it grows and is rotated."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from ...concurrency import Clock
from ..inotify import DirectoryWatch
from .crilog import LogFormatter, LogOptions

BLOCK = 256 * 1024
FORCED_CHECK = 1.0
"""Seconds without news after which a followed log is looked at all the same, and its container asked for."""
ASK_AGAIN = 0.25

Running = Callable[[], Awaitable[bool]]


class LogFileError(Exception):
    """A log that cannot be read, in upstream's words."""


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last ``lines`` lines begin. Reads the file backwards in blocks."""
    position = file.seek(0, os.SEEK_END)
    wanted = lines
    block = b""
    while position > 0:
        size = min(BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        # The newline that ends the last line is before nothing: one more than the wanted lines marks their start.
        count = block.count(b"\n")
        if count > wanted:
            index = -1
            for _ in range(count - wanted):
                index = block.find(b"\n", index + 1)
            return position + index + 1
        wanted -= count
    return 0


class _LogFile:
    """An open log and the piece of a line that its end may cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        self._rest = b""

    def skip_to_tail(self, lines: int) -> None:
        self._file.seek(tail_offset(self._file, lines))

    def read_lines(self) -> list[bytes]:
        """The next whole lines, none at the (present) end."""
        while True:
            data = self._file.read(BLOCK)
            if not data:
                return []
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                return lines

    def last_piece(self) -> list[bytes]:
        piece, self._rest = self._rest, b""
        return [piece] if piece else []

    def replaced(self) -> bool:
        """Whether the path leads to another file by now: the log was rotated."""
        try:
            return os.stat(self.path).st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def reopen(self) -> None:
        self._file.close()
        self._file = self.path.open("rb")
        self._rest = b""

    def close(self) -> None:
        self._file.close()


# <pod logs>/<namespace_pod_uid>/<container>/0.log
_DEPTH = 3


def open_log(path: Path) -> _LogFile:
    """Raises LogFileError. A link that leads out of the node's logs is not followed: a pod that mounts them can make one."""
    try:
        resolved = path.resolve(strict=True)
    except OSError as failure:
        reason = str(failure.strerror).lower()
        raise LogFileError(f'failed to try resolving symlinks in path "{path}": lstat {path}: {reason}') from failure
    root = path.parents[_DEPTH - 1] if len(path.parents) >= _DEPTH else None
    if root is not None and not resolved.is_relative_to(root.resolve()):
        raise LogFileError(f'failed to open log file "{path}": it is a link that leads out of {root}')
    try:
        return _LogFile(resolved)
    except OSError as failure:
        reason = str(failure.strerror).lower()
        raise LogFileError(f'failed to open log file "{resolved}": open {resolved}: {reason}') from failure


async def read_log(
    log: _LogFile, options: LogOptions, *, clock: Clock, running: Running
) -> AsyncGenerator[bytes, None]:
    """The log as it is shown, in pieces; with ``follow`` until the container has ended. Closes the log."""
    formatter = LogFormatter(options)
    with ExitStack() as stack:
        stack.callback(log.close)
        if options.tail_lines is not None:
            log.skip_to_tail(options.tail_lines)
        # Watched before the first read: what is written in between must not be missed.
        watch = stack.enter_context(DirectoryWatch(log.path.parent)) if options.follow else None
        container = _Container(running, clock)
        while not formatter.finished:
            lines = log.read_lines()
            if lines:
                yield formatter.feed(lines)
                continue
            if watch is not None and not log.replaced() and not await container.ended():
                await container.wait(watch)
                continue
            # The file is complete: rotated away, or its writer is gone. What came after the last look is still to read.
            while lines := log.read_lines():
                yield formatter.feed(lines)
            yield formatter.feed(log.last_piece())
            if watch is None or not log.replaced():
                return
            log.reopen()


class _Container:
    """The writer of a log that is followed; the runtime is not asked at every line."""

    def __init__(self, running: Running, clock: Clock) -> None:
        self._running, self._clock = running, clock
        self._asked = -ASK_AGAIN

    async def ended(self) -> bool:
        now = self._clock.monotonic()
        if now - self._asked < ASK_AGAIN:
            return False
        self._asked = now
        return not await self._running()

    async def wait(self, watch: DirectoryWatch) -> None:
        """Until there may be more to read."""
        try:
            async with self._clock.timeout(FORCED_CHECK):
                await watch.changed()
        except TimeoutError:
            self._asked = self._clock.monotonic() - ASK_AGAIN
