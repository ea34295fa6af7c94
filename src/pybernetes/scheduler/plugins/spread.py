"""PodTopologySpread: matching pods spread evenly over zones, hosts or whatever a label names ("Pod Topology Spread Constraints")."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...api.meta import Object, controller_of, labels_of, namespace_of, uid_of
from ...api.resources import REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS
from ...api.selectors import EVERYTHING, LabelSelector, selector_from_map
from ...hooks.scheduling import (
    MAX_NODE_SCORE,
    SKIP,
    Action,
    ClusterEvent,
    CycleState,
    Handle,
    Plugin,
    Resource,
    Rows,
    Status,
    Verdicts,
)
from ..columns import Array, PodQuery
from ..nodeaffinity import NO_EXECUTE, NO_SCHEDULE, untolerated
from ..nodetable import NodeTable
from ..terms import parse_selector, with_label_values
from .helpers import unresolvable, unschedulable
from .node import select_nodes

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
DO_NOT_SCHEDULE, SCHEDULE_ANYWAY = "DoNotSchedule", "ScheduleAnyway"
SYSTEM_DEFAULTS: tuple[Mapping[str, Any], ...] = (
    {"topologyKey": HOSTNAME, "whenUnsatisfiable": SCHEDULE_ANYWAY, "maxSkew": 3},
    {"topologyKey": ZONE, "whenUnsatisfiable": SCHEDULE_ANYWAY, "maxSkew": 5},
)
_UNBOUNDED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint of a pod, with what is left out filled in."""

    key: str
    max_skew: int
    selector: LabelSelector
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


def _constraint(given: Mapping[str, Any], selector: LabelSelector) -> Constraint:
    return Constraint(
        key=given.get("topologyKey") or "",
        max_skew=int(given.get("maxSkew") or 1),
        selector=selector,
        min_domains=int(given.get("minDomains") or 1),
        honor_affinity=(given.get("nodeAffinityPolicy") or "Honor") == "Honor",
        honor_taints=(given.get("nodeTaintsPolicy") or "Ignore") == "Honor",
    )


