"""The scheduler's shell: a queue of pods, a snapshot kept by informers, one decision at a time, binding beside it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object, get_condition, is_deleting, key_of, metadata, name_of, namespace_of, uid_of
from ..api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PODS
from ..api.times import to_time
from ..client.events import NORMAL, WARNING, EventRecorder
from ..client.informer import DELETED, InformerFactory
from ..client.rest import STRATEGIC_MERGE_PATCH, Client
from ..client.transport import TransportError
from ..concurrency import Clock, ItemBackoff, QueueClosed, WorkQueue, logger
from .filters import NodeView, Refusal, failure_message, refuse, score
from .requests import pod_requests
from .volumes import VolumeBinder, VolumesNotBound

log = logger("scheduler")

DEFAULT_SCHEDULER = "default-scheduler"
INITIAL_BACKOFF, MAXIMUM_BACKOFF = 1.0, 10.0
UNSCHEDULABLE_SECONDS = 300.0
"""An unschedulable pod is looked at again after this long even where nothing that matters seems to have happened."""
BINDERS = 16


class Scheduler:
    """Places pods whose ``spec.schedulerName`` is ``name``. Works over the shared informers of its process."""

    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        clock: Clock,
        *,
        name: str = DEFAULT_SCHEDULER,
        rng: random.Random | None = None,
    ) -> None:
        self._client, self._clock, self._name = client, clock, name
        self._rng = rng or random.Random()
        self._events = EventRecorder(client, clock, name)
        self._queue: WorkQueue[str] = WorkQueue(clock, backoff=ItemBackoff(INITIAL_BACKOFF, MAXIMUM_BACKOFF))
        self._views: dict[str, NodeView] = {}
        self._placed: dict[str, str] = {}
        self._assumed: dict[str, str] = {}
        self._unschedulable: set[str] = set()
        self._pods, self._nodes = factory.informer(PODS), factory.informer(NODES)
        self._pods.add_handler(self._on_pod)
        self._nodes.add_handler(self._on_node)
        self._binders = asyncio.Semaphore(BINDERS)
        self._volumes = VolumeBinder(client, factory, clock)
        factory.informer(PERSISTENT_VOLUME_CLAIMS).add_handler(lambda kind, old, new: self._retry_unschedulable())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._events.run())
            await self._nodes.wait_synced()
            await self._pods.wait_synced()
            await self._volumes.wait_synced()
            group.create_task(self._place_all(group))

    # -- the snapshot ----------------------------------------------------------------------------------------------

    def _on_node(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        name = name_of(new)
        if kind == DELETED:
            self._views.pop(name, None)
            return
        view = self._views.get(name)
        fresh = NodeView.of(new)
        if view is not None:
            fresh.requested, fresh.ports, fresh.pods = view.requested, view.ports, view.pods
        self._views[name] = fresh
        if view is None:
            for key, placed in self._placed.items():
                pod = self._pods.get_key(key)
                if placed == name and pod is not None:
                    fresh.add(key, pod)
        if view is None or _matters(view.node, new):
            self._retry_unschedulable()

    def _on_pod(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        key = key_of(new)
        node = (new.get("spec") or {}).get("nodeName")
        finished = (new.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if kind == DELETED or finished:
            self._unschedulable.discard(key)
            self._assumed.pop(key, None)
            if self._displace(key):
                self._retry_unschedulable()
            return
        if node:
            self._unschedulable.discard(key)
            self._assumed.pop(key, None)
            self._place(key, new, node)
        elif self._responsible(new) and (old is None or _spec_changed(old, new)):
            self._unschedulable.discard(key)
            self._queue.add(key)

    def _responsible(self, pod: Object) -> bool:
        spec = pod.get("spec") or {}
        return (
            not spec.get("nodeName")
            and not spec.get("schedulingGates")
            and not is_deleting(pod)
            and (spec.get("schedulerName") or DEFAULT_SCHEDULER) == self._name
        )

    def _place(self, key: str, pod: Object, node: str) -> None:
        if self._placed.get(key) not in (None, node):
            self._displace(key)
        self._placed[key] = node
        if node in self._views:
            self._views[node].add(key, pod)

    def _displace(self, key: str) -> bool:
        node = self._placed.pop(key, None)
        if node is None:
            return False
        if node in self._views:
            self._views[node].remove(key)
        return True

    def _retry_unschedulable(self) -> None:
        for key in self._unschedulable:
            self._queue.add_after(key, self._queue.backoff.next(key))
        self._unschedulable.clear()

    # -- placing ---------------------------------------------------------------------------------------------------

    async def _place_all(self, group: asyncio.TaskGroup) -> None:
        while True:
            try:
                key = await self._queue.get()
            except QueueClosed:
                return
            try:
                pod = self._pods.get_key(key)
                if pod is not None and key not in self._assumed and self._responsible(pod):
                    await self._binders.acquire()
                    self._decide(group, key, pod)
            finally:
                self._queue.done(key)

    def _decide(self, group: asyncio.TaskGroup, key: str, pod: Object) -> None:
        asked = pod_requests(pod)
        claims = self._volumes.claims_of(pod)
        hopeless = self._volumes.refuse_everywhere(claims) if claims else ""
        if hopeless:
            self._give_up_for_now(group, key, pod, f"0/{len(self._views)} nodes are available: {hopeless}.")
            return
        refusals: list[Refusal] = []
        best: list[str] = []
        best_score = -1.0
        for name, view in self._views.items():
            refusal = refuse(pod, asked, view) or (self._volumes.refuse(claims, view.node) if claims else None)
            if refusal is not None:
                refusals.append(refusal)
                continue
            points = score(pod, asked, view)
            if points > best_score:
                best, best_score = [name], points
            elif points == best_score:
                best.append(name)
        if best:
            node = self._rng.choice(best)
            self._assumed[key] = node
            self._place(key, pod, node)
            group.create_task(self._bind(key, pod, node))
        else:
            self._give_up_for_now(group, key, pod, failure_message(len(self._views), refusals))

    def _give_up_for_now(self, group: asyncio.TaskGroup, key: str, pod: Object, message: str) -> None:
        self._unschedulable.add(key)
        self._queue.add_after(key, UNSCHEDULABLE_SECONDS)
        group.create_task(self._report(pod, message))

    async def _bind(self, key: str, pod: Object, node: str) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name_of(pod), "namespace": namespace_of(pod), "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._volumes.bind(pod, node)
            await self._client.create(PODS, binding, namespace_of(pod), name=name_of(pod), subresource="binding")
        except (StatusError, TransportError, TimeoutError, VolumesNotBound) as failure:
            log.warning("not bound", pod=key, node=node, error=str(failure))
            if self._assumed.pop(key, None) is not None:
                self._displace(key)
            self._queue.add_rate_limited(key)
        else:
            self._queue.forget(key)
            self._events.event(pod, NORMAL, "Scheduled", f"Successfully assigned {key} to {node}")
        finally:
            self._binders.release()

    async def _report(self, pod: Object, message: str) -> None:
        try:
            self._events.event(pod, WARNING, "FailedScheduling", message)
            known = get_condition(pod, "PodScheduled") or {}
            if known.get("message") == message and known.get("reason") == "Unschedulable":
                return
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
                "observedGeneration": metadata(pod).get("generation"),
                "lastTransitionTime": known.get("lastTransitionTime")
                if known.get("status") == "False"
                else to_time(self._clock.now()),
            }
            await self._client.patch(
                PODS,
                name_of(pod),
                {"status": {"conditions": [condition]}},
                namespace_of(pod),
                subresource="status",
                patch_type=STRATEGIC_MERGE_PATCH,
            )
        except (StatusError, TransportError, TimeoutError) as failure:
            log.info("condition not written", pod=key_of(pod), error=str(failure))
        finally:
            self._binders.release()


def _spec_changed(old: Object, new: Object) -> bool:
    return old.get("spec") != new.get("spec") or metadata(old).get("labels") != metadata(new).get("labels")


def _matters(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a change of a node can make an unschedulable pod fit."""
    return (
        (old.get("spec") or {}) != (new.get("spec") or {})
        or (old.get("status") or {}).get("allocatable") != (new.get("status") or {}).get("allocatable")
        or metadata(old).get("labels") != metadata(new).get("labels")
    )
