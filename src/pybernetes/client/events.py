"""The event recorder: what a component says about an object, as ``v1.Event``, without ever delaying the component.

Equal events within ten minutes raise a count instead of making new objects; a source that floods one object is cut by a token
bucket (25, refilled one in five minutes). Figures and semantics of client-go's ``tools/record``.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object, metadata
from ..api.resources import EVENTS
from ..api.times import to_time
from ..concurrency import Clock, logger
from .rest import STRATEGIC_MERGE_PATCH, Client
from .transport import TransportError

log = logger("client.events")

NORMAL, WARNING = "Normal", "Warning"
_CACHE, _WINDOW, _BURST, _REFILL_SECONDS, _QUEUE = 4096, 600.0, 25, 300.0, 1000


def reference_to(obj: Object, field_path: str = "") -> dict[str, Any]:
    """The ``v1.ObjectReference`` of an object that carries its kind and apiVersion."""
    meta = metadata(obj)
    reference = {
        "kind": obj.get("kind"),
        "namespace": meta.get("namespace"),
        "name": meta.get("name"),
        "uid": meta.get("uid"),
        "apiVersion": obj.get("apiVersion"),
        "resourceVersion": meta.get("resourceVersion"),
        "fieldPath": field_path,
    }
    return {k: v for k, v in reference.items() if v}


@dataclass(slots=True)
class _Seen:
    name: str
    namespace: str
    count: int
    last: float


class EventRecorder:
    """``event`` only queues; ``run`` sends. A full queue drops the newest: events are hints, not records."""

    def __init__(self, client: Client, clock: Clock, component: str, host: str = "") -> None:
        self._client, self._clock = client, clock
        self.component, self._host = component, host
        self._queue: deque[Object] = deque()
        self._wake = asyncio.Event()
        self._seen: OrderedDict[tuple[Any, ...], _Seen] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._counter = 0

    def event(self, obj: Object, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        """``obj`` is a wire object with kind and apiVersion, or an ObjectReference under ``involvedObject``'s names."""
        reference = reference_to(obj, field_path) if "metadata" in obj else dict(obj)
        if len(self._queue) >= _QUEUE:
            return
        self._queue.append({"reference": reference, "type": kind, "reason": reason, "message": message[:1024]})
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                pending = self._queue.popleft()
                try:
                    await self._send(pending)
                except (StatusError, TransportError, TimeoutError) as failure:
                    # A namespace that is being deleted refuses new events: nobody is left to read them.
                    log.debug("event not recorded", reason=pending["reason"], error=str(failure))

    def _allowed(self, reference: Object, now: float) -> bool:
        key = (str(reference.get("uid") or reference.get("name")), self.component)
        tokens, since = self._buckets.pop(key, (float(_BURST), now))
        tokens = min(float(_BURST), tokens + (now - since) / _REFILL_SECONDS)
        self._buckets[key] = (max(0.0, tokens - 1.0), now)
        while len(self._buckets) > _CACHE:
            self._buckets.popitem(last=False)
        return tokens >= 1.0

    async def _send(self, pending: Object) -> None:
        reference, now = pending["reference"], self._clock.now()
        if not self._allowed(reference, now):
            return
        key = (
            reference.get("kind"),
            reference.get("namespace"),
            reference.get("name"),
            reference.get("uid"),
            reference.get("fieldPath"),
            pending["type"],
            pending["reason"],
            pending["message"],
        )
        seen = self._seen.get(key)
        if seen is not None and now - seen.last < _WINDOW:
            seen.count, seen.last = seen.count + 1, now
            try:
                await self._client.patch(
                    EVENTS,
                    seen.name,
                    {"count": seen.count, "lastTimestamp": to_time(now)},
                    seen.namespace,
                    patch_type=STRATEGIC_MERGE_PATCH,
                )
                return
            except StatusError as failure:
                if failure.code != 404:
                    raise
        event = self._event(pending, reference, now)
        await self._client.create(EVENTS, event)
        self._seen[key] = _Seen(event["metadata"]["name"], event["metadata"]["namespace"], 1, now)
        while len(self._seen) > _CACHE:
            self._seen.popitem(last=False)

    def _event(self, pending: Object, reference: Object, now: float) -> Object:
        self._counter += 1
        stamp = to_time(now)
        suffix = f"{int(now * 1e9) + self._counter:x}"
        source = {"component": self.component, **({"host": self._host} if self._host else {})}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{reference.get('name')}.{suffix}",
                "namespace": reference.get("namespace") or "default",
            },
            "involvedObject": reference,
            "reason": pending["reason"],
            "message": pending["message"],
            "source": source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": pending["type"],
            "reportingComponent": self.component,
            "reportingInstance": self._host,
        }
