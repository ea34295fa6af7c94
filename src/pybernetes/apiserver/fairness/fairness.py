"""What the request path asks: a seat for each request, at once, after a wait, or not at all.

``enter`` before authorization, ``leave`` when the answer is made (``hold`` where its body is still being made). Streams are
long-running and take no seat; a watch takes one until it has begun. Specified by "API Priority and Fairness".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from ...api.meta import Object
from ...concurrency import Clock
from ...hooks.identity import UserInfo
from ..request import Request, RequestInfo, Response
from .levels import Flow, Levels
from .metrics import FairnessMetrics
from .queueset import ONE, Ticket, Work

WAIT_LIMIT = 15.0
"""A quarter of the request timeout."""
_LONG_RUNNING = frozenset({"attach", "exec", "proxy", "log", "portforward"})
Estimate = Callable[[Request, RequestInfo, int], Work]
"""(request, what it asks, the most seats that its level gives to one) to what it takes."""
Objects = Callable[[], tuple[Iterable[Object], Iterable[Object]]]


class Fairness:
    """Hands out the seats of one server."""

    def __init__(self, levels: Levels, clock: Clock, estimate: Estimate, objects: Objects) -> None:
        """``objects`` gives the PriorityLevelConfigurations and FlowSchemas as they are."""
        self.levels = levels
        self.metrics = FairnessMetrics(levels)
        self._clock, self._estimate, self._objects = clock, estimate, objects
        self._stale = True

    def changed(self, *event: object) -> None:
        """The objects are other ones; they are looked at when the next request comes."""
        self._stale = True

    def refresh(self) -> None:
        """Takes the objects as they are, if they have changed."""
        if self._stale:
            self._stale = False
            self._go(self.levels.digest(*self._objects(), self._clock.monotonic()))

    def adjust(self) -> None:
        """Shares the seats out anew."""
        self.refresh()
        self._go(self.levels.adjust(self._clock.monotonic()))
        self.levels.reap()

    # -- requests ---------------------------------------------------------------------------------------------------

    def flow(self, user: UserInfo, info: RequestInfo) -> Flow:
        if self._stale:
            self.refresh()
        return self.levels.flow(user, info)

    async def enter(self, request: Request, info: RequestInfo) -> Response | None:
        """Puts a seat into ``request.seat``, after a wait where there is none. The answer of who gets none is a 429."""
        if info.verb == "proxy" or info.subresource in _LONG_RUNNING:
            return None
        flow = self.flow(request.user, info)
        queues = flow.queues
        work = self._estimate(request, info, queues.max_seats)
        ticket = Ticket(work, flow, flow.distinguisher, request)
        request.seat = ticket
        flow.counts.estimates.observe(work.most)
        now = self._clock.monotonic()
        if queues.free(work.most):
            queues.begin(ticket, now)
            flow.counts.at_once += 1
        elif not queues.enqueue(ticket, flow.hand, now):
            ticket.request = None
            return self._rejected(flow, "queue-full" if flow.hand else "concurrency-limit")
        else:
            refused = await self._wait(ticket, flow)
            if refused is not None:
                ticket.request = None
                return refused
        flow.counts.executing += 1
        flow.counts.seats += work.most
        return None

    def leave(self, ticket: Ticket) -> None:
        """The request has been answered. It holds the ticket, so the ticket lets go of it: together they would be garbage that
        only the collector finds."""
        ticket.request = None
        if ticket.started < 0:
            return  # it never had a seat
        flow, now = ticket.schema, self._clock.monotonic()
        flow.counts.executing -= 1
        flow.counts.execution.observe(now - ticket.started)
        begun = flow.queues.finish(ticket, now)
        if begun:
            self._go(begun)
        if ticket.work.latency > 0:
            self._clock.call_later(ticket.work.latency, lambda: self._release(ticket))
        else:
            flow.counts.seats -= ticket.work.most

    def hold(self, ticket: Ticket, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body; its seat is free when it has come to its end."""
        return HeldBody(body, lambda: self.leave(ticket))

    # -- short reads ------------------------------------------------------------------------------------------------

    def pass_by(self, flow: Flow) -> bool:
        """Whether a read that is answered within this call may go on: it only has to find a seat free."""
        if not flow.queues.free(1):
            return False
        flow.counts.at_once += 1
        return True

    def occupy(self, flow: Flow, work: Work) -> bool:
        """The same for what is answered at once and is not small: its seats are free again after a turn of the loop, so that
        many such requests that come together do not all come before everybody else's."""
        if work is ONE:
            return self.pass_by(flow)
        if not flow.queues.free(work.most):
            return False
        ticket = Ticket(work, flow, flow.distinguisher)
        flow.queues.begin(ticket, self._clock.monotonic())
        flow.counts.at_once += 1
        flow.counts.executing += 1
        flow.counts.seats += work.most
        self._clock.call_later(0.0, lambda: self.leave(ticket))
        return True

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _wait(self, ticket: Ticket, flow: Flow) -> Response | None:
        queues, counts = flow.queues, flow.counts
        ticket.decided = asyncio.get_running_loop().create_future()
        counts.queued += 1
        counts.queued_seats += ticket.work.most
        assert ticket.queue is not None
        self.metrics.queued(flow, len(ticket.queue.waiting))
        self._go(queues.dispatch(self._clock.monotonic()))
        try:
            async with self._clock.timeout(WAIT_LIMIT):
                await ticket.decided
        except TimeoutError:
            if ticket.started < 0:
                self._go(queues.give_up(ticket, self._clock.monotonic(), timed_out=True))
                self.metrics.waited(flow, self._clock.monotonic() - ticket.arrived, executed=False)
                return self._rejected(flow, "time-out")
        except BaseException:
            if ticket.started < 0:
                self._go(queues.give_up(ticket, self._clock.monotonic(), timed_out=False))
            else:
                self._go(queues.finish(ticket, self._clock.monotonic()))
                ticket.started = -1.0
            raise
        finally:
            counts.queued -= 1
            counts.queued_seats -= ticket.work.most
        counts.dispatched += 1
        waited = ticket.started - ticket.arrived
        if ticket.request is not None:
            ticket.request.waited += waited
        self.metrics.waited(flow, waited, executed=True)
        return None

    def _go(self, begun: list[Ticket]) -> None:
        for ticket in begun:
            ticket.schema.queues.dispatched += 1
            if not ticket.decided.done():
                ticket.decided.set_result(None)

    def _release(self, ticket: Ticket) -> None:
        flow = ticket.schema
        flow.counts.seats -= ticket.work.most
        self._go(flow.queues.release(ticket, self._clock.monotonic()))

    def _rejected(self, flow: Flow, reason: str) -> Response:
        dropped = flow.level.dropped
        dropped.note(self._clock.now())
        flow.counts.rejected[reason] = flow.counts.rejected.get(reason, 0) + 1
        return too_many_requests(dropped.retry_after)


