"""Quality of service, and resources as the kernel wants them: shares, quota, OOM score.

Rules of upstream's ``qos`` packages and ``cm/helpers_linux.go``. Quantities come as the API gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ...api.pod_resources import BEST_EFFORT, GUARANTEED, is_pod_level, pod_limits, pod_requests
from ...api.pod_resources import qos_class as qos_of_spec
from ...api.quantity import quantity_milli, quantity_value
from .model import Object, containers_of, init_containers_of, is_critical, is_sidecar, spec_of

MIN_SHARES, MAX_SHARES, SHARES_PER_CPU = 2, 262_144, 1024
QUOTA_PERIOD, MIN_QUOTA_PERIOD = 100_000, 1000
MIN_MILLI_CPU_LIMIT = 10
# What keeps the node alive is killed last, what asked for nothing first.
GUARANTEED_OOM, BEST_EFFORT_OOM, CRITICAL_OOM = -997, 1000, -997


def resources_of(container: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """``requests`` or ``limits`` of a container (or of a pod's spec)."""
    return (container.get("resources") or {}).get(kind) or {}


def pod_level(pod: Mapping[str, Any]) -> bool:
    """Whether the pod itself has requests or limits (PodLevelResources)."""
    resources = spec_of(pod).get("resources") or {}
    return any(is_pod_level(n) for kind in ("requests", "limits") for n in resources.get(kind) or ())


def compute_qos(pod: Mapping[str, Any]) -> str:
    return qos_of_spec(spec_of(pod))


def qos_class(pod: Mapping[str, Any]) -> str:
    """As it was at the pod's creation: a resize never changes it."""
    stored = (pod.get("status") or {}).get("qosClass")
    return stored or compute_qos(pod)


def pod_resources(pod: Mapping[str, Any], kind: str, *, overhead: bool = True) -> dict[str, Decimal]:
    """What a pod asks for (``requests``) or may use (``limits``) in all."""
    spec = spec_of(pod) if overhead else {**spec_of(pod), "overhead": None}
    return pod_requests(spec) if kind == "requests" else pod_limits(spec)


def milli_cpu_to_shares(milli: int) -> int:
    if milli <= 0:
        return MIN_SHARES
    return max(MIN_SHARES, min(MAX_SHARES, milli * SHARES_PER_CPU // 1000))


def milli_cpu_to_quota(milli: int, period: int = QUOTA_PERIOD) -> int:
    if milli <= 0:
        return 0
    return max(MIN_QUOTA_PERIOD, milli * period // 1000)


def shares_to_milli_cpu(shares: int) -> int:
    return -(-shares * 1000 // SHARES_PER_CPU) if shares >= MIN_SHARES else 0


def shares_to_weight(shares: int) -> int:
    """cgroup v2's ``cpu.weight`` for cgroup v1's ``cpu.shares``."""
    return 1 + (max(MIN_SHARES, min(MAX_SHARES, shares)) - 2) * 9999 // 262142


def linux_resources(
    requests: Mapping[str, Any], limits: Mapping[str, Any], *, cfs_quota: bool = True, period: int = QUOTA_PERIOD
) -> Object:
    """The CRI's ``LinuxContainerResources`` without OOM score and huge pages."""
    cpu_limit = quantity_milli(limits.get("cpu", 0))
    cpu_request = quantity_milli(requests["cpu"]) if "cpu" in requests else cpu_limit
    found: Object = {"cpu_shares": milli_cpu_to_shares(cpu_request)}
    memory = quantity_value(limits.get("memory", 0))
    if memory:
        found["memory_limit_in_bytes"] = memory
    if cfs_quota:
        found["cpu_quota"] = milli_cpu_to_quota(cpu_limit, period)
        found["cpu_period"] = period
    return found


def effective_limits(pod: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """A container's limits; where it has none of CPU or memory, those of the pod."""
    limits = dict(resources_of(container, "limits"))
    if pod_level(pod):
        for name in ("cpu", "memory"):
            if not limits.get(name) and resources_of(spec_of(pod), "limits").get(name):
                limits[name] = resources_of(spec_of(pod), "limits")[name]
    return limits


def _memory(container: Mapping[str, Any]) -> int:
    return quantity_value(resources_of(container, "requests").get("memory", 0))


def _unallocated_memory(pod: Mapping[str, Any]) -> int:
    """Each container's share of what the pod as a whole asks for above what its containers do."""
    asked = resources_of(spec_of(pod), "requests").get("memory")
    if not pod_level(pod) or not asked:
        return 0
    long_lived = [*containers_of(pod), *(c for c in init_containers_of(pod) if is_sidecar(c))]
    return max(0, quantity_value(asked) - sum(map(_memory, long_lived))) // max(1, len(long_lived))


def oom_score_adj(pod: Mapping[str, Any], container: Mapping[str, Any], memory_capacity: int) -> int:
    """The more of its request a container uses, the earlier the kernel takes it; between the two fixed classes."""
    if is_critical(pod) and spec_of(pod).get("priorityClassName") == "system-node-critical":
        return CRITICAL_OOM
    kind = qos_class(pod)
    if kind == GUARANTEED:
        return GUARANTEED_OOM
    if kind == BEST_EFFORT:
        return BEST_EFFORT_OOM
    share, capacity = _unallocated_memory(pod), max(1, memory_capacity)
    adjustment = 1000 - 1000 * (_memory(container) + share) // capacity
    if any(c.get("name") == container.get("name") and is_sidecar(c) for c in init_containers_of(pod)):
        # A sidecar dies no earlier than the containers that it serves.
        smallest = min(map(_memory, containers_of(pod)), default=0)
        adjustment = min(adjustment, 1000 - 1000 * (smallest + share) // capacity)
    if adjustment < 1000 + GUARANTEED_OOM:
        return 1000 + GUARANTEED_OOM
    return BEST_EFFORT_OOM - 1 if adjustment == BEST_EFFORT_OOM else adjustment
