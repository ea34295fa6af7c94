"""The etcd engine against real members, one and three."""

import asyncio
import shutil
import signal
import ssl
import sys

import pytest
from click.testing import CliRunner

from apiserver.conftest import running
from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS, NAMESPACES
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.cli.main import cli
from pybernetes.client import signing
from pybernetes.client.rest import Client
from pybernetes.client.transport import HttpTransport, TransportError
from pybernetes.concurrency import RealClock
from pybernetes.storage import etcd
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


@pytest.mark.parametrize("lost", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
async def test_a_lost_leader_costs_no_request(tmp_path, lost):
    """The API server's own member leads, and is gone or, worse, silent: requests wait for the election and go on."""
    members = Members(tmp_path, 3)
    try:
        await opened_once(members)
        leader = await asyncio.to_thread(members.leader)
        urls = [members.urls[(leader + n) % 3] for n in range(3)]
        async with running(store=EtcdStore(urls, RealClock(), prefix="/x")) as server:
            client, made = Client(InProcessTransport(server)), []
            watched = asyncio.create_task(watched_names(client))

            async def write(worker):
                for number in range(40):
                    if worker == 0 and number == 15:
                        members.processes[leader].send_signal(lost)
                    name = f"c{worker}-{number}"
                    await client.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default"}})
                    made.append(name)
                    assert name in {i["metadata"]["name"] for i in (await client.list(CONFIG_MAPS, "default"))["items"]}

            async with RealClock().timeout(60):
                await asyncio.gather(*(write(n) for n in range(4)))
                await client.create(CONFIG_MAPS, {"metadata": {"name": "end", "namespace": "default"}})
                assert sorted(await watched) == sorted(made)
    finally:
        members.stop()


async def opened_once(members):
    """Returns when the members have a leader."""
    async with RealClock().timeout(30):
        while True:
            store = EtcdStore(members.urls, RealClock())
            try:
                await store.open()
            except StoreUnavailable:
                continue
            await store.close()
            return


async def watched_names(client):
    """What a watch sees until the object that is called ``end``."""
    seen = []
    async for event in client.watch(CONFIG_MAPS, "default", resource_version="0"):
        name = event.object["metadata"].get("name")
        if name == "end":
            break
        if event.type == "ADDED" and name != "kube-root-ca.crt":
            seen.append(name)
    return seen


async def test_no_member_is_said_plainly(monkeypatch):
    monkeypatch.setattr(etcd, "CALL_SECONDS", 1.0)
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


async def test_increments_at_two_servers_add_up(member, tmp_path):
    """Optimistic updates at both: none is lost, and what one server acknowledged the other reads."""

    def store():
        return EtcdStore(member.urls, RealClock(), prefix=str(tmp_path))

    async with running(store=store()) as one, running(store=store()) as two:
        clients = [Client(InProcessTransport(s)) for s in (one, two)]
        body = {"metadata": {"name": "n", "namespace": "default"}, "data": {"n": "0"}}
        await clients[0].create(CONFIG_MAPS, body)

        async def increment(worker):
            client, other = clients[worker % 2], clients[1 - worker % 2]
            for _ in range(15):
                while True:
                    found = await client.get(CONFIG_MAPS, "n", "default")
                    found["data"]["n"] = str(int(found["data"]["n"]) + 1)
                    try:
                        done = await client.update(CONFIG_MAPS, found)
                        break
                    except StatusError as failure:
                        assert failure.reason == "Conflict"
                seen = await other.get(CONFIG_MAPS, "n", "default")
                assert int(seen["data"]["n"]) >= int(done["data"]["n"])

        await asyncio.gather(*(increment(n) for n in range(6)))
        assert (await clients[1].get(CONFIG_MAPS, "n", "default"))["data"]["n"] == "90"


async def test_pages_and_watches_go_on_at_another_server(member, tmp_path):
    def store():
        return EtcdStore(member.urls, RealClock(), prefix=str(tmp_path))

    async with running(store=store()) as one, running(store=store()) as two:
        a, b = (Client(InProcessTransport(s)) for s in (one, two))

        # The server itself makes a config map sooner or later.
        mine, chosen = {"made": "here"}, "made=here"

        async def make(name):
            return await a.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default", "labels": mine}})

        for number in range(30):
            await make(f"c{number:02}")
        first = await a.list(CONFIG_MAPS, "default", limit=10, label_selector=chosen)
        await make("c05-late")
        await a.delete(CONFIG_MAPS, "c20", "default")
        token, names = first["metadata"]["continue"], [i["metadata"]["name"] for i in first["items"]]
        for client in (b, a):
            page = await client.list(CONFIG_MAPS, "default", limit=10, continue_token=token, label_selector=chosen)
            assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
            names += [i["metadata"]["name"] for i in page["items"]]
            token = page["metadata"].get("continue")
        assert names == [f"c{n:02}" for n in range(30)] and not token
        seen, since = [], first["metadata"]["resourceVersion"]
        async for event in b.watch(CONFIG_MAPS, "default", resource_version=since, label_selector=chosen):
            seen.append((event.type, event.object["metadata"]["name"]))
            if len(seen) == 2:
                break
        assert seen == [("ADDED", "c05-late"), ("DELETED", "c20")]


async def test_a_watch_from_a_revision_that_this_server_has_not_seen(member, tmp_path):
    """Nothing that came before that revision is told: it is waited for."""
    async with running(store=EtcdStore(member.urls, RealClock(), prefix=str(tmp_path))) as server:
        client = Client(InProcessTransport(server))
        at = server.hub.revision
        server.hub.revision = 0  # as if its store's news were late

        async def catch_up():
            made = await client.create(CONFIG_MAPS, {"metadata": {"name": "before", "namespace": "default"}})
            server.hub._advance(int(made["metadata"]["resourceVersion"]))
            await client.create(CONFIG_MAPS, {"metadata": {"name": "after", "namespace": "default"}})

        late = asyncio.ensure_future(catch_up())
        async for event in client.watch(CONFIG_MAPS, "default", resource_version=str(at + 1)):
            assert event.object["metadata"]["name"] != "before"
            break
        await late


# -- TLS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a server's and a client's pair, and a stranger's."""
    directory, now = tmp_path_factory.mktemp("tls"), RealClock().now()
    for ca, leaves in (("ca", ("server", "client")), ("other-ca", ("stranger",))):
        authority = signing.new_authority(ca, now=now, lifetime=3600)
        (directory / f"{ca}.crt").write_bytes(authority.pem)
        for leaf in leaves:
            subject = signing.Subject(leaf, (), ("127.0.0.1", "localhost"))
            usages = [*signing.SERVER_USAGES, *signing.CLIENT_USAGES]
            certificate, key = signing.issue(authority, subject, usages, now=now, lifetime=3600)
            (directory / f"{leaf}.crt").write_bytes(certificate)
            (directory / f"{leaf}.key").write_bytes(key)
    return directory


@pytest.fixture(scope="module")
def secured(certificates, tmp_path_factory):
    members = Members(tmp_path_factory.mktemp("etcd"), 1, certificates)
    yield members
    members.stop()


def tls_store(secured, certificates, client="client", ca="ca"):
    pair = {"certificate": str(certificates / f"{client}.crt"), "key": str(certificates / f"{client}.key")}
    return EtcdStore(secured.urls, RealClock(), ca=str(certificates / f"{ca}.crt"), **(pair if client else {}))


async def test_an_api_server_over_tls(secured, certificates):
    async with running(store=tls_store(secured, certificates)) as server:
        client = Client(InProcessTransport(server))
        made = await client.create(CONFIG_MAPS, {"metadata": {"name": "over-tls", "namespace": "default"}})
        assert await client.get(CONFIG_MAPS, "over-tls", "default") == made


async def test_by_flags(secured, certificates, tmp_path):
    """``p8s apiserver`` as a process of its own."""
    (port,) = free_ports(1)
    (tmp_path / "tokens.csv").write_text("secret,admin,1,system:masters\n")
    keys = tmp_path / "sa.key"
    keys.write_bytes(signing.key_to_pem(signing.new_key()))
    flags = {
        "etcd-servers": secured.urls[0], "etcd-cafile": certificates / "ca.crt", "etcd-keyfile": certificates / "client.key",
        "etcd-certfile": certificates / "client.crt", "secure-port": port, "cert-dir": tmp_path, "bind-address": "127.0.0.1",
        "token-auth-file": tmp_path / "tokens.csv", "service-account-signing-key-file": keys, "service-account-key-file": keys,
    }  # fmt: skip
    command = [sys.executable, "-c", "from pybernetes.cli.main import main; main()", "apiserver"]
    process = await asyncio.create_subprocess_exec(*command, *(f"--{k}={v}" for k, v in flags.items()))
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    client = Client(HttpTransport("127.0.0.1", port, tls=insecure, headers={"Authorization": "Bearer secret"}))
    try:
        async with RealClock().timeout(60):
            while True:
                try:
                    found = await client.get(NAMESPACES, "default")
                    break
                except (TransportError, StatusError):
                    await asyncio.sleep(0.05)
        assert found["metadata"]["name"] == "default"
        store = tls_store(secured, certificates)
        await store.open()
        assert await store.get("/registry/namespaces/default") is not None
        await store.close()
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


@pytest.mark.parametrize(("client", "ca"), [("", "ca"), ("stranger", "ca"), ("client", "other-ca"), ("missing", "ca")])
async def test_whom_etcd_does_not_trust_is_told_so(secured, certificates, client, ca, monkeypatch):
    monkeypatch.setattr(etcd, "CALL_SECONDS", 1.0)
    store = tls_store(secured, certificates, client, ca)
    with pytest.raises(
        StoreUnavailable, match="missing.crt cannot be read: No such file" if client == "missing" else "etcd"
    ):
        await store.open()


def test_snapshots_by_command_over_tls(secured, certificates, tmp_path):
    """Saved from etcd while it works, restored into another etcd that is empty; one that is not is refused."""
    names = (
        ("servers", secured.urls[0]),
        ("cafile", certificates / "ca.crt"),
        ("certfile", certificates / "client.crt"),
    )
    flags = [f"--etcd-{n}={v}" for n, v in (*names, ("keyfile", certificates / "client.key"))]
    file, run = str(tmp_path / "snap"), CliRunner().invoke

    async def written(store):
        await store.open()
        await store.put("/registry/things/one", b"{}")
        await store.close()

    asyncio.run(written(tls_store(secured, certificates)))
    saved = run(cli, ["snapshot", "save", file, *flags])
    assert saved.exit_code == 0 and saved.output.startswith("Saved ")
    refused = run(cli, ["snapshot", "restore", file, *flags])
    assert refused.exit_code and "holds objects already" in str(refused.exception)
    fresh = Members(tmp_path, 1)
    try:
        restored = run(cli, ["snapshot", "restore", file, f"--etcd-servers={fresh.urls[0]}"])
        assert restored.exit_code == 0, restored.exception
        assert restored.output.split()[1] == saved.output.split()[1]
        asyncio.run(holds(EtcdStore(fresh.urls, RealClock()), "/registry/things/one"))
    finally:
        fresh.stop()


async def holds(store, key):
    await store.open()
    assert (await store.get(key)).value == b"{}"
    await store.close()