def too_many_requests(retry_after: int) -> Response:
    """The 429 of a server that is busy: a plain text, no Status, as upstream."""
    headers = [("X-Content-Type-Options", "nosniff"), ("Retry-After", str(retry_after))]
    return Response(429, b"Too many requests, please try again later.\n", "text/plain; charset=utf-8", headers)


class HeldBody:
    """A body that lets go of its seat at its end, also where nobody began to read it."""

    def __init__(self, body: AsyncIterator[bytes], done: Callable[[], None]) -> None:
        self._body, self._done = body, done
        self._ended = False

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._done()

    def __aiter__(self) -> HeldBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._body)
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        self._end()
        close: Any = getattr(self._body, "aclose", None)
        if close is not None:
            await close()


class InflightLimits:
    """What stands in for fairness where it is switched off: so many reads and so many writes at a time."""

    def __init__(self, reads: int, writes: int) -> None:
        """0 is no limit."""
        self.limits = {True: reads, False: writes}
        self.running = {True: 0, False: 0}

    async def enter(self, request: Request, info: RequestInfo) -> Response | None:
        if info.verb in ("proxy", "watch") or info.subresource in _LONG_RUNNING:
            return None
        reading = info.verb in ("get", "list", "watch")
        limit = self.limits[reading]
        if limit and self.running[reading] >= limit and "system:masters" not in request.user.groups:
            return too_many_requests(1)
        self.running[reading] += 1
        request.seat = Ticket(ONE, reading)
        return None

    def leave(self, ticket: Ticket) -> None:
        self.running[ticket.schema] -= 1

    def hold(self, ticket: Ticket, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return HeldBody(body, lambda: self.leave(ticket))
