"""Snapshots: one file with everything that a store holds, made while the store works, and put back where one was lost.

A snapshot is a SQLite file in the embedded store's own format, whichever engine it was taken from. ``restore`` gives the
store a later revision than any that was handed out: clients that saw newer states than the snapshot's list anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .contract import Store, StoreDamaged, StoreError, StoreUnavailable
from .sqlite import APPLICATION_ID, FORMAT, SCHEMA

REVISIONS_AHEAD = 1_000_000
"""As far as a restored store leaps: more writes than can have come between a snapshot and its restoring."""
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a file holds."""

    objects: int
    revision: int


def save_file(source: Path, target: Path) -> Snapshot:
    """Copies an embedded store, which may be in use. Raises StoreError."""
    _refuse_existing(target)
    if not source.exists():
        raise StoreUnavailable(f"{source} does not exist: name the data directory of a cluster or an API server")
    try:
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout=5000")
            connection.execute("VACUUM INTO ?", (str(target),))
        target.chmod(0o600)
        return check(target)
    except sqlite3.DatabaseError as failure:
        raise StoreDamaged(f"{source} cannot be copied ({failure}): use an older snapshot") from failure


async def save(store: Store, target: Path) -> Snapshot:
    """Copies what an open store of any engine holds at one revision. Raises StoreError."""
    _refuse_existing(target)
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.close(descriptor)
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        revision, after = 0, ""
        connection.execute("BEGIN")
        while True:
            page = await store.list("/registry/", after=after, limit=PAGE, revision=revision)
            revision = page.revision
            connection.executemany(
                "INSERT INTO log (revision, key, previous, deleted, crc, expires, value) VALUES (?, ?, 0, 0, ?, NULL, ?)",
                [(kv.revision, kv.key, zlib.crc32(kv.value), kv.value) for kv in page.items],
            )
            if not page.remaining:
                break
            after = page.items[-1].key
        connection.execute("UPDATE meta SET value = ? WHERE name IN ('revision', 'compacted')", (revision,))
        connection.execute("COMMIT")
    return check(target)


def check(file: Path) -> Snapshot:
    """What a snapshot holds. Raises StoreDamaged where it is none, or not whole."""
    if not file.exists():
        raise StoreUnavailable(f"{file} does not exist")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as connection:
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise StoreDamaged(f"{file} is no snapshot of p8s")
            if connection.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
                raise StoreDamaged(f"{file} is of another format: use the p8s that wrote it")
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise StoreDamaged(f"{file} is damaged ({verdict}): use an older snapshot")
            return _count(connection, file)
    except sqlite3.DatabaseError as failure:
        raise StoreDamaged(f"{file} is damaged ({failure}): use an older snapshot") from failure


def _count(connection: sqlite3.Connection, file: Path) -> Snapshot:
    newest: dict[str, bool] = {}
    revision = connection.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()[0]
    rows = connection.execute("SELECT revision, key, deleted, crc, value FROM log ORDER BY revision")
    for number, key, deleted, crc, value in rows:
        if not deleted and zlib.crc32(value) != crc:
            raise StoreDamaged(f"{file} is damaged (the value of {key} is not what was written): use an older snapshot")
        newest[key] = not deleted
        revision = max(revision, number)
    return Snapshot(sum(newest.values()), revision)


def restore_file(snapshot: Path, target: Path) -> Snapshot:
    """Puts a snapshot in the place of an embedded store, which is kept beside it. Raises StoreError."""
    found = check(snapshot)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with target.with_name(target.name + ".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreUnavailable(f"{target} is in use: stop the API server first") from None
        fresh = target.with_name(target.name + ".restoring")
        fresh.unlink(missing_ok=True)
        shutil.copyfile(snapshot, fresh)
        fresh.chmod(0o600)
        _leap(fresh, found.revision + REVISIONS_AHEAD)
        _put_aside(target)
        fresh.rename(target)
        _sync(target.parent)
    return found


def _leap(file: Path, revision: int) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("UPDATE meta SET value = ? WHERE name IN ('revision', 'compacted')", (revision,))


def _put_aside(target: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        old = target.with_name(target.name + suffix)
        if old.exists():
            old.replace(target.with_name(target.name + ".before-restore" + suffix))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def restore(snapshot: Path, store: Store) -> Snapshot:
    """Puts a snapshot into an open store that is empty (etcd). Raises StoreError."""
    found = check(snapshot)
    if await store.count("/registry/"):
        raise StoreError("the store holds objects already: restore into an empty one")
    with closing(sqlite3.connect(f"file:{snapshot}?mode=ro&immutable=1", uri=True)) as connection:
        rows = connection.execute(
            "SELECT key, max(revision), deleted, value FROM log GROUP BY key HAVING deleted = 0 ORDER BY 2"
        )
        for key, _, _, value in rows:
            await store.put(key, value, expected=0)
    return found


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise StoreError(f"{target} exists already: give the snapshot another name")
