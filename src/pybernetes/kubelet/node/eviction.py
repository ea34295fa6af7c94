"""When the node runs short: signals against thresholds, and which pod goes first. Pure.

Rules of upstream's ``pkg/kubelet/eviction``: a hard threshold acts at once, a soft one after its grace period; a condition holds on for
the transition period; pods are ranked by whether they use more than they asked for, by priority, and by how much more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...api.meta import uid_of
from ...api.quantity import BINARY_SI, format_quantity, quantity_value
from ..pod.model import Object, is_critical, spec_of
from ..pod.qos import pod_resources
from .machine import amount_of

MEMORY, NODEFS, NODEFS_INODES = "memory.available", "nodefs.available", "nodefs.inodesFree"
IMAGEFS, IMAGEFS_INODES, PIDS = "imagefs.available", "imagefs.inodesFree", "pid.available"
CONDITIONS = {
    MEMORY: "MemoryPressure",
    NODEFS: "DiskPressure",
    NODEFS_INODES: "DiskPressure",
    IMAGEFS: "DiskPressure",
    IMAGEFS_INODES: "DiskPressure",
    PIDS: "PIDPressure",
}
_RESOURCES = {
    MEMORY: "memory",
    NODEFS: "ephemeral-storage",
    IMAGEFS: "ephemeral-storage",
    NODEFS_INODES: "inodes",
    IMAGEFS_INODES: "inodes",
    PIDS: "pids",
}


@dataclass(frozen=True, slots=True)
class Observation:
    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Threshold:
    signal: str
    value: str
    grace: float = 0.0
    reclaim: str = "0"

    def limit(self, capacity: int) -> int:
        return amount_of(self.value, capacity)

    def met(self, observed: Observation, *, with_reclaim: bool = False) -> bool:
        limit = self.limit(observed.capacity)
        if with_reclaim:
            limit += amount_of(self.reclaim, observed.capacity)
        return observed.available < limit


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What a pod uses now, in the unit of each resource."""

    memory: int = 0
    storage: int = 0
    inodes: int = 0
    pids: int = 0


def thresholds(
    hard: Mapping[str, str], soft: Mapping[str, str], grace: Mapping[str, float], reclaim: Mapping[str, str]
) -> list[Threshold]:
    found = [Threshold(s, v, 0.0, reclaim.get(s, "0")) for s, v in hard.items() if s in CONDITIONS]
    return found + [Threshold(s, v, grace.get(s, 0.0), reclaim.get(s, "0")) for s, v in soft.items() if s in CONDITIONS]


@dataclass(slots=True)
class Decision:
    conditions: frozenset[str] = frozenset()
    acting: Threshold | None = None
    """The threshold on which something has to be done now."""
    observed: Observation | None = None


@dataclass(slots=True)
class EvictionState:
    """Remembers since when thresholds are met and conditions hold."""

    thresholds: Sequence[Threshold]
    transition: float = 300.0
    _met_since: dict[Threshold, float] = field(default_factory=dict)
    _held_until: dict[str, float] = field(default_factory=dict)

    def decide(self, observations: Mapping[str, Observation], now: float) -> Decision:
        met = []
        for threshold in self.thresholds:
            observed = observations.get(threshold.signal)
            already = threshold in self._met_since
            # Once met, it stays met until the minimum reclaim is there too.
            if observed is not None and threshold.met(observed, with_reclaim=already):
                self._met_since.setdefault(threshold, now)
                met.append(threshold)
            else:
                self._met_since.pop(threshold, None)
        for threshold in met:
            self._held_until[CONDITIONS[threshold.signal]] = now + self.transition
        held = {CONDITIONS[t.signal] for t in met} | {c for c, until in self._held_until.items() if now < until}
        acting = [t for t in met if now - self._met_since[t] >= t.grace]
        # Memory first: it kills, while a full disk only hinders.
        acting.sort(key=lambda t: (t.signal != MEMORY, t.grace))
        chosen = acting[0] if acting else None
        return Decision(frozenset(held), chosen, observations.get(chosen.signal) if chosen else None)


# -- ranking -------------------------------------------------------------------------------------------------------------


def _used(signal: str, usage: PodUsage) -> int:
    resource = _RESOURCES[signal]
    return {"memory": usage.memory, "ephemeral-storage": usage.storage, "inodes": usage.inodes, "pids": usage.pids}[
        resource
    ]


def _requested(signal: str, pod: Object) -> int:
    resource = _RESOURCES[signal]
    if resource not in ("memory", "ephemeral-storage"):
        return 0
    return quantity_value(str(pod_resources(pod, "requests").get(resource, 0)))


def ranked(signal: str, pods: Sequence[Object], usage: Callable[[str], PodUsage]) -> list[Object]:
    """The pods in the order in which they are evicted."""

    def key(pod: Object) -> tuple[bool, int, int]:
        used, asked = _used(signal, usage(uid_of(pod))), _requested(signal, pod)
        return used <= asked, int(spec_of(pod).get("priority") or 0), -(used - asked)

    return sorted((p for p in pods if not is_critical(p)), key=key)


def message_for(threshold: Threshold, observed: Observation, pod: Object, usage: PodUsage) -> str:
    resource = _RESOURCES[threshold.signal]
    limit = threshold.limit(observed.capacity)
    text = f"The node was low on resource: {resource}. Threshold quantity: {_shown(resource, limit)}, available: {_shown(resource, observed.available)}. "
    for container in spec_of(pod).get("containers") or ():
        asked = ((container.get("resources") or {}).get("requests") or {}).get(resource)
        used = _used(threshold.signal, usage)
        if resource in ("memory", "ephemeral-storage") and used > quantity_value(asked or 0):
            text += f"Container {container['name']} was using {_shown(resource, used)}, request is {asked or 0}, has larger consumption of {resource}. "
    return text


def _shown(resource: str, amount: int) -> str:
    return f"{amount // 1024}Ki" if resource in ("memory", "ephemeral-storage") else str(amount)


def disruption(message: str) -> Object:
    return {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message}


# -- limits of single pods -----------------------------------------------------------------------------------------------


def storage_violation(pod: Object, volumes: Mapping[str, int], containers: Mapping[str, int], total: int) -> str | None:
    """Why a pod that uses more local storage than it may has to go: emptyDir, container or pod limit."""
    for volume in spec_of(pod).get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        used = volumes.get(volume["name"])
        if limit and used is not None and used > quantity_value(limit) > 0:
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    limits: Mapping[str, Any] = pod_resources(pod, "limits")
    whole = limits.get("ephemeral-storage")
    if whole is not None and total > whole:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {_quantity(whole)}. "
    for container in spec_of(pod).get("containers") or ():
        limit = ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
        used = containers.get(container["name"])
        if limit and used is not None and used > quantity_value(limit):
            return f'Container {container["name"]} exceeded its local ephemeral storage limit "{limit}". '
    return None


def _quantity(amount: Any) -> str:
    return format_quantity(amount, BINARY_SI)
