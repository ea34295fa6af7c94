"""Forgets history: so long that lists and watches can go on from where they were, not so long that the disk fills.

One interval is kept, as upstream does. An embedded store that has grown to twice what it held after the last time, and some,
is compacted at once, down to the last look: the file is bounded by what it holds and the writes of half a minute.
"""

from __future__ import annotations

from ..concurrency import Clock, logger
from ..storage.contract import Store, StoreError
from .hub import Hub

log = logger("apiserver.compacting")

LOOK = 15.0
"""Seconds between two looks at the size."""
ROOM = 128 << 20
"""Bytes of history that are kept however small the store is."""


class Compaction:
    """The background work of one API server."""

    def __init__(self, store: Store, hub: Hub, clock: Clock, interval: float) -> None:
        self._store, self._hub, self._clock, self._interval = store, hub, clock, interval
        self._held = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._store_compacted(await self._next())
            except StoreError as failure:
                log.warning("compaction failed", error=str(failure))

    async def _next(self) -> int:
        """Waits until it is time; the revision that history begins with then."""
        oldest = latest = self._hub.revision
        waited = 0.0
        while waited < self._interval:
            await self._clock.sleep(min(LOOK, self._interval))
            waited += min(LOOK, self._interval)
            if self._store.single_writer and await self._store.size() > 2 * self._held + ROOM:
                return latest
            latest = self._hub.revision
        return oldest

    async def _store_compacted(self, revision: int) -> None:
        await self._store.compact(revision)
        self._hub.compacted = max(self._hub.compacted, revision)
        if self._store.single_writer:
            self._held = await self._store.size()
