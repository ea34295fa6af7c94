"""The embedded default: one SQLite file, a log of writes with an index by key.

Write-ahead log, ``synchronous=FULL``: an acknowledged write survives the power going out. One thread writes; while it
waits for the disk, new writes queue up and go together in the next transaction. Expectations are checked before queueing,
against what is queued already, so that a conflict costs nothing; results and events go out when the disk has them.
Compaction deletes superseded rows in small steps and gives pages back, so the file stays as small as what it holds.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ..concurrency import Clock, logger
from .common import Expiry, Watchers
from .contract import (
    Cancel,
    Compacted,
    Deliver,
    Event,
    FutureRevision,
    KeyValue,
    Page,
    Progress,
    RevisionMismatch,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    prefix_end,
)
from .lockfile import LockFile

log = logger("storage.sqlite")

APPLICATION_ID = 0x70387331
FORMAT = 1
BATCH = 256
"""Writes a transaction: enough to hide the disk, few enough that nobody waits long."""
CHUNK = 32
_DISK = (
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY,
)  # fmt: skip
COMPACT_STEP = 200
"""Rows deleted in one transaction: what writers wait for beside their own, some 10 ms."""
VACUUM_STEP = 128
SPARE_PAGES = 1024
"""Free pages that stay in the file for the next writes."""
CHECKED_BYTES = 256 << 20
"""Files up to this size are looked through at the start: 100 MB take 0.06 s of processor time."""
SCHEMA = """
CREATE TABLE log (
    revision INTEGER PRIMARY KEY, key TEXT NOT NULL, previous INTEGER NOT NULL, deleted INTEGER NOT NULL,
    crc INTEGER NOT NULL, expires REAL, value BLOB);
