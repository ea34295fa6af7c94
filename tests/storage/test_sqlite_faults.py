"""The embedded store's file: bounded under churn, refused where it is damaged, and what a full disk costs."""

import asyncio
import contextlib
import os
import random
import subprocess

import pytest

from apiserver.conftest import running
from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS
from pybernetes.apiserver.compacting import ROOM, Compaction
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock
from pybernetes.storage.contract import StoreDamaged, StoreUnavailable
from pybernetes.storage.sqlite import SqliteStore

MEGABYTE = 1 << 20


@contextlib.asynccontextmanager
async def opened(path):
    store = SqliteStore(path, RealClock())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def wal(path):
    return path.with_name(path.name + "-wal").stat().st_size


# -- churn --------------------------------------------------------------------------------------------------------------


async def test_twenty_thousand_updates_leave_a_small_file(tmp_path):
    """200 objects of 2 KB, rewritten a hundred times each beside readers: 40 MB of writes."""
    path = tmp_path / "state.db"
    async with opened(path) as store:
        largest = 0
        for turn in range(20):
            values = [b"%04d" % turn * 500 for _ in range(200)]
            writes = [store.put(f"/registry/a/{n % 200}", values[n % 200]) for n in range(1000)]
            await asyncio.gather(*writes, *(store.list("/registry/", limit=50) for _ in range(10)))
            assert wal(path) < 17 * MEGABYTE
            if turn % 4 == 3:
                await store.compact(await store.current_revision())
                largest = max(largest, path.stat().st_size)
        assert largest < 8 * MEGABYTE, "4 MB of free pages are kept, and what the log has not given back yet"
        assert await store.count("/registry/") == 200


class Steps:
    """A clock that passes as soon as somebody waits; it ends the waiter after so many steps."""

    def __init__(self, steps):
        self.left = steps
        self.passed = 0.0

    async def sleep(self, seconds):
        self.passed += seconds
        self.left -= 1
        if self.left < 0:
            raise asyncio.CancelledError
        await asyncio.sleep(0)


class Growing:
    """A store and a hub that write ``rate`` bytes and one revision between two looks."""

    single_writer = True

    def __init__(self, rate, live):
        self.rate, self.live, self.bytes = rate, live, live
        self.revision = self.compacted = 0
        self.largest = 0
        self.at = []

    async def size(self):
        self.revision += 1
        self.bytes += self.rate
        self.largest = max(self.largest, self.bytes)
        return self.bytes

    async def compact(self, revision):
        self.at.append(revision)
        self.bytes = self.live


async def compactions(rate, live=100 * MEGABYTE):
    store, clock = Growing(rate, live), Steps(60)
    with pytest.raises(asyncio.CancelledError):
        await Compaction(store, store, clock, 300.0).run()
    return store


async def test_history_is_kept_for_an_interval_where_there_is_room():
    store = await compactions(MEGABYTE)
    assert store.at == [0, 21, 42], "every five minutes, down to where the last one was"


async def test_a_flood_of_writes_is_compacted_down_to_the_last_look():
    store = await compactions(100 * MEGABYTE)
    assert len(store.at) > 10
    assert store.largest <= 2 * (100 + 100) * MEGABYTE + ROOM + 100 * MEGABYTE
    assert store.revision - store.compacted < 8


# -- damage -------------------------------------------------------------------------------------------------------------


async def filled(path, number=300):
    """What is stored, over a file that was closed in order."""
    rng, wanted = random.Random(1), {}
    async with opened(path) as store:
        for n in range(number):
            key, value = f"/registry/pods/ns/{n % 200:04}", b'{"n":%d,"x":"%s"}' % (n, b"y" * rng.randrange(1500))
            await store.put(key, value)
            wanted[key] = value
    return wanted


async def read(path):
    async with opened(path) as store:
        return {kv.key: kv.value for kv in (await store.list("/registry/")).items}


