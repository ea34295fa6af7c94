"""The service proxy of one node: informers in, the kernel's rules out.

It runs in the node's network namespace. Events only note which Service or pod changed; one worker works out the elements of
those and writes them in one transaction. The kernel tells of every change that somebody else makes to the table, which is then
compared with what is wanted and mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..api.meta import Object, annotations_of, key_of, labels_of, namespace_of
from ..api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from ..api.times import parse_time
from ..client.informer import Informer, InformerFactory
from ..client.rest import Client
from ..concurrency import Backoff, Clock, logger
from ..streams.http_server import HttpServer
from .backend import Backend, CountedRules, Rules, RulesError
from .health import Health, ServiceHealth, health_handler, metrics_handler
from .metrics import ProxyMetrics
from .model import (
    PROTOCOLS,
    SERVICE_NAME_LABEL,
    ZONE_LABEL,
    HostPort,
    choose,
    endpoints_by_port,
    is_family,
    ready_local_endpoints,
    service_ports,
)
from .modes import make_mode

log = logger("proxy")

SETTLE_SECONDS = 0.003
"""How long events are gathered before the rules are written: those of one cause come together."""
FLOWS_SECONDS = 0.2
"""At least this long between two looks at all tracked flows."""
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """A port of 0 serves nothing there."""

    service_cidr: str = ""
    mode: str = "nftables"
    masquerade_outbound: bool = True
    healthz_host: str = "0.0.0.0"
    healthz_port: int = 10256
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 10249


class ServiceProxy:
    """Keeps a node's service rules true until cancelled. The rules stay when it ends: traffic goes on while it restarts."""

    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        clock: Clock,
        *,
        node_name: str,
        cluster_cidr: str = "10.244.0.0/16",
        options: ProxyOptions | None = None,
        mode: tuple[Rules, Backend] | None = None,
    ) -> None:
        """``cluster_cidr`` is where all pods' addresses are. ``mode`` goes before that of the options, whose sockets are
        made here. Raises RulesError where the machine lacks what the mode needs."""
        self._clock, self._node_name = clock, node_name
        self._options = options = options or ProxyOptions()
        self.rules, self._backend = mode or make_mode(
            options.mode, clock, cluster_cidr, options.service_cidr, options.masquerade_outbound
        )
        self.metrics = ProxyMetrics(options.mode)
        self.health = Health(clock)
        self.service_health = ServiceHealth(self.health, clock)
        self._services, self._slices = factory.informer(SERVICES), factory.informer(ENDPOINT_SLICES)
        if "proxy-service" not in self._slices.indexes:
            self._slices.add_index("proxy-service", _service_of)
        self._node = Informer(client, NODES, clock=clock, field_selector=f"metadata.name={node_name}")
        self._pods = Informer(client, PODS, clock=clock, field_selector=f"spec.nodeName={node_name}")
        self._dirty_services: dict[str, None] = {}
        self._dirty_pods: dict[str, None] = {}
        self._triggers: list[float] = []
        self._changed = asyncio.Event()
        self._flows_due = asyncio.Event()
        self._rebuild = self._whole = True
        self._zone = ""
        self._without_local: dict[str, set[str]] = {"internal": set(), "external": set()}
        self._backoff = Backoff(0.1, 10.0)

    async def run(self) -> None:
        prepare_kernel(Path("/proc/sys"))
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        self._pods.add_handler(self._on_pod)
        self._node.add_handler(self._on_node)
        try:
            async with asyncio.TaskGroup() as group:
                for informer in (self._node, self._pods):
                    group.create_task(informer.run())
                for server in self._servers():
                    group.create_task(server.run())
                group.create_task(self.service_health.run())
                for informer in (self._services, self._slices, self._node, self._pods):
                    await informer.wait_synced()
                group.create_task(self._backend.watch(self._on_foreign_change))
                group.create_task(self._keep_flows())
                await self._keep()
        finally:
            self._services.remove_handler(self._on_service)
            self._slices.remove_handler(self._on_slice)
            self._backend.close()

    def _servers(self) -> Iterator[HttpServer]:
        options = self._options
        if options.healthz_port:
            handler = health_handler(self.health, self.metrics)
            yield HttpServer(handler, clock=self._clock, host=options.healthz_host, port=options.healthz_port)
        if options.metrics_port:
            handler = metrics_handler(options.mode, self.metrics, self.health)
            yield HttpServer(handler, clock=self._clock, host=options.metrics_host, port=options.metrics_port)

    # -- events ----------------------------------------------------------------------------------------------------

    def _note(self) -> None:
        self.health.queued()
        self.metrics.last_queued.set(self._clock.now())
        self._changed.set()

    def _on_service(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        self.metrics.service_changes.inc()
        self._dirty_services[key_of(new)] = None
        self._note()

    def _on_slice(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        self.metrics.endpoint_changes.inc()
        for obj in (old, new):
            for service in _service_of(obj) if obj is not None else ():
                self._dirty_services[service] = None
        trigger = annotations_of(new).get(TRIGGER_TIME)
        if trigger:
            try:
                self._triggers.append(parse_time(trigger))
            except ValueError:
                pass  # written by somebody else's controller; it only feeds a metric
        self._note()

    def _on_pod(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        if any(True for obj in (old, new) if obj is not None for _ in declared_host_ports(obj)):
            self._dirty_pods[key_of(new)] = None
            self._note()

    def _on_node(self, kind: str, old: Object | None, new: Object | None) -> None:
        node = self._node.get("", self._node_name)
        self.health.node = node
        zone = labels_of(node or {}).get(ZONE_LABEL, "")
        if zone != self._zone:
            self._zone = zone
            self._dirty_services.update(dict.fromkeys(map(key_of, self._services.list())))
        self._note()

    def _on_foreign_change(self) -> None:
        log.warning("the service rules were changed by somebody else: mending them")
        self.metrics.repairs.inc()
        self._rebuild = True
        self._note()

    # -- work ------------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._sync()
                self._backoff.reset()
            except RulesError as failure:
                log.error("rules not written", error=str(failure))
                self.metrics.failures.inc()
                if not self._whole and self.metrics.partial_failures is not self.metrics.failures:
                    self.metrics.partial_failures.inc()
                self._rebuild = True
                await self._clock.sleep(self._backoff.next())
                continue
            await self._changed.wait()
            await self._clock.sleep(SETTLE_SECONDS)

    async def _sync(self) -> None:
        started = self._clock.monotonic()
        triggers, self._triggers = self._triggers, []
        self._gather()
        rebuild, self._rebuild = self._rebuild, False
        self._whole = rebuild
        update = self.rules.take_update()
        if rebuild:
            await self._backend.rebuild(self.rules)
        elif update:
            await self._backend.apply(self.rules, update)
        took = self._clock.monotonic() - started
        self.health.updated()
        self._count(update, rebuild)
        self.metrics.last_sync.set(self._clock.now())
        self.metrics.sync.observe(took)
        (self.metrics.full_sync if rebuild else self.metrics.partial_sync).observe(took)
        for trigger in triggers:
            self.metrics.programming.observe(max(0.0, self._clock.now() - trigger))
        if rebuild or update.touches_udp:
            self._flows_due.set()

    def _count(self, update: Any, whole: bool) -> None:
        self.metrics.services_pending.set(len(self._dirty_services))
        self.metrics.endpoints_pending.set(len(self._dirty_services))
        if isinstance(self.rules, CountedRules):
            total = self.rules.count()
            self.metrics.count_rules(total, total if whole else update.count())

    async def _keep_flows(self) -> None:
        """Beside the writing of rules, which must not wait while a table of a million flows is read."""
        while True:
            await self._flows_due.wait()
            self._flows_due.clear()
            begun = self._clock.monotonic()
            try:
                self.metrics.forgotten.inc(await self._backend.forget_stale_flows(self.rules))
            except RulesError as failure:
                log.error("stale flows not forgotten", error=str(failure))
                self._flows_due.set()
            took = self._clock.monotonic() - begun
            self.metrics.conntrack.observe(took)
            await self._clock.sleep(max(FLOWS_SECONDS, took))

    def _gather(self) -> None:
        """Works out the elements of what changed."""
        self.rules.set_node_ips(node_addresses(self._node.get("", self._node_name)))
        services, self._dirty_services = self._dirty_services, {}
        pods, self._dirty_pods = self._dirty_pods, {}
        for key in services:
            self._gather_service(key)
        for key in pods:
            pod = self._pods.get_key(key)
            self.rules.set_host_ports(key, host_ports_of(pod) if pod is not None else ())
        for policy, names in self._without_local.items():
            self.metrics.set_without_local(policy, len(names))

    def _gather_service(self, key: str) -> None:
        service = self._services.get_key(key)
        ports = service_ports(service) if service is not None else []
        endpoints = endpoints_by_port(self._slices.by_index("proxy-service", key)) if ports else {}
        chosen = []
        node = self._node_name
        for names in self._without_local.values():
            names.discard(key)
        for port in ports:
            choice = choose(port, endpoints.get(port.name.port, ()), node, self._zone)
            chosen.append((port, choice))
            if choice.any and not choice.local:
                if port.internal_local:
                    self._without_local["internal"].add(key)
                if port.external_local:
                    self._without_local["external"].add(key)
        self.rules.set_service(key, chosen)
        check = next((p.health_check_node_port for p in ports if p.health_check_node_port), 0)
        everything = [e for found in endpoints.values() for e in found] if check else []
        self.service_health.set(key, check, ready_local_endpoints(everything, node))


def _service_of(endpoint_slice: Object) -> list[str]:
    name = labels_of(endpoint_slice).get(SERVICE_NAME_LABEL)
    return [f"{namespace_of(endpoint_slice)}/{name}"] if name else []


def node_addresses(node: Object | None, version: int = 4) -> list[str]:
    """The node's primary address of a family, where node ports are served."""
    found = ((node or {}).get("status") or {}).get("addresses") or ()
    internal = [
        a["address"] for a in found if a.get("type") == "InternalIP" and is_family(a.get("address", ""), version)
    ]
    return internal[:1]


def declared_host_ports(pod: Object) -> Iterator[Object]:
    """Container ports with a host port, of containers that run beside each other."""
    spec = pod.get("spec") or {}
    if spec.get("hostNetwork"):
        return
    beside = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *beside):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port


def host_ports_of(pod: Object, version: int = 4) -> Iterator[HostPort]:
    """The host ports of a pod that has an address and has not ended."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return
    addresses = [i.get("ip", "") for i in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    address = next((a for a in addresses if is_family(a, version)), "")
    if not address:
        return
    for port in declared_host_ports(pod):
        host_ip = port.get("hostIP") or ""
        protocol = PROTOCOLS.get(port.get("protocol") or "TCP")
        if protocol and (not host_ip or is_family(host_ip, version)):
            yield HostPort(host_ip, protocol, int(port["hostPort"]), address, int(port["containerPort"]))


def prepare_kernel(sysctls: Path) -> None:
    """What the node's network namespace needs."""
    for name, value in (
        ("net/ipv4/ip_forward", "1"),
        # Host ports on 127.0.0.1; the table drops what others send there.
        ("net/ipv4/conf/all/route_localnet", "1"),
        # A packet outside the window must not end a translated connection with an untranslated reset.
        ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ):
        path = sysctls / name
        if path.exists():
            path.write_text(value)
    for directory in (sysctls / "net/ipv4/conf").glob("*"):
        # Answers may come another way than questions went, over VXLAN one way and straight the other: strict becomes loose.
        if (directory / "rp_filter").read_text().strip() == "1":
            (directory / "rp_filter").write_text("2")
        # A neighbour that was told a shorter way would pass by the rules; such notes also use up the allowance of refusals.
        (directory / "send_redirects").write_text("0")
