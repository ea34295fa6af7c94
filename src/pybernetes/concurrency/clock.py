"""Time by argument: the only module that reads a real clock.

``RealClock`` is the machine's. ``VirtualClock`` stands still until nothing else can run, then jumps to the next deadline,
so an hour of back-off costs milliseconds; it needs the event loop that ``virtual_event_loop`` makes.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol


class TimerHandle(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Wall time, monotonic time and waiting."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after ``seconds`` (at once, but after a turn of the loop, when not positive)."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], Any]) -> TimerHandle:
        """Calls ``callback()`` from the event loop after ``seconds``, unless the handle is cancelled."""
        ...

    def timeout(self, seconds: float | None) -> Any:
        """``async with clock.timeout(s):`` raises TimeoutError when the body takes longer; None means for ever."""
        ...


@asynccontextmanager
async def _timeout(clock: Clock, seconds: float | None) -> AsyncIterator[None]:
    if seconds is None:
        yield
        return
    # asyncio.timeout does the delicate part (telling its own cancellation from others'); the clock fires it.
    async with asyncio.timeout(None) as scope:
        loop = asyncio.get_running_loop()
        handle = clock.call_later(seconds, lambda: scope.reschedule(loop.time()))
        try:
            yield
        finally:
            handle.cancel()


class RealClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def call_later(self, seconds: float, callback: Callable[[], Any]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback)

    def timeout(self, seconds: float | None) -> Any:
        return asyncio.timeout(seconds)


class _VirtualTimer:
    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], Any]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """A clock that jumps. Timers due at one moment fire in the order in which they were set.

    ``hold()`` keeps it from jumping while something outside the loop (a thread, a peer process) is at work.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self._order = itertools.count()
        self._holds = 0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        handle = self.call_later(seconds, wake)
        try:
            await future
        finally:
            handle.cancel()

    def call_later(self, seconds: float, callback: Callable[[], Any]) -> TimerHandle:
        timer = _VirtualTimer(callback)
        heapq.heappush(self._timers, (self._now + max(0.0, seconds), next(self._order), timer))
        return timer

    def timeout(self, seconds: float | None) -> Any:
        return _timeout(self, seconds)

    def hold(self) -> Callable[[], None]:
        """Stops the jumps until the function that it returns is called."""
        self._holds += 1
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._holds -= 1

        return release

    def advance_to_next(self) -> bool:
        """Jumps to the next deadline and fires what is due then. False where nothing waits (or the clock is held)."""
        if self._holds:
            return False
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return False
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                timer.callback()
        return True


class _JumpingSelector(selectors.DefaultSelector):
    """Polls for real I/O; where there is none and the loop would wait, lets the virtual clock jump."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._clock.advance_to_next():
            return []
        return super().select(timeout)


class _VirtualLoop(asyncio.SelectorEventLoop):
    """Stands still while a thread that the loop has started (``asyncio.to_thread``) is at work: it takes no virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._virtual = clock

    def run_in_executor(  # type: ignore[override]  # the callable's arguments are not its business
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        release = self._virtual.hold()
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            release()
            raise
        future.add_done_callback(lambda _: release())
        return future


def virtual_event_loop(clock: VirtualClock) -> asyncio.AbstractEventLoop:
    """An event loop on which ``clock`` jumps as soon as nothing is runnable and no socket is ready."""
    return _VirtualLoop(clock)
