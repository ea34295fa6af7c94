"""PodTopologySpread: constraints of the pod, or the cluster's defaults for pods of services and workloads."""

from __future__ import annotations

import math

from .cluster import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Cluster,
    Refusal,
    find,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    requirements_of,
    selects,
    untolerated,
    wants_node,
)

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
DEFAULTS = [
    {"topologyKey": HOSTNAME, "maxSkew": 3, "whenUnsatisfiable": "ScheduleAnyway"},
    {"topologyKey": ZONE, "maxSkew": 5, "whenUnsatisfiable": "ScheduleAnyway"},
]
MISMATCH = "node(s) didn't match pod topology spread constraints"


def _constraints(pod: dict, action: str) -> list:
    found = []
    for constraint in pod["spec"].get("topologySpreadConstraints") or []:
        if constraint["whenUnsatisfiable"] == action:
            found.append({**constraint, "labelSelector": _with_label_keys(constraint, labels_of(pod))})
    return found


def _with_label_keys(constraint: dict, labels: dict) -> dict | None:
    selector = constraint.get("labelSelector")
    if selector is None:
        return None
    extra = [
        {"key": k, "operator": "In", "values": [labels[k]]}
        for k in constraint.get("matchLabelKeys") or []
        if k in labels
    ]
    return {"matchExpressions": extra + requirements_of(selector)}


def _counted(constraint: dict, pod: dict, node: dict) -> bool:
    """Whether the constraint's node policies let the node's pods and domain count."""
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not wants_node(pod, node):
        return False
    return constraint.get("nodeTaintsPolicy", "Ignore") != "Honor" or not untolerated(pod, node)


def _matching(cluster: Cluster, constraint: dict, pod: dict, node: dict) -> int:
    selector = constraint["labelSelector"]
    if selector is None or not requirements_of(selector):
        return 0
    return sum(
        1
        for other in cluster.pods_on(node)
        if namespace_of(other) == namespace_of(pod)
        and not is_terminating(other)
        and selects(selector, labels_of(other))
    )


def _has_all_keys(node: dict, constraints: list) -> bool:
    return all(c["topologyKey"] in labels_of(node) for c in constraints)


# -- filter --------------------------------------------------------------------------------------------------------


def fits(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    constraints = _constraints(pod, "DoNotSchedule")
    for constraint in constraints:
        key = constraint["topologyKey"]
        if key not in labels_of(node):
            return Refusal("PodTopologySpread", UNRESOLVABLE, (f"{MISMATCH} (missing required label)",))
        counts: dict = {}
        for other in cluster.nodes:
            if _has_all_keys(other, constraints) and _counted(constraint, pod, other):
                domain = labels_of(other)[key]
                counts[domain] = counts.get(domain, 0) + _matching(cluster, constraint, pod, other)
        lowest = min(counts.values(), default=2**31 - 1)
        if len(counts) < (constraint.get("minDomains") or 1):
            lowest = 0
        itself = 1 if selects(constraint["labelSelector"], labels_of(pod)) else 0
        if counts.get(labels_of(node)[key], 0) + itself - lowest > constraint["maxSkew"]:
            return Refusal("PodTopologySpread", UNSCHEDULABLE, (MISMATCH,))
    return None


# -- score ---------------------------------------------------------------------------------------------------------


def scores(cluster: Cluster, pod: dict, nodes: list) -> dict | None:
    own = bool(pod["spec"].get("topologySpreadConstraints"))
    constraints = _constraints(pod, "ScheduleAnyway") if own else _default_constraints(cluster, pod)
    if not constraints:
        return None
    eligible = [n for n in nodes if not own or _has_all_keys(n, constraints)]
    raw = {name_of(n): _raw(cluster, pod, n, eligible, constraints, own) for n in eligible}
    lowest, highest = min(raw.values(), default=0), max(raw.values(), default=0)
    found = {}
    for node in nodes:
        score = raw.get(name_of(node))
        if score is None:
            found[name_of(node)] = 0
        elif highest == 0:
            found[name_of(node)] = 100
        else:
            found[name_of(node)] = 100 * (highest + lowest - score) // highest
    return found


def _raw(cluster: Cluster, pod: dict, node: dict, eligible: list, constraints: list, own: bool) -> int:
    total = 0.0
    for constraint in constraints:
        key = constraint["topologyKey"]
        if key not in labels_of(node):
            continue
        if key == HOSTNAME:
            size = len(eligible)
            count = _matching(cluster, constraint, pod, node)
        else:
            size = len({labels_of(n).get(key, "") for n in eligible})
            count = sum(
                _matching(cluster, constraint, pod, other)
                for other in cluster.nodes
                if labels_of(other).get(key, "") == labels_of(node)[key]
                and (not own or _has_all_keys(other, constraints))
                and _counted(constraint, pod, other)
            )
        total += count * math.log(size + 2) + (constraint["maxSkew"] - 1)
    return math.floor(total + 0.5)


def _default_constraints(cluster: Cluster, pod: dict) -> list:
    wanted = _workload_requirements(cluster, pod)
    return [{**c, "labelSelector": {"matchExpressions": wanted}} for c in DEFAULTS] if wanted else []


def _workload_requirements(cluster: Cluster, pod: dict) -> list:
    """What the services and the controller that select the pod ask of its labels."""
    merged: dict = {}
    for service in cluster.services:
        selector = service["spec"].get("selector")
        if namespace_of(service) == namespace_of(pod) and selector is not None:
            if selects({"matchLabels": selector}, labels_of(pod)):
                merged.update(selector)
    owner = next((o for o in pod["metadata"].get("ownerReferences") or [] if o.get("controller")), None)
    extra: list = []
    if owner is not None:
        kind = (owner["apiVersion"], owner["kind"])
        if kind == ("v1", "ReplicationController"):
            found = find(cluster.replication_controllers, owner["name"], namespace_of(pod))
            merged.update((found or {"spec": {}})["spec"].get("selector") or {})
        elif kind in (("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet")):
            among = cluster.replica_sets if owner["kind"] == "ReplicaSet" else cluster.stateful_sets
            found = find(among, owner["name"], namespace_of(pod))
            if found is not None:
                extra = requirements_of(found["spec"]["selector"])
    return requirements_of({"matchLabels": merged}) + extra
