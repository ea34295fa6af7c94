"""What is counted of requests: how many, how long, how large, which are under way, under upstream's names and labels.

One ``Series`` has everything that belongs to one set of labels, so that a request costs one look-up, and the short way of plain
reads (``express``) none: it keeps its series at hand. The text is made when it is asked for.
Specified by ``apiserver/pkg/endpoints/metrics``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from ..hooks.identity import LOOPBACK
from .endings import goes_on, when_ended
from .metrics import Histograms, counter_lines, escaped, gauge_lines, head, histogram_lines
from .request import Request, Response

BUCKETS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
)  # fmt: skip
SLI_BUCKETS = BUCKETS[2:]
SIZES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
BODIES = tuple(50_000.0 + 100_000.0 * i for i in range(31))
QUICK = BUCKETS[0]
_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
CONNECTS = frozenset({"attach", "exec", "log", "portforward", "proxy"})
APPLY = "application/apply-patch"
_WITH_BODY = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_READS = frozenset({"GET", "LIST"})
_BARE = frozenset({"openapi/v2", "openapi/v3"})
"""Documents that upstream names without the slash before them."""

Key = tuple[str, str, str, str, str, str]
"""(verb, group, version, resource, subresource, scope)."""
_LABELS = ("verb", "group", "version", "resource", "subresource", "scope")


class Series:
    """The requests with one set of labels, none of them a dry run unless it says so."""

    __slots__ = ("codes", "durations", "key", "quick", "seconds", "size", "sizes", "sli", "sli_seconds")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.codes: dict[int, int] = {}
        self.quick = 0
        """Answered well and within the first bucket: counted here alone."""
        self.durations = [0] * (len(BUCKETS) + 1)
        self.seconds = self.sli_seconds = 0.0
        self.sli = [0] * (len(SLI_BUCKETS) + 1)
        self.sizes = [0] * (len(SIZES) + 1)
        self.size = 0

    def read(self, seconds: float, size: int) -> None:
        """A plain read that was answered with 200 and waited for nobody."""
        if seconds <= QUICK:
            self.quick += 1
            self.seconds += seconds
            self.sli_seconds += seconds
        else:
            self.ended(200, seconds, seconds)
        self.sizes[bisect_left(SIZES, size)] += 1
        self.size += size

    @property
    def used(self) -> bool:
        return bool(self.quick or self.codes)

    def ended(self, code: int, seconds: float, own: float) -> None:
        """``own`` is the part that the server itself took."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.durations[bisect_left(BUCKETS, seconds)] += 1
        self.sli[bisect_left(SLI_BUCKETS, own)] += 1
        self.seconds += seconds
        self.sli_seconds += own

    def sent(self, size: int) -> None:
        self.sizes[bisect_left(SIZES, size)] += 1
        self.size += size


class _Open:
    """What is still to be counted of a request; nothing of the request itself, which a watch would keep for hours."""

    __slots__ = ("_metrics", "began", "code", "dry_run", "key", "long", "waited")

    def __init__(self, metrics: RequestMetrics, key: Key, dry_run: str, code: int, began: float, waited: float) -> None:
        self._metrics, self.key, self.dry_run = metrics, key, dry_run
        self.code, self.began, self.waited, self.long = code, began, waited, False

    def begin(self, long: bool) -> None:
        self.long = long
        if long:
            running = self._metrics.long_running
            running[self.key] = running.get(self.key, 0) + 1

    def ended(self, size: int) -> None:
        self._metrics.ended(self, size)


class Peak:
    """How many requests of one kind were under way at most in the last second."""

    __slots__ = ("last", "most", "now", "second")

    def __init__(self) -> None:
        self.now = self.most = self.last = self.second = 0

    def begin(self, moment: float) -> None:
        self._turn(int(moment))
        self.now += 1
        if self.now > self.most:
            self.most = self.now

    def _turn(self, second: int) -> None:
        if second != self.second:
            self.last = self.most if second == self.second + 1 else self.now
            self.most, self.second = self.now, second

    def at(self, moment: float) -> int:
        self._turn(int(moment))
        return max(self.last, self.most)


