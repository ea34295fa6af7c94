"""The etcd engine against real members, one and three."""

import asyncio
import shutil

import pytest

from apiserver.conftest import running
from pybernetes.api.resources import CONFIG_MAPS
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock
from pybernetes.storage.contract import StoreUnavailable
from pybernetes.storage.etcd import EtcdStore
from pybernetes.testing.store_suite import Seen, StoreSuite
from storage.members import Members, free_ports

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(shutil.which("etcd") is None, reason="needs an etcd binary on the PATH"),
]


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    members = Members(tmp_path_factory.mktemp("etcd"), 1)
    yield members
    members.stop()


class TestEtcd(StoreSuite):
    durable = True

    @pytest.fixture(autouse=True)
    def _cluster(self, member, tmp_path):
        self.urls = member.urls

    def make(self, directory, clock):
        # One cluster for all tests: each has a part of its own.
        return EtcdStore(self.urls, clock, prefix=str(directory))

    async def test_progress_is_told_of_writes_elsewhere(self, tmp_path):
        async with self.opened(tmp_path) as store, self.opened(tmp_path / "other") as other:
            seen, reached = Seen(), asyncio.Event()
            revision = 0

            def progress(known):
                if revision and known >= revision:
                    reached.set()

            store.watch("/registry/", await store.current_revision(), seen.deliver, seen.failed, progress)
            revision = await other.put("/registry/a", b"x") - 1
            await other.put("/registry/a", b"y")
            async with RealClock().timeout(5):
                await reached.wait()
            assert not seen.events


async def test_a_lost_member_costs_no_write(tmp_path):
    members = Members(tmp_path, 3)
    store = EtcdStore(members.urls, RealClock(), prefix="/x")
    try:
        await store.open()
        seen, written = Seen(), {}
        store.watch("/registry/", await store.current_revision(), seen.deliver, seen.failed)
        for number in range(60):
            if number == 20:
                members.processes[0].kill()
            written[f"/registry/a/{number}"] = await store.put(f"/registry/a/{number}", b"%d" % number, expected=0)
        page = await store.list("/registry/a/")
        assert {kv.key: kv.revision for kv in page.items} == written
        await seen.until(lambda: seen.failure is not None or len(seen.events) >= 60)
    finally:
        await store.close()
        members.stop()


async def test_no_member_is_said_plainly():
    (port,) = free_ports(1)
    store = EtcdStore([f"http://127.0.0.1:{port}"], RealClock())
    with pytest.raises(StoreUnavailable, match="etcd"):
        await store.open()


async def test_two_api_servers_agree(member, tmp_path):
    def store():
        return EtcdStore(member.urls, RealClock(), prefix=str(tmp_path))

    async with running(store=store()) as one, running(store=store()) as two:
        a, b = (Client(InProcessTransport(s)) for s in (one, two))
        for number in range(20):
            made = await a.create(CONFIG_MAPS, {"metadata": {"name": f"c{number}", "namespace": "default"}})
            assert await b.get(CONFIG_MAPS, f"c{number}", "default") == made
            await b.patch(CONFIG_MAPS, f"c{number}", {"data": {"n": str(number)}}, "default")
            await a.patch(CONFIG_MAPS, f"c{number}", {"data": {"m": str(number)}}, "default")
            both = await b.get(CONFIG_MAPS, f"c{number}", "default")
            assert both["data"] == {"n": str(number), "m": str(number)}
        assert len((await b.list(CONFIG_MAPS, "default"))["items"]) == 20
