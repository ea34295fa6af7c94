"""Plugins that look at nodes alone: NodeUnschedulable, NodeName, TaintToleration, NodeAffinity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...api.meta import Object, uid_of
from ...hooks.scheduling import (
    SKIP,
    Action,
    ClusterEvent,
    CycleState,
    Handle,
    Plugin,
    PodView,
    PreFilterResult,
    Resource,
    Rows,
    Scope,
    Status,
    Verdicts,
)
from ..columns import Array
from ..nodeaffinity import (
    NAME_FIELD,
    NO_EXECUTE,
    NO_SCHEDULE,
    PREFER_NO_SCHEDULE,
    UNSCHEDULABLE_TAINT,
    NodeSelection,
    PreferredTerms,
    SelectorTerm,
    taints_of,
    tolerates,
    untolerated,
)
from ..nodetable import NodeTable
from .helpers import normalize_by_maximum, refused_where, unresolvable


class NodePlugin(Plugin):
    """Verdicts that only a change of nodes can change."""

    scope = Scope.NODE

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self.args, self.handle = args, handle
        self.table: NodeTable = handle.nodes


class NodeUnschedulable(NodePlugin):
    name = "NodeUnschedulable"

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        status = unresolvable(self.name, "node(s) were unschedulable")
        if untolerated(pod.facts.tolerations, [UNSCHEDULABLE_TAINT], (NO_SCHEDULE,)) is None:
            return Verdicts(np.zeros(self.table.size(rows), dtype=np.int16), (status,))
        return refused_where(self.table.unschedulable[rows], status)

    def events(self) -> Iterable[ClusterEvent]:
        return (
            ClusterEvent(Resource.NODE, Action.ADD | Action.UPDATE_NODE_TAINT, _uncordoned),
            ClusterEvent(Resource.POD, Action.UPDATE_POD_TOLERATIONS, _tolerates_cordon),
        )


def _uncordoned(pod: PodView, old: Object | None, new: Object | None) -> bool:
    def cordoned(node: Object) -> bool:
        return bool((node.get("spec") or {}).get("unschedulable"))

    return new is not None and not cordoned(new) and (old is None or cordoned(old))


def _tolerates_cordon(pod: PodView, old: Object | None, new: Object | None) -> bool:
    if new is None or uid_of(new) != pod.uid:
        return False
    return untolerated((new.get("spec") or {}).get("tolerations") or (), [UNSCHEDULABLE_TAINT], (NO_SCHEDULE,)) is None


class NodeName(NodePlugin):
    """A pod that names its node (and is scheduled nevertheless) goes nowhere else."""

    name = "NodeName"

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        status = unresolvable(self.name, "node(s) didn't match the requested node name")
        if not pod.requested_node:
            return Verdicts(np.zeros(self.table.size(rows), dtype=np.int16), (status,))
        return refused_where(~self.table.labels(NAME_FIELD).equals(pod.requested_node, rows), status)

    def events(self) -> Iterable[ClusterEvent]:
        return (ClusterEvent(Resource.NODE, Action.ADD),)


class TaintToleration(NodePlugin):
    name = "TaintToleration"

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        tolerations = pod.facts.tolerations
        hostile = [untolerated(tolerations, t, (NO_SCHEDULE, NO_EXECUTE)) is not None for t in self.table.taint_sets]
        return refused_where(
            np.array(hostile)[self.table.taint_ids[rows]], unresolvable(self.name, "node(s) had untolerated taint(s)")
        )

    def score(self, state: CycleState, pod: Any, rows: Rows) -> Array:
        """The number of taints that ask to be avoided and are not tolerated."""
        tolerations = [t for t in pod.facts.tolerations if t.get("effect") in (None, "", PREFER_NO_SCHEDULE)]
        counts = [
            sum(
                1
                for taint in taints
                if taint[2] == PREFER_NO_SCHEDULE and not any(tolerates(t, taint) for t in tolerations)
            )
            for taints in self.table.taint_sets
        ]
        found: Array = np.array(counts, dtype=np.int64)[self.table.taint_ids[rows]]
        return found

    def normalize(self, state: CycleState, pod: PodView, scores: Array) -> Array:
        return normalize_by_maximum(scores, reverse=True)

    def events(self) -> Iterable[ClusterEvent]:
        return (
            ClusterEvent(Resource.NODE, Action.ADD | Action.UPDATE_NODE_TAINT, _taint_gone),
            ClusterEvent(Resource.POD, Action.UPDATE_POD_TOLERATIONS, _own_tolerations),
        )


def _taint_gone(pod: Any, old: Object | None, new: Object | None) -> bool:
    def hostile(node: Object) -> bool:
        return untolerated(pod.facts.tolerations, taints_of(node), (NO_SCHEDULE, NO_EXECUTE)) is not None

    return new is not None and not hostile(new) and (old is None or hostile(old))


def _own_tolerations(pod: PodView, old: Object | None, new: Object | None) -> bool:
    return new is not None and uid_of(new) == pod.uid


class NodeAffinity(NodePlugin):
    """nodeSelector and node affinity; ``addedAffinity`` is the profile's own, required of every pod."""

    name = "NodeAffinity"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        super().__init__(args, handle)
        added = args.get("addedAffinity") or {}
        required = added.get("requiredDuringSchedulingIgnoredDuringExecution")
        self._added = NodeSelection.of(None, required) if required is not None else None
        self._added_preferred = PreferredTerms.of(added.get("preferredDuringSchedulingIgnoredDuringExecution") or None)

    def pre_filter(self, state: CycleState, pod: Any) -> Status | PreFilterResult | None:
        selection: NodeSelection = pod.facts.selection
        if selection.everything and self._added is None:
            return SKIP
        names = selection.names()
        if names is None:
            return None
        return PreFilterResult(names) if names else unresolvable(self.name, "pod affinity terms conflict")

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        statuses = (
            unresolvable(self.name, "node(s) didn't match Pod's node affinity/selector"),
            unresolvable(self.name, "node(s) didn't match scheduler-enforced node affinity"),
        )
        codes = (~self._selected(pod.facts.selection, rows)).astype(np.int16)
        if self._added is not None:
            codes[~self._selected(self._added, rows)] = 2
        return Verdicts(codes, statuses)

    def _selected(self, selection: NodeSelection, rows: Rows) -> Array:
        return select_nodes(self.table, selection, rows)

    def pre_score(self, state: CycleState, pod: Any, rows: Rows) -> Status | None:
        return None if pod.facts.preferred.given or self._added_preferred.given else SKIP

    def score(self, state: CycleState, pod: Any, rows: Rows) -> Array:
        total = np.zeros(self.table.size(rows), dtype=np.int64)
        for preferred in (self._added_preferred, pod.facts.preferred):
            for term, weight in preferred.terms:
                total += weight * _term_rows(self.table, term, rows)
        return total

    def normalize(self, state: CycleState, pod: PodView, scores: Array) -> Array:
        return normalize_by_maximum(scores, reverse=False)

    def events(self) -> Iterable[ClusterEvent]:
        return (ClusterEvent(Resource.NODE, Action.ADD | Action.UPDATE_NODE_LABEL, self._node_matches),)

    def _node_matches(self, pod: Any, old: Object | None, new: Object | None) -> bool:
        if new is None or (self._added is not None and not self._added.matches(new)):
            return False
        selection: NodeSelection = pod.facts.selection
        return selection.matches(new) and (old is None or not selection.matches(old))


def _term_rows(table: NodeTable, term: SelectorTerm, rows: Rows) -> Array:
    found = np.full(table.size(rows), not term.empty)
    for requirement in term.expressions:
        found &= table.labels(requirement.key).where(requirement, rows)
    for requirement in term.fields:
        if requirement.key == NAME_FIELD:
            found &= table.labels(NAME_FIELD).where(requirement, rows)
        else:
            found &= False
    return found


def select_nodes(table: NodeTable, selection: NodeSelection, rows: Rows) -> Array:
    """Which rows a pod's nodeSelector and required node affinity allow."""
    found = np.ones(table.size(rows), dtype=bool)
    for key, value in selection.selector:
        found &= table.labels(key).equals(value, rows)
    if selection.terms is not None:
        any_term = np.zeros(len(found), dtype=bool)
        for term in selection.terms:
            any_term |= _term_rows(table, term, rows)
        found &= any_term
    return found
