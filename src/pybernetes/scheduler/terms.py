"""Affinity terms of pods, and label selectors, in forms that can be keys of tables.

Specified by "Inter-pod affinity and anti-affinity".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..api.selectors import (
    EVERYTHING,
    IN,
    NOT_IN,
    NOTHING,
    LabelSelector,
    Requirement,
    SelectorError,
    selector_from_object,
)


@dataclass(frozen=True, slots=True)
class Term:
    """Other pods near which a pod wants to be, or far from which."""

    topology_key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> bool:
        return (
            namespace in self.namespaces or self.namespace_selector.matches(namespace_labels)
        ) and self.selector.matches(labels)

    def with_labels(self, requirements: Sequence[Requirement]) -> Term:
        selector = self.selector
        return replace(self, selector=replace(selector, requirements=(*selector.requirements, *requirements)))


@dataclass(frozen=True, slots=True)
class WeightedTerm:
    term: Term
    weight: int


@dataclass(frozen=True, slots=True)
class Terms:
    """All inter-pod affinity terms of a pod."""

    required: tuple[Term, ...] = ()
    required_anti: tuple[Term, ...] = ()
    preferred: tuple[WeightedTerm, ...] = ()
    preferred_anti: tuple[WeightedTerm, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.required or self.required_anti or self.preferred or self.preferred_anti)


NO_TERMS = Terms()


def parse_selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """As ``selector_from_object``; one that the API server would never have let through matches nothing."""
    try:
        return selector_from_object(selector)
    except SelectorError:
        return NOTHING


def _term(term: Mapping[str, Any], namespace: str) -> Term:
    namespaces = frozenset(term.get("namespaces") or ())
    selector = term.get("namespaceSelector")
    if not namespaces and selector is None:
        namespaces = frozenset([namespace])
    return Term(
        term.get("topologyKey") or "",
        parse_selector(term.get("labelSelector")),
        namespaces,
        parse_selector(selector) if selector is not None else NOTHING,
    )


def terms_of(affinity: Mapping[str, Any], namespace: str) -> Terms:
    """The terms of a pod's ``spec.affinity``. matchLabelKeys are in the selectors already: the API server put them there."""
    near, far = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    if not near and not far:
        return NO_TERMS
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )

    def weighted(terms: Sequence[Mapping[str, Any]]) -> tuple[WeightedTerm, ...]:
        return tuple(
            WeightedTerm(_term(t.get("podAffinityTerm") or {}, namespace), int(t.get("weight") or 0)) for t in terms
        )

    return Terms(
        required=tuple(_term(t, namespace) for t in near.get(required) or ()),
        required_anti=tuple(_term(t, namespace) for t in far.get(required) or ()),
        preferred=weighted(near.get(preferred) or ()),
        preferred_anti=weighted(far.get(preferred) or ()),
    )


def with_label_values(selector: LabelSelector, keys: Sequence[str], labels: Mapping[str, str]) -> LabelSelector:
    """The selector, narrowed to objects that have the same values of these labels as ``labels``."""
    if selector.nothing:
        return selector
    more = tuple(
        r
        for r in (Requirement(key, IN, frozenset([labels[key]])) for key in keys if key in labels)
        if r not in selector.requirements
    )
    return replace(selector, requirements=(*selector.requirements, *more)) if more else selector


__all__ = ["EVERYTHING", "NOTHING", "NOT_IN", "Term", "Terms", "WeightedTerm", "parse_selector", "terms_of"]
