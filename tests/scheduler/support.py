"""A scheduler on the real API server in this process, most often on virtual time."""

import asyncio
import random
from contextlib import asynccontextmanager

from pybernetes.api.resources import NODES, PODS
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.client.informer import InformerFactory
from pybernetes.client.rest import Client
from pybernetes.hooks.identity import LOOPBACK
from pybernetes.scheduler.profiles import plugin_factories
from pybernetes.scheduler.scheduler import Scheduler
from pybernetes.testing import start_cluster


def pod(name, *, labels=None, requests=None, namespace="default", **spec):
    container = {"name": "c", "image": "i", "resources": {"requests": requests or {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


def node(name, *, labels=None, cpu="4", memory="8Gi", pods="110", taints=(), **allocatable):
    amounts = {"cpu": cpu, "memory": memory, "pods": pods, **allocatable}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": amounts, "capacity": amounts, "conditions": [{"type": "Ready", "status": "True"}]},
    }


class Placing:
    """A cluster without nodes of its own, and a scheduler."""

    def __init__(self, cluster, scheduler):
        self.cluster, self.client, self.scheduler = cluster, cluster.client, scheduler

    async def add_node(self, *args, **kwargs):
        made = node(*args, **kwargs)
        await self.client.create(NODES, made)
        # A new node is tainted until its kubelet says that it is ready.
        await self.client.patch(NODES, made["metadata"]["name"], {"spec": {"taints": made["spec"]["taints"] or None}})

    async def add_pod(self, *args, **kwargs):
        return await self.client.create(PODS, pod(*args, **kwargs))

    async def placed(self, name, namespace="default"):
        found = await self.cluster.wait_for(PODS, name, lambda p: p["spec"].get("nodeName"), namespace, timeout=3600)
        return found["spec"]["nodeName"]

    async def refused(self, name, reason="Unschedulable"):
        def condition(p):
            found = [c for c in (p.get("status") or {}).get("conditions") or () if c["type"] == "PodScheduled"]
            return found and found[0]["status"] == "False" and found[0].get("reason") == reason

        found = await self.cluster.wait_for(PODS, name, condition, "default", timeout=3600)
        return next(c for c in found["status"]["conditions"] if c["type"] == "PodScheduled")["message"]

    async def nodes_of_pods(self):
        items = (await self.client.list(PODS))["items"]
        return {p["metadata"]["name"]: p["spec"].get("nodeName") for p in items}

    def validate_state(self):
        """The node table adds up to the pods that are placed, and the queue is whole."""
        self.scheduler.queue.validate_state()
        table = self.scheduler.model.table
        for row in table.rows.values():
            asked = [p.facts.requests.get("cpu", 0) for p in table.pods[row].values()]
            assert table.requested[0, row] == sum(asked)
            assert table.pod_count[row] == len(asked)


@asynccontextmanager
async def placing(clock, *, controllers=("serviceaccount",), seed=1, configuration=None, plugins=None, transport=None):
    """``plugins`` are further factories; ``transport`` wraps the scheduler's way to the API server."""
    async with start_cluster(nodes=0, clock=clock, seed=seed, controllers=controllers, schedule=False) as cluster:
        way = InProcessTransport(cluster.server, LOOPBACK)
        client = Client(transport(way) if transport else way, clock=clock, user_agent="kube-scheduler")
        factory = InformerFactory(client, clock, random.Random(seed))
        factories = {**plugin_factories(), **(plugins or {})}
        scheduler = Scheduler(
            client, factory, clock, rng=random.Random(seed), configuration=configuration, factories=factories
        )
        tasks = [asyncio.ensure_future(factory.run()), asyncio.ensure_future(scheduler.run())]
        try:
            yield Placing(cluster, scheduler)
            for task in tasks:
                assert not task.done(), task.exception()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
