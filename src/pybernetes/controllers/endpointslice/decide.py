"""The EndpointSlices of a Service. Semantics of upstream's ``k8s.io/endpointslice``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ...api.meta import Object, controller_reference, is_deleting, labels_of, name_of, namespace_of, uid_of
from ...api.meta import owner_references_of as owners_of
from ...api.resources import ENDPOINT_SLICES
from ..commands import Command, Create, Delete, Update
from ..endpoints.selection import (
    HEADLESS_LABEL,
    addresses_of,
    find_port,
    has_cluster_ip,
    is_endpoint,
    selector_of,
    wants_hostname,
)
from ..pods import is_ready, node_of
from ..values import compact
from .packing import Changes, Endpoint, Identity, blank_slice, identity, pack, ports_key, recycle

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
_OWN_LABELS = (MANAGED_BY, SERVICE_NAME, HEADLESS_LABEL)
_CLOSE = ("PreferClose", "PreferSameZone", "PreferSameNode")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``slices`` are ours for the Service; ``pods`` those that it selects; ``zones`` the zone of every node by name."""

    service: Object
    pods: Sequence[Object]
    slices: Sequence[Object]
    zones: Mapping[str, str]
    maximum: int = 100


@dataclass(slots=True)
class Plan:
    commands: list[Command]
    unknown_nodes: set[str]
    """Nodes that pods are on and the copy does not have (yet): their pods were left out."""


def decide(snapshot: Snapshot) -> Plan:
    service = snapshot.service
    if selector_of(service) is None:
        return Plan([], set())
    types = address_types(service)
    changes = Changes(delete=[s for s in snapshot.slices if s.get("addressType") not in types])
    unknown: set[str] = set()
    for address_type in types:
        own = [s for s in snapshot.slices if s.get("addressType") == address_type]
        changes.extend(_of_type(snapshot, address_type, own, unknown))
    commands: list[Command] = []
    if not is_deleting(service):
        commands += [Create(ENDPOINT_SLICES, s) for s in changes.create]
    commands += [Update(ENDPOINT_SLICES, s) for s in changes.update]
    commands += [Delete(ENDPOINT_SLICES, s) for s in changes.delete]
    return Plan(commands, unknown)


def address_types(service: Object) -> list[str]:
    spec = service.get("spec") or {}
    families = spec.get("ipFamilies")
    if families:
        return [f for f in ("IPv4", "IPv6") if f in families]
    if has_cluster_ip(service):
        return [f"IPv{ip_address(spec['clusterIP']).version}"]
    return ["IPv4", "IPv6"]


def labels_for(service: Object) -> dict[str, str]:
    labels = {k: v for k, v in labels_of(service).items() if k not in _OWN_LABELS}
    if not has_cluster_ip(service):
        labels[HEADLESS_LABEL] = ""
    return {**labels, SERVICE_NAME: name_of(service), MANAGED_BY: MANAGER}


def _owned(slice_: Object, service: Object) -> bool:
    return any(r.get("uid") == uid_of(service) and r.get("kind") == "Service" for r in owners_of(slice_))


def _of_type(snapshot: Snapshot, address_type: str, slices: list[Object], unknown: set[str]) -> Changes:
    service, labels = snapshot.service, labels_for(snapshot.service)
    reference = controller_reference(service, "v1", "Service")
    own = [s for s in slices if _owned(s, service)]
    changes = Changes(delete=[s for s in slices if not _owned(s, service)])
    existing: dict[tuple[Any, ...], list[Object]] = {}
    for slice_ in own:
        existing.setdefault(ports_key(slice_.get("ports")), []).append(slice_)
    groups = _desired(snapshot, address_type, unknown)
    for key, (ports, desired) in groups.items():
        blank = blank_slice(service, reference, ports, address_type, labels)
        stale = [name_of(s) for s in existing.get(key, ()) if labels_of(s) != labels]
        changes.extend(pack(existing.get(key, ()), desired, blank, snapshot.maximum, stale))
    for key, found in existing.items():
        if key not in groups:
            changes.delete += found
    if len(changes.delete) == len(slices) and not changes.create:
        # A Service without endpoints has one empty slice, so that consumers know it is known.
        placeholder = blank_slice(service, reference, [], address_type, labels)
        if len(slices) == 1 and _is_placeholder(slices[0], labels) and _owned(slices[0], service):
            changes.delete = []
        else:
            changes.create.append(placeholder)
    changes = _with_hints(service, slices, changes)
    return recycle(changes)


