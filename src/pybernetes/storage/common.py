"""What the embedded engines share: who watches, and keys that live for a time."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from ..concurrency import Clock, TimerHandle
from .contract import Cancel, Deliver, Event, StoreError


class Watchers:
    """Who is told of committed writes of one process. Shared by the embedded engines."""

    def __init__(self) -> None:
        self._watchers: dict[int, tuple[str, Deliver, Callable[[StoreError], None]]] = {}
        self._next = 0

    def add(self, prefix: str, deliver: Deliver, failed: Callable[[StoreError], None]) -> Cancel:
        number = self._next = self._next + 1
        self._watchers[number] = (prefix, deliver, failed)
        return lambda: void(self._watchers.pop(number, None))

    def deliver(self, events: list[Event]) -> None:
        for prefix, deliver, _ in list(self._watchers.values()):
            if prefix == "/" or (seen := [e for e in events if e.key.startswith(prefix)]) == events:
                deliver(events)
            elif seen:
                deliver(seen)

    def fail(self, failure: StoreError) -> None:
        watchers, self._watchers = self._watchers, {}
        for _, _, failed in watchers.values():
            failed(failure)


def void(_: object) -> None:
    """Makes an expression's value None."""


class Expiry:
    """Deletes keys whose time to live is over. One timer, for the earliest."""

    def __init__(self, clock: Clock, expire: Callable[[str, int], None]) -> None:
        self._clock, self._expire = clock, expire
        self._heap: list[tuple[float, str, int]] = []
        self._timer: TimerHandle | None = None
        self._due = 0.0

    def add(self, deadline: float, key: str, revision: int) -> None:
        """``deadline`` is wall time."""
        heapq.heappush(self._heap, (deadline, key, revision))
        self._arm()

    def _arm(self) -> None:
        if not self._heap or (self._timer is not None and self._due <= self._heap[0][0]):
            return
        self.stop()
        self._due = self._heap[0][0]
        self._timer = self._clock.call_later(self._due - self._clock.now(), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            _, key, revision = heapq.heappop(self._heap)
            self._expire(key, revision)
        self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
