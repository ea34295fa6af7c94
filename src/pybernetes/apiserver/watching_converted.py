"""Watches of what a webhook converts: every change waits for its conversion before it is known whether it is wanted.

Other watches are pushed in groups by ``watching``; these read the window one by one, at the pace of the webhook.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from ..api.errors import StatusError, too_old_resource_version
from .cache import ADDED, DELETED, Change
from .encoding import Entry
from .registry import Versioning
from .views import View
from .watching import Dispatcher, Scope


class ConvertedWatch:
    """One watch: ``frames`` is the body of its response."""

    SLICE = 128
    BOOKMARK_PERIOD = 60.0

    def __init__(
        self,
        dispatcher: Dispatcher,
        versioning: Versioning,
        scope: Scope,
        view: View,
        *,
        position: int,
        initial: list[Entry] | None,
        initial_revision: int,
        announce_initial: bool,
        bookmarks: bool,
        timeout: float,
        revision: Callable[[], int],
    ) -> None:
        self._dispatcher, self._cache, self._clock = dispatcher, dispatcher.cache, dispatcher.clock
        self._versioning, self._scope, self._view = versioning, scope, view
        self._position = position
        self._initial, self._initial_revision, self._announce = initial, initial_revision, announce_initial
        self._bookmarks, self._revision = bookmarks, revision
        self._until = self._clock.monotonic() + timeout
        self._news = asyncio.Event()

    async def frames(self) -> AsyncIterator[bytes]:
        cancel = self._cache.subscribe(lambda kind, old, new: self._news.set())
        self._dispatcher.closing.append(self._news.set)
        epoch = self._dispatcher.closed
        try:
            async for frame in self._initial_frames():
                yield frame
            while self._dispatcher.closed == epoch:
                self._news.clear()
                async for frame in self._pending():
                    yield frame
                left = self._until - self._clock.monotonic()
                if left <= 0:
                    break
                if not await self._wait(min(left, self.BOOKMARK_PERIOD)) and self._bookmarks:
                    yield self._view.bookmark(self._revision(), False)
        except StatusError as failure:
            yield self._view.status(failure.to_status())
        finally:
            cancel()
            self._dispatcher.closing.remove(self._news.set)

    async def _wait(self, seconds: float) -> bool:
        try:
            async with self._clock.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _initial_frames(self) -> AsyncIterator[bytes]:
        entries, self._initial = self._initial or [], None
        for start in range(0, len(entries), self.SLICE):
            part = await self._versioning.convert(
                [e for e in entries[start : start + self.SLICE] if self._scope.covers(e)]
            )
            frames = [self._view.frame(ADDED, e) for e in part if self._scope.matches(e)]
            if frames:
                yield b"".join(frames)
        if self._announce:
            yield self._view.bookmark(self._initial_revision, True)

    async def _pending(self) -> AsyncIterator[bytes]:
        """What is in the window and was not sent. Raises StatusError 410 where the window has gone past us."""
        cache = self._cache
        while (offset := self._position - cache.base) < len(cache.log):
            if offset < 0:
                raise too_old_resource_version(0, cache.horizon)
            part = cache.log[offset : offset + self.SLICE]
            self._position += len(part)
            frames = await self._converted([c for c in part if self._scope.covers(c.entry)])
            if frames:
                yield b"".join(frames)

    async def _converted(self, changes: Sequence[Change]) -> list[bytes]:
        states = [c.entry for c in changes] + [c.previous for c in changes if c.previous is not None]
        made = dict(zip(map(id, states), await self._versioning.convert(states), strict=True))
        found = []
        for change in changes:
            previous = made[id(change.previous)] if change.previous is not None else None
            seen = Change(change.revision, made[id(change.entry)], previous, change.deleted)
            kind = self._scope.seen(seen)
            if not kind:
                continue
            entry = seen.entry
            if kind == DELETED and not change.deleted and previous is not None:
                entry = previous.tombstone(change.revision)
            found.append(self._view.frame(kind, entry))
        return found
