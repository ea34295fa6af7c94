"""EventRateLimit: no more events than the server, a namespace, a user or a source may write. Specified by "EventRateLimit"."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from ...api.errors import too_many_requests
from ...api.resources import GVR
from ...hooks.admission import AdmissionAttributes, AdmissionContext
from .base import WRITES, Plugin

CACHE_SIZE = 4096


def _source_and_object(a: AdmissionAttributes) -> str:
    event = a.object or {}
    source = event.get("source") or event.get("deprecatedSource") or {}
    about = event.get("involvedObject") or event.get("regarding") or {}
    parts = [source.get(f) or "" for f in ("component", "host")]
    parts += [about.get(f) or "" for f in ("kind", "namespace", "name", "uid", "apiVersion")]
    return "".join(parts)


_KEYS: Mapping[str, Callable[[AdmissionAttributes], str]] = {
    "Server": lambda a: "",
    "Namespace": lambda a: a.namespace,
    "User": lambda a: a.user.name,
    "SourceAndObject": _source_and_object,
}


class _Limit:
    """One of the configured limits: a bucket a key, of which the longest unused are forgotten."""

    def __init__(self, limit: Mapping[str, Any], clock: Any) -> None:
        self.type: str = limit["type"]
        self._rate, self._burst, self._clock = float(limit["qps"]), float(limit["burst"]), clock
        self._size = limit.get("cacheSize") or CACHE_SIZE
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def refusal(self, a: AdmissionAttributes) -> str:
        key, now = _KEYS[self.type](a), self._clock.monotonic()
        left, since = self._buckets.get(key, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        refused = left < 1.0
        self._buckets[key] = (left if refused else left - 1.0, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        return f"limit reached on type {self.type} for key {key}" if refused else ""


class EventRateLimit(Plugin):
    name = "EventRateLimit"

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        self._limits = [_Limit(entry, context.clock) for entry in context.settings.get("event-limits") or ()]

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in WRITES and gvr.resource == "events" and gvr.group in ("", "events.k8s.io")

    async def validate(self, attributes: AdmissionAttributes) -> None:
        if attributes.dry_run:
            return
        refusals = [r for r in (limit.refusal(attributes) for limit in self._limits) if r]
        if refusals:
            raise too_many_requests(refusals[0] if len(refusals) == 1 else f"[{', '.join(refusals)}]")