class PodTopologySpread(Plugin):
    name = "PodTopologySpread"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes
        self._objects = handle.objects
        self._system = (args.get("defaultingType") or "System") == "System"
        self._defaults = SYSTEM_DEFAULTS if self._system else tuple(args.get("defaultConstraints") or ())

    # -- constraints -----------------------------------------------------------------------------------------------

    def _constraints(self, pod: Any, action: str) -> list[Constraint]:
        if pod.facts.spread:
            return [
                _constraint(
                    c,
                    with_label_values(
                        parse_selector(c.get("labelSelector")), c.get("matchLabelKeys") or (), pod.labels
                    ),
                )
                for c in pod.facts.spread
                if c.get("whenUnsatisfiable", DO_NOT_SCHEDULE) == action
            ]
        defaults = [c for c in self._defaults if c.get("whenUnsatisfiable") == action]
        if not defaults:
            return []
        selector = default_selector(pod.object, self._objects)
        return [] if selector.everything else [_constraint(c, selector) for c in defaults]

    def _eligible(self, pod: Any, constraint: Constraint, labelled: Array) -> Array:
        """Nodes that count as domains: with all topology keys, and as the inclusion policies want them."""
        found = labelled
        if constraint.honor_affinity and not pod.facts.selection.everything:
            found = found & select_nodes(self._table, pod.facts.selection, slice(None))
        if constraint.honor_taints:
            tolerations = pod.facts.tolerations
            welcome = [untolerated(tolerations, t, (NO_SCHEDULE, NO_EXECUTE)) is None for t in self._table.taint_sets]
            found = found & np.array(welcome)[self._table.taint_ids]
        return found

    def _labelled(self, constraints: Sequence[Constraint]) -> Array:
        found = self._table.valid.copy()
        for constraint in constraints:
            found &= self._table.labels(constraint.key).ids >= 0
        return found

    def _counts_by_row(self, pod: Any, constraint: Constraint) -> Array:
        if constraint.selector.everything:
            # Upstream counts nothing for a selector without conditions.
            return np.zeros(self._table.capacity, dtype=np.int64)
        query = PodQuery((frozenset([pod.namespace]),), (constraint.selector,), False)
        return self._table.counts.counter(query).by_row

    # -- filter ----------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: Any) -> Status | None:
        constraints = self._constraints(pod, DO_NOT_SCHEDULE)
        if not constraints:
            return SKIP
        state[self.name] = constraints
        return None

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        constraints: list[Constraint] = state[self.name]
        text = "node(s) didn't match pod topology spread constraints"
        reasons = (unschedulable(self.name, text), unresolvable(self.name, f"{text} (missing required label)"))
        codes = np.zeros(self._table.size(rows), dtype=np.int16)
        labelled = self._labelled(constraints)
        for constraint in constraints:
            ids = self._table.labels(constraint.key).ids
            found, lowest = self._domains(pod, constraint, labelled)
            own = 1 if constraint.selector.matches(pod.labels) else 0
            at = ids[rows]
            skewed = found[at] + own - lowest > constraint.max_skew
            codes = np.where(codes > 0, codes, np.where(at < 0, 2, np.where(skewed, 1, 0))).astype(np.int16)
        return Verdicts(codes, reasons)

    def _domains(self, pod: Any, constraint: Constraint, labelled: Array) -> tuple[Array, int]:
        """(matching pods by value, with a 0 for "absent" at the end; the lowest number in any domain)."""
        ids = self._table.labels(constraint.key).ids
        size = len(self._table.labels(constraint.key).values) + 1
        eligible = self._eligible(pod, constraint, labelled)
        at = ids[eligible]
        counts = np.bincount(at, weights=self._counts_by_row(pod, constraint)[eligible], minlength=size)
        present = np.bincount(at, minlength=size) > 0
        found: Array = counts.astype(np.int64)
        domains = int(present.sum())
        lowest = int(found[present].min()) if domains else _UNBOUNDED
        return found, 0 if domains < constraint.min_domains else lowest

    def domains(self, pod: Any) -> list[tuple[Constraint, dict[str, int], int]]:
        """Each constraint that must hold, with its matching pods by value and the lowest number; for ``p8s why``."""
        constraints = self._constraints(pod, DO_NOT_SCHEDULE)
        labelled = self._labelled(constraints)
        found = []
        for constraint in constraints:
            counts, lowest = self._domains(pod, constraint, labelled)
            numbers = self._table.labels(constraint.key).numbers
            found.append((constraint, {value: int(counts[at]) for value, at in numbers.items()}, lowest))
        return found

    # -- score -----------------------------------------------------------------------------------------------------

    def pre_score(self, state: CycleState, pod: Any, rows: Rows) -> Status | None:
        constraints = self._constraints(pod, SCHEDULE_ANYWAY)
        if not constraints:
            return SKIP
        table = self._table
        require_all = bool(pod.facts.spread) or not self._system
        feasible = table.indices(rows)
        labelled = self._labelled(constraints) if require_all else table.valid
        counted = feasible[labelled[feasible]]
        state[self.name, "score"] = (constraints, labelled, counted)
        return None

    def score(self, state: CycleState, pod: Any, rows: Rows) -> Array:
        constraints, labelled, counted = state[self.name, "score"]
        at = self._table.indices(rows)
        total = np.zeros(len(at), dtype=np.float64)
        for constraint in constraints:
            ids = self._table.labels(constraint.key).ids
            if constraint.key == HOSTNAME:
                counts = self._counts_by_row(pod, constraint)[at]
                size = len(counted)
            else:
                counts, size = self._domain_counts(pod, constraint, labelled, counted, at)
            points = counts.astype(np.float64) * math.log(size + 2) + float(constraint.max_skew - 1)
            total += np.where(ids[at] >= 0, points, 0.0)
        found = np.floor(total + 0.5).astype(np.int64)
        found[~labelled[at]] = _IGNORED
        return found

    def _domain_counts(
        self, pod: Any, constraint: Constraint, labelled: Array, counted: Array, at: Array
    ) -> tuple[Array, int]:
        ids = self._table.labels(constraint.key).ids
        values = len(self._table.labels(constraint.key).values)
        # "Absent" is a domain of its own here, at the end: index -1 finds it.
        wanted = np.zeros(values + 1, dtype=bool)
        wanted[ids[counted]] = True
        eligible = self._eligible(pod, constraint, labelled)
        places = np.where(ids[eligible] < 0, values, ids[eligible])
        counts = np.bincount(places, weights=self._counts_by_row(pod, constraint)[eligible], minlength=values + 1)
        return np.where(wanted, counts, 0)[ids[at]].astype(np.int64), int(wanted.sum())

    def normalize(self, state: CycleState, pod: Any, scores: Array) -> Array:
        ignored = scores == _IGNORED
        counted = scores[~ignored]
        if not len(counted):
            return np.zeros_like(scores)
        lowest, highest = int(counted.min()), int(counted.max())
        if highest == 0:
            found = np.full_like(scores, MAX_NODE_SCORE)
        else:
            found = MAX_NODE_SCORE * (highest + lowest - scores) // highest
        found[ignored] = 0
        return found

    # -- what may help ---------------------------------------------------------------------------------------------

    def events(self) -> Iterable[ClusterEvent]:
        pods = Action.ADD | Action.UPDATE_POD_LABEL | Action.UPDATE_POD_TOLERATIONS | Action.DELETE
        nodes = Action.ADD | Action.DELETE | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_TAINT
        return (
            ClusterEvent(Resource.POD, pods, self._pod_changed),
            ClusterEvent(Resource.NODE, nodes, self._node_changed),
        )

    def _pod_changed(self, pod: Any, old: Object | None, new: Object | None) -> bool:
        if any(o is not None and not _involved(o, pod) for o in (old, new)):
            return False
        constraints = self._constraints(pod, DO_NOT_SCHEDULE)
        if old is not None and new is not None:
            if uid_of(new) == pod.uid and any(c.honor_taints for c in constraints):
                before, after = ((o.get("spec") or {}).get("tolerations") for o in (old, new))
                if before != after:
                    return True
            before, after = labels_of(old), labels_of(new)
            return before != after and any(c.selector.matches(before) != c.selector.matches(after) for c in constraints)
        changed = new if new is not None else old
        return any(c.selector.matches(labels_of(changed or {})) for c in constraints)

    def _node_changed(self, pod: Any, old: Object | None, new: Object | None) -> bool:
        constraints = self._constraints(pod, DO_NOT_SCHEDULE)

        def labelled(node: Object | None) -> bool:
            return node is not None and all(c.key in labels_of(node) for c in constraints)

        if old is None or new is None:
            return labelled(new if new is not None else old)
        if labelled(old) != labelled(new):
            return True
        moved = any(labels_of(old).get(c.key) != labels_of(new).get(c.key) for c in constraints)
        return labelled(new) and (
            moved or (old.get("spec") or {}).get("taints") != (new.get("spec") or {}).get("taints")
        )


