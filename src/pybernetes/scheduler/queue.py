"""The scheduling queue: pods that can be tried, pods that back off, and pods that wait for something to change.

Three places, as upstream's: the active queue in the order of the QueueSort plugin; the back-off queue, whose pods come back
by themselves (and are tried at once where nothing else is to do); the unschedulable pods, which come back when a cluster
event may help by the word of a plugin that refused them, or after five minutes. What happens while a pod is being tried is
remembered, so that no wake-up is lost.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..api.meta import Object
from ..concurrency import Clock
from ..hooks.scheduling import Action, ClusterEvent, Plugin, Resource, Status
from .podinfo import PodInfo

UNSCHEDULABLE_SECONDS = 300.0
FLUSH_SECONDS = 30.0
"""How often pods are looked for that have waited for UNSCHEDULABLE_SECONDS."""
ACTIVE, BACKOFF, ERROR_BACKOFF, WAITING, IN_FLIGHT, GONE = (
    "active",
    "backoff",
    "error backoff",
    "unschedulable",
    "-",
    "",
)


class QueueMetrics(Protocol):
    """What the queue reports (upstream's ``scheduler_queue_incoming_pods_total``, ``scheduler_unschedulable_pods``)."""

    def incoming(self, queue: str, event: str) -> None: ...
    def rejected(self, plugin: str, profile: str, change: int) -> None: ...


class _NoMetrics:
    def incoming(self, queue: str, event: str) -> None: ...
    def rejected(self, plugin: str, profile: str, change: int) -> None: ...


@dataclass(slots=True, eq=False)
class QueuedPod:
    """A pod on its way to a node."""

    info: PodInfo
    profile: str
    timestamp: float
    """When it came into the queue, or was given up last."""
    initial_attempt: float | None = None
    attempts: int = 0
    unschedulable_count: int = 0
    consecutive_errors: int = 0
    rejectors: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    gate: str = ""
    """The PreEnqueue plugin that keeps it out."""
    flushed: bool = False
    where: str = GONE
    token: int = 0
    """Heap entries with another token are void."""

    @property
    def key(self) -> str:
        return self.info.key


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened, for pods that were being tried meanwhile. No resource: the pod is to be tried anyhow."""

    resource: Resource | None
    action: Action
    old: Object | None
    new: Object | None


@dataclass(slots=True)
class Rules:
    """What the queue asks a profile's plugins."""

    sort_key: Callable[[PodInfo, float], Any]
    gates: list[Plugin] = field(default_factory=list)
    events: dict[str, list[ClusterEvent]] = field(default_factory=dict)
    """Plugin name to what may help pods that it refused."""


class SchedulingQueue:
    """See the module. All pods are known by their key; a pod is in one place only."""

    def __init__(
        self,
        clock: Clock,
        rules: Mapping[str, Rules],
        *,
        initial_backoff: float = 1.0,
        maximum_backoff: float = 10.0,
        metrics: QueueMetrics | None = None,
    ) -> None:
        self._clock, self._rules = clock, rules
        self._initial, self._maximum = initial_backoff, maximum_backoff
        self._metrics: QueueMetrics = metrics or _NoMetrics()
        self._pods: dict[str, QueuedPod] = {}
        self._numbers = itertools.count(1)
        self._active: list[tuple[Any, int, QueuedPod]] = []
        self._backoff: list[tuple[Any, int, QueuedPod]] = []
        self._errors: list[tuple[Any, int, QueuedPod]] = []
        self._counts = {ACTIVE: 0, BACKOFF: 0, ERROR_BACKOFF: 0, WAITING: 0, IN_FLIGHT: 0}
        self._by_rejector: dict[str, dict[str, QueuedPod]] = {}
        self._changes: list[Change] = []
        self._in_flight: dict[str, int] = {}
        self._own_changes: dict[str, list[Change]] = {}
        self._wake = asyncio.Event()
        self._backoff_timer: Any = None
        self._flush_timer: Any = None

    # -- looking ---------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Pods by place, as ``scheduler_pending_pods`` names them."""
        gated = sum(1 for pods in self._by_rejector.values() for p in pods.values() if p.gate)
        return {
            "active": self._counts[ACTIVE],
            "backoff": self._counts[BACKOFF] + self._counts[ERROR_BACKOFF],
            "unschedulable": self._counts[WAITING] - gated,
            "gated": gated,
        }

    def get(self, key: str) -> QueuedPod | None:
        return self._pods.get(key)

    def __len__(self) -> int:
        return len(self._pods)

    def validate_state(self) -> None:
        """For tests: every pod is counted where it is, and can come back."""
        places = dict.fromkeys(self._counts, 0)
        for pod in self._pods.values():
            places[pod.where] += 1
        assert places == self._counts, (places, self._counts)
        assert set(self._in_flight) == {p.info.uid for p in self._pods.values() if p.where == IN_FLIGHT}
        for name, heap in ((ACTIVE, self._active), (BACKOFF, self._backoff), (ERROR_BACKOFF, self._errors)):
            live = {p.key for _, number, p in heap if p.token == number and p.where == name}
            assert live == {p.key for p in self._pods.values() if p.where == name}, name
        assert not (self._backoff_timer is None and (self._counts[BACKOFF] or self._counts[ERROR_BACKOFF]))
        assert not (self._flush_timer is None and self._counts[WAITING])

    # -- moving between places -------------------------------------------------------------------------------------

    def _set(self, pod: QueuedPod, where: str) -> None:
        if pod.where == WAITING:
            for name in pod.rejectors | pod.pending:
                pods = self._by_rejector.get(name, {})
                pods.pop(pod.key, None)
                self._metrics.rejected(name, pod.profile, -1)
        if pod.where:
            self._counts[pod.where] -= 1
        pod.where = where
        pod.token = next(self._numbers)
        if where:
            self._counts[where] += 1
            self._pods[pod.key] = pod
        else:
            self._pods.pop(pod.key, None)
        if where == WAITING:
            for name in pod.rejectors | pod.pending:
                self._by_rejector.setdefault(name, {})[pod.key] = pod
                self._metrics.rejected(name, pod.profile, 1)
            self._arm_flush()

    def _activate(self, pod: QueuedPod, event: str) -> bool:
        """Into the active queue, unless a gate keeps it out."""
        if not self._let_in(pod):
            return False
        if pod.initial_attempt is None:
            pod.initial_attempt = self._clock.now()
        self._set(pod, ACTIVE)
        key = self._rules[pod.profile].sort_key(pod.info, pod.timestamp)
        heapq.heappush(self._active, (key, pod.token, pod))
        self._metrics.incoming("active", event)
        self._wake.set()
        return True

    def _let_in(self, pod: QueuedPod) -> bool:
        for plugin in self._rules[pod.profile].gates:
            status: Status | None = plugin.pre_enqueue(pod.info)
            if status is not None and status.code:
                if pod.where != WAITING or pod.gate != plugin.name:
                    if pod.where == WAITING:
                        self._set(pod, IN_FLIGHT)
                    pod.rejectors |= {plugin.name}
                    pod.gate = plugin.name
                    self._set(pod, WAITING)
                return False
        if pod.gate:
            where = pod.where
            if where == WAITING:
                self._set(pod, IN_FLIGHT)
            pod.rejectors -= {pod.gate}
            pod.gate = ""
            if where == WAITING:
                self._set(pod, WAITING)
        return True

    def _back_off(self, pod: QueuedPod, event: str) -> None:
        if not self._let_in(pod):
            return
        error = not pod.rejectors and not pod.pending
        self._set(pod, ERROR_BACKOFF if error else BACKOFF)
        until = self._expiry(pod)
        if error:
            heapq.heappush(self._errors, ((until,), pod.token, pod))
        else:
            key = self._rules[pod.profile].sort_key(pod.info, pod.timestamp)
            heapq.heappush(self._backoff, ((until, key), pod.token, pod))
        self._metrics.incoming("backoff", event)
        self._arm_backoff()
        self._wake.set()

    def _requeue(self, pod: QueuedPod, event: str, *, at_once: bool = False) -> None:
        if not at_once and self._expiry(pod) > self._clock.now():
            self._back_off(pod, event)
        else:
            self._activate(pod, event)

    def _expiry(self, pod: QueuedPod) -> float:
        """When its back-off is over: whole seconds, so that pods of one second come back in the queue's order."""
        count = pod.consecutive_errors or pod.unschedulable_count
        if not count or not self._maximum:
            return 0.0
        return math.floor(pod.timestamp + min(self._maximum, self._initial * 2.0 ** min(count - 1, 32))) + 1.0

    # -- timers ----------------------------------------------------------------------------------------------------

    def _arm_backoff(self) -> None:
        due = min((heap[0][0][0] for heap in (self._backoff, self._errors) if heap), default=None)
        if due is None:
            return
        if self._backoff_timer is not None:
            if self._backoff_timer[0] <= due:
                return
            self._backoff_timer[1].cancel()
        delay = max(0.0, due - self._clock.now())
        self._backoff_timer = (due, self._clock.call_later(delay, self._backoff_over))

    def _backoff_over(self) -> None:
        self._backoff_timer = None
        now = self._clock.now()
        for heap, name in ((self._backoff, BACKOFF), (self._errors, ERROR_BACKOFF)):
            while heap and (heap[0][2].token != heap[0][1] or heap[0][0][0] <= now):
                _, token, pod = heapq.heappop(heap)
                if pod.token == token and pod.where == name:
                    self._activate(pod, "BackoffComplete")
        self._arm_backoff()

    def _arm_flush(self) -> None:
        if self._flush_timer is None:
            self._flush_timer = self._clock.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._flush_timer = None
        now = self._clock.now()
        for pod in [p for p in self._pods.values() if p.where == WAITING]:
            if now - pod.timestamp > UNSCHEDULABLE_SECONDS and not pod.gate:
                pod.flushed = True
                self._requeue(pod, "UnschedulableTimeout")
        if self._counts[WAITING]:
            self._arm_flush()

    def close(self) -> None:
        for timer in (self._backoff_timer and self._backoff_timer[1], self._flush_timer):
            if timer:
                timer.cancel()
        self._backoff_timer = self._flush_timer = None

    # -- pods come and go ------------------------------------------------------------------------------------------

    def add(self, info: PodInfo, profile: str) -> None:
        known = self._pods.get(info.key)
        if known is not None and known.info.uid == info.uid:
            self.update(known.info, info, ())
            return
        if known is not None:
            self.delete(info.key)
        self._activate(QueuedPod(info, profile, self._clock.now()), "UnscheduledPodAdd")

    def update(self, old: PodInfo, new: PodInfo, changes: Iterable[Change]) -> None:
        """The pod itself was changed."""
        pod = self._pods.get(new.key)
        if pod is None:
            return
        if pod.where == IN_FLIGHT:
            self._own_changes.setdefault(new.uid, []).extend(changes)
            pod.info = new
            return
        pod.info = new
        if pod.where == ACTIVE:
            # Its place in the order may have changed.
            self._set(pod, ACTIVE)
            key = self._rules[pod.profile].sort_key(new, pod.timestamp)
            heapq.heappush(self._active, (key, pod.token, pod))
        elif pod.where == WAITING:
            for change in changes:
                if self._helps(pod, change):
                    self._requeue(pod, "UnscheduledPodUpdate")
                    break

    def delete(self, key: str) -> None:
        pod = self._pods.get(key)
        if pod is not None:
            if pod.where == IN_FLIGHT:
                self._finish(pod)
            self._set(pod, GONE)

    async def pop(self) -> QueuedPod:
        """The next pod to try; the caller answers with ``done`` or ``give_up``."""
        while True:
            pod = self.pop_now()
            if pod is not None:
                return pod
            self._wake.clear()
            await self._wake.wait()

    def pop_now(self) -> QueuedPod | None:
        # Pods that back off because they were refused are tried early where nothing else is to do.
        for heap, name in ((self._active, ACTIVE), (self._backoff, BACKOFF)):
            while heap:
                _, token, pod = heapq.heappop(heap)
                if pod.token == token and pod.where == name:
                    return self._take(pod)
        return None

    def _take(self, pod: QueuedPod) -> QueuedPod:
        self._set(pod, IN_FLIGHT)
        pod.attempts += 1
        if pod.initial_attempt is None:
            pod.initial_attempt = self._clock.now()
        self._in_flight[pod.info.uid] = len(self._changes)
        return pod

    def _finish(self, pod: QueuedPod) -> list[Change]:
        """What happened while the pod was being tried."""
        start = self._in_flight.pop(pod.info.uid, None)
        own = self._own_changes.pop(pod.info.uid, [])
        missed = [] if start is None else self._changes[start:]
        if not self._in_flight:
            self._changes.clear()
        return [*missed, *own]

    def done(self, pod: QueuedPod) -> None:
        """The pod has a node: the queue has no more to do with it."""
        if pod.where == IN_FLIGHT:
            self._finish(pod)
            self._set(pod, GONE)

    def give_up(self, pod: QueuedPod, rejectors: frozenset[str], pending: frozenset[str] = frozenset()) -> None:
        """The pod could not be placed, refused by these plugins; by none where something went wrong."""
        if pod.where not in (IN_FLIGHT, GONE):
            return
        changes = self._finish(pod)
        pod.rejectors, pod.pending, pod.gate, pod.flushed = rejectors, pending, "", False
        pod.timestamp = self._clock.now()
        if rejectors or pending:
            pod.unschedulable_count += 1
            pod.consecutive_errors = 0
        else:
            pod.consecutive_errors += 1
            self._requeue(pod, "ScheduleAttemptFailure")
            return
        helpful = next((c for c in changes if self._helps(pod, c)), None)
        if helpful is not None:
            self._requeue(pod, "ScheduleAttemptFailure", at_once=bool(pending))
        else:
            self._set(pod, WAITING)
            self._metrics.incoming("unschedulable", "ScheduleAttemptFailure")

    def activate(self, key: str) -> None:
        """Tries a pod now, whatever it waits for."""
        pod = self._pods.get(key)
        if pod is None:
            return
        if pod.where == IN_FLIGHT:
            self._own_changes.setdefault(pod.info.uid, []).append(Change(None, Action.ALL, None, None))
        elif pod.where != ACTIVE:
            self._activate(pod, "ForceActivate")

    # -- the cluster changes ---------------------------------------------------------------------------------------

    def move(self, change: Change, label: str, only: Callable[[PodInfo], bool] | None = None) -> None:
        """Lets pods come back which the change may help."""
        if self._in_flight:
            self._changes.append(change)
        if not self._counts[WAITING]:
            return
        candidates: dict[str, QueuedPod] = {}
        for name, pods in self._by_rejector.items():
            if pods and self._interested(name, change):
                candidates.update(pods)
        for pod in candidates.values():
            if (only is None or only(pod.info)) and self._helps(pod, change):
                self._requeue(pod, label, at_once=bool(pod.pending))

    def _interested(self, plugin: str, change: Change) -> bool:
        return any(_matches(event, change) for rules in self._rules.values() for event in rules.events.get(plugin, ()))

    def _helps(self, pod: QueuedPod, change: Change) -> bool:
        if change.resource is None:
            return True
        events = self._rules[pod.profile].events
        names = (pod.gate,) if pod.gate else pod.rejectors | pod.pending
        for name in names:
            for event in events.get(name, ()):
                if _matches(event, change) and (event.hint is None or event.hint(pod.info, change.old, change.new)):
                    return True
        return False


def _matches(event: ClusterEvent, change: Change) -> bool:
    return bool(change.resource is not None and event.resource & change.resource and event.action & change.action)
