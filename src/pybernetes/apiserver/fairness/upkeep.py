"""Keeps the objects of flow control true: the bootstrap set as it should be, the ``Dangling`` condition of every schema, the
seats shared out by demand.

Specified by "API Priority and Fairness", "Maintenance of the Mandatory and Suggested Configuration Objects".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, name_of
from ...api.resources import GVR
from ...api.times import to_time
from ...concurrency import Clock, logger
from ...hooks.admission import Requester
from ...hooks.reading import ObjectReader
from .fairness import Fairness
from .levels import CATCH_ALL, EXEMPT, dangling

log = logger("apiserver.fairness")

ADJUSTMENT_SECONDS = 10.0
CHECK_SECONDS = 60.0
MANAGER = "api-priority-and-fairness-config-consumer-v1"
PRODUCER = "api-priority-and-fairness-config-producer-v1"
ANNOTATION = "apf.kubernetes.io/autoupdate-spec"
MANDATORY = frozenset({EXEMPT, CATCH_ALL})
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def revised(current: Object, wanted: Object, *, mandatory: bool) -> Object | None:
    """What the object should be; None where it is. Who set the annotation to false, or changed the spec before there was one,
    keeps his spec (of what is not mandatory)."""
    annotations = current["metadata"].get("annotations") or {}
    said = annotations.get(ANNOTATION)
    if mandatory or said in _TRUE:
        update = True
    elif said in _FALSE:
        update = False
    else:
        update = current["metadata"].get("generation") == 1
    annotated = said in (_TRUE if update else _FALSE)
    same = not update or _equal(wanted.get("spec") or {}, current.get("spec") or {})
    if annotated and same:
        return None
    metadata = {**current["metadata"], "annotations": {**annotations, ANNOTATION: "true" if update else "false"}}
    return {**current, "metadata": metadata, "spec": wanted["spec"] if update else current.get("spec")}


def _equal(wanted: Any, current: Any) -> bool:
    """Whether what is wanted is there; defaults that were filled in count as nothing."""
    if isinstance(wanted, Mapping) and isinstance(current, Mapping):
        keys = wanted.keys() | current.keys()
        return all(_equal(wanted.get(k), current.get(k)) for k in keys)
    if isinstance(wanted, list) and isinstance(current, list):
        return len(wanted) == len(current) and all(map(_equal, wanted, current))
    return wanted == current or (not wanted and not current)


class Upkeep:
    """Background work beside one ``Fairness``."""

    def __init__(
        self,
        fairness: Fairness,
        request: Requester,
        reader: ObjectReader,
        clock: Clock,
        bootstrap: Iterable[tuple[GVR, Object]],
        levels: GVR,
        schemas: GVR,
    ) -> None:
        self._fairness, self._request, self._reader, self._clock = fairness, request, reader, clock
        self._bootstrap = [(gvr, obj) for gvr, obj in bootstrap]
        self._levels, self._schemas = levels, schemas
        self._changed = asyncio.Event()
        for gvr in (levels, schemas):
            reader.subscribe(gvr, self._note)

    def _note(self, *event: object) -> None:
        self._fairness.changed()
        self._changed.set()

    async def once(self) -> None:
        """At the start, when the bootstrap objects are there."""
        self._changed.clear()
        self._fairness.refresh()
        await self._tell()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._adjust())
            group.create_task(self._follow())
            group.create_task(self._check())

    async def _adjust(self) -> None:
        while True:
            await self._clock.sleep(ADJUSTMENT_SECONDS)
            self._fairness.adjust()

    async def _check(self) -> None:
        while True:
            await self._ensure(self._bootstrap)
            await self._clock.sleep(CHECK_SECONDS)

    async def _follow(self) -> None:
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._fairness.refresh()
            await self._ensure([(g, o) for g, o in self._bootstrap if name_of(o) in MANDATORY])
            await self._tell()

    async def _ensure(self, wanted: Iterable[tuple[GVR, Object]]) -> None:
        for gvr, obj in wanted:
            path = f"{gvr.path}/{gvr.resource}"
            current = self._reader.get(gvr, "", name_of(obj))
            try:
                if current is None:
                    await self._request("POST", f"{path}?fieldManager={PRODUCER}", obj)
                    continue
                better = revised(current, obj, mandatory=name_of(obj) in MANDATORY)
                if better is not None:
                    await self._request("PUT", f"{path}/{name_of(obj)}?fieldManager={PRODUCER}", better)
            except StatusError as failure:
                # Somebody else was quicker, or the object is being deleted: it is looked at again.
                log.info("flow control object not brought up to date", name=name_of(obj), error=failure.message)

    async def _tell(self) -> None:
        for schema in list(self._reader.list(self._schemas)):
            condition = dangling(schema, self._exists, to_time(self._clock.now()))
            if condition is None:
                continue
            name = name_of(schema)
            body = {
                "apiVersion": self._schemas.api_version,
                "kind": "FlowSchema",
                "metadata": {"name": name},
                "status": {"conditions": [condition]},
            }
            path = f"{self._schemas.path}/{self._schemas.resource}/{name}/status?fieldManager={MANAGER}&force=true"
            try:
                await self._request("PATCH", path, body, content_type="application/apply-patch+yaml")
            except StatusError as failure:
                log.info("condition not written", schema=name, error=failure.message)

    def _exists(self, level: str) -> bool:
        return self._reader.get(self._levels, "", level) is not None
