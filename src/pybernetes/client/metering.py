"""What a component counts of its calls of the API server, and of its own process, under upstream's names.

Names, labels and buckets are those of ``component-base/metrics/prometheus/restclient``. Only components import this: it needs
prometheus_client.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from .. import KUBERNETES_VERSION
from .transport import ClientRequest, ClientResponse, Transport

BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
FAILED = "<error>"
"""In place of a status, where there was no answer."""


class RestMetrics:
    """The calls of one process, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "rest_client_requests_total",
            "Calls of the API server, by status, method and host.",
            labelnames=("code", "method", "host"),
            registry=registry,
        )
        self._times = Histogram(
            "rest_client_request_duration_seconds",
            "Time until an answer began, by method and host.",
            labelnames=("verb", "host"),
            buckets=BUCKETS,
            registry=registry,
        )
        ProcessCollector(registry=registry)
        build = Gauge(
            "kubernetes_build_info",
            "The version that this process is.",
            labelnames=("git_version", "major", "minor"),
            registry=registry,
        )
        major, minor, _ = KUBERNETES_VERSION[1:].split(".")
        build.labels(KUBERNETES_VERSION, major, minor).set(1)

    def called(self, method: str, host: str, code: str, seconds: float) -> None:
        self._calls.labels(code, method, host).inc()
        self._times.labels(method, host).observe(seconds)


class MeteredTransport:
    """A transport whose calls are counted."""

    def __init__(self, inner: Transport, metrics: RestMetrics, monotonic: Callable[[], float]) -> None:
        self._inner, self._metrics, self._monotonic = inner, metrics, monotonic
        self.authority: str = getattr(inner, "authority", "")

    async def send(self, request: ClientRequest) -> ClientResponse:
        began, code = self._monotonic(), FAILED
        try:
            response = await self._inner.send(request)
            code = str(response.status)
            return response
        finally:
            self._metrics.called(request.method, self.authority, code, self._monotonic() - began)

    def close(self) -> None:
        self._inner.close()
