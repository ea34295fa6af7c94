"""Bad input and faults: no pod lost, none placed twice, no node given more than it has, nobody held up by another."""

import asyncio

from pybernetes.api.resources import NODES, PODS
from pybernetes.client.transport import TransportError
from pybernetes.hooks.scheduling import Code, Plugin, Status
from pybernetes.scheduler.configuration import parse
from pybernetes.testing.cluster import run_virtually

from .support import placing, pod

V1 = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def enabled(name):
    return parse({**V1, "profiles": [{"plugins": {"multiPoint": {"enabled": [{"name": name}]}}}]})


def with_placing(**options):
    def decorate(test):
        def run():
            async def main(clock):
                async with placing(clock, **options) as at:
                    await test(at)
                    at.validate_state()

            run_virtually(main)

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


class Moody(Plugin):
    """Fails, hangs or refuses by the pod's label ``mood``."""

    name = "Moody"

    def __init__(self, args, handle):
        self.released = asyncio.Event()
        self.handle = handle

    def filter_node(self, state, pod, node):
        if pod.labels.get("mood") == "raises":
            raise RuntimeError("out of licences")
        return Status(Code.UNSCHEDULABLE, ("node(s) in a bad mood",)) if pod.labels.get("mood") == "refused" else None

    def score_node(self, state, pod, node):
        return 1000 if pod.labels.get("mood") == "boasts" else 50

    async def pre_bind(self, state, pod, node):
        if pod.labels.get("mood") == "hangs":
            await self.released.wait()
        if pod.labels.get("mood") == "fails-late":
            raise ValueError("too late")


@with_placing(configuration=enabled("Moody"), plugins={"Moody": Moody})
async def test_a_plugin_that_raises_refuses_boasts_or_hangs_hurts_its_pod_alone(at):
    for name in ("n1", "n2"):
        await at.add_node(name)
    for i, mood in enumerate(("raises", "refused", "boasts", "hangs", "fails-late")):
        await at.add_pod(f"moody-{i}", labels={"mood": mood})
    for i in range(10):
        await at.add_pod(f"calm-{i}")
    for i in range(10):
        await at.placed(f"calm-{i}")
    assert await at.refused("moody-0", "SchedulerError") == "out of licences"
    assert "2 node(s) in a bad mood" in await at.refused("moody-1")
    boasting = await at.refused("moody-2", "SchedulerError")
    assert boasting == (
        'plugin "Moody" returns an invalid score 1000, it should in the range of [0, 100] after normalizing'
    )
    assert await at.refused("moody-4", "SchedulerError") == 'plugin "Moody" failed: too late'
    assert (await at.nodes_of_pods())["moody-3"] is None
    at.scheduler.profiles["default-scheduler"].plugins["Moody"].released.set()
    await at.placed("moody-3")


class Permitting(Plugin):
    name = "Permitting"

    def __init__(self, args, handle):
        self.handle = handle

    def permit(self, state, pod, node):
        return (Status(Code.WAIT), 60.0) if pod.labels.get("wait") else (None, 0.0)


@with_placing(configuration=enabled("Permitting"), plugins={"Permitting": Permitting})
async def test_permit_holds_a_pod_and_its_room_until_allowed_or_over(at):
    await at.add_node("n1", cpu="1")
    made = await at.add_pod("held", labels={"wait": "yes"}, requests={"cpu": "1"})
    await at.cluster.clock.sleep(5)
    await at.add_pod("second", requests={"cpu": "1"})
    assert "Insufficient cpu" in await at.refused("second")
    waiting = at.scheduler.waiting_pod(made["metadata"]["uid"])
    assert waiting.pending_plugins == ["Permitting"]
    waiting.allow("Permitting")
    assert await at.placed("held") == "n1"


@with_placing(configuration=enabled("Permitting"), plugins={"Permitting": Permitting})
async def test_permit_that_never_comes_gives_the_room_back(at):
    await at.add_node("n1", cpu="1")
    await at.add_pod("held", labels={"wait": "yes"}, requests={"cpu": "1"})
    await at.cluster.clock.sleep(5)
    await at.add_pod("second", requests={"cpu": "1"})
    assert await at.placed("second") == "n1"
    message = await at.refused("held")
    assert message.startswith("0/1 nodes are available: 1 ")


