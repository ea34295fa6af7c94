"""The hub: one watch of the store that feeds every resource's cache, and the waiting for a revision."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

from ..api.errors import StatusError
from ..api.resources import GVR
from ..concurrency import Clock, logger
from ..storage.contract import Compacted, Event, KeyValue, Page, Store, StoreError, StoreUnavailable
from .cache import Fields, ResourceCache
from .memory import give_back, unused
from .storagemetrics import LIST, StorageMetrics
from .watching import Dispatcher

log = logger("apiserver.hub")

ROOT = "/registry/"
_SPECIAL = {
    GVR("", "v1", "replicationcontrollers"): "controllers",
    GVR("", "v1", "endpoints"): "services/endpoints",
    GVR("", "v1", "services"): "services/specs",
    GVR("", "v1", "nodes"): "minions",
    GVR("networking.k8s.io", "v1", "ingresses"): "ingress",
    GVR("apiregistration.k8s.io", "v1", "apiservices"): "apiregistration.k8s.io/apiservices",
    GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
}


def storage_prefix(gvr: GVR, builtin: bool = True) -> str:
    """Where a resource's objects are: upstream's paths, so that the two can take over each other's etcd."""
    if builtin:
        return f"{ROOT}{_SPECIAL.get(gvr, gvr.resource)}/"
    return f"{ROOT}{gvr.group}/{gvr.resource}/"


