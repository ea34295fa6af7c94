"""The shell of pod garbage collection: one pass every 20 seconds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, name_of
from ...api.resources import NODES, PODS
from ..pods import node_of
from ..runtime import API_ERRORS, Controller, bound, in_parallel
from . import decide


class PodGarbageCollector(Controller):
    name = "pod-garbage-collector-controller"
    workers = 1

    def setup(self) -> None:
        self.pods, self.nodes = self.informer(PODS), self.informer(NODES)
        self._missing: dict[str, float] = {}

    async def sync(self, key: str) -> float | None:
        return None

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._passes,)

    async def _passes(self) -> None:
        while True:
            await self.clock.sleep(self.context.settings.pod_gc_period)
            await self.collect()

    async def collect(self) -> None:
        pods, nodes, now = self.pods.list(), {name_of(n): n for n in self.nodes.list()}, self.clock.now()
        doomed = decide.surplus_terminated(pods, self.context.settings.terminated_pod_gc_threshold)
        doomed += decide.out_of_service(pods, nodes) + decide.never_bound(pods)
        unique = {id(p): p for p in doomed}
        jobs = [bound(self.execute, decide.removal(p, now)) for p in unique.values()]
        gone = await self._gone_nodes(pods, nodes, now)
        jobs += [
            bound(self.execute, decide.removal(p, now, orphaned=True))
            for p in pods
            if node_of(p) in gone and id(p) not in unique
        ]
        for failure in await in_parallel(jobs):
            self.log.warning("pod not collected", error=str(failure))

    async def _gone_nodes(self, pods: list[Object], nodes: dict[str, Object], now: float) -> set[str]:
        """Nodes that pods name, missing for long enough, and unknown to the server too."""
        named = {node_of(p) for p in pods} - {""} - nodes.keys()
        self._missing = {n: self._missing.get(n, now) for n in named}
        gone = set()
        for name, since in self._missing.items():
            if now - since < decide.QUARANTINE:
                continue
            try:
                await self.client.get(NODES, name)
            except StatusError as failure:
                if failure.reason == "NotFound":
                    gone.add(name)
            except API_ERRORS as failure:
                self.log.info("node not looked up", node=name, error=str(failure))
        return gone
