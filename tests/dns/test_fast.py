"""The quick path says what the general one says."""

import random

import dns.flags
import dns.message
import pytest

from pybernetes.concurrency import RealClock
from pybernetes.dns.fast import quick_answer
from pybernetes.dns.forward import Forwarder
from pybernetes.dns.records import Zone
from pybernetes.dns.server import TTL, DnsServer


@pytest.fixture
def zone():
    zone = Zone()
    zone.set_service({"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.5"}})
    headless = {"metadata": {"name": "db", "namespace": "default"}, "spec": {"clusterIP": "None", "ports": []}}
    zone.set_service(headless)
    labels = {"kubernetes.io/service-name": "db"}
    endpoints = [{"addresses": [f"10.244.0.{i}"], "hostname": f"db-{i}"} for i in (1, 2, 3)]
    zone.set_slice(
        {
            "metadata": {"name": "db-1", "namespace": "default", "labels": labels},
            "addressType": "IPv4",
            "ports": [],
            "endpoints": endpoints,
        }
    )
    external = {"type": "ExternalName", "externalName": "example.com"}
    zone.set_service({"metadata": {"name": "out", "namespace": "default"}, "spec": external})
    return zone


@pytest.mark.parametrize("edns", [False, 0])
@pytest.mark.parametrize("kind", ["A", "AAAA"])
@pytest.mark.parametrize("name", ["web", "WEB", "db", "db-2.db", "nobody", "10-0-0-1.pod"])
async def test_as_the_general_path(zone, name, kind, edns):
    whole = f"{name}.default.svc.cluster.local" if not name.endswith("pod") else "10-0-0-1.default.pod.cluster.local"
    packet = dns.message.make_query(whole, kind, use_edns=edns, payload=4096).to_wire()
    server = DnsServer(zone, Forwarder([], RealClock()), RealClock(), random.Random(1))
    found = quick_answer(packet, zone, TTL, lambda records: None)
    assert found is not None
    quick, general = dns.message.from_wire(found[0]), dns.message.from_wire(await server.answer(packet, True))
    assert (quick.id, quick.rcode(), quick.flags) == (general.id, general.rcode(), general.flags)
    assert quick.question == general.question
    assert [(r.name, r.ttl, set(r)) for r in quick.answer] == [(r.name, r.ttl, set(r)) for r in general.answer]
    assert [(r.name, r.ttl, set(r)) for r in quick.authority] == [(r.name, r.ttl, set(r)) for r in general.authority]
    assert quick.edns == general.edns


def test_what_is_not_plain_goes_the_general_way(zone):
    for name, kind in (
        ("example.com", "A"),
        ("web.default.svc.cluster.local", "SRV"),
        ("out.default.svc.cluster.local", "A"),
    ):
        assert quick_answer(dns.message.make_query(name, kind).to_wire(), zone, TTL, lambda r: None) is None
    odd = dns.message.make_query("web.default.svc.cluster.local", "A")
    odd.flags |= dns.flags.QR
    assert quick_answer(odd.to_wire(), zone, TTL, lambda r: None) is None


def test_any_bytes(zone):
    rng = random.Random(5)
    base = dns.message.make_query("web.default.svc.cluster.local", "A", use_edns=0).to_wire()
    for _ in range(5000):
        packet = bytearray(base)
        for _ in range(rng.randrange(4)):
            packet[rng.randrange(len(packet))] = rng.randrange(256)
        quick_answer(bytes(packet[: rng.randrange(len(packet) + 1)]), zone, TTL, lambda r: None)
