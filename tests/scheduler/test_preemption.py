"""Preemption: upstream's documented rules, on the real API server and on virtual time."""

from pybernetes.api.meta import get_condition
from pybernetes.api.resources import EVENTS, POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES
from pybernetes.testing.cluster import run_virtually

from .support import placing


async def classes(client):
    for name, value, more in (("high", 1000, {}), ("mid", 100, {}), ("polite", 1000, {"preemptionPolicy": "Never"})):
        made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
        await client.create(PRIORITY_CLASSES, {**made, "value": value, **more})


def with_placing(test):
    def run():
        async def main(clock):
            async with placing(clock) as at:
                await classes(at.client)
                await test(at)
                at.validate_state()

        run_virtually(main)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@with_placing
async def test_a_lower_pod_gives_way_and_everybody_is_told(at):
    await at.add_node("n1", cpu="2")
    await at.add_pod("low", requests={"cpu": "2"})
    await at.placed("low")
    # A finalizer keeps the victim long enough to be looked at.
    await at.client.patch(PODS, "low", {"metadata": {"finalizers": ["example.com/look"]}}, "default")
    await at.add_pod("vip", requests={"cpu": "1"}, priorityClassName="high")
    victim = await at.cluster.wait_for(PODS, "low", lambda p: p["metadata"].get("deletionTimestamp"), "default")
    condition = get_condition(victim, "DisruptionTarget")
    assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
    assert condition["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
    waiting = await at.cluster.wait_for(PODS, "vip", lambda p: p["status"].get("nominatedNodeName"), "default")
    assert waiting["status"]["nominatedNodeName"] == "n1"
    assert "preemption" not in get_condition(waiting, "PodScheduled")["message"]
    await at.client.patch(PODS, "low", {"metadata": {"finalizers": None}}, "default")
    assert await at.placed("vip") == "n1"
    await at.cluster.clock.sleep(1)
    events = (await at.client.list(EVENTS, "default"))["items"]
    told = next(e for e in events if e["reason"] == "Preempted")
    assert told["involvedObject"]["name"] == "low"
    assert told["message"] == f"Preempted by pod {waiting['metadata']['uid']} on node n1"


@with_placing
async def test_the_lowest_and_fewest_victims_are_chosen(at):
    for name, cpu in (("one-mid", "2"), ("two-low", "2"), ("one-low", "2")):
        await at.add_node(name, cpu=cpu)
    await at.add_pod("mid", requests={"cpu": "2"}, priorityClassName="mid", nodeSelector=on("one-mid"))
    for name in ("low-1", "low-2"):
        await at.add_pod(name, requests={"cpu": "1"}, nodeSelector=on("two-low"))
    await at.add_pod("low", requests={"cpu": "2"}, nodeSelector=on("one-low"))
    for name in ("mid", "low-1", "low-2", "low"):
        await at.placed(name)
    await at.add_pod("vip", requests={"cpu": "2"}, priorityClassName="high")
    assert await at.placed("vip") == "one-low"
    assert set(await at.nodes_of_pods()) == {"mid", "low-1", "low-2", "vip"}


@with_placing
async def test_only_as_many_go_as_must(at):
    await at.add_node("n1", cpu="3")
    for i in range(3):
        await at.add_pod(f"low-{i}", requests={"cpu": "1"})
        await at.placed(f"low-{i}")
    await at.add_pod("vip", requests={"cpu": "2"}, priorityClassName="high")
    await at.placed("vip")
    assert len(await at.nodes_of_pods()) == 2


@with_placing
async def test_disruption_budgets_are_spared_where_it_can_be(at):
    for name in ("guarded", "free"):
        await at.add_node(name, cpu="1")
        await at.add_pod(f"on-{name}", requests={"cpu": "1"}, labels={"app": name}, nodeSelector=on(name))
        await at.placed(f"on-{name}")
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
    }
    await at.client.create(POD_DISRUPTION_BUDGETS, budget)
    await at.cluster.clock.sleep(1)
    await at.add_pod("vip", requests={"cpu": "1"}, priorityClassName="high")
    assert await at.placed("vip") == "free"
    # Where nothing else helps, budgets do not protect.
    await at.add_pod("vip-2", requests={"cpu": "1"}, priorityClassName="high")
    assert await at.placed("vip-2") == "guarded"


@with_placing
async def test_preemption_policy_never_waits(at):
    await at.add_node("n1", cpu="1")
    await at.add_pod("low", requests={"cpu": "1"})
    await at.placed("low")
    await at.add_pod("polite", requests={"cpu": "1"}, priorityClassName="polite")
    assert await at.refused("polite") == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )
    await at.cluster.clock.sleep(600)
    assert (await at.nodes_of_pods())["low"] == "n1"


@with_placing
async def test_what_preemption_cannot_mend_is_said(at):
    await at.add_node("tainted", taints=[{"key": "k", "effect": "NoSchedule"}])
    await at.add_node("full", cpu="1")
    await at.add_pod("same", requests={"cpu": "1"}, priorityClassName="high", nodeSelector=on("full"))
    await at.placed("same")
    await at.add_pod("vip", requests={"cpu": "1"}, priorityClassName="high")
    assert await at.refused("vip") == (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). preemption: 0/2 nodes are "
        "available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    )


@with_placing
async def test_anti_affinity_makes_victims_too(at):
    await at.add_node("n1")
    far = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "loud"}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    await at.add_pod("loud", labels={"app": "loud"})
    await at.add_pod("quiet", labels={"app": "quiet"})
    for name in ("loud", "quiet"):
        await at.placed(name)
    await at.add_pod("vip", priorityClassName="high", affinity=far)
    await at.placed("vip")
    assert set(await at.nodes_of_pods()) == {"quiet", "vip"}


@with_placing
async def test_nobody_lower_takes_the_room_that_was_made(at):
    await at.add_node("n1", cpu="1")
    await at.add_pod("low", requests={"cpu": "1"})
    await at.placed("low")
    await at.client.patch(PODS, "low", {"metadata": {"finalizers": ["example.com/slow"]}}, "default")
    await at.add_pod("vip", requests={"cpu": "1"}, priorityClassName="high")
    await at.cluster.wait_for(PODS, "vip", lambda p: p["status"].get("nominatedNodeName"), "default")
    await at.add_pod("greedy", requests={"cpu": "1"}, priorityClassName="mid")
    await at.refused("greedy")
    await at.client.patch(PODS, "low", {"metadata": {"finalizers": None}}, "default")
    assert await at.placed("vip") == "n1"
    await at.cluster.clock.sleep(30)
    assert (await at.nodes_of_pods())["greedy"] is None


def on(node):
    return {"kubernetes.io/hostname": node}
