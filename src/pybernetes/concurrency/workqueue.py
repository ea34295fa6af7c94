"""The work queue of level-triggered controllers: a key waits at most once, and one worker has it at a time.

A key added while it is being worked on is worked on again afterwards. Semantics of client-go's ``util/workqueue``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from .backoff import ItemBackoff
from .clock import Clock, TimerHandle

K = TypeVar("K", bound=Hashable)


class QueueMetrics(Protocol):
    """What a queue reports (upstream's ``workqueue_*`` metrics). Times in seconds."""

    def depth(self, size: int) -> None: ...
    def added(self) -> None: ...
    def retried(self) -> None: ...
    def waited(self, seconds: float) -> None: ...
    def worked(self, seconds: float) -> None: ...


class _NoMetrics:
    def depth(self, size: int) -> None: ...
    def added(self) -> None: ...
    def retried(self) -> None: ...
    def waited(self, seconds: float) -> None: ...
    def worked(self, seconds: float) -> None: ...


class QueueClosed(Exception):
    """``get`` on a queue that was shut down and is empty."""


class WorkQueue(Generic[K]):
    """Keys in first-in order, deduplicated, with delays and per-key exponential back-off."""

    def __init__(
        self, clock: Clock, *, backoff: ItemBackoff[K] | None = None, metrics: QueueMetrics | None = None
    ) -> None:
        self._clock = clock
        self.backoff: ItemBackoff[K] = backoff or ItemBackoff()
        self._metrics: QueueMetrics = metrics or _NoMetrics()
        self._ready: deque[K] = deque()
        self._dirty: dict[K, float] = {}
        self._processing: dict[K, float] = {}
        self._delayed: dict[K, tuple[float, TimerHandle]] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being worked on (delayed keys do not count)."""
        return not self._dirty and not self._processing

    def add(self, key: K) -> None:
        if self._closed or key in self._dirty:
            return
        self._dirty[key] = self._clock.monotonic()
        self._metrics.added()
        if key not in self._processing:
            self._push(key)

    def _push(self, key: K) -> None:
        self._ready.append(key)
        self._metrics.depth(len(self._ready))
        self._wake()

    def _wake(self) -> None:
        """One getter, if any waits: those that were cancelled may still stand in the queue."""
        while self._getters:
            waiter = self._getters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def add_after(self, key: K, seconds: float) -> None:
        """Adds the key after ``seconds``; of several such calls for one key the earliest counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        waiting = self._delayed.get(key)
        if waiting is not None:
            if waiting[0] <= due:
                return
            waiting[1].cancel()
        self._delayed[key] = (due, self._clock.call_later(seconds, lambda: self._due(key)))

    def _due(self, key: K) -> None:
        self._delayed.pop(key, None)
        self.add(key)

    def add_rate_limited(self, key: K) -> None:
        """Adds the key after its back-off, which grows until ``forget``."""
        self._metrics.retried()
        self.add_after(key, self.backoff.next(key))

    def forget(self, key: K) -> None:
        self.backoff.forget(key)

    async def get(self) -> K:
        """The next key, which the caller now owns until ``done``. Raises QueueClosed."""
        while not self._ready:
            if self._closed:
                raise QueueClosed
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and self._ready:
                    # This getter was woken for a key that it will not take: hand the wake-up on.
                    self._wake()
                raise
        key = self._ready.popleft()
        now = self._clock.monotonic()
        self._metrics.depth(len(self._ready))
        self._metrics.waited(now - self._dirty.pop(key))
        self._processing[key] = now
        return key

    def done(self, key: K) -> None:
        started = self._processing.pop(key)
        self._metrics.worked(self._clock.monotonic() - started)
        if key in self._dirty:
            self._push(key)

    def close(self) -> None:
        """No more keys are taken in; getters get what is left, then QueueClosed."""
        self._closed = True
        for _, handle in self._delayed.values():
            handle.cancel()
        self._delayed.clear()
        while self._getters:
            waiter = self._getters.popleft()
            if not waiter.done():
                waiter.set_result(None)


async def run_workers(
    queue: WorkQueue[K],
    workers: int,
    work: Callable[[K], Awaitable[float | None]],
    failed: Callable[[K, Exception], None],
) -> None:
    """Runs ``work(key)`` with so many workers until cancelled.

    ``work`` returns None when done with the key, or the seconds after which to look again. When it raises, ``failed`` is
    told and the key comes back after its back-off: a controller survives any one object.
    """

    async def worker() -> None:
        while True:
            try:
                key = await queue.get()
            except QueueClosed:
                return
            try:
                again = await work(key)
            except Exception as failure:  # noqa: BLE001 - the boundary of one key's work; reported, then retried
                failed(key, failure)
                queue.add_rate_limited(key)
            else:
                queue.forget(key)
                if again is not None:
                    queue.add_after(key, again)
            finally:
                queue.done(key)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())
