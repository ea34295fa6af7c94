"""Affinity terms of the pods that are placed: what they say about a pod that is to come.

Equal terms of different pods are counted together, by row and, by their topology key, by value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .columns import LabelSet, RowCounts
from .podinfo import PodInfo
from .terms import Term, Terms

if TYPE_CHECKING:
    from .nodetable import NodeTable

REQUIRED, REQUIRED_ANTI, PREFERRED, PREFERRED_ANTI = "required", "required anti", "preferred", "preferred anti"


class ExistingTerm:
    """One term that placed pods have, with its weight (0 where it is required)."""

    __slots__ = ("counts", "kind", "term", "weight")

    def __init__(self, term: Term, kind: str, weight: int, capacity: int) -> None:
        self.term, self.kind, self.weight = term, kind, weight
        self.counts = RowCounts(capacity)


class TermIndex:
    """All terms of placed pods."""

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self._terms: dict[tuple[str, Term, int], ExistingTerm] = {}
        self.generation = 0
        """Raised when a term is met for the first time, or namespaces change their labels."""
        self.namespace_labels: dict[str, Mapping[str, str]] = {}

    def __len__(self) -> int:
        return len(self._terms)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """None for a namespace that is gone."""
        if self.namespace_labels.get(name) == labels:
            return
        if labels is None:
            self.namespace_labels.pop(name, None)
        else:
            self.namespace_labels[name] = labels
        self.generation += 1

    def add(self, pod: PodInfo, row: int, count: int) -> None:
        for kind, term, weight in _weighted(pod.terms):
            found = self._terms.get((kind, term, weight))
            if found is None:
                found = self._terms[kind, term, weight] = ExistingTerm(term, kind, weight, self._table.capacity)
                self.generation += 1
            found.counts.add(row, count)

    def grow(self, capacity: int) -> None:
        for term in self._terms.values():
            term.counts.grow(capacity)

    def matching(self, labels: LabelSet) -> Sequence[ExistingTerm]:
        """The terms that speak of pods with these labels (some may be of no pod any more: their counts are 0)."""
        known = labels.memo.get(TermIndex)
        if known is None or known[0] != self.generation:
            own = self.namespace_labels.get(labels.namespace, {})
            found = [t for t in self._terms.values() if t.term.matches(labels.namespace, labels.labels, own)]
            known = labels.memo[TermIndex] = (self.generation, found)
        matching: Sequence[ExistingTerm] = known[1]
        return matching

    def forget_unused(self) -> None:
        """Drops terms of no pod, where there are many."""
        if len(self._terms) > 1000:
            self._terms = {k: t for k, t in self._terms.items() if t.counts.total}
            self.generation += 1


def _weighted(terms: Terms) -> Sequence[tuple[str, Term, int]]:
    return [
        *((REQUIRED, t, 0) for t in terms.required),
        *((REQUIRED_ANTI, t, 0) for t in terms.required_anti),
        *((PREFERRED, w.term, w.weight) for w in terms.preferred),
        *((PREFERRED_ANTI, w.term, w.weight) for w in terms.preferred_anti),
    ]
