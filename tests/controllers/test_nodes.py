"""Nodes: life by leases, taints by condition, eviction, zones, pod garbage collection, address ranges."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybernetes.api.resources import EVENTS, NODES, PODS
from pybernetes.cluster.simulated import SimulatedNodes
from pybernetes.controllers.nodeipam.decide import RangeFull, Ranges
from pybernetes.controllers.nodelifecycle.decide import Limiter, ZoneState, zone_states
from pybernetes.controllers.settings import Settings
from pybernetes.controllers.tainteviction.decide import eviction_time
from pybernetes.controllers.taints import tolerates
from pybernetes.controllers.ttl.decide import next_step, seconds

from .helpers import condition

LIFE = ("node-lifecycle-controller", "taint-eviction-controller")


def taints(world, name):
    return {(t["key"].split("/")[1], t["effect"]) for t in world.api.get(NODES, "", name)["spec"].get("taints") or []}


def pod_on(world, node, name="p", **spec):
    return world.api.create(
        PODS,
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "containers": [{"name": "c"}], **spec},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        },
    )


@pytest.fixture
def with_nodes(virtually):
    def run(count, body, *controllers, settings=None):
        async def main(world):
            nodes = SimulatedNodes(world.client, world.clock, count, rng=world.rng)
            task = asyncio.get_running_loop().create_task(nodes.run())
            await nodes.registered.wait()
            try:
                return await world.managed(lambda: body(world, nodes), *(controllers or LIFE), settings=settings)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return virtually(main)

    return run


def test_a_silent_node_is_unknown_tainted_and_emptied(with_nodes):
    async def body(world, nodes):
        keep = [
            {
                "key": "node.kubernetes.io/unreachable",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
        ]
        pod_on(world, "sim-0", "leaves", tolerations=keep)
        pod_on(world, "sim-0", "intolerant")
        pod_on(world, "sim-0", "stays", tolerations=[{"operator": "Exists"}])
        pod_on(world, "sim-1", "elsewhere")
        await world.settle(120)
        assert condition(world.api.get(NODES, "", "sim-0"), "Ready") == ("True", "KubeletReady")
        nodes.stopped.add("sim-0")
        await world.settle(48)
        assert taints(world, "sim-0") == set()
        await world.settle(20)
        node = world.api.get(NODES, "", "sim-0")
        assert condition(node, "Ready") == ("Unknown", "NodeStatusUnknown")
        assert condition(node, "MemoryPressure") == ("Unknown", "NodeStatusUnknown")
        assert taints(world, "sim-0") == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
        assert condition(world.api.get(PODS, "default", "stays"), "Ready") == ("False", None)
        gone = world.api.get(PODS, "default", "intolerant")
        assert gone["metadata"]["deletionTimestamp"]
        assert condition(gone, "DisruptionTarget") == ("True", "DeletionByTaintManager")
        assert "deletionTimestamp" not in world.api.get(PODS, "default", "leaves")["metadata"]
        await world.settle(310)
        assert world.api.get(PODS, "default", "leaves")["metadata"]["deletionTimestamp"]
        assert "deletionTimestamp" not in world.api.get(PODS, "default", "stays")["metadata"]
        assert "deletionTimestamp" not in world.api.get(PODS, "default", "elsewhere")["metadata"]
        assert {"RegisteredNode", "NodeNotReady", "TaintManagerEviction"} <= {
            e["reason"] for e in world.api.all(EVENTS)
        }

    with_nodes(5, body)


def test_a_node_that_comes_back_keeps_its_pods(with_nodes):
    async def body(world, nodes):
        keep = [
            {
                "key": "node.kubernetes.io/unreachable",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
        ]
        pod_on(world, "sim-0", "patient", tolerations=keep)
        nodes.stopped.add("sim-0")
        await world.settle(150)
        assert ("unreachable", "NoExecute") in taints(world, "sim-0")
        nodes.stopped.discard("sim-0")
        node = world.api.get(NODES, "", "sim-0")
        world.api.update(NODES, {**node, "status": nodes._status("sim-0")}, "status")
        await world.settle(400)
        assert taints(world, "sim-0") == set()
        assert "deletionTimestamp" not in world.api.get(PODS, "default", "patient")["metadata"]

    with_nodes(5, body)


def test_when_all_fall_silent_nobody_is_evicted(with_nodes):
    async def body(world, nodes):
        pod_on(world, "sim-0")
        await world.settle(10)
        nodes.stopped.update(nodes.names)
        await world.settle(1000)
        assert {condition(n, "Ready")[0] for n in world.api.all(NODES)} == {"Unknown"}
        assert taints(world, "sim-0") == {("unreachable", "NoSchedule")}
        assert "deletionTimestamp" not in world.api.get(PODS, "default", "p")["metadata"]

    with_nodes(6, body)


def test_cordon_and_pressure_are_taints(with_nodes):
    async def body(world, nodes):
        node = world.api.get(NODES, "", "sim-0")
        other = {"key": "mine", "effect": "NoSchedule"}
        world.api.update(NODES, {**node, "spec": {"unschedulable": True, "taints": [other]}})
        await world.settle()
        found = world.api.get(NODES, "", "sim-0")["spec"]["taints"]
        assert found == [other, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
        node = world.api.get(NODES, "", "sim-0")
        conditions = [
            {**c, "status": "True"} if c["type"] == "DiskPressure" else c for c in node["status"]["conditions"]
        ]
        world.api.update(NODES, {**node, "status": {**node["status"], "conditions": conditions}}, "status")
        world.api.update(NODES, {**world.api.get(NODES, "", "sim-0"), "spec": {"taints": found}})
        await world.settle()
        assert [t["key"] for t in world.api.get(NODES, "", "sim-0")["spec"]["taints"]] == [
            "mine",
            "node.kubernetes.io/disk-pressure",
        ]

    with_nodes(3, body)


def test_orphans_finished_and_unbound_pods_are_collected(with_nodes):
    async def body(world, nodes):
        pod_on(world, "no-such-node", "orphan")
        pod_on(world, "sim-0", "kept")
        unbound = pod_on(world, "", "unbound")
        world.api.update(PODS, {**unbound, "metadata": {**unbound["metadata"], "finalizers": ["x/y"]}})
        world.api.remove(PODS, "default", "unbound")
        for n in range(5):
            done = pod_on(world, "sim-0", f"done{n}")
            world.api.update(PODS, {**done, "status": {"phase": "Succeeded"}}, "status")
        await world.settle(30)
        assert "orphan" in {p["metadata"]["name"] for p in world.api.all(PODS)}
        await world.settle(60)
        left = {p["metadata"]["name"]: p for p in world.api.all(PODS)}
        assert set(left) == {"kept", "unbound", "done4"}
        assert left["unbound"]["status"]["phase"] == "Failed"

    with_nodes(1, body, "pod-garbage-collector-controller", settings=Settings(terminated_pod_gc_threshold=2))


def test_nodes_get_ranges(with_nodes):
    async def body(world, nodes):
        for n in range(3):
            world.api.node(f"n{n}")
        await world.settle()
        found = [n for n in world.api.all(NODES) if n["metadata"]["name"].startswith("n")]
        assert sorted(n["spec"]["podCIDR"] for n in found) == ["10.9.1.0/24", "10.9.2.0/24", "10.9.3.0/24"]
        assert all(n["spec"]["podCIDRs"][1].startswith("fd00:") for n in found)
        # Simulated nodes leave the ranges to those that route.
        assert "podCIDR" not in world.api.get(NODES, "", "sim-0")["spec"]

    settings = Settings(
        allocate_node_cidrs=True, cluster_cidr="10.9.0.0/22,fd00::/48", service_cluster_ip_range="10.9.0.0/25"
    )
    with_nodes(3, body, "node-ipam-controller", settings=settings)


def test_ranges_run_out_and_come_back():
    ranges = Ranges("10.0.0.0/23", 24)
    assert [ranges.allocate(), ranges.allocate()] == ["10.0.0.0/24", "10.0.1.0/24"]
    with pytest.raises(RangeFull):
        ranges.allocate()
    ranges.free("10.0.0.0/24")
    assert ranges.allocate() == "10.0.0.0/24"


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "k", "value": "5"}, True),
        ({"key": "k", "value": "6"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Gt", "value": "4"}, True),
        ({"key": "k", "operator": "Lt", "value": "4"}, False),
    ],
)
def test_tolerations(toleration, expected):
    assert tolerates(toleration, {"key": "k", "value": "5", "effect": "NoExecute"}) is expected


def test_the_shortest_toleration_counts():
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": "1970-01-01T00:16:40Z"}
    pod = {
        "metadata": {"creationTimestamp": "1970-01-01T00:10:00Z"},
        "spec": {"tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": s} for s in (60, 30)]},
    }
    assert eviction_time(pod, [taint], {}) == 1030
    assert eviction_time({**pod, "spec": {}}, [taint], {}) == 0.0
    assert eviction_time({**pod, "spec": {"tolerations": [{"operator": "Exists"}]}}, [taint], {}) is None


def test_zone_states():
    def node(zone, ready):
        labels = {"topology.kubernetes.io/zone": zone}
        return {"metadata": {"labels": labels}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}

    nodes = [node("a", "True")] + [node("b", "False")] * 2 + [node("c", "False")] * 6 + [node("c", "True")] * 2
    states = {k[-1]: s for k, (s, _) in zone_states(nodes, 0.55).items()}
    assert states == {"a": ZoneState.NORMAL, "b": ZoneState.FULL, "c": ZoneState.PARTIAL}


@given(st.lists(st.floats(0, 30), max_size=50), st.floats(0.01, 1))
def test_a_limiter_never_gives_more_than_its_rate(gaps, rate):
    limiter, now, given_ = Limiter(rate), 0.0, 0
    for gap in gaps:
        now += gap
        given_ += limiter.take(now)
    assert given_ <= 1 + now * rate + 1e-6


def test_the_cache_time_grows_with_the_cluster():
    step, seen = 0, []
    for count in (1, 101, 95, 89, 501, 2001, 10):
        step = next_step(step, count)
        seen.append(seconds(step))
    assert seen == [0, 15, 15, 0, 30, 300, 0]
