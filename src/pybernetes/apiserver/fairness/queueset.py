"""The queues of one priority level: fair queueing on virtual time, with requests that take several seats. Pure: time is handed in.

Virtual time R goes forward by the seats that each busy queue gets. A queue's next request is dispatched when its virtual
finish time is the least. Specified by KEP-1040 and the documentation of ``apiserver/pkg/util/flowcontrol/fairqueuing``.

A request that finds free seats while nobody waits joins no queue: it only counts the seats. So an idle level costs two
additions a request, and fairness begins where there is something to share out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .shares import Demand

ESTIMATED_SECONDS = 0.003
"""How long a request is taken to last before it has ended."""
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Work:
    """What a request takes: ``seats`` while it runs, then ``final`` ones for ``latency`` seconds (its watchers' events)."""

    seats: int = 1
    final: int = 0
    latency: float = 0.0

    @property
    def most(self) -> int:
        return max(self.seats, self.final)

    @property
    def total(self) -> float:
        """In seat-seconds."""
        return self.seats * ESTIMATED_SECONDS + self.final * self.latency


ONE = Work()
NOBODY: list[Any] = []
"""Dispatched by what made nobody's seat free; never changed."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request at a level."""

    work: Work
    schema: Any
    flow: str = ""
    request: Any = None
    """For those who look: what is asked, by whom."""
    decided: Any = None
    """What the waiting side is told by; the shell's own."""
    arrived: float = 0.0
    arrival_r: float = 0.0
    started: float = -1.0
    queue: Queue | None = None


@dataclass(slots=True, eq=False)
class Queue:
    """Requests of the flows that were dealt to it."""

    waiting: deque[Ticket] = field(default_factory=deque)
    executing: int = 0
    seats: int = 0
    next_r: float = 0.0
    work: float = 0.0
    """Of what waits."""

    @property
    def busy(self) -> bool:
        return bool(self.waiting) or self.executing > 0

    def bound(self) -> None:
        """A queue saves up no credit while it is empty."""
        if self.waiting and self.next_r < self.waiting[0].arrival_r:
            self.next_r = self.waiting[0].arrival_r


class QueueSet:
    """``queues`` -1: no limit at all (exempt); 0: what finds no seat is rejected."""

    __slots__ = (
        "_busy", "_busy_seats", "_enqueued", "_last", "_robin", "cancelled", "current_r", "demand", "dispatch_r", "dispatched", "executing", "hand",
        "in_use", "latest_s", "length_limit", "limit", "max_seats", "no_accommodation", "queues", "rejected", "timed_out",
        "unlimited", "unqueued", "waiting", "waiting_seats",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.queues: list[Queue] = []
        self.hand = self.length_limit = self.limit = 0
        self.unlimited = False
        self.max_seats = 0
        """The most that one request may take; 0 where the level does not say."""
        self.waiting = self.waiting_seats = self.executing = self.in_use = 0
        self.dispatched = self.rejected = self.timed_out = self.cancelled = self.no_accommodation = 0
        self.current_r = self.dispatch_r = self.latest_s = 0.0
        self.unqueued: set[Ticket] = set()
        self.demand = Demand(now)
        self._last = now
        self._enqueued = self._robin = 0
        self._busy = self._busy_seats = 0
        """Queues that are busy, and the seats of what runs from queues."""

    def configure(self, queues: int, hand: int, length_limit: int, limit: int, now: float) -> list[Ticket]:
        """Returns what can be dispatched now. Queues beyond the wanted number serve until they are empty."""
        self._advance(now)
        self.unlimited = queues < 0
        while len(self.queues) > max(queues, 0) and not self.queues[-1].busy:
            self.queues.pop()
        while len(self.queues) < queues:
            self.queues.append(Queue())
        if queues > 0:
            self.hand, self.length_limit = hand, length_limit
        else:
            self.hand = 0
        self.limit = limit
        return self._dispatch(now)

    # -- coming -----------------------------------------------------------------------------------------------------

    def free(self, seats: int) -> bool:
        """Whether a request can begin without waiting."""
        return self.unlimited or (not self.waiting and self._accommodates(seats))

    def begin(self, ticket: Ticket, now: float) -> None:
        """Takes the seats of a request that found them free."""
        ticket.arrived = ticket.started = now
        self.executing += 1
        self.in_use += ticket.work.most
        self.unqueued.add(ticket)
        self.demand.set(self.in_use + self.waiting_seats, now)

    def enqueue(self, ticket: Ticket, hand: Sequence[int], now: float) -> bool:
        """False: the request is rejected, its queue is full or there is none."""
        self._advance(now)
        if not hand or not self.hand:
            self.rejected += 1
            return False
        offset = self._enqueued % len(hand)
        self._enqueued += 1
        indices = (hand[(offset + i) % len(hand)] for i in range(len(hand)))
        queue = min((self.queues[i] for i in indices), key=lambda q: q.work)
        if self.in_use >= self.limit and len(queue.waiting) >= self.length_limit:
            self.rejected += 1
            return False
        if not queue.busy:
            queue.next_r = self.current_r
            self._busy += 1
        ticket.arrived, ticket.arrival_r, ticket.queue = now, self.current_r, queue
        queue.waiting.append(ticket)
        queue.work += ticket.work.total
        self.waiting += 1
        self.waiting_seats += ticket.work.most
        queue.bound()
        self.demand.set(self.in_use + self.waiting_seats, now)
        return True

    # -- going ------------------------------------------------------------------------------------------------------

    def dispatch(self, now: float) -> list[Ticket]:
        """What may begin now, fairest first."""
        self._advance(now)
        return self._dispatch(now)

    def finish(self, ticket: Ticket, now: float) -> list[Ticket]:
        """The request has ended. Its seats are free again, but for ``final`` ones: then ``release`` follows after ``latency``."""
        self._advance(now)
        self.executing -= 1
        queue = ticket.queue
        if queue is None:
            self.unqueued.discard(ticket)
        else:
            queue.executing -= 1
            if not queue.busy:
                self._busy -= 1
            queue.next_r -= ticket.work.seats * (ESTIMATED_SECONDS - (now - ticket.started))
            queue.bound()
        if ticket.work.latency <= 0:
            self._give_back(ticket, now)
        return self._dispatch(now) if self.waiting else NOBODY

    def release(self, ticket: Ticket, now: float) -> list[Ticket]:
        """The events that the request made have been sent."""
        self._advance(now)
        self._give_back(ticket, now)
        return self._dispatch(now)

    def give_up(self, ticket: Ticket, now: float, *, timed_out: bool) -> list[Ticket]:
        """The request waits no longer."""
        queue = ticket.queue
        assert queue is not None
        self._advance(now)
        queue.waiting.remove(ticket)
        queue.work = queue.work - ticket.work.total if queue.waiting else 0.0
        if not queue.busy:
            self._busy -= 1
        self.waiting -= 1
        self.waiting_seats -= ticket.work.most
        self.rejected += 1
        if timed_out:
            self.timed_out += 1
        else:
            self.cancelled += 1
        queue.bound()
        self.demand.set(self.in_use + self.waiting_seats, now)
        return self._dispatch(now)

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.executing

    # -- inside -----------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Virtual time: real time by the seats that each busy queue gets."""
        passed, self._last = now - self._last, now
        if self._busy and passed > 0:
            asked = self.waiting_seats + self._busy_seats
            self.current_r += passed * min(asked, self.limit) / self._busy

    def _accommodates(self, seats: int) -> bool:
        if self.unlimited or self.in_use + seats <= self.limit:
            return True
        # What wants more seats than there are gets all of them.
        return seats > self.limit and not self.executing

    def _dispatch(self, now: float) -> list[Ticket]:
        begun = []
        while self.waiting and (self.in_use < self.limit or self.unlimited):
            ticket = self._next()
            if ticket is None:
                break
            self._start(ticket, now)
            begun.append(ticket)
        if begun:
            self.demand.set(self.in_use + self.waiting_seats, now)
        return begun

    def _next(self) -> Ticket | None:
        """The oldest request of the queue that would finish first in virtual time; None where it has to wait for seats."""
        least, chosen, at = FOREVER, None, 0
        count = len(self.queues)
        for i in range(1, count + 1):
            index = (self._robin + i) % count
            queue = self.queues[index]
            if queue.waiting:
                finish = queue.next_r + queue.waiting[0].work.total
                if finish < least:
                    least, chosen, at = finish, queue, index
        assert chosen is not None
        ticket = chosen.waiting[0]
        if not self._accommodates(ticket.work.most):
            self.no_accommodation += 1
            return None
        self._robin = at
        return ticket

    def _start(self, ticket: Ticket, now: float) -> None:
        queue = ticket.queue
        assert queue is not None
        queue.waiting.popleft()
        total = ticket.work.total
        queue.work = queue.work - total if queue.waiting else 0.0
        self.waiting -= 1
        self.waiting_seats -= ticket.work.most
        ticket.started = now
        self.dispatch_r, self.latest_s = self.current_r, queue.next_r
        queue.executing += 1
        queue.seats += ticket.work.most
        self._busy_seats += ticket.work.most
        queue.next_r += total
        queue.bound()
        self.executing += 1
        self.in_use += ticket.work.most

    def _give_back(self, ticket: Ticket, now: float) -> None:
        self.in_use -= ticket.work.most
        if ticket.queue is not None:
            ticket.queue.seats -= ticket.work.most
            self._busy_seats -= ticket.work.most
        self.demand.set(self.in_use + self.waiting_seats, now)

    def validate_state(self) -> None:
        """Raises AssertionError where the sums are not those of the parts."""
        assert self.waiting == sum(len(q.waiting) for q in self.queues)
        assert self.waiting_seats == sum(t.work.most for q in self.queues for t in q.waiting)
        assert self.executing == len(self.unqueued) + sum(q.executing for q in self.queues)
        assert self._busy == sum(1 for q in self.queues if q.busy)
        assert self._busy_seats == sum(q.seats for q in self.queues)
        assert self.in_use >= 0 and all(q.seats >= 0 and q.executing >= 0 for q in self.queues)
        assert all(abs(q.work - sum(t.work.total for t in q.waiting)) < 1e-6 for q in self.queues)
