"""``apiserver_flowcontrol_*``: what the levels do, under upstream's names. Specified by "Kubernetes Metrics Reference"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..metrics import Histograms, Labels, gauge_lines, inside
from .levels import SECONDS, Buckets, Flow, Level, Levels

PREFIX = "apiserver_flowcontrol_"
LENGTHS = (0, 10, 25, 50, 100, 250, 500, 1000)


def _of(flow: Flow) -> Labels:
    return ("priority_level", flow.level.name), ("flow_schema", flow.schema.name)


class FairnessMetrics:
    """What is observed as it happens; the rest is read from the levels when somebody asks."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._wait = Histograms(
            f"{PREFIX}request_wait_duration_seconds", "Time that a request waited in its queue.", SECONDS
        )
        self._lengths = Histograms(
            f"{PREFIX}request_queue_length_after_enqueue", "Length of a request's queue.", LENGTHS
        )

    def waited(self, flow: Flow, seconds: float, *, executed: bool) -> None:
        self._wait.observe((*_of(flow), ("execute", "true" if executed else "false")), seconds)

    def queued(self, flow: Flow, length: int) -> None:
        self._lengths.observe(_of(flow), length)

    # -- text -------------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        yield from self._counter_lines()
        yield from self._schema_gauges()
        yield from self._level_gauges()
        zero_waits: dict[Labels, int] = {
            (("priority_level", level), ("flow_schema", schema), ("execute", "true")): c.at_once
            for (level, schema), c in self._levels.counts.items()
            if c.at_once and level != "exempt"
        }
        yield from self._wait.lines(zero_waits)
        yield from self._lengths.lines()
        counts = self._levels.counts
        yield from _bucket_lines(
            "request_execution_seconds",
            "Time that a request held its seats.",
            (((*_pair(k), ("type", "regular")), c.execution) for k, c in counts.items()),
        )
        yield from _bucket_lines(
            "work_estimated_seats",
            "Seats that a request was taken to need.",
            ((_pair(k), c.estimates) for k, c in counts.items()),
        )

    def _counter_lines(self) -> Iterator[str]:
        counts = self._levels.counts
        yield from _counter(
            "dispatched_requests_total",
            "Requests that were executed.",
            ((_names(k), c.at_once + c.dispatched) for k, c in counts.items()),
        )
        yield from _counter(
            "rejected_requests_total",
            "Requests that were rejected.",
            (({**_names(k), "reason": why}, n) for k, c in counts.items() for why, n in c.rejected.items()),
        )

    def _schema_gauges(self) -> Iterator[str]:
        for name, text in (
            ("executing", "Requests that hold seats now."),
            ("seats", "Seats that are held now."),
            ("queued", "Requests that wait now."),
            ("queued_seats", "Seats that are waited for now."),
        ):
            values = [(_names(k), float(getattr(c, name))) for k, c in self._levels.counts.items()]
            yield from gauge_lines(PREFIX + _GAUGES[name], text, values)

    def _level_gauges(self) -> Iterator[str]:
        levels = self._levels.levels.values()
        for name, (text, read) in _LEVEL_GAUGES.items():
            values = [({"priority_level": level.name}, float(read(level))) for level in levels]
            yield from gauge_lines(PREFIX + name, text, values)
        yield from gauge_lines(
            PREFIX + "seat_fair_frac", "Fair fraction of what is wanted.", [({}, self._levels.fair_fraction)]
        )
        yield from _counter(
            "request_dispatch_no_accommodation_total",
            "Times that the next request had to wait for more seats.",
            (({"priority_level": lv.name}, lv.queues.no_accommodation) for lv in levels),
        )


_GAUGES = {
    "executing": "current_executing_requests",
    "seats": "current_executing_seats",
    "queued": "current_inqueue_requests",
    "queued_seats": "current_inqueue_seats",
}


def _current(level: Level) -> float:
    return level.current


_LEVEL_GAUGES = {
    "nominal_limit_seats": ("Seats by share.", lambda lv: lv.limits.nominal),
    "lower_limit_seats": ("Seats that are never lent.", lambda lv: lv.limits.lower),
    "upper_limit_seats": ("Seats with all that may be borrowed.", lambda lv: lv.limits.upper),
    "current_limit_seats": ("Seats until the next adjustment.", _current),
    "demand_seats_high_watermark": ("Most seats wanted in the last period.", lambda lv: lv.queues.demand.highest),
    "demand_seats_average": ("Seats wanted in the last period, average.", lambda lv: lv.queues.demand.average),
    "demand_seats_stdev": ("Their standard deviation.", lambda lv: lv.queues.demand.deviation),
    "demand_seats_smoothed": ("Seats wanted, smoothed.", lambda lv: lv.queues.demand.smoothed),
    "target_seats": ("Seats that the adjustment aimed at.", lambda lv: lv.target),
    "current_r": ("Virtual time.", lambda lv: lv.queues.current_r),
    "dispatch_r": ("Virtual time of the last dispatch.", lambda lv: lv.queues.dispatch_r),
    "latest_s": ("Virtual start of the request dispatched last.", lambda lv: lv.queues.latest_s),
}


def _pair(key: tuple[str, str]) -> Labels:
    return ("priority_level", key[0]), ("flow_schema", key[1])


def _bucket_lines(name: str, text: str, found: Iterable[tuple[Labels, Buckets]]) -> Iterator[str]:
    yield f"# HELP {PREFIX}{name} {text}"
    yield f"# TYPE {PREFIX}{name} histogram"
    for labels, buckets in found:
        shown, total = inside(labels), 0
        for bound, number in zip((*buckets.bounds, None), buckets.counts, strict=True):
            total += number
            edge = "+Inf" if bound is None else f"{bound:g}"
            yield f'{PREFIX}{name}_bucket{{{shown},le="{edge}"}} {total}'
        yield f"{PREFIX}{name}_sum{{{shown}}} {buckets.sum!r}"
        yield f"{PREFIX}{name}_count{{{shown}}} {total}"


def _names(key: tuple[str, str]) -> dict[str, str]:
    return {"priority_level": key[0], "flow_schema": key[1]}


def _counter(name: str, text: str, values: Iterable[tuple[Mapping[str, str], int]]) -> Iterator[str]:
    yield f"# HELP {PREFIX}{name} {text}"
    yield f"# TYPE {PREFIX}{name} counter"
    for labels, value in values:
        yield f"{PREFIX}{name}{{{inside(labels.items())}}} {value}"
