"""DaemonSets: one pod a node, as nodes come, change and go; updates in place and with surge."""

import asyncio

import orjson
import pytest

from pybernetes.api.resources import CONTROLLER_REVISIONS, DAEMON_SETS, EVENTS, NODES, PODS
from pybernetes.cluster.simulated import SimulatedNodes, Stage
from pybernetes.controllers.daemonset.decide import should_run
from pybernetes.controllers.nodeaffinity import fits, target_node

from .helpers import assign_everything, change_spec, condition, template

NAME = "daemonset-controller"
SLOW = (Stage(start=(0.2, 1.0), ready=(0.2, 1.0), stop=(0.2, 1.0)),)


def daemon_set(image="app:1", surge=0, unavailable=1, pod_spec=None, **spec):
    labels = {"app": "agent"}
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": "agent", "namespace": "default", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": template(labels, image, **(pod_spec or {})),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


@pytest.fixture
def everywhere(virtually):
    def run(body, count=5, stages=SLOW):
        async def main(world):
            assign_everything(world, target_node)
            nodes = SimulatedNodes(world.client, world.clock, count, stages=stages, rng=world.rng)
            task = asyncio.get_running_loop().create_task(nodes.run())
            await nodes.registered.wait()
            try:
                return await world.managed(lambda: body(world), NAME)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return virtually(main)

    return run


def where(world):
    return sorted(p["spec"]["nodeName"] for p in world.api.all(PODS))


def ready(pod):
    return condition(pod, "Ready") == ("True", None) and not pod["metadata"].get("deletionTimestamp")


def test_one_on_every_node_also_on_later_ones(everywhere):
    async def body(world):
        world.api.create(DAEMON_SETS, daemon_set())
        await world.settle(5)
        assert where(world) == [f"sim-{i}" for i in range(5)]
        pod = world.api.all(PODS)[0]
        keys = {(t["key"].split("/")[1], t["effect"]) for t in pod["spec"]["tolerations"]}
        assert {("not-ready", "NoExecute"), ("unschedulable", "NoSchedule")} <= keys
        (revision,) = world.api.all(CONTROLLER_REVISIONS)
        assert (
            pod["metadata"]["labels"]["controller-revision-hash"]
            == revision["metadata"]["labels"]["controller-revision-hash"]
        )
        # Clients look for the revision of a template by its bytes, which Go writes in the order of the keys.
        assert orjson.dumps(revision["data"]) == orjson.dumps(revision["data"], option=orjson.OPT_SORT_KEYS)
        assert revision["data"]["spec"]["template"]["$patch"] == "replace"
        assert world.api.get(DAEMON_SETS, "default", "agent")["status"] == {
            "currentNumberScheduled": 5,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": 5,
            "numberReady": 5,
            "observedGeneration": 1,
            "updatedNumberScheduled": 5,
            "numberAvailable": 5,
        }
        world.api.node("late")
        await world.settle(5)
        assert len(where(world)) == 6

    everywhere(body)


