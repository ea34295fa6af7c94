"""What the API server measures, under upstream's names, in the Prometheus text format.

Counting is a dictionary look-up and an addition, because every request pays for it; the text is made when it is asked for.
Specified by "Kubernetes Metrics Reference".
"""

from __future__ import annotations

import os
import resource as limits
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from .. import KUBERNETES_VERSION
from .request import Request, RequestInfo, Response

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
BUCKETS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
)  # fmt: skip
_VERBS = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
    "connect": "CONNECT",
}
Key = tuple[str, str, str, str, str, str]
"""(verb, group, version, resource, subresource, scope)."""
_LABELS = ("verb", "group", "version", "resource", "subresource", "scope")


class Histogram:
    """Counts by bucket, and the sum."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.sum += value


Labels = tuple[tuple[str, str], ...]


class Counters:
    """One counter a set of labels."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self._found: dict[Labels, int] = {}

    def add(self, labels: Labels, number: int = 1) -> None:
        self._found[labels] = self._found.get(labels, 0) + number

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, "counter", self.text)
        for labels, number in self._found.items():
            yield f"{self.name}{{{inside(labels)}}} {number}"


class Histograms:
    """One histogram a set of labels."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self.name, self.text, self.bounds = name, text, bounds
        self._found: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        found = self._found.get(labels)
        if found is None:
            found = self._found[labels] = ([0] * (len(self.bounds) + 1), [0.0])
        found[0][bisect_left(self.bounds, value)] += 1
        found[1][0] += value

    def lines(self, zeroes: Mapping[Labels, int] | None = None) -> Iterator[str]:
        """``zeroes`` are observations of nothing that were only counted."""
        yield from _head(self.name, "histogram", self.text)
        zeroes = zeroes or {}
        for labels in dict.fromkeys((*self._found, *zeroes)):
            counts, total = self._found.get(labels, ([0] * (len(self.bounds) + 1), [0.0]))
            shown, so_far = inside(labels), zeroes.get(labels, 0)
            for bound, number in zip((*self.bounds, None), counts, strict=True):
                so_far += number
                edge = "+Inf" if bound is None else f"{bound:g}"
                yield f'{self.name}_bucket{{{shown},le="{edge}"}} {so_far}'
            yield f"{self.name}_sum{{{shown}}} {total[0]!r}"
            yield f"{self.name}_count{{{shown}}} {so_far}"


def inside(labels: Iterable[tuple[str, str]]) -> str:
    """Labels as they are written between braces."""
    return ",".join(f'{n}="{_escaped(v)}"' for n, v in labels)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._requests: dict[tuple[Key, str, int], int] = {}
        self._durations: dict[Key, Histogram] = {}
        self.inflight = {"readOnly": 0, "mutating": 0}
        self.long_running: dict[Key, int] = {}
        self.watch_events: dict[tuple[str, str, str], int] = {}
        self.short: dict[Key, int] = {}
        """Reads that were answered at once, all within the first bucket."""
        self.gauges: list[Callable[[], Iterator[str]]] = []
        """More lines, from those who know."""

    def observe(self, info: RequestInfo, code: int, seconds: float, dry_run: str) -> None:
        key = key_of(info)
        counted = (key, dry_run, code)
        self._requests[counted] = self._requests.get(counted, 0) + 1
        if info.verb != "watch":
            histogram = self._durations.get(key)
            if histogram is None:
                histogram = self._durations[key] = Histogram()
            histogram.observe(seconds)

    # -- text -------------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        return Response(200, ("\n".join(self._lines()) + "\n").encode(), CONTENT_TYPE)

    def _lines(self) -> Iterator[str]:
        yield from self._request_lines()
        yield from self._duration_lines()
        yield from _head("apiserver_current_inflight_requests", "gauge", "Requests being served now.")
        for kind, number in self.inflight.items():
            yield f'apiserver_current_inflight_requests{{request_kind="{kind}"}} {number}'
        yield from _head("apiserver_longrunning_requests", "gauge", "Watches and streams that are open now.")
        for key, number in self.long_running.items():
            yield f'apiserver_longrunning_requests{{{_labels(key)},component="apiserver"}} {number}'
        yield from _head("apiserver_watch_events_total", "counter", "Watch events sent, by resource.")
        for (group, version, name), number in self.watch_events.items():
            labels = f'group="{group}",version="{version}",resource="{name}"'
            yield f"apiserver_watch_events_total{{{labels}}} {number}"
        for gauge in self.gauges:
            yield from gauge()
        yield from process_lines()

    def _request_lines(self) -> Iterator[str]:
        yield from _head("apiserver_request_total", "counter", "Requests, by verb, resource and status code.")
        counted = dict(self._requests)
        for key, number in self.short.items():
            counted[key, "", 200] = counted.get((key, "", 200), 0) + number
        for (key, dry_run, code), number in counted.items():
            labels = f'{_labels(key)},dry_run="{dry_run}",component="apiserver",code="{code}"'
            yield f"apiserver_request_total{{{labels}}} {number}"

    def _duration_lines(self) -> Iterator[str]:
        name = "apiserver_request_duration_seconds"
        yield from _head(name, "histogram", "Time to answer a request, by verb and resource.")
        for key in dict.fromkeys((*self._durations, *self.short)):
            histogram = self._durations.get(key) or Histogram()
            labels = f'{_labels(key)},dry_run="",component="apiserver"'
            total = self.short.get(key, 0)
            for bound, number in zip((*BUCKETS, None), histogram.counts, strict=True):
                total += number
                edge = "+Inf" if bound is None else f"{bound:g}"
                yield f'{name}_bucket{{{labels},le="{edge}"}} {total}'
            yield f"{name}_sum{{{labels}}} {histogram.sum!r}"
            yield f"{name}_count{{{labels}}} {total}"


def key_of(info: RequestInfo) -> Key:
    if not info.is_resource:
        return (info.verb.upper(), "", "", "", "", "")
    if info.name:
        scope = "resource"
    else:
        scope = "namespace" if info.namespace else "cluster"
    return (
        _VERBS.get(info.verb, "OTHER"), info.group, info.version, info.resource, info.subresource, scope
    )  # fmt: skip


def _labels(key: Key) -> str:
    return ",".join(f'{n}="{_escaped(v)}"' for n, v in zip(_LABELS, key, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def gauge_lines(name: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """The lines of one gauge."""
    return _lines(name, "gauge", text, values)


def counter_lines(name: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """The lines of one counter."""
    return _lines(name, "counter", text, values)


def _lines(name: str, kind: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield from _head(name, kind, text)
    for labels, value in values:
        inside = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items())
        text = str(value) if isinstance(value, int) else f"{value:g}"
        yield f"{name}{{{inside}}} {text}" if inside else f"{name} {text}"


def process_lines() -> Iterator[str]:
    """The process itself, as every Prometheus client reports it."""
    times = os.times()
    yield from _head("process_cpu_seconds_total", "counter", "CPU time used.")
    yield f"process_cpu_seconds_total {times.user + times.system:g}"
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(os.listdir("/proc/self/fd"))
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return  # not Linux
    yield from gauge_lines(
        "process_resident_memory_bytes", "Resident memory.", [({}, pages * os.sysconf("SC_PAGE_SIZE"))]
    )
    yield from gauge_lines("process_open_fds", "Open file descriptors.", [({}, files)])
    maximum = limits.getrlimit(limits.RLIMIT_NOFILE)[0]
    yield from gauge_lines("process_max_fds", "Limit of file descriptors.", [({}, maximum)])
    since = boot + started / os.sysconf("SC_CLK_TCK")
    yield from _head("process_start_time_seconds", "gauge", "Start of the process, since the epoch.")
    yield f"process_start_time_seconds {since!r}"
    major, minor, _ = KUBERNETES_VERSION[1:].split(".")
    labels = {"git_version": KUBERNETES_VERSION, "major": major, "minor": minor}
    yield from gauge_lines("kubernetes_build_info", "The version that this process is.", [(labels, 1)])
