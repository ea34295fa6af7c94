"""What a cluster holds before anybody writes: namespaces, priority classes, flow control, API services, and the
``kubernetes`` Service with its endpoints, which name the API servers that are alive.

The tables (``data/bootstrap.json``) are the facts of a fresh v1.36 server. RBAC's own set is in ``authz.bootstrap``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, Protocol

import orjson

from ..api.errors import StatusError
from ..api.meta import Object
from ..api.resources import (
    API_SERVICES,
    ENDPOINT_SLICES,
    ENDPOINTS,
    GVR,
    NAMESPACES,
    PRIORITY_CLASSES,
    SERVICE_CIDRS,
    SERVICES,
)
from ..api.times import to_time
from ..concurrency import Clock
from ..hooks.admission import Requester
from ..hooks.reading import ObjectReader
from ..storage.contract import Store

FLOW_SCHEMAS = GVR("flowcontrol.apiserver.k8s.io", "v1", "flowschemas")
PRIORITY_LEVELS = GVR("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations")
_AUTOUPDATE = {"apf.kubernetes.io/autoupdate-spec": "true"}
_AUTOMANAGED = {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")
LEASES = "/registry/masterleases/"
LEASE_SECONDS = 15.0
RENEW_SECONDS = 10.0


class Settings(Protocol):
    """The part of the server's configuration that shows here."""

    service_cluster_ip_ranges: Sequence[str]
    advertise_address: str
    secure_port: int
    service_node_port: int
    endpoints: bool


def _table() -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = orjson.loads(
        resources.files(__package__).joinpath("data/bootstrap.json").read_bytes()
    )
    return table


def bootstrap_objects(now: str) -> Iterator[tuple[GVR, Object]]:
    """Every object that must exist, in the order of their making; ``now`` dates conditions."""
    for name in SYSTEM_NAMESPACES:
        yield NAMESPACES, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
    table = _table()
    for row in table["priorityClasses"]:
        yield PRIORITY_CLASSES, {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", **row}
    yield from flow_control_objects(table)
    for group, version, minimum, priority in table["apiServices"]:
        yield API_SERVICES, api_service(group, version, minimum, priority, now)


def flow_control_objects(table: dict[str, list[Any]] | None = None) -> Iterator[tuple[GVR, Object]]:
    """Priority levels, then flow schemas."""
    table = table or _table()
    for gvr, kind, rows in (
        (PRIORITY_LEVELS, "PriorityLevelConfiguration", table["priorityLevelConfigurations"]),
        (FLOW_SCHEMAS, "FlowSchema", table["flowSchemas"]),
    ):
        for row in rows:
            metadata = {"name": row["name"], "annotations": dict(_AUTOUPDATE)}
            yield gvr, {"kind": kind, "apiVersion": gvr.api_version, "metadata": metadata, "spec": row["spec"]}


def api_service(group: str, version: str, minimum: int, priority: int, now: str) -> Object:
    """The APIService of a group version that this server serves itself."""
    spec: dict[str, Any] = {"version": version, "groupPriorityMinimum": minimum, "versionPriority": priority}
    if group:
        spec["group"] = group
    condition = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": now,
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    return {
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": f"{version}.{group}", "labels": dict(_AUTOMANAGED)},
        "spec": spec,
        "status": {"conditions": [condition]},
    }


def usable_address(address: str) -> bool:
    """Whether endpoints may name it: loopback and wildcard addresses reach nobody."""
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_unspecified or parsed.is_loopback)


