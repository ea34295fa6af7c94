"""The scheduler: takes pods from the queue, finds each a node, and binds them.

The shell around the pure parts: it feeds the model and the queue from informers (``watching``), runs one scheduling cycle
after another, and a binding cycle a pod beside them. Specified by the "Kubernetes Scheduler" and "Scheduling Framework" pages.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Mapping
from typing import Any

from ..api.meta import Object, is_deleting
from ..api.resources import NODES, PODS
from ..client.informer import InformerFactory
from ..client.rest import Client
from ..concurrency import Clock, logger
from ..hooks.scheduling import (
    Action,
    Code,
    Diagnosis,
    Plugin,
    PluginFactory,
    PostFilterResult,
    Resource,
    Status,
    takes_part,
)
from .binding import Binder, Binding, WaitingPod
from .configuration import Configuration
from .evaluation import Evaluator, Outcome, failure_message
from .framework import Profile
from .handle import SchedulerHandle
from .metrics import Metrics
from .model import Model
from .objects import USED, InformerObjects
from .plugins.preemption import OUTCOME
from .podinfo import PodInfo
from .profiles import DEFAULT_SCHEDULER, build_profile, plugin_factories
from .queue import Change, QueuedPod, Rules, SchedulingQueue
from .reporting import EventSink, StatusWriter
from .watching import Watching

log = logger("scheduler")

NORMAL, WARNING = "Normal", "Warning"
UNSCHEDULABLE, SCHEDULER_ERROR = "Unschedulable", "SchedulerError"
TURN_SECONDS = 0.005
"""After so long a time of scheduling cycles others get a turn of the event loop."""
_REQUEUING = ("pre_enqueue", "pre_filter", "filter", "filter_node", "reserve", "permit", "post_filter")
"""Plugins with one of these can refuse a pod, and so have a say in when it comes back."""


class Scheduler:
    """Places pods of the profiles' scheduler names. Works over the shared informers of its process."""

    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        clock: Clock,
        *,
        name: str = DEFAULT_SCHEDULER,
        rng: random.Random | None = None,
        configuration: Configuration | None = None,
        factories: Mapping[str, PluginFactory] | None = None,
    ) -> None:
        config = configuration or Configuration.default(name)
        self._client, self._clock, self._factory = client, clock, factory
        self._rng = rng or random.Random()
        self.metrics = Metrics()
        self.model = Model()
        self.objects = InformerObjects(factory)
        self.events = EventSink(client, clock, f"{name}-{socket.gethostname()}")
        self.statuses = StatusWriter(client, clock)
        self._handles: dict[str, SchedulerHandle] = {}
        self.profiles: dict[str, Profile] = {}
        known = factories if factories is not None else plugin_factories()
        for profile in config.profiles:
            self._add_profile(profile, config, known)
        self.queue = SchedulingQueue(
            clock,
            {name: self._rules(profile) for name, profile in self.profiles.items()},
            initial_backoff=config.initial_backoff,
            maximum_backoff=config.maximum_backoff,
            metrics=self.metrics,
        )
        self.binder = Binder(client, clock, parallel=config.parallel_bindings)
        self.bindings: dict[str, Binding] = {}
        """Pods that have been given a node and are not known to be there yet, by key."""
        self._group: asyncio.TaskGroup | None = None
        self.pods, self.nodes = factory.informer(PODS), factory.informer(NODES)
        for gvr in USED:
            factory.informer(gvr)
        self.watching = Watching(self)
        self.ready = False

    def _add_profile(self, config: Mapping[str, Any], whole: Configuration, known: Mapping[str, PluginFactory]) -> None:
        name = config.get("schedulerName") or DEFAULT_SCHEDULER
        handle = SchedulerHandle(
            self.model, self.objects, self._rng, client=self._client, clock=self._clock, profile=name
        )
        handle.event = lambda obj, kind, reason, note, action, related=None: self.events.event(
            obj, kind, reason, note, action, related, name
        )
        handle.run = self._spawn
        handle.extra.update(activate=self._activate, reject_waiting=self._reject_waiting, waiting_pod=self.waiting_pod)
        profile = build_profile(config, handle, known)
        if profile.percentage_of_nodes_to_score is None:
            profile.percentage_of_nodes_to_score = whole.percentage_of_nodes_to_score
        self.profiles[name], self._handles[name] = profile, handle

    def _rules(self, profile: Profile) -> Rules:
        sorting = profile.at("queueSort")[0].plugin
        return Rules(
            sort_key=sorting.sort_key,
            gates=[s.plugin for s in profile.at("preEnqueue")],
            events={n: list(p.events()) for n, p in profile.plugins.items() if takes_part(p, *_REQUEUING)},
        )

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                group.create_task(self.events.run())
                group.create_task(self.statuses.run())
                await self._factory.wait_synced()
                self.watching.start()
                self.ready = True
                await self._schedule_all()
            finally:
                self.ready = False
                self._group = None
                self.queue.close()

    def _spawn(self, work: Any) -> None:
        assert self._group is not None
        self._group.create_task(work)

    async def _schedule_all(self) -> None:
        turn = self._clock.monotonic()
        while True:
            await self.binder.room.wait()
            queued = self.queue.pop_now()
            if queued is None:
                queued = await self.queue.pop()
                turn = self._clock.monotonic()
            self.schedule_one(queued)
            if self._clock.monotonic() - turn > TURN_SECONDS:
                await self._clock.sleep(0)
                turn = self._clock.monotonic()

    def evaluator(self, profile: str) -> Evaluator:
        """Who answers questions about pods of a profile."""
        found: Evaluator = self._handles[profile].evaluator
        return found

    def metrics_text(self) -> bytes:
        """The metrics, for whoever serves them."""
        cache = {"nodes": len(self.model.table), "pods": len(self.model.pods), "assumed_pods": len(self.bindings)}
        self.metrics.sizes(self.queue.counts(), cache)
        return self.metrics.text()

    # -- one scheduling cycle --------------------------------------------------------------------------------------

    def schedule_one(self, queued: QueuedPod) -> None:
        """A whole scheduling cycle, without waiting for anything."""
        pod, profile = queued.info, self.profiles[queued.profile]
        if pod.key in self.bindings or self._skip(pod):
            self.queue.done(queued)
            return
        started = self._clock.monotonic()
        nominations = self.model.table.nominations
        nominated = nominations.remove(pod.uid)
        try:
            self._cycle(queued, profile, nominated[1] if nominated else "", started)
        except Exception as failure:  # noqa: BLE001 - the boundary of one pod: a plugin may raise anything
            log.warning("scheduling failed", pod=pod.key, error=f"{type(failure).__name__}: {failure}")
            self._handles[queued.profile].evaluator.results.clear()
            self.give_up(queued, Status(Code.ERROR, (str(failure) or type(failure).__name__,)), started, nominated="")

    def _skip(self, pod: PodInfo) -> bool:
        known = self.pods.get_key(pod.key)
        return known is None or is_deleting(known) or bool((known.get("spec") or {}).get("nodeName"))

    def _cycle(self, queued: QueuedPod, profile: Profile, nominated: str, started: float) -> None:
        pod, evaluator = queued.info, self._handles[queued.profile].evaluator
        if not len(self.model.table):
            status = Status(Code.UNRESOLVABLE, ("no nodes available to schedule pods",))
            self.give_up(queued, status, started, nominated="", rejectors=frozenset())
            return
        outcome: Outcome = evaluator.filter(pod, nominated=nominated, sample=True)
        if outcome.rejection is not None or not outcome.ok.any():
            self._no_node(queued, profile, outcome, evaluator.diagnosis(outcome), nominated, started)
            return
        row = evaluator.choose(outcome, self._rng)
        self.metrics.algorithm(self._clock.monotonic() - started)
        self._assume(queued, profile, outcome, self.model.table.name(row), started)

    def _no_node(
        self,
        queued: QueuedPod,
        profile: Profile,
        outcome: Outcome,
        diagnosis: Diagnosis,
        nominated: str,
        started: float,
    ) -> None:
        result = PostFilterResult(None)
        messages: list[str] = []
        outcome.state[OUTCOME] = outcome
        for selected in profile.at("postFilter"):
            answer = selected.plugin.post_filter(outcome.state, queued.info, diagnosis)
            if answer.status is not None and answer.status.message:
                messages.append(answer.status.message)
            if answer.nominated_node is not None:
                result = answer
            if answer.nominated_node:
                messages.clear()
                break
        message = failure_message(diagnosis, ", ".join(messages))
        status = Status(Code.UNSCHEDULABLE, (message,))
        kept = result.nominated_node if result.nominated_node is not None else nominated or None
        self.give_up(queued, status, started, nominated=kept, rejectors=diagnosis.plugins)

    def _assume(self, queued: QueuedPod, profile: Profile, outcome: Outcome, node: str, started: float) -> None:
        pod, state = queued.info, outcome.state
        self.model.place(pod, node)
        # A condition or nomination that is still to be written would be refused once the pod is bound.
        self.statuses.forget(pod.key)
        binding = self.bindings[pod.key] = Binding(queued, pod, node, state, profile, started)
        status = self._reserve(profile, binding) or self._permit(profile, binding)
        if status is not None:
            self._forget(binding)
            self._refused(binding, status)
            return
        assert self._group is not None
        self._group.create_task(self._bind(binding))

    def _reserve(self, profile: Profile, binding: Binding) -> Status | None:
        for selected in profile.at("reserve"):
            if takes_part(selected.plugin, "reserve"):
                status = selected.plugin.reserve(binding.state, binding.pod, binding.node)
                if status is not None and status.code != Code.SUCCESS:
                    return _named(status, selected.plugin)
        return None

    def _permit(self, profile: Profile, binding: Binding) -> Status | None:
        waiting: dict[str, float] = {}
        for selected in profile.at("permit"):
            status, seconds = selected.plugin.permit(binding.state, binding.pod, binding.node)
            if status is None or status.code == Code.SUCCESS:
                continue
            if status.code != Code.WAIT:
                return _named(status, selected.plugin)
            waiting[selected.plugin.name] = seconds
        if waiting:
            binding.waiting = WaitingPod(binding.pod, waiting)
        return None

    # -- binding ---------------------------------------------------------------------------------------------------

    async def _bind(self, binding: Binding) -> None:
        pod, queued = binding.pod, binding.queued
        status = await self.binder.bind(binding, lambda: self.queue.done(queued))
        if status is not None:
            self._not_bound(binding, status)
            return
        self.queue.done(queued)
        if self.bindings.get(pod.key) is binding and pod.node_name:
            del self.bindings[pod.key]
        controller = binding.profile.name
        note = f"Successfully assigned {pod.key} to {binding.node}"
        self.events.event(pod.object, NORMAL, "Scheduled", note, "Binding", None, controller)
        now = self._clock.now()
        since = now - (queued.initial_attempt or now)
        self.metrics.scheduled(controller, self._clock.monotonic() - binding.started, since, queued.attempts)
        for selected in binding.profile.at("postBind"):
            selected.plugin.post_bind(binding.state, pod, binding.node)

    def _not_bound(self, binding: Binding, status: Status) -> None:
        log.info("not bound", pod=binding.pod.key, node=binding.node, reason=status.message)
        self._forget(binding)
        # What was taken is free again: others may fit now.
        change = Change(Resource.POD, Action.DELETE, _on_node(binding.pod.object, binding.node), None)
        self.queue.move(change, "AssignedPodDelete", lambda other: other.uid != binding.pod.uid)
        self._refused(binding, status)

    def _forget(self, binding: Binding) -> None:
        for selected in reversed(binding.profile.at("reserve")):
            if takes_part(selected.plugin, "unreserve"):
                selected.plugin.unreserve(binding.state, binding.pod, binding.node)
        if self.bindings.get(binding.pod.key) is binding:
            del self.bindings[binding.pod.key]
            if not binding.pod.node_name:
                self.model.displace(binding.pod.key)

    def _refused(self, binding: Binding, status: Status) -> None:
        """By Reserve, Permit, PreBind or Bind."""
        row = self.model.table.row(binding.node)
        rejectors: frozenset[str] = frozenset()
        if status.rejected:
            by_row = {} if row is None else {row: status}
            message = failure_message(Diagnosis(1, by_row or {-1: status}))
            rejectors = frozenset([status.plugin]) if status.plugin else frozenset()
            status = Status(status.code, (message,), status.plugin)
        self.give_up(binding.queued, status, binding.started, nominated="", rejectors=rejectors)

    # -- giving up -------------------------------------------------------------------------------------------------

    def give_up(
        self,
        queued: QueuedPod,
        status: Status,
        started: float,
        *,
        nominated: str | None,
        rejectors: frozenset[str] = frozenset(),
    ) -> None:
        """Back into the queue, with the reason told in an event and in the pod's condition."""
        reason = UNSCHEDULABLE if status.rejected else SCHEDULER_ERROR
        self.metrics.attempt(
            reason.lower() if status.rejected else "error", queued.profile, self._clock.monotonic() - started
        )
        known: Object | None = self.pods.get_key(queued.key)
        if known is None or (known["metadata"].get("uid") or queued.info.uid) != queued.info.uid or _has_node(known):
            self.queue.done(queued)
            return
        queued.info = self.model.info(known)
        pending = frozenset([status.plugin]) if status.code == Code.PENDING and status.plugin else frozenset[str]()
        if nominated:
            self.model.table.nominations.put(queued.info, nominated)
        self.queue.give_up(queued, rejectors - pending, pending)
        self.events.event(known, WARNING, "FailedScheduling", status.message, "Scheduling", None, queued.profile)
        self.statuses.write(known, reason, status.message, nominated)

    # -- what plugins may do with others' pods -----------------------------------------------------------------------

    def waiting_pod(self, uid: str) -> WaitingPod | None:
        """A pod that waits in Permit."""
        return next((b.waiting for b in self.bindings.values() if b.waiting is not None and b.pod.uid == uid), None)

    def _reject_waiting(self, uid: str, plugin: str) -> bool:
        waiting = self.waiting_pod(uid)
        return waiting is not None and waiting.reject(plugin, "preempted")

    def _activate(self, key: str) -> None:
        self.queue.activate(key)


def _named(status: Status, plugin: Plugin) -> Status:
    return status if status.plugin else Status(status.code, status.reasons, plugin.name)


def _has_node(pod: Object) -> bool:
    return bool((pod.get("spec") or {}).get("nodeName"))


def _on_node(pod: Object, node: str) -> Object:
    return {**pod, "spec": {**(pod.get("spec") or {}), "nodeName": node}}
