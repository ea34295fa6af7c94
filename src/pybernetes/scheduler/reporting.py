"""What the scheduler tells about pods: events (``events.k8s.io``), the PodScheduled condition, the nominated node.

Nothing here delays scheduling: events and statuses are queued and written by a few workers. A repeated event becomes a
series on the first one, as upstream's broadcaster makes it; a full queue drops events, for they are hints, not records.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import orjson

from ..api.errors import StatusError
from ..api.meta import Object, get_condition, key_of, metadata, name_of, namespace_of, uid_of
from ..api.resources import GVR, PODS
from ..api.times import to_micro_time, to_time
from ..client.events import reference_to
from ..client.rest import MERGE_PATCH, STRATEGIC_MERGE_PATCH, Client
from ..concurrency import Clock, logger

EVENTS = GVR("events.k8s.io", "v1", "events")
NOTE_LIMIT = 1024
SERIES_SECONDS = 360.0
"""Within so long a time a repetition belongs to the same series."""
_QUEUE, _CACHE, _WORKERS = 10_000, 4096, 4

log = logger("scheduler.reporting")


@dataclass(slots=True)
class _Series:
    name: str
    namespace: str
    count: int
    last: float


def shortened(message: str) -> str:
    return message if len(message) <= NOTE_LIMIT else message[: NOTE_LIMIT - 4] + " ..."


class EventSink:
    """Events about pods."""

    def __init__(self, client: Client, clock: Clock, instance: str) -> None:
        self._client, self._clock, self._instance = client, clock, instance
        self._queue: deque[tuple[GVR, str, bytes | Object, str]] = deque()
        self._wake = asyncio.Event()
        self._series: OrderedDict[tuple[Any, ...], _Series] = OrderedDict()
        self._counter = 0
        self.dropped = 0

    def event(
        self,
        obj: Object,
        kind: str,
        reason: str,
        note: str,
        action: str,
        related: Object | None = None,
        controller: str = "default-scheduler",
    ) -> None:
        now = self._clock.now()
        key = (uid_of(obj) or key_of(obj), kind, reason, action, controller, uid_of(related or {}))
        series = self._series.get(key)
        if series is not None and now - series.last < SERIES_SECONDS:
            series.count, series.last = series.count + 1, now
            patch = {"note": shortened(note), "series": {"count": series.count, "lastObservedTime": to_micro_time(now)}}
            self._put(series.namespace, patch, series.name)
            return
        event = self._event(obj, kind, reason, shortened(note), action, related, controller, now)
        meta = event["metadata"]
        self._series[key] = _Series(meta["name"], meta["namespace"], 1, now)
        while len(self._series) > _CACHE:
            self._series.popitem(last=False)
        self._put(meta["namespace"], event, "")

    def _event(
        self,
        obj: Object,
        kind: str,
        reason: str,
        note: str,
        action: str,
        related: Object | None,
        controller: str,
        now: float,
    ) -> Object:
        self._counter += 1
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{name_of(obj)}.{int(now * 1e9) + self._counter:x}",
                "namespace": namespace_of(obj) or "default",
            },
            "eventTime": to_micro_time(now),
            "reportingController": controller,
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            "regarding": reference_to(obj),
            "note": note,
            "type": kind,
        }
        if related is not None:
            event["related"] = reference_to(related)
        return event

    def _put(self, namespace: str, body: Object, name: str) -> None:
        if len(self._queue) >= _QUEUE:
            self.dropped += 1
            return
        self._queue.append((EVENTS, namespace, body, name))
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while self._queue:
                gvr, namespace, body, name = self._queue.popleft()
                try:
                    if name:
                        await self._client.patch(gvr, name, body, namespace, patch_type=MERGE_PATCH)
                    else:
                        path = f"{gvr.path}/namespaces/{namespace}/{gvr.resource}"
                        await self._client.request_raw("POST", path, orjson.dumps(body))
                except (StatusError, ConnectionError, TimeoutError) as failure:
                    # A namespace that is being deleted refuses new events: nobody is left to read them.
                    log.debug("event not recorded", namespace=namespace, error=str(failure))
            self._wake.clear()
            await self._wake.wait()


class StatusWriter:
    """Conditions and nominations of pods, the latest of each pod only."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._pending: OrderedDict[str, tuple[Object, Object]] = OrderedDict()
        self._wake = asyncio.Event()

    def write(self, pod: Object, reason: str, message: str, nominated: str | None) -> None:
        """``nominated`` is the node, empty to take a nomination back, None to leave it as it is."""
        status: Object = {}
        known = get_condition(pod, "PodScheduled") or {}
        if (known.get("status"), known.get("reason"), known.get("message")) != ("False", reason, message):
            status["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": reason,
                    "message": message,
                    "observedGeneration": metadata(pod).get("generation"),
                    "lastTransitionTime": known.get("lastTransitionTime")
                    if known.get("status") == "False"
                    else to_time(self._clock.now()),
                }
            ]
        if nominated is not None and nominated != ((pod.get("status") or {}).get("nominatedNodeName") or ""):
            status["nominatedNodeName"] = nominated or None
        key = key_of(pod)
        waiting = self._pending.pop(key, None)
        if waiting is not None and uid_of(waiting[0]) == uid_of(pod):
            status = {**waiting[1], **status}
        if status:
            self._pending[key] = (pod, status)
            self._wake.set()

    def forget(self, key: str) -> None:
        """The pod has a node now."""
        self._pending.pop(key, None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while self._pending:
                _, (pod, status) = self._pending.popitem(last=False)
                patch = {"metadata": {"uid": uid_of(pod)}, "status": status}
                try:
                    await self._client.patch(
                        PODS,
                        name_of(pod),
                        patch,
                        namespace_of(pod),
                        subresource="status",
                        patch_type=STRATEGIC_MERGE_PATCH,
                    )
                except (StatusError, ConnectionError, TimeoutError) as failure:
                    log.info("status not written", pod=key_of(pod), error=str(failure))
            self._wake.clear()
            await self._wake.wait()
