"""The cluster's DNS as a component: informers feed the zone, a ConfigMap the forwarder.

The ConfigMap ``kube-dns`` in ``kube-system`` has kube-dns' keys: ``stubDomains`` (a JSON object, domain to list of servers) and
``upstreamNameservers`` (a JSON list). A value that cannot be read is reported and leaves what was before.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import orjson

from ..api.meta import Object, name_of, namespace_of
from ..api.resources import CONFIG_MAPS, ENDPOINT_SLICES, SERVICES
from ..client.informer import DELETED, Informer, InformerFactory
from ..client.rest import Client
from ..concurrency import Clock, logger
from .forward import Forwarder, address_of, resolvers_of
from .records import Zone
from .server import DnsServer

log = logger("dns")


class ClusterDns:
    """Serves ``domain`` on ``host:port`` from what ``factory`` knows."""

    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        clock: Clock,
        *,
        host: str,
        port: int,
        domain: str = "cluster.local",
        resolv_conf: Path = Path("/etc/resolv.conf"),
        rng: random.Random | None = None,
        metrics_port: int = 0,
    ) -> None:
        """``metrics_port`` serves /metrics, /health and /ready on ``host``; 0 does not."""
        self._host, self._port, self._clock, self._metrics_port = host, port, clock, metrics_port
        self._defaults = resolvers_of(resolv_conf)
        self.zone = Zone(domain)
        self.server = DnsServer(self.zone, Forwarder(self._defaults, clock), clock, rng)
        self._services, self._slices = factory.informer(SERVICES), factory.informer(ENDPOINT_SLICES)
        self._config = Informer(
            client, CONFIG_MAPS, clock=clock, namespace="kube-system", field_selector="metadata.name=kube-dns"
        )
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        self._config.add_handler(self._on_config)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._config.run())
            if self._metrics_port:
                from .metrics import metrics_server

                group.create_task(metrics_server(self.server, self._clock, self._host, self._metrics_port).run())
            await self._services.wait_synced()
            await self._slices.wait_synced()
            group.create_task(self.server.run(self._host, self._port))

    def _on_service(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        if kind == DELETED:
            self.zone.remove_service(namespace_of(new), name_of(new))
        else:
            self.zone.set_service(new)

    def _on_slice(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        if kind == DELETED:
            self.zone.remove_slice(new)
        else:
            self.zone.set_slice(new)

    def _on_config(self, kind: str, old: Object | None, new: Object | None) -> None:
        data = (new or {}).get("data") or {} if kind != DELETED else {}
        try:
            stubs = orjson.loads(data.get("stubDomains") or "{}")
            upstreams = orjson.loads(data.get("upstreamNameservers") or "null")
            if not isinstance(stubs, dict) or not (upstreams is None or isinstance(upstreams, list)):
                raise ValueError("stubDomains must be an object and upstreamNameservers a list")
            for servers in (*stubs.values(), upstreams or []):
                if not isinstance(servers, list) or not all(isinstance(s, str) for s in servers):
                    raise ValueError(f"{servers!r} is no list of addresses")
                for server in servers:
                    address_of(server)
        except ValueError as failure:
            log.warning("ConfigMap kube-system/kube-dns not understood", error=str(failure))
            return
        forwarder = self.server.forwarder
        forwarder.stub_domains = {k.rstrip(".").lower(): v for k, v in stubs.items()}
        forwarder.upstreams = upstreams if upstreams is not None else self._defaults
