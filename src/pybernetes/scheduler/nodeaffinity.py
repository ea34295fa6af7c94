"""Node selectors and taints, compiled to questions about one node's labels or about whole columns.

Specified by "Assigning Pods to Nodes" and "Taints and Tolerations".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..api.meta import Object, labels_of, name_of
from ..api.selectors import Requirement

NAME_FIELD = "metadata.name"
NO_SCHEDULE, NO_EXECUTE, PREFER_NO_SCHEDULE = "NoSchedule", "NoExecute", "PreferNoSchedule"
Taint = tuple[str, str, str]
"""(key, value, effect)"""


def _requirements(terms: Iterable[Mapping[str, Any]]) -> tuple[Requirement, ...]:
    return tuple(Requirement(t["key"], t["operator"], frozenset(t.get("values") or ())) for t in terms)


@dataclass(frozen=True, slots=True)
class SelectorTerm:
    """A conjunction of conditions on labels and fields; one without conditions matches nothing."""

    expressions: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]

    @classmethod
    def of(cls, term: Mapping[str, Any]) -> SelectorTerm:
        return cls(_requirements(term.get("matchExpressions") or ()), _requirements(term.get("matchFields") or ()))

    @property
    def empty(self) -> bool:
        return not self.expressions and not self.fields

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        if self.empty:
            return False
        return all(r.matches(labels) for r in self.expressions) and all(
            r.key == NAME_FIELD and r.matches({NAME_FIELD: name}) for r in self.fields
        )


@dataclass(frozen=True, slots=True)
class NodeSelection:
    """``nodeSelector`` and required node affinity together. ``terms`` is None where no affinity is required."""

    selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[SelectorTerm, ...] | None = None

    @classmethod
    def of(cls, selector: Mapping[str, str] | None, required: Mapping[str, Any] | None) -> NodeSelection:
        terms = None
        if required is not None:
            terms = tuple(SelectorTerm.of(t) for t in required.get("nodeSelectorTerms") or ())
        return cls(tuple(sorted((selector or {}).items())), terms)

    @property
    def everything(self) -> bool:
        return not self.selector and self.terms is None

    def matches(self, node: Object) -> bool:
        labels = labels_of(node)
        if any(labels.get(key) != value for key, value in self.selector):
            return False
        return self.terms is None or any(t.matches(name_of(node), labels) for t in self.terms)

    def names(self) -> frozenset[str] | None:
        """The only nodes that the terms' fields allow; None where some term does not name nodes."""
        if not self.terms:
            return None
        allowed: set[str] = set()
        for term in self.terms:
            named: frozenset[str] | None = None
            for field in term.fields:
                if field.key == NAME_FIELD and field.operator == "In":
                    named = field.values if named is None else named & field.values
            if named is None:
                return None
            allowed |= named
        return frozenset(allowed)


@dataclass(frozen=True, slots=True)
class PreferredTerms:
    """Preferred node affinity: weights of the terms that match add up. Weight 0 and empty terms count nothing."""

    terms: tuple[tuple[SelectorTerm, int], ...] = ()
    given: bool = False

    @classmethod
    def of(cls, terms: Sequence[Mapping[str, Any]] | None) -> PreferredTerms:
        found = ((SelectorTerm.of(t.get("preference") or {}), int(t.get("weight") or 0)) for t in terms or ())
        return cls(tuple((term, weight) for term, weight in found if weight and not term.empty), terms is not None)


def taints_of(node: Object) -> tuple[Taint, ...]:
    return tuple(
        (t.get("key") or "", t.get("value") or "", t.get("effect") or "")
        for t in (node.get("spec") or {}).get("taints") or ()
    )


def tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """The rule of the "Taints and Tolerations" page."""
    key, value, effect = taint
    if toleration.get("effect") and toleration["effect"] != effect:
        return False
    if toleration.get("key") and toleration["key"] != key:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return operator == "Equal" and (toleration.get("value") or "") == value


def untolerated(
    tolerations: Iterable[Mapping[str, Any]], taints: Iterable[Taint], effects: Sequence[str]
) -> Taint | None:
    """The first taint with one of these effects that is not tolerated."""
    listed = list(tolerations)
    for taint in taints:
        if taint[2] in effects and not any(tolerates(t, taint) for t in listed):
            return taint
    return None


UNSCHEDULABLE_TAINT: Taint = ("node.kubernetes.io/unschedulable", "", NO_SCHEDULE)
