"""The conformance suite of the Store contract: every engine passes it, ours and yours.

Subclass ``StoreSuite`` in a test module, say how a store is made, and pytest runs the rest::

    class TestMine(StoreSuite):
        def make(self, directory, clock):
            return MyStore(directory / "data", clock)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ..concurrency import Clock, RealClock
from ..storage.contract import Compacted, Event, FutureRevision, RevisionMismatch, Store, StoreError

Wait = Callable[[Callable[[], bool]], Awaitable[None]]


class Seen:
    """What a watch delivered."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.failure: StoreError | None = None
        self._changed = asyncio.Event()

    def deliver(self, events: Sequence[Event]) -> None:
        self.events += events
        self._changed.set()

    def failed(self, failure: StoreError) -> None:
        self.failure = failure
        self._changed.set()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with RealClock().timeout(10):
            while not enough():
                self._changed.clear()
                await self._changed.wait()

    async def count(self, number: int) -> None:
        await self.until(lambda: len(self.events) >= number)


class StoreSuite:
    """Ordered, unique, atomic, reliable, resumable, bookmarkable."""

    durable = False
    """Whether what was written is there again after close and open."""

    def make(self, directory: Path, clock: Clock) -> Store:
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self, directory: Path) -> AsyncIterator[Store]:
        store = self.make(directory, RealClock())
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    async def test_get_gives_the_newest_value_and_its_revision(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            assert await store.get("/registry/a/x") is None
            first = await store.put("/registry/a/x", b"1")
            second = await store.put("/registry/a/x", b"2")
            assert second > first
            assert await store.get("/registry/a/x") == ("/registry/a/x", b"2", second)
            assert await store.current_revision() >= second

    async def test_expectations(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            made = await store.put("/registry/a/x", b"1", expected=0)
            with pytest.raises(RevisionMismatch) as mismatch:
                await store.put("/registry/a/x", b"2", expected=0)
            assert mismatch.value.actual == made
            changed = await store.put("/registry/a/x", b"2", expected=made)
            with pytest.raises(RevisionMismatch):
                await store.delete("/registry/a/x", expected=made)
            with pytest.raises(RevisionMismatch):
                await store.put("/registry/a/y", b"1", expected=made)
            deleted = await store.delete("/registry/a/x", expected=changed)
            assert deleted > changed
            assert await store.get("/registry/a/x") is None
            with pytest.raises(RevisionMismatch):
                await store.delete("/registry/a/x")
            await store.put("/registry/a/x", b"3", expected=0)

    async def test_of_many_writers_one_wins(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            made = await store.put("/registry/a/x", b"0")

            async def attempt(number: int) -> bool:
                try:
                    await store.put("/registry/a/x", b"%d" % number, expected=made)
                except RevisionMismatch:
                    return False
                return True

            assert sum(await asyncio.gather(*(attempt(n) for n in range(20)))) == 1

    async def test_list_is_ordered_by_key_and_bounded_by_prefix(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for key in ("/registry/b/1", "/registry/a/3", "/registry/a/1", "/registry/a/2", "/registry/ab/1"):
                await store.put(key, key.encode())
            page = await store.list("/registry/a/")
            assert [kv.key for kv in page.items] == ["/registry/a/1", "/registry/a/2", "/registry/a/3"]
            assert [kv.value for kv in page.items] == [kv.key.encode() for kv in page.items]
            assert page.remaining == 0
            assert await store.count("/registry/a/") == 3

    async def test_pages_of_one_revision(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for number in range(7):
                await store.put(f"/registry/a/{number}", b"old")
            page = await store.list("/registry/a/", limit=3)
            assert (len(page.items), page.remaining) == (3, 4)
            await store.delete("/registry/a/4")
            await store.put("/registry/a/5", b"new")
            await store.put("/registry/a/45", b"new")
            keys = [kv.key for kv in page.items]
            values = []
            while page.remaining:
                page = await store.list("/registry/a/", after=page.items[-1].key, limit=3, revision=page.revision)
                keys += [kv.key for kv in page.items]
                values += [kv.value for kv in page.items]
            assert keys == [f"/registry/a/{n}" for n in range(7)]
            assert set(values) == {b"old"}

    async def test_listed_revisions_are_of_the_writes(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            first = await store.put("/registry/a/x", b"1")
            second = await store.put("/registry/a/x", b"2")
            page = await store.list("/registry/a/", revision=first)
            assert [(kv.value, kv.revision) for kv in page.items] == [(b"1", first)]
            page = await store.list("/registry/a/")
            assert [(kv.value, kv.revision) for kv in page.items] == [(b"2", second)]

    async def test_future_and_compacted_revisions(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            first = await store.put("/registry/a/x", b"1")
            second = await store.put("/registry/a/x", b"2")
            third = await store.put("/registry/a/y", b"1")
            with pytest.raises(FutureRevision):
                await store.list("/registry/a/", revision=third + 100)
            await store.compact(second)
            with pytest.raises(Compacted):
                await store.list("/registry/a/", revision=first)
            page = await store.list("/registry/a/", revision=second)
            assert [(kv.key, kv.value) for kv in page.items] == [("/registry/a/x", b"2")]
            assert len((await store.list("/registry/a/")).items) == 2
            with pytest.raises(Compacted):
                seen = Seen()
                store.watch("/registry/", first - 1, seen.deliver, seen.failed)
                await seen.until(lambda: seen.failure is not None)
                assert seen.failure is not None
                raise seen.failure

    async def test_compaction_keeps_what_is_current(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for number in range(200):
                await store.put(f"/registry/a/{number % 10}", b"%d" % number)
            for number in range(5):
                await store.delete(f"/registry/a/{number}")
            await store.compact(await store.current_revision())
            page = await store.list("/registry/a/")
            assert [kv.value for kv in page.items] == [b"195", b"196", b"197", b"198", b"199"]

    async def test_watch_delivers_each_write_once_in_order(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            begin = await store.put("/registry/a/0", b"before")
            seen = Seen()
            cancel = store.watch("/registry/a/", begin, seen.deliver, seen.failed)
            revisions = list(await asyncio.gather(*(store.put(f"/registry/a/{n}", b"x") for n in range(1, 50))))
            await store.put("/registry/b/1", b"elsewhere")
            revisions.append(await store.delete("/registry/a/7"))
            await seen.count(50)
            assert [e.revision for e in seen.events] == sorted(revisions)
            assert (seen.events[-1].key, seen.events[-1].value) == ("/registry/a/7", None)
            assert all(e.previous_revision == 0 for e in seen.events[:-1])
            cancel()
            await store.put("/registry/a/x", b"after")
            assert len(seen.events) == 50

    async def test_watch_resumes_from_a_revision(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            begin = await store.put("/registry/a/0", b"0")
            made = [await store.put(f"/registry/a/{n % 3}", b"%d" % n) for n in range(10)]
            seen = Seen()
            store.watch("/registry/a/", begin, seen.deliver, seen.failed)
            await store.put("/registry/a/z", b"live")
            await seen.count(11)
            assert [e.revision for e in seen.events[:10]] == made
            assert [e.value for e in seen.events] == [*(b"%d" % n for n in range(10)), b"live"]

    async def test_a_write_is_delivered_before_it_returns(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            if not store.single_writer:
                pytest.skip("only single-writer engines promise it")
            seen = Seen()
            store.watch("/registry/", await store.current_revision(), seen.deliver, seen.failed)
            for number in range(10):
                revision = await store.put("/registry/a/x", b"%d" % number, note=number)
                assert (seen.events[-1].revision, seen.events[-1].note) == (revision, number)

    async def test_time_to_live(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            seen = Seen()
            store.watch("/registry/", await store.current_revision(), seen.deliver, seen.failed)
            await store.put("/registry/a/short", b"x", ttl=1)
            await store.put("/registry/a/renewed", b"x", ttl=1)
            await store.put("/registry/a/renewed", b"x")
            await seen.until(lambda: any(e.value is None for e in seen.events))
            assert [kv.key for kv in (await store.list("/registry/a/")).items] == ["/registry/a/renewed"]

    async def test_closing_ends_watches(self, tmp_path: Path) -> None:
        seen = Seen()
        async with self.opened(tmp_path) as store:
            store.watch("/registry/", await store.current_revision(), seen.deliver, seen.failed)
        await seen.until(lambda: seen.failure is not None)

    async def test_what_was_written_is_there_again(self, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("not durable")
        async with self.opened(tmp_path) as store:
            await asyncio.gather(*(store.put(f"/registry/a/{n}", b"%d" % n) for n in range(100)))
            await store.delete("/registry/a/5")
            revision = await store.put("/registry/a/6", b"new")
        async with self.opened(tmp_path) as store:
            assert await store.count("/registry/a/") == 99
            assert await store.get("/registry/a/6") == ("/registry/a/6", b"new", revision)
            assert await store.current_revision() >= revision
            assert await store.put("/registry/a/6", b"newer", expected=revision) > revision

    async def test_snapshot(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            revision = await store.put("/registry/a/x", b"1")
            assert await store.snapshot(tmp_path / "copy") >= revision
            assert (tmp_path / "copy").stat().st_size > 0
