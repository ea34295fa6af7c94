"""From Services to elements: what a change of endpoints touches."""

import random

from pybernetes.proxy.model import Choice, PortName, ServicePort
from pybernetes.proxy.service_rules import ServiceRules, reorder

T = [(f"10.244.0.{i}", 80) for i in range(1, 9)]


def port(name="web", **fields):
    return ServicePort(PortName("default", name, "http"), 6, 80, "10.96.0.9", **fields)


def test_endpoints_keep_their_places():
    assert reorder((), T[:3]) == tuple(T[:3])
    assert reorder(T[:4], [T[0], T[3]]) == (T[0], T[3])
    assert reorder(T[:4], [T[5], *T[1:4]]) == (T[5], *T[1:4])
    assert reorder(T[:4], [T[3], T[2], T[1]]) == (T[3], T[1], T[2])
    assert reorder(T[:2], []) == ()


def test_places_have_no_gaps_and_no_doubles():
    rng, places = random.Random(3), ()
    for _ in range(200):
        wanted = rng.sample(T, rng.randrange(len(T)))
        after = reorder(places, wanted)
        assert sorted(after) == sorted(wanted)
        kept = sum(1 for a, b in zip(places, after, strict=False) if a == b)
        assert kept >= min(len([t for t in places if t in wanted]), len(after)) - len(places) + len(
            [t for t in places if t in wanted]
        )
        places = after


def test_replacing_an_endpoint_replaces_one_element():
    rules = ServiceRules()
    rules.set_service("default/web", [(port(), Choice(tuple(T[:5]), (), True))])
    first = rules.take_update()
    assert [c.name for c in first.chains] == ["balance-5"]
    rules.set_service("default/web", [(port(), Choice((*T[:4], T[6]), (), True))])
    update = rules.take_update()
    assert not update.chains and not update.sets
    assert {name: len(found) for name, found in update.changes.add.items()} == {"endpoints": 1, "hairpin": 1}
    assert {name: len(found) for name, found in update.changes.delete.items()} == {"endpoints": 1, "hairpin": 1}


def test_a_deleted_service_leaves_nothing():
    rules = ServiceRules()
    rules.set_node_ips(["172.30.0.10"])
    ports = [
        (port(node_port=30000, affinity_seconds=60, external_local=True), Choice(tuple(T[:5]), tuple(T[:2]), True))
    ]
    rules.set_service("default/web", ports)
    rules.take_update()
    assert len(rules.contents) > 10
    rules.set_service("default/web", [])
    update = rules.take_update()
    assert len(rules.contents) == 0 and not update.changes.add
    assert not update.touches_udp


def test_clients_are_forgotten_when_their_endpoint_goes():
    rules = ServiceRules()
    rules.set_service("default/web", [(port(affinity_seconds=60), Choice(tuple(T[:2]), (), True))])
    assert not rules.take_update().departed
    rules.set_service("default/web", [(port(affinity_seconds=60), Choice(tuple(T[:1]), (), True))])
    ((number, target),) = rules.take_update().departed
    assert target == T[1]
    again = ServiceRules()
    again.set_service("default/web", [(port(affinity_seconds=60), Choice(tuple(T[:2]), (), True))])
    again.set_service("default/web", [(port(affinity_seconds=60), Choice(tuple(T[:1]), (), True))])
    assert again.take_update().departed == [(number, target)]


def test_two_services_with_one_external_address():
    rules = ServiceRules()
    first, second = port("a", external_ips=("192.0.2.1",)), port("b", external_ips=("192.0.2.1",))
    second = ServicePort(second.name, 6, 80, "10.96.0.10", external_ips=("192.0.2.1",))
    rules.set_service("default/a", [(first, Choice((T[0],), (), True))])
    rules.set_service("default/b", [(second, Choice((T[1],), (), True))])
    rules.contents.validate_state()
    rules.set_service("default/a", [])
    rules.contents.validate_state()
    assert len(rules.contents.of_set("endpoints")) == 2
