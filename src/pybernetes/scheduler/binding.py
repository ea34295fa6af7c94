"""The binding cycle: Permit's waiting, PreBind, Bind and PostBind of pods that have been given a node.

Each pod in a task of its own; only calls of Bind plugins are limited, so that one pod that waits for a volume, or a plugin
that hangs, holds up nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..api.errors import StatusError
from ..api.resources import PODS
from ..client.rest import Client
from ..concurrency import Clock, TimerHandle, logger
from ..hooks.scheduling import Code, CycleState, Plugin, Status
from .framework import Profile
from .podinfo import PodInfo
from .queue import QueuedPod

MAXIMUM_PERMIT_SECONDS = 900.0
VERIFY_SECONDS = 1.0
"""Between two looks at a pod of which nobody knows whether it was bound."""

log = logger("scheduler.binding")


class WaitingPod:
    """A pod held by Permit plugins until all allow it or one rejects it."""

    def __init__(self, pod: PodInfo, plugins: dict[str, float]) -> None:
        self.pod = pod
        self._plugins = dict(plugins)
        self._answer: asyncio.Future[Status | None] = asyncio.get_running_loop().create_future()

    @property
    def pending_plugins(self) -> list[str]:
        return list(self._plugins)

    def allow(self, plugin: str) -> None:
        self._plugins.pop(plugin, None)
        if not self._plugins and not self._answer.done():
            self._answer.set_result(None)

    def reject(self, plugin: str, message: str) -> bool:
        if self._answer.done():
            return False
        self._answer.set_result(Status(Code.UNSCHEDULABLE, (message,), plugin))
        return True

    def _timer(self, clock: Clock, plugin: str, seconds: float) -> TimerHandle:
        words = f'rejected due to timeout after waiting {seconds:g}s at plugin "{plugin}"'

        def over() -> None:
            self.reject(plugin, words)

        return clock.call_later(min(seconds, MAXIMUM_PERMIT_SECONDS), over)

    async def wait(self, clock: Clock) -> Status | None:
        timers = [self._timer(clock, plugin, seconds) for plugin, seconds in self._plugins.items()]
        try:
            return await self._answer
        finally:
            for timer in timers:
                timer.cancel()


@dataclass(slots=True)
class Binding:
    """A pod on its way to the node it was given."""

    queued: QueuedPod
    pod: PodInfo
    node: str
    state: CycleState
    profile: Profile
    started: float
    waiting: WaitingPod | None = None
    gone: bool = False
    """The pod was deleted meanwhile."""
    extra: dict[str, Any] = field(default_factory=dict)


class Binder:
    """Runs binding cycles."""

    def __init__(self, client: Client, clock: Clock, *, parallel: int = 32) -> None:
        self._client, self._clock = client, clock
        self._limit = asyncio.Semaphore(parallel)
        self.ready = 0
        """Pods that are being bound or wait for nothing but their turn."""
        self.room = asyncio.Event()
        self.room.set()
        self._most = parallel * 4

    def _count(self, change: int) -> None:
        self.ready += change
        if self.ready >= self._most:
            self.room.clear()
        else:
            self.room.set()

    async def bind(self, binding: Binding, prebinding: Callable[[], None]) -> Status | None:
        """None where the pod is bound. ``prebinding`` is called when nothing can make the pod wait in Permit any more."""
        if binding.waiting is not None:
            status = await binding.waiting.wait(self._clock)
            if status is not None:
                return status
        prebinding()
        for selected in binding.profile.at("preBind"):
            status = await self._guarded(
                selected.plugin, selected.plugin.pre_bind(binding.state, binding.pod, binding.node)
            )
            if status is not None:
                return status
        self._count(1)
        try:
            async with self._limit:
                return await self._bind(binding)
        finally:
            self._count(-1)

    async def _bind(self, binding: Binding) -> Status | None:
        if binding.gone:
            return Status(Code.ERROR, (f'pods "{binding.pod.name}" not found',))
        for selected in binding.profile.at("bind"):
            plugin = selected.plugin
            status = await self._guarded(plugin, plugin.bind(binding.state, binding.pod, binding.node), skip=True)
            if status is not None and status.code == Code.SKIP:
                continue
            if status is None or not await self._was_bound(binding, status):
                return status
            return None
        return Status(Code.ERROR, ("no plugin bound the pod",))

    async def _guarded(self, plugin: Plugin, calling: Any, *, skip: bool = False) -> Status | None:
        """A plugin's answer, None for success; what it raises is an error of this pod alone."""
        try:
            status: Status | None = await calling
        except Exception as failure:  # noqa: BLE001 - the boundary of a plugin: reported, and the pod is tried again
            log.warning("plugin failed", plugin=plugin.name, error=f"{type(failure).__name__}: {failure}")
            return Status(Code.ERROR, (f'plugin "{plugin.name}" failed: {failure}',))
        if status is None or status.code == Code.SUCCESS or (status.code == Code.SKIP and not skip):
            return None
        return status if status.plugin else Status(status.code, status.reasons, plugin.name)

    async def _was_bound(self, binding: Binding, status: Status) -> bool:
        """Asks the API server, where the answer to a binding was lost: the room may not be given away while it is unknown."""
        if status.code != Code.ERROR or not binding.state.get(UNCERTAIN):
            return False
        while True:
            try:
                pod = await self._client.get(PODS, binding.pod.name, binding.pod.namespace)
            except StatusError as failure:
                if failure.code == 404:
                    return False
            except (ConnectionError, TimeoutError) as failure:
                log.info("binding unknown", pod=binding.pod.key, error=str(failure))
            else:
                same = pod["metadata"].get("uid") == binding.pod.uid
                return same and (pod.get("spec") or {}).get("nodeName") == binding.node
            await self._clock.sleep(VERIFY_SECONDS)


UNCERTAIN = "scheduler/binding uncertain"
"""Set in a pod's state by a Bind plugin that does not know whether the binding was written."""
