"""Random histories on virtual time: whatever people do and in whatever order, controllers keep their objects' promises on the
way, and come to rest where the object says.

A history is a list of steps (scale, another image, a pod killed, a node that comes, ...), each followed by some time. What a promise
means right after a step that the controller cannot have seen yet is not judged: ``LATE`` seconds are given.
"""

import asyncio
import os
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybernetes.api.meta import is_deleting
from pybernetes.api.resources import DAEMON_SETS, DEPLOYMENTS, JOBS, NODES, PODS, REPLICA_SETS, STATEFUL_SETS
from pybernetes.cluster.simulated import SimulatedNodes, Stage
from pybernetes.controllers.job.intervals import Indexes
from pybernetes.controllers.nodeaffinity import target_node
from pybernetes.controllers.pods import is_active, is_ready, is_terminal

from .helpers import assign_everything, change_spec, condition, deployment, replica_set, template
from .test_daemonset import daemon_set
from .test_job import job
from .test_statefulset import stateful_set

SLOW = (Stage(start=(0.1, 1.5), ready=(0.1, 1.5), stop=(0.1, 2.0)),)
LATE = 0.5

pauses = st.sampled_from([0.0, 0.05, 0.4, 1.5, 6.0])
kills = st.tuples(st.just("kill"), st.integers(0, 9))
images = st.tuples(st.just("image"), st.integers(1, 3))
sizes = st.tuples(st.just("scale"), st.integers(0, 6))
# The worlds are made anew for every example, so the fixture that makes them may be shared.
# The same ones every time; ``P8S_EXAMPLES`` asks for more, and for others.
MORE = int(os.environ.get("P8S_EXAMPLES", "0"))
varied = settings(
    max_examples=MORE or 25,
    derandomize=not MORE,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def histories(*steps, most=8):
    return st.lists(st.tuples(st.one_of(*steps), pauses), min_size=1, max_size=most)


def image_of(pod):
    return pod["spec"]["containers"][0]["image"]


class Play:
    """A world with the controllers and nodes, and what was done to it."""

    def __init__(self, world, gvr, name):
        self.world, self.gvr, self.name = world, gvr, name
        self.image, self.disturbed, self.killed = "app:1", float("-inf"), set()

    @property
    def object(self):
        return self.world.api.get(self.gvr, "default", self.name)

    def pods(self):
        return self.world.api.all(PODS)

    @property
    def calm(self):
        """Whether the controllers must have seen all that was done."""
        return self.world.clock.now() - self.disturbed > LATE

    def change(self, **spec):
        change_spec(self.world.api, self.gvr, self.name, **spec)

    async def step(self, step, pause):
        kind, value = step
        self.disturbed = self.world.clock.now()
        getattr(self, f"do_{kind}")(value)
        await self.world.clock.sleep(pause)

    def do_scale(self, size):
        self.change(replicas=size)

    def do_image(self, number):
        self.image = f"app:{number}"
        self.change(template=template(self.object["spec"]["selector"]["matchLabels"], self.image))

    def do_kill(self, which):
        living = sorted((p for p in self.pods() if not is_deleting(p)), key=lambda p: p["metadata"]["name"])
        if living:
            pod = living[which % len(living)]
            self.killed.add(pod["metadata"]["uid"])
            self.world.api.remove(PODS, "default", pod["metadata"]["name"])


def play(
    virtually, made, gvr, controllers, history, before_rest, at_rest, *, cls=Play, nodes=1, node="sim-0", stages=SLOW
):
    """Creates the object, lets ``history`` happen, and comes to rest. ``before_rest(play)`` gives the listener of every change."""

    async def main(world):
        assign_everything(world, node)
        simulated = SimulatedNodes(world.client, world.clock, nodes, stages=stages, rng=world.rng)
        task = asyncio.get_running_loop().create_task(simulated.run())
        broken = []

        async def body():
            await simulated.registered.wait()
            playing = cls(world, gvr, made["metadata"]["name"])
            world.api.create(gvr, made)
            listener = before_rest(playing)
            world.api.on_change.append(
                lambda kind, changed, obj: broken.extend(filter(None, [listener(kind, changed, obj)]))
            )
            for step, pause in history:
                await playing.step(step, pause)
            await world.settle(120)
            assert not broken, broken[0]
            at_rest(playing)

        try:
            await world.managed(body, *controllers)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    virtually(main)


# -- ReplicaSet --------------------------------------------------------------------------------------------------------


@varied
@given(histories(sizes, kills))
def test_replica_set(virtually, history):
    def listener(playing):
        def changed(kind, gvr, obj):
            # Never one too many: its own creations are seen before it counts again.
            if gvr == PODS and kind == "ADDED" and playing.calm:
                active = sum(map(is_active, playing.pods()))
                if active > playing.object["spec"]["replicas"]:
                    return f"{active} pods"

        return changed

    def rest(playing):
        wanted = playing.object["spec"]["replicas"]
        assert len(playing.pods()) == sum(map(is_ready, playing.pods())) == wanted
        status = playing.object["status"]
        assert (status["replicas"], status.get("availableReplicas", 0)) == (wanted, wanted)

    play(virtually, replica_set("web", 3), REPLICA_SETS, ["replicaset"], history, listener, rest)


# -- Deployment --------------------------------------------------------------------------------------------------------


class DeploymentPlay(Play):
    def __init__(self, *args):
        super().__init__(*args)
        self.most = 0

    def do_pause(self, paused):
        self.change(paused=paused)

    def do_scale(self, size):
        super().do_scale(size)
        self.most = max(self.most, size)


@varied
@given(
    histories(sizes, kills, images, st.tuples(st.just("pause"), st.booleans()), most=10),
    st.sampled_from([(1, 0), (0, 1), (2, 2), ("25%", "25%"), ("100%", 0)]),
)
def test_deployment(virtually, history, bounds):
    surge, unavailable = bounds
    extra = {1: 1, 0: 0, 2: 2, "25%": 2, "100%": 6}[surge]

    def listener(playing):
        playing.most = 4

        def changed(kind, gvr, obj):
            if gvr == REPLICA_SETS:
                asked = sum(s["spec"]["replicas"] for s in playing.world.api.all(REPLICA_SETS))
                if asked > playing.most + extra:
                    return f"the sets ask for {asked}, at most {playing.most} and {extra} are allowed"

        return changed

    def rest(playing):
        spec, status = playing.object["spec"], playing.object["status"]
        if spec.get("paused"):
            playing_sets = sum(s["spec"]["replicas"] for s in playing.world.api.all(REPLICA_SETS))
            assert playing_sets <= spec["replicas"] + extra
            return
        assert [image_of(p) for p in playing.pods()] == [playing.image] * spec["replicas"]
        assert status.get("availableReplicas", 0) == status.get("updatedReplicas", 0) == spec["replicas"]
        assert condition(playing.object, "Progressing") == ("True", "NewReplicaSetAvailable")

    made = deployment("web", 4, surge=surge, unavailable=unavailable)
    play(virtually, made, DEPLOYMENTS, ["deployment", "replicaset"], history, listener, rest, cls=DeploymentPlay)


@varied
@given(
    st.lists(st.tuples(images, pauses), min_size=1, max_size=6),
    st.sampled_from([(1, 0), (0, 1), (2, 2), ("50%", "25%")]),
)
def test_rollouts_never_take_more_than_they_may(virtually, history, bounds):
    """Nobody kills a pod here: so many stay available as the strategy promises."""
    surge, unavailable = bounds
    missing = {0: 0, 1: 1, 2: 2, "25%": 1}[unavailable]

    def listener(playing):
        playing.least = None

        def changed(kind, gvr, obj):
            if gvr != PODS:
                return None
            available = sum(is_ready(p) and not is_deleting(p) for p in playing.pods())
            if available == 4:
                playing.least = 4 - missing
            if playing.least is not None and available < playing.least:
                return f"{available} available, {playing.least} were promised"

        return changed

    def rest(playing):
        assert [image_of(p) for p in playing.pods()] == [playing.image] * 4

    made = deployment("web", 4, surge=surge, unavailable=unavailable)
    play(virtually, made, DEPLOYMENTS, ["deployment", "replicaset"], history, listener, rest)


# -- StatefulSet -------------------------------------------------------------------------------------------------------


def ordinal(pod):
    return int(pod["metadata"]["name"].rsplit("-", 1)[1])


class StatefulPlay(Play):
    def do_partition(self, partition):
        self.change(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": partition}})


@varied
@given(histories(sizes, kills, images, st.tuples(st.just("partition"), st.integers(0, 4)), most=10))
def test_stateful_set_in_order(virtually, history):
    def listener(playing):
        def changed(kind, gvr, obj):
            if gvr != PODS or not playing.calm:
                return None
            if kind == "ADDED":
                lower = {ordinal(p): p for p in playing.pods() if ordinal(p) < ordinal(obj)}
                missing = [n for n in range(ordinal(obj)) if n not in lower or not is_ready(lower[n])]
                return f"{ordinal(obj)} came before {missing} were ready" if missing else None
            going = [p for p in playing.pods() if is_deleting(p) and p["metadata"]["uid"] not in playing.killed]
            return f"{sorted(map(ordinal, going))} go at once" if len(going) > 1 else None

        return changed

    def rest(playing):
        spec, pods = playing.object["spec"], playing.pods()
        partition = spec["updateStrategy"]["rollingUpdate"]["partition"]
        assert sorted(map(ordinal, pods)) == list(range(spec["replicas"])) and all(map(is_ready, pods))
        assert {image_of(p) for p in pods if ordinal(p) >= partition} <= {playing.image}

    play(virtually, stateful_set(), STATEFUL_SETS, ["statefulset"], history, listener, rest, cls=StatefulPlay)


@varied
@given(histories(sizes, kills, images))
def test_stateful_set_in_parallel(virtually, history):
    def rest(playing):
        pods = playing.pods()
        assert sorted(map(ordinal, pods)) == list(range(playing.object["spec"]["replicas"]))
        assert {image_of(p) for p in pods} <= {playing.image} and all(map(is_ready, pods))

    made = stateful_set(podManagementPolicy="Parallel")
    play(virtually, made, STATEFUL_SETS, ["statefulset"], history, lambda playing: lambda *change: None, rest)


# -- DaemonSet ---------------------------------------------------------------------------------------------------------


class DaemonPlay(Play):
    async def step(self, step, pause):
        await super().step(step, pause)

    def _node(self, which):
        nodes = sorted(self.world.api.all(NODES), key=lambda n: n["metadata"]["name"])
        return nodes[which % len(nodes)]

    def do_taint(self, which):
        node = self._node(which)
        change_spec(self.world.api, NODES, node["metadata"]["name"], "", taints=[{"key": "k", "effect": "NoExecute"}])

    def do_heal(self, which):
        node = self._node(which)
        change_spec(self.world.api, NODES, node["metadata"]["name"], "", taints=[])


NODE_STEPS = [st.tuples(st.just(kind), st.integers(0, 3)) for kind in ("taint", "heal")]


@varied
@given(histories(kills, images, *NODE_STEPS, most=10), st.sampled_from([(0, 1), (0, 2), (1, 0)]))
def test_daemon_set(virtually, history, bounds):
    surge, unavailable = bounds

    def listener(playing):
        def changed(kind, gvr, obj):
            if gvr == PODS and kind == "ADDED":
                active = Counter(target_node(p) for p in playing.pods() if is_active(p))
                crowded = [n for n, count in active.items() if count > 1 + (surge > 0)]
                return f"too many pods on {crowded}" if crowded else None

        return changed

    def rest(playing):
        wanted = [n["metadata"]["name"] for n in playing.world.api.all(NODES) if not n["spec"].get("taints")]
        assert sorted(target_node(p) for p in playing.pods()) == sorted(wanted)
        assert {image_of(p) for p in playing.pods()} <= {playing.image} and all(map(is_ready, playing.pods()))
        assert playing.object["status"].get("numberAvailable", 0) == len(wanted)

    made = daemon_set(surge=surge, unavailable=unavailable)
    play(
        virtually, made, DAEMON_SETS, ["daemonset"], history, listener, rest, cls=DaemonPlay, nodes=4, node=target_node
    )


# -- Job ---------------------------------------------------------------------------------------------------------------


class JobPlay(Play):
    def do_suspend(self, suspend):
        self._unless_finished(suspend=suspend)

    def do_parallelism(self, parallelism):
        self._unless_finished(parallelism=parallelism)

    def _unless_finished(self, **spec):
        if not (condition(self.object, "Complete") or condition(self.object, "Failed")):
            self.change(**spec)


@varied
@given(
    histories(
        kills, st.tuples(st.just("suspend"), st.booleans()), st.tuples(st.just("parallelism"), st.integers(1, 4))
    ),
    st.integers(1, 6),
    st.sampled_from(["Indexed", "NonIndexed"]),
    st.sampled_from([0.0, 0.3]),
)
def test_job(virtually, history, completions, mode, failures):
    history = [*history, (("suspend", False), 0.0), (("parallelism", 3), 400.0)]

    def listener(playing):
        def changed(kind, gvr, obj):
            if gvr == PODS and playing.calm:
                spec = playing.object["spec"]
                most = 0 if spec.get("suspend") else spec["parallelism"]
                active = sum(map(is_active, playing.pods()))
                if active > most:
                    return f"{active} active pods, {most} were asked for"

        return changed

    def rest(playing):
        status = playing.object["status"]
        assert condition(playing.object, "Complete") or condition(playing.object, "Failed"), status
        assert all(is_terminal(p) and not p["metadata"].get("finalizers") for p in playing.pods())
        assert status.get("uncountedTerminatedPods") in (None, {}) and not status.get("active")
        succeeded = status.get("succeeded", 0)
        assert succeeded <= completions
        if condition(playing.object, "Complete"):
            assert succeeded == completions
            if mode == "Indexed":
                assert status["completedIndexes"] == str(Indexes.of(range(completions)))

    stages = (Stage(start=(0.1, 1.0), run=(0.5, 4.0), stop=(0.1, 1.0), failure_rate=failures),)
    made = job(completions=completions, parallelism=3, completionMode=mode, backoffLimit=4)
    play(virtually, made, JOBS, ["job"], history, listener, rest, cls=JobPlay, stages=stages)
