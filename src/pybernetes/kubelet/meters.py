"""What the kubelet counts and times as it goes, under upstream's names, labels and buckets.

Specified by the Kubernetes Metrics Reference and ``pkg/kubelet/metrics``. ``docs/kubelet.md`` lists them; a test holds the two
together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OPERATION = tuple(0.005 * 2.5**i for i in range(14))
_START = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0,
          900.0, 1200.0, 1800.0, 2700.0, 3600.0)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Family:
    """``bounds`` make it a histogram, none a counter."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


FAMILIES = {
    f.name: f
    for f in (
        Family(
            "kubelet_pod_start_duration_seconds",
            "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
            (),
            _START,
        ),
        Family(
            "kubelet_pod_worker_duration_seconds",
            "Duration in seconds to sync a single pod. Broken down by operation type: create, sync, kill",
            ("operation_type",),
            SECONDS,
        ),
        Family(
            "kubelet_runtime_operations_duration_seconds",
            "Duration in seconds of runtime operations. Broken down by operation type.",
            ("operation_type",),
            _OPERATION,
        ),
        Family("kubelet_pleg_relist_duration_seconds", "Duration in seconds for relisting pods in PLEG.", (), SECONDS),
        Family("kubelet_pleg_relist_interval_seconds", "Interval in seconds between relisting in PLEG.", (), SECONDS),
        Family("kubelet_started_pods_total", "Cumulative number of pods started"),
        Family("kubelet_started_pods_errors_total", "Cumulative number of errors when starting pods"),
        Family("kubelet_started_containers_total", "Cumulative number of containers started", ("container_type",)),
        Family(
            "kubelet_started_containers_errors_total",
            "Cumulative number of errors when starting containers",
            ("container_type", "code"),
        ),
        Family("kubelet_evictions", "Cumulative number of pod evictions by eviction signal", ("eviction_signal",)),
        Family(
            "kubelet_preemptions", "Cumulative number of pod preemptions by preemption resource", ("preemption_signal",)
        ),
    )
}


@dataclass(slots=True)
class _Histogram:
    counts: list[int]
    sum: float = 0.0


@dataclass(slots=True)
class Meters:
    """Values by family and labels."""

    _counters: dict[str, dict[tuple[str, ...], int]] = field(default_factory=dict)
    _histograms: dict[str, dict[tuple[str, ...], _Histogram]] = field(default_factory=dict)

    def count(self, name: str, *values: str) -> None:
        found = self._counters.setdefault(name, {})
        found[values] = found.get(values, 0) + 1

    def observe(self, name: str, seconds: float, *values: str) -> None:
        bounds = FAMILIES[name].bounds
        found = self._histograms.setdefault(name, {})
        histogram = found.get(values)
        if histogram is None:
            histogram = found[values] = _Histogram([0] * (len(bounds) + 1))
        histogram.counts[bisect_left(bounds, seconds)] += 1
        histogram.sum += seconds

    def counted(self, family: Family) -> dict[tuple[str, ...], int]:
        return self._counters.get(family.name) or ({(): 0} if not family.labels else {})

    def timed(self, family: Family) -> Iterator[tuple[tuple[str, ...], list[tuple[str, int]], float]]:
        """(values of the labels, (upper bound, observations up to it) for each bucket, sum)"""
        for values, histogram in sorted(self._histograms.get(family.name, {}).items()):
            so_far, buckets = 0, []
            for bound, number in zip((*family.bounds, None), histogram.counts, strict=True):
                so_far += number
                buckets.append(("+Inf" if bound is None else f"{bound:g}", so_far))
            yield values, buckets, histogram.sum