def test_labels_and_taints_decide(everywhere):
    async def body(world):
        world.api.create(DAEMON_SETS, daemon_set(pod_spec={"nodeSelector": {"disk": "ssd"}}))
        await world.settle(5)
        assert where(world) == []
        node = world.api.get(NODES, "", "sim-1")
        node = world.api.update(NODES, {**node, "metadata": {**node["metadata"], "labels": {"disk": "ssd"}}})
        await world.settle(5)
        assert where(world) == ["sim-1"]
        # A NoSchedule taint keeps what runs; a NoExecute taint does not.
        node = world.api.update(NODES, {**node, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
        await world.settle(5)
        assert where(world) == ["sim-1"]
        assert world.api.get(DAEMON_SETS, "default", "agent")["status"]["numberMisscheduled"] == 1
        world.api.update(NODES, {**node, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})
        await world.settle(5)
        assert where(world) == []

    everywhere(body)


@pytest.mark.parametrize(("surge", "unavailable"), [(0, 1), (0, "40%"), (1, 0), ("40%", 0)])
def test_an_update_keeps_its_bounds(everywhere, surge, unavailable):
    async def body(world):
        world.api.create(DAEMON_SETS, daemon_set(surge=surge, unavailable=unavailable))
        await world.settle(10)
        least, most = [5], [5]

        def watch(kind, gvr, obj):
            if gvr == PODS:
                pods = world.api.all(PODS)
                least[0] = min(least[0], len({p["spec"].get("nodeName") for p in pods if ready(p)}))
                most[0] = max(most[0], sum(not p["metadata"].get("deletionTimestamp") for p in pods))

        world.api.on_change.append(watch)
        change_spec(world.api, DAEMON_SETS, "agent", template=template({"app": "agent"}, "app:2"))
        await world.settle(60)
        assert {p["spec"]["containers"][0]["image"] for p in world.api.all(PODS)} == {"app:2"} and len(
            where(world)
        ) == 5
        allowed = {1: 1, "40%": 2, 0: 0}
        assert least[0] == 5 - allowed[unavailable] and most[0] == 5 + allowed[surge]
        found = world.api.get(DAEMON_SETS, "default", "agent")["status"]
        assert found["updatedNumberScheduled"] == found["numberAvailable"] == 5

    everywhere(body)


def test_on_delete_waits(everywhere):
    async def body(world):
        world.api.create(DAEMON_SETS, daemon_set(updateStrategy={"type": "OnDelete"}))
        await world.settle(10)
        change_spec(world.api, DAEMON_SETS, "agent", template=template({"app": "agent"}, "app:2"))
        await world.settle(20)
        assert {p["spec"]["containers"][0]["image"] for p in world.api.all(PODS)} == {"app:1"}
        world.api.remove(PODS, "default", world.api.all(PODS)[0]["metadata"]["name"])
        await world.settle(10)
        assert sorted(p["spec"]["containers"][0]["image"] for p in world.api.all(PODS)) == ["app:1"] * 4 + ["app:2"]

    everywhere(body)


def test_failed_pods_are_replaced_ever_more_slowly(everywhere):
    async def body(world):
        world.api.create(DAEMON_SETS, daemon_set())
        made = []
        world.api.on_change.append(
            lambda k, g, o: made.append(world.clock.now()) if g == PODS and k == "ADDED" else None
        )
        world.api.on_change.append(
            lambda k, g, o: world.clock.call_later(0.01, lambda: fail(o)) if g == PODS and k == "ADDED" else None
        )

        def fail(pod):
            current = world.api.objects.get((PODS, "default", pod["metadata"]["name"]))
            if current is not None:
                world.api.update(PODS, {**current, "status": {"phase": "Failed"}}, "status")

        await world.settle(100)
        gaps = [round(b - a) for a, b in zip(made, made[1:], strict=False)]
        assert gaps == [0, 1, 2, 4, 8, 16, 32]
        assert "FailedDaemonPod" in {e["reason"] for e in world.api.all(EVENTS)}

    everywhere(body, count=1, stages=(Stage(start=(1e6, 1e6)),))


def test_history_and_going_back(everywhere):
    async def body(world):
        world.api.create(DAEMON_SETS, daemon_set(revisionHistoryLimit=1))
        await world.settle(10)
        for image in ("app:2", "app:3", "app:2"):
            change_spec(world.api, DAEMON_SETS, "agent", template=template({"app": "agent"}, image))
            await world.settle(30)
        revisions = {
            r["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: r["revision"]
            for r in world.api.all(CONTROLLER_REVISIONS)
        }
        assert revisions == {"app:2": 4, "app:3": 3}

    everywhere(body, count=2)


def node(name="n", labels=None, taints=()):
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"taints": list(taints)}}


def test_affinity():
    def affinity(*terms):
        required = {"nodeSelectorTerms": list(terms)}
        return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}

    is_a = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    many = {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}
    named = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    assert fits(affinity(is_a, many), node(labels={"zone": "a"})) and fits(
        affinity(is_a, many), node(labels={"cores": "8"})
    )
    assert not fits(affinity(is_a, many), node(labels={"zone": "b", "cores": "4"}))
    assert fits(affinity(named), node()) and not fits(affinity(named), node("other")) and not fits(affinity({}), node())


def test_network_unavailable_counts_unless_the_pod_has_the_hosts_network():
    tainted = node(taints=[{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}])
    assert should_run(daemon_set(), tainted) == (False, True)
    assert should_run(daemon_set(pod_spec={"hostNetwork": True}), tainted) == (True, True)
