"""The store of tests and simulations: everything in dicts, gone with the process."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from ..concurrency import Clock
from .common import Expiry, Watchers
from .contract import (
    Cancel,
    Compacted,
    Deliver,
    Event,
    FutureRevision,
    KeyValue,
    Page,
    Progress,
    RevisionMismatch,
    StoreError,
    StoreUnavailable,
    prefix_end,
)


class MemoryStore:
    """All history since the last compaction, in order, with an index of the newest write of each key."""

    engine = "memory"
    single_writer = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._revision = 1
        self._compacted = 0
        self._newest: dict[str, KeyValue] = {}
        self._keys: list[str] = []
        self._log: deque[tuple[Event, bytes | None]] = deque()
        self._watchers = Watchers()
        self._expiry = Expiry(clock, self._expire)
        self._closed = False

    async def open(self) -> None:
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        self._expiry.stop()
        self._watchers.fail(StoreUnavailable("the store is closed"))

    async def get(self, key: str) -> KeyValue | None:
        return self._newest.get(key)

    def _check(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision and revision < self._compacted:
            raise Compacted(revision, self._compacted)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        self._check(revision)
        if revision and revision < self._revision:
            found = self._state_at(prefix, revision)
            keys = sorted(found)
        else:
            low, high = self._range(prefix)
            keys, found = self._keys[low:high], self._newest
        start = bisect.bisect_right(keys, after) if after else 0
        stop = start + limit if limit else len(keys)
        items = [found[k] for k in keys[start:stop]]
        return Page(items, revision or self._revision, max(0, len(keys) - stop))

    def _range(self, prefix: str) -> tuple[int, int]:
        return bisect.bisect_left(self._keys, prefix), bisect.bisect_left(self._keys, prefix_end(prefix))

    def _state_at(self, prefix: str, revision: int) -> dict[str, KeyValue]:
        """Walks the log back from now: what came after ``revision`` is undone."""
        low, high = self._range(prefix)
        state = {k: self._newest[k] for k in self._keys[low:high]}
        for event, previous in reversed(self._log):
            if event.revision <= revision:
                break
            if event.key.startswith(prefix):
                if previous is None:
                    state.pop(event.key, None)
                else:
                    state[event.key] = KeyValue(event.key, previous, event.previous_revision)
        return state

    async def count(self, prefix: str) -> int:
        low, high = self._range(prefix)
        return high - low

    def _expect(self, key: str, expected: int | None) -> KeyValue | None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        old = self._newest.get(key)
        actual = old.revision if old is not None else 0
        if expected is not None and expected != actual:
            raise RevisionMismatch(key, expected, actual)
        return old

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, note: Any = None, ttl: float = 0
    ) -> int:
        old = self._expect(key, expected)
        revision = self._revision = self._revision + 1
        if old is None:
            bisect.insort(self._keys, key)
        self._newest[key] = KeyValue(key, value, revision)
        self._commit(Event(revision, key, value, old.revision if old else 0, note), old)
        if ttl:
            self._expiry.add(self._clock.now() + ttl, key, revision)
        return revision

    async def delete(self, key: str, *, expected: int | None = None, note: Any = None) -> int:
        old = self._expect(key, expected)
        if old is None:
            raise RevisionMismatch(key, expected or 0, 0)
        return self._delete(old, note)

    def _delete(self, old: KeyValue, note: Any) -> int:
        revision = self._revision = self._revision + 1
        del self._newest[old.key]
        self._keys.pop(bisect.bisect_left(self._keys, old.key))
        self._commit(Event(revision, old.key, None, old.revision, note), old)
        return revision

    def _commit(self, event: Event, old: KeyValue | None) -> None:
        self._log.append((replace(event, note=None), old.value if old is not None else None))
        self._watchers.deliver([event])

    def _expire(self, key: str, revision: int) -> None:
        old = self._newest.get(key)
        if old is not None and old.revision == revision and not self._closed:
            self._delete(old, None)

    def watch(
        self,
        prefix: str,
        after: int,
        deliver: Deliver,
        failed: Callable[[StoreError], None],
        progress: Progress | None = None,
    ) -> Cancel:
        if after < self._compacted:
            raise Compacted(after, self._compacted)
        missed = [e for e, _ in self._log if e.revision > after and e.key.startswith(prefix)]
        if missed:
            deliver(missed)
        return self._watchers.add(prefix, deliver, failed)

    async def current_revision(self) -> int:
        return self._revision

    async def compact(self, revision: int) -> None:
        self._check(revision)
        self._compacted = max(self._compacted, revision)
        while self._log and self._log[0][0].revision <= revision:
            self._log.popleft()

    async def snapshot(self, path: Path) -> int:
        rows = [[kv.key, kv.value.decode("latin-1"), kv.revision] for kv in self._newest.values()]
        path.write_bytes(orjson.dumps({"revision": self._revision, "items": rows}))
        return self._revision

    async def size(self) -> int:
        return sum(len(kv.value) for kv in self._newest.values())
