"""Addresses for Services of type LoadBalancer: what a cloud provider does elsewhere, out of a pool of the nodes' network.

Every node's proxy answers for such an address; the machine has a route to the pool through the first node. A Service with a
``loadBalancerClass`` of somebody else's is left alone, which is how a cloud provider or another allocator takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network

from ..api.errors import StatusError
from ..api.meta import Object, is_deleting, key_of, name_of, namespace_of
from ..api.resources import SERVICES
from ..client.events import NORMAL, WARNING, EventRecorder
from ..client.informer import InformerFactory
from ..client.rest import Client
from ..client.transport import TransportError
from ..concurrency import Backoff, Clock, logger

log = logger("cluster.loadbalancers")

CLASS = "pybernetes.dev/pool"


def is_ours(service: Object) -> bool:
    spec = service.get("spec") or {}
    return spec.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") in (None, "", CLASS)


def addresses_of(service: Object) -> list[str]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [i["ip"] for i in ingress if i.get("ip")]


def allocate(pool: IPv4Network, wanted: str, taken: Collection[str]) -> str:
    """A free address of the pool: the wanted one, else the lowest; "" where there is none."""
    if wanted:
        try:
            return wanted if IPv4Address(wanted) in pool and wanted not in taken else ""
        except ValueError:
            return ""
    return next((str(a) for a in pool.hosts() if str(a) not in taken), "")


class LoadBalancers:
    """Gives each such Service one address of ``pool``, for as long as it has the type."""

    def __init__(self, client: Client, factory: InformerFactory, clock: Clock, pool: str) -> None:
        self._client, self._clock, self._pool = client, clock, IPv4Network(pool)
        self._services = factory.informer(SERVICES)
        self._events = EventRecorder(client, clock, "service-controller", "")
        self._changed = asyncio.Event()
        self._told: set[str] = set()
        self._backoff = Backoff(0.2, 30.0)

    async def run(self) -> None:
        def changed(kind: str, old: Object | None, new: Object | None) -> None:
            self._changed.set()

        self._services.add_handler(changed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._events.run())
                await self._services.wait_synced()
                while True:
                    self._changed.clear()
                    await self._sync()
                    await self._changed.wait()
        finally:
            self._services.remove_handler(changed)

    async def _sync(self) -> None:
        services = sorted(self._services.list(), key=_age)
        taken = {a for s in services if is_ours(s) for a in addresses_of(s)}
        for service in services:
            if is_deleting(service):
                continue
            held = addresses_of(service)
            mine = [a for a in held if ":" not in a and IPv4Address(a) in self._pool]
            if is_ours(service):
                await self._serve(service, mine, taken)
            elif mine and (service.get("spec") or {}).get("type") != "LoadBalancer":
                # No longer a load balancer: its address goes back.
                await self._write(service, None)

    async def _serve(self, service: Object, mine: list[str], taken: set[str]) -> None:
        key, wanted = key_of(service), (service.get("spec") or {}).get("loadBalancerIP") or ""
        if mine and (not wanted or wanted in mine):
            return
        found = allocate(self._pool, wanted, taken)
        if not found:
            if key not in self._told:
                self._told.add(key)
                why = f"{wanted} is taken or not in {self._pool}" if wanted else f"{self._pool} has no free address"
                self._events.event(service, WARNING, "SyncLoadBalancerFailed", f"Error syncing load balancer: {why}")
            return
        self._told.discard(key)
        taken.add(found)
        await self._write(service, [{"ip": found, "ipMode": "VIP"}])
        self._events.event(service, NORMAL, "EnsuredLoadBalancer", "Ensured load balancer")

    async def _write(self, service: Object, ingress: list[Object] | None) -> None:
        patch = {"status": {"loadBalancer": {"ingress": ingress} if ingress else None}}
        try:
            written = await self._client.patch(
                SERVICES, name_of(service), patch, namespace_of(service), subresource="status"
            )
            self._services.observe(written)
            self._backoff.reset()
        except StatusError as failure:
            if failure.code != 404:
                log.warning("address not written", service=key_of(service), error=failure.message)
                await self._again()
        except (TransportError, TimeoutError) as failure:
            log.warning("address not written", service=key_of(service), error=str(failure))
            await self._again()

    async def _again(self) -> None:
        await self._clock.sleep(self._backoff.next())
        self._changed.set()


def _age(service: Object) -> tuple[str, str]:
    return (service.get("metadata") or {}).get("creationTimestamp") or "", key_of(service)
