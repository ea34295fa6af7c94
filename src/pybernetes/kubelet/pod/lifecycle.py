"""The life of one pod on the node, as a state machine: events in, instructions out.

A pod (one UID) is synced until it is asked to end or has ended, then terminated, then cleaned up, and never goes back. At most
one step is under way; whatever happens meanwhile is remembered and looked at when the step is over (the slot holds the latest
only). A grace period can only get shorter; a step of termination that waits for the longer one is interrupted. Rules of
upstream's ``pod_workers.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .model import Object, grace_period, is_static


class Stage(Enum):
    SYNC = "sync"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    FINISHED = "finished"


# -- events --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changed:
    """The pod was added or changed where pods come from (API, file)."""

    pod: Object


@dataclass(frozen=True, slots=True)
class Gone:
    """Where pods come from no longer knows it (removed by force, or its file is gone, or it never was known)."""


@dataclass(frozen=True, slots=True)
class Poked:
    """Something about it may have changed: the runtime, a probe, a volume, or a time has come."""


@dataclass(frozen=True, slots=True)
class KillRequested:
    """The node wants it to end (eviction, deadline, preemption, shutdown). ``status`` has phase, reason, message."""

    status: Mapping[str, Any] = field(default_factory=dict)
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The step is over. ``terminal``: a sync found that nothing will ever run again. ``again``: seconds until the next sync."""

    ok: bool = True
    terminal: bool = False
    again: float | None = None


Event = Changed | Gone | Poked | KillRequested | Done


# -- instructions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sync:
    pod: Object


@dataclass(frozen=True, slots=True)
class Terminate:
    """Stop everything. ``grace`` None leaves each container its own period."""

    pod: Object
    grace: int | None
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Nothing runs any more: volumes, directories, cgroup, and the last status."""

    pod: Object


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The step under way must come to its end early; ``Done`` is still to come."""


@dataclass(frozen=True, slots=True)
class WakeAfter:
    """Send ``Poked`` after so many seconds (an earlier call for the same pod is void)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Forget:
    """The pod is no concern of this node any more; ``restart`` says that it came back meanwhile under the same UID."""

    restart: Object | None = None


Instruction = Sync | Terminate | CleanUp | Interrupt | WakeAfter | Forget

RETRY = 10.0
"""Upstream's back-off of a pod whose step failed, and the longest that a failing termination waits."""
RETRY_TERMINATION = 1.0


class PodWork:
    """One pod's work. ``handle`` is the only way in."""

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.stage = Stage.SYNC
        self.busy = False
        self.gone = False
        self.grace: int | None = None
        self.override: Mapping[str, Any] = {}
        self._dirty = False
        self._step = Stage.SYNC
        """The stage to which the step under way belongs."""
        self._restart: Object | None = None

    def handle(self, event: Event) -> list[Instruction]:
        match event:
            case Changed(pod):
                return self._changed(pod)
            case Gone():
                self.gone = True
                return self._end() if self.stage is not Stage.FINISHED else [Forget(self._restart)]
            case KillRequested(status, grace):
                if status and not self.override:
                    self.override = status
                return self._end(grace)
            case Poked():
                return self._go()
            case Done():
                return self._done(event)

    def _changed(self, pod: Object) -> list[Instruction]:
        if self.gone:
            # A static pod whose file came back while the former one is still ending.
            self._restart = pod if is_static(pod) else None
            return []
        self.pod = pod
        deleting = (pod.get("metadata") or {}).get("deletionTimestamp") is not None
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if deleting or ended:
            return self._end()
        return self._go()

    def _end(self, grace: int | None = None) -> list[Instruction]:
        """Begins the termination, or shortens its grace period."""
        before = self.grace
        self.grace = self._shortest(grace)
        if self.stage is Stage.SYNC:
            self.stage = Stage.TERMINATING
            return [Interrupt()] if self.busy else self._go()
        if self.stage is Stage.TERMINATING and before is not None and self.grace is not None and self.grace < before:
            self._dirty = True
            return [Interrupt()] if self.busy else self._go()
        return []

    def _shortest(self, grace: int | None) -> int | None:
        deletion = (self.pod.get("metadata") or {}).get("deletionGracePeriodSeconds")
        known = [g for g in (self.grace, grace, deletion) if g is not None]
        if not known:
            return grace_period(self.pod) if (self.pod.get("spec") or {}).get("containers") else None
        # Zero is what a forced deletion asks for: upstream leaves containers a second all the same.
        return max(1, min(known))

    def _go(self) -> list[Instruction]:
        """Starts the step of the present stage, or notes that it is to be done once more."""
        if self.stage is Stage.FINISHED:
            return []
        if self.busy:
            # A termination that is under way will see for itself what has changed meanwhile.
            self._dirty = self._dirty or self.stage is Stage.SYNC
            return []
        self.busy, self._dirty, self._step = True, False, self.stage
        if self.stage is Stage.SYNC:
            return [Sync(self.pod)]
        if self.stage is Stage.TERMINATING:
            return [Terminate(self.pod, self.grace, self.override)]
        return [CleanUp(self.pod)]

    def _done(self, event: Done) -> list[Instruction]:
        self.busy = False
        if self.stage is not self._step:
            # A sync that was overtaken by the pod's end.
            return self._go()
        if self.stage is Stage.SYNC:
            if event.terminal:
                self.stage = Stage.TERMINATING
                return self._go()
            if self._dirty:
                return self._go()
            again = event.again if event.again is not None else (None if event.ok else RETRY)
            return [WakeAfter(again)] if again is not None else []
        if self.stage is Stage.TERMINATING and self._dirty:
            # Interrupted: it starts over with a shorter grace period.
            return self._go()
        if not event.ok:
            return [WakeAfter(RETRY_TERMINATION)]
        if self.stage is Stage.TERMINATING:
            self.stage = Stage.TERMINATED
            return self._go()
        self.stage = Stage.FINISHED
        return [Forget(self._restart)] if self.gone else []
