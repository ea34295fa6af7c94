"""What a cluster of ours holds beside what every API server makes: the DNS Service, its endpoints, its rights.

The objects are applied again at every start, so an upgrade brings its changes and a deletion by hand is mended.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object, is_condition_true, labels_of, name_of
from ..api.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    GVR,
    NODES,
    ROLE_BINDINGS,
    ROLES,
    SERVICES,
)
from ..client.informer import InformerFactory
from ..client.rest import Client
from ..client.transport import TransportError
from ..concurrency import Backoff, Clock, logger
from ..controllers.rights import controller_rights
from . import tokens
from .layout import Settings

log = logger("cluster.addons")

FIELD_MANAGER = "pybernetes"
DNS_PORT = 10053
"""Where every node's DNS server listens: not 53, which belongs to whoever owns the node's network."""


AGENT_LABEL = "pybernetes.dev/agent"
"""On nodes that run our agent, which serves DNS."""


def dns_address(settings: Settings) -> str:
    """The tenth address of the Service network, as kubeadm chooses it."""
    return str(ipaddress.ip_network(settings.service_cidr)[10])


def dns_service(settings: Settings) -> Object:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": DNS_PORT},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": DNS_PORT},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"},
        },
        "spec": {"clusterIP": dns_address(settings), "ports": ports, "type": "ClusterIP"},
    }


def dns_endpoints(addresses: dict[str, str]) -> Object:
    """The slice of the DNS Service, which has no selector: the servers are nodes' agents, not pods.

    Every node is told to ask its own: short ways, and no NetworkPolicy stands between a pod and its own node.
    """
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-nodes",
            "namespace": "kube-system",
            "labels": {
                "kubernetes.io/service-name": "kube-dns",
                "endpointslice.kubernetes.io/managed-by": "pybernetes.dev",
            },
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "nodeName": node,
                "hints": {"forNodes": [{"name": node}]},
            }
            for node, address in sorted(addresses.items())
        ],
        "ports": [
            {"name": "dns", "port": DNS_PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "port": DNS_PORT, "protocol": "TCP"},
        ],
    }


RBAC = "rbac.authorization.k8s.io"


def node_network_rights() -> list[tuple[GVR, Object]]:
    """What a node's proxy, policies and DNS read beyond upstream's role for kube-proxy, whose user they act as."""
    # A machine that joined has no other identity than its node's.
    nodes = {"apiGroup": RBAC, "kind": "Group", "name": "system:nodes"}
    subjects = [{"apiGroup": RBAC, "kind": "User", "name": "system:kube-proxy"}, nodes]
    reading = ["get", "list", "watch"]
    cluster = {"name": "pybernetes:node-network"}
    dns = {"name": "pybernetes:dns", "namespace": "kube-system"}
    network_rules = [
        {"apiGroups": [""], "resources": ["pods", "namespaces", "nodes"], "verbs": reading},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": reading},
    ]
    dns_rules = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kube-dns"], "verbs": reading}]
    proxier = {"name": "pybernetes:node-proxier"}
    return [
        (CLUSTER_ROLES, _rbac("ClusterRole", cluster, rules=network_rules)),
        (ROLES, _rbac("Role", dns, rules=dns_rules)),
        (CLUSTER_ROLE_BINDINGS, _binding("ClusterRole", cluster, cluster["name"], subjects)),
        (CLUSTER_ROLE_BINDINGS, _binding("ClusterRole", proxier, "system:node-proxier", [nodes])),
        (ROLE_BINDINGS, _binding("Role", dns, dns["name"], subjects)),
    ]


def _rbac(kind: str, metadata: Object, **fields: Any) -> Object:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, **fields}


def _binding(kind: str, metadata: Object, role: str, subjects: list[Object]) -> Object:
    reference = {"apiGroup": RBAC, "kind": kind, "name": role}
    return _rbac(f"{kind}Binding", metadata, roleRef=reference, subjects=subjects)


def internal_address(node: Object) -> str:
    addresses = (node.get("status") or {}).get("addresses") or []
    return next((str(a["address"]) for a in addresses if a.get("type") == "InternalIP"), "")


class Addons:
    """Applies the add-ons once, then keeps the DNS Service's endpoints at the Ready nodes."""

    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        clock: Clock,
        settings: Settings,
        server: str,
        authority: bytes,
    ) -> None:
        """``server`` is where other machines reach the API server, whose certificate ``authority`` signed."""
        self._server, self._authority = server, authority
        self._client, self._clock, self._settings = client, clock, settings
        self._nodes = factory.informer(NODES)
        self._changed = asyncio.Event()
        self._nodes.add_handler(lambda kind, old, new: self._changed.set())

    async def run(self) -> None:
        first = node_network_rights() if self._settings.nodes else []
        await self._apply_all([*first, *controller_rights(), *self._for_joining()])
        await self._nodes.wait_synced()
        while not (self._settings.nodes or any(AGENT_LABEL in labels_of(n) for n in self._nodes.list())):
            self._changed.clear()
            await self._changed.wait()
        await self._apply_all([*node_network_rights(), (SERVICES, dns_service(self._settings))])
        applied: dict[str, str] | None = None
        while True:
            self._changed.clear()
            addresses = self._dns_addresses()
            if addresses != applied:
                await self._apply(ENDPOINT_SLICES, dns_endpoints(addresses))
                applied = addresses
            await self._changed.wait()

    def _for_joining(self) -> list[tuple[GVR, Object]]:
        role, binding = tokens.config_rights()
        return [
            (CONFIG_MAPS, tokens.cluster_info(self._server, self._authority)),
            (CONFIG_MAPS, tokens.node_config(self._settings, dns_address(self._settings))),
            (ROLES, role),
            (ROLE_BINDINGS, binding),
        ]

    def _dns_addresses(self) -> dict[str, str]:
        """By name, of Ready nodes that run our agent; simulated ones serve no DNS."""
        ready = [n for n in self._nodes.list() if is_condition_true(n, "Ready")]
        own = [n for n in ready if name_of(n) in self._settings.node_names or AGENT_LABEL in labels_of(n)]
        found = {name_of(n): internal_address(n) for n in own}
        return {name: address for name, address in found.items() if address}

    async def _apply_all(self, objects: list[tuple[GVR, Object]]) -> None:
        """At once: what they allow is waited for, and the store commits together what comes together."""
        async with asyncio.TaskGroup() as group:
            for gvr, obj in objects:
                group.create_task(self._apply(gvr, obj))

    async def _apply(self, gvr: GVR, obj: Object) -> None:
        backoff = Backoff(0.2, 30.0)
        while True:
            try:
                await self._client.apply(gvr, obj, field_manager=FIELD_MANAGER, force=True)
                return
            except (StatusError, TransportError, TimeoutError) as failure:
                log.warning("add-on not applied", kind=obj["kind"], name=name_of(obj), error=str(failure))
                await self._clock.sleep(backoff.next())
