"""What the DNS server counts, in the Prometheus text format; the names are CoreDNS' where they mean the same."""

from __future__ import annotations

from collections.abc import Iterator

import dns.rcode
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..concurrency import Clock
from ..streams.http_server import HttpHandler, HttpRequest, HttpResponse, HttpServer
from .server import DnsServer


class _Answers(Collector):
    """Reads the server's own counts when asked, so that answering a query costs nothing more."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        answers = CounterMetricFamily("coredns_dns_requests", "Queries by what became of them", labels=["outcome"])
        for outcome, count in self._server.answered.items():
            answers.add_metric([outcome], count)
        yield answers
        responses = CounterMetricFamily("coredns_dns_responses", "Answers by their code", labels=["rcode"])
        for code, count in enumerate(self._server.rcodes):
            if count:
                responses.add_metric([dns.rcode.to_text(dns.rcode.Rcode(code))], count)
        yield responses
        forwarder = self._server.forwarder
        yield CounterMetricFamily(
            "coredns_forward_max_concurrent_rejects", "Questions not passed on: too many at once", forwarder.rejected
        )
        yield CounterMetricFamily("coredns_cache_hits", "Answers that were kept", self._server.answered["cached"])
        yield GaugeMetricFamily("coredns_cache_entries", "Answers that are kept now", self._server.kept)
        yield GaugeMetricFamily("coredns_zone_generation", "Changes of the zone", self._server.zone.generation)


def handler(server: DnsServer) -> HttpHandler:
    registry = CollectorRegistry()
    registry.register(_Answers(server))

    async def handle(request: HttpRequest) -> HttpResponse:
        if request.path == "/metrics":
            return HttpResponse(200, generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8")
        if request.path in ("/health", "/ready"):
            return HttpResponse(200, b"OK", "text/plain")
        return HttpResponse(404, b"404 page not found\n", "text/plain")

    return handle


def metrics_server(server: DnsServer, clock: Clock, host: str, port: int) -> HttpServer:
    return HttpServer(handler(server), clock=clock, host=host, port=port)
