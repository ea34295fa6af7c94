"""Everything goes wrong at once, against the real API server: the outcome is the same, and promises hold on the way.

The manager is killed at random points and started again; its calls fail before and after they were carried out, are refused
(409, 429, 500), and its watches break or cannot be resumed (410).
"""

import asyncio
import json
import random

import pytest

from pybernetes.api import errors
from pybernetes.api.errors import StatusError
from pybernetes.api.meta import finalizers_of, is_deleting, uid_of
from pybernetes.api.resources import (
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
)
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.client.informer import Informer
from pybernetes.client.rest import Client
from pybernetes.client.transport import TransportError
from pybernetes.cluster.simulated import Stage
from pybernetes.concurrency import VirtualClock, virtual_event_loop
from pybernetes.controllers.job.pods import FINALIZER
from pybernetes.controllers.manager import ControllerManager
from pybernetes.controllers.pods import is_ready, is_terminal
from pybernetes.hooks.identity import AUTHENTICATED, SYSTEM_MASTERS, UserInfo

from .helpers import condition, deployment, template
from .real_world import real_world

ADMIN = UserInfo("admin", groups=(SYSTEM_MASTERS, AUTHENTICATED))


class _Refusal:
    def __init__(self, failure):
        self.status = failure.code
        self.headers = {"content-type": "application/json"}
        if failure.retry_after:
            self.headers["retry-after"] = str(failure.retry_after)
        self._body = json.dumps(failure.to_status()).encode()

    async def read(self):
        return self._body

    async def chunks(self):
        yield self._body

    def close(self):
        pass


class Unreliable:
    """A way to the server on which one call in seven goes wrong."""

    def __init__(self, transport, clock, rng, rate=0.15):
        self.inner, self.clock, self.rng, self.rate = transport, clock, rng, rate
        self.on = True

    async def send(self, request):
        if self.on:
            await self.clock.sleep(self.rng.random() * 0.01)
        roll = self.rng.random() / self.rate if self.on else 1.0
        watching = "watch=true" in request.target
        if roll < 0.25:
            raise TransportError("connection refused", sent=False)
        if roll < 0.6:
            kinds = [errors.too_old_resource_version(1, 2)] if watching else [
                errors.conflict("", "things", "x"), errors.too_many_requests(retry_after=1), errors.internal_error("disk"),
            ]  # fmt: skip
            return _Refusal(self.rng.choice(kinds))
        answer = await self.inner.send(request)
        if watching and self.on:
            return _Breaking(answer, self.rng)
        if roll < 1.0 and request.method != "GET":
            answer.close()
            raise TransportError("connection reset", sent=True)
        return answer

    def close(self):
        self.inner.close()


class _Breaking:
    """A watch that ends after some events."""

    def __init__(self, answer, rng):
        self.answer, self.left = answer, rng.randrange(1, 60)
        self.status, self.headers = answer.status, answer.headers

    async def read(self):
        return await self.answer.read()

    async def chunks(self):
        async for chunk in self.answer.chunks():
            yield chunk
            self.left -= 1
            if self.left == 0:
                raise TransportError("connection reset", sent=True)

    def close(self):
        self.answer.close()


async def torment(world, rng, names, until, limit=900.0):
    """Runs managers that die, over an unreliable way, until ``until()``; then one in peace until all is quiet."""
    link = Unreliable(InProcessTransport(world.server, ADMIN), world.clock, rng)
    client = Client(link, clock=world.clock, user_agent="kube-controller-manager")
    loop, started = asyncio.get_running_loop(), world.clock.now()
    lives = 0
    while lives < 5 or not await until():
        manager = ControllerManager(client, world.clock, controllers=names, rng=rng)
        task = loop.create_task(manager.run())
        await world.clock.sleep(rng.choice([0.05, 0.3, 1.0, 5.0]) * rng.random())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        lives += 1
        assert world.clock.now() - started < limit, f"not done after {lives} lives"
    link.on = False
    manager = ControllerManager(client, world.clock, controllers=names, rng=rng)
    task = loop.create_task(manager.run())
    await world.clock.sleep(60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Truth:
    """What really is, seen over a way that nothing disturbs."""

    def __init__(self, world, *gvrs):
        self.informers = {g: Informer(world.client, g, clock=world.clock) for g in gvrs}

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(i.run()) for i in self.informers.values()]
        for informer in self.informers.values():
            await informer.wait_synced()
        return self

    async def __aexit__(self, *failure):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def all(self, gvr):
        return self.informers[gvr].list("work")

    def status(self, gvr):
        """Of the only object; empty where it is not seen yet."""
        return (next(iter(self.all(gvr)), {}).get("status")) or {}


@pytest.fixture
def tormented():
    def run(body, seed, *stages):
        clock = VirtualClock()
        loop = virtual_event_loop(clock)

        async def main():
            quiet = ["serviceaccount"]
            async with real_world(clock, controllers=quiet, nodes=2, stages=stages or None, seed=seed) as world:
                await world.client.create(
                    NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "work"}}
                )
                await world.settle(1)
                await body(world, random.Random(seed))

        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    return run


SLOW = Stage(start=(0.1, 1.0), ready=(0.1, 1.0), stop=(0.1, 1.0))


