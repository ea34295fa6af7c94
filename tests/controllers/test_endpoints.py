"""Endpoints, EndpointSlices and their mirroring."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybernetes.api.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES
from pybernetes.controllers.endpoints.decide import repack
from pybernetes.controllers.endpoints.selection import find_port
from pybernetes.controllers.endpointslice import decide
from pybernetes.controllers.endpointslice.packing import blank_slice, identity, pack, recycle

BOTH = ("endpoints-controller", "endpointslice-controller")


def service(name="web", selector=None, ports=None, **spec):
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": name} if selector is None else selector or None,
            "clusterIP": "10.0.0.1",
            "ipFamilies": ["IPv4"],
            "ports": ports or [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            **spec,
        },
    }


def pod(name, ip, *, ready=True, app="web", node="n1", ports=None, **status):
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": ports or []}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions, **status},
    }


def test_ready_and_other_pods(virtually):
    async def main(world):
        async def body():
            world.api.node("n1")
            world.api.create(SERVICES, service())
            world.api.create(PODS, pod("a", "10.1.0.1"))
            world.api.create(PODS, pod("b", "10.1.0.2", ready=False))
            world.api.create(PODS, pod("other", "10.1.0.3", app="other"))
            world.api.create(PODS, pod("no-ip", ""))
            await world.settle()
            endpoints = world.api.get(ENDPOINTS, "default", "web")
            (subset,) = endpoints["subsets"]
            assert [a["ip"] for a in subset["addresses"]] == ["10.1.0.1"]
            assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.1.0.2"]
            assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
            assert endpoints["metadata"]["labels"] == {
                "team": "a",
                "endpoints.kubernetes.io/managed-by": "endpoint-controller",
            }
            (slice_,) = world.api.all(ENDPOINT_SLICES)
            conditions = {e["addresses"][0]: e["conditions"] for e in slice_["endpoints"]}
            assert conditions["10.1.0.1"] == {"ready": True, "serving": True, "terminating": False}
            assert conditions["10.1.0.2"] == {"ready": False, "serving": False, "terminating": False}
            assert slice_["metadata"]["labels"] == {
                "team": "a",
                "kubernetes.io/service-name": "web",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            }
            world.api.remove(PODS, "default", "a")
            await world.settle()
            (slice_,) = world.api.all(ENDPOINT_SLICES)
            conditions = {e["addresses"][0]: e["conditions"] for e in slice_["endpoints"]}
            assert conditions["10.1.0.1"] == {"ready": False, "serving": True, "terminating": True}
            assert "addresses" not in world.api.get(ENDPOINTS, "default", "web")["subsets"][0]

        await world.managed(body, *BOTH)

    virtually(main)


def test_a_service_without_pods_has_one_empty_slice_that_is_used_later(virtually):
    async def main(world):
        async def body():
            world.api.node("n1")
            world.api.create(SERVICES, service())
            await world.settle()
            (placeholder,) = world.api.all(ENDPOINT_SLICES)
            assert placeholder["endpoints"] == [] and placeholder["ports"] == []
            world.api.create(PODS, pod("a", "10.1.0.1"))
            await world.settle()
            (slice_,) = world.api.all(ENDPOINT_SLICES)
            assert slice_["metadata"]["name"] == placeholder["metadata"]["name"] and len(slice_["endpoints"]) == 1
            writes = len(world.api.log)
            world.api.update(PODS, {**world.api.get(PODS, "default", "a"), "spec": {"nodeName": "n1", "x": 1}})
            await world.settle()
            assert len(world.api.log) == writes

        await world.managed(body, *BOTH)

    virtually(main)


def test_a_pod_waits_for_its_node(virtually):
    async def main(world):
        async def body():
            world.api.create(SERVICES, service())
            world.api.create(PODS, pod("a", "10.1.0.1", node="late"))
            await world.settle()
            assert world.api.all(ENDPOINT_SLICES)[0]["endpoints"] == []
            world.api.node("late")
            await world.settle()
            assert len(world.api.all(ENDPOINT_SLICES)[0]["endpoints"]) == 1

        await world.managed(body, *BOTH)

    virtually(main)


def test_endpoints_go_with_the_service(virtually):
    async def main(world):
        async def body():
            world.api.create(SERVICES, service())
            await world.settle()
            world.api.remove(SERVICES, "default", "web")
            await world.settle()
            assert world.api.all(ENDPOINTS) == []

        await world.managed(body, *BOTH)

    virtually(main)


def test_what_people_write_without_a_service_stays(virtually):
    """Upstream clears such leftovers when the controller starts, and leaves them alone after."""
    written = {"metadata": {"name": "db", "namespace": "default"}, "subsets": [{"addresses": [{"ip": "10.9.9.9"}]}]}

    async def main(world):
        world.api.create(ENDPOINTS, {**written, "metadata": {"name": "stale", "namespace": "default"}})

        async def body():
            await world.settle()
            assert world.api.all(ENDPOINTS) == []
            made = world.api.create(ENDPOINTS, written)
            await world.settle()
            world.api.update(ENDPOINTS, {**made, "metadata": {**made["metadata"], "labels": {"a": "b"}}})
            await world.settle()
            assert [e["metadata"]["name"] for e in world.api.all(ENDPOINTS)] == ["db"]
            # Those of a Service are kept as the Service wants them.
            world.api.create(SERVICES, service())
            await world.settle()
            ours = world.api.get(ENDPOINTS, "default", "web")
            world.api.update(ENDPOINTS, {**ours, "subsets": written["subsets"]})
            await world.settle()
            assert world.api.get(ENDPOINTS, "default", "web")["subsets"] == []
            world.api.remove(ENDPOINTS, "default", "web")
            await world.settle()
            assert world.api.get(ENDPOINTS, "default", "web")["subsets"] == []

        await world.managed(body, *BOTH)

    virtually(main)


def test_mirrors_what_people_write(virtually):
    async def main(world):
        async def body():
            world.api.create(SERVICES, service(selector={}))
            subsets = [
                {"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "ports": [{"port": 80, "protocol": "TCP"}]}
            ]
            world.api.create(ENDPOINTS, {"metadata": {"name": "web", "namespace": "default"}, "subsets": subsets})
            await world.settle()
            slices = {s["addressType"]: s for s in world.api.all(ENDPOINT_SLICES)}
            assert slices["IPv4"]["endpoints"][0]["addresses"] == ["192.0.2.1"]
            assert slices["IPv6"]["endpoints"][0]["addresses"] == ["2001:db8::1"]
            assert slices["IPv4"]["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
            existing = world.api.get(ENDPOINTS, "default", "web")
            world.api.update(
                ENDPOINTS, {**existing, "subsets": [{"addresses": [{"ip": "192.0.2.9"}], "ports": subsets[0]["ports"]}]}
            )
            await world.settle()
            (left,) = world.api.all(ENDPOINT_SLICES)
            assert left["endpoints"][0]["addresses"] == ["192.0.2.9"]
            world.api.remove(SERVICES, "default", "web")
            await world.settle()
            assert world.api.all(ENDPOINT_SLICES) == []

        await world.managed(body, "endpointslice-mirroring-controller")

    virtually(main)


def test_named_ports_are_found_in_containers_and_sidecars():
    spec = {
        "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}],
        "initContainers": [
            {"name": "i", "ports": [{"name": "init", "containerPort": 1}]},
            {"name": "s", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9}]},
        ],
    }
    ports = [find_port({"spec": spec}, {"port": 80, "targetPort": t}) for t in ("web", "side", "init", 7, None)]
    assert ports == [8080, 9, None, 7, 80]


def test_repacking_groups_by_ports():
    one = {"addresses": [{"ip": "a"}], "ports": [{"port": 1}]}
    two = {"addresses": [{"ip": "a"}], "ports": [{"port": 2}]}
    three = {"addresses": [{"ip": "b"}], "ports": [{"port": 1}, {"port": 2}]}
    assert repack([two, one, three]) == [{"addresses": [{"ip": "a"}, {"ip": "b"}], "ports": [{"port": 1}, {"port": 2}]}]


def _endpoint(n):
    return {"addresses": [f"10.0.{n // 250}.{n % 250}"], "conditions": {"ready": True}, "nodeName": "n"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=8), st.integers(0, 1000))
def test_packing_always_ends_with_the_desired_set(history, seed):
    """Whatever came before: each endpoint once, no slice too full, and nothing is written when nothing changed."""
    rng, names = random.Random(seed), iter(range(10_000))
    owner = {"metadata": {"name": "web", "namespace": "default", "uid": "u"}}
    slices = {}
    for wanted in history:
        desired = {identity(_endpoint(n)): _endpoint(n) for n in rng.sample(sorted(wanted), len(wanted))}
        blank = blank_slice(owner, {}, [], "IPv4", {"l": "v"})
        for round_ in range(2):
            changes = recycle(pack(list(slices.values()), dict(desired), blank, 5))
            if round_:
                assert not (changes.create or changes.update or changes.delete)
            for s in changes.create:
                name = f"s{next(names)}"
                slices[name] = {**s, "metadata": {**s["metadata"], "name": name}}
            for s in changes.update:
                slices[s["metadata"]["name"]] = s
            for s in changes.delete:
                del slices[s["metadata"]["name"]]
        found = [identity(e) for s in slices.values() for e in s["endpoints"]]
        assert sorted(found) == sorted(desired) and all(len(s["endpoints"]) <= 5 for s in slices.values())


@pytest.mark.parametrize(
    ("wish", "hints"),
    [
        (None, None),
        ("PreferClose", {"forZones": [{"name": "z1"}]}),
        ("PreferSameNode", {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}),
    ],
)
def test_hints_follow_the_traffic_distribution(wish, hints):
    made = service(trafficDistribution=wish)
    made["metadata"]["uid"] = "u"
    a = pod("a", "10.1.0.1")
    a["metadata"]["uid"] = "p"
    plan = decide.decide(decide.Snapshot(made, [a], [], {"n1": "z1"}))
    assert plan.commands[0].obj["endpoints"][0].get("hints") == hints
