"""Commits: an object into the store, with what every kind has in common around it.

Create with generated names, update with optimistic concurrency and retry, deletion in its steps (grace, finalizers, gone).
Nothing here knows HTTP; ``writing`` and ``deleting`` call it for requests, bootstrap and allocators for themselves.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from ..api.errors import StatusError, already_exists, conflict, not_found
from ..api.meta import Object
from ..concurrency import Clock
from ..storage.contract import RevisionMismatch, StoreUnavailable
from .encoding import Entry, encode_for_store
from .hub import Hub, unavailable
from .metadata import generate_name
from .registry import Resource
from .storagemetrics import CREATE, DELETE, UPDATE

TryUpdate = Callable[[Object], Awaitable[Object]]
"""From the stored object (not to be changed) to the new one; called again where another writer was faster."""


class Committer:
    """Writes objects of one server."""

    # Upstream's number of names tried for one generateName.
    NAME_ATTEMPTS = 8

    def __init__(self, hub: Hub, clock: Clock, rng: random.Random) -> None:
        self.hub = hub
        self.clock = clock
        self.rng = rng
        self.ttl_of: Callable[[Resource], float] = lambda resource: 0.0

    async def to_storage(self, resource: Resource, obj: Object) -> Object:
        if resource.versioning is not None:
            return await resource.versioning.to_storage(obj)
        return resource.conversion.to_storage(obj) if resource.conversion is not None else obj

    async def from_entry(self, resource: Resource, entry: Entry) -> Object:
        """The stored object in the resource's version, the caller's own."""
        if resource.versioning is not None:
            return resource.versioning.read(await resource.seen(entry))
        obj = entry.decode()
        return resource.conversion.from_storage(obj) if resource.conversion is not None else obj

    async def create(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Entry:
        """Raises StatusError AlreadyExists."""
        metadata = obj["metadata"]
        cache = resource.cache
        namespace, name = metadata.get("namespace", "") if cache.namespaced else "", metadata["name"]
        stored = await self.to_storage(resource, obj)
        key = f"{cache.prefix}{namespace}/{name}" if cache.namespaced else cache.prefix + name
        if dry_run:
            if cache.get(namespace, name) is not None:
                raise already_exists(resource.gvr.group, resource.gvr.resource, name)
            return cache.unversioned(key, encode_for_store(stored), stored)
        data = encode_for_store(stored)
        try:
            put = self.hub.store.put(key, data, expected=0, note=stored, ttl=self.ttl_of(resource))
            revision = await self.hub.metrics.call(CREATE, cache.gvr, put)
        except RevisionMismatch:
            raise self._exists(resource, namespace, name) from None
        except StoreUnavailable as failure:
            raise unavailable(failure) from failure
        return await self._committed(resource, key, namespace, name, data, revision, stored)

    @staticmethod
    def _exists(resource: Resource, namespace: str, name: str) -> StatusError:
        failure = already_exists(resource.gvr.group, resource.gvr.resource, name)
        there = resource.cache.get(namespace, name)
        if there is not None and there.peek()["metadata"].get("deletionTimestamp"):
            failure.message = f"object is being deleted: {failure.message}"
        return failure

    async def create_named(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Entry:
        """``create`` of an object whose name was generated: tries others where it is taken."""
        metadata = obj["metadata"]
        for attempt in range(self.NAME_ATTEMPTS):
            try:
                return await self.create(resource, obj, dry_run=dry_run)
            except StatusError as failure:
                if failure.reason != "AlreadyExists" or attempt == self.NAME_ATTEMPTS - 1:
                    raise
                metadata["name"] = generate_name(metadata["generateName"], self.rng)
        raise AssertionError("unreachable")

    async def _committed(
        self, resource: Resource, key: str, namespace: str, name: str, data: bytes, revision: int, obj: Object
    ) -> Entry:
        if revision > self.hub.revision:
            await self.hub.wait_for(revision)
        entry = resource.cache.get(namespace, name)
        if entry is not None and entry.revision == revision:
            return entry
        return resource.cache.entry_for(key, data, revision, obj)

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        attempt: TryUpdate,
        *,
        dry_run: bool = False,
        removes: bool = True,
    ) -> Entry:
        """Applies ``attempt`` to the newest state until it commits. Raises StatusError, NotFound too.

        ``removes``: an update that takes the last finalizer of an object under deletion deletes it.
        """
        cache, gvr = resource.cache, resource.gvr
        key = f"{cache.prefix}{namespace}/{name}" if cache.namespaced else cache.prefix + name
        while True:
            entry = cache.get(namespace, name)
            if entry is None:
                raise not_found(gvr.group, gvr.resource, name)
            old = await self.from_entry(resource, entry)
            new = await attempt(old)
            stored = await self.to_storage(resource, new)
            plain = resource.conversion is None and resource.versioning is None
            current = old if plain else entry.decode()
            if same(stored, current):
                return entry
            data = encode_for_store(stored)
            if dry_run:
                return cache.entry_for(key, data, entry.revision, stored)
            try:
                if removes and removable(stored, current):
                    # The last finalizer of an object under deletion is gone: this update is its deletion.
                    await self.hub.metrics.call(DELETE, cache.gvr, self.hub.store.delete(key, expected=entry.revision))
                    return cache.entry_for(key, data, entry.revision, stored)
                put = self.hub.store.put(key, data, expected=entry.revision, note=stored, ttl=self.ttl_of(resource))
                revision = await self.hub.metrics.call(UPDATE, cache.gvr, put)
            except RevisionMismatch as mismatch:
                await self._catch_up(mismatch)
                continue
            except StoreUnavailable as failure:
                raise unavailable(failure) from failure
            return await self._committed(resource, key, namespace, name, data, revision, stored)

    async def _catch_up(self, mismatch: RevisionMismatch) -> None:
        """Another writer was faster: its state must be in the cache before the next attempt reads it."""
        if mismatch.actual:
            await self.hub.wait_for(mismatch.actual)
        else:
            await self.hub.consistent()

    async def delete(self, resource: Resource, entry: Entry) -> None:
        """Removes exactly this state. Raises StatusError Conflict where it is not the newest any more."""
        cache, gvr = resource.cache, resource.gvr
        key = cache.prefix + (f"{entry.namespace}/" if cache.namespaced else "") + entry.name
        try:
            await self.hub.metrics.call(DELETE, cache.gvr, self.hub.store.delete(key, expected=entry.revision))
        except RevisionMismatch as mismatch:
            await self._catch_up(mismatch)
            raise conflict(gvr.group, gvr.resource, entry.name) from None
        except StoreUnavailable as failure:
            raise unavailable(failure) from failure


def same(new: Object, old: Object) -> bool:
    """Whether a write would change nothing (resourceVersion apart)."""
    a, b = new["metadata"], old["metadata"]
    if len(new) != len(old) or any(new.get(k) != v for k, v in old.items() if k != "metadata"):
        return False
    return {k: v for k, v in a.items() if k != "resourceVersion"} == {
        k: v for k, v in b.items() if k != "resourceVersion"
    }


def removable(obj: Object, old: Object) -> bool:
    """Under deletion before this update, with nothing left to wait for after it."""
    before = old["metadata"]
    if old["kind"] == "Namespace" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return (
        before.get("deletionTimestamp") is not None
        and not obj["metadata"].get("finalizers")
        and not before.get("deletionGracePeriodSeconds")
    )
