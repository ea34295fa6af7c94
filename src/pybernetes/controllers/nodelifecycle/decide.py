"""Which nodes are alive, which taints they should have, and how fast whole zones may be emptied. Pure.

Semantics of upstream's ``pkg/controller/nodelifecycle``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ...api.meta import Object, get_condition, labels_of, metadata
from ...api.times import parse_time, to_time
from ..taints import (
    DISK_PRESSURE,
    MEMORY_PRESSURE,
    NETWORK_UNAVAILABLE,
    NO_EXECUTE,
    NO_SCHEDULE,
    NOT_READY,
    PID_PRESSURE,
    UNREACHABLE,
    UNSCHEDULABLE,
    Taint,
    ready_status,
    taints_of,
)

_CONDITION_TAINTS: Mapping[tuple[str, str], str] = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): MEMORY_PRESSURE,
    ("DiskPressure", "True"): DISK_PRESSURE,
    ("NetworkUnavailable", "True"): NETWORK_UNAVAILABLE,
    ("PIDPressure", "True"): PID_PRESSURE,
}
_OURS = frozenset({*_CONDITION_TAINTS.values(), UNSCHEDULABLE})
_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
EXCLUDED_LABEL = "node.kubernetes.io/exclude-disruption"
_LABEL_PAIRS = (("beta.kubernetes.io/os", "kubernetes.io/os"), ("beta.kubernetes.io/arch", "kubernetes.io/arch"))


# -- is it alive -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """What was last heard of a node, and when by our own clock: clocks of nodes need not agree with ours."""

    heard_at: float
    heartbeat: str | None
    renewed: str | None


def listen(before: Health | None, node: Object, lease: Object | None, now: float) -> Health:
    """Any change of the status' heartbeat or of the lease's renewal is a sign of life."""
    condition = get_condition(node, "Ready")
    heartbeat = None if condition is None else condition.get("lastHeartbeatTime") or ""
    renewed = ((lease or {}).get("spec") or {}).get("renewTime")
    if before is None:
        # A node that has never reported counts from its creation.
        heard = now
        if condition is None and metadata(node).get("creationTimestamp"):
            heard = parse_time(metadata(node)["creationTimestamp"])
        if renewed is not None:
            heard = now
        return Health(heard, heartbeat, renewed)
    if before.heartbeat == heartbeat and before.renewed == renewed:
        return before
    return Health(now, heartbeat, renewed)


def is_silent(health: Health, now: float, grace: float, startup_grace: float) -> bool:
    return now > health.heard_at + (startup_grace if health.heartbeat is None else grace)


def marked_unknown(node: Object, now: float) -> Object | None:
    """The node with its conditions Unknown; None where they are."""
    status = node.get("status") or {}
    conditions = [dict(c) for c in status.get("conditions") or []]
    by_type = {c.get("type"): c for c in conditions}
    changed = False
    for kind in _WATCHED:
        condition = by_type.get(kind)
        if condition is None:
            conditions.append(
                {
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": metadata(node).get("creationTimestamp"),
                    "lastTransitionTime": to_time(now),
                }
            )
            changed = True
        elif condition.get("status") != "Unknown":
            condition.update(
                status="Unknown",
                reason="NodeStatusUnknown",
                message="Kubelet stopped posting node status.",
                lastTransitionTime=to_time(now),
            )
            changed = True
    return {**node, "status": {**status, "conditions": conditions}} if changed else None


# -- taints and labels -------------------------------------------------------------------------------------------------


def with_condition_taints(node: Object) -> list[Taint] | None:
    """The taints that the node's conditions and cordon call for, others kept; None where it has them."""
    conditions = (node.get("status") or {}).get("conditions") or []
    wanted = [key for c in conditions if (key := _CONDITION_TAINTS.get((c.get("type") or "", c.get("status") or "")))]
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.append(UNSCHEDULABLE)
    had = [t for t in taints_of(node) if t.get("effect") == NO_SCHEDULE and t.get("key") in _OURS]
    if {t["key"] for t in had} == set(wanted):
        return None
    kept = [t for t in taints_of(node) if t not in had or t["key"] in wanted]
    present = {t["key"] for t in had}
    return kept + [{"key": k, "effect": NO_SCHEDULE} for k in wanted if k not in present]