class RequestMetrics:
    """The requests of one server."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._series: dict[tuple[Key, str], Series] = {}
        self.inflight = {"readOnly": Peak(), "mutating": Peak()}
        self.long_running: dict[Key, int] = {}
        self._terminated: dict[tuple[Key, int], int] = {}
        self._own: dict[tuple[str, str, str, str], int] = {}
        self._deprecated: set[tuple[str, str, str, str]] = set()
        self._bodies = Histograms("apiserver_request_body_size_bytes", "Size of requests' bodies.", BODIES)

    def series(self, key: Key, dry_run: str = "") -> Series:
        found = self._series.get((key, dry_run))
        if found is None:
            found = self._series[key, dry_run] = Series(key)
        return found

    @property
    def quick(self) -> int:
        """Reads that were answered the short way, as long as none took longer than the first bucket."""
        return sum(series.quick for series in self._series.values())

    # -- as it happens ----------------------------------------------------------------------------------------------

    def observe(self, request: Request, response: Response, key: Key, began: float) -> None:
        """A request that has its answer: where that goes on for longer, it is counted when it ends, as upstream does."""
        if request.body and request.info is not None and request.info.verb in _WITH_BODY and key[3]:
            labels = (("group", key[1]), ("resource", key[3]), ("verb", request.info.verb))
            self._bodies.observe(labels, len(request.body))
        if request.user is LOOPBACK:
            mine = (key[0], key[1], key[3], key[4])
            self._own[mine] = self._own.get(mine, 0) + 1
        dry_run, body = dry_run_of(request), response.body
        if goes_on(response):
            open_ = _Open(self, key, dry_run, response.status, began, request.waited)
            open_.begin(response.stream is not None or response.upgrade is not None or response.live)
            when_ended(response, open_.ended)
            return
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))  # type: ignore[arg-type]
        self._count(key, dry_run, response.status, began, request.waited, size)

    def _count(self, key: Key, dry_run: str, code: int, began: float, waited: float, size: int) -> None:
        seconds, series = self._monotonic() - began, self.series(key, dry_run)
        series.ended(code, seconds, max(0.0, seconds - waited))
        if key[0] in _READS:
            series.sent(size)

    def ended(self, request: _Open, size: int) -> None:
        self._count(request.key, request.dry_run, request.code, request.began, request.waited, size)
        if request.long:
            left = self.long_running.get(request.key, 0) - 1
            if left > 0:
                self.long_running[request.key] = left
            else:
                self.long_running.pop(request.key, None)

    def terminated(self, key: Key, code: int) -> None:
        """The server gave up on a request to protect itself."""
        counted = (key, code)
        self._terminated[counted] = self._terminated.get(counted, 0) + 1

    def deprecated(self, group: str, version: str, resource: str, subresource: str) -> None:
        self._deprecated.add((group, version, resource, subresource))

    # -- text -------------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        yield from self._total_lines()
        yield from self._duration_lines()
        yield from self._size_lines()
        yield from self._bodies.lines()
        now = self._monotonic()
        busy = [({"request_kind": kind}, peak.at(now)) for kind, peak in self.inflight.items()]
        text = "Most requests under way at a time in the last second, by kind."
        yield from gauge_lines("apiserver_current_inflight_requests", text, busy)
        going = [({**_named(key), "component": component(key)}, n) for key, n in self.long_running.items()]
        yield from gauge_lines("apiserver_longrunning_requests", "Watches and streams that are open now.", going)
        ended = [
            ({**_named(key), "component": component(key), "code": str(code)}, n)
            for (key, code), n in self._terminated.items()
        ]
        text = "Requests that the server ended to protect itself."
        yield from counter_lines("apiserver_request_terminations_total", text, ended)
        own = [({"verb": v, "group": g, "resource": r, "subresource": s}, n) for (v, g, r, s), n in self._own.items()]
        yield from counter_lines("apiserver_selfrequest_total", "Requests of the server to itself.", own)
        asked = [
            ({"group": g, "version": v, "resource": r, "subresource": s, "removed_release": ""}, 1)
            for g, v, r, s in sorted(self._deprecated)
        ]
        text = "Deprecated APIs that were asked for."
        yield from gauge_lines("apiserver_requested_deprecated_apis", text, asked)

    def _used(self) -> list[tuple[tuple[Key, str], Series]]:
        return [(of, series) for of, series in self._series.items() if series.used]

    def _total_lines(self) -> Iterator[str]:
        counted = []
        for (key, dry_run), series in self._series.items():
            codes = dict(series.codes)
            if series.quick:
                codes[200] = codes.get(200, 0) + series.quick
            base = {**_named(key), "dry_run": dry_run, "component": component(key)}
            counted += [({**base, "code": str(code)}, number) for code, number in codes.items()]
        yield from counter_lines("apiserver_request_total", "Requests, by verb, resource and status code.", counted)

    def _duration_lines(self) -> Iterator[str]:
        name = "apiserver_request_duration_seconds"
        yield from head(name, "histogram", "Time to answer a request, by verb and resource.")
        for (key, dry_run), series in self._used():
            labels = f'{_labels(key)},dry_run="{dry_run}",component="{component(key)}"'
            counts = [series.durations[0] + series.quick, *series.durations[1:]]
            yield from histogram_lines(name, labels, BUCKETS, counts, series.seconds)
        name = "apiserver_request_sli_duration_seconds"
        yield from head(name, "histogram", "The same without the time that webhooks and the queue took.")
        for (key, dry_run), series in self._used():
            if not dry_run:
                labels = f'{_labels(key)},component="{component(key)}"'
                counts = [series.sli[0] + series.quick, *series.sli[1:]]
                yield from histogram_lines(name, labels, SLI_BUCKETS, counts, series.sli_seconds)

    def _size_lines(self) -> Iterator[str]:
        name = "apiserver_response_sizes"
        yield from head(name, "histogram", "Bytes of the bodies that reads got.")
        for (key, dry_run), series in self._series.items():
            if not dry_run and any(series.sizes):
                labels = f'{_labels(key)},component="{component(key)}"'
                yield from histogram_lines(name, labels, SIZES, series.sizes, series.size)


def key_of(request: Request, known: bool) -> Key:
    """The labels of a request. ``known``: its path is one of ours; others are the client's choice, and each label stays."""
    info, method = request.info, request.method
    verb = "OTHER"
    if method in _METHODS:
        applies = method == "PATCH" and request.headers.get("content-type", "").startswith(APPLY)
        verb = "APPLY" if applies else method
    if info is None or not info.is_resource:
        verb = "GET" if method in ("GET", "HEAD") else verb
        path = request.path.lstrip("/") if request.path.lstrip("/") in _BARE else request.path
        return (verb, "", "", "", path if known else "", "")
    if not known:
        return ("GET" if method in ("GET", "HEAD") else verb, "", "", "", "", "")
    scope = "resource" if info.name or info.verb == "create" else "namespace" if info.namespace else "cluster"
    if info.subresource in CONNECTS:
        verb = "CONNECT"
    elif info.verb == "watch":
        verb = "WATCH"
    elif method in ("GET", "HEAD"):
        verb = "GET" if scope == "resource" else "LIST"
    return (verb, info.group, info.version, info.resource, info.subresource, scope)


def component(key: Key) -> str:
    return "apiserver" if key[3] else ""


def dry_run_of(request: Request) -> str:
    if not request.raw_query or "dryRun" not in request.raw_query:
        return ""
    values = set(request.query.get("dryRun") or ())
    return "All" if values == {"All"} else "" if not values else "invalid"


def _named(key: Key) -> Mapping[str, str]:
    return dict(zip(_LABELS, key, strict=True))


def _labels(key: Key) -> str:
    return ",".join(f'{n}="{escaped(v)}"' for n, v in zip(_LABELS, key, strict=True))
