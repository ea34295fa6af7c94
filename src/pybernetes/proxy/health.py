"""What the proxy tells over HTTP: its own health and mode, and to load balancers which Services have endpoints on this node.

``/healthz`` and ``/livez`` (port 10256), ``/proxyMode`` and ``/metrics`` (port 10249) as kube-proxy serves them, and one small
server for each ``healthCheckNodePort``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson

from ..api.meta import Object, is_deleting, split_key
from ..api.times import to_micro_time
from ..concurrency import Clock, logger
from ..streams.http_server import HttpRequest, HttpResponse, HttpServer
from .metrics import ProxyMetrics

log = logger("proxy.health")

LATE_SECONDS = 60.0
"""Changes that wait longer than this to be written make the proxy unhealthy."""
LEAVING_TAINT = "ToBeDeletedByClusterAutoscaler"
_JSON = "application/json"
_NO_SNIFF = [("X-Content-Type-Options", "nosniff")]


class Health:
    """Whether rules are up to date."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queued: float | None = None
        self._updated: float | None = None
        self.node: Object | None = None

    def queued(self) -> None:
        if self._queued is None:
            self._queued = self._clock.monotonic()

    def updated(self) -> None:
        self._queued = None
        self._updated = self._clock.now()

    @property
    def healthy(self) -> bool:
        # Before the first write the proxy counts as starting, not as broken.
        if self._queued is None or self._updated is None:
            return True
        return self._clock.monotonic() - self._queued < LATE_SECONDS

    @property
    def eligible(self) -> bool:
        """Whether load balancers may send traffic to this node: not once it is going away."""
        if self.node is None or is_deleting(self.node):
            return False
        taints = (self.node.get("spec") or {}).get("taints") or ()
        return all(t.get("key") != LEAVING_TAINT for t in taints)

    def document(self, *, with_eligibility: bool) -> tuple[bool, Object]:
        healthy = self.healthy and (self.eligible or not with_eligibility)
        now = self._clock.now()
        found: Object = {
            "lastUpdated": to_micro_time(now if healthy else self._updated or now),
            "currentTime": to_micro_time(now),
            "healthy": self.healthy,
        }
        if with_eligibility:
            found["nodeEligible"] = self.eligible
        if self._updated is not None:
            found["status"] = {"IPv4": {"lastUpdated": to_micro_time(self._updated), "healthy": self.healthy}}
        return healthy, found


def health_handler(health: Health, metrics: ProxyMetrics):
    async def handle(request: HttpRequest) -> HttpResponse:
        if request.path not in ("/healthz", "/livez"):
            return HttpResponse(404, b"404 page not found\n", "text/plain; charset=utf-8")
        healthy, document = health.document(with_eligibility=request.path == "/healthz")
        status = 200 if healthy else 503
        (metrics.healthz if request.path == "/healthz" else metrics.livez).labels(str(status)).inc()
        return HttpResponse(status, orjson.dumps(document), _JSON, list(_NO_SNIFF))

    return handle


def metrics_handler(mode: str, metrics: ProxyMetrics, health: Health):
    async def handle(request: HttpRequest) -> HttpResponse:
        plain = "text/plain; charset=utf-8"
        if request.path == "/proxyMode":
            return HttpResponse(200, mode.encode(), plain, list(_NO_SNIFF))
        if request.path == "/metrics":
            return HttpResponse(200, metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
        if request.path == "/healthz":
            return HttpResponse(200 if health.healthy else 503, b"ok" if health.healthy else b"rules are late", plain)
        return HttpResponse(404, b"404 page not found\n", plain)

    return handle


@dataclass(slots=True)
class _Check:
    port: int
    task: asyncio.Task[None]


class ServiceHealth:
    """The servers of ``healthCheckNodePort``: ``set`` says which there are and how many endpoints each Service has here."""

    def __init__(self, health: Health, clock: Clock, host: str = "0.0.0.0") -> None:
        self._health, self._clock, self._host = health, clock, host
        self._wanted: dict[str, int] = {}
        self._endpoints: dict[str, int] = {}
        self._changed = asyncio.Event()

    def set(self, service: str, port: int, endpoints: int) -> None:
        """A port of 0 means that the Service has none any more."""
        if port:
            self._endpoints[service] = endpoints
        else:
            self._endpoints.pop(service, None)
        if port != self._wanted.get(service, 0):
            self._wanted.pop(service, None)
            if port:
                self._wanted[service] = port
            self._changed.set()

    async def run(self) -> None:
        running: dict[str, _Check] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for service, check in list(running.items()):
                    if self._wanted.get(service) != check.port:
                        check.task.cancel()
                        await asyncio.wait([check.task])
                        del running[service]
                for service, port in self._wanted.items():
                    if service not in running:
                        running[service] = _Check(port, group.create_task(self._serve(service, port)))
                await self._changed.wait()

    async def _serve(self, service: str, port: int) -> None:
        async def handle(request: HttpRequest) -> HttpResponse:
            return self.answer(service)

        try:
            await HttpServer(handle, clock=self._clock, host=self._host, port=port).run()
        except* OSError as failures:
            log.error("health check port not served", service=service, port=port, error=str(failures.exceptions[0]))

    def answer(self, service: str) -> HttpResponse:
        count, healthy = self._endpoints.get(service, 0), self._health.healthy
        namespace, name = split_key(service)
        document = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        }
        headers = [*_NO_SNIFF, ("X-Load-Balancing-Endpoint-Weight", str(count))]
        status = 200 if count and healthy else 503
        return HttpResponse(status, orjson.dumps(document), _JSON, headers)