def cut(data, rng):
    return data[: rng.randrange(4096, len(data) // 2)]


def without_header(data, rng):
    return bytes(100) + data[100:]


def emptied(data, rng):
    return b""


def page_of_noise(data, rng):
    at = rng.randrange(1, len(data) // 4096) * 4096
    return data[:at] + rng.randbytes(4096) + data[at + 4096 :]


def pages_swapped(data, rng):
    return data[:4096] + data[8192:12288] + data[4096:8192] + data[12288:]


@pytest.mark.parametrize("harm", [cut, without_header, emptied, page_of_noise, pages_swapped])
async def test_damage_is_refused_with_advice(tmp_path, harm):
    path = tmp_path / "state.db"
    await filled(path)
    path.write_bytes(harm(path.read_bytes(), random.Random(3)))
    with pytest.raises(
        StoreDamaged, match="is damaged .*: restore the newest snapshot with 'p8s snapshot restore', or"
    ):
        await read(path)
    path.rename(tmp_path / "aside")
    assert await read(path) == {}, "the advice helps"


async def test_flipped_bytes_never_give_wrong_answers(tmp_path):
    path, rng = tmp_path / "state.db", random.Random(5)
    wanted = await filled(path)
    whole = path.read_bytes()
    found = []
    for _ in range(int(os.environ.get("P8S_FLIPS", "60"))):
        data, at = bytearray(whole), rng.randrange(100, len(whole) - 64)
        data[at : at + rng.choice([1, 8, 64])] = rng.randbytes(rng.choice([1, 8, 64]))
        path.write_bytes(data[: len(whole)])
        try:
            assert await read(path) == wanted
            found.append(False)
        except StoreDamaged:
            found.append(True)
    assert any(found) and not all(found)


async def test_a_log_of_noise_beside_a_whole_file_is_left_out(tmp_path):
    path = tmp_path / "state.db"
    wanted = await filled(path)
    path.with_name("state.db-wal").write_bytes(random.Random(2).randbytes(100_000))
    assert await read(path) == wanted


async def test_a_lost_table_is_damage_and_a_directory_is_not(tmp_path):
    import sqlite3

    path = tmp_path / "state.db"
    await filled(path, 5)
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TABLE meta")
    raw.close()
    with pytest.raises(StoreDamaged, match="no such table: meta"):
        await read(path)
    (tmp_path / "other.db").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be opened .*: see whether its disk works"):
        await read(tmp_path / "other.db")


# -- a full disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of six megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.root
async def test_a_full_disk_refuses_writes_answers_reads_and_recovers(small_disk):
    path, ballast = small_disk / "state.db", small_disk / "ballast"
    ballast.write_bytes(bytes(MEGABYTE))
    acknowledged = {}
    async with running(store=SqliteStore(path, RealClock())) as server:
        client = Client(InProcessTransport(server))
        failure = None
        for number in range(200):
            body = {"metadata": {"name": f"c{number}", "namespace": "default"}, "data": {"x": "y" * 50_000}}
            try:
                acknowledged[f"c{number}"] = (await client.create(CONFIG_MAPS, body))["metadata"]["resourceVersion"]
            except StatusError as refused:
                failure = refused
                break
        assert failure is not None and (failure.code, failure.reason) == (503, "ServiceUnavailable")
        assert failure.message.endswith("state.db failed: database or disk is full") and failure.retry_after == 1
        name = f"c{len(acknowledged)}"
        assert len((await client.list(CONFIG_MAPS, "default"))["items"]) == len(acknowledged), "reads go on"
        with pytest.raises(StatusError, match="not found"):
            await client.get(CONFIG_MAPS, name, "default")
        ballast.unlink()
        made = await client.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default"}})
        acknowledged[name] = made["metadata"]["resourceVersion"]
    async with running(store=SqliteStore(path, RealClock())) as again:
        found = (await Client(InProcessTransport(again)).list(CONFIG_MAPS, "default"))["items"]
        assert {i["metadata"]["name"]: i["metadata"]["resourceVersion"] for i in found} == acknowledged


@pytest.mark.root
async def test_killed_on_a_full_disk_keeps_what_was_acknowledged(small_disk, tmp_path):
    """The files as they are at the moment of the failure, copied away as a crash would leave them."""
    path, kept = small_disk / "state.db", tmp_path / "crash" / "state.db"
    kept.parent.mkdir()
    async with opened(path) as store:
        acknowledged = {}
        with pytest.raises(StoreUnavailable, match="full"):
            for number in range(1000):
                value = b"%d" % number * 20_000
                await store.put(f"/registry/a/{number:04}", value)
                acknowledged[f"/registry/a/{number:04}"] = value
        for suffix in ("", "-wal"):
            kept.with_name(kept.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    assert await read(kept) == acknowledged