class Hub:
    """All caches of one API server."""

    PAGE = 2000
    AGE = 25.0
    """Seconds between two looks at what the caches could let go of."""
    WORTH_GIVING_BACK = 4 << 20
    """Bytes of old changes and kept lists that were let go of at once."""
    UNUSED = 32 << 20
    """Bytes of anything else, freed here and there, that the C library may keep for the next burst."""
    # As long as upstream lets a reader wait for a revision that has not come yet.
    FRESH_TIMEOUT = 3.0

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.metrics = StorageMetrics(clock.monotonic)
        self.revision = 0
        """Every write up to it is in the caches."""
        self.compacted = 0
        """Older revisions cannot be listed any more."""
        self._table: dict[str, Any] = {}
        self.dispatchers: dict[str, Dispatcher] = {}
        self._loading: dict[str, list[Event]] = {}
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = 0
        self._cancel: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken: asyncio.Future[StoreError] | None = None

    # -- resources --------------------------------------------------------------------------------------------------

    def add(self, gvr: GVR, namespaced: bool, prefix: str, fields: Fields | None, indexed: str = "") -> Dispatcher:
        """A cache for a resource; ``load`` fills it."""
        existing = self.dispatchers.get(prefix)
        if existing is not None:
            return existing
        cache = ResourceCache(gvr, namespaced, prefix, fields, indexed)
        dispatcher = self.dispatchers[prefix] = Dispatcher(cache, self.clock, self._soon)
        table, *rest = self._table, *prefix[len(ROOT) : -1].split("/")
        for part in rest[:-1]:
            table = table.setdefault(part, {})
        table[rest[-1]] = cache
        return dispatcher

    def _soon(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon(callback)

    async def load(self, dispatcher: Dispatcher) -> None:
        """Fills a cache whose resource was added while the hub runs."""
        cache = dispatcher.cache
        buffered = self._loading.setdefault(cache.prefix, [])
        try:
            revision = await self._load(cache)
        finally:
            self._loading.pop(cache.prefix, None)
        for event in buffered:
            if event.revision > revision:
                cache.apply(event)

    async def renew(self, dispatcher: Dispatcher) -> None:
        """Fills a cache anew from what is stored: how its objects are read has changed."""
        cache = dispatcher.cache
        buffered = self._loading.setdefault(cache.prefix, [])
        try:
            items: list[KeyValue] = []
            async for page in self._pages(cache.prefix, gvr=cache.gvr):
                items += page.items
                revision = page.revision
            self.metrics.listed(cache.gvr, len(items), len(items))
        finally:
            self._loading.pop(cache.prefix, None)
        cache.renew(items, revision)
        cache.fillings += 1
        for event in buffered:
            if event.revision > revision:
                cache.apply(event)

    async def load_below(self, prefix: str) -> None:
        """Fills all caches below a prefix in one go, at the start."""
        revision = 0
        caches = [d.cache for p, d in self.dispatchers.items() if p.startswith(prefix)]
        found: dict[str, list[KeyValue]] = {cache.prefix: [] for cache in caches}
        for cache in caches:
            self._loading.setdefault(cache.prefix, [])
        async for page in self._pages(prefix):
            revision = page.revision
            for item in page.items:
                end = item.key.find("/", len(prefix)) + 1
                if (listed := found.get(item.key[:end])) is not None:
                    listed.append(item)
        for cache in caches:
            cache.load(found[cache.prefix], revision)
            cache.fillings += 1
            for event in self._loading.pop(cache.prefix, ()):
                if event.revision > revision:
                    cache.apply(event)

    async def _pages(self, prefix: str, revision: int = 0, gvr: GVR | None = None) -> AsyncIterator[Page]:
        after = ""
        while True:
            read = self.store.list(prefix, after=after, limit=self.PAGE, revision=revision)
            page: Page = await (self.metrics.call(LIST, gvr, read) if gvr is not None else read)
            revision = page.revision
            yield page
            if not page.remaining:
                return
            after = page.items[-1].key

    def remove(self, prefix: str) -> None:
        """Ends the cache of a resource that is not served any more, and all watches of it."""
        dispatcher = self.dispatchers.pop(prefix, None)
        if dispatcher is not None:
            table, parts = self._table, prefix[len(ROOT) : -1].split("/")
            for part in parts[:-1]:
                table = table[part]
            table.pop(parts[-1], None)
            dispatcher.close()

    async def _load(self, cache: ResourceCache, revision: int = 0) -> int:
        async for page in self._pages(cache.prefix, revision, cache.gvr):
            revision = page.revision
            cache.load(page.items, revision)
        cache.fillings += 1
        self.metrics.listed(cache.gvr, cache.count, cache.count)
        return revision

    # -- running ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Loads every cache and begins to follow the store."""
        self._loop = asyncio.get_running_loop()
        self._broken = self._loop.create_future()
        revision = await self.store.current_revision()
        for dispatcher in list(self.dispatchers.values()):
            await self._load(dispatcher.cache, revision)
        self.revision = revision
        self._cancel = self.store.watch(ROOT, revision, self._deliver, self._failed, self._advance)

    def stop(self) -> None:
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        for dispatcher in list(self.dispatchers.values()):
            dispatcher.close()

    def _failed(self, failure: StoreError) -> None:
        self._cancel = None
        if self._broken is not None and not self._broken.done():
            self._broken.set_result(failure)

    async def run(self) -> None:
        """Follows the store again whenever it breaks off."""
        while True:
            assert self._broken is not None and self._loop is not None
            failure = await self._broken
            log.warning("the store's watch ended", error=str(failure))
            self._broken = self._loop.create_future()
            await self.clock.sleep(0.2)
            if isinstance(failure, Compacted):
                await self._resync()
                continue
            try:
                self._cancel = self.store.watch(ROOT, self.revision, self._deliver, self._failed, self._advance)
            except Compacted:
                await self._resync()
            except StoreError as again:
                self._failed(again)

    async def keep_small(self) -> None:
        """Lets go of old changes and kept lists, for as long as the server runs: a busy hour leaves nothing behind."""
        while True:
            await self.clock.sleep(self.AGE)
            aged = sum(d.cache.age() for d in list(self.dispatchers.values()))
            if aged > self.WORTH_GIVING_BACK or unused() > self.UNUSED:
                await asyncio.to_thread(give_back)  # half a gigabyte takes longer than a request may wait

    async def _resync(self) -> None:
        """History that we missed is gone: takes the newest state, and lets watchers begin anew where they must."""
        try:
            revision = await self.store.current_revision()
            for dispatcher in list(self.dispatchers.values()):
                page = await self.store.list(dispatcher.cache.prefix, revision=revision)
                dispatcher.cache.reload(page.items, revision)
                dispatcher.cache.fillings += 1
            self._advance(revision)
            self._cancel = self.store.watch(ROOT, revision, self._deliver, self._failed, self._advance)
        except StoreError as failure:
            self._failed(failure)

    def _deliver(self, events: Sequence[Event]) -> None:
        table, root = self._table, len(ROOT)
        for event in events:
            parts = event.key[root:].split("/", 2)
            cache = table.get(parts[0])
            if type(cache) is dict and len(parts) > 1:
                cache = cache.get(parts[1])
            if type(cache) is ResourceCache:
                if self._loading and cache.prefix in self._loading:
                    self._loading[cache.prefix].append(event)
                else:
                    cache.apply(event)
        if events:
            self._advance(events[-1].revision)

    # -- waiting ----------------------------------------------------------------------------------------------------

    def _advance(self, revision: int) -> None:
        if revision < self.revision:
            return
        self.revision = revision
        while self._waiters and self._waiters[0][0] <= revision:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)

    async def wait_for(self, revision: int) -> None:
        """Returns when the caches hold everything up to ``revision``. Raises StatusError 504 where it does not come."""
        if revision <= self.revision:
            return
        self._order += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, self._order, future))
        try:
            async with self.clock.timeout(self.FRESH_TIMEOUT):
                await future
        except TimeoutError:
            raise too_large_resource_version(revision, self.revision) from None

    async def reach(self, revision: int) -> None:
        """Waits for a revision that another server has written; returns where it does not come in time, too."""
        if self.store.single_writer:
            return
        with suppress(StatusError):
            await self.wait_for(revision)

    async def consistent(self) -> None:
        """Returns when the caches are as new as the store was at the time of the call. Raises StatusError."""
        if self.store.single_writer:
            return
        try:
            revision = await self.store.current_revision()
        except StoreUnavailable as failure:
            raise unavailable(failure) from failure
        await self.wait_for(revision)


def too_large_resource_version(requested: int, current: int) -> StatusError:
    message = f"Too large resource version: {requested}, current: {current}"
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return StatusError(504, "Timeout", f"Timeout: {message}", details, retry_after=1)


class Unconfirmed(StatusError):
    """The store did not answer: whether the write happened may be unknown."""


def unavailable(failure: StoreUnavailable) -> StatusError:
    return Unconfirmed(503, "ServiceUnavailable", f"the store is unavailable: {failure}", retry_after=1)
