"""The embedded engines pass the conformance suite, and SQLite's own promises."""

import asyncio
import sqlite3

import pytest

from pybernetes.concurrency import RealClock
from pybernetes.storage.contract import StoreDamaged, StoreUnavailable
from pybernetes.storage.memory import MemoryStore
from pybernetes.storage.sqlite import SqliteStore
from pybernetes.testing.store_suite import StoreSuite


class TestMemory(StoreSuite):
    def make(self, directory, clock):
        return MemoryStore(clock)


class TestSqlite(StoreSuite):
    durable = True

    def make(self, directory, clock):
        return SqliteStore(directory / "state.db", clock)

    async def test_file_stays_bounded(self, tmp_path):
        async with self.opened(tmp_path) as store:
            for _ in range(5):
                await asyncio.gather(*(store.put(f"/registry/a/{n % 20}", b"x" * 4000) for n in range(1000)))
                await store.compact(await store.current_revision())
            assert await store.size() < 24 << 20

    async def test_second_process_is_refused(self, tmp_path):
        async with self.opened(tmp_path):
            with pytest.raises(StoreUnavailable, match="in use by another process"):
                await self.make(tmp_path, RealClock()).open()

    async def test_damaged_file_is_refused_with_advice(self, tmp_path):
        (tmp_path / "state.db").write_bytes(b"this is no database" * 100)
        with pytest.raises(StoreDamaged, match="snapshot restore"):
            await self.make(tmp_path, RealClock()).open()

    async def test_flipped_value_is_noticed(self, tmp_path):
        async with self.opened(tmp_path) as store:
            await store.put("/registry/a/x", b"value")
        with sqlite3.connect(tmp_path / "state.db") as raw:
            raw.execute("UPDATE log SET value = X'00'")
        raw.close()
        async with self.opened(tmp_path) as store:
            with pytest.raises(StoreDamaged, match="checksum"):
                await store.get("/registry/a/x")

    async def test_foreign_and_newer_files_are_refused(self, tmp_path):
        with sqlite3.connect(tmp_path / "state.db") as raw:
            raw.execute("CREATE TABLE other (x)")
        raw.close()
        with pytest.raises(StoreDamaged, match="another program"):
            await self.make(tmp_path, RealClock()).open()
        (tmp_path / "state.db").unlink()
        async with self.opened(tmp_path):
            pass
        with sqlite3.connect(tmp_path / "state.db") as raw:
            raw.execute("PRAGMA user_version=99")
        raw.close()
        with pytest.raises(StoreDamaged, match="format 99"):
            await self.make(tmp_path, RealClock()).open()

    async def test_full_disk_fails_writes_and_recovers(self, tmp_path):
        async with self.opened(tmp_path) as store:
            made = await store.put("/registry/a/x", b"1")
            pages = await store._job(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
            await store._job(lambda c: c.execute(f"PRAGMA max_page_count={pages}").fetchone())
            results = await asyncio.gather(
                *(store.put(f"/registry/a/{n}", b"x" * 9000, expected=0) for n in range(40)), return_exceptions=True
            )
            assert all(isinstance(r, StoreUnavailable) for r in results)
            await store._job(lambda c: c.execute("PRAGMA max_page_count=1000000").fetchone())
            assert await store.put("/registry/a/1", b"1", expected=0) > made
            assert await store.put("/registry/a/x", b"2", expected=made) > made
