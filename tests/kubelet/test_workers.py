"""The shell around the pod's machine: whatever the order of events, every step ends and the next one comes."""

import asyncio
import random

from pybernetes.kubelet.pod.lifecycle import Changed, Done, Gone, KillRequested, Poked, Stage
from pybernetes.kubelet.workers import PodWorkers
from pybernetes.testing.cluster import run_virtually

from .builders import pod


class Steps:
    """Steps that take time; a termination takes as long as its grace period."""

    def __init__(self, clock, rng):
        self.clock, self.rng, self.done, self.gone = clock, rng, [], []

    async def sync(self, pod, step):
        for _ in range(3):
            if step.stopping():
                break
            await self.clock.sleep(self.rng.random())
        self.done.append("sync")
        return Done(again=30)

    async def terminate(self, pod, grace, status):
        await self.clock.sleep(grace or 0)
        self.done.append(f"terminate {grace}")

    async def clean_up(self, pod):
        await self.clock.sleep(self.rng.random())
        self.done.append("clean up")

    def forgotten(self, pod):
        self.gone.append(pod["metadata"]["uid"])


def dying(grace):
    return pod(meta={"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace})


def run(test, seed=1):
    async def main(clock):
        steps = Steps(clock, random.Random(seed))
        workers = PodWorkers(steps, clock)
        task = asyncio.get_running_loop().create_task(workers.run())
        await clock.sleep(0)
        try:
            await test(clock, workers, steps)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run_virtually(main)


def test_a_deletion_in_the_same_breath_as_the_start():
    async def test(clock, workers, steps):
        workers.start(pod())
        workers.send("u1", Changed(dying(5)))
        await clock.sleep(20)
        assert steps.done[-2:] == ["terminate 5", "clean up"]

    run(test)


def test_a_shorter_grace_period_before_the_longer_one_has_begun():
    async def test(clock, workers, steps):
        workers.start(dying(300))
        workers.send("u1", Changed(dying(2)))
        await clock.sleep(20)
        assert steps.done == ["terminate 2", "clean up"]

    run(test)


def test_grace_periods_that_shrink_again_and_again():
    async def test(clock, workers, steps):
        workers.start(pod())
        await clock.sleep(10)
        for grace in (300, 100, 50, 3):
            workers.send("u1", Changed(dying(grace)))
            await clock.sleep(1)
        await clock.sleep(10)
        assert steps.done[1:] == ["terminate 3", "clean up"]

    run(test)


def test_any_order_of_events_ends_well():
    """A few hundred random lives: each ends once, in order, and is forgotten."""

    async def test(clock, workers, steps):
        rng = steps.rng
        workers.start(pod())
        for _ in range(rng.randrange(12)):
            event = rng.choice(
                [
                    Poked(),
                    Changed(pod()),
                    Changed(dying(rng.randrange(40))),
                    KillRequested({"phase": "Failed"}, rng.randrange(9)),
                ]
            )
            workers.send("u1", event)
            await clock.sleep(rng.choice([0, 0, 0.1, 1, 5]))
        workers.send("u1", Changed(dying(1)))
        await clock.sleep(400)
        assert workers.stage("u1") is Stage.FINISHED
        workers.send("u1", Gone())
        assert steps.gone == ["u1"] and "u1" not in workers
        assert steps.done.count("clean up") == 1 and steps.done[-1] == "clean up"
        assert sum(d.startswith("terminate") for d in steps.done) == 1

    for seed in range(200):
        run(test, seed)
