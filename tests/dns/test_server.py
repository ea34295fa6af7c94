"""The server over real sockets on the loopback, and under packets that are no DNS."""

import asyncio
import contextlib
import random
import socket

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybernetes.concurrency import RealClock
from pybernetes.dns.forward import Forwarder
from pybernetes.dns.metrics import handler
from pybernetes.dns.records import Zone
from pybernetes.dns.server import DnsServer
from pybernetes.streams.http_server import HttpRequest


@contextlib.asynccontextmanager
async def serving(zone, upstreams=(), stubs=None):
    server = DnsServer(zone, Forwarder(list(upstreams), RealClock(), stubs), RealClock())
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run("127.0.0.1", 0, started))
        await started.wait()
        yield server
        task.cancel()


async def ask(server, name, kind="A", tcp=False):
    host, port = server.addresses[0]
    query = dns.message.make_query(name, kind)
    return await (dns.asyncquery.tcp if tcp else dns.asyncquery.udp)(query, host, port=port, timeout=5)


@pytest.fixture
def zone():
    zone = Zone("cluster.local")
    zone.set_service({"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.5"}})
    zone.set_service({"metadata": {"name": "many", "namespace": "default"}, "spec": {"clusterIP": "None"}})
    zone.set_slice(
        {
            "metadata": {"name": "m", "namespace": "default", "labels": {"kubernetes.io/service-name": "many"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [f"10.1.{i // 250}.{i % 250 + 1}"]} for i in range(500)],
        }
    )
    return zone


async def test_the_same_question_twice_and_after_a_change(zone):
    async with serving(zone) as server:
        for _ in range(2):
            answer = await ask(server, "WEB.default.svc.cluster.local.")
            assert [r.address for r in answer.answer[0]] == ["10.96.0.5"]
            assert answer.flags & dns.flags.AA
        zone.set_service({"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.6"}})
        assert [r.address for r in (await ask(server, "WEB.default.svc.cluster.local.")).answer[0]] == ["10.96.0.6"]
        assert server.answered["cached"] == 1


async def test_no_such_name_carries_a_soa(zone):
    async with serving(zone) as server:
        answer = await ask(server, "nothing.default.svc.cluster.local")
        assert answer.rcode() == dns.rcode.NXDOMAIN
        assert answer.authority[0].rdtype == dns.rdatatype.SOA
        empty = await ask(server, "web.default.svc.cluster.local", "AAAA")
        assert empty.rcode() == dns.rcode.NOERROR and not empty.answer


async def test_what_does_not_fit_udp_is_had_by_tcp(zone):
    async with serving(zone) as server:
        short = await ask(server, "many.default.svc.cluster.local")
        assert short.flags & dns.flags.TC
        assert len((await ask(server, "many.default.svc.cluster.local", tcp=True)).answer[0]) == 500


async def test_others_are_asked_and_remembered(zone):
    other = Zone("example.com")
    other.set_service({"metadata": {"name": "a", "namespace": "b"}, "spec": {"clusterIP": "192.0.2.1"}})
    async with serving(other) as upstream:
        address = "{}:{}".format(*upstream.addresses[0])
        async with serving(zone, stubs={"example.com": [address]}) as server:
            for _ in range(3):
                answer = await ask(server, "a.b.svc.example.com")
                assert [r.address for r in answer.answer[0]] == ["192.0.2.1"]
            assert sum(upstream.answered.values()) == 1
            assert (await ask(server, "www.example.org")).rcode() == dns.rcode.SERVFAIL


async def test_an_alias_is_followed(zone):
    other = Zone("example.com")
    other.set_service({"metadata": {"name": "a", "namespace": "b"}, "spec": {"clusterIP": "192.0.2.1"}})
    zone.set_service(
        {
            "metadata": {"name": "ext", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "a.b.svc.example.com"},
        }
    )
    async with serving(other) as upstream:
        async with serving(zone, upstreams=["{}:{}".format(*upstream.addresses[0])]) as server:
            answer = await ask(server, "ext.default.svc.cluster.local")
            assert [r.rdtype for r in answer.answer] == [dns.rdatatype.CNAME, dns.rdatatype.A]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_noise_never_stops_the_server(zone, noise):
    server = DnsServer(zone, Forwarder([], RealClock()), RealClock())
    answer = asyncio.run(server.answer(noise, True))
    assert answer is None or answer[:2] == noise[:2]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_queries_never_stop_the_server(zone, data):
    server = DnsServer(zone, Forwarder([], RealClock()), RealClock())
    packet = bytearray(dns.message.make_query("web.default.svc.cluster.local", "A").to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    answer = asyncio.run(server.answer(bytes(packet), True))
    assert answer is None or answer[:2] == bytes(packet[:2])


async def test_nothing_that_comes_over_the_wire_stops_the_server():
    rng = random.Random(1)
    names = ("web.default.svc.cluster.local", "example.com", ".", "999-2-3-4.default.pod.cluster.local")
    base = [
        dns.message.make_query(name, kind, use_edns=edns).to_wire()
        for name in names
        for kind in ("A", "SRV", "PTR", "ANY", "SOA")
        for edns in (False, 0)
    ]
    server = DnsServer(Zone(), Forwarder([], RealClock()), RealClock())
    for _ in range(3000):
        packet = bytearray(rng.choice(base))
        for _ in range(rng.randrange(5)):
            if rng.random() < 0.3:
                del packet[rng.randrange(1, len(packet) + 1) :]
            elif rng.random() < 0.3:
                packet += rng.randbytes(rng.randrange(30))
            else:
                packet[rng.randrange(len(packet))] = rng.randrange(256)
        answer = await server.answer(bytes(packet), True)
        assert answer is None or answer[:2] == bytes(packet[:2])


async def test_counts_are_served():
    server = DnsServer(Zone(), Forwarder([], RealClock()), RealClock())
    await server.answer(dns.message.make_query("web.default.svc.cluster.local", "A").to_wire(), True)
    text = (await handler(server)(HttpRequest("GET", "/metrics"))).body.decode()
    assert 'coredns_dns_requests_total{outcome="cluster"} 1.0' in text
    assert "coredns_cache_entries 1.0" in text


async def test_a_port_that_is_free_for_one_protocol_only(monkeypatch):
    """TCP gets a port that UDP cannot have: both move to another."""
    loop = asyncio.get_running_loop()
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    start, asked = asyncio.start_server, []

    async def first_the_taken_one(callback, host, port):
        asked.append(port)
        return await start(callback, host, taken.getsockname()[1] if len(asked) == 1 else port)

    monkeypatch.setattr(asyncio, "start_server", first_the_taken_one)
    server = DnsServer(Zone("cluster.local"), Forwarder([], RealClock()), RealClock())
    with taken:
        started = asyncio.Event()
        task = loop.create_task(server.run("127.0.0.1", 0, started))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert asked == [0, 0] and server.addresses[0][1] != 0
