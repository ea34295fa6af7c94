"""Node ports and cluster addresses: claimed in the store, on every engine, and repaired where they are not."""

import asyncio
import shutil

import orjson
import pytest

from apiserver.conftest import running
from pybernetes.api.errors import StatusError
from pybernetes.api.resources import EVENTS, IP_ADDRESSES, SERVICES
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.apiserver.nodeports import CLAIMS
from pybernetes.apiserver.server import ServerConfig
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock
from pybernetes.storage.etcd import EtcdStore
from pybernetes.storage.memory import MemoryStore
from pybernetes.storage.sqlite import SqliteStore
from storage.members import Members


class Later(RealClock):
    """A clock whose wall time can be moved."""

    passed = 0.0

    def now(self):
        return super().now() + self.passed


PATH = "/api/v1/namespaces/default/services"


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    if shutil.which("etcd") is None:
        pytest.skip("needs an etcd binary on the PATH")
    members = Members(tmp_path_factory.mktemp("etcd"), 1)
    yield members
    members.stop()


@pytest.fixture(params=["memory", "sqlite", pytest.param("etcd", marks=pytest.mark.etcd)])
def make_store(request, tmp_path):
    if request.param == "memory":
        return lambda: MemoryStore(RealClock())
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "state.db", RealClock())
    urls = request.getfixturevalue("member").urls
    return lambda: EtcdStore(urls, RealClock(), prefix=str(tmp_path))


def service(name, *ports, kind="NodePort", **spec):
    listed = [{"port": 80 + n, "name": f"p{n}", **({"nodePort": p} if p else {})} for n, p in enumerate(ports or [0])]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"type": kind, "ports": listed, **spec}}


def ports_of(found):
    numbers = {p["nodePort"] for p in found["spec"]["ports"] if p.get("nodePort")}
    return numbers | {n for n in [found["spec"].get("healthCheckNodePort")] if n}


async def claims(server):
    page = await server.store.list(CLAIMS)
    return {int(kv.key.removeprefix(CLAIMS)) for kv in page.items}


async def refused(awaitable):
    with pytest.raises(StatusError) as caught:
        await awaitable
    return caught.value


