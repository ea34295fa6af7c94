"""DefaultPreemption: which pods would have to go, and which node's victims are the cheapest."""

from __future__ import annotations

from dataclasses import dataclass

from .cluster import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Cluster,
    find,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    priority_of,
    requirements_of,
    selects,
    status,
)
from .cycle import answer, check

NEVER_STARTED = "9999"
"""Later than any time: a pod that has not started counts as starting now."""


@dataclass(frozen=True)
class Candidate:
    node: str
    victims: tuple[str, ...]
    """Names, the most important first."""
    violations: int


def not_eligible(cluster: Cluster, pod: dict) -> str:
    """Why the pod may not preempt at all."""
    if pod["spec"].get("preemptionPolicy") == "Never":
        return "not eligible due to preemptionPolicy=Never."
    node = find(cluster.nodes, status(pod).get("nominatedNodeName"))
    if node is None:
        return ""
    refusal = answer(cluster, pod).refusals.get(name_of(node))
    if refusal is not None and refusal.code == UNRESOLVABLE:
        return ""
    if any(priority_of(p) < priority_of(pod) and _leaves_for_another(p) for p in cluster.pods_on(node)):
        return "not eligible due to a terminating pod on the nominated node."
    return ""


def _leaves_for_another(pod: dict) -> bool:
    target = next((c for c in status(pod).get("conditions") or [] if c["type"] == "DisruptionTarget"), None)
    if not is_terminating(pod) or target is None:
        return False
    return target["status"] == "True" and target.get("reason") == "PreemptionByScheduler"


def candidates(cluster: Cluster, pod: dict) -> list[Candidate]:
    refusals = answer(cluster, pod).refusals
    found = []
    for node in cluster.nodes:
        refusal = refusals.get(name_of(node))
        if refusal is not None and refusal.code == UNSCHEDULABLE:
            candidate = _victims_on(cluster, pod, node)
            if candidate is not None:
                found.append(candidate)
    return found


def _started(pod: dict) -> str:
    return status(pod).get("startTime") or NEVER_STARTED


def _importance(pod: dict) -> tuple:
    """Sorts the most important first: priority, then the longest running."""
    return (-priority_of(pod), _started(pod))


def _victims_on(cluster: Cluster, pod: dict, node: dict) -> Candidate | None:
    """All lesser pods go; then each that can stay comes back, those first whose budget would be broken."""
    lesser = sorted((p for p in cluster.pods_on(node) if priority_of(p) < priority_of(pod)), key=_importance)
    world = cluster.without(lesser)
    if not lesser or check(world, pod, node) is not None:
        return None
    violating, free = _by_budget(cluster, lesser)
    victims, violations = [], 0
    for each in violating + free:
        tried = world.with_placed([each], node)
        if check(tried, pod, node) is None:
            world = tried
        else:
            victims.append(each)
            violations += each in violating
    if not victims:
        return None
    victims.sort(key=_importance)
    return Candidate(name_of(node), tuple(name_of(v) for v in victims), violations)


def _by_budget(cluster: Cluster, pods: list) -> tuple[list, list]:
    """(those whose eviction breaks a budget, the others), in the order given."""
    left = [status(b).get("disruptionsAllowed", 0) for b in cluster.disruption_budgets]
    violating, free = [], []
    for pod in pods:
        broken = False
        for at, budget in enumerate(cluster.disruption_budgets):
            selector = budget["spec"].get("selector")
            if not labels_of(pod) or namespace_of(budget) != namespace_of(pod):
                continue
            if selector is None or not requirements_of(selector) or not selects(selector, labels_of(pod)):
                continue
            if name_of(pod) in (status(budget).get("disruptedPods") or {}):
                continue
            left[at] -= 1
            broken = broken or left[at] < 0
        (violating if broken else free).append(pod)
    return violating, free


def best(cluster: Cluster, found: list[Candidate]) -> set[str]:
    """The nodes that upstream may choose: fewest broken budgets, least important victims, fewest, youngest."""
    pods = {name_of(p): p for p in cluster.pods}

    def cost(candidate: Candidate) -> tuple:
        victims = [pods[v] for v in candidate.victims]
        highest = max(map(priority_of, victims))
        earliest = min(_started(v) for v in victims if priority_of(v) == highest)
        # A later start is better: compared last, and reversed.
        return (
            candidate.violations,
            priority_of(victims[0]),
            sum(priority_of(v) + 2**31 for v in victims),
            len(victims),
            [-ord(c) for c in earliest],
        )

    lowest = min(map(cost, found), default=None)
    return {c.node for c in found if cost(c) == lowest}