@with_placing()
async def test_impossible_contradictory_and_huge_pods(at):
    await at.add_node("n1", labels={"disk": "ssd"})
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    never = {"matchExpressions": [*term["matchExpressions"], {"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}

    def affinity(*terms):
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
        return {"affinity": {"nodeAffinity": required}}

    await at.add_pod("never", **affinity(never))
    assert await at.refused("never") == (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are "
        "available: 1 Preemption is not helpful for scheduling."
    )
    elsewhere = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gone"]}]}
    await at.add_pod("elsewhere", **affinity(elsewhere))
    assert "1 node(s) didn't satisfy plugin(s) [NodeAffinity]" in await at.refused("elsewhere")
    await at.add_pod("huge", requests={"cpu": "9223372036854775807m", "memory": "8Ei"})
    assert "1 Insufficient cpu" in await at.refused("huge")
    labels = {f"example.com/label-{i}": f"v{i}" for i in range(10_000)}
    await at.add_pod("labelled", labels=labels)
    assert await at.placed("labelled") == "n1"
    near = {
        "labelSelector": {"matchLabels": {"example.com/label-9999": "v9999"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    far = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}}
    await at.add_pod("away", affinity=far)
    assert "1 node(s) didn't match pod anti-affinity rules" in await at.refused("away")
    await at.add_pod("ordinary")
    assert await at.placed("ordinary") == "n1"


@with_placing()
async def test_a_node_that_vanishes_while_binding(at):
    await at.add_node("n1", cpu="1")
    await at.add_pod("a", requests={"cpu": "1"})
    await at.placed("a")
    await at.client.delete(NODES, "n1")
    await at.add_pod("b", requests={"cpu": "1"})
    assert await at.refused("b") == "no nodes available to schedule pods"
    await at.add_node("n1", cpu="2")
    # The pod that is still bound there counts again.
    await at.add_pod("c", requests={"cpu": "1"})
    placed = {name for name, node in (await at.nodes_of_pods()).items() if node}
    for _ in range(50):
        if len(placed) == 2:
            break
        await at.cluster.clock.sleep(1)
        placed = {name for name, node in (await at.nodes_of_pods()).items() if node}
    assert "a" in placed and len(placed) == 2


@with_placing()
async def test_somebody_else_binds_first(at):
    await at.add_node("n1", cpu="2")
    await at.add_node("n2", cpu="2")
    made = [await at.client.create(PODS, pod(f"p{i}", requests={"cpu": "1"}, schedulerName="other")) for i in range(2)]
    for each in made:
        name = each["metadata"]["name"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"kind": "Node", "name": "n1"},
        }
        await at.client.create(PODS, binding, "default", name=name, subresource="binding")
    for i in range(2):
        await at.add_pod(f"own-{i}", requests={"cpu": "1"})
        assert await at.placed(f"own-{i}") == "n2"


class LossyTransport:
    """Loses the answers to some bindings after they were written, and refuses others before."""

    def __init__(self, transport):
        self._transport, self.calls = transport, 0

    async def send(self, request):
        if not request.target.partition("?")[0].endswith("/binding"):
            return await self._transport.send(request)
        self.calls += 1
        if self.calls % 3 == 0:
            raise TransportError("refused", sent=False)
        response = await self._transport.send(request)
        if self.calls % 3 == 1:
            await response.read()
            response.close()
            raise TransportError("answer lost", sent=True)
        return response

    def close(self):
        self._transport.close()


@with_placing(transport=LossyTransport)
async def test_lost_answers_never_overcommit_a_node_nor_lose_a_pod(at):
    for name in ("n1", "n2", "n3"):
        await at.add_node(name, cpu="4")
    for i in range(12):
        await at.add_pod(f"p{i}", requests={"cpu": "1"})
    for i in range(12):
        await at.placed(f"p{i}")
    nodes = [n for n in (await at.nodes_of_pods()).values() if n]
    assert sorted(nodes.count(n) for n in ("n1", "n2", "n3")) == [4, 4, 4]


@with_placing()
async def test_a_pod_that_is_deleted_while_it_is_placed_frees_its_room(at):
    await at.add_node("n1", cpu="1")
    for round_ in range(5):
        await at.add_pod(f"short-{round_}", requests={"cpu": "1"})
        await asyncio.sleep(0)
        await at.client.delete(PODS, f"short-{round_}", "default", grace_period_seconds=0)
    await at.add_pod("last", requests={"cpu": "1"})
    assert await at.placed("last") == "n1"


@with_placing()
async def test_a_low_pod_gets_its_turn_while_high_ones_keep_failing(at):
    await at.add_node("n1", cpu="1")
    for i in range(20):
        await at.add_pod(f"big-{i}", requests={"cpu": "100"})
    await at.add_pod("low", requests={"cpu": "500m"})
    assert await at.placed("low") == "n1"
    for i in range(20):
        await at.refused(f"big-{i}")


def test_two_runs_with_one_seed_place_alike():
    async def once(clock):
        async with placing(clock, seed=5) as at:
            for i in range(6):
                await at.add_node(f"n{i}")
            for i in range(30):
                await at.add_pod(f"p{i}", requests={"cpu": "100m"})
                await at.placed(f"p{i}")
            return await at.nodes_of_pods()

    assert run_virtually(once) == run_virtually(once)
