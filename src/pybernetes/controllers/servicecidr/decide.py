"""The condition and the finalizer of a ServiceCIDR. Pure. Semantics of upstream's ``servicecidrs_controller``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from ...api.meta import Object, is_deleting, labels_of, metadata, name_of
from ...api.times import parse_time, to_time
from ..conditions import find, without
from ..protection.decide import with_finalizer, without_finalizer

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED_BY, MANAGER = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
GRACE = 10.0
"""Allocators must see the deletion before the range may go."""
READY_TEXT = "Kubernetes Service CIDR is ready"
HELD_TEXT = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


def cidrs_of(obj: Object) -> list[str]:
    return (obj.get("spec") or {}).get("cidrs") or []


def _covers(obj: Object, network: Any) -> bool:
    for text in cidrs_of(obj):
        own = ip_network(text)
        if own.version == network.version and network.subnet_of(own):
            return True
    return False


def is_held(obj: Object, others: Sequence[Object], addresses: Iterable[Object]) -> bool:
    """Whether an allocated address lies in this range and in no other one that stays."""
    staying = [o for o in others if name_of(o) != name_of(obj) and not is_deleting(o)]
    networks = [ip_network(c) for c in cidrs_of(obj)]
    if all(any(_covers(o, n) for o in staying) for n in networks):
        return False
    for address in addresses:
        if labels_of(address).get(MANAGED_BY) != MANAGER:
            continue
        ip = ip_address(name_of(address))
        if any(ip in n for n in networks) and not any(_covers(o, ip_network(ip)) for o in staying):
            return True
    return False


def with_condition(obj: Object, *, ready: bool, now: float) -> Object | None:
    """None where it says so already."""
    status = obj.get("status") or {}
    conditions = status.get("conditions") or []
    made = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "" if ready else "Terminating",
        "message": READY_TEXT if ready else HELD_TEXT,
        "lastTransitionTime": to_time(now),
    }
    old = find(conditions, "Ready")
    if old is not None and all(old.get(k) == made[k] for k in ("status", "reason", "message")):
        return None
    return {**obj, "status": {**status, "conditions": [*without(conditions, "Ready"), made]}}


def grace_left(obj: Object, now: float) -> float:
    return parse_time(metadata(obj)["deletionTimestamp"]) + GRACE - now


__all__ = ["FINALIZER", "cidrs_of", "grace_left", "is_held", "with_condition", "with_finalizer", "without_finalizer"]
