"""NodeResourcesFit and NodeResourcesBalancedAllocation: what pods ask for, and what nodes have."""

from __future__ import annotations

import math

from .cluster import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Cluster,
    Refusal,
    amount,
    containers,
    init_containers,
    is_sidecar,
    status,
)

UNREQUESTED = {"cpu": 100, "memory": 200 * 1024 * 1024}
"""What scoring assumes of a container that asks for nothing."""


def _add(total: dict, more: dict) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _highest(*lists: dict) -> dict:
    found: dict = {}
    for each in lists:
        for name, value in each.items():
            found[name] = max(found.get(name, value), value)
    return found


def _amounts(resources: dict | None) -> dict:
    return {name: amount(name, value) for name, value in (resources or {}).items()}


def _asked(pod: dict, spec: dict | None, actual: dict | None, allocated: dict | None) -> dict:
    """While a resize is under way the highest of wish, allocation and what runs counts."""
    if any(
        c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible"
        for c in status(pod).get("conditions") or []
    ):
        return _highest(_amounts(actual), _amounts(allocated))
    return _highest(_amounts(spec), _amounts(actual), _amounts(allocated))


def _container_requests(pod: dict, container: dict, defaults: dict, resizable: bool) -> dict:
    asked = _amounts((container.get("resources") or {}).get("requests"))
    states = (status(pod).get("containerStatuses") or []) + (status(pod).get("initContainerStatuses") or [])
    state = next((s for s in states if s["name"] == container.get("name")), None)
    if resizable and state is not None and state.get("resources") is not None:
        asked = _asked(
            pod,
            (container.get("resources") or {}).get("requests"),
            state["resources"].get("requests"),
            state.get("allocatedResources"),
        )
    return {**defaults, **asked}


def _pod_level(pod: dict) -> dict:
    given = (pod["spec"].get("resources") or {}).get("requests")
    asked = _amounts(given)
    names = [n for n in asked if n in ("cpu", "memory") or n.startswith("hugepages-")]
    actual = status(pod).get("resources")
    if actual is not None:
        asked = _asked(pod, given, actual.get("requests"), status(pod).get("allocatedResources"))
    return {n: asked.get(n, 0) for n in names}


def requests(pod: dict, defaults: dict | None = None) -> dict:
    """Containers together, or the hungriest moment of initialization; pod-level requests in their place; overhead on top."""
    defaults = defaults or {}
    total: dict = {}
    for container in containers(pod):
        _add(total, _container_requests(pod, container, defaults, True))
    sidecars: dict = {}
    hungriest: dict = {}
    for container in init_containers(pod):
        asked = _container_requests(pod, container, defaults, is_sidecar(container))
        if is_sidecar(container):
            _add(total, asked)
            _add(sidecars, asked)
            hungriest = _highest(hungriest, sidecars)
        else:
            moment = dict(sidecars)
            _add(moment, asked)
            hungriest = _highest(hungriest, moment)
    total = _highest(total, hungriest)
    total.update(_pod_level(pod))
    _add(total, _amounts(pod["spec"].get("overhead")))
    return total


def scored_requests(pod: dict) -> dict:
    """CPU and memory as LeastAllocated sees them: never nothing."""
    defaults = UNREQUESTED
    if _pod_level(pod):
        plain = requests(pod)
        defaults = {n: v for n, v in UNREQUESTED.items() if n not in plain}
    return requests(pod, defaults)


def allocatable(node: dict) -> dict:
    return _amounts(status(node).get("allocatable"))


def used(cluster: Cluster, node: dict, of=requests) -> dict:
    total: dict = {}
    for pod in cluster.pods_on(node):
        _add(total, of(pod))
    return total


# -- NodeResourcesFit ----------------------------------------------------------------------------------------------


def fit(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    has, taken, asked = allocatable(node), used(cluster, node), requests(pod)
    reasons, hopeless = [], False
    if len(cluster.pods_on(node)) + 1 > has.get("pods", 0):
        reasons.append("Too many pods")
    for name, wanted in asked.items():
        if wanted > 0 and name != "pods" and wanted > has.get(name, 0) - taken.get(name, 0):
            reasons.append(f"Insufficient {name}")
            hopeless = hopeless or wanted > has.get(name, 0)
    if not reasons:
        return None
    return Refusal("NodeResourcesFit", UNRESOLVABLE if hopeless else UNSCHEDULABLE, tuple(reasons))


def least_allocated(cluster: Cluster, pod: dict, nodes: list) -> dict:
    """The mean over CPU and memory of the share that stays free."""
    return allocation_scores(cluster, pod, nodes, "LeastAllocated", {"cpu": 1, "memory": 1}, [])


def allocation_scores(cluster: Cluster, pod: dict, nodes: list, kind: str, weights: dict, shape: list) -> dict:
    """NodeResourcesFit's strategies: the weighted mean over resources of what each one's use is worth."""
    return {n["metadata"]["name"]: _allocation_score(cluster, pod, n, kind, weights, shape) for n in nodes}


def _allocation_score(cluster: Cluster, pod: dict, node: dict, kind: str, weights: dict, shape: list) -> int:
    has, taken, asked = allocatable(node), used(cluster, node, scored_requests), scored_requests(pod)
    total = weight = 0
    for name, each in weights.items():
        capacity, wanted = has.get(name, 0), taken.get(name, 0) + asked.get(name, 0)
        extended = name not in ("cpu", "memory", "ephemeral-storage")
        if capacity == 0 or (extended and not asked.get(name)):
            continue
        share = _share(kind, wanted, capacity, shape)
        if kind == "RequestedToCapacityRatio" and share <= 0:
            continue
        total, weight = total + share * each, weight + each
    if weight == 0:
        return 0
    return math.floor(total / weight + 0.5) if kind == "RequestedToCapacityRatio" else total // weight


def _share(kind: str, wanted: int, capacity: int, shape: list) -> int:
    """0..100"""
    if kind == "LeastAllocated":
        return 0 if wanted > capacity else (capacity - wanted) * 100 // capacity
    if kind == "MostAllocated":
        return min(wanted, capacity) * 100 // capacity
    utilization = 100 if wanted > capacity else wanted * 100 // capacity
    points = [(u, score * 10) for u, score in shape]
    if utilization <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in zip(points, points[1:], strict=False):
        if utilization <= right:
            # Toward zero, as whole numbers are divided upstream.
            return low + math.trunc((high - low) * (utilization - left) / (right - left))
    return points[-1][1]


# -- NodeResourcesBalancedAllocation -------------------------------------------------------------------------------


def balanced(cluster: Cluster, pod: dict, nodes: list) -> dict | None:
    """How the pod changes the balance of CPU and memory. None for a pod that asks for neither."""
    asked = requests(pod)
    if not asked.get("cpu") and not asked.get("memory"):
        return None
    found = {}
    for node in nodes:
        has, before = allocatable(node), used(cluster, node)
        after = dict(before)
        _add(after, asked)
        change = _balance(has, after) - _balance(has, before)
        # Division toward zero; (50 + change) is never negative.
        found[node["metadata"]["name"]] = 50 + (50 + change) // 2
    return found


def _balance(has: dict, taken: dict) -> int:
    fractions = [min(1.0, taken.get(n, 0) / has[n]) for n in ("cpu", "memory") if has.get(n)]
    deviation = abs((fractions[0] - fractions[1]) / 2) if len(fractions) == 2 else 0.0
    return math.trunc((1 - deviation) * 100.0)
