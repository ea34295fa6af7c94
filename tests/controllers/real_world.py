"""The manager and simulated nodes against the real API server in one event loop, with a scheduler of ten lines."""

import asyncio
import itertools
import random
from contextlib import asynccontextmanager

from pybernetes.api.errors import StatusError
from pybernetes.api.meta import is_deleting
from pybernetes.api.resources import NAMESPACES, PODS
from pybernetes.apiserver.composition import Options, compose
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.client.informer import Informer
from pybernetes.client.rest import Client
from pybernetes.cluster.simulated import SimulatedNodes
from pybernetes.concurrency import WorkQueue, run_workers
from pybernetes.controllers.manager import ControllerManager
from pybernetes.hooks.identity import AUTHENTICATED, SYSTEM_MASTERS, UserInfo
from pybernetes.storage.memory import MemoryStore


class RoundRobin:
    """Binds every pending pod to the next node."""

    def __init__(self, client, clock, names):
        self.client, self.queue = client, WorkQueue(clock)
        self.names = itertools.cycle(names)
        self.pods = Informer(client, PODS, clock=clock)
        self.pods.add_handler(self._changed)

    def _changed(self, kind, old, new):
        if kind != "DELETED" and not new["spec"].get("nodeName") and not is_deleting(new):
            self.queue.add((new["metadata"]["namespace"], new["metadata"]["name"]))

    async def bind(self, key):
        target = {"kind": "Node", "name": next(self.names)}
        body = {
            "kind": "Binding",
            "apiVersion": "v1",
            "metadata": {"name": key[1], "namespace": key[0]},
            "target": target,
        }
        try:
            await self.client.create(PODS, body, key[0], name=key[1], subresource="binding")
        except StatusError as failure:
            if failure.code not in (404, 409):
                raise

    async def run(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run())
            group.create_task(run_workers(self.queue, 16, self.bind, lambda key, failure: None))


class RealWorld:
    def __init__(self, clock, server, client, manager, nodes):
        self.clock, self.server, self.client, self.manager, self.nodes = clock, server, client, manager, nodes

    async def settle(self, seconds=0.0):
        if seconds:
            await self.clock.sleep(seconds)
        quiet = 0
        while quiet < 5:
            await self.clock.sleep(0.002)
            quiet = quiet + 1 if self.manager.idle else 0

    async def all(self, gvr, namespace=""):
        return (await self.client.list(gvr, namespace))["items"]


@asynccontextmanager
async def real_world(clock, *, controllers=("*",), nodes=3, stages=None, settings=None, seed=0):
    rng = random.Random(seed)
    server = compose(MemoryStore(clock), clock, rng, Options())
    await server.start()
    admin = UserInfo("admin", groups=(SYSTEM_MASTERS, AUTHENTICATED))
    client = Client(InProcessTransport(server, admin), clock=clock, user_agent="kube-controller-manager")
    for name in ("default", "kube-system", "kube-node-lease"):
        try:
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        except StatusError as failure:
            if failure.code != 409:
                raise
    manager = ControllerManager(client, clock, controllers=controllers, settings=settings, rng=rng)
    simulated = SimulatedNodes(client, clock, nodes, **({"stages": stages} if stages else {}), rng=rng)
    scheduler = RoundRobin(client, clock, simulated.names)
    parts = [server.run(), manager.run(), simulated.run(), scheduler.run()]
    tasks = [asyncio.get_running_loop().create_task(part) for part in parts]
    try:
        await simulated.registered.wait()
        while not manager.controllers or not all(c.started for c in manager.controllers):
            await clock.sleep(0.01)
        yield RealWorld(clock, server, client, manager, simulated)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
