"""What ``p8s why`` knows at the end, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Refusal:
    """One plugin's no to one node."""

    plugin: str
    reasons: tuple[str, ...]
    """The words of events and conditions."""
    details: tuple[str, ...] = ()
    """By how much, and who stands in the way."""
    preemptible: bool = False
    """Whether removing pods might help."""

    def as_object(self) -> dict[str, Any]:
        found: dict[str, Any] = {"plugin": self.plugin, "reasons": list(self.reasons)}
        if self.details:
            found["details"] = list(self.details)
        return {**found, "preemptible": self.preemptible}


@dataclass(slots=True)
class NodeAnswer:
    """One node: all that refuse the pod there, the one that the scheduler tells of first; or the scores."""

    node: str
    refusals: list[Refusal] = field(default_factory=list)
    scores: Mapping[str, int] = field(default_factory=dict)
    """By plugin, with its weight."""

    @property
    def total(self) -> int:
        return sum(self.scores.values())

    def as_object(self) -> dict[str, Any]:
        if self.refusals:
            return {"node": self.node, "fits": False, "refusals": [r.as_object() for r in self.refusals]}
        return {"node": self.node, "fits": True, "total": self.total, "scores": dict(self.scores)}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that would let the pod in, tried on the nodes named."""

    text: str
    nodes: tuple[str, ...]
    more: int = 0
    """So many nodes are refused for the same reasons and were not tried."""

    def as_object(self) -> dict[str, Any]:
        return {"change": self.text, "nodes": list(self.nodes), "similarNodes": self.more}


@dataclass(frozen=True, slots=True)
class Preemption:
    """The node that preemption would free and whom it would remove, or why it would not."""

    node: str = ""
    victims: tuple[tuple[str, int], ...] = ()
    """(namespace/name, priority)"""
    violations: int = 0
    why_not: str = ""

    def as_object(self) -> dict[str, Any]:
        if not self.node:
            return {"possible": False, "why": self.why_not}
        victims = [{"pod": name, "priority": priority} for name, priority in self.victims]
        return {"possible": True, "node": self.node, "victims": victims, "budgetViolations": self.violations}


@dataclass(slots=True)
class Explanation:
    """Everything about one pod."""

    pod: str
    placed_on: str = ""
    hypothetical: bool = False
    """The pod does not exist: "what if"."""
    message: str = ""
    """What the scheduler says of a pod that fits nowhere."""
    rejection: Refusal | None = None
    """The pod is refused whatever the node."""
    nodes: list[NodeAnswer] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    preemption: Preemption | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def fitting(self) -> list[NodeAnswer]:
        """The best first."""
        return sorted((n for n in self.nodes if not n.refusals), key=lambda n: (-n.total, n.node))

    @property
    def refused(self) -> list[NodeAnswer]:
        return [n for n in self.nodes if n.refusals]

    def as_object(self) -> dict[str, Any]:
        found: dict[str, Any] = {"pod": self.pod, "hypothetical": self.hypothetical}
        if self.placed_on:
            found["placedOn"] = self.placed_on
        found["message"] = self.message
        if self.rejection is not None:
            found["rejection"] = self.rejection.as_object()
        found["nodes"] = [n.as_object() for n in (*self.fitting, *self.refused)]
        found["changes"] = [c.as_object() for c in self.changes]
        if self.preemption is not None:
            found["preemption"] = self.preemption.as_object()
        found["notes"] = list(self.notes)
        return found
