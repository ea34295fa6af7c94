"""``/debug/api_priority_and_fairness/dump_*``: the levels, queues and requests as tables. Specified by "Flow control"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...api.times import to_micro_time
from ...concurrency import Clock
from ..request import Handler, Request, Response
from .levels import Levels
from .queueset import Ticket

PATH = "/debug/api_priority_and_fairness/"
MINIMUM_WIDTH, PADDING = 8, 1
_LEVELS = (
    "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
    "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
)  # fmt: skip
_QUEUES = (
    "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
    "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
)  # fmt: skip
_REQUESTS = (
    "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
    "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
)  # fmt: skip
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")


class Dumps:
    """Answers for the levels of one server."""

    def __init__(self, levels: Levels, clock: Clock) -> None:
        self._levels, self._clock = levels, clock

    def paths(self) -> dict[str, Handler]:
        """Who answers where."""
        return {
            f"{PATH}dump_priority_levels": self.levels,
            f"{PATH}dump_queues": self.queues,
            f"{PATH}dump_requests": self.requests,
        }

    async def levels(self, request: Request) -> Response:
        return _table([_LEVELS, *self._level_rows()])

    async def queues(self, request: Request) -> Response:
        return _table([_QUEUES, *self._queue_rows()])

    async def requests(self, request: Request) -> Response:
        detailed = bool(request.param("includeRequestDetails"))
        return _table([_REQUESTS + _DETAILS if detailed else _REQUESTS, *self._request_rows(detailed)])

    def _level_rows(self) -> Iterator[Sequence[str]]:
        for name, level in sorted(self._levels.levels.items()):
            queues = level.queues
            counts = [c for (of, _), c in self._levels.counts.items() if of == name]
            numbers = (
                queues.waiting,
                queues.executing,
                sum(c.at_once + c.dispatched for c in counts),
                queues.rejected,
                queues.timed_out,
                queues.cancelled,
            )
            active = sum(1 for q in queues.queues if q.waiting)
            yield name, str(active), _go(queues.idle), _go(level.quiescing), *map(str, numbers)

    def _queue_rows(self) -> Iterator[Sequence[str]]:
        for name, level in sorted(self._levels.levels.items()):
            for index, queue in enumerate(level.queues.queues):
                seats = sum(t.work.seats for t in queue.waiting)
                most = sum(t.work.most for t in queue.waiting)
                numbers = (index, len(queue.waiting), queue.executing, queue.seats)
                yield (
                    name, *map(str, numbers), f"{queue.next_r:.8f}ss", str(seats), str(most), f"{queue.work:.8f}ss"
                )  # fmt: skip

    def _request_rows(self, detailed: bool) -> Iterator[Sequence[str]]:
        for name, level in sorted(self._levels.levels.items()):
            for index, queue in enumerate(level.queues.queues):
                for place, ticket in enumerate(queue.waiting):
                    yield self._request(name, index, place, ticket, detailed)
            for ticket in level.queues.unqueued:
                yield self._request(name, -1, -1, ticket, detailed)

    def _request(self, level: str, queue: int, place: int, ticket: Ticket, detailed: bool) -> Sequence[str]:
        work, flow = ticket.work, ticket.schema
        row = (
            level, flow.schema.name, str(queue), str(place), ticket.flow, self._time(ticket.arrived), str(work.seats),
            str(work.final), f"{work.latency:g}s", self._time(ticket.started),
        )  # fmt: skip
        if not detailed:
            return row
        request = ticket.request
        info = request.info if request is not None else None
        if info is None:
            return row + ("",) * len(_DETAILS)
        version = f"{info.group}/{info.version}" if info.group else info.version
        return (
            *row, request.user.name, info.verb, info.path, info.namespace, info.name, version, info.resource,
            info.subresource,
        )  # fmt: skip

    def _time(self, at: float) -> str:
        if at < 0:
            return "0001-01-01T00:00:00Z"
        return to_micro_time(self._clock.now() - self._clock.monotonic() + at)


def _go(value: bool) -> str:
    return "true" if value else "false"


def _table(rows: Sequence[Sequence[str]]) -> Response:
    """Aligned as Go's tabwriter does; every cell but a row's last ends with a comma."""
    texts = [[cell + "," for cell in row[:-1]] + [row[-1]] for row in rows]
    columns = max(len(row) for row in texts)
    widths = [max(MINIMUM_WIDTH, PADDING + max(len(r[i]) for r in texts if i < len(r) - 1)) for i in range(columns - 1)]
    lines = ["".join([*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=False)), row[-1]]) for row in texts]
    return Response(200, ("\n".join(lines) + "\n").encode(), "text/plain; charset=utf-8")
