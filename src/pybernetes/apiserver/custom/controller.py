"""Follows the definitions: registers what they define, says how they fare, and removes instances before they go.

Registration happens in the same step in which a definition's new state reaches the cache, so whoever sees a definition
Established finds its resources served. Upstream spreads this over its naming, establishing, finalizing and other controllers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object
from ...api.resources import CUSTOM_RESOURCE_DEFINITIONS, GVK, GVR
from ...api.times import to_time
from ...concurrency import WorkQueue, logger
from ...concurrency.workqueue import run_workers
from ...hooks.admission import Requester
from ...hooks.reading import ObjectReader
from ...storage.contract import StoreError
from ..admission.webhooks.calling import WebhookCaller
from ..deleting import Deleter
from ..hub import Hub, storage_prefix
from ..registry import Registry, Resource
from ..services import ServiceResolver
from ..watching import Dispatcher
from . import decide
from .definition import FINALIZER, TERMINATING, Definition, Version
from .kind import CustomKind, selectable_fields
from .removal import Remover
from .versioning import ByWebhook, SameFields, coercion
from .webhook import WebhookConverter

log = logger("apiserver.custom")

_PATH = f"{CUSTOM_RESOURCE_DEFINITIONS.path}/{CUSTOM_RESOURCE_DEFINITIONS.resource}"
_FINALIZING_WORKERS = 5


@dataclass(slots=True)
class Served:
    """What is served of one definition."""

    definition: Definition
    dispatcher: Dispatcher
    storage: Resource
    """In the storage version, which need not be served."""
    resources: list[Resource] = field(default_factory=list)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    stale: bool = True
    """What is in the cache was read under an older state of the definition, or not at all."""
    fresh: bool = True
    """The cache was never filled."""

    async def ready(self) -> None:
        await self.loaded.wait()

    def gate(self, resource: Resource, version: Version) -> Callable[[], Awaitable[None]]:
        """What requests wait for: that the cache is filled, and that a large schema is compiled."""
        started: list[asyncio.Event] = []

        async def wait() -> None:
            await self.loaded.wait()
            if version.heavy and not started:
                started.append(asyncio.Event())
                try:
                    await asyncio.to_thread(version.warm_up)
                finally:
                    started[0].set()
            elif started:
                await started[0].wait()
            resource.pending = None

        return wait


class Definitions:
    """The custom resources of one server."""

    def __init__(
        self,
        registry: Registry,
        hub: Hub,
        reader: ObjectReader,
        request: Requester,
        deleter: Deleter,
        rng: random.Random,
    ) -> None:
        clock = hub.clock
        self._registry, self._hub, self._reader = registry, hub, reader
        self._request, self._clock = request, clock
        self._rng = rng
        self._caller = WebhookCaller(ServiceResolver(reader, rng), clock)
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._finalizing: WorkQueue[str] = WorkQueue(clock)
        self._remover = Remover(deleter, clock)
        self.served: dict[str, Served] = {}
        self.schemas: dict[GVK, Mapping[str, Any] | None] = {}
        """By kind: the OpenAPI schema that documents publish."""

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serves what is defined already. The hub runs, and nobody asks yet."""
        self._reader.subscribe(CUSTOM_RESOURCE_DEFINITIONS, self._changed)
        for crd in self._reader.list(CUSTOM_RESOURCE_DEFINITIONS):
            self._serve(crd)
            self._enqueue(crd)
        groups = {s.definition.group for s in self.served.values()}
        for group in sorted(groups):
            await self._hub.load_below(storage_prefix(GVR(group, "", ""), builtin=False).removesuffix("/"))
        for served in self.served.values():
            self._loaded(served)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                # Names are given to one definition after the other.
                group.create_task(run_workers(self._queue, 1, self._sync, self._failed))
                group.create_task(run_workers(self._finalizing, _FINALIZING_WORKERS, self._finalize, self._failed))
        finally:
            self._caller.close()

    def _failed(self, key: str, failure: Exception) -> None:
        if not isinstance(failure, StatusError | StoreError):
            log.error("definition not settled", name=key, error=repr(failure))
        elif not (isinstance(failure, StatusError) and failure.reason in ("Conflict", "NotFound")):
            log.warning("definition not settled", name=key, error=str(failure))

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """A definition was written: called in the order of commits."""
        crd = new if kind != "DELETED" else None
        if crd is None:
            gone = old or new or {}
            self._unserve(gone["metadata"]["name"])
            self._requeue_group(gone)
            return
        if old is not None and old["metadata"].get("uid") != crd["metadata"].get("uid"):
            self._unserve(crd["metadata"]["name"])
        self._serve(crd)
        self._enqueue(crd)
        if old is not None and _names(old) != _names(crd):
            self._requeue_group(crd)

    def _enqueue(self, crd: Object) -> None:
        name, metadata = crd["metadata"]["name"], crd["metadata"]
        self._queue.add(name)
        if metadata.get("deletionTimestamp") and FINALIZER in (metadata.get("finalizers") or ()):
            self._finalizing.add(name)

    def _requeue_group(self, crd: Object) -> None:
        """A name may be free now that others of its group wait for."""
        group, name = (crd.get("spec") or {}).get("group"), crd["metadata"]["name"]
        for other in self._reader.list(CUSTOM_RESOURCE_DEFINITIONS):
            if (other.get("spec") or {}).get("group") == group and other["metadata"]["name"] != name:
                self._queue.add(other["metadata"]["name"])

    # -- serving ----------------------------------------------------------------------------------------------------

    def _serve(self, crd: Object) -> None:
        definition = Definition(crd)
        known = self.served.get(definition.name)
        if not definition.servable:
            if known is not None:
                self._unserve(definition.name)
            return
        if known is not None and known.definition.content == definition.content:
            self._update(known, definition)
            return
        if known is not None and known.definition.namespaced != definition.namespaced:
            self._unserve(definition.name)
            known = None
        self._register(definition, known)

    def _update(self, known: Served, definition: Definition) -> None:
        """Only conditions have changed."""
        old = known.definition
        if (old.established, old.terminating) == (definition.established, definition.terminating):
            return
        self._register(definition, known, reading_changed=False)

    def _register(self, definition: Definition, known: Served | None, *, reading_changed: bool = True) -> None:
        assert definition.storage is not None
        if known is not None:
            definition.adopt(known.definition)
        gvr = definition.storage_gvr
        dispatcher = self._hub.add(gvr, definition.namespaced, storage_prefix(gvr, builtin=False), None)
        cache = dispatcher.cache
        cache.fields, cache.coerce = selectable_fields(definition.versions), coercion(definition)
        self._drop(definition.name)
        served = Served(definition, dispatcher, self._resource(definition, definition.storage, dispatcher))
        if known is not None:
            served.loaded, served.fresh = known.loaded, known.fresh
            served.stale = known.stale or reading_changed
        if served.stale:
            # Objects are read or shown in another way from now on: who watches must begin anew.
            served.loaded.clear()
            dispatcher.close()
        self.served[definition.name] = served
        for version in definition.versions:
            if version.served and not self._is_builtin(version.gvr):
                resource = self._resource(definition, version, dispatcher)
                resource.pending = served.gate(resource, version)
                served.resources.append(resource)
                self._registry.add(resource)
                if definition.established:
                    self.schemas[version.gvk] = version.published

    def _is_builtin(self, gvr: GVR) -> bool:
        known = self._registry.by_gvr(gvr)
        return known is not None and known.kind.builtin

    def _resource(self, definition: Definition, version: Version, dispatcher: Dispatcher) -> Resource:
        webhook = definition.webhook
        resource = Resource(version.info, CustomKind(definition, version), dispatcher, definition.storage_gvr)
        if webhook is None:
            resource.versioning = SameFields(definition, version)
        else:
            converter = WebhookConverter(definition, self._caller, self._rng)
            resource.versioning = ByWebhook(definition, version, converter)
        resource.hidden = not definition.established
        resource.terminating = definition.terminating
        resource.warning = version.warning
        return resource

    def _drop(self, name: str) -> None:
        """Takes a definition's resources out of the registry."""
        known = self.served.pop(name, None)
        if known is None:
            return
        for resource in known.resources:
            self._registry.remove(resource.gvr)
            self.schemas.pop(resource.gvk, None)

    def _unserve(self, name: str) -> None:
        known = self.served.get(name)
        if known is None:
            return
        self._drop(name)
        known.loaded.set()
        self._hub.remove(known.dispatcher.cache.prefix)

    def _loaded(self, served: Served) -> None:
        served.stale = served.fresh = False
        served.loaded.set()

    async def _load(self, name: str) -> None:
        """Fills the cache of a definition that is served for the first time, or in another way than before."""
        while (served := self.served.get(name)) is not None and served.stale:
            served.stale = False
            try:
                await self._hub.renew(served.dispatcher)
            except StoreError:
                served.stale = True
                raise
            now = self.served.get(name)
            if now is served and not served.stale:
                self._loaded(served)
            elif now is not None and now.dispatcher is served.dispatcher and now.loaded is served.loaded:
                now.stale = True

    # -- conditions -------------------------------------------------------------------------------------------------

    async def _sync(self, name: str) -> float | None:
        await self._load(name)
        crd = self._reader.get(CUSTOM_RESOURCE_DEFINITIONS, "", name)
        if crd is None:
            return None
        now = to_time(self._clock.now())
        settled = decide.settle(crd, lambda: self._reader.list(CUSTOM_RESOURCE_DEFINITIONS), now)
        if decide.may_establish(settled):
            # Served before it is said to be: a client that sees Established may write at once.
            self._serve(settled)
            await self._load(name)
            settled = decide.with_condition(settled, decide.established(settled), now)
        if settled is not crd:
            await self._write(settled)
        return None

    async def _write(self, crd: Object) -> Object:
        return await self._request("PUT", f"{_PATH}/{crd['metadata']['name']}/status", crd)

    # -- removal ----------------------------------------------------------------------------------------------------

    async def _finalize(self, name: str) -> float | None:
        crd = self._reader.get(CUSTOM_RESOURCE_DEFINITIONS, "", name)
        if crd is None or not crd["metadata"].get("deletionTimestamp"):
            return None
        if FINALIZER not in (crd["metadata"].get("finalizers") or ()):
            return None
        crd = await self._terminating(
            crd, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
        )
        served = self.served.get(name)
        if served is None:
            outcome = ("False", "NeverEstablished", "resource was never established")
        else:
            await served.ready()
            problem = await self._remover.remove_all(served.storage)
            if problem is not None:
                await self._terminating(crd, "True", *problem)
                raise StatusError(500, "", problem[1])
            outcome = ("False", "InstanceDeletionCompleted", "removed all instances")
        now = to_time(self._clock.now())
        crd = decide.with_condition(crd, decide.make(TERMINATING, *outcome), now)
        metadata = dict(crd["metadata"])
        metadata["finalizers"] = [f for f in metadata.get("finalizers") or () if f != FINALIZER]
        await self._write({**crd, "metadata": metadata})
        return None

    async def _terminating(self, crd: Object, status: str, reason: str, message: str) -> Object:
        wanted = decide.with_condition(
            crd, decide.make(TERMINATING, status, reason, message), to_time(self._clock.now())
        )
        return crd if wanted is crd else await self._write(wanted)

    def validate_state(self) -> None:
        """Raises AssertionError where registry and definitions do not agree."""
        for served in self.served.values():
            for resource in served.resources:
                assert self._registry.by_gvr(resource.gvr) is resource
                assert resource.dispatcher is served.dispatcher


def _names(crd: Object) -> Any:
    return (crd.get("status") or {}).get("acceptedNames")
