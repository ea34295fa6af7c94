"""The scheduler as a process: its informers, its limits, and the small server for health and metrics."""

from __future__ import annotations

import asyncio
import random
import ssl

from prometheus_client import CollectorRegistry, generate_latest

from ..client.informer import InformerFactory
from ..client.metering import MeteredTransport, RestMetrics
from ..client.rest import Client
from ..concurrency import Clock, logger
from ..streams.http_server import HttpRequest, HttpResponse, HttpServer
from .configuration import Configuration
from .explaining import Explaining
from .limiting import limited
from .scheduler import Scheduler
from .slimming import Slimmer

log = logger("scheduler.running")
PAGE_SIZE = 5000
"""Objects a page of a list: bounds what is in memory of it at a time."""
_TEXT = "text/plain; charset=utf-8"


class Running:
    """One scheduler in a process of its own."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        config: Configuration,
        rng: random.Random,
        *,
        qps: float = 0.0,
        burst: int = 100,
    ) -> None:
        self._registry = CollectorRegistry()
        rest = RestMetrics(self._registry)
        client.transport = MeteredTransport(client.transport, rest, clock.monotonic)
        self._client = limited(client, clock, qps, burst) if qps > 0 else client
        self._clock, self._config, self._rng = clock, config, rng
        self.scheduler: Scheduler | None = None
        self._explaining = Explaining(self._client)

    async def lead(self) -> None:
        """Schedules until cancelled."""
        factory = InformerFactory(
            self._client, self._clock, self._rng, transforms=Slimmer().transforms, page_size=PAGE_SIZE
        )
        self.scheduler = Scheduler(
            self._client, factory, self._clock, name="default-scheduler", rng=self._rng, configuration=self._config
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(factory.run())
            group.create_task(self.scheduler.run())

    async def serve(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Serves until cancelled. Raises OSError where the port is taken."""
        await HttpServer(self._answer, clock=self._clock, host=host, port=port, tls=tls).run()

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        root, _, check = request.path.strip("/").partition("/")
        if root == "why":
            return await self._explaining.answer(request, self.scheduler)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(405, b"method not allowed\n", _TEXT)
        if root == "metrics" and not check:
            text = generate_latest(self._registry)
            text += self.scheduler.metrics_text() if self.scheduler is not None else b""
            return HttpResponse(200, text, "text/plain; version=0.0.4; charset=utf-8")
        if root not in ("healthz", "livez", "readyz") or check not in ("", "ping", "sched-handler-sync"):
            return HttpResponse(404, b"404 page not found\n", _TEXT)
        # A standby that waits for the lease is as healthy as the leader; one that leads is ready when it has listed.
        if root == "readyz" and self.scheduler is not None and not self.scheduler.ready:
            lines = b"[+]ping ok\n[-]sched-handler-sync failed: reason withheld\nreadyz check failed\n"
            return HttpResponse(500, lines, _TEXT)
        return HttpResponse(200, b"ok", _TEXT)
