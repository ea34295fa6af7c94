"""The priority levels and flow schemas in force, made from their objects. No I/O; time is handed in.

What exists is kept over a change of its object: requests stay where they wait. A level whose object is gone serves what it has
and takes no more. The two mandatory levels and schemas are there also where nobody has made their objects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...api.meta import Object, name_of, uid_of
from ...hooks.identity import UserInfo
from ..request import RequestInfo
from .matching import Test, deal, distinguisher, flow_hash, in_order, matcher
from .queueset import QueueSet, Ticket
from .shares import Claim, Limits, adjust, common, limits_of, max_seats

EXEMPT, CATCH_ALL = "exempt", "catch-all"
MAX_RETRY_AFTER = 32
KEPT_FLOWS = 8192
SECONDS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
SEATS = (1, 2, 4, 8, 16, 32, 64, 100)


class Dropped:
    """When a rejected client should come back: doubled while many are rejected, lowered second by second afterwards."""

    __slots__ = ("_count", "_history", "_second", "_updated", "retry_after")

    def __init__(self) -> None:
        self.retry_after = 1
        self._history: list[tuple[int, int]] = []
        self._second = self._count = self._updated = 0

    def note(self, now: float) -> None:
        second = int(now)
        if second == self._second:
            self._count += 1
            return
        self._history.append((self._second, self._count))
        horizon = second - min(2 * self.retry_after, MAX_RETRY_AFTER)
        self._history = [h for h in self._history if h[0] >= horizon]
        self._second, self._count = second, 1
        recent = sum(n for at, n in self._history if second - self.retry_after <= at < second)
        if second - self._updated >= self.retry_after and recent >= 3 * self.retry_after:
            self.retry_after = min(2 * self.retry_after, MAX_RETRY_AFTER)
            self._updated = second
        elif recent < self.retry_after > 1:
            self.retry_after -= 1


@dataclass(slots=True, eq=False)
class Level:
    """One priority level."""

    name: str
    queues: QueueSet
    uid: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits(0, 0, 0)
    current: int = 0
    quiescing: bool = False
    target: float = 0.0
    dropped: Dropped = field(default_factory=Dropped)

    @property
    def exempt(self) -> bool:
        return self.spec.get("type") == "Exempt"

    @property
    def queuing(self) -> tuple[int, int, int]:
        """(queues, hand, queue length)."""
        if self.exempt:
            return -1, 0, 0
        found = (((self.spec.get("limited") or {}).get("limitResponse") or {}).get("queuing")) or {}
        return found.get("queues") or 0, found.get("handSize") or 0, found.get("queueLengthLimit") or 0

    def claim(self) -> Claim:
        demand = self.queues.demand
        return Claim(self.exempt, self.limits, demand.highest, demand.smoothed)


@dataclass(slots=True, eq=False)
class Schema:
    """One flow schema, with what it has counted."""

    name: str
    uid: str
    spec: Mapping[str, Any]
    matches: Test
    level: str


class Buckets:
    """A histogram that every request goes into."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(slots=True, eq=False)
class Counts:
    """Of one schema at one level; they outlive their objects as every counter does."""

    at_once: int = 0
    """Dispatched without waiting."""
    dispatched: int = 0
    executing: int = 0
    seats: int = 0
    queued: int = 0
    queued_seats: int = 0
    execution: Buckets = field(default_factory=lambda: Buckets(SECONDS))
    estimates: Buckets = field(default_factory=lambda: Buckets(SEATS))
    rejected: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Flow:
    """Requests that are alike: one schema, one level, one distinguisher."""

    schema: Schema
    level: Level
    queues: QueueSet
    counts: Counts
    distinguisher: str
    hand: tuple[int, ...]
    headers: tuple[tuple[str, str], ...]
    head: bytes
    """The headers as they go into a response."""


