"""Whether a pod's node selector and required node affinity fit a node. Pure. Specified by "Assigning Pods to Nodes"."""

from __future__ import annotations

from typing import Any

from ..api.meta import Object, labels_of, name_of
from ..api.selectors import Requirement


def fits(pod_spec: dict[str, Any], node: Object) -> bool:
    if not (pod_spec.get("nodeSelector") or {}).items() <= labels_of(node).items():
        return False
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    # Terms are alternatives; a term without conditions fits nothing.
    return any(_term_fits(t, node) for t in required.get("nodeSelectorTerms") or [])


def _term_fits(term: dict[str, Any], node: Object) -> bool:
    expressions, matched_fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not matched_fields:
        return False
    fields = {"metadata.name": name_of(node)}
    return all(_requirement(e).matches(labels_of(node)) for e in expressions) and all(
        _requirement(e).matches(fields) for e in matched_fields
    )


def _requirement(expression: dict[str, Any]) -> Requirement:
    return Requirement(expression["key"], expression["operator"], frozenset(expression.get("values") or []))


def only_node(affinity: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """The affinity with its required terms replaced by: this very node."""
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]
    node_affinity = dict((affinity or {}).get("nodeAffinity") or {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    node_affinity[required] = {"nodeSelectorTerms": terms}
    return {**(affinity or {}), "nodeAffinity": node_affinity}


def target_node(pod: Object) -> str:
    """The node that a pod is on, or that ``only_node`` bound it to; '' where there is neither."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or []:
        for field in term.get("matchFields") or []:
            values = field.get("values") or []
            if field.get("key") == "metadata.name" and field.get("operator") == "In" and len(values) == 1:
                return str(values[0])
    return ""