async def test_a_claim_lives_as_long_as_its_use(make_store):
    async with running(store=make_store()) as server:
        client = Client(InProcessTransport(server))
        made = await client.create(SERVICES, service("a", 30100, 0))
        assert 30100 in ports_of(made) and await claims(server) == ports_of(made)
        taken = await refused(client.create(SERVICES, service("b", 0, 30100)))
        assert taken.message == (
            'Service "b" is invalid: spec.ports[1].nodePort: Invalid value: 30100: provided port is already allocated'
        )
        outside = await refused(client.create(SERVICES, service("b", 0, 29999)))
        assert outside.message.endswith("The range of valid ports is 30000-32767")
        assert await claims(server) == ports_of(made), "a refused write leaves nothing"
        made["spec"]["ports"][1]["nodePort"] = 30200
        moved = await client.update(SERVICES, made)
        assert await claims(server) == {30100, 30200}
        moved["spec"]["type"] = "ClusterIP"
        await client.update(SERVICES, moved)
        assert await claims(server) == set()
        await client.patch(
            SERVICES, "a", {"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}}, "default"
        )
        held = ports_of(await client.get(SERVICES, "a", "default"))
        assert len(held) == 3 and await claims(server) == held
        await client.delete(SERVICES, "a", "default")
        assert await claims(server) == set()


async def test_the_last_finalizer_takes_addresses_and_ports_with_it(make_store):
    async with running(store=make_store()) as server:
        client = Client(InProcessTransport(server))
        wanted = service("a", kind="LoadBalancer")
        wanted["metadata"]["finalizers"] = ["example.com/wait"]
        made = await client.create(SERVICES, wanted)
        await client.delete(SERVICES, "a", "default")
        assert await claims(server) == ports_of(made)
        await client.patch(SERVICES, "a", {"metadata": {"finalizers": None}}, "default")
        assert await claims(server) == set()
        assert (await refused(client.get(IP_ADDRESSES, made["spec"]["clusterIP"]))).code == 404


async def test_a_dry_run_claims_nothing(make_store):
    async with running(store=make_store()) as server:
        client = Client(InProcessTransport(server))
        await client.create(SERVICES, service("a", 30100))
        shown = await dry(server, "POST", PATH, service("b", 0, 30101, 30102))
        assert len(ports_of(shown)) == 3
        assert (await refused(dry(server, "POST", PATH, service("b", 30100)))).code == 422
        await dry(server, "DELETE", f"{PATH}/a")
        assert await claims(server) == {30100}


async def dry(server, method, path, body=None):
    return await server.loopback(method, f"{path}?dryRun=All", body)


@pytest.mark.etcd
async def test_two_servers_never_give_one_port_twice(member, tmp_path):
    """Twice as many Services at once as there are ports, half at each server; some ask for the same ports by number."""
    config = {"service_node_port_range": (30000, 30039), "service_cluster_ip_ranges": ("10.0.0.0/26",)}

    def store():
        return EtcdStore(member.urls, RealClock(), prefix=str(tmp_path))

    async with (
        running(ServerConfig(**config), store=store()) as one,
        running(ServerConfig(**config), store=store()) as two,
    ):
        clients = [Client(InProcessTransport(s)) for s in (one, two)]

        async def make(number):
            asked = 30000 + number % 5 if number < 20 else 0
            try:
                return await clients[number % 2].create(SERVICES, service(f"s{number}", asked))
            except StatusError as failure:
                assert "already allocated" in failure.message or "range is full" in failure.message
                return None

        made = [m for m in await asyncio.gather(*(make(n) for n in range(80))) if m is not None]
        ports = [p for m in made for p in ports_of(m)]
        assert sorted(ports) == list(range(30000, 30040))
        addresses = [m["spec"]["clusterIP"] for m in made]
        assert len(set(addresses)) == len(addresses)
        assert await claims(one) == set(ports)
        await asyncio.gather(
            *(clients[n % 2].delete(SERVICES, m["metadata"]["name"], "default") for n, m in enumerate(made))
        )
        assert await claims(two) == set()
        left = {i["metadata"]["name"] for i in (await clients[0].list(IP_ADDRESSES))["items"]}
        assert left == {"10.0.0.1"}, "the kubernetes Service's own"


async def events(client):
    return {(e["reason"], e["message"]) for e in (await client.list(EVENTS, "default"))["items"]}


async def test_missing_claims_are_made_and_leaked_ones_freed(make_store):
    async with running(store=make_store()) as server:
        client, repair = Client(InProcessTransport(server)), server.repair
        await repair.looked.wait()
        made = await client.create(SERVICES, service("a", 30100))
        address = made["spec"]["clusterIP"]
        await server.store.delete(f"{CLAIMS}30100")
        await server.store.put(f"{CLAIMS}30300", orjson.dumps({"uid": "nobody"}), expected=0)
        await client.delete(IP_ADDRESSES, address)
        await repair.once()
        assert await claims(server) == {30100, 30300}
        assert (await client.get(IP_ADDRESSES, address))["spec"]["parentRef"]["name"] == "a"
        assert await events(client) >= {
            ("PortNotAllocated", "Port 30100 is not allocated; repairing"),
            ("ClusterIPNotAllocated", f"Cluster IP [IPv4]: {address} is not allocated; repairing"),
        }
        await repair.once()
        assert 30300 in await claims(server), "a Service may be about to be written"
        await repair.once()
        assert await claims(server) == {30100}
        await client.delete(SERVICES, "a", "default")
        assert await claims(server) == set(), "what was repaired is released like any other"
        text = "\n".join(repair.lines())
        assert 'apiserver_nodeport_repair_port_errors_total{type="leak"} 1' in text
        assert "kube_apiserver_nodeport_allocator_allocated_ports 0" in text


async def test_a_claim_that_is_used_in_the_meantime_is_no_leak(make_store):
    async with running(store=make_store()) as server:
        client, repair = Client(InProcessTransport(server)), server.repair
        await repair.looked.wait()
        for _ in range(2):
            await server.store.put(f"{CLAIMS}30300", orjson.dumps({"uid": "nobody"}))
            await repair.once()
            await repair.once()
        assert await claims(server) == {30300}, "counted anew, because it was claimed anew"
        await repair.once()
        assert await claims(server) == set()
        assert 30300 in ports_of(await client.create(SERVICES, service("a", 30300)))


async def test_ports_of_two_services_are_told_and_the_holder_keeps_its_claim(make_store):
    store = make_store()
    async with running(store=store) as server:
        client, repair = Client(InProcessTransport(server)), server.repair
        await repair.looked.wait()
        await client.create(SERVICES, service("a", 30100))
        twin = await client.create(SERVICES, service("b", 30101))
        kept = await server.store.get("/registry/services/specs/default/b")
        stored = orjson.loads(kept.value)
        stored["spec"]["ports"][0]["nodePort"] = 30100
        stored["spec"]["ports"].append({"port": 99, "nodePort": 20000, "name": "far", "protocol": "TCP"})
        await server.hub.wait_for(await server.store.put(kept.key, orjson.dumps(stored), expected=kept.revision))
        await repair.once()
        assert await events(client) == {
            ("PortAlreadyAllocated", "Port 30100 was assigned to multiple services; please recreate service"),
            ("PortOutOfRange", "Port 20000 is not within the port range 30000-32767; please recreate service"),
        }
        await repair.once()
        assert len(await events(client)) == 2, "said once"
        await client.delete(SERVICES, twin["metadata"]["name"], "default")
        assert 30100 in await claims(server), "another's claim is not released"


async def test_addresses_of_nobody_are_deleted_after_a_minute():
    clock = Later()
    async with running(clock=clock, store=MemoryStore(clock)) as server:
        client, repair = Client(InProcessTransport(server)), server.repair
        await repair.looked.wait()
        made = await client.create(SERVICES, service("a", kind="ClusterIP"))
        for address, name in (("10.96.7.7", "gone"), ("10.96.7.8", "a")):
            labels = {
                "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"
            }  # fmt: skip
            parent = {"resource": "services", "namespace": "default", "name": name}
            body = {"metadata": {"name": address, "labels": labels}, "spec": {"parentRef": parent}}
            await client.create(IP_ADDRESSES, body)
        await repair.once()
        assert len((await client.list(IP_ADDRESSES))["items"]) == 4
        clock.passed = 61.0
        await repair.once()
        left = {i["metadata"]["name"] for i in (await client.list(IP_ADDRESSES))["items"]}
        assert left == {"10.96.0.1", made["spec"]["clusterIP"]}
        assert await events(client) == {
            (
                "IPAddressNotAllocated",
                "IPAddress: 10.96.7.7 for Service default/gone appears to have leaked: cleaning up",
            ),
            (
                "IPAddressWrongReference",
                "IPAddress: 10.96.7.8 for Service default/a has a wrong reference; cleaning up",
            ),
        }
