"""PodDisruptionBudgets against the real API server: several clients evict at will, and never fewer pods are healthy than promised."""

import asyncio
import random

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.meta import is_deleting
from pybernetes.api.resources import NAMESPACES, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS
from pybernetes.client.informer import Informer
from pybernetes.cluster.simulated import Stage
from pybernetes.concurrency import VirtualClock, virtual_event_loop
from pybernetes.controllers.pods import is_ready

from .helpers import replica_set
from .real_world import real_world

SLOW = (Stage(start=(0.1, 1.5), ready=(0.1, 1.5), stop=(0.1, 2.0)),)
REPLICAS = 6


async def evict_at_will(world, pods, rng, refused, rounds):
    for _ in range(rounds):
        await world.clock.sleep(rng.choice([0.0, 0.01, 0.3, 2.0]))
        living = [p for p in pods.list("work") if not is_deleting(p)]
        if not living:
            continue
        name = rng.choice(living)["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": "work"},
            "deleteOptions": {"gracePeriodSeconds": 2},
        }
        try:
            await world.client.create(PODS, eviction, "work", name=name, subresource="eviction")
        except StatusError as failure:
            assert failure.code in (404, 409, 429), failure
            refused.append(failure.code)


@pytest.mark.parametrize("budget", [{"minAvailable": 4}, {"maxUnavailable": 1}, {"minAvailable": "50%"}])
@pytest.mark.parametrize("seed", range(2))
def test_a_budget_holds(budget, seed):
    least = {"minAvailable": {4: 4, "50%": 3}, "maxUnavailable": {1: 5}}
    ((kind, value),) = budget.items()
    promised, broken, refused = least[kind][value], [], []

    async def body(clock):
        names = ["serviceaccount", "replicaset", "disruption"]
        async with real_world(clock, controllers=names, nodes=2, stages=SLOW, seed=seed) as world:
            await world.client.create(
                NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "work"}}
            )
            await world.settle(1)
            pods = Informer(world.client, PODS, clock=clock)
            task = asyncio.get_running_loop().create_task(pods.run())
            made = replica_set("web", REPLICAS, namespace="work")
            await world.client.create(REPLICA_SETS, {"apiVersion": "apps/v1", "kind": "ReplicaSet", **made})
            spec = {"selector": {"matchLabels": {"app": "web"}}, **budget}
            meta = {"name": "web", "namespace": "work"}
            await world.client.create(
                POD_DISRUPTION_BUDGETS,
                {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec},
            )
            await world.settle(20)

            def healthy():
                return sum(is_ready(p) and not is_deleting(p) for p in pods.list("work"))

            assert healthy() == REPLICAS

            def changed(kind, old, new):
                if healthy() < promised:
                    broken.append(healthy())

            pods.add_handler(changed)
            rngs = [random.Random(f"{seed}/{n}") for n in range(3)]
            await asyncio.gather(*(evict_at_will(world, pods, rng, refused, 25) for rng in rngs))
            await world.settle(30)
            assert healthy() == REPLICAS
            status = (await world.client.get(POD_DISRUPTION_BUDGETS, "web", "work"))["status"]
            assert status["disruptionsAllowed"] == REPLICAS - promised and status["currentHealthy"] == REPLICAS
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    clock = VirtualClock()
    loop = virtual_event_loop(clock)
    try:
        loop.run_until_complete(body(clock))
    finally:
        loop.close()
    assert not broken, f"{min(broken)} healthy, {promised} were promised"
    assert 429 in refused, "nobody was refused: the budget was never at its limit"