_IGNORED = -1
"""The raw score of a node that lacks a topology key."""


def _involved(changed: Object, pod: Any) -> bool:
    if uid_of(changed) == pod.uid:
        return True
    placed = (changed.get("spec") or {}).get("nodeName") or (changed.get("status") or {}).get("nominatedNodeName")
    return bool(placed) and namespace_of(changed) == pod.namespace


def default_selector(pod: Object, objects: Any) -> LabelSelector:
    """What the pod's Services and its controller select by: pods like it."""
    namespace, labels = namespace_of(pod), labels_of(pod)
    merged: dict[str, str] = {}
    for service in objects.list(SERVICES, namespace):
        selector = (service.get("spec") or {}).get("selector")
        if selector and all(labels.get(k) == v for k, v in selector.items()):
            merged.update(selector)
    owner = controller_of(pod)
    kind = (owner.get("kind"), owner.get("apiVersion")) if owner else None
    if owner is None or kind not in _CONTROLLERS:
        return selector_from_map(merged)
    controller = objects.get(_CONTROLLERS[kind], namespace, owner.get("name", ""))
    if controller is None:
        return selector_from_map(merged)
    selector = (controller.get("spec") or {}).get("selector")
    if kind[0] == "ReplicationController":
        merged.update(selector or {})
        return selector_from_map(merged)
    requirements = parse_selector(selector).requirements if selector else EVERYTHING.requirements
    return LabelSelector((*selector_from_map(merged).requirements, *requirements))


_CONTROLLERS = {
    ("ReplicationController", "v1"): REPLICATION_CONTROLLERS,
    ("ReplicaSet", "apps/v1"): REPLICA_SETS,
    ("StatefulSet", "apps/v1"): STATEFUL_SETS,
}
