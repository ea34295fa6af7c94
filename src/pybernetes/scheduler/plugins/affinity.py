"""InterPodAffinity: pods that want to be near other pods, or far from them, and what placed pods want of newcomers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...api.meta import Object, labels_of, namespace_of, uid_of
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
from ..columns import Array, PodQuery, RowCounts
from ..existing import PREFERRED, PREFERRED_ANTI, REQUIRED, REQUIRED_ANTI, ExistingTerm
from ..nodetable import NodeTable
from ..terms import Term, Terms, terms_of
from .helpers import unresolvable, unschedulable


class InterPodAffinity(Plugin):
    name = "InterPodAffinity"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes
        weight = args.get("hardPodAffinityWeight")
        self._hard_weight = 1 if weight is None else int(weight)
        self._ignore_existing = bool(args.get("ignorePreferredTermsOfExistingPods"))

    # -- counting --------------------------------------------------------------------------------------------------

    def _namespaces(self, term: Term) -> frozenset[str] | None:
        """The namespaces a term speaks of; None for all."""
        if term.namespace_selector.everything:
            return None
        if term.namespace_selector.nothing:
            return term.namespaces
        known = self._table.terms.namespace_labels
        return term.namespaces | {n for n, labels in known.items() if term.namespace_selector.matches(labels)}

    def _counts(self, terms: tuple[Term, ...]) -> RowCounts:
        """Pods that match all the terms."""
        query = PodQuery(tuple(self._namespaces(t) for t in terms), tuple(t.selector for t in terms), True)
        return self._table.counts.counter(query)

    def _by_row(self, counts: RowCounts, key: str, rows: Rows) -> Array:
        """The number of counted pods in the same domain as each row; 0 where the node is in none."""
        column = self._table.labels(key)
        found: Array = counts.by_value(key, column)[column.ids[rows]]
        return found

    def _existing(self, pod: Any) -> list[ExistingTerm]:
        """Terms of placed pods that speak of this pod."""
        if not len(self._table.terms):
            return []
        labels = self._table.counts.label_set(pod.namespace, dict(pod.labels), pod.terminating)
        return [t for t in self._table.terms.matching(labels) if t.counts.total]

    # -- filter ----------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: Any) -> Status | None:
        terms: Terms = pod.terms
        existing = [t for t in self._existing(pod) if t.kind == REQUIRED_ANTI]
        if not existing and not terms.required and not terms.required_anti:
            return SKIP
        state[self.name] = existing
        return None

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        terms: Terms = pod.terms
        reasons = (
            unresolvable(self.name, "node(s) didn't match pod affinity rules"),
            unschedulable(self.name, "node(s) didn't match pod anti-affinity rules"),
            unschedulable(self.name, "node(s) didn't satisfy existing pods anti-affinity rules"),
        )
        codes = np.zeros(self._table.size(rows), dtype=np.int16)
        for existing in state[self.name]:
            codes[self._by_row(existing.counts, existing.term.topology_key, rows) > 0] = 3
        for term in terms.required_anti:
            codes[self._by_row(self._counts((term,)), term.topology_key, rows) > 0] = 2
        if terms.required:
            codes[~self._near(pod, terms.required, rows)] = 1
        return Verdicts(codes, reasons)

    def _near(self, pod: Any, terms: tuple[Term, ...], rows: Rows) -> Array:
        counts = self._counts(terms)
        labelled = np.ones(self._table.size(rows), dtype=bool)
        near = labelled.copy()
        anywhere = False
        for term in terms:
            column = self._table.labels(term.topology_key)
            values = counts.by_value(term.topology_key, column)
            at = column.ids[rows]
            labelled &= at >= 0
            near &= values[at] > 0
            anywhere = anywhere or bool(values.any())
        if not anywhere and all(self._is_self(t, pod) for t in terms):
            # The first pod of a group that wants to be together has nobody to be near.
            return labelled
        return labelled & near

    def _is_self(self, term: Term, pod: Any) -> bool:
        namespaces = self._namespaces(term)
        return (namespaces is None or pod.namespace in namespaces) and term.selector.matches(pod.labels)

    # -- score -----------------------------------------------------------------------------------------------------

    def pre_score(self, state: CycleState, pod: Any, rows: Rows) -> Status | None:
        terms: Terms = pod.terms
        own = [(self._counts((w.term,)), w.term.topology_key, w.weight) for w in terms.preferred]
        own += [(self._counts((w.term,)), w.term.topology_key, -w.weight) for w in terms.preferred_anti]
        if self._ignore_existing and not own:
            return SKIP
        weights = {REQUIRED: self._hard_weight, REQUIRED_ANTI: 0}
        for existing in self._existing(pod):
            sign = {PREFERRED: 1, PREFERRED_ANTI: -1}.get(existing.kind)
            weight = weights[existing.kind] if sign is None else sign * existing.weight
            if weight:
                own.append((existing.counts, existing.term.topology_key, weight))
        own = [part for part in own if part[0].total]
        if not own:
            return SKIP
        state[self.name, "score"] = own
        return None

    def score(self, state: CycleState, pod: Any, rows: Rows) -> Array:
        total = np.zeros(self._table.size(rows), dtype=np.int64)
        for counts, key, weight in state[self.name, "score"]:
            total += weight * self._by_row(counts, key, rows)
        return total

    def normalize(self, state: CycleState, pod: Any, scores: Array) -> Array:
        lowest, highest = int(scores.min()), int(scores.max())
        if highest == lowest:
            return np.zeros_like(scores)
        found: Array = (float(MAX_NODE_SCORE) * ((scores - lowest) / float(highest - lowest))).astype(np.int64)
        return found

    # -- what may help ---------------------------------------------------------------------------------------------

    def events(self) -> Iterable[ClusterEvent]:
        return (
            ClusterEvent(Resource.POD, Action.ADD | Action.UPDATE_POD_LABEL | Action.DELETE, self._pod_changed),
            ClusterEvent(Resource.NODE, Action.ADD | Action.UPDATE_NODE_LABEL, _node_changed),
        )

    def _pod_changed(self, pod: Any, old: Object | None, new: Object | None) -> bool:
        if old is not None and new is not None and uid_of(new) == pod.uid:
            return True
        if any(o is not None and not _placed(o) for o in (old, new)):
            return False
        terms: Terms = pod.terms
        if old is not None and new is not None:
            came_near = not self._all_match(terms.required, old) and self._all_match(terms.required, new)
            went_far = self._all_match(terms.required_anti, old) and not self._all_match(terms.required_anti, new)
            return came_near or went_far
        if new is not None:
            return self._all_match(terms.required, new)
        if old is None or self._all_match(terms.required_anti, old):
            return old is not None
        theirs = terms_of((old.get("spec") or {}).get("affinity") or {}, namespace_of(old)).required_anti
        return self._all_match(theirs, pod.object)

    def _all_match(self, terms: tuple[Term, ...], other: Object) -> bool:
        namespace, labels = namespace_of(other), labels_of(other)
        own = self._table.terms.namespace_labels.get(namespace, {})
        return bool(terms) and all(t.matches(namespace, labels, own) for t in terms)


def _placed(pod: Object) -> bool:
    return bool((pod.get("spec") or {}).get("nodeName") or (pod.get("status") or {}).get("nominatedNodeName"))


def _node_changed(pod: Any, old: Object | None, new: Object | None) -> bool:
    terms: Terms = pod.terms
    after = labels_of(new or {})
    if old is None:
        return bool(terms.required_anti) or any(t.topology_key in after for t in terms.required)
    before = labels_of(old)
    for term in terms.required:
        key = term.topology_key
        if key in after and before.get(key) != after[key]:
            return True
    return any(
        t.topology_key in before and before[t.topology_key] != after.get(t.topology_key) for t in terms.required_anti
    )
