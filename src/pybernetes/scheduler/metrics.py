"""The scheduler's metrics under upstream's names (``scheduler_*``), in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_FAST = tuple(0.001 * 2**i for i in range(15))
_SLOW = tuple(0.01 * 2**i for i in range(20))


class Metrics:
    """One registry a scheduler, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        by_result: dict[str, Any] = {"labelnames": ("result", "profile"), **own}
        self._attempts = Counter(
            "scheduler_schedule_attempts_total", "Attempts to schedule pods, by result and profile.", **by_result
        )
        self._durations = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "Duration of attempts (algorithm and binding).",
            buckets=_FAST,
            **by_result,
        )
        self._algorithm = Histogram(
            "scheduler_scheduling_algorithm_duration_seconds", "Duration of the algorithm.", buckets=_FAST, **own
        )
        self._sli = Histogram(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "From a pod's first attempt to its binding, back-off included.",
            labelnames=("attempts",),
            buckets=_SLOW,
            **own,
        )
        self._tries = Histogram(
            "scheduler_pod_scheduling_attempts",
            "Attempts until a pod was bound.",
            buckets=tuple(2.0**i for i in range(5)),
            **own,
        )
        self._incoming = Counter(
            "scheduler_queue_incoming_pods_total",
            "Pods that came into a queue, by queue and event.",
            labelnames=("queue", "event"),
            **own,
        )
        self._pending = Gauge("scheduler_pending_pods", "Waiting pods, by queue.", labelnames=("queue",), **own)
        self._unschedulable = Gauge(
            "scheduler_unschedulable_pods", "Waiting pods, by plugin.", labelnames=("plugin", "profile"), **own
        )
        self._cache = Gauge("scheduler_cache_size", "Nodes, pods and assumed pods known.", labelnames=("type",), **own)
        self._preemptions = Counter("scheduler_preemption_attempts_total", "Searches for pods to preempt.", **own)
        self._victims = Counter("scheduler_preemption_victims", "Pods preempted.", **own)

    def incoming(self, queue: str, event: str) -> None:
        self._incoming.labels(queue, event).inc()

    def rejected(self, plugin: str, profile: str, change: int) -> None:
        self._unschedulable.labels(plugin, profile).inc(change)

    def attempt(self, result: str, profile: str, seconds: float) -> None:
        self._attempts.labels(result, profile).inc()
        self._durations.labels(result, profile).observe(seconds)

    def algorithm(self, seconds: float) -> None:
        self._algorithm.observe(seconds)

    def scheduled(self, profile: str, seconds: float, since_first: float, attempts: int) -> None:
        self.attempt("scheduled", profile, seconds)
        self._sli.labels(str(attempts) if attempts < 15 else "15+").observe(since_first)
        self._tries.observe(attempts)

    def sizes(self, pending: Mapping[str, int], cache: Mapping[str, int]) -> None:
        for queue, size in pending.items():
            self._pending.labels(queue).set(size)
        for kind, size in cache.items():
            self._cache.labels(kind).set(size)

    def text(self) -> bytes:
        return generate_latest(self.registry)
