"""Watching the node's resources and ending pods where they run short: the shell around ``node.eviction``."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...api.meta import Object, uid_of
from ...api.times import to_time
from ...client.events import WARNING
from ...concurrency import logger
from ..context import Context
from ..cri import CRIError
from ..pod.model import full_name
from ..stats.snapshot import FileSystem, NodeSample, PodSample
from . import eviction
from .cleaning import Cleaner
from .eviction import Decision, EvictionState, Observation, PodUsage
from .machine import meminfo

log = logger("kubelet.eviction")

EVERY, EVERY_UNDER_PRESSURE = 10.0, 1.0
_EVICTED = "Evicted"


class EvictionHost(Protocol):
    """What evicting asks of the kubelet."""

    def active_pods(self) -> list[Object]: ...

    def kill(self, pod: Object, status: dict[str, Any], *, grace: int | None) -> None: ...

    def disrupt(self, pod: Object, condition: Object) -> None: ...

    def set_pressures(self, conditions: frozenset[str]) -> None: ...


class Evictor:
    def __init__(
        self,
        context: Context,
        host: EvictionHost,
        sample: Callable[[], Awaitable[NodeSample]],
        cleaner: Cleaner,
    ) -> None:
        self._context, self._host, self._sample = context, host, sample
        self._cleaner, self._clock = cleaner, context.clock
        settings = context.settings
        known = eviction.thresholds(
            settings.eviction_hard,
            settings.eviction_soft,
            settings.eviction_soft_grace_period,
            settings.eviction_minimum_reclaim,
        )
        self._state = EvictionState(known, settings.eviction_pressure_transition_period)
        self._leaving: set[str] = set()

    async def run(self) -> None:
        while True:
            acted = False
            try:
                acted = await self.look()
            except (CRIError, OSError) as failure:
                log.warning("resources not looked at", error=str(failure))
            await self._clock.sleep(EVERY_UNDER_PRESSURE if acted else EVERY)

    async def look(self) -> bool:
        """One look; True where a pod was told to go."""
        pods = self._host.active_pods()
        self._leaving &= {uid_of(p) for p in pods}
        observations = await self.observe(len(pods))
        decision = self._state.decide(observations, self._clock.monotonic())
        self._host.set_pressures(decision.conditions)
        if await self._over_limits(pods):
            return True
        if decision.acting is None:
            return False
        if await self._reclaim(decision):
            return False
        return await self._evict(decision, pods)

    async def observe(self, pods: int) -> dict[str, Observation]:
        root = self._context.settings.root_dir
        disk = os.statvfs(root if root.exists() else Path("/"))
        images = await self._cleaner.image_file_system()
        info = meminfo()
        maximum = int(Path("/proc/sys/kernel/pid_max").read_text())
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        found = {
            eviction.MEMORY: Observation(info["MemAvailable"], info["MemTotal"]),
            eviction.NODEFS: Observation(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize),
            eviction.NODEFS_INODES: Observation(disk.f_ffree, disk.f_files),
            eviction.IMAGEFS: Observation(images.f_bavail * images.f_frsize, images.f_blocks * images.f_frsize),
            eviction.IMAGEFS_INODES: Observation(images.f_ffree, images.f_files),
            eviction.PIDS: Observation(maximum - running, maximum),
        }
        # A file system that does not count its inodes cannot run short of them.
        uncounted = [n for n in (eviction.NODEFS_INODES, eviction.IMAGEFS_INODES) if not found[n].capacity]
        return {signal: seen for signal, seen in found.items() if signal not in uncounted}

    async def _reclaim(self, decision: Decision) -> bool:
        """Frees what costs nobody anything first; True where that was enough."""
        assert decision.acting is not None
        if eviction.CONDITIONS[decision.acting.signal] != "DiskPressure":
            return False
        await self._cleaner.containers()
        await self._cleaner.free_all()
        observed = (await self.observe(0)).get(decision.acting.signal)
        return observed is not None and not decision.acting.met(observed, with_reclaim=True)

    async def _usage(self) -> dict[str, PodSample]:
        return {uid_of(p.pod): p for p in (await self._sample()).pods}

    async def _evict(self, decision: Decision, pods: Sequence[Object]) -> bool:
        threshold, observed = decision.acting, decision.observed
        assert threshold is not None and observed is not None
        if self._leaving:
            # One at a time: what the last one frees may be enough.
            return True
        samples = await self._usage()
        order = eviction.ranked(threshold.signal, pods, lambda uid: _pod_usage(samples.get(uid)))
        if not order:
            log.error("the node is short and no pod may be evicted", signal=threshold.signal)
            return False
        victim = order[0]
        usage = _pod_usage(samples.get(uid_of(victim)))
        message = eviction.message_for(threshold, observed, victim, usage)
        grace = 0
        if threshold.grace:
            own = int(victim["spec"].get("terminationGracePeriodSeconds") or 30)
            grace = min(own, self._context.settings.eviction_max_pod_grace_period)
        self._go(victim, message, grace, threshold.signal)
        return True

    async def _over_limits(self, pods: Sequence[Object]) -> bool:
        """Ends pods that use more local storage than they may."""
        limited = [p for p in pods if _has_storage_limit(p)]
        if not limited:
            return False
        samples = await self._usage()
        acted = False
        for pod in limited:
            sample = samples.get(uid_of(pod))
            if sample is None or uid_of(pod) in self._leaving:
                continue
            volumes = {v.name: v.usage.used for v in sample.volumes if not v.claim}
            containers = {c.name: sum(f.used for f in (c.root, c.logs) if f is not None) for c in sample.containers}
            why = eviction.storage_violation(pod, volumes, containers, _local(sample).used)
            if why is not None:
                self._go(pod, why, 0, "ephemeralcontainerfs.limit")
                acted = True
        return acted

    def _go(self, pod: Object, message: str, grace: int, signal: str) -> None:
        self._context.meters.count("kubelet_evictions", signal)
        log.warning("evicting", pod=full_name(pod), signal=signal, message=message)
        self._leaving.add(uid_of(pod))
        self._context.tell(pod, WARNING, _EVICTED, message)
        condition = eviction.disruption(message) | {"lastTransitionTime": to_time(self._clock.now())}
        self._host.disrupt(pod, condition)
        self._host.kill(pod, {"phase": "Failed", "reason": _EVICTED, "message": message}, grace=grace)


def _local(sample: PodSample) -> FileSystem:
    """What a pod has on the node's own disk: volumes, layers and logs."""
    parts = [v.usage for v in sample.volumes if not v.claim and not v.in_memory]
    parts += [f for c in sample.containers for f in (c.root, c.logs) if f is not None]
    parts += [sample.hosts] if sample.hosts is not None else []
    return FileSystem(used=sum(p.used for p in parts), inodes_used=sum(p.inodes_used for p in parts))


def _pod_usage(sample: PodSample | None) -> PodUsage:
    if sample is None:
        return PodUsage()
    local = _local(sample)
    figures = sample.cgroup.figures if sample.cgroup is not None else None
    memory = figures.memory.working_set if figures is not None else 0
    return PodUsage(memory, local.used, local.inodes_used, figures.processes if figures is not None else 0)


def _has_storage_limit(pod: Mapping[str, Any]) -> bool:
    spec = pod.get("spec") or {}
    if any((v.get("emptyDir") or {}).get("sizeLimit") for v in spec.get("volumes") or ()):
        return True
    containers = spec.get("containers") or ()
    return any("ephemeral-storage" in ((c.get("resources") or {}).get("limits") or {}) for c in containers)