CREATE INDEX log_key ON log (key, revision, deleted);
CREATE INDEX log_expires ON log (expires) WHERE expires IS NOT NULL;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('compacted', 0), ('revision', 1);
"""
_ROW = "(?,?,?,?,?,?,?)"
_INSERT = "INSERT INTO log (revision, key, previous, deleted, crc, expires, value) VALUES "
_STATE = (
    "SELECT key, max(revision), deleted, crc, value FROM log WHERE key >= ? AND key < ? AND key > ? AND revision <= ? "
    "GROUP BY key HAVING deleted = 0 ORDER BY key LIMIT ?"
)
_COUNT = (
    "SELECT count(*) FROM (SELECT max(revision), deleted FROM log WHERE key >= ? AND key < ? AND key > ? AND "
    "revision <= ? GROUP BY key HAVING deleted = 0)"
)


class _Write:
    """One queued write."""

    __slots__ = ("deleted", "expires", "future", "key", "note", "previous", "revision", "value")

    def __init__(
        self,
        revision: int,
        key: str,
        value: bytes | None,
        previous: int,
        expires: float | None,
        note: Any,
        future: asyncio.Future[int] | None,
    ) -> None:
        self.revision, self.key, self.value, self.previous = revision, key, value, previous
        self.expires, self.note, self.future = expires, note, future

    def row(self) -> tuple[Any, ...]:
        value = self.value
        if value is None:
            return (self.revision, self.key, self.previous, 1, 0, None, None)
        return (self.revision, self.key, self.previous, 0, zlib.crc32(value), self.expires, value)


class _Job:
    """Something else for the writing thread: its function runs between transactions."""

    __slots__ = ("function", "future")

    def __init__(self, function: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any]) -> None:
        self.function, self.future = function, future


class SqliteStore:
    """One file, one process. ``synchronous`` may be lowered to NORMAL or OFF where losing the last writes is acceptable."""

    engine = "sqlite"
    single_writer = True

    def __init__(self, path: Path, clock: Clock, *, synchronous: str = "FULL") -> None:
        self.path = path
        self._clock = clock
        self._synchronous = synchronous
        self._newest: dict[str, int] = {}
        self._superseded: deque[tuple[int, int]] = deque()
        self._revision = 1
        """Of the newest committed write."""
        self._assigned = 1
        self._compacted = 0
        self._queue: SimpleQueue[_Write | _Job | None] = SimpleQueue()
        self._waiting: deque[_Write] = deque()
        self._watchers = Watchers()
        self._expiry = Expiry(clock, self._expire)
        self._thread: threading.Thread | None = None
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._lock = LockFile(path)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = True

    # -- opening and closing ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Raises StoreDamaged or StoreUnavailable."""
        self._loop = asyncio.get_running_loop()
        self._lock.take()
        try:
            connection = self._connect()
            self._prepare(connection)
            self._load(connection)
            self._reader = self._connect()
        except BaseException as failure:
            self._lock.release()
            if isinstance(failure, sqlite3.DatabaseError):
                raise self._refused(failure) from failure
            raise
        self._closed = False
        self._thread = threading.Thread(target=self._write_loop, args=(connection,), name="sqlite-writer", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=64)
        connection.execute("PRAGMA busy_timeout=5000")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (identity,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            if self._lock.emptied:
                raise self._damaged("it is empty")
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        elif identity != APPLICATION_ID:
            raise StoreDamaged(f"{self.path} is a SQLite file of another program: give p8s a --data-dir of its own")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA journal_size_limit=16777216")
        if not tables:
            connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT}")
            self._lock.mark()
            return
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            raise StoreDamaged(f"{self.path} has format {version}, this p8s knows {FORMAT}: use the p8s that wrote it")
        self._lock.mark()
        if self.path.stat().st_size <= CHECKED_BYTES:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise self._damaged(verdict.splitlines()[-1])

    def _refused(self, failure: sqlite3.DatabaseError) -> StoreError:
        """Why the file could not be opened, with what to do about it."""
        code = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return StoreUnavailable(f"{self.path} cannot be opened ({failure}): free some space on its disk")
        if code in _DISK:
            return StoreUnavailable(
                f"{self.path} cannot be opened ({failure}): see whether its disk works and this user may write there"
            )
        return self._damaged(failure)

    def _damaged(self, why: object) -> StoreDamaged:
        return StoreDamaged(
            f"{self.path} is damaged ({why}): restore the newest snapshot with 'p8s snapshot restore', or move the file "
            "away to begin with an empty cluster"
        )

    def _load(self, connection: sqlite3.Connection) -> None:
        meta: dict[str, int] = dict(connection.execute("SELECT name, value FROM meta"))
        (newest,) = connection.execute("SELECT max(revision) FROM log").fetchone()
        self._compacted = meta["compacted"]
        self._revision = self._assigned = max(newest or 1, meta["revision"])
        superseded = []
        before, last = "", 0
        for key, revision, deleted in connection.execute(
            "SELECT key, revision, deleted FROM log ORDER BY key, revision"
        ):
            if key == before:
                superseded.append((revision, last))
            before, last = key, revision
            if deleted:
                self._newest.pop(key, None)
                superseded.append((revision, revision))
            else:
                self._newest[key] = revision
        self._superseded = deque(sorted(superseded))
        for key, revision, expires in connection.execute(
            "SELECT key, revision, expires FROM log WHERE expires IS NOT NULL"
        ):
            if self._newest.get(key) == revision:
                self._expiry.add(expires, key, revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._expiry.stop()
        self._queue.put(None)
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join)
        if self._reader is not None:
            with self._reading:
                self._reader.close()
                self._reader = None
        self._lock.release()
        self._watchers.fail(StoreUnavailable("the store is closed"))

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _read(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        def locked() -> Any:
            with self._reading:
                if self._reader is None:
                    raise StoreUnavailable("the store is closed")
                return function(self._reader)

        try:
            return await asyncio.to_thread(locked)
        except sqlite3.OperationalError as failure:
            raise StoreUnavailable(str(failure)) from failure
        except sqlite3.DatabaseError as failure:
            raise self._damaged(failure) from failure

    def _verified(self, key: str, value: bytes, crc: int) -> bytes:
        if zlib.crc32(value) != crc:
            raise self._damaged(f"the value of {key} does not fit its checksum")
        return value

    async def get(self, key: str) -> KeyValue | None:
        query = "SELECT deleted, crc, value, revision FROM log WHERE key = ? ORDER BY revision DESC LIMIT 1"
        row = await self._read(lambda connection: connection.execute(query, (key,)).fetchone())
        if row is None or row[0]:
            return None
        return KeyValue(key, self._verified(key, row[2], row[1]), row[3])

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision and revision < self._compacted:
            raise Compacted(revision, self._compacted)
        at = revision or self._revision
        bounds = (prefix, prefix_end(prefix), after, at)

        def query(connection: sqlite3.Connection) -> tuple[list[Any], int]:
            rows = connection.execute(_STATE, (*bounds, limit or -1)).fetchall()
            remaining = 0
            if limit and len(rows) == limit:
                (remaining,) = connection.execute(_COUNT, (prefix, prefix_end(prefix), rows[-1][0], at)).fetchone()
            return rows, remaining

        rows, remaining = await self._read(query)
        if revision and revision < self._compacted:
            raise Compacted(revision, self._compacted)
        return Page([KeyValue(k, self._verified(k, v, crc), r) for k, r, _, crc, v in rows], at, remaining)

    async def count(self, prefix: str) -> int:
        bounds = (prefix, prefix_end(prefix), "", self._revision)
        (found,) = await self._read(lambda connection: connection.execute(_COUNT, bounds).fetchone())
        return int(found)

    async def current_revision(self) -> int:
        return self._revision

    def watch(
        self,
        prefix: str,
        after: int,
        deliver: Deliver,
        failed: Callable[[StoreError], None],
        progress: Progress | None = None,
    ) -> Cancel:
        if after < self._compacted:
            raise Compacted(after, self._compacted)
        if after < self._revision:
            self._replay(prefix, after, deliver)
        return self._watchers.add(prefix, deliver, failed)

    def _replay(self, prefix: str, after: int, deliver: Deliver) -> None:
        """What was committed before the watch began. On the loop: between reading and joining nothing may be missed."""
        with self._reading:
            if self._reader is None:
                raise StoreUnavailable("the store is closed")
            rows = self._reader.execute(
                "SELECT revision, key, deleted, value, previous FROM log WHERE revision > ? AND revision <= ? AND key >= ? "
                "AND key < ? ORDER BY revision",
                (after, self._revision, prefix, prefix_end(prefix)),
            ).fetchall()
        if rows:
            deliver([Event(r, k, None if deleted else v, previous) for r, k, deleted, v, previous in rows])

    # -- writing ----------------------------------------------------------------------------------------------------

    def _expect(self, key: str, expected: int | None) -> int:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        actual = self._newest.get(key, 0)
        if expected is not None and expected != actual:
            raise RevisionMismatch(key, expected, actual)
        return actual

    async def _expected(self, key: str, expected: int | None) -> int:
        try:
            return self._expect(key, expected)
        except RevisionMismatch:
            # Another write got ahead and may still be on its way: whoever reads again after this refusal must find it.
            await self._settled()
            raise

    async def _settled(self) -> None:
        """Returns when what was submitted before has been committed and delivered."""
        if self._waiting:
            await self._job(lambda connection: None)

    def _submit(
        self, key: str, value: bytes | None, previous: int, expires: float | None, note: Any, wait: bool = True
    ) -> asyncio.Future[int] | None:
        assert self._loop is not None
        revision = self._assigned = self._assigned + 1
        future: asyncio.Future[int] | None = self._loop.create_future() if wait else None
        if value is None:
            del self._newest[key]
        else:
            self._newest[key] = revision
        write = _Write(revision, key, value, previous, expires, note, future)
        self._waiting.append(write)
        self._queue.put(write)
        return future

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, note: Any = None, ttl: float = 0
    ) -> int:
        previous = await self._expected(key, expected)
        future = self._submit(key, value, previous, self._clock.now() + ttl if ttl else None, note)
        assert future is not None
        return await future

    async def delete(self, key: str, *, expected: int | None = None, note: Any = None) -> int:
        previous = await self._expected(key, expected)
        if not previous:
            await self._settled()
            raise RevisionMismatch(key, expected or 0, 0)
        future = self._submit(key, None, previous, None, note)
        assert future is not None
        return await future

    def _expire(self, key: str, revision: int) -> None:
        if not self._closed and self._newest.get(key) == revision:
            self._submit(key, None, revision, None, None, wait=False)

    def _committed(self, writes: Sequence[_Write]) -> None:
        """On the loop: the disk has these writes."""
        events = []
        for write in writes:
            self._waiting.popleft()
            events.append(Event(write.revision, write.key, write.value, write.previous, write.note))
            if write.previous:
                self._superseded.append((write.revision, write.previous))
            if write.value is None:
                self._superseded.append((write.revision, write.revision))
            if write.expires is not None:
                self._expiry.add(write.expires, write.key, write.revision)
        self._revision = writes[-1].revision
        self._watchers.deliver(events)
        for write in writes:
            if write.future is not None and not write.future.done():
                write.future.set_result(write.revision)

    def _failed(self, failure: Exception) -> None:
        """On the loop: a transaction failed. What was queued behind it stood on it, so all of it fails."""
        log.error("writing failed", error=str(failure), path=str(self.path))
        waiting, self._waiting = self._waiting, deque()
        for write in reversed(waiting):
            if write.previous:
                self._newest[write.key] = write.previous
            else:
                self._newest.pop(write.key, None)
        for write in waiting:
            if write.future is not None and not write.future.done():
                write.future.set_exception(StoreUnavailable(f"writing {self.path} failed: {failure}"))

    # -- the writing thread -----------------------------------------------------------------------------------------

    def _write_loop(self, connection: sqlite3.Connection) -> None:
        assert self._loop is not None
        queue = self._queue
        stopping = False
        while not stopping:
            item = queue.get()
            writes: list[_Write] = []
            job: _Job | None = None
            while True:
                if item is None:
                    stopping = True
                elif isinstance(item, _Job):
                    job = item
                else:
                    writes.append(item)
                if stopping or job is not None or len(writes) >= BATCH:
                    break
                try:
                    item = queue.get_nowait()
                except Empty:
                    break
            if writes:
                self._transact(connection, writes)
            if job is not None:
                self._do(connection, job)
        connection.close()

    def _transact(self, connection: sqlite3.Connection, writes: Sequence[_Write]) -> None:
        assert self._loop is not None
        try:
            connection.execute("BEGIN IMMEDIATE")
            for start in range(0, len(writes), CHUNK):
                part = writes[start : start + CHUNK]
                # One statement with many rows takes the interpreter's lock twice, many statements twice each.
                parameters: list[Any] = []
                for write in part:
                    parameters += write.row()
                connection.execute(_INSERT + ",".join([_ROW] * len(part)), parameters)
            connection.execute("COMMIT")
        except sqlite3.Error as failure:
            self._roll_back(connection)
            self._give_up(failure)
        else:
            self._loop.call_soon_threadsafe(self._committed, writes)

    @staticmethod
    def _roll_back(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _give_up(self, failure: Exception) -> None:
        """Fails everything that is queued, and waits until the loop has undone it: later writes stand on firm ground."""
        assert self._loop is not None
        undone = threading.Event()

        def undo() -> None:
            # Between here and the next submission nothing can come into the queue: this runs on the loop.
            while True:
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
                if isinstance(item, _Job) or item is None:
                    kept.append(item)
            for item in kept:
                self._queue.put(item)
            self._failed(failure)
            undone.set()

        kept: list[_Job | None] = []
        self._loop.call_soon_threadsafe(undo)
        undone.wait(30.0)

    def _do(self, connection: sqlite3.Connection, job: _Job) -> None:
        assert self._loop is not None
        try:
            result = job.function(connection)
        except sqlite3.Error as failure:
            self._roll_back(connection)
            self._loop.call_soon_threadsafe(_finish, job.future, None, StoreUnavailable(str(failure)))
        else:
            self._loop.call_soon_threadsafe(_finish, job.future, result, None)

    async def _job(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put(_Job(function, future))
        return await future

    # -- keeping small ----------------------------------------------------------------------------------------------

    async def compact(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision <= self._compacted:
            return
        self._compacted = revision
        await self._job(
            lambda c: c.execute(
                "INSERT OR REPLACE INTO meta VALUES ('compacted', ?), ('revision', ?)", (revision, revision)
            )
        )
        while self._superseded and self._superseded[0][0] <= revision:
            rows: list[tuple[int]] = []
            while self._superseded and len(rows) < COMPACT_STEP and self._superseded[0][0] <= revision:
                rows.append((self._superseded.popleft()[1],))
            try:
                await self._chore(lambda c, rows=rows: _delete(c, rows))  # type: ignore[misc]
            except StoreUnavailable:
                self._superseded.extendleft((revision, row) for (row,) in reversed(rows))
                raise
        while (await self._chore(_vacuum_step)) > 0:
            pass
        await self._job(_checkpoint)

    async def _chore(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        """A job that can wait. Where somebody writes it is followed by a rest of twice its time."""
        began = self._clock.monotonic()
        result = await self._job(function)
        if self._waiting:
            await self._clock.sleep(2 * (self._clock.monotonic() - began))
        return result

    async def snapshot(self, path: Path) -> int:
        """A copy as of one moment, while writes go on."""
        if path.exists():
            raise StoreError(f"{path} exists already")

        def copy(connection: sqlite3.Connection) -> None:
            connection.execute("VACUUM INTO ?", (str(path),))

        await self._read(copy)
        copied = sqlite3.connect(path)
        try:
            (newest,) = copied.execute("SELECT max(revision) FROM log").fetchone()
        finally:
            copied.close()
        return int(newest or 1)

    async def size(self) -> int:
        wal = self.path.with_name(self.path.name + "-wal")
        return self.path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)


def _finish(future: asyncio.Future[Any], result: Any, failure: StoreError | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)


def _delete(connection: sqlite3.Connection, rows: list[tuple[int]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM log WHERE revision = ?", rows)
    connection.execute("COMMIT")


def _vacuum_step(connection: sqlite3.Connection) -> int:
    """Gives half a megabyte of free pages back; how many pages are still free beyond the spare ones."""
    # ``execute`` would stop after one page: it takes a single step of a statement that has no columns.
    connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_STEP})")
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return max(0, int(free) - SPARE_PAGES)


def _checkpoint(connection: sqlite3.Connection) -> None:
    """The log's changes go into the file, which thereby becomes as small as it says that it is."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
