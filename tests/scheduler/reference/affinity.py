"""InterPodAffinity: terms of the pod about others, and of the others about the pod."""

from __future__ import annotations

from .cluster import UNRESOLVABLE, UNSCHEDULABLE, Cluster, Refusal, labels_of, name_of, namespace_of, selects

REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def _terms(pod: dict, kind: str, strength: str) -> list:
    return ((pod["spec"].get("affinity") or {}).get(kind) or {}).get(strength) or []


def _matches(cluster: Cluster, owner: dict, term: dict, other: dict) -> bool:
    """Whether a term of ``owner`` speaks of ``other``."""
    names, selector = term.get("namespaces") or [], term.get("namespaceSelector")
    if not names and selector is None:
        names = [namespace_of(owner)]
    near = namespace_of(other) in names or selects(selector, cluster.namespace_labels(namespace_of(other)))
    return near and selects(_selector(term, owner), labels_of(other))


def _selector(term: dict, owner: dict) -> dict | None:
    """The API server has written matchLabelKeys into the selector when the pod was made; nothing is left to do."""
    return term.get("labelSelector")


def _same_domain(key: str, one: dict, other: dict) -> bool:
    """Whether both nodes carry the label, with the same value."""
    return key in labels_of(one) and labels_of(one)[key] == labels_of(other).get(key)


def _neighbours(cluster: Cluster) -> list:
    return [(p, cluster.node_of(p)) for p in cluster.placed()]


# -- filter --------------------------------------------------------------------------------------------------------


def fits(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    if not _affinity_holds(cluster, pod, node):
        return Refusal("InterPodAffinity", UNRESOLVABLE, ("node(s) didn't match pod affinity rules",))
    for term in _terms(pod, "podAntiAffinity", REQUIRED):
        for other, where in _neighbours(cluster):
            if _same_domain(term["topologyKey"], node, where) and _matches(cluster, pod, term, other):
                return Refusal("InterPodAffinity", UNSCHEDULABLE, ("node(s) didn't match pod anti-affinity rules",))
    for other, where in _neighbours(cluster):
        for term in _terms(other, "podAntiAffinity", REQUIRED):
            if _same_domain(term["topologyKey"], node, where) and _matches(cluster, other, term, pod):
                reason = "node(s) didn't satisfy existing pods anti-affinity rules"
                return Refusal("InterPodAffinity", UNSCHEDULABLE, (reason,))
    return None


def _affinity_holds(cluster: Cluster, pod: dict, node: dict) -> bool:
    """Each term needs, in the node's domain, a pod that all of the terms speak of.

    The first of a group that wants its own company has none anywhere; it may go where the labels exist.
    """
    terms = _terms(pod, "podAffinity", REQUIRED)
    if any(t["topologyKey"] not in labels_of(node) for t in terms):
        return False
    friends = [
        (other, where)
        for other, where in _neighbours(cluster)
        if terms and all(_matches(cluster, pod, t, other) for t in terms)
    ]
    if all(any(_same_domain(t["topologyKey"], node, where) for _, where in friends) for t in terms):
        return True
    anywhere = any(t["topologyKey"] in labels_of(where) for t in terms for _, where in friends)
    return not anywhere and all(_matches(cluster, pod, t, pod) for t in terms)


# -- score ---------------------------------------------------------------------------------------------------------


def scores(cluster: Cluster, pod: dict, nodes: list) -> dict | None:
    raw = {name_of(n): 0 for n in nodes}
    said = False
    for other, where in _neighbours(cluster):
        for key, weight in _opinions(cluster, pod, other):
            if key in labels_of(where):
                said = True
                for node in nodes:
                    if _same_domain(key, node, where):
                        raw[name_of(node)] += weight
    if not said:
        return None
    lowest, highest = min(raw.values()), max(raw.values())
    span = highest - lowest
    return {n: int(100.0 * (float(s - lowest) / float(span))) if span else 0 for n, s in raw.items()}


def _opinions(cluster: Cluster, pod: dict, other: dict) -> list:
    """(topology key, weight) of all that the pod and the other say of each other."""
    found = []
    for sign, kind in ((1, "podAffinity"), (-1, "podAntiAffinity")):
        for speaker, listener in ((pod, other), (other, pod)):
            for weighted in _terms(speaker, kind, PREFERRED):
                if _matches(cluster, speaker, weighted["podAffinityTerm"], listener):
                    found.append((weighted["podAffinityTerm"]["topologyKey"], sign * weighted["weight"]))
    for term in _terms(other, "podAffinity", REQUIRED):
        if _matches(cluster, other, term, pod):
            found.append((term["topologyKey"], 1))
    return found
