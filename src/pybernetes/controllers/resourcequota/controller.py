"""The shell of the quota controller: looks only at resources that some quota counts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ...api.meta import Object, key_of, namespace_of
from ...api.quota import resources_counted_by
from ...api.resources import GVR, RESOURCE_QUOTAS
from ...client.discovery import discover, preferred
from ...client.informer import Informer
from ..runtime import API_ERRORS, Controller
from ..values import with_status
from . import decide

_BATCH_PERIOD = 0.2


class ResourceQuotaController(Controller):
    name = "resourcequota-controller"

    def setup(self) -> None:
        self._monitors: dict[tuple[str, str], tuple[GVR, Informer]] = {}
        self._resources: dict[tuple[str, str], GVR] = {}
        self.quotas = self.watch(RESOURCE_QUOTAS, _anew)

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._recount,)

    async def _recount(self) -> None:
        """Everything from time to time, in case an event was lost."""
        while True:
            await self.clock.sleep(self.context.settings.resource_quota_sync_period)
            for quota in self.quotas.list():
                self.queue.add(key_of(quota))

    async def sync(self, key: str) -> float | None:
        quota = self.quotas.get_key(key)
        if quota is None:
            return None
        objects = {}
        for counted in resources_counted_by((quota.get("spec") or {}).get("hard") or {}):
            monitor = await self._monitor(counted)
            if monitor is not None:
                gvr, informer = monitor
                objects[gvr] = informer.list(namespace_of(quota))
        status = decide.status(quota, objects, self.clock.now())
        if not decide.is_current(quota, status):
            await self.writer.update(RESOURCE_QUOTAS, with_status(quota, status), "status")
        return None

    async def _monitor(self, counted: tuple[str, str]) -> tuple[GVR, Informer] | None:
        """The informer of a resource, made when first needed; None where it is not served."""
        known = self._monitors.get(counted)
        if known is None:
            gvr = await self._resource(counted)
            if gvr is None:
                return None
            informers = self.context.informers
            informer = informers.informer(gvr) if counted in decide.WHOLE else informers.metadata_informer(gvr)
            known = self._monitors[counted] = (gvr, informer)
            informer.add_handler(self._handler(gvr))
        await known[1].wait_synced()
        return known

    async def _resource(self, counted: tuple[str, str]) -> GVR | None:
        if counted not in self._resources:
            try:
                infos, _ = await discover(self.client)
            except API_ERRORS as failure:
                self.log.info("discovery failed", error=str(failure))
                raise
            listable = [i for i in preferred(infos) if {"list", "watch"} <= set(i.verbs) and i.namespaced]
            self._resources = {(i.gvr.group, i.gvr.resource): i.gvr for i in listable}
        return self._resources.get(counted)

    def _handler(self, gvr: GVR) -> Callable[[str, Object | None, Object | None], None]:
        def changed(kind: str, old: Object | None, new: Object | None) -> None:
            if decide.frees(gvr, old, new, kind):
                # Objects go in crowds: count once for many.
                for quota in self.quotas.list(namespace_of(new or old or {})):
                    self.queue.add_after(key_of(quota), _BATCH_PERIOD)

        return changed


def _anew(kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
    return (key_of(new or old or {}),) if decide.asks_anew(kind, old, new) else ()