def _without_execute(node: Object) -> list[Taint]:
    keys = (NOT_READY, UNREACHABLE)
    return [t for t in taints_of(node) if not (t.get("effect") == NO_EXECUTE and t.get("key") in keys)]


def execute_taint(node: Object) -> str | None:
    """The key of the NoExecute taint that the Ready condition calls for."""
    return {"False": NOT_READY, "Unknown": UNREACHABLE}.get(ready_status(node) or "")


def with_execute_taint(node: Object, now: float) -> list[Taint] | None:
    """Exactly the one that is called for (or none of them); None where that is so already."""
    wanted, kept = execute_taint(node), _without_execute(node)
    had = [t["key"] for t in taints_of(node) if t not in kept]
    if had == ([wanted] if wanted else []):
        return None
    return kept + ([{"key": wanted, "effect": NO_EXECUTE, "timeAdded": to_time(now)}] if wanted else [])


def without_execute_taint(node: Object) -> list[Taint] | None:
    kept = _without_execute(node)
    return None if len(kept) == len(taints_of(node)) else kept


def has_execute_taint(node: Object) -> bool:
    return len(_without_execute(node)) != len(taints_of(node))


def missing_labels(node: Object) -> dict[str, str]:
    """The old names of the labels for operating system and architecture follow the new ones."""
    labels = labels_of(node)
    found = {}
    for old, new in _LABEL_PAIRS:
        if new in labels and labels.get(old) != labels[new]:
            found[old] = labels[new]
    return found


def pods_to_mark(pods: Iterable[Object]) -> list[Object]:
    """The pods of a node that stopped reporting: nobody serves from there."""
    found = []
    for pod in pods:
        condition = get_condition(pod, "Ready")
        if condition is not None and condition.get("status") == "True":
            found.append(pod)
    return found


def not_ready_patch(pod: Object, now: float) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": to_time(now)}
    return {"metadata": {"uid": metadata(pod).get("uid")}, "status": {"conditions": [condition]}}


# -- zones -------------------------------------------------------------------------------------------------------------


class ZoneState(Enum):
    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


def zone_of(node: Object) -> str:
    labels = labels_of(node)
    region, zone = labels.get("topology.kubernetes.io/region", ""), labels.get("topology.kubernetes.io/zone", "")
    return f"{region}:\x00:{zone}" if region or zone else ""


def zone_states(nodes: Iterable[Object], threshold: float) -> dict[str, tuple[ZoneState, int]]:
    """State and size of each zone."""
    ready: dict[str, list[bool]] = {}
    for node in nodes:
        if EXCLUDED_LABEL not in labels_of(node):
            ready.setdefault(zone_of(node), []).append(ready_status(node) == "True")
    return {zone: (_state(found, threshold), len(found)) for zone, found in ready.items()}


def _state(ready: list[bool], threshold: float) -> ZoneState:
    broken = ready.count(False)
    if broken and broken == len(ready):
        return ZoneState.FULL
    if broken > 2 and broken / len(ready) >= threshold:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def eviction_rate(state: ZoneState, size: int, rate: float, secondary: float, large: int) -> float:
    """Nodes a second that may be tainted: slower where much of a zone is broken, for then we are the likelier problem."""
    if state is ZoneState.PARTIAL:
        return secondary if size > large else 0.0
    return rate


@dataclass(slots=True)
class Limiter:
    """A token bucket of one: the first goes at once."""

    rate: float
    tokens: float = 1.0
    since: float = 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(1.0, self.tokens + max(0.0, now - self.since) * self.rate)
        self.since = now
        if self.rate <= 0 or self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def change(self, rate: float, now: float) -> None:
        if rate != self.rate:
            self.tokens = min(1.0, self.tokens + max(0.0, now - self.since) * self.rate)
            self.rate, self.since = rate, now
