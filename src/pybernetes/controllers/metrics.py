"""The manager's metrics, under upstream's names (``workqueue_*``), in the Prometheus text format."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1000)


class QueueRecorder:
    """What one work queue reports."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._depth = metrics.depth.labels(name)
        self._adds = metrics.adds.labels(name)
        self._retries = metrics.retries.labels(name)
        self._waits = metrics.waits.labels(name)
        self._works = metrics.works.labels(name)

    def depth(self, size: int) -> None:
        self._depth.set(size)

    def added(self) -> None:
        self._adds.inc()

    def retried(self) -> None:
        self._retries.inc()

    def waited(self, seconds: float) -> None:
        self._waits.observe(seconds)

    def worked(self, seconds: float) -> None:
        self._works.observe(seconds)


class Metrics:
    """One registry a manager, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        named: dict[str, Any] = {"labelnames": ("name",), "registry": self.registry}
        self.depth = Gauge("workqueue_depth", "Current depth of workqueue", **named)
        self.adds = Counter("workqueue_adds_total", "Total number of adds handled by workqueue", **named)
        self.retries = Counter("workqueue_retries_total", "Total number of retries handled by workqueue", **named)
        waiting = "How long in seconds an item stays in workqueue before being requested."
        working = "How long in seconds processing an item from workqueue takes."
        self.waits = Histogram("workqueue_queue_duration_seconds", waiting, buckets=_BUCKETS, **named)
        self.works = Histogram("workqueue_work_duration_seconds", working, buckets=_BUCKETS, **named)
        self.started = Gauge("running_managed_controllers", "Controllers that run now", **named)
        election: dict[str, Any] = {"labelnames": ("name",), "registry": self.registry}
        self.leading = Gauge("leader_election_master_status", "1 where this instance holds the lease", **election)

    def queue(self, name: str) -> QueueRecorder:
        return QueueRecorder(self, name)

    def text(self) -> bytes:
        return generate_latest(self.registry)
