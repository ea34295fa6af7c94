"""What is counted of the store and of the watch caches, under upstream's names.

``etcd_*`` are the calls of the store, whichever engine it is: dashboards look there for how long it takes. Sizes, counts and
revisions are read from the caches when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..api.resources import GVR
from ..storage.contract import Store, StoreError
from .metrics import Counters, Histograms, Labels, counter_lines, gauge_lines, head, histogram_lines
from .requestmetrics import BUCKETS

if TYPE_CHECKING:
    from .hub import Hub
    from .watching import Dispatcher

CREATE, UPDATE, DELETE, LIST = "create", "update", "delete", "list"
FRAMES = (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
INITIAL = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
DIGITS = 10**15
"""Of a revision, the digits that a metric shows: more would not survive as a float."""


class Sent:
    """The frames that watchers of one resource in one version got."""

    __slots__ = ("counts", "size", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(FRAMES) + 1)
        self.total = self.size = 0

    def note(self, frames: Iterable[bytes], watchers: int) -> None:
        for frame in frames:
            size = len(frame)
            self.counts[bisect_left(FRAMES, size)] += watchers
            self.size += size * watchers
            self.total += watchers


class StorageMetrics:
    """The numbers of one server's store."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._took = Histograms("etcd_request_duration_seconds", "Time of the store's calls.", BUCKETS)
        self._failed = Counters("etcd_request_errors_total", "Calls that the store could not answer.")
        prefix = "apiserver_storage_list_"
        self._lists = Counters(f"{prefix}total", "Lists that were read from the store.")
        self._fetched = Counters(f"{prefix}fetched_objects_total", "Objects that these lists read.")
        self._evaluated = Counters(f"{prefix}evaluated_objects_total", "Objects that these lists looked at.")
        self._returned = Counters(f"{prefix}returned_objects_total", "Objects that these lists gave.")
        self._cached = Counters("apiserver_cache_list_total", "Lists that the watch cache answered.")
        self._initial = Histograms(
            "apiserver_watch_list_duration_seconds", "Time until a streaming list had all its objects.", INITIAL
        )

    # -- as it happens ----------------------------------------------------------------------------------------------

    async def call(self, operation: str, gvr: GVR, waiting: Any) -> Any:
        """Awaits a call of the store, and counts it."""
        began = self._monotonic()
        labels = (("operation", operation), ("group", gvr.group), ("resource", gvr.resource))
        try:
            return await waiting
        except StoreError as failure:
            if not failure.answered:
                self._failed.add(labels)
            raise
        finally:
            self._took.observe(labels, self._monotonic() - began)

    def listed(self, gvr: GVR, looked_at: int, given: int) -> None:
        """A list of the store, in however many pages."""
        labels = _labels(gvr)
        self._lists.add(labels)
        self._fetched.add(labels, looked_at)
        self._evaluated.add(labels, looked_at)
        self._returned.add(labels, given)

    def from_cache(self, gvr: GVR, index: str = "") -> None:
        self._cached.add((*_labels(gvr), ("index", index)))

    def streamed(self, gvr: GVR, scope: str, seconds: float) -> None:
        labels = (("group", gvr.group), ("version", gvr.version), ("resource", gvr.resource), ("scope", scope))
        self._initial.observe(labels, seconds)

    # -- text -------------------------------------------------------------------------------------------------------

    def lines(self, hub: Hub) -> Iterator[str]:
        yield from self._took.lines()
        calls = [(dict(labels), number) for labels, number in self._took.counts()]
        yield from counter_lines("etcd_requests_total", "Calls of the store.", calls)
        for part in (self._failed, self._lists, self._fetched, self._evaluated, self._returned, self._cached):
            yield from part.lines()
        yield from self._initial.lines()
        yield from _cache_lines(hub)
        yield from _watch_lines(list(hub.dispatchers.values()))

    @staticmethod
    async def size_lines(store: Store) -> list[str]:
        """Nothing where the store does not answer."""
        try:
            size = await store.size()
        except StoreError:
            return []
        labels = {"storage_cluster_id": f"{store.engine}-0"}
        return list(gauge_lines("apiserver_storage_size_bytes", "Bytes that the store takes.", [(labels, size)]))


def _labels(gvr: GVR) -> Labels:
    return (("group", gvr.group), ("resource", gvr.resource))


_CACHE_GAUGES: tuple[tuple[str, str, Callable[[Any], int]], ...] = (
    ("apiserver_resource_objects", "Objects in the store, by resource.", lambda c: c.count),
    ("apiserver_resource_size_estimate_bytes", "Bytes of the objects, by resource.", lambda c: c.bytes),
    ("watch_cache_capacity", "Changes that the watch cache keeps at most.", lambda c: c.WINDOW_EVENTS),
)
_CACHE_COUNTERS: tuple[tuple[str, str, Callable[[Any], int]], ...] = (
    ("apiserver_storage_events_received_total", "Changes that came from the store.", lambda c: c.seen),
    ("apiserver_watch_cache_events_received_total", "Changes that the watch cache took.", lambda c: c.seen),
    ("apiserver_watch_cache_events_dispatched_total", "Changes that it offered to watchers.", lambda c: c.seen),
    ("apiserver_watch_cache_initializations_total", "Times that the watch cache was filled.", lambda c: c.fillings),
)


def _cache_lines(hub: Hub) -> Iterator[str]:
    caches = [d.cache for d in hub.dispatchers.values()]
    for name, text, read in _CACHE_GAUGES:
        yield from gauge_lines(name, text, [(dict(_labels(c.gvr)), read(c)) for c in caches])
    for name, text, read in _CACHE_COUNTERS:
        counted = [(dict(_labels(c.gvr)), read(c)) for c in caches]
        yield from counter_lines(name, text, [(labels, number) for labels, number in counted if number])
    revisions = [(dict(_labels(c.gvr)), hub.revision % DIGITS) for c in caches]
    yield from gauge_lines("apiserver_watch_cache_resource_version", "Revision that the watch cache has.", revisions)
    names = [({"resource": c.gvr.resource + (f".{c.gvr.group}" if c.gvr.group else "")}, c.count) for c in caches]
    yield from gauge_lines("apiserver_storage_objects", "Objects in the store, by resource (deprecated).", names)


def _watch_lines(dispatchers: list[Dispatcher]) -> Iterator[str]:
    sent = [(gvr, found) for d in dispatchers for gvr, found in d.sent.items() if found.total]
    totals = [(_versioned(gvr), found.total) for gvr, found in sent]
    yield from counter_lines("apiserver_watch_events_total", "Events that watchers got, by resource.", totals)
    name = "apiserver_watch_events_sizes"
    yield from head(name, "histogram", "Bytes of these events.")
    for gvr, found in sent:
        labels = ",".join(f'{k}="{v}"' for k, v in _versioned(gvr).items())
        yield from histogram_lines(name, labels, FRAMES, found.counts, found.size)
    ended = [(dict(_labels(d.cache.gvr)), d.terminated) for d in dispatchers if d.terminated]
    text = "Watches that were ended because their clients read too slowly."
    yield from counter_lines("apiserver_terminated_watchers_total", text, ended)


def _versioned(gvr: GVR) -> Mapping[str, str]:
    return {"group": gvr.group, "version": gvr.version, "resource": gvr.resource}
