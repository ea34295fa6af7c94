"""The Endpoints object of a Service. Semantics of upstream's ``pkg/controller/endpoint``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from ...api.meta import Object, annotations_of, labels_of, metadata, name_of, namespace_of, uid_of
from ...api.resources import ENDPOINTS
from ..commands import Command, Create, Delete, Update
from ..pods import is_ready, node_of
from ..values import compact, with_metadata
from .selection import HEADLESS_LABEL, addresses_of, find_port, has_cluster_ip, is_endpoint, selector_of, wants_hostname

MANAGED_BY, MANAGER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MAX_CAPACITY = 1000
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"

Subset = dict[str, Any]


def decide(service: Object | None, pods: Iterable[Object], existing: Object | None) -> list[Command]:
    """``pods`` are those that the Service selects."""
    if service is None:
        return [Delete(ENDPOINTS, existing)] if existing is not None else []
    if selector_of(service) is None:
        return []
    wanted = subsets_of(service, pods)
    truncated = _truncate(wanted)
    labels = {**labels_of(service), MANAGED_BY: MANAGER}
    labels.pop(HEADLESS_LABEL, None)
    if not has_cluster_ip(service):
        labels[HEADLESS_LABEL] = ""
    annotations = {k: v for k, v in annotations_of(existing or {}).items() if k != OVER_CAPACITY}
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    if existing is None:
        meta = {"name": name_of(service), "namespace": namespace_of(service), "labels": labels}
        if annotations:
            meta["annotations"] = annotations
        return [Create(ENDPOINTS, {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": wanted})]
    same = labels_of(existing) == labels and annotations_of(existing) == annotations
    if same and _canonical(existing.get("subsets") or []) == wanted:
        return []
    changed = with_metadata(existing, labels=labels, annotations=annotations)
    return [Update(ENDPOINTS, {**changed, "subsets": wanted})]


def subsets_of(service: Object, pods: Iterable[Object]) -> list[Subset]:
    """One subset for each set of ports, with the ready and the other addresses."""
    spec = service.get("spec") or {}
    publish_all = bool(spec.get("publishNotReadyAddresses"))
    ports = spec.get("ports") or []
    loose: list[Subset] = []
    for pod in pods:
        address = _address(pod, service) if is_endpoint(pod, include_terminating=publish_all) else None
        if address is None:
            continue
        field = "addresses" if publish_all or is_ready(pod) else "notReadyAddresses"
        found = [_port(p, n) for p in ports if (n := find_port(pod, p)) is not None]
        # A headless Service without ports still has addresses.
        if found or (not ports and spec.get("clusterIP") == "None"):
            loose.append({field: [address], "ports": found})
    return repack(loose)


def _address(pod: Object, service: Object) -> dict[str, Any] | None:
    family = _family(service)
    ip = next((a for a in addresses_of(pod) if family is None or ip_address(a).version == family), None)
    if ip is None:
        return None
    target = {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}
    address: dict[str, Any] = {"ip": ip, "nodeName": node_of(pod) or None, "targetRef": target}
    if wants_hostname(pod, service):
        address["hostname"] = pod["spec"]["hostname"]
    return compact(address)


def _family(service: Object) -> int | None:
    spec = service.get("spec") or {}
    if has_cluster_ip(service):
        return ip_address(spec["clusterIP"]).version
    families = spec.get("ipFamilies") or []
    return None if not families else 6 if families[0] == "IPv6" else 4


def _port(port: dict[str, Any], number: int) -> dict[str, Any]:
    made = {
        "name": port.get("name"),
        "port": number,
        "protocol": port.get("protocol") or "TCP",
        "appProtocol": port.get("appProtocol"),
    }
    return compact(made)


def repack(subsets: Iterable[Subset]) -> list[Subset]:
    """The canonical form: every address once for each set of ports; all sorted."""
    by_address: dict[tuple[str, str, bool], tuple[dict[str, Any], dict[tuple[Any, ...], dict[str, Any]]]] = {}
    for subset in subsets:
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or []:
                key = (address["ip"], (address.get("targetRef") or {}).get("uid") or "", ready)
                _, ports = by_address.setdefault(key, (address, {}))
                for port in subset.get("ports") or []:
                    ports[_port_key(port)] = port
    packed: dict[tuple[Any, ...], Subset] = {}
    for (_, _, ready), (address, ports) in sorted(by_address.items()):
        both = tuple(sorted(ports))
        subset = packed.setdefault(both, {"addresses": [], "notReadyAddresses": [], "ports": [ports[k] for k in both]})
        subset["addresses" if ready else "notReadyAddresses"].append(address)
    return [compact(packed[key]) for key in sorted(packed)]


def _canonical(subsets: Iterable[Subset]) -> list[Subset]:
    def clean(address: dict[str, Any]) -> dict[str, Any]:
        if "targetRef" not in address:
            return address
        target = {k: v for k, v in address["targetRef"].items() if k != "resourceVersion"}
        return {**address, "targetRef": target}

    cleaned = [
        {**s, **{f: [clean(a) for a in s[f]] for f in ("addresses", "notReadyAddresses") if s.get(f)}} for s in subsets
    ]
    return repack(cleaned)


def _port_key(port: dict[str, Any]) -> tuple[Any, ...]:
    return port.get("name") or "", port.get("port") or 0, port.get("protocol") or "TCP", port.get("appProtocol") or ""


def _truncate(subsets: list[Subset]) -> bool:
    """Cuts to a thousand addresses, the ready ones kept first, each subset giving its share. Changes ``subsets``."""
    ready = sum(len(s.get("addresses") or []) for s in subsets)
    others = sum(len(s.get("notReadyAddresses") or []) for s in subsets)
    if ready + others <= MAX_CAPACITY:
        return False
    field, total, room = "notReadyAddresses", others, MAX_CAPACITY - ready
    if ready > MAX_CAPACITY:
        field, total, room = "addresses", ready, MAX_CAPACITY
    left = room
    for subset in subsets:
        had = subset.get(field) or []
        share = min(left, math.ceil(len(had) / total * room))
        subset[field] = had[:share]
        if field == "addresses":
            subset.pop("notReadyAddresses", None)
        left -= len(subset[field])
        if not subset[field]:
            del subset[field]
    return True


def is_leader_record(endpoints: Object) -> bool:
    """An Endpoints object of old that only served for leader election."""
    return LEADER_ANNOTATION in (metadata(endpoints).get("annotations") or {})
