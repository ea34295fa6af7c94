"""Pod workers: the shell around ``pod.lifecycle``. One machine and at most one running step a pod; steps do the I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..api.errors import StatusError
from ..api.meta import Object, uid_of
from ..client.transport import TransportError
from ..concurrency import Clock, TimerHandle, logger
from .cri import CRIError
from .meters import Meters
from .pod import lifecycle
from .pod.lifecycle import CleanUp, Done, Event, Forget, Interrupt, PodWork, Poked, Stage, Sync, Terminate, WakeAfter
from .pod.model import full_name

log = logger("kubelet.workers")

_OPERATIONS: dict[type, str] = {Sync: "create", Terminate: "kill", CleanUp: "sync"}


@dataclass(slots=True)
class Step:
    """What a step may ask while it runs: whether it should come to an end."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def stopping(self) -> bool:
        return self.stop.is_set()


class Steps(Protocol):
    """The three things that are done with a pod."""

    async def sync(self, pod: Object, step: Step) -> Done: ...

    async def terminate(self, pod: Object, grace: int | None, status: Mapping[str, Any]) -> None:
        """Raises CRIError where something does not stop."""
        ...

    async def clean_up(self, pod: Object) -> None:
        """Raises OSError where something is still in use."""
        ...

    def forgotten(self, pod: Object) -> None: ...


@dataclass(slots=True)
class _Worker:
    work: PodWork
    step: Step | None = None
    task: asyncio.Task[None] | None = None
    timer: TimerHandle | None = None
    interrupted: bool = False
    terminating: bool = False
    """The step under way is a termination, and has begun: only then may it be cut off."""
    synced: bool = False
    """A step has been done for this pod."""


class PodWorkers:
    """``send`` is the only way in; an unknown UID is begun with ``start``."""

    def __init__(self, steps: Steps, clock: Clock, meters: Meters | None = None) -> None:
        self._steps, self._clock, self._meters = steps, clock, meters or Meters()
        self._workers: dict[str, _Worker] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def __contains__(self, uid: str) -> bool:
        return uid in self._workers

    def pods(self) -> list[Object]:
        return [w.work.pod for w in self._workers.values()]

    def pod(self, uid: str) -> Object | None:
        worker = self._workers.get(uid)
        return worker.work.pod if worker is not None else None

    def stage(self, uid: str) -> Stage | None:
        worker = self._workers.get(uid)
        return worker.work.stage if worker is not None else None

    def start(self, pod: Object, *first: Event) -> None:
        """Begins with a pod; ``first`` are its first events (Changed where none is given)."""
        uid = uid_of(pod)
        self._workers[uid] = _Worker(PodWork(pod))
        for event in first or (lifecycle.Changed(pod),):
            self.send(uid, event)

    def send(self, uid: str, event: Event) -> None:
        worker = self._workers.get(uid)
        if worker is None or self._group is None:
            return
        for instruction in worker.work.handle(event):
            self._carry_out(uid, worker, instruction)

    def _carry_out(self, uid: str, worker: _Worker, instruction: lifecycle.Instruction) -> None:
        match instruction:
            case Sync() | Terminate() | CleanUp():
                self._cancel_timer(worker)
                worker.step, worker.interrupted = Step(), False
                assert self._group is not None
                worker.task = self._group.create_task(self._run_step(uid, worker, instruction))
            case Interrupt():
                self._interrupt(worker)
            case WakeAfter(seconds):
                self._cancel_timer(worker)
                worker.timer = self._clock.call_later(seconds, lambda: self.send(uid, Poked()))
            case Forget(restart):
                self._cancel_timer(worker)
                del self._workers[uid]
                self._steps.forgotten(worker.work.pod)
                if restart is not None:
                    self.start(restart)

    @staticmethod
    def _cancel_timer(worker: _Worker) -> None:
        if worker.timer is not None:
            worker.timer.cancel()
            worker.timer = None

    @staticmethod
    def _interrupt(worker: _Worker) -> None:
        worker.interrupted = True
        if worker.step is not None:
            worker.step.stop.set()
        # A sync is asked to end at its next step; a termination that waits for a long grace period is cut off.
        if worker.terminating and worker.task is not None:
            worker.task.cancel()

    async def _run_step(self, uid: str, worker: _Worker, instruction: Sync | Terminate | CleanUp) -> None:
        task = asyncio.current_task()
        assert task is not None
        worker.terminating = isinstance(instruction, Terminate)
        begun = self._clock.monotonic()
        try:
            # A termination may be overtaken by a shorter one before it has begun.
            overtaken = worker.terminating and worker.interrupted
            done = Done(ok=False) if overtaken else await self._step(worker, instruction)
        except asyncio.CancelledError:
            if not worker.interrupted or task.uncancel() > 0:
                raise
            done = Done(ok=False)
        finally:
            worker.terminating = False
            kind = "sync" if isinstance(instruction, Sync) and worker.synced else _OPERATIONS[type(instruction)]
            self._meters.observe("kubelet_pod_worker_duration_seconds", self._clock.monotonic() - begun, kind)
            worker.synced = True
        worker.task = worker.step = None
        self.send(uid, done)

    async def _step(self, worker: _Worker, instruction: Sync | Terminate | CleanUp) -> Done:
        try:
            match instruction:
                case Sync(pod):
                    assert worker.step is not None
                    return await self._steps.sync(pod, worker.step)
                case Terminate(pod, grace, status):
                    await self._steps.terminate(pod, grace, status)
                case CleanUp(pod):
                    await self._steps.clean_up(pod)
        except (CRIError, OSError, StatusError, TransportError, TimeoutError) as failure:
            log.warning(
                "step failed", step=type(instruction).__name__, pod=full_name(instruction.pod), error=str(failure)
            )
            return Done(ok=False)
        except ExceptionGroup as group:
            expected, unexpected = group.split((CRIError, OSError, StatusError, TransportError))
            if unexpected is not None:
                raise unexpected from group
            log.warning(
                "step failed", step=type(instruction).__name__, pod=full_name(instruction.pod), error=str(expected)
            )
            return Done(ok=False)
        return Done()
