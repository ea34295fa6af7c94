"""The service proxy of one node: informers in, the kernel's rules out.

It runs in the node's network namespace. Events only mark what changed; one worker writes the rules, so that a burst of events
is one write.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from ..api.meta import Object, key_of, labels_of, namespace_of
from ..api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from ..client.informer import Informer, InformerFactory
from ..client.rest import Client
from ..concurrency import Backoff, Clock, logger
from . import rules
from .model import PROTOCOLS, SERVICE_NAME_LABEL, ZONE_LABEL, choose, endpoints_by_port, is_family, service_ports

log = logger("proxy")

SETTLE_SECONDS = 0.01
"""How long a burst of events is gathered before the rules are written."""


class RulesError(Exception):
    """The kernel refused the rules."""


class ServiceProxy:
    """Keeps table ``ip p8s_services`` true for ``node_name``. ``cluster_cidr`` is where all pods' addresses are."""

    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        clock: Clock,
        *,
        node_name: str,
        cluster_cidr: str = "10.244.0.0/16",
    ) -> None:
        self._clock, self._node_name, self._cluster_cidr = clock, node_name, cluster_cidr
        self._services, self._slices = factory.informer(SERVICES), factory.informer(ENDPOINT_SLICES)
        self._slices.add_index("service", _service_of)
        self._node = Informer(client, NODES, clock=clock, field_selector=f"metadata.name={node_name}")
        self._pods = Informer(client, PODS, clock=clock, field_selector=f"spec.nodeName={node_name}")
        self._changed = asyncio.Event()
        self._backoff = Backoff(0.1, 10.0)
        for informer in (self._services, self._slices, self._node, self._pods):
            informer.add_handler(lambda kind, old, new: self._changed.set())

    async def run(self) -> None:
        prepare_kernel(Path("/proc/sys"))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._node.run())
            group.create_task(self._pods.run())
            for informer in (self._services, self._slices, self._node, self._pods):
                await informer.wait_synced()
            applied = ""
            while True:
                self._changed.clear()
                script = self._script()
                if script != applied:
                    try:
                        await apply(script)
                        applied = script
                        self._backoff.reset()
                    except RulesError as failure:
                        log.error("rules refused", error=str(failure))
                        await self._clock.sleep(self._backoff.next())
                        continue
                await self._changed.wait()
                await self._clock.sleep(SETTLE_SECONDS)

    def _script(self) -> str:
        node = self._node.get("", self._node_name) or {}
        zone = labels_of(node).get(ZONE_LABEL, "")
        services = []
        for service in sorted(self._services.list(), key=key_of):
            ports = service_ports(service)
            if ports:
                endpoints = endpoints_by_port(self._slices.by_index("service", key_of(service)))
                for port in ports:
                    found = endpoints.get(port.name.port, [])
                    services.append((port, choose(port, found, self._node_name, zone)))
        addresses = (node.get("status") or {}).get("addresses") or []
        node_ips = [a["address"] for a in addresses if a.get("type") == "InternalIP" and is_family(a["address"], 4)]
        host_ports = sorted({h for pod in self._pods.list() for h in host_ports_of(pod)}, key=lambda h: h.port)
        return rules.render(services, host_ports, cluster_cidr=self._cluster_cidr, node_ips=node_ips)


def _service_of(endpoint_slice: Object) -> list[str]:
    name = labels_of(endpoint_slice).get(SERVICE_NAME_LABEL)
    return [f"{namespace_of(endpoint_slice)}/{name}"] if name else []


def host_ports_of(pod: Object, version: int = 4) -> Iterator[rules.HostPort]:
    """The host ports of a pod that has an address and has not ended."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return
    addresses = [i.get("ip", "") for i in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    address = next((a for a in addresses if is_family(a, version)), "")
    if not address:
        return
    restartable = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *restartable):
        for port in container.get("ports") or ():
            host_ip = port.get("hostIP") or ""
            protocol = PROTOCOLS.get(port.get("protocol") or "TCP")
            if port.get("hostPort") and protocol and (not host_ip or is_family(host_ip, version)):
                yield rules.HostPort(host_ip, protocol, int(port["hostPort"]), address, int(port["containerPort"]))


def prepare_kernel(sysctls: Path) -> None:
    """What the node's network namespace needs: forwarding, and no reverse-path check on asymmetric ways."""
    for name, value in (
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ):
        path = sysctls / name
        if path.exists():
            path.write_text(value)


async def apply(script: str) -> None:
    """Hands a script to ``nft``. Raises RulesError with its words."""
    process = await asyncio.create_subprocess_exec(
        "nft",
        "-f",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"},
    )
    _, errors = await process.communicate(script.encode())
    if process.returncode != 0:
        raise RulesError(errors.decode("utf-8", "replace").strip()[:2000])