class Levels:
    """All levels of one server. ``seats`` is what the whole server may do at a time."""

    def __init__(self, seats: int, mandatory_levels: Iterable[Object], mandatory_schemas: Iterable[Object]) -> None:
        self.seats = seats
        self._mandatory_levels = {name_of(o): o for o in mandatory_levels}
        self._mandatory_schemas = {name_of(o): o for o in mandatory_schemas}
        self.levels: dict[str, Level] = {}
        self.schemas: list[Schema] = []
        self.counts: dict[tuple[str, str], Counts] = {}
        self.generation = 0
        self.fair_fraction = 0.0
        self._flows: dict[tuple[object, ...], Flow] = {}

    # -- configuration ----------------------------------------------------------------------------------------------

    def digest(self, levels: Iterable[Object], schemas: Iterable[Object], now: float) -> list[Ticket]:
        """Takes new objects; returns what can be dispatched by them."""
        wanted = {**self._mandatory_levels, **{name_of(o): o for o in levels if _usable(o)}}
        for name, obj in wanted.items():
            level = self.levels.get(name)
            if level is None:
                level = self.levels[name] = Level(name, QueueSet(now))
                level.current = -1
            level.uid, level.spec, level.quiescing = uid_of(obj), obj.get("spec") or {}, False
        for name in [n for n in self.levels if n not in wanted]:
            level = self.levels[name]
            level.quiescing = True
            if level.queues.idle:
                del self.levels[name]
        found = in_order(s for s in schemas if _level_of(s) in wanted)
        names = {name_of(s) for s in found}
        if EXEMPT not in names:
            found.insert(0, self._mandatory_schemas[EXEMPT])
        if CATCH_ALL not in names:
            found.append(self._mandatory_schemas[CATCH_ALL])
        known = {s.name: s for s in self.schemas}
        self.schemas = [_schema(o, known.get(name_of(o))) for o in found]
        self._flows.clear()
        self.generation += 1
        return self._share(now)

    def _share(self, now: float) -> list[Ticket]:
        """Nominal seats by share; a new level starts with half of what it lends lent."""
        shares = float(sum(common(lv.spec).get("nominalConcurrencyShares") or 0 for lv in self.levels.values()))
        for level in self.levels.values():
            level.limits = limits_of(level.spec, self.seats, shares)
            level.queues.max_seats = max_seats(level.spec, level.limits.nominal)
            if level.current < 0:
                level.current = level.limits.nominal - (level.limits.nominal - level.limits.lower) // 2
        return self.adjust(now)

    def adjust(self, now: float) -> list[Ticket]:
        """Lends and borrows seats by what was in demand since the last time."""
        for level in self.levels.values():
            level.queues.demand.close(now)
        claims = {name: level.claim() for name, level in self.levels.items()}
        seats, self.fair_fraction = adjust(claims)
        begun = []
        for name, level in self.levels.items():
            level.current, level.target = seats[name], claims[name].target
            begun += level.queues.configure(*level.queuing, level.current, now)
        return begun

    def reap(self) -> None:
        """Levels without an object go when nobody is there any more."""
        for name in [n for n, lv in self.levels.items() if lv.quiescing and lv.queues.idle]:
            del self.levels[name]

    # -- requests ---------------------------------------------------------------------------------------------------

    def flow(self, user: UserInfo, info: RequestInfo) -> Flow:
        """Where a request belongs. Found once for all that are alike."""
        if info.is_resource:
            key: tuple[object, ...] = (
                user.name, user.groups, info.verb, info.group, info.resource, info.subresource, info.namespace
            )  # fmt: skip
        else:
            key = (user.name, user.groups, info.verb, info.path)
        found = self._flows.get(key)
        if found is None:
            if len(self._flows) >= KEPT_FLOWS:
                self._flows.clear()
            found = self._flows[key] = self._find(user, info)
        return found

    def _find(self, user: UserInfo, info: RequestInfo) -> Flow:
        schema = next((s for s in self.schemas if s.matches(user, info)), self.schemas[-1])
        level = self.levels[schema.level]
        queues, hand, _ = level.queuing
        flow = distinguisher(schema.spec, user, info) if queues > 1 else ""
        dealt = deal(flow_hash(schema.name, flow), queues, hand) if queues > 0 else ()
        headers = (
            ("X-Kubernetes-PF-FlowSchema-UID", schema.uid),
            ("X-Kubernetes-PF-PriorityLevel-UID", level.uid),
        )
        head = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
        counts = self.counts.setdefault((level.name, schema.name), Counts())
        return Flow(schema, level, level.queues, counts, flow, dealt, headers, head)


def _level_of(schema: Object) -> str:
    return ((schema.get("spec") or {}).get("priorityLevelConfiguration") or {}).get("name") or ""


def _schema(obj: Object, known: Schema | None) -> Schema:
    spec = obj.get("spec") or {}
    if known is not None and known.spec == spec and known.uid == uid_of(obj):
        return known
    return Schema(name_of(obj), uid_of(obj), spec, matcher(spec), _level_of(obj))


def _usable(level: Object) -> bool:
    """Validation sees to it, but what was stored before it did must not stop the server."""
    spec = level.get("spec") or {}
    exempt = spec.get("type") == "Exempt"
    if exempt != (name_of(level) == EXEMPT) or exempt != (spec.get("exempt") is not None):
        return False
    return exempt or spec.get("limited") is not None


def dangling(schema: Object, exists: Callable[[str], bool], now: str) -> dict[str, Any] | None:
    """The condition that a schema should have; None where it has it."""
    name = _level_of(schema)
    words = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}"'
    if exists(name):
        wanted = {"status": "False", "reason": "Found", "message": f"{words} and it exists"}
    else:
        wanted = {"status": "True", "reason": "NotFound", "message": f"{words} but there is no such object"}
    conditions = (schema.get("status") or {}).get("conditions") or ()
    has: Mapping[str, Any] = next((c for c in conditions if c.get("type") == "Dangling"), {})
    if all(has.get(k) == v for k, v in wanted.items()):
        return None
    return {"type": "Dangling", "lastTransitionTime": now, **wanted}
