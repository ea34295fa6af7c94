"""The queue on virtual time: order, back-off, gates, hints, and no wake-up lost."""

import random

import pytest

from pybernetes.hooks.scheduling import Action, ClusterEvent, Code, Plugin, Resource, Status
from pybernetes.scheduler.podinfo import FactsCache, PodInfo
from pybernetes.scheduler.queue import Change, Rules, SchedulingQueue
from pybernetes.testing.cluster import run_virtually

from .support import pod

FACTS = FactsCache()
NODE_ADDED = Change(Resource.NODE, Action.ADD, None, {"metadata": {"name": "n"}})
REFUSED = frozenset(["Fit"])


class Gate(Plugin):
    name = "Gate"

    def __init__(self):
        self.shut = set()

    def pre_enqueue(self, pod):
        return Status(Code.UNRESOLVABLE, ("gated",)) if pod.name in self.shut else None


def info(name, priority=0):
    made = pod(name, priority=priority)
    made["metadata"]["uid"] = f"uid-{name}"
    return PodInfo(made, FACTS.of(made))


def queue_on(clock, gate=None, **options):
    rules = Rules(
        sort_key=lambda p, queued_at: (-p.priority, queued_at),
        gates=[gate] if gate else [],
        events={
            "Fit": [
                ClusterEvent(Resource.NODE, Action.ADD),
                ClusterEvent(Resource.POD, Action.DELETE, lambda p, o, n: False),
            ],
            "Gate": [ClusterEvent(Resource.NAMESPACE, Action.ADD)],
        },
    )
    return SchedulingQueue(clock, {"default-scheduler": rules}, **options)


def add(queue, name, priority=0):
    queue.add(info(name, priority), "default-scheduler")


def virtually(test):
    def run():
        run_virtually(test)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@virtually
async def test_higher_priority_first_then_first_come(clock):
    queue = queue_on(clock)
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        add(queue, name, priority)
        await clock.sleep(1)
    order = [(await queue.pop()).info.name for _ in range(4)]
    assert order == ["b", "d", "a", "c"]


@virtually
async def test_what_was_refused_waits_for_an_event_that_helps(clock):
    queue = queue_on(clock)
    add(queue, "a")
    queue.give_up(await queue.pop(), REFUSED)
    queue.move(Change(Resource.POD, Action.DELETE, {}, None), "AssignedPodDelete")
    assert queue.counts()["unschedulable"] == 1
    queue.move(NODE_ADDED, "NodeAdd")
    assert queue.counts()["backoff"] == 1
    queue.validate_state()
    # Nothing else is to do: it need not sit out its back-off.
    assert queue.pop_now().info.name == "a"


@virtually
async def test_an_event_during_the_attempt_is_not_lost(clock):
    queue = queue_on(clock)
    add(queue, "a")
    taken = await queue.pop()
    queue.move(NODE_ADDED, "NodeAdd")
    queue.give_up(taken, REFUSED)
    assert queue.counts()["unschedulable"] == 0
    queue.validate_state()
    assert (await queue.pop()).info.name == "a"


@virtually
async def test_an_event_before_the_attempt_does_not_count(clock):
    queue = queue_on(clock)
    add(queue, "a")
    add(queue, "b")
    first = await queue.pop()
    queue.move(NODE_ADDED, "NodeAdd")
    second = await queue.pop()
    queue.give_up(second, REFUSED)
    queue.give_up(first, REFUSED)
    assert queue.get("default/b").where == "unschedulable"
    assert queue.get("default/a").where == "backoff"


@virtually
async def test_errors_back_off_longer_and_longer_up_to_the_maximum(clock):
    queue = queue_on(clock)
    add(queue, "a")
    waits = []
    taken = await queue.pop()
    for _ in range(6):
        started = clock.now()
        queue.give_up(taken, frozenset())
        queue.validate_state()
        taken = await queue.pop()
        waits.append(clock.now() - started)
    assert waits == pytest.approx([2, 3, 5, 9, 11, 11], abs=1)


@virtually
async def test_after_five_minutes_it_is_tried_whatever_happened(clock):
    queue = queue_on(clock)
    add(queue, "a")
    queue.give_up(await queue.pop(), REFUSED)
    started = clock.now()
    taken = await queue.pop()
    assert 300 < clock.now() - started <= 331
    assert taken.flushed


@virtually
async def test_a_gated_pod_stays_out_until_its_gate_opens(clock):
    gate = Gate()
    gate.shut.add("a")
    queue = queue_on(clock, gate)
    add(queue, "a")
    add(queue, "b")
    assert queue.counts() == {"active": 1, "backoff": 0, "unschedulable": 0, "gated": 1}
    queue.move(NODE_ADDED, "NodeAdd")
    assert queue.counts()["gated"] == 1
    gate.shut.clear()
    queue.move(Change(Resource.NAMESPACE, Action.ADD, None, {}), "NamespaceAdd")
    assert queue.counts() == {"active": 2, "backoff": 0, "unschedulable": 0, "gated": 0}
    queue.validate_state()


@virtually
async def test_pending_plugins_bring_a_pod_back_at_once(clock):
    queue = queue_on(clock)
    add(queue, "a")
    queue.give_up(await queue.pop(), frozenset(), REFUSED)
    queue.move(NODE_ADDED, "NodeAdd")
    assert queue.counts()["active"] == 1


@virtually
async def test_activation_and_deletion_while_in_flight(clock):
    queue = queue_on(clock)
    add(queue, "a")
    add(queue, "b")
    first, second = await queue.pop(), await queue.pop()
    queue.activate("default/a")
    queue.delete("default/b")
    queue.give_up(first, REFUSED)
    queue.done(second)
    assert queue.counts()["unschedulable"] == 0 and len(queue) == 1
    queue.validate_state()


@virtually
async def test_no_pod_is_lost_in_any_order_of_events(clock):
    rng = random.Random(7)
    gate = Gate()
    queue = queue_on(clock, gate)
    alive, flying = set(), []
    for step in range(800):
        action = rng.randrange(8)
        name = f"p{rng.randrange(30)}"
        if action == 0:
            add(queue, name, rng.randrange(3))
            alive.add(f"default/{name}")
        elif action == 1:
            queue.delete(f"default/{name}")
            alive.discard(f"default/{name}")
            flying = [p for p in flying if p.key != f"default/{name}"]
        elif action in (2, 3) and (taken := queue.pop_now()) is not None:
            flying.append(taken)
        elif action == 4 and flying:
            queue.give_up(flying.pop(rng.randrange(len(flying))), rng.choice([frozenset(), REFUSED]))
        elif action == 5 and flying:
            done = flying.pop(rng.randrange(len(flying)))
            queue.done(done)
            alive.discard(done.key)
        elif action == 6:
            queue.move(NODE_ADDED, "NodeAdd")
        else:
            (gate.shut.add if rng.random() < 0.5 else gate.shut.discard)(name)
            await clock.sleep(rng.random() * 3)
        queue.validate_state()
        assert {p.key for p in flying} | {k for k in alive} == {k for k in alive}, step
        assert {k for k in alive if queue.get(k) is None} == set(), step
