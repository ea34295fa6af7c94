"""One pod against all nodes: upstream's order of plugins, its weights, its words for failure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from . import affinity, node, resources, spread, volumes
from .cluster import UNRESOLVABLE, Cluster, Refusal, name_of, priority_of, uid_of

AHEAD = [
    ("NodeAffinity", node.affinity_nodes),
    ("VolumeRestrictions", volumes.restrictions_ahead),
    ("VolumeBinding", volumes.binding_ahead),
    ("VolumeZone", volumes.zone_ahead),
]
"""Questions that no node can answer."""

FILTERS = [
    node.unschedulable,
    node.named,
    node.taints,
    node.affinity,
    node.ports,
    resources.fit,
    volumes.restrictions,
    volumes.limits,
    volumes.binding,
    volumes.zone,
    spread.fits,
    affinity.fits,
    node.features,
]

SCORES = {
    "TaintToleration": node.taint_scores,
    "NodeAffinity": node.affinity_scores,
    "NodeResourcesFit": resources.least_allocated,
    "PodTopologySpread": spread.scores,
    "InterPodAffinity": affinity.scores,
    "NodeResourcesBalancedAllocation": resources.balanced,
    "ImageLocality": node.image_scores,
}
WEIGHTS = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodeResourcesFit": 1,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}


@dataclass
class Answer:
    ahead: Refusal | None = None
    """The pod as a whole was refused."""
    left_out: tuple[str, ...] = ()
    """Nodes that NodeAffinity's names leave out."""
    refusals: dict[str, Refusal] = field(default_factory=dict)
    scores: dict[str, dict[str, int]] = field(default_factory=dict)
    """Node to plugin to weighted score, of the nodes that can take the pod."""

    @property
    def feasible(self) -> set:
        return set(self.scores)

    @property
    def totals(self) -> dict[str, int]:
        return {n: sum(s.values()) for n, s in self.scores.items()}

    @property
    def best(self) -> set:
        totals = self.totals
        return {n for n, t in totals.items() if t == max(totals.values())}


def answer(cluster: Cluster, pod: dict) -> Answer:
    found = Answer()
    names: set | None = None
    for _, question in AHEAD:
        said = question(cluster, pod)
        if isinstance(said, Refusal):
            return Answer(ahead=said)
        if isinstance(said, set):
            names = said
    feasible = []
    for each in cluster.nodes:
        if names is not None and name_of(each) not in names:
            found.left_out += (name_of(each),)
            continue
        refusal = check(cluster, pod, each)
        if refusal is None:
            feasible.append(each)
        else:
            found.refusals[name_of(each)] = refusal
    found.scores = _scores(cluster, pod, feasible)
    return found


def check(cluster: Cluster, pod: dict, where: dict) -> Refusal | None:
    """With nominated pods that are as important placed, and without: each way must do."""
    nominated = [
        p for p in cluster.nominated_on(where) if priority_of(p) >= priority_of(pod) and uid_of(p) != uid_of(pod)
    ]
    worlds = [cluster.with_placed(nominated, where), cluster] if nominated else [cluster]
    for world in worlds:
        for rule in FILTERS:
            refusal = rule(world, pod, where)
            if refusal is not None:
                return refusal
    return None


def _scores(cluster: Cluster, pod: dict, feasible: list) -> dict:
    found: dict = {name_of(n): {} for n in feasible}
    if not feasible:
        return found
    for plugin, rule in SCORES.items():
        for name, score in (rule(cluster, pod, feasible) or {n: 0 for n in found}).items():
            assert 0 <= score <= 100, (plugin, name, score)
            found[name][plugin] = WEIGHTS[plugin] * score
    return found


def message(cluster: Cluster, pod: dict) -> str:
    """The PodScheduled condition's message where no node can take the pod, up to what preemption adds."""
    found = answer(cluster, pod)
    count = len(cluster.nodes)
    if count == 0:
        return "no nodes available to schedule pods"
    if found.ahead is not None:
        return f"0/{count} nodes are available: {', '.join(found.ahead.reasons)}."
    reasons: Counter = Counter(r for refusal in found.refusals.values() for r in refusal.reasons)
    if found.left_out:
        reasons["node(s) didn't satisfy plugin(s) [NodeAffinity]"] += len(found.left_out)
    return f"0/{count} nodes are available: {', '.join(sorted(f'{n} {r}' for r, n in reasons.items()))}."


__all__ = ["UNRESOLVABLE", "Answer", "answer", "check", "message"]
