"""Whether a node can take a pod, and how well it would suit: pure functions over ``NodeView`` in upstream's order and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..api.meta import Object, labels_of, name_of
from ..api.selectors import Requirement
from .requests import Amounts, HostPort, amounts, host_ports, pod_requests, ports_conflict

UNRESOLVABLE = {"NodeName", "NodeUnschedulable", "NodeAffinity", "TaintToleration"}
"""Plugins whose refusal no preemption can lift."""


@dataclass(slots=True)
class NodeView:
    """A node and what is asked of it by the pods placed there."""

    node: Object
    allocatable: Amounts
    requested: Amounts = field(default_factory=dict)
    ports: dict[str, frozenset[HostPort]] = field(default_factory=dict)
    pods: dict[str, Amounts] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Object) -> NodeView:
        return cls(node, amounts((node.get("status") or {}).get("allocatable")))

    def add(self, key: str, pod: Object) -> None:
        if key in self.pods:
            self.remove(key)
        asked = pod_requests(pod)
        self.pods[key] = asked
        for name, value in asked.items():
            self.requested[name] = self.requested.get(name, 0) + value
        ports = host_ports(pod)
        if ports:
            self.ports[key] = ports

    def remove(self, key: str) -> None:
        for name, value in self.pods.pop(key, {}).items():
            self.requested[name] -= value
        self.ports.pop(key, None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one plugin refused one node; several reasons where several resources lack."""

    plugin: str
    reasons: tuple[str, ...]


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """The rule of the "Taints and Tolerations" page."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(pod: Object, taints: Iterable[Mapping[str, Any]], effects: Sequence[str]) -> Mapping[str, Any] | None:
    """The first taint with one of these effects that the pod does not tolerate."""
    tolerations = (pod.get("spec") or {}).get("tolerations") or []
    for taint in taints:
        if taint.get("effect") in effects and not any(tolerates(t, taint) for t in tolerations):
            return taint
    return None


def matches_term(term: Mapping[str, Any], node: Object) -> bool:
    """A node selector term; one without conditions matches nothing."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    return all(_matches(e, labels_of(node)) for e in expressions) and all(
        _matches(f, {"metadata.name": name_of(node)}) for f in fields
    )


def _matches(expression: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    requirement = Requirement(expression["key"], expression["operator"], frozenset(expression.get("values") or []))
    return requirement.matches(values)


def _affinity(pod: Object) -> Mapping[str, Any]:
    return ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}


def matches_node_affinity(pod: Object, node: Object) -> bool:
    selector = (pod.get("spec") or {}).get("nodeSelector") or {}
    labels = labels_of(node)
    if any(labels.get(k) != v for k, v in selector.items()):
        return False
    required = _affinity(pod).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(matches_term(t, node) for t in required.get("nodeSelectorTerms") or [])


def refuse(pod: Object, asked: Amounts, view: NodeView) -> Refusal | None:
    """The first refusal in upstream's order of filters; None where the node can take the pod."""
    spec, node_spec = pod.get("spec") or {}, view.node.get("spec") or {}
    taints = node_spec.get("taints") or []
    if node_spec.get("unschedulable"):
        cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        if untolerated(pod, [cordon], ("NoSchedule",)):
            return Refusal("NodeUnschedulable", ("node(s) were unschedulable",))
    if spec.get("nodeName") and spec["nodeName"] != name_of(view.node):
        return Refusal("NodeName", ("node(s) didn't match the requested node name",))
    if untolerated(pod, taints, ("NoSchedule", "NoExecute")):
        return Refusal("TaintToleration", ("node(s) had untolerated taint(s)",))
    if not matches_node_affinity(pod, view.node):
        return Refusal("NodeAffinity", ("node(s) didn't match Pod's node affinity/selector",))
    if view.ports:
        wanted = host_ports(pod)
        if any(ports_conflict(w, t) for w in wanted for taken in view.ports.values() for t in taken):
            return Refusal("NodePorts", ("node(s) didn't have free ports for the requested pod ports",))
    return _refuse_resources(asked, view)


def _refuse_resources(asked: Amounts, view: NodeView) -> Refusal | None:
    reasons = []
    if len(view.pods) + 1 > view.allocatable.get("pods", 0):
        reasons.append("Too many pods")
    for name, wanted in asked.items():
        if wanted > 0 and wanted > view.allocatable.get(name, 0) - view.requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
    return Refusal("NodeResourcesFit", tuple(reasons)) if reasons else None


def score(pod: Object, asked: Amounts, view: NodeView) -> float:
    """0 to about 600, more is better: free share, balance of CPU and memory, preferred affinity, tolerated taints."""
    fractions = []
    for name in ("cpu", "memory"):
        allocatable = view.allocatable.get(name, 0)
        if allocatable:
            fractions.append(min(1.0, (view.requested.get(name, 0) + asked.get(name, 0)) / allocatable))
    free = 100.0 * (1.0 - sum(fractions) / len(fractions)) if fractions else 0.0
    balance = 100.0 * (1.0 - abs(fractions[0] - fractions[1]) / 2) if len(fractions) == 2 else 0.0
    preferred = _affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution") or []
    total = sum(p["weight"] for p in preferred)
    liked = sum(p["weight"] for p in preferred if matches_term(p.get("preference") or {}, view.node))
    avoided = untolerated(pod, (view.node.get("spec") or {}).get("taints") or [], ("PreferNoSchedule",))
    return free + balance + (200.0 * liked / total if total else 0.0) + (0.0 if avoided else 300.0)


def failure_message(nodes: int, refusals: Iterable[Refusal]) -> str:
    """``0/5 nodes are available: 2 Insufficient cpu, 3 node(s) ...``: counted, sorted by text as upstream does."""
    counts: dict[str, int] = {}
    for refusal in refusals:
        for reason in refusal.reasons:
            counts[reason] = counts.get(reason, 0) + 1
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    if not nodes:
        return "no nodes available to schedule pods"
    return f"0/{nodes} nodes are available: {listed}." if listed else f"0/{nodes} nodes are available."
