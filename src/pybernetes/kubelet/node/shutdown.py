"""Graceful node shutdown: when the machine goes down, pods end first, the important ones last.

systemd tells by a D-Bus signal and waits while somebody holds a delay lock (``systemd-inhibit``). Rules and words of upstream's
``nodeshutdown_manager_linux.go``. Where there is no systemd, ``begin`` can still be called (by a signal of the supervisor).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from ...api.meta import Object, uid_of
from ...api.times import to_time
from ...concurrency import Clock, logger
from ..pod.model import is_critical
from ..settings import KubeletSettings

log = logger("kubelet.shutdown")

REASON, MESSAGE = "Terminated", "Pod was terminated in response to imminent node shutdown."
REJECT_REASON, REJECT_MESSAGE = "NodeShutdown", "Pod was rejected as the node is shutting down."
NOT_READY = "node is shutting down"
SYSTEM_CRITICAL = 2_000_000_000


class ShutdownHost(Protocol):
    def active_pods(self) -> list[Object]: ...

    def kill(self, pod: Object, status: dict[str, Any], *, grace: int | None) -> None: ...

    def disrupt(self, pod: Object, condition: Object) -> None: ...


def classes(settings: KubeletSettings) -> list[tuple[int, float]]:
    """(least priority, seconds) of the pods that end together, the least important first."""
    given = settings.shutdown_grace_period_by_pod_priority
    if given:
        return sorted((int(c["priority"]), float(c["shutdownGracePeriodSeconds"])) for c in given)
    last = settings.shutdown_grace_period_critical_pods
    return [(0, max(0.0, settings.shutdown_grace_period - last)), (SYSTEM_CRITICAL, last)]


def groups(pods: Sequence[Object], settings: KubeletSettings) -> list[tuple[list[Object], float]]:
    """The pods by class: each is in the class of the greatest priority that is not above its own, else in the first."""
    known = classes(settings)
    found: list[tuple[list[Object], float]] = [([], seconds) for _, seconds in known]
    for pod in pods:
        priority = int(pod["spec"].get("priority") or 0)
        if not settings.shutdown_grace_period_by_pod_priority and is_critical(pod):
            priority = SYSTEM_CRITICAL
        index = max((n for n, (least, _) in enumerate(known) if priority >= least), default=0)
        found[index][0].append(pod)
    return found


class Shutdown:
    def __init__(self, settings: KubeletSettings, clock: Clock, host: ShutdownHost) -> None:
        self._settings, self._clock, self._host = settings, clock, host
        self.under_way = False

    @property
    def configured(self) -> bool:
        return any(seconds > 0 for _, seconds in classes(self._settings))

    async def begin(self) -> None:
        """Ends all pods within the configured time. Returns when they have ended or the time is over."""
        self.under_way = True
        log.info("the node is shutting down")
        for pods, seconds in groups(self._host.active_pods(), self._settings):
            for pod in pods:
                self._end(pod, seconds)
            await self._wait({uid_of(p) for p in pods}, seconds)

    def _end(self, pod: Object, seconds: float) -> None:
        own = int(pod["spec"].get("terminationGracePeriodSeconds") or 30)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": MESSAGE,
            "lastTransitionTime": to_time(self._clock.now()),
        }
        self._host.disrupt(pod, condition)
        status = {"phase": "Failed", "reason": REASON, "message": MESSAGE}
        self._host.kill(pod, status, grace=min(own, int(seconds)))

    async def _wait(self, uids: set[str], seconds: float) -> None:
        try:
            async with self._clock.timeout(seconds):
                while uids & {uid_of(p) for p in self._host.active_pods()}:
                    await self._clock.sleep(0.1)
        except TimeoutError:
            log.warning("pods did not end in time", count=len(uids & {uid_of(p) for p in self._host.active_pods()}))


async def inhibited(shutdown: Shutdown) -> None:
    """Holds systemd's delay lock and begins when the machine prepares for shutdown. Runs until cancelled.

    ``busctl monitor`` gives the signal and ``systemd-inhibit`` the lock, so that no D-Bus library is needed.
    """
    lock = await asyncio.create_subprocess_exec(
        "systemd-inhibit",
        "--what=shutdown",
        "--who=kubelet",
        "--why=Kubelet needs time to handle node shutdown",
        "--mode=delay",
        "sleep",
        "infinity",
    )
    watch = await asyncio.create_subprocess_exec(
        "busctl",
        "--json=short",
        "--match=type='signal',interface='org.freedesktop.login1.Manager',member='PrepareForShutdown'",
        "monitor",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert watch.stdout is not None
        async for line in watch.stdout:
            if b"PrepareForShutdown" in line and b"true" in line:
                await shutdown.begin()
                return
    finally:
        for process in (watch, lock):
            if process.returncode is None:
                process.terminate()
                await process.wait()