@pytest.mark.parametrize("seed", range(4))
def test_a_rollout(tormented, seed):
    names = ["deployment", "replicaset"]

    async def body(world, rng):
        made = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            **deployment("web", 8, namespace="work", surge=2, unavailable=2),
        }
        async with Truth(world, PODS, REPLICA_SETS, DEPLOYMENTS) as truth:
            await world.client.create(DEPLOYMENTS, made)

            def living():
                return [p for p in truth.all(PODS) if not is_deleting(p) and not is_terminal(p)]

            async def complete():
                return truth.status(DEPLOYMENTS).get("availableReplicas") == 8

            await torment(world, rng, names, complete)
            assert len(living()) == 8
            most, least = [0], [99]

            def watch(kind, old, new):
                # As upstream's own tests: what the sets ask for bounds the surge, for a set may be behind with deleting.
                most[0] = max(most[0], sum(s["spec"]["replicas"] for s in truth.all(REPLICA_SETS)))
                least[0] = min(least[0], sum(map(is_ready, living())))

            for gvr in (PODS, REPLICA_SETS):
                truth.informers[gvr].add_handler(watch)
            patch = {"spec": {"template": template({"app": "web"}, "app:2")}}
            await world.client.patch(DEPLOYMENTS, "web", patch, "work")

            async def renewed():
                status = truth.status(DEPLOYMENTS)
                if status.get("observedGeneration") != 2:
                    return False
                return status.get("updatedReplicas") == status.get("availableReplicas") == status.get("replicas") == 8

            await torment(world, rng, names, renewed)
            assert most[0] <= 10 and least[0] >= 6
            assert {p["spec"]["containers"][0]["image"] for p in living()} == {"app:2"} and len(living()) == 8
            assert sorted(s["spec"]["replicas"] for s in truth.all(REPLICA_SETS)) == [0, 8]

    tormented(body, seed, SLOW)


@pytest.mark.parametrize("seed", range(4))
def test_a_job(tormented, seed):
    async def body(world, rng):
        labels = {"j": "j"}
        spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j", "namespace": "work"},
            "spec": {
                "completions": 12,
                "parallelism": 4,
                "backoffLimit": 1000,
                "completionMode": "Indexed",
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
        async with Truth(world, PODS, JOBS) as truth:
            succeeded = {}

            def watch(kind, old, new):
                if (new.get("status") or {}).get("phase") == "Succeeded":
                    index = new["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
                    succeeded.setdefault(index, set()).add(uid_of(new))

            truth.informers[PODS].add_handler(watch)
            await world.client.create(JOBS, job)

            async def finished():
                return condition({"status": truth.status(JOBS)}, "Complete") is not None

            await torment(world, rng, ["job"], finished, limit=5000)
            status = truth.all(JOBS)[0]["status"]
            assert status["succeeded"] == 12 and status["completedIndexes"] == "0-11"
            # No index ran again after it had succeeded, and every failure was counted once.
            assert len(succeeded) == 12 and all(len(s) == 1 for s in succeeded.values())
            failed = [p for p in truth.all(PODS) if p["status"]["phase"] == "Failed"]
            assert status.get("failed", 0) == len(failed)
            assert not any(FINALIZER in finalizers_of(p) for p in truth.all(PODS))

    tormented(body, seed, Stage(start=(0.0, 0.5), run=(0.2, 2.0), failure_rate=0.2))


@pytest.mark.parametrize("seed", range(4))
def test_a_stateful_set(tormented, seed):
    async def body(world, rng):
        labels = {"app": "db"}
        made = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "work"},
            "spec": {
                "replicas": 3,
                "serviceName": "db",
                "selector": {"matchLabels": labels},
                "template": template(labels),
            },
        }
        async with Truth(world, PODS, STATEFUL_SETS) as truth:
            broken = []

            def watch(kind, old, new):
                if kind == "ADDED":
                    name = new["metadata"]["name"]
                    if not all(
                        is_ready(p) and not is_deleting(p) for p in truth.all(PODS) if p["metadata"]["name"] < name
                    ):
                        broken.append(name)

            truth.informers[PODS].add_handler(watch)
            await world.client.create(STATEFUL_SETS, made)

            async def done(image):
                pods = truth.all(PODS)
                ready = [p for p in pods if is_ready(p) and p["spec"]["containers"][0]["image"] == image]
                return len(pods) == len(ready) == 3

            await torment(world, rng, ["statefulset"], lambda: done("app:1"))
            await world.client.patch(STATEFUL_SETS, "db", {"spec": {"template": template(labels, "app:2")}}, "work")
            await torment(world, rng, ["statefulset"], lambda: done("app:2"))
            assert not broken
            status = truth.all(STATEFUL_SETS)[0]["status"]
            assert status["currentRevision"] == status["updateRevision"] and status["readyReplicas"] == 3

    tormented(body, seed, SLOW)


@pytest.mark.parametrize("seed", range(2))
def test_a_namespace_and_what_owns_what(tormented, seed):
    names = ["deployment", "replicaset", "garbagecollector", "namespace"]

    async def body(world, rng):
        for name in ("one", "two"):
            made = deployment(name, 3, namespace="work")
            await world.client.create(DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", **made})

        async with Truth(world, PODS, REPLICA_SETS, DEPLOYMENTS) as truth:

            async def full():
                return sum(map(is_ready, truth.all(PODS))) == 6

            await torment(world, rng, names, full)
            await world.client.delete(DEPLOYMENTS, "one", "work", propagation_policy="Foreground")

            async def half():
                left = {d["metadata"]["name"] for d in truth.all(DEPLOYMENTS)}
                return left == {"two"} and len(truth.all(PODS)) == 3

            await torment(world, rng, names, half)
            await world.client.delete(NAMESPACES, "work")

            async def gone():
                try:
                    await world.client.get(NAMESPACES, "work")
                except StatusError as failure:
                    return failure.code == 404
                return False

            await torment(world, rng, names, gone)
            assert truth.all(PODS) == truth.all(REPLICA_SETS) == truth.all(DEPLOYMENTS) == []

    tormented(body, seed, SLOW)
