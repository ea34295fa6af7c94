"""The DNS component over a real API server: objects become names, a ConfigMap says whom else to ask, noise changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import dns.message
import dns.rcode
import dns.reversename
import pytest
from tests.dns.test_server import ask, serving

from pybernetes.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, NAMESPACES, SERVICES
from pybernetes.client.informer import InformerFactory
from pybernetes.concurrency import RealClock
from pybernetes.dns.cluster_dns import ClusterDns
from pybernetes.dns.forward import MAX_CONCURRENT, Forwarder, ForwardError, address_of
from pybernetes.dns.records import Zone
from pybernetes.testing.cluster import start_cluster


@contextlib.asynccontextmanager
async def cluster_dns(tmp_path):
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("search example.org\n")
    clock = RealClock()
    async with start_cluster(nodes=0, controllers=(), schedule=False) as cluster:
        for name in ("default", "kube-system"):
            with contextlib.suppress(Exception):
                await cluster.client.create(NAMESPACES, {"metadata": {"name": name}})
        factory = InformerFactory(cluster.client, clock)
        component = ClusterDns(
            cluster.client, factory, clock, host="127.0.0.1", port=0, resolv_conf=resolv, rng=random.Random(1)
        )
        tasks = [asyncio.create_task(factory.run()), asyncio.create_task(component.run())]
        try:
            await until(lambda: bool(component.server.addresses))
            yield cluster.client, component
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) for r in results), results


async def until(found):
    for _ in range(1000):
        if found():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true")


async def answers(server, name, kind="A"):
    found = await ask(server, name, kind)
    return sorted(str(r) for rrset in found.answer for r in rrset)


def headless(name, *endpoints):
    return (
        {"metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}},
        {
            "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        },
    )


async def test_objects_become_names_and_leave_again(tmp_path):
    async with cluster_dns(tmp_path) as (client, component):
        for name in ("db", "copy"):
            service, endpoint_slice = headless(
                name,
                {"addresses": ["10.244.0.7"], "hostname": "db-0", "conditions": {"ready": True}},
                {"addresses": ["10.244.0.8"], "conditions": {"ready": False}},
            )
            await client.create(SERVICES, service, "default")
            await client.create(ENDPOINT_SLICES, endpoint_slice, "default")
        server = component.server
        await until(lambda: component.zone.covers("7.0.244.10.in-addr.arpa") and "copy" in str(component.zone._names))
        assert await answers(server, "db.default.svc.cluster.local") == ["10.244.0.7"]
        assert await answers(server, "db-0.db.default.svc.cluster.local") == ["10.244.0.7"]
        assert await answers(server, "_sql._tcp.db.default.svc.cluster.local", "SRV") == [
            "0 100 5432 db-0.db.default.svc.cluster.local."
        ]
        # A pod behind two Services has two names.
        assert await answers(server, "7.0.244.10.in-addr.arpa", "PTR") == [
            "db-0.copy.default.svc.cluster.local.",
            "db-0.db.default.svc.cluster.local.",
        ]
        assert (await answers(server, "cluster.local", "SOA"))[0].startswith("ns.dns.cluster.local. hostmaster.")
        assert await answers(server, "cluster.local", "NS") == ["ns.dns.cluster.local."]
        assert await answers(server, "dns-version.cluster.local", "TXT") == ['"1.1.0"']
        await client.delete(SERVICES, "db", "default")
        await until(lambda: "db-0.db" not in str(component.zone._names))
        assert (await ask(server, "db.default.svc.cluster.local")).rcode() == dns.rcode.NXDOMAIN


async def test_the_config_map_is_read_again_and_nonsense_changes_nothing(tmp_path):
    other = Zone("example.com")
    other.set_service({"metadata": {"name": "a", "namespace": "b"}, "spec": {"clusterIP": "192.0.2.1"}})
    async with serving(other) as upstream, cluster_dns(tmp_path) as (client, component):
        address = "{}:{}".format(*upstream.addresses[0])
        forwarder = component.server.forwarder
        meta = {"name": "kube-dns"}
        stubs = {"stubDomains": f'{{"Example.com.": ["{address}"]}}'}
        await client.create(CONFIG_MAPS, {"metadata": meta, "data": stubs}, "kube-system")
        await until(lambda: bool(forwarder.stub_domains))
        assert await answers(component.server, "a.b.svc.example.com") == ["192.0.2.1"]
        for nonsense in ("{", "[]", '{"a": "b"}', '{"a": [1]}', '{"a": ["host:port"]}', '{"a": ["192.0.2.1:99999"]}'):
            seen = len(component._config.list())
            await client.patch(CONFIG_MAPS, "kube-dns", {"data": {"stubDomains": nonsense}}, "kube-system")
            await until(lambda n=nonsense: component._config.list()[0]["data"]["stubDomains"] == n)
            assert seen == 1 and list(forwarder.stub_domains) == ["example.com"], nonsense
        assert await answers(component.server, "a.b.svc.example.com") == ["192.0.2.1"]
        await client.patch(
            CONFIG_MAPS,
            "kube-dns",
            {"data": {"stubDomains": None, "upstreamNameservers": f'["{address}"]'}},
            "kube-system",
        )
        await until(lambda: forwarder.upstreams == [address])
        await client.delete(CONFIG_MAPS, "kube-dns", "kube-system")
        await until(lambda: forwarder.upstreams == [] and not forwarder.stub_domains)


async def test_noise_over_real_sockets_leaves_the_component_alive(tmp_path):
    rng = random.Random(7)
    async with cluster_dns(tmp_path) as (client, component):
        await client.create(
            SERVICES,
            {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}},
            "default",
        )
        await until(lambda: "web" in str(component.zone._names))
        host, port = component.server.addresses[0]
        good = dns.message.make_query("web.default.svc.cluster.local", "A").to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noisy:
            for _ in range(2000):
                packet = bytearray(good if rng.random() < 0.7 else rng.randbytes(rng.randrange(80)))
                for _ in range(rng.randrange(1, 5)):
                    if packet:
                        packet[rng.randrange(len(packet))] = rng.randrange(256)
                noisy.sendto(packet, (host, port))
                if rng.random() < 0.05:
                    await asyncio.sleep(0)
        for data in (b"\x00", b"\xff\xff" + b"x" * 100, b"\x00\x05abcde", b"\x00\x1d" + good):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(data)
            writer.write_eof()
            await reader.read()
            writer.close()
        assert await answers(component.server, "web.default.svc.cluster.local") == ["10.96.0.5"]


def test_servers_are_addresses():
    assert address_of("192.0.2.1") == ("192.0.2.1", 53)
    assert address_of("192.0.2.1:5353") == ("192.0.2.1", 5353)
    assert address_of("2001:db8::1") == ("2001:db8::1", 53)
    assert address_of("[2001:db8::1]:5353") == ("2001:db8::1", 5353)
    for bad in ("", "example.com", "192.0.2.1:0", "192.0.2.1:x", "[192.0.2.1"):
        with pytest.raises(ValueError):
            address_of(bad)


async def test_a_flood_of_foreign_names_is_bounded():
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    with silent:
        forwarder = Forwarder([f"127.0.0.1:{silent.getsockname()[1]}"], RealClock())
        forwarder._under_way = MAX_CONCURRENT
        query = dns.message.make_query("example.com", "A").to_wire()
        with pytest.raises(ForwardError, match="under way"):
            await forwarder.ask(query, "example.com", True)
        assert forwarder.rejected == 1


async def test_an_answer_to_another_question_is_not_taken():
    """Whoever guesses the id must have the question right too."""
    loop = asyncio.get_running_loop()

    class Forger(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, sender):
            forged = dns.message.make_response(
                dns.message.make_query("evil.example", "A", id=int.from_bytes(data[:2], "big"))
            )
            for answer in (forged.to_wire(), data, dns.message.make_response(dns.message.from_wire(data)).to_wire()):
                self.transport.sendto(answer, sender)

    transport, _ = await loop.create_datagram_endpoint(Forger, local_addr=("127.0.0.1", 0))
    try:
        forwarder = Forwarder(["127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])], RealClock())
        query = dns.message.make_query("Good.example", "A")
        answer = dns.message.from_wire(await forwarder.ask(query.to_wire(), "good.example", True))
        assert answer.question == query.question and answer.flags & 0x8000
    finally:
        transport.close()
