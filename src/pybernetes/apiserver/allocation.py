"""Cluster IPs of Services: given out on create and update, taken back on deletion. Node ports are in ``nodeports``.

Every cluster IP in use has an ``IPAddress`` object, whose name makes it unique in the cluster, also among several API
servers. Addresses are taken at random from the upper part of a range; the lower part is left to people who ask for one.
Specified by "Service ClusterIP allocation", KEP-1880 and KEP-3070.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..api.errors import FieldError, StatusError, internal_error, invalid, invalid_value
from ..api.ips import parse_ip_sloppy
from ..api.meta import Object
from ..api.resources import GVR, IP_ADDRESSES, SERVICE_CIDRS
from ..api.strategy.services import (
    keep_allocated_values,
    needs_cluster_ip,
    normalize_cluster_ips,
)
from ..concurrency import logger
from ..hooks.admission import AdmissionAttributes
from .metrics import Counters, Labels
from .nodeports import NodePorts, ports_of
from .registry import Resource

log = logger("apiserver.allocation")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
V4, V6 = "IPv4", "IPv6"
NONE = "None"
FAMILY_LABEL, MANAGED_LABEL = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
ATTEMPTS = 512
"""Random addresses tried before the range is searched from its beginning."""


class Objects(Protocol):
    """What the allocator needs of the server."""

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None: ...

    def list(self, gvr: GVR, namespace: str = "") -> Sequence[Object]: ...


Create = Callable[[GVR, Object], Awaitable[None]]
Delete = Callable[[GVR, str], Awaitable[None]]


def family_of(address: str) -> str:
    return V6 if ":" in address else V4


def static_band(size: int) -> int:
    """How many of a range's first addresses are left for static use: between 16 and 256, a sixteenth of the range."""
    if size < 16:
        return 0
    return min(max(16, size // 16), 256)


class ServiceAllocator:
    """The commit hook of Services."""

    def __init__(
        self,
        objects: Objects,
        create: Create,
        delete: Delete,
        rng: random.Random,
        ranges: Sequence[str],
        ports: NodePorts,
    ) -> None:
        self._objects, self._create, self._delete = objects, create, delete
        self._rng = rng
        self._ranges = [ipaddress.ip_network(r.strip(), strict=False) for r in ranges]
        self.ports = ports
        prefix = "kube_apiserver_clusterip_allocator_"
        self._given = Counters(f"{prefix}allocation_total", "Cluster addresses given out.")
        self._refused = Counters(f"{prefix}allocation_errors_total", "Cluster addresses refused.")

    def lines(self) -> Iterator[str]:
        """Upstream's metrics."""
        yield from self._given.lines()
        yield from self._refused.lines()

    @staticmethod
    def _labels(networks: Iterable[Network], address: str, scope: str) -> Labels:
        found = next((n for n in networks if not address or ipaddress.ip_address(address) in n), None)
        return (("cidr", str(found) if found is not None else ""), ("scope", scope))

    # -- the hook ---------------------------------------------------------------------------------------------------

    async def before(
        self, resource: Resource, new: Object, old: Object | None, attributes: AdmissionAttributes
    ) -> None:
        """Fills addresses and ports in. Raises StatusError."""
        spec = new.setdefault("spec", {})
        if old is not None:
            keep_allocated_values(new, old)
        normalize_cluster_ips(new, old)
        if not _well_formed(spec):
            return  # validation, which comes next, has the words for it
        self._families(new, old)
        await self._addresses(new, old, attributes)
        await self.ports.allocate(new, old, attributes)

    async def after(self, resource: Resource, new: Object, old: Object | None) -> None:
        """The write is done: what it let go of is free again."""
        if old is not None:
            kept = set(addresses_of(new))
            await self._let_go([a for a in addresses_of(old) if a not in kept])
            await self.ports.release(ports_of(old) - ports_of(new), new)

    async def deleted(self, resource: Resource, obj: Object) -> None:
        await self._let_go(addresses_of(obj))
        await self.ports.release(ports_of(obj), obj)

    async def _let_go(self, addresses: Iterable[str]) -> None:
        """The Service is written already: what fails here is left to the repairing."""
        try:
            await self._release(addresses)
        except StatusError as failure:
            log.warning("cluster addresses not released", error=failure.message)

    # -- families ---------------------------------------------------------------------------------------------------

    def _configured(self) -> list[str]:
        """Families of the cluster, the default one first."""
        return list(dict.fromkeys(V6 if n.version == 6 else V4 for n in self._ranges))

    def _families(self, service: Object, old: Object | None) -> None:
        spec = service["spec"]
        if not needs_cluster_ip(spec):
            return
        before = (old or {}).get("spec") or {}
        if old is not None and _prefers_dual_as_before(spec, before):
            return
        bare = spec.get("clusterIP") == NONE and not spec.get("selector")
        if not spec.get("ipFamilyPolicy"):
            spec["ipFamilyPolicy"] = before.get("ipFamilyPolicy") or ("RequireDualStack" if bare else "SingleStack")
        if old is not None:
            self._shrink(service, before)
        self._infer_families(service)
        policy, families = spec["ipFamilyPolicy"], spec.setdefault("ipFamilies", [])
        configured = self._configured()
        if bare:
            if not families:
                families.append(configured[0])
            if len(families) == 1 and policy != "SingleStack":
                families.append(V6 if families[0] == V4 else V4)
            return
        self._check_families(service, configured)
        if not families:
            families.append(configured[0])
        if policy != "SingleStack" and len(families) == 1 and len(configured) == 2:
            families.append(V6 if families[0] == V4 else V4)

    def _shrink(self, service: Object, before: dict[str, Any]) -> None:
        spec = service["spec"]
        addresses, families = spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
        old_addresses, old_families = before.get("clusterIPs") or [], before.get("ipFamilies") or []
        if spec["ipFamilyPolicy"] == "SingleStack":
            if addresses == old_addresses and len(addresses) > 1:
                spec["clusterIPs"] = addresses[:1]
            if families == old_families and len(families) > 1:
                spec["ipFamilies"] = families[:1]
            return
        errors = []
        for kept, was, what in ((addresses, old_addresses, "cluster IP"), (families, old_families, "IP family")):
            if len(was) == 2 and len(kept) == 1 and kept[0] == was[0]:
                text = f"must be 'SingleStack' to release the secondary {what}"
                errors.append(invalid_value("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], text))
        _refuse(service, errors)

    def _infer_families(self, service: Object) -> None:
        spec = service["spec"]
        policy, addresses = spec["ipFamilyPolicy"], spec.get("clusterIPs") or []
        families, errors = spec.get("ipFamilies") or [], []
        if policy == "SingleStack":
            both = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
            if len(addresses) == 2:
                errors.append(invalid_value("spec.ipFamilyPolicy", policy, both.format("cluster IPs")))
            if len(families) == 2:
                errors.append(invalid_value("spec.ipFamilyPolicy", policy, both.format("IP families")))
        configured = self._configured()
        for index, address in enumerate(addresses):
            if address == NONE:
                break
            if index < len(families):
                continue
            family = family_of(address)
            if family not in configured:
                text = f"{family} is not configured on this cluster"
                errors.append(invalid_value(f"spec.clusterIPs[{index}]", addresses, text))
            else:
                families.append(family)
        if families:
            spec["ipFamilies"] = families
        _refuse(service, errors)

    @staticmethod
    def _check_families(service: Object, configured: list[str]) -> None:
        spec, errors = service["spec"], []
        if spec["ipFamilyPolicy"] == "RequireDualStack" and len(configured) < 2:
            text = "this cluster is not configured for dual-stack services"
            errors.append(invalid_value("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], text))
        for index, family in enumerate(spec["ipFamilies"]):
            if family not in configured:
                errors.append(invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
        _refuse(service, errors)

    # -- addresses --------------------------------------------------------------------------------------------------

    async def _addresses(self, service: Object, old: Object | None, attributes: AdmissionAttributes) -> None:
        spec = service["spec"]
        if not needs_cluster_ip(spec) or (spec.get("clusterIPs") or [""])[0] == NONE:
            return
        if old is not None and not _needs_more(spec, old.get("spec") or {}):
            return
        have = set(addresses_of(old)) if old is not None else set()
        addresses = list(spec.get("clusterIPs") or [])
        for index, family in enumerate(spec.get("ipFamilies") or []):
            wanted = addresses[index] if index < len(addresses) else ""
            if wanted in have:
                continue
            given = await self._allocate(service, family, wanted, attributes)
            if index < len(addresses):
                addresses[index] = given
            else:
                addresses.append(given)
        if addresses:
            spec["clusterIPs"], spec["clusterIP"] = addresses, addresses[0]

    async def _allocate(self, service: Object, family: str, wanted: str, attributes: AdmissionAttributes) -> str:
        networks = self._networks(family)
        candidates: Iterable[str]
        if wanted:
            address = parse_ip_sloppy(wanted)
            if not any(address in n for n in networks):
                ranges = ",".join(map(str, networks))
                why = f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {ranges}"
                self._cannot(service, wanted, why)
            candidates = [str(address)]
        else:
            candidates = self._candidates(networks)
        for candidate in candidates:
            # Upstream's dry runs do not ask who has an address that is named.
            asked = not (wanted and attributes.dry_run)
            if asked and self._objects.get(IP_ADDRESSES, "", candidate) is not None:
                continue
            if attributes.dry_run:
                return candidate
            if await self._claim(candidate, service, attributes):
                self._given.add(self._labels(networks, candidate, "static" if wanted else "dynamic"))
                return candidate
        if wanted:
            if not attributes.dry_run:
                self._refused.add(self._labels(networks, str(parse_ip_sloppy(wanted)), "static"))
            self._cannot(service, wanted, "provided IP is already allocated")
        if not attributes.dry_run:
            for network in networks:
                self._refused.add(self._labels([network], "", "dynamic"))
        raise internal_error("failed to allocate a serviceIP: range is full")

    @staticmethod
    def _cannot(service: Object, address: str, why: str) -> None:
        text = f"failed to allocate IP {address}: {why}"
        _refuse(service, [invalid_value("spec.clusterIPs", service["spec"].get("clusterIPs") or [], text)])

    async def _claim(self, address: str, service: Object, attributes: AdmissionAttributes) -> bool:
        try:
            await self._create(IP_ADDRESSES, ip_address(address, service))
        except StatusError as failure:
            if failure.reason == "AlreadyExists":
                return False
            raise

        async def release() -> None:
            await self._release([address])

        attributes.rollbacks.append(release)
        return True

    async def _release(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            try:
                await self._delete(IP_ADDRESSES, address)
            except StatusError as failure:
                if failure.code != 404:
                    raise

    def _networks(self, family: str) -> list[Network]:
        version = 6 if family == V6 else 4
        return [n for n in self.networks() if n.version == version]

    def networks(self) -> list[Network]:
        """The ranges of the flags, and those of ServiceCIDR objects that are ready."""
        found = list(self._ranges)
        for cidr in self._objects.list(SERVICE_CIDRS):
            if cidr["metadata"].get("deletionTimestamp") is not None:
                continue
            conditions = (cidr.get("status") or {}).get("conditions") or []
            if any(c.get("type") == "Ready" and c.get("status") == "False" for c in conditions):
                continue
            found += [ipaddress.ip_network(c, strict=False) for c in (cidr.get("spec") or {}).get("cidrs") or []]
        return list(dict.fromkeys(found))

    def _candidates(self, networks: list[Network]) -> Iterator[str]:
        for network in networks:
            yield from self._within(network)

    def _within(self, network: Network) -> Iterator[str]:
        """Addresses of a range in the order in which they are tried; never the network's own nor IPv4's broadcast."""
        size = min(network.num_addresses, 1 << 62)
        first, last = 1, size - 1 - (1 if network.version == 4 else 0)
        band = static_band(size)
        start = min(first + band, last)
        for _ in range(min(ATTEMPTS, 4 * size)):
            yield str(network[self._rng.randint(start, last)])
        for offset in range(start, min(last, start + (1 << 20)) + 1):
            yield str(network[offset])
        for offset in range(first, start):
            yield str(network[offset])


def ip_address(address: str, service: Object) -> Object:
    """The object that says to whom an address belongs."""
    metadata = service["metadata"]
    parent = {"resource": "services", "namespace": metadata.get("namespace", ""), "name": metadata.get("name", "")}
    return {
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": address, "labels": {FAMILY_LABEL: family_of(address), MANAGED_LABEL: MANAGER}},
        "spec": {"parentRef": parent},
    }


def _needs_more(spec: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether an update takes addresses: the first ones, or that of a second family. Others may not change at all."""
    if before.get("type") == "ExternalName":
        return True
    return len(before.get("ipFamilies") or []) == 1 and len(spec.get("ipFamilies") or []) == 2


def addresses_of(service: Object) -> list[str]:
    """The cluster IPs that the service holds."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [a for a in addresses if a and a != NONE]


def _well_formed(spec: dict[str, Any]) -> bool:
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    families = spec.get("ipFamilies") or []
    if len(addresses) > 2 or len(families) > 2 or any(f not in (V4, V6) for f in families):
        return False
    if spec.get("ipFamilyPolicy") not in (None, "", "SingleStack", "PreferDualStack", "RequireDualStack"):
        return False
    if addresses and spec.get("clusterIP") and addresses[0] != spec["clusterIP"]:
        return False
    for index, address in enumerate(addresses):
        if address == NONE:
            if index:
                return False
        elif parse_ip_sloppy(address) is None or (index < len(families) and families[index] != family_of(address)):
            return False
    return True


def _prefers_dual_as_before(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """PreferDualStack, and nothing of addresses and families changed: the cluster's own changes do not reach it."""
    if new.get("ipFamilyPolicy") != "PreferDualStack" or old.get("ipFamilyPolicy") != "PreferDualStack":
        return False
    return (new.get("ipFamilies") or []) == (old.get("ipFamilies") or []) and (new.get("clusterIPs") or []) == (
        old.get("clusterIPs") or []
    )


def _refuse(service: Object, errors: list[FieldError]) -> None:
    if errors:
        raise invalid("", "Service", service["metadata"].get("name") or "", errors)
