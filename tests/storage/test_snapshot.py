"""Snapshots: taken while the store works, checked, put back."""

import asyncio
import random
import sqlite3

import pytest

from pybernetes.cli.main import cli
from pybernetes.concurrency import RealClock
from pybernetes.storage import snapshot
from pybernetes.storage.contract import Compacted, StoreDamaged, StoreError, StoreUnavailable
from pybernetes.storage.memory import MemoryStore
from pybernetes.storage.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path):
    found = SqliteStore(tmp_path / "data" / "state.db", RealClock())
    await found.open()
    for number in range(50):
        await found.put(f"/registry/a/{number:02}", b'{"n":%d}' % number)
    await found.delete("/registry/a/00")
    yield found
    await found.close()


async def reopened(path):
    found = SqliteStore(path, RealClock())
    await found.open()
    return found


async def test_round_trip(store, tmp_path):
    file = tmp_path / "snap"
    saved = await asyncio.to_thread(snapshot.save_file, store.path, file)
    assert saved == snapshot.Snapshot(49, await store.current_revision())
    last = await store.put("/registry/a/late", b"{}")
    await store.close()
    assert snapshot.restore_file(file, store.path) == saved
    back = await reopened(store.path)
    try:
        assert await back.get("/registry/a/late") is None
        assert (await back.get("/registry/a/07")).value == b'{"n":7}'
        assert await back.count("/registry/") == 49
        # Whoever saw the lost write must not take what comes now for older than it.
        assert await back.current_revision() > last
        with pytest.raises(Compacted):
            back.watch("/registry/", last, lambda events: None, lambda failure: None)
        assert await back.put("/registry/a/new", b"{}") > last
    finally:
        await back.close()
    assert (tmp_path / "data" / "state.db.before-restore").exists()


async def test_taken_while_writes_go_on(store, tmp_path):
    """Each snapshot holds a prefix of the writes: no gap, no half."""
    rng, stop = random.Random(1), asyncio.Event()

    async def write():
        number = 0
        while not stop.is_set():
            number += 1
            await store.put(f"/registry/w/{number:06}", b"x" * rng.randrange(2000))

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for turn in range(5):
            file = tmp_path / f"snap{turn}"
            await asyncio.to_thread(snapshot.save_file, store.path, file)
            keys = [
                k
                for (k,) in sqlite3.connect(file).execute(
                    "SELECT key FROM log WHERE key LIKE '/registry/w/%' ORDER BY key"
                )
            ]
            assert keys == [f"/registry/w/{n + 1:06}" for n in range(len(keys))]
        stop.set()


async def test_from_any_engine_into_any(store, tmp_path):
    file = tmp_path / "snap"
    saved = await snapshot.save(store, file)
    other = MemoryStore(RealClock())
    await other.open()
    await snapshot.restore(file, other)
    assert await other.count("/registry/") == saved.objects
    with pytest.raises(StoreError, match="holds objects already"):
        await snapshot.restore(file, other)
    target = tmp_path / "elsewhere" / "state.db"
    snapshot.restore_file(file, target)
    back = await reopened(target)
    assert (await back.get("/registry/a/49")).value == b'{"n":49}'
    await back.close()


async def test_what_is_refused(store, tmp_path):
    file = tmp_path / "snap"
    snapshot.save_file(store.path, file)
    with pytest.raises(StoreError, match="exists already"):
        snapshot.save_file(store.path, file)
    with pytest.raises(StoreUnavailable, match="in use"):
        snapshot.restore_file(file, store.path)
    with pytest.raises(StoreUnavailable, match="does not exist"):
        snapshot.restore_file(tmp_path / "none", store.path)
    text = tmp_path / "text"
    text.write_bytes(b"hello" * 1000)
    with pytest.raises(StoreDamaged, match="older snapshot"):
        snapshot.check(text)
    foreign = tmp_path / "foreign"
    sqlite3.connect(foreign).executescript("CREATE TABLE a (b);")
    with pytest.raises(StoreDamaged, match="no snapshot"):
        snapshot.check(foreign)


@pytest.mark.parametrize("seed", range(8))
async def test_a_flipped_byte_is_found_or_harmless(store, tmp_path, seed):
    file = tmp_path / "snap"
    whole = snapshot.save_file(store.path, file)
    rng, data = random.Random(seed), bytearray(file.read_bytes())
    at = data.index(b'{"n":%d}' % (seed + 1)) + rng.randrange(6)
    data[at] ^= 0x20
    file.write_bytes(data)
    with pytest.raises(StoreDamaged):
        assert snapshot.check(file) == whole


def test_by_command(tmp_path):
    from click.testing import CliRunner

    async def prepare():
        found = await reopened(tmp_path / "state.db")
        await found.put("/registry/a/b", b"{}")
        await found.close()

    asyncio.run(prepare())
    run = CliRunner().invoke
    result = run(cli, ["snapshot", "save", str(tmp_path / "s"), "--data-dir", str(tmp_path)])
    assert result.output == f"Saved 1 objects at revision 2 to {tmp_path / 's'}.\n"
    result = run(cli, ["snapshot", "restore", str(tmp_path / "s"), "--data-dir", str(tmp_path)])
    assert result.output == "Restored 1 objects of revision 2.\n"
    result = run(cli, ["snapshot", "save", str(tmp_path / "s"), "--data-dir", str(tmp_path)])
    assert "exists already" in str(result.exception)
