"""Informers: a local copy of a resource kept true by list and watch, with handlers and indexes.

The copy only moves forward: resourceVersions compare as integers, so an event that is older than what is known is dropped,
and ``observe`` puts the answer of one's own write in at once, which spares a controller from acting on what it has itself
already changed; ``observe_delete`` does the same for one's own deletions. A watch that ends is resumed; one that fell out of
the server's window (410) is listed anew, and what disappeared meanwhile is reported as deleted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object, is_deleting, key_of, namespace_of, resource_version_of, uid_of
from ..api.resources import GVR
from ..api.times import to_time
from ..concurrency import Backoff, Clock, logger
from .rest import Client
from .transport import TransportError

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
Handler = Callable[[str, Object | None, Object | None], None]
"""(type, old, new): old is None for ADDED, new is the last known state for DELETED. Must not block or mutate."""
IndexFunction = Callable[[Object], Iterable[str]]

log = logger("client.informer")

METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA_WATCH = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


def without_managed_fields(obj: Object) -> Object:
    """Most of an object's bulk, of no use to a component that only reads it or writes it back by patch or status."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """One resource, all namespaces or one, narrowed by selectors. Objects it returns are shared: never mutate."""

    def __init__(
        self,
        client: Client,
        gvr: GVR,
        *,
        clock: Clock,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Object], Object] | None = without_managed_fields,
        metadata_only: bool = False,
        rng: random.Random | None = None,
        page_size: int = 0,
    ) -> None:
        """``page_size`` lists in parts (0: at once): slower, but the whole list is never in memory as it comes."""
        self.gvr = gvr
        self.metadata_only = metadata_only
        self._client, self._clock = client, clock
        self._namespace, self._label_selector, self._field_selector = namespace, label_selector, field_selector
        self._transform, self._page_size = transform, page_size
        self._objects: dict[str, Object] = {}
        self._by_namespace: dict[str, dict[str, Object]] = {}
        self._handlers: list[Handler] = []
        self._index_functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, dict[str, Object]]] = {}
        self._synced = asyncio.Event()
        self._backoff = Backoff(0.1, 30.0, jitter=0.5, rng=rng or random.Random())
        self.resource_version = 0
        """How far the watch has come: every change up to it is in the copy."""

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get(f"{namespace}/{name}" if namespace else name)

    def get_key(self, key: str) -> Object | None:
        return self._objects.get(key)

    def list(self, namespace: str = "") -> list[Object]:
        return list((self._by_namespace.get(namespace, {}) if namespace else self._objects).values())

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def indexes(self) -> Collection[str]:
        """The names of the indexes that were added."""
        return self._index_functions.keys()

    def by_index(self, index: str, value: str) -> Sequence[Object]:
        return list(self._indexes[index].get(value, {}).values())

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    # -- setting up ------------------------------------------------------------------------------------------------

    def add_handler(self, handler: Handler, *, order: Callable[[Object], Any] | None = None) -> None:
        """Told of every change from now on, and of what is known already as ADDED (by the key ``order``)."""
        self._handlers.append(handler)
        known = list(self._objects.values())
        for obj in known if order is None else sorted(known, key=order):
            handler(ADDED, None, obj)

    def remove_handler(self, handler: Handler) -> None:
        self._handlers.remove(handler)

    def add_index(self, name: str, function: IndexFunction) -> None:
        self._index_functions[name] = function
        table: dict[str, dict[str, Object]] = {}
        for key, obj in self._objects.items():
            for value in function(obj):
                table.setdefault(value, {})[key] = obj
        self._indexes[name] = table

    # -- changing --------------------------------------------------------------------------------------------------

    def observe(self, obj: Object) -> None:
        """Takes in the answer of one's own create, update or patch, unless the watch has passed it already."""
        version = resource_version_of(obj)
        if version > self.resource_version:
            if self.metadata_only:
                obj = {k: obj[k] for k in ("apiVersion", "kind", "metadata") if k in obj}
            self._put(self._transform(obj) if self._transform else obj)

    def observe_delete(self, obj: Object) -> None:
        """After one's own deletion of ``obj`` was accepted: shows it as being deleted until the watch tells its end."""
        known = self._objects.get(key_of(obj))
        if known is None or uid_of(known) != uid_of(obj) or is_deleting(known):
            return
        stamp = to_time(self._clock.now())
        self._replace(key_of(obj), known, {**known, "metadata": {**known["metadata"], "deletionTimestamp": stamp}})

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None and resource_version_of(old) >= resource_version_of(obj):
            return
        self._replace(key, old, obj)

    def _replace(self, key: str, old: Object | None, obj: Object) -> None:
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = obj
        self._by_namespace.setdefault(namespace_of(obj), {})[key] = obj
        for name, function in self._index_functions.items():
            for value in function(obj):
                self._indexes[name].setdefault(value, {})[key] = obj
        self._tell(ADDED if old is None else MODIFIED, old, obj)

    def _remove(self, key: str, last: Object | None) -> None:
        old = self._objects.pop(key, None)
        if old is None:
            return
        self._by_namespace[namespace_of(old)].pop(key, None)
        self._unindex(key, old)
        self._tell(DELETED, old, last or old)

    def _unindex(self, key: str, obj: Object) -> None:
        for name, function in self._index_functions.items():
            table = self._indexes[name]
            for value in function(obj):
                entries = table.get(value)
                if entries is not None:
                    entries.pop(key, None)
                    if not entries:
                        del table[value]

    def _tell(self, kind: str, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            handler(kind, old, new)

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps the copy true until cancelled. Failures are logged and retried with back-off."""
        listed = False
        while True:
            try:
                if not listed:
                    await self._list()
                    listed = True
                started = self._clock.monotonic()
                await self._watch()
                if self._clock.monotonic() - started < 1.0:
                    # A server that ends every watch at once must not be asked in a tight circle.
                    await self._clock.sleep(self._backoff.next())
            except StatusError as failure:
                if failure.code == 410 or failure.reason in ("Expired", "Gone"):
                    listed = False
                    continue
                log.warning("watch refused", resource=str(self.gvr), code=failure.code, error=failure.message)
                await self._clock.sleep(self._backoff.next())
            except (TransportError, TimeoutError, ConnectionError) as failure:
                log.warning("watch broken", resource=str(self.gvr), error=str(failure))
                await self._clock.sleep(self._backoff.next())

    async def _list(self) -> None:
        # From the newest state: what we observed of our own writes can then never be ahead of the list. Pages are all of the
        # state of the first one.
        listed: set[str] = set()
        token, version = "", 0
        while True:
            result = await self._client.list(
                self.gvr,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=self._page_size,
                continue_token=token,
                accept=METADATA_LIST if self.metadata_only else "application/json",
            )
            version = version or int(result["metadata"]["resourceVersion"])
            self._take_in(result, listed)
            token = result["metadata"].get("continue") or ""
            if not token:
                break
        for key in [k for k, o in self._objects.items() if k not in listed and resource_version_of(o) <= version]:
            self._remove(key, None)
        self.resource_version = version
        self._synced.set()

    def _take_in(self, result: Object, listed: set[str]) -> None:
        kind, api_version = result.get("kind", "").removesuffix("List"), result.get("apiVersion")
        for item in result.get("items") or []:
            item.setdefault("kind", kind)
            item.setdefault("apiVersion", api_version)
            obj = self._transform(item) if self._transform else item
            listed.add(key_of(obj))
            self._put(obj)

    async def _watch(self) -> None:
        stream = self._client.watch(
            self.gvr,
            self._namespace,
            resource_version=str(self.resource_version),
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            accept=METADATA_WATCH if self.metadata_only else "application/json",
        )
        async with aclosing(stream) as events:
            async for event in events:
                obj = event.object
                version = resource_version_of(obj)
                if event.type == DELETED:
                    key = key_of(obj)
                    known = self._objects.get(key)
                    # Recreated under the same name, and we have observed it already: the deletion is of the old one.
                    if known is None or resource_version_of(known) <= version:
                        self._remove(key, obj)
                elif event.type in (ADDED, MODIFIED):
                    self._put(self._transform(obj) if self._transform else obj)
                self.resource_version = max(self.resource_version, version)
                self._backoff.reset()


class InformerFactory:
    """Informers shared by the components of one process: one watch a resource (two where one wants only the metadata and
    another, later, the whole objects)."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        rng: random.Random | None = None,
        *,
        transforms: Callable[[GVR], Callable[[Object], Object]] | None = None,
        page_size: int = 0,
    ) -> None:
        """``transforms`` gives what each object of a resource goes through (see ``sharing``)."""
        self._page_size = page_size
        self._client, self._clock, self._rng = client, clock, rng
        self._transforms = transforms or (lambda gvr: without_managed_fields)
        self._full: dict[GVR, Informer] = {}
        self._metadata: dict[GVR, Informer] = {}
        self._tasks: dict[Informer, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def informer(self, gvr: GVR) -> Informer:
        """The shared informer of a resource over all namespaces; started at once where the factory runs already."""
        informer = self._full.get(gvr)
        if informer is None:
            informer = self._full[gvr] = self._new(gvr, metadata_only=False)
        return informer

    def metadata_informer(self, gvr: GVR) -> Informer:
        """The shared informer where there is one, else one that keeps only the metadata (PartialObjectMetadata)."""
        informer = self._full.get(gvr) or self._metadata.get(gvr)
        if informer is None:
            informer = self._metadata[gvr] = self._new(gvr, metadata_only=True)
        return informer

    def _new(self, gvr: GVR, *, metadata_only: bool) -> Informer:
        informer = Informer(
            self._client,
            gvr,
            clock=self._clock,
            rng=self._rng,
            transform=self._transforms(gvr),
            metadata_only=metadata_only,
            page_size=self._page_size,
        )
        if self._group is not None:
            self._tasks[informer] = self._group.create_task(informer.run())
        return informer

    def remove_metadata_informer(self, gvr: GVR) -> None:
        """Ends one: its resource is served no more."""
        informer = self._metadata.pop(gvr, None)
        task = self._tasks.pop(informer, None) if informer is not None else None
        if task is not None:
            task.cancel()

    def observe(self, gvr: GVR, obj: Object) -> None:
        """As ``Informer.observe``, for those that somebody has asked for."""
        for informers in (self._full, self._metadata):
            if gvr in informers:
                informers[gvr].observe(obj)

    def observe_delete(self, gvr: GVR, obj: Object) -> None:
        for informers in (self._full, self._metadata):
            if gvr in informers:
                informers[gvr].observe_delete(obj)

    async def wait_synced(self) -> None:
        for informer in [*self._full.values(), *self._metadata.values()]:
            await informer.wait_synced()

    async def run(self) -> None:
        """Runs all informers until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in [*self._full.values(), *self._metadata.values()]:
                    self._tasks[informer] = group.create_task(informer.run())
                await asyncio.Event().wait()
            finally:
                self._group = None
                self._tasks.clear()
