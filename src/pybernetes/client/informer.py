"""Informers: a local copy of a resource kept true by list and watch, with handlers and indexes.

The copy only moves forward: resourceVersions compare as integers, so an event that is older than what is known is dropped,
and ``observe`` puts the answer of one's own write in at once, which spares a controller from acting on what it has itself
already changed. A watch that ends is resumed; one that fell out of the server's window (410) is listed anew, and what
disappeared meanwhile is reported as deleted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

from ..api.errors import StatusError
from ..api.meta import Object, key_of, namespace_of, resource_version_of
from ..api.resources import GVR
from ..concurrency import Backoff, Clock, logger
from .rest import Client
from .transport import TransportError

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
Handler = Callable[[str, Object | None, Object | None], None]
"""(type, old, new): old is None for ADDED, new is the last known state for DELETED. Must not block or mutate."""
IndexFunction = Callable[[Object], Iterable[str]]

log = logger("client.informer")


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
        transform: Callable[[Object], Object] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.gvr = gvr
        self._client, self._clock = client, clock
        self._namespace, self._label_selector, self._field_selector = namespace, label_selector, field_selector
        self._transform = transform
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

    def by_index(self, index: str, value: str) -> Sequence[Object]:
        return list(self._indexes[index].get(value, {}).values())

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    # -- setting up ------------------------------------------------------------------------------------------------

    def add_handler(self, handler: Handler) -> None:
        """Told of every change from now on, and of what is known already as ADDED."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(ADDED, None, obj)

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
            self._put(self._transform(obj) if self._transform else obj)

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None and resource_version_of(old) >= resource_version_of(obj):
            return
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
                await self._watch()
                self._backoff.reset()
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
        # Unpaged from the newest state: what we observed of our own writes can then never be ahead of the list.
        result = await self._client.list(
            self.gvr, self._namespace, label_selector=self._label_selector, field_selector=self._field_selector
        )
        version = int(result["metadata"]["resourceVersion"])
        kind, api_version = result.get("kind", "").removesuffix("List"), result.get("apiVersion")
        listed: set[str] = set()
        for item in result.get("items") or []:
            item.setdefault("kind", kind)
            item.setdefault("apiVersion", api_version)
            obj = self._transform(item) if self._transform else item
            listed.add(key_of(obj))
            self._put(obj)
        for key in [k for k, o in self._objects.items() if k not in listed and resource_version_of(o) <= version]:
            self._remove(key, None)
        self.resource_version = version
        self._synced.set()

    async def _watch(self) -> None:
        stream = self._client.watch(
            self.gvr,
            self._namespace,
            resource_version=str(self.resource_version),
            label_selector=self._label_selector,
            field_selector=self._field_selector,
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
    """Informers shared by the components of one process: one watch a resource."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random | None = None) -> None:
        self._client, self._clock, self._rng = client, clock, rng
        self._informers: dict[GVR, Informer] = {}
        self._group: asyncio.TaskGroup | None = None

    def informer(self, gvr: GVR) -> Informer:
        """The shared informer of a resource over all namespaces; started at once where the factory runs already."""
        informer = self._informers.get(gvr)
        if informer is None:
            informer = Informer(self._client, gvr, clock=self._clock, rng=self._rng)
            self._informers[gvr] = informer
            if self._group is not None:
                self._group.create_task(informer.run())
        return informer

    async def wait_synced(self) -> None:
        for informer in list(self._informers.values()):
            await informer.wait_synced()

    async def run(self) -> None:
        """Runs all informers until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in self._informers.values():
                    group.create_task(informer.run())
                await asyncio.Event().wait()
            finally:
                self._group = None
