"""The three steps of a pod: sync, terminate, clean up. Each looks at what is, decides by ``pod/``, carries out, and reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..api.meta import Object, namespace_of, uid_of
from ..api.times import parse_time
from ..client.events import WARNING
from ..concurrency import logger
from .allocation import Allocations
from .cgroups import Cgroups
from .context import Context
from .objects import ObjectCache
from .pod.actions import Actions, compute_actions
from .pod.lifecycle import Done
from .pod.model import RuntimePod, full_name, uses_host_network
from .pod.status import Facts, generate_status, restart_all_wanted
from .pod_runtime import Outcome, PodRuntime
from .preparing import Preparation
from .probes import Prober
from .runtime_cache import RuntimeCache
from .status_manager import StatusManager
from .volumes.manager import OPERATION, MountFailed, VolumeManager, is_live
from .volumes.sources import Mounted
from .workers import Step

log = logger("kubelet.sync")

_MOUNT_RETRY, _MOUNT_RETRY_MAX = 0.5, 122.0
NETWORK_NOT_READY = "network is not ready"
DEADLINE = {
    "phase": "Failed",
    "reason": "DeadlineExceeded",
    "message": "Pod was active on the node longer than the specified deadline",
}


@dataclass(slots=True)
class Memory:
    """What is remembered of a pod between its steps."""

    mounted: dict[str, Mounted] | None = None
    mounted_at: float = 0.0
    mounted_for: Object | None = None
    mount_failures: int = 0
    reasons: dict[str, tuple[str, str]] = field(default_factory=dict)
    override: Mapping[str, Any] = field(default_factory=dict)
    disruption: Object | None = None
    """The DisruptionTarget condition, where the node ends the pod for a reason of its own."""
    seen_at: float = 0.0
    started: bool = False


class PodSteps:
    """Satisfies ``workers.Steps``."""

    def __init__(
        self,
        context: Context,
        *,
        cache: RuntimeCache,
        status: StatusManager,
        volumes: VolumeManager,
        objects: ObjectCache,
        preparation: Preparation,
        runtime: PodRuntime,
        prober: Prober,
        cgroups: Cgroups,
        allocations: Allocations,
        network_error: Callable[[], str],
        forget: Callable[[Object], None],
    ) -> None:
        self._context, self._cache, self._status, self._volumes = context, cache, status, volumes
        self._objects, self._preparation, self._runtime = objects, preparation, runtime
        self._prober, self._cgroups, self._network_error = prober, cgroups, network_error
        self._allocations, self._forget = allocations, forget
        self._memory: dict[str, Memory] = {}

    def memory(self, uid: str) -> Memory:
        if uid not in self._memory:
            self._memory[uid] = Memory(seen_at=self._context.clock.monotonic())
        return self._memory[uid]

    # -- status ----------------------------------------------------------------------------------------------------

    def report(self, pod: Object, runtime: RuntimePod, *, terminal: bool = False) -> Object:
        """Generates the pod's status and hands it to the status manager."""
        uid = uid_of(pod)
        memory = self.memory(uid)
        old = self._status.current(uid) or pod.get("status") or {}
        facts = Facts(
            now=self._context.clock.now(),
            host_ips=tuple(self._context.host_ips()),
            probes=self._prober.results(),
            reasons=memory.reasons,
            recursive_read_only=self._preparation.recursive_read_only,
            terminal=terminal,
            override=memory.override,
            actuated=self._allocations.actuated(uid),
            extra_conditions=[] if terminal else self._allocations.conditions(uid),
        )
        if memory.disruption is not None:
            old = {**old, "conditions": [*(old.get("conditions") or ()), memory.disruption]}
        pod = self._allocations.effective(pod)
        status = generate_status(pod, runtime, old, facts)
        self._time_start(memory, (pod.get("status") or {}).get("phase") or "", status["phase"])
        self._status.set(pod, status)
        return status

    def _time_start(self, memory: Memory, stored: str, phase: str) -> None:
        """The first time that a pod is said to run, unless the kubelet found it running."""
        if memory.started or phase not in ("Running", "Succeeded"):
            return
        memory.started = True
        if stored in ("", "Pending"):
            took = self._context.clock.monotonic() - memory.seen_at
            self._context.meters.observe("kubelet_pod_start_duration_seconds", took)

    # -- sync ------------------------------------------------------------------------------------------------------

    async def sync(self, pod: Object, step: Step) -> Done:
        uid = uid_of(pod)
        memory, runtime = self.memory(uid), self._cache.get(uid)
        pod = self._allocations.grant(pod, runtime)
        left = self._deadline(pod)
        if left is not None and left <= 0:
            memory.override = DEADLINE
            self._context.tell(pod, WARNING, "DeadlineExceeded", DEADLINE["message"])
        status = self.report(pod, runtime)
        if status["phase"] in ("Succeeded", "Failed"):
            return Done(terminal=True)
        problem = self._network_error()
        if problem and not uses_host_network(pod):
            self._context.tell(pod, WARNING, "NetworkNotReady", f"{NETWORK_NOT_READY}: {problem}")
            return Done(ok=False, again=1.0)
        self._make_directories(pod)
        try:
            mounted = self._mounted_still(pod, memory)
            if mounted is None:
                mounted = await self._unless_stopped(self._mount(pod, memory, runtime), step)
        except MountFailed as failure:
            return self._mount_failed(pod, memory, failure)
        except TimeoutError:
            return self._mount_hangs(pod, memory)
        if mounted is None:
            return Done()
        self._prober.add(pod)
        restart_all = restart_all_wanted(pod, runtime, status)
        resized = self._allocations.changes(pod, runtime)
        probes = self._prober.results()
        actions = compute_actions(pod, runtime, probes, restart_all=restart_all, resized=resized)
        outcome = await self._act(pod, actions, runtime, mounted, step)
        self._prober.kick(uid)
        return self._next(pod, outcome, left, restart_all and bool(actions.reset))

    async def _act(
        self, pod: Object, actions: Actions, runtime: RuntimePod, mounted: Mapping[str, Mounted], step: Step
    ) -> Outcome:
        uid = uid_of(pod)
        if actions.idle or step.stopping():
            return Outcome()
        memory = self.memory(uid)
        starting = actions.start or actions.start_init or actions.start_ephemeral
        outcome = await self._runtime.carry_out(
            pod,
            actions,
            runtime,
            mounted,
            await self._pull_secrets(pod) if starting else (),
            step=step,
            sandbox_ready=lambda made: self.report(pod, made),
        )
        for name, reason in outcome.reasons.items():
            if reason is None:
                memory.reasons.pop(name, None)
            else:
                memory.reasons[name] = reason
        for name, identity in outcome.started.items():
            self._allocations.started(pod, name, identity)
        runtime = self._cache.get(uid)
        for name in outcome.updated:
            self._allocations.updated(pod, runtime, name)
            await self._cache.read_container((runtime.find(name) or runtime.containers[0]).id)
        self._allocations.settled(pod, runtime, outcome.resize_error)
        self.report(pod, runtime)
        return outcome

    def _next(self, pod: Object, outcome: Outcome, deadline: float | None, restarted: bool) -> Done:
        settings = self._context.settings
        again = [a for a in (outcome.again, deadline) if a is not None]
        if restarted:
            again.append(0.0)
        if is_live(pod):
            # Spread, so that the pods of a node do not ask for their sources all at one moment.
            again.append(settings.sync_frequency * (1.0 + 0.5 * self._context.rng.random()))
        return Done(ok=outcome.ok, again=min(again, default=10 * settings.sync_frequency))

    def _deadline(self, pod: Object) -> float | None:
        """Seconds until the pod's activeDeadlineSeconds are over."""
        limit = pod["spec"].get("activeDeadlineSeconds")
        start = (pod.get("status") or {}).get("startTime")
        start = start or (self._status.current(uid_of(pod)) or {}).get("startTime")
        if limit is None or not start:
            return None if limit is None else float(limit)
        return parse_time(start) + float(limit) - self._context.clock.now()

    def _make_directories(self, pod: Object) -> None:
        own = self._context.settings.pod_dir(uid_of(pod))
        if not own.is_dir():
            for directory in (own, own / "volumes", own / "plugins"):
                directory.mkdir(parents=True, exist_ok=True)
                directory.chmod(0o750)
        if not self._cgroups.exists(pod):
            self._cgroups.ensure_pod(pod)

    # -- volumes ---------------------------------------------------------------------------------------------------

    def _mounted_still(self, pod: Object, memory: Memory) -> dict[str, Mounted] | None:
        """The volumes as they were mounted before, where there is nothing to bring up to date."""
        now = self._context.clock.monotonic()
        due = is_live(pod) and now - memory.mounted_at >= self._context.settings.sync_frequency
        changed = memory.mounted_for is not pod and is_live(pod)
        return None if due or changed else memory.mounted

    async def _mount(self, pod: Object, memory: Memory, runtime: RuntimePod) -> dict[str, Mounted]:
        now = self._context.clock.monotonic()
        place = self._preparation.place(runtime.ips)
        memory.mounted = await self._volumes.mount(pod, place, fresh=memory.mounted is None)
        memory.mounted_at, memory.mounted_for, memory.mount_failures = now, pod, 0
        return memory.mounted

    def _mount_failed(self, pod: Object, memory: Memory, failure: MountFailed) -> Done:
        for volume, why in failure.failures.items():
            text = f'MountVolume.SetUp failed for volume "{volume}" : {why}'
            self._context.tell(pod, WARNING, "FailedMount", text)
        memory.mount_failures += 1
        delay = min(_MOUNT_RETRY_MAX, _MOUNT_RETRY * 2.0 ** (memory.mount_failures - 1))
        left = self._deadline(pod)
        return Done(ok=False, again=delay if left is None else min(delay, left))

    async def _unless_stopped(
        self, mounting: Coroutine[None, None, dict[str, Mounted]], step: Step
    ) -> dict[str, Mounted] | None:
        """A mount may hang: the end of the pod does not wait for it (None then). Raises TimeoutError after two minutes."""
        loop = asyncio.get_running_loop()
        task, stop = loop.create_task(mounting), loop.create_task(step.stop.wait())
        try:
            async with self._context.clock.timeout(OPERATION):
                await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            stop.cancel()
            task.cancel()

    def _mount_hangs(self, pod: Object, memory: Memory) -> Done:
        names = " ".join(v["name"] for v in pod["spec"].get("volumes") or ())
        text = f"Unable to attach or mount volumes: unmounted volumes=[{names}], unattached volumes=[], failed to process volumes=[]: context deadline exceeded"
        self._context.tell(pod, WARNING, "FailedMount", text)
        memory.mount_failures += 1
        return Done(ok=False, again=1.0)

    async def _pull_secrets(self, pod: Object) -> list[Object]:
        found = []
        for reference in pod["spec"].get("imagePullSecrets") or ():
            name = reference.get("name", "")
            secret = await self._objects.secret(namespace_of(pod), name) if name else None
            if secret is None:
                text = f"Unable to retrieve some image pull secrets ({name}); attempting to pull the image may not succeed."
                self._context.tell(pod, WARNING, "FailedToRetrieveImagePullSecret", text)
            else:
                found.append(secret)
        return found

    # -- the end ---------------------------------------------------------------------------------------------------

    async def terminate(self, pod: Object, grace: int | None, status: Mapping[str, Any]) -> None:
        uid = uid_of(pod)
        memory = self.memory(uid)
        if status:
            memory.override = status
        self.report(pod, self._cache.get(uid))
        self._prober.stop_liveness(uid)
        try:
            await self._runtime.kill_pod(pod, self._cache.get(uid), grace)
        except Exception as failure:
            self._context.tell(pod, WARNING, "FailedKillPod", f"error killing pod: {failure}")
            raise
        self._prober.remove(uid)
        stopped = await self._cache.refresh(uid)
        if stopped.running():
            raise OSError(f"containers of {full_name(pod)} still run after they were stopped")
        self.report(pod, stopped, terminal=True)

    async def clean_up(self, pod: Object) -> None:
        uid = uid_of(pod)
        self.report(pod, self._cache.get(uid), terminal=True)
        await self._volumes.unmount(uid)
        await asyncio.to_thread(self._cgroups.remove_pod, uid)
        self._runtime.users.release(uid)
        self._status.finish(pod)

    def forgotten(self, pod: Object) -> None:
        self._memory.pop(uid_of(pod), None)
        self._allocations.forget(uid_of(pod))
        self._forget(pod)
