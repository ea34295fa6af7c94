"""What a proxy needs to know of Services and EndpointSlices, read out of wire objects. Pure.

A Service becomes one ``ServicePort`` for each of its ports, the slices one list of ``Endpoint`` a port; ``choose`` says which of
them traffic on this node may go to. Specified by the pages "Virtual IPs and Service Proxies" and "Topology Aware Routing".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..api.meta import Object, labels_of, name_of, namespace_of

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE_LABEL = "topology.kubernetes.io/zone"
DEFAULT_AFFINITY_SECONDS = 10800
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
UDP = 17
VXLAN_PORT = 8472
"""Linux' own, and flannel's."""
Target = tuple[str, int]
"""An address and a port."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of this node that belongs to a container of one of its pods. An empty ``host_ip`` means all addresses."""

    host_ip: str
    protocol: int
    port: int
    pod_ip: str
    pod_port: int


class PortName(NamedTuple):
    """What a service port is known by: ``namespace/name:port``."""

    namespace: str
    name: str
    port: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port}" if self.port else f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service, as far as a proxy of one address family is concerned."""

    name: PortName
    protocol: int
    port: int
    cluster_ip: str
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity_seconds: int = 0
    internal_local: bool = False
    external_local: bool = False
    health_check_node_port: int = 0

    @property
    def externally_accessible(self) -> bool:
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        # With the external policy Local too: pods and the node itself take a short cut past it.
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local_endpoints(self) -> bool:
        return self.internal_local or (self.external_local and self.externally_accessible)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port behind a service port."""

    address: str
    port: int
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone_hints: frozenset[str] = frozenset()
    node_hints: frozenset[str] = frozenset()

    @property
    def target(self) -> Target:
        return self.address, self.port


@dataclass(frozen=True, slots=True)
class Choice:
    """Where this node sends traffic: by the Cluster policy and by the Local one; ``any`` tells whether some node could.

    ``serving`` is where UDP flows that exist may stay: whatever still answers.
    """

    cluster: tuple[Target, ...] = ()
    local: tuple[Target, ...] = ()
    any: bool = False
    serving: tuple[Target, ...] = ()


def is_family(address: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(address).version == version
    except ValueError:
        return False


def service_ports(service: Object, version: int = 4) -> list[ServicePort]:
    """The ports that a proxy of this address family serves; none for headless, ExternalName and other proxies' Services."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName" or PROXY_NAME_LABEL in labels_of(service):
        return []
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    cluster_ip = next((a for a in addresses if is_family(a, version)), "")
    if not cluster_ip:
        return []
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        affinity = int(client_ip.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS)
    return [
        ServicePort(
            PortName(namespace_of(service), name_of(service), port.get("name") or ""),
            PROTOCOLS[port.get("protocol") or "TCP"],
            int(port["port"]),
            cluster_ip,
            node_port=int(port.get("nodePort") or 0),
            external_ips=tuple(a for a in spec.get("externalIPs") or () if is_family(a, version)),
            load_balancer_ips=_ingress_addresses(service, version),
            source_ranges=_networks(spec.get("loadBalancerSourceRanges") or (), version),
            affinity_seconds=affinity,
            internal_local=spec.get("internalTrafficPolicy") == "Local",
            external_local=spec.get("externalTrafficPolicy") == "Local",
            health_check_node_port=int(spec.get("healthCheckNodePort") or 0),
        )
        for port in spec.get("ports") or ()
        if (port.get("protocol") or "TCP") in PROTOCOLS
    ]


def _ingress_addresses(service: Object, version: int) -> tuple[str, ...]:
    """Addresses of the load balancer that the node itself must answer for (``ipMode`` VIP, the default)."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return tuple(
        i["ip"] for i in ingress if is_family(i.get("ip") or "", version) and i.get("ipMode", "VIP") != "Proxy"
    )


def _networks(ranges: Iterable[str], version: int) -> tuple[str, ...]:
    found = []
    for text in ranges:
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            continue  # validation refuses such a value today; an old object may still carry one
        if network.version == version:
            found.append(str(network))
    return tuple(found)


def endpoints_by_port(slices: Iterable[Object], version: int = 4) -> dict[str, list[Endpoint]]:
    """Endpoints of one Service by the name of the port; the same endpoint in two slices counts once, the better one."""
    found: dict[str, dict[tuple[str, int], Endpoint]] = {}
    for endpoint_slice in slices:
        if endpoint_slice.get("addressType") != f"IPv{version}" or HEADLESS_LABEL in labels_of(endpoint_slice):
            continue
        for port in endpoint_slice.get("ports") or ():
            if not port.get("port"):
                continue
            targets = found.setdefault(port.get("name") or "", {})
            for entry in endpoint_slice.get("endpoints") or ():
                endpoint = _endpoint(entry, int(port["port"]))
                if endpoint is None:
                    continue
                known = targets.get(endpoint.target)
                if known is None or _rank(endpoint) > _rank(known):
                    targets[endpoint.target] = endpoint
    return {name: [targets[t] for t in sorted(targets)] for name, targets in found.items()}


def _endpoint(entry: Mapping[str, Any], port: int) -> Endpoint | None:
    # Only the first address counts: consumers of an EndpointSlice treat further ones as the same endpoint.
    addresses = entry.get("addresses") or ()
    if not addresses:
        return None
    conditions, hints = entry.get("conditions") or {}, entry.get("hints") or {}
    return Endpoint(
        addresses[0],
        port,
        node=entry.get("nodeName") or "",
        ready=conditions.get("ready") is not False,
        serving=conditions.get("serving") is not False,
        terminating=bool(conditions.get("terminating")),
        zone_hints=frozenset(z["name"] for z in hints.get("forZones") or ()),
        node_hints=frozenset(n["name"] for n in hints.get("forNodes") or ()),
    )


def _rank(endpoint: Endpoint) -> tuple[bool, bool, bool]:
    return endpoint.ready, endpoint.serving, not endpoint.terminating


def choose(port: ServicePort, endpoints: Sequence[Endpoint], node: str, zone: str) -> Choice:
    """Ready endpoints near enough; where there is none, such as serve while they terminate."""
    leaving = [e for e in endpoints if not e.ready and e.serving and e.terminating]
    ready = [e for e in endpoints if e.ready]
    cluster: list[Endpoint] = []
    local: list[Endpoint] = []
    if port.uses_cluster_endpoints:
        cluster = near(ready, node, zone) or leaving
    if port.uses_local_endpoints:
        local = [e for e in ready if e.node == node] or [e for e in leaving if e.node == node]
    some = bool(cluster) or (port.uses_local_endpoints and bool(ready or leaving))
    serving = tuple(e.target for e in endpoints if e.serving) if port.protocol == UDP else ()
    return Choice(tuple(e.target for e in cluster), tuple(e.target for e in local), some, serving)


def near(ready: Sequence[Endpoint], node: str, zone: str) -> list[Endpoint]:
    """Those hinted for this node, else for its zone, where every endpoint has such a hint; else all."""
    if not ready:
        return []
    if all(e.node_hints for e in ready):
        found = [e for e in ready if node in e.node_hints]
        if found:
            return found
    if all(e.zone_hints for e in ready):
        found = [e for e in ready if zone in e.zone_hints]
        if found:
            return found
    return list(ready)


def ready_local_endpoints(endpoints: Sequence[Endpoint], node: str) -> int:
    """What a health-check node port reports: endpoints on this node that are ready, or serve while they terminate."""
    ready = {e.address for e in endpoints if e.ready and e.node == node}
    return len(ready or {e.address for e in endpoints if e.serving and e.terminating and e.node == node})
