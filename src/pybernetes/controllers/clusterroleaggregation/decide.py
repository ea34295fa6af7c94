"""The rules of an aggregated ClusterRole. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...api.meta import Object, labels_of, name_of
from ...api.selectors import selector_from_object


def aggregated_rules(role: Object, roles: Iterable[Object]) -> list[dict[str, Any]]:
    """In the order of the selectors, then of the names; each rule once."""
    rules: list[dict[str, Any]] = []
    ordered = sorted((r for r in roles if name_of(r) != name_of(role)), key=name_of)
    for selector_object in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []:
        selector = selector_from_object(selector_object)
        for other in ordered:
            if selector.matches(labels_of(other)):
                rules += [r for r in other.get("rules") or [] if r not in rules]
    return rules