def _is_placeholder(slice_: Object, labels: dict[str, str]) -> bool:
    return not slice_.get("endpoints") and not slice_.get("ports") and labels_of(slice_) == labels


Group = tuple[list[dict[str, Any]], dict[Identity, Endpoint]]


def _desired(snapshot: Snapshot, address_type: str, unknown: set[str]) -> dict[tuple[Any, ...], Group]:
    """The endpoints by the ports that they have: pods may resolve one named port differently."""
    service, spec = snapshot.service, snapshot.service["spec"]
    groups: dict[tuple[Any, ...], Group] = {}
    for pod in snapshot.pods:
        if not is_endpoint(pod, include_terminating=True):
            continue
        ports = _ports(spec, pod)
        _, desired = groups.setdefault(ports_key(ports), (ports, {}))
        if node_of(pod) not in snapshot.zones and not spec.get("publishNotReadyAddresses"):
            unknown.add(node_of(pod))
            continue
        endpoint = _endpoint(pod, service, address_type, snapshot.zones.get(node_of(pod)))
        if endpoint["addresses"]:
            desired[identity(endpoint)] = endpoint
    return groups


def _ports(spec: Object, pod: Object) -> list[dict[str, Any]]:
    found = []
    for port in spec.get("ports") or []:
        number = find_port(pod, port)
        if number is not None:
            made = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol") or "TCP"}
            if port.get("appProtocol"):
                made["appProtocol"] = port["appProtocol"]
            found.append(made)
    return found


def _endpoint(pod: Object, service: Object, address_type: str, zone: str | None) -> Endpoint:
    serving, terminating = is_ready(pod), is_deleting(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    version = 6 if address_type == "IPv6" else 4
    endpoint = {
        "addresses": [a for a in addresses_of(pod) if ip_address(a).version == version],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod",
            "namespace": namespace_of(pod),
            "name": name_of(pod),
            "uid": uid_of(pod),
        },
        "nodeName": node_of(pod),
        "zone": zone,
    }
    if wants_hostname(pod, service):
        endpoint["hostname"] = pod["spec"]["hostname"]
    return compact(endpoint, keep=("addresses",))


# -- hints of trafficDistribution --------------------------------------------------------------------------------------


def _with_hints(service: Object, slices: Iterable[Object], changes: Changes) -> Changes:
    wish = service["spec"].get("trafficDistribution")
    touched = {name_of(s) for s in (*changes.update, *changes.delete)}
    changes.create = [_hinted(s, wish) for s in changes.create]
    changes.update = [_hinted(s, wish) for s in changes.update]
    for slice_ in slices:
        if name_of(slice_) not in touched:
            hinted = _hinted(slice_, wish)
            if hinted is not slice_:
                changes.update.append(hinted)
    return changes


def _hinted(slice_: Object, wish: str | None) -> Object:
    before = slice_.get("endpoints") or []
    after = [_hint(e, wish) for e in before]
    return slice_ if after == before else {**slice_, "endpoints": after}


def _hint(endpoint: Endpoint, wish: str | None) -> Endpoint:
    bare = {k: v for k, v in endpoint.items() if k != "hints"}
    if wish not in _CLOSE:
        return bare
    if not (endpoint.get("conditions") or {}).get("ready"):
        return endpoint
    hints: dict[str, Any] = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wish == "PreferSameNode" and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return {**bare, "hints": hints} if hints else bare
