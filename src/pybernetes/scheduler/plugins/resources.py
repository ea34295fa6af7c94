"""NodeResourcesFit and NodeResourcesBalancedAllocation: is there room, and how would the node look with the pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...api.meta import Object, uid_of
from ...hooks.scheduling import (
    MAX_NODE_SCORE,
    SKIP,
    Action,
    ClusterEvent,
    Code,
    CycleState,
    Handle,
    Plugin,
    Resource,
    Rows,
    Scope,
    Status,
    Verdicts,
)
from ..columns import Array
from ..nodetable import CPU, MEMORY, NodeTable
from ..requests import Amounts, amounts, pod_requests
from .helpers import broken_line

_NATIVE_ORDER = {CPU: 0, MEMORY: 1, "ephemeral-storage": 2}
DEFAULT_RESOURCES: Sequence[Mapping[str, Any]] = ({"name": CPU, "weight": 1}, {"name": MEMORY, "weight": 1})
LEAST, MOST, RATIO = "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"


def is_scalar(name: str) -> bool:
    """Resources that a pod asks for by name only: not CPU, memory or ephemeral storage."""
    return name not in _NATIVE_ORDER


def is_extended(name: str) -> bool:
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


class NodeResourcesFit(Plugin):
    name = "NodeResourcesFit"
    scope = Scope.USAGE

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes
        self._ignored = frozenset(args.get("ignoredResources") or ())
        self._ignored_groups = frozenset(args.get("ignoredResourceGroups") or ())
        strategy = args.get("scoringStrategy") or {}
        self._strategy = strategy.get("type") or LEAST
        self._resources = [
            (r["name"], int(r.get("weight") or 1)) for r in strategy.get("resources") or DEFAULT_RESOURCES
        ]
        points = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
        self._shape = [(int(p["utilization"]), int(p["score"]) * 10) for p in points]

    # -- filter ----------------------------------------------------------------------------------------------------

    def _wanted(self, asked: Amounts) -> list[tuple[str, int]]:
        found = [(name, value) for name, value in asked.items() if value > 0 and not self._is_ignored(name)]
        return sorted(found, key=lambda item: (_NATIVE_ORDER.get(item[0], 3), item[0]))

    def _is_ignored(self, name: str) -> bool:
        if name == "pods":
            return True
        return is_extended(name) and (name in self._ignored or name.split("/")[0] in self._ignored_groups)

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        table = self._table
        nominated = table.nominations.above(pod.priority)
        count = table.pod_count[rows]
        if nominated is not None:
            count = count + nominated.count[rows]
        lacking: list[Array] = [count + 1 > table.allowed_pods[rows]]
        hopeless: list[Array] = []
        wanted = self._wanted(pod.facts.requests)
        for name, value in wanted:
            at = table.resource(name)
            allocatable = table.allocatable[at][rows]
            free = allocatable - table.requested[at][rows]
            if nominated is not None:
                free = free - nominated.requested_of(at)[rows]
            lacking.append(free < value)
            hopeless.append(allocatable < value)
        return self._verdicts([name for name, _ in wanted], lacking, hopeless)

    def filter_node(self, state: CycleState, pod: Any, node: Any) -> Status | None:
        """The same for one node, where numpy would cost more than it saves."""
        table, row = self._table, node.row
        nominated = table.nominations.above(pod.priority)
        texts: list[str] = []
        hopeless = False
        count = int(table.pod_count[row]) + (int(nominated.count[row]) if nominated is not None else 0)
        if count + 1 > table.allowed_pods[row]:
            texts.append("Too many pods")
        for name, value in self._wanted(pod.facts.requests):
            at = table.resource(name)
            allocatable = int(table.allocatable[at, row])
            used = int(table.requested[at, row])
            if nominated is not None:
                used += int(nominated.requested_of(at)[row])
            if value > allocatable - used:
                texts.append(f"Insufficient {name}")
                hopeless = hopeless or value > allocatable
        if not texts:
            return None
        return Status(Code.UNRESOLVABLE if hopeless else Code.UNSCHEDULABLE, tuple(texts), self.name)

    def _verdicts(self, names: Sequence[str], lacking: Sequence[Array], hopeless: Sequence[Array]) -> Verdicts:
        """One reason a combination of what lacks: combinations are few, nodes many."""
        refused = lacking[0]
        for column in lacking[1:]:
            refused = refused | column
        codes = np.zeros(len(refused), dtype=np.int16)
        at = np.flatnonzero(refused)
        if not len(at):
            return Verdicts(codes, ())
        columns = np.stack([c[at] for c in (*lacking, *hopeless)])
        combinations, which = np.unique(columns, axis=1, return_inverse=True)
        codes[at] = which.reshape(-1) + 1
        reasons = []
        for combination in combinations.T:
            texts = ["Too many pods"] if combination[0] else []
            texts += [
                f"Insufficient {n}" for n, lacks in zip(names, combination[1 : len(names) + 1], strict=True) if lacks
            ]
            never = any(combination[len(names) + 1 :])
            reasons.append(Status(Code.UNRESOLVABLE if never else Code.UNSCHEDULABLE, tuple(texts), self.name))
        return Verdicts(codes, reasons)

    # -- score -----------------------------------------------------------------------------------------------------

    def score(self, state: CycleState, pod: Any, rows: Rows) -> Array:
        table = self._table
        size = table.size(rows)
        total, weights = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        for name, weight in self._resources:
            value = pod.facts.assumed.get(name, 0)
            if value == 0 and is_scalar(name):
                continue
            at = table.resource(name)
            allocatable = table.allocatable[at][rows]
            used = table.non_zero[at][rows] if at < 2 else table.requested[at][rows]
            counts = allocatable > 0
            points = self._points(used + value, np.maximum(allocatable, 1))
            if self._strategy == RATIO:
                counts = counts & (points > 0)
            total += np.where(counts, points * weight, 0)
            weights += np.where(counts, weight, 0)
        weights = np.maximum(weights, 1)
        if self._strategy == RATIO:
            # Rounded half away from zero, as Go does.
            found: Array = np.floor(total / weights + 0.5).astype(np.int64)
            return found
        return total // weights

    def score_node(self, state: CycleState, pod: Any, node: Any) -> int:
        if self._strategy != LEAST:
            return int(self.score(state, pod, np.array([node.row]))[0])
        table, row = self._table, node.row
        total = weights = 0
        for name, weight in self._resources:
            value = pod.facts.assumed.get(name, 0)
            at = table.resource(name)
            allocatable = int(table.allocatable[at, row])
            if allocatable == 0 or (value == 0 and is_scalar(name)):
                continue
            requested = int(table.non_zero[at, row] if at < 2 else table.requested[at, row]) + value
            if requested <= allocatable:
                total += (allocatable - requested) * MAX_NODE_SCORE // allocatable * weight
            weights += weight
        return total // weights if weights else 0

    def _points(self, requested: Array, capacity: Array) -> Array:
        if self._strategy == MOST:
            return np.minimum(requested, capacity) * MAX_NODE_SCORE // capacity
        if self._strategy == RATIO:
            utilization = np.where(requested > capacity, 100, requested * 100 // capacity)
            return broken_line(self._shape, utilization)
        return np.where(requested > capacity, 0, (capacity - requested) * MAX_NODE_SCORE // capacity)

    # -- what may help ---------------------------------------------------------------------------------------------

    def events(self) -> Iterable[ClusterEvent]:
        return (
            ClusterEvent(Resource.POD, Action.DELETE | Action.UPDATE_POD_SCALE_DOWN, self._pod_left),
            ClusterEvent(Resource.NODE, Action.ADD | Action.UPDATE_NODE_ALLOCATABLE, self._node_grew),
        )

    def _pod_left(self, pod: Any, old: Object | None, new: Object | None) -> bool:
        if new is None:
            return old is not None and bool((old.get("spec") or {}).get("nodeName"))
        if uid_of(new) == pod.uid:
            return True
        if not (new.get("spec") or {}).get("nodeName"):
            return False
        before, after = pod_requests(old or {}), pod_requests(new)
        return any(before.get(name, 0) > after.get(name, 0) for name, value in pod.facts.requests.items() if value)

    def _node_grew(self, pod: Any, old: Object | None, new: Object | None) -> bool:
        if new is None:
            return False
        after = amounts((new.get("status") or {}).get("allocatable"))
        asked: Amounts = pod.facts.requests
        if after.get("pods", 0) < 1 or any(value > after.get(name, 0) for name, value in self._wanted(asked)):
            return False
        if old is None:
            return True
        before = amounts((old.get("status") or {}).get("allocatable"))
        return any(after.get(n, 0) > before.get(n, 0) for n in ("pods", *(name for name, _ in self._wanted(asked))))


class NodeResourcesBalancedAllocation(Plugin):
    """Nodes whose resources would be used to more nearly the same share with the pod than without it."""

    name = "NodeResourcesBalancedAllocation"
    scope = Scope.USAGE

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes
        self._resources = [r["name"] for r in args.get("resources") or DEFAULT_RESOURCES]

    def pre_score(self, state: CycleState, pod: Any, rows: Rows) -> Status | None:
        return None if any(pod.facts.requests.get(name) for name in self._resources) else SKIP

    def score(self, state: CycleState, pod: Any, rows: Rows) -> Array:
        table = self._table
        with_pod: list[Array] = []
        without: list[Array] = []
        counts: list[Array] = []
        for name in self._resources:
            value = pod.facts.requests.get(name, 0)
            if value == 0 and is_scalar(name):
                continue
            at = table.resource(name)
            allocatable = table.allocatable[at][rows]
            used = table.requested[at][rows]
            divisor = np.maximum(allocatable, 1)
            counts.append(allocatable > 0)
            with_pod.append(np.minimum((used + value) / divisor, 1.0))
            without.append(np.minimum(used / divisor, 1.0))
        difference = self._balance(with_pod, counts) - self._balance(without, counts)
        # Go's division of what may be negative rounds to zero.
        half = MAX_NODE_SCORE // 2 + difference
        found: Array = MAX_NODE_SCORE // 2 + np.sign(half) * (np.abs(half) // 2)
        return found

    def score_node(self, state: CycleState, pod: Any, node: Any) -> int:
        table, row = self._table, node.row
        with_pod: list[float] = []
        without: list[float] = []
        for name in self._resources:
            value = pod.facts.requests.get(name, 0)
            at = table.resource(name)
            allocatable = int(table.allocatable[at, row])
            if allocatable == 0 or (value == 0 and is_scalar(name)):
                continue
            used = int(table.requested[at, row])
            with_pod.append(min((used + value) / allocatable, 1.0))
            without.append(min(used / allocatable, 1.0))
        if len(with_pod) != 2:
            return int(self.score(state, pod, np.array([row]))[0])
        after = int((1 - abs((with_pod[0] - with_pod[1]) / 2)) * float(MAX_NODE_SCORE))
        before = int((1 - abs((without[0] - without[1]) / 2)) * float(MAX_NODE_SCORE))
        half = MAX_NODE_SCORE // 2 + after - before
        return MAX_NODE_SCORE // 2 + (half // 2 if half >= 0 else -(-half // 2))

    def _balance(self, fractions: Sequence[Array], counts: Sequence[Array]) -> Array:
        """100 less the standard deviation of the shares, a hundred times."""
        if len(fractions) == 2 and counts[0].all() and counts[1].all():
            deviation = np.abs((fractions[0] - fractions[1]) / 2)
        else:
            deviation = _deviation(np.stack(fractions), np.stack(counts))
        found: Array = ((1 - deviation) * float(MAX_NODE_SCORE)).astype(np.int64)
        return found

    def events(self) -> Iterable[ClusterEvent]:
        return ()


def _deviation(shares: Array, counts: Array) -> Array:
    number = counts.sum(axis=0)
    shares = np.where(counts, shares, 0.0)
    several = np.maximum(number, 1)
    mean = np.zeros(shares.shape[1])
    for row in shares:
        mean = mean + row
    mean = mean / several
    squares = np.zeros(shares.shape[1])
    for row, counted in zip(shares, counts, strict=True):
        squares = squares + np.where(counted, (row - mean) * (row - mean), 0.0)
    found = np.sqrt(squares / several)
    # With two resources half their difference is exact where the root may not be.
    order = np.sort(np.where(counts, shares, -1.0), axis=0)[::-1]
    if len(order) >= 2:
        found = np.where(number == 2, np.abs((order[0] - order[1]) / 2), found)
    return np.where(number <= 1, 0.0, found)