class Bootstrap:
    """Makes what is missing, and keeps the ``kubernetes`` Service true."""

    def __init__(
        self, request: Requester, objects: ObjectReader, store: Store, clock: Clock, settings: Settings
    ) -> None:
        self._request = request
        self._objects = objects
        self._store = store
        self._clock = clock
        self._settings = settings

    async def ensure(self) -> None:
        """Once, at the start."""
        for gvr, obj in bootstrap_objects(to_time(self._clock.now())):
            await self._create(gvr, obj)
        await self._service_cidr()
        await self._service()
        await self.renew()

    async def _create(self, gvr: GVR, obj: Object, namespace: str = "") -> bool:
        """Whether it had to be made. Its status, where it has one, is written too."""
        name = obj["metadata"]["name"]
        if self._objects.get(gvr, namespace, name) is not None:
            return False
        path = f"{gvr.path}/namespaces/{namespace}/{gvr.resource}" if namespace else f"{gvr.path}/{gvr.resource}"
        try:
            made = await self._request("POST", path, obj)
        except StatusError as failure:
            if failure.reason != "AlreadyExists":
                raise
            return False
        if "status" in obj and gvr != NAMESPACES:
            await self._request("PUT", f"{path}/{name}/status", {**made, "status": obj["status"]})
        return True

    # -- the kubernetes Service -------------------------------------------------------------------------------------

    def _networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        return [ipaddress.ip_network(r.strip(), strict=False) for r in self._settings.service_cluster_ip_ranges]

    async def _service_cidr(self) -> None:
        condition = {
            "type": "Ready",
            "status": "True",
            "lastTransitionTime": to_time(self._clock.now()),
            "reason": "",
            "message": "Kubernetes Service CIDR is ready",
        }
        await self._create(
            SERVICE_CIDRS,
            {
                "kind": "ServiceCIDR",
                "apiVersion": "networking.k8s.io/v1",
                "metadata": {"name": "kubernetes"},
                "spec": {"cidrs": [str(n) for n in self._networks()]},
                "status": {"conditions": [condition]},
            },
        )

    async def _service(self) -> None:
        first, node_port = self._networks()[0], self._settings.service_node_port
        port: Object = {"name": "https", "protocol": "TCP", "port": 443, "targetPort": self._settings.secure_port}
        await self._create(
            SERVICES,
            {
                "kind": "Service",
                "apiVersion": "v1",
                "metadata": {
                    "name": "kubernetes",
                    "namespace": "default",
                    "labels": {"component": "apiserver", "provider": "kubernetes"},
                },
                "spec": {
                    "type": "NodePort" if node_port else "ClusterIP",
                    "clusterIP": str(first[1]),
                    "ipFamilies": ["IPv6" if first.version == 6 else "IPv4"],
                    "ipFamilyPolicy": "SingleStack",
                    "sessionAffinity": "None",
                    "ports": [{**port, "nodePort": node_port} if node_port else port],
                },
            },
            "default",
        )

    async def renew(self) -> None:
        """Says that this server is alive, and writes the endpoints of all that are."""
        own = self._settings.advertise_address if self._settings.endpoints else ""
        if not own or not usable_address(own):
            return
        addresses = [own]
        if not self._store.single_writer:
            await self._store.put(LEASES + own, b'{"kind":"Endpoints"}', ttl=LEASE_SECONDS)
            page = await self._store.list(LEASES)
            addresses = sorted({own, *(kv.key.removeprefix(LEASES) for kv in page.items)})
        await self._write_endpoints(addresses)

    async def _write_endpoints(self, addresses: list[str]) -> None:
        port = {"name": "https", "port": self._settings.secure_port, "protocol": "TCP"}
        metadata = {"name": "kubernetes", "namespace": "default"}
        await self._write(
            ENDPOINTS,
            {
                "kind": "Endpoints",
                "apiVersion": "v1",
                "metadata": {**metadata, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
                "subsets": [{"addresses": [{"ip": a} for a in addresses], "ports": [port]}],
            },
            "subsets",
        )
        family = "IPv6" if ":" in addresses[0] else "IPv4"
        await self._write(
            ENDPOINT_SLICES,
            {
                "kind": "EndpointSlice",
                "apiVersion": "discovery.k8s.io/v1",
                "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kubernetes"}},
                "addressType": family,
                "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
                "ports": [port],
            },
            "endpoints",
            "ports",
        )

    async def _write(self, gvr: GVR, wanted: Object, *fields: str) -> None:
        if await self._create(gvr, wanted, "default"):
            return
        existing = self._objects.get(gvr, "default", "kubernetes")
        if existing is None or all(existing.get(f) == wanted[f] for f in fields):
            return
        changed = {**existing, **{f: wanted[f] for f in fields}}
        await self._request("PUT", f"{gvr.path}/namespaces/default/{gvr.resource}/kubernetes", changed)

    async def run(self) -> None:
        """Keeps this server among the endpoints while it lives, until cancelled."""
        while True:
            await self._clock.sleep(RENEW_SECONDS)
            await self.renew()
