"""The audit log file: lines written in batches, rotated by size, old files removed by number and age.

Names of rotated files are those of upstream's logger (``audit-2026-01-02T03-04-05.678.log``), so that what collects them finds them.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Protocol

from ...concurrency import Clock, logger

log = logger("apiserver.audit")

DAY = 86400.0
PIECE = 100
"""Notes that are made into one piece."""
_STAMP = re.compile(r"-(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}\.\d{3})$")


class RotatingFile:
    """A file that is put aside when it grows beyond ``max_bytes``. ``-`` is standard output."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        max_bytes: int = 0,
        max_backups: int = 0,
        max_age: float = 0,
        compress: bool = False,
        translate: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """``translate`` makes other lines of those that come."""
        self._path, self._clock = path, clock
        self._max_bytes, self._max_backups, self._max_age, self._compress = max_bytes, max_backups, max_age, compress
        self._translate = translate
        self._file: IO[bytes] | None = None
        self._size = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """Appends lines, each to one file as a whole. Raises OSError."""
        if self._translate is not None:
            lines = [self._translate(line) for line in lines]
        if self._path == "-":
            sys.stdout.buffer.write(b"".join(lines))
            sys.stdout.buffer.flush()
            return
        if not self._max_bytes or self._opened_size() + sum(map(len, lines)) <= self._max_bytes:
            self._append(lines)
            return
        start, size = 0, 0
        for i, line in enumerate(lines):
            if self._opened_size() + size + len(line) > self._max_bytes and self._size + size:
                self._append(lines[start:i])
                self._rotate()
                start, size = i, 0
            size += len(line)
        self._append(lines[start:])

    def write_one(self, line: bytes) -> None:
        """``write`` of one line, with no word too many: it is done for every request. Raises OSError."""
        file = self._file
        if file is None or self._translate or (self._max_bytes and self._size + len(line) > self._max_bytes):
            self.write((line,))
            return
        file.write(line)
        self._size += len(line)

    def _opened_size(self) -> int:
        self._open()
        return self._size

    def _open(self) -> IO[bytes]:
        if self._file is None:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "ab", buffering=0)
            self._size = os.fstat(descriptor).st_size
        return self._file

    def _append(self, lines: Sequence[bytes]) -> None:
        if lines:
            data = b"".join(lines)
            self._open().write(data)
            self._size += len(data)

    def _rotate(self) -> None:
        self.close()
        path = Path(self._path)
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        aside = path.with_name(f"{path.stem}-{stamp}{path.suffix}")
        os.replace(path, aside)
        if self._compress:
            with aside.open("rb") as source, gzip.open(f"{aside}.gz", "wb") as target:
                shutil.copyfileobj(source, target)
            aside.unlink()
        self._remove_old()

    def backups(self) -> list[Path]:
        """Files put aside, the newest first."""
        path = Path(self._path)
        found = []
        for candidate in path.parent.glob(f"{path.stem}-*"):
            bare = candidate.with_suffix("") if candidate.suffix == ".gz" else candidate
            match = _STAMP.search(bare.stem)
            if match and bare.suffix == path.suffix:
                found.append((match[1], candidate))
        return [p for _, p in sorted(found, reverse=True)]

    def _remove_old(self) -> None:
        oldest = self._clock.now() - self._max_age
        for i, backup in enumerate(self.backups()):
            too_many = self._max_backups and i >= self._max_backups
            if too_many or (self._max_age and backup.stat().st_mtime < oldest):
                backup.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class TokenBucket:
    """``rate`` a second, and ``burst`` at once after a pause."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._left, self._last = float(burst), clock.monotonic()

    async def take(self) -> None:
        now = self._clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._last) * self._rate) - 1.0
        self._last = now
        if self._left < 0:
            await self._clock.sleep(-self._left / self._rate)


class Lines(Protocol):
    """Who makes the lines of notes."""

    def lines(self, notes: Sequence[Any]) -> bytes: ...


Entry = bytes | tuple[Any, ...]
"""A line, or a note: a ``Lines`` first, and what only that understands."""


def encoded(entries: Sequence[Entry]) -> list[bytes]:
    """Lines, or several in one piece."""
    found: list[bytes] = []
    if len({type(e) for e in entries}) == 1 and type(entries[0]) is tuple and len({id(e[0]) for e in entries}) == 1:
        # By far most are notes of one maker.
        lines = entries[0][0].lines
        return [lines(entries[i : i + PIECE]) for i in range(0, len(entries), PIECE)]
    for maker, group in groupby(entries, _maker):
        if maker is None:
            found.extend(group)  # type: ignore[arg-type]
            continue
        notes = list(group)
        # Pieces, because a file is put aside between two of them.
        found.extend(maker.lines(notes[i : i + PIECE]) for i in range(0, len(notes), PIECE))
    return found


def _maker(entry: Entry) -> Lines | None:
    return None if type(entry) is bytes else entry[0]  # type: ignore[return-value]


class BatchingLog:
    """Takes lines at once and writes them soon: a request never waits for the disk.

    Where the disk does not keep up, the oldest wait is bounded by ``max_pending`` lines; what comes beyond that is counted and said.
    A line that comes when ``run`` has ended is written at once, so an orderly stop loses none, in whatever order things stop.
    """

    def __init__(
        self,
        file: RotatingFile,
        clock: Clock,
        *,
        interval: float = 0.1,
        max_pending: int = 100_000,
        max_size: int = 0,
        throttle: TokenBucket | None = None,
    ) -> None:
        """``max_size`` is how many are written at a time: as many do not wait for the interval's end. 0 is all that wait."""
        self._file, self._clock = file, clock
        self._interval, self._max_pending, self._max_size = interval, max_pending, max_size
        self._throttle = throttle
        self._full = asyncio.Event()
        self._pending: list[Entry] = []
        self._batch: list[bytes] = []
        """What is to be written now."""
        self._wake = asyncio.Event()
        self._writing = threading.Lock()
        self._ended = False
        self._said = 0
        self.dropped = 0
        """Lines that nobody will read: more than may wait, or the file could not be written."""

    def add(self, entry: Entry) -> None:
        pending = self._pending
        waiting = len(pending)
        if waiting >= self._max_pending:
            self.dropped += 1
            return
        pending.append(entry)
        if not waiting or self._max_size:
            self._tell()
        elif self._ended:
            self._write_rest()

    def _tell(self) -> None:
        """The first that waits wakes the writer, and the one that fills a batch."""
        if self._ended:
            self._write_rest()
            return
        self._wake.set()
        if self._max_size and len(self._pending) >= self._max_size:
            self._full.set()

    def _write_rest(self) -> None:
        self.flush()
        self._file.close()

    async def run(self) -> None:
        """Writes until cancelled, and then what is left."""
        try:
            while True:
                await self._wake.wait()
                await self._gather()
                if self._throttle is not None:
                    await self._throttle.take()
                self._batch = self._take(self._max_size)
                # In a thread: a disk that stalls stalls nobody's request.
                await asyncio.to_thread(self._write_batch)
        finally:
            self._ended = True
            self.flush()
            self._file.close()

    async def _gather(self) -> None:
        """Waits for more, not longer than the interval."""
        if not self._max_size:
            await self._clock.sleep(self._interval)
            return
        try:
            async with self._clock.timeout(self._interval):
                await self._full.wait()
        except TimeoutError:
            return

    def _take(self, most: int = 0) -> list[bytes]:
        """The oldest of those that wait."""
        if most and len(self._pending) > most:
            entries, self._pending = self._pending[:most], self._pending[most:]
        else:
            entries, self._pending = self._pending, []
            self._wake.clear()
        if len(self._pending) < (most or 1):
            self._full.clear()
        return encoded(entries)

    def _write_batch(self) -> None:
        """Takes the batch itself: a thread that was cancelled before it began leaves it to ``flush``."""
        with self._writing:
            lines, self._batch = self._batch, []
            if self.dropped > self._said:
                log.warning("audit events were dropped", count=self.dropped - self._said)
                self._said = self.dropped
            try:
                self._file.write(lines)
            except OSError as failure:
                self._said = self.dropped = self.dropped + len(lines)
                log.error("cannot write the audit log", error=str(failure), lost=len(lines))

    def lost(self) -> dict[str, int]:
        return {"log": self.dropped}

    def flush(self) -> None:
        """Writes what waits, now, after what is being written."""
        self._write_batch()
        self._batch = self._take()
        self._write_batch()


class BlockingLog:
    """Writes each line before its request goes on. Where it is ``strict``, a request that cannot be recorded does not."""

    def __init__(self, file: RotatingFile, *, strict: bool = False) -> None:
        self._file, self.strict = file, strict
        self.dropped = 0

    def add(self, entry: Entry) -> None:
        try:
            self._file.write_one(entry if type(entry) is bytes else entry[0].lines((entry,)))  # type: ignore[union-attr]
        except OSError as failure:
            self.dropped += 1
            log.error("cannot write the audit log", error=str(failure), lost=1)

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self._file.close()

    def lost(self) -> dict[str, int]:
        return {"log": self.dropped}

    def flush(self) -> None:
        return None
