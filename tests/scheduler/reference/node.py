"""Rules that concern the node alone: its name, taints, labels, images, host ports."""

from __future__ import annotations

from .cluster import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Cluster,
    Refusal,
    containers,
    init_containers,
    is_sidecar,
    name_of,
    normalize,
    required_terms,
    status,
    term_matches,
    tolerated,
    untolerated,
    wants_node,
)

MB = 1024 * 1024


def unschedulable(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    if not (node.get("spec") or {}).get("unschedulable"):
        return None
    if tolerated(pod, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}):
        return None
    return Refusal("NodeUnschedulable", UNRESOLVABLE, ("node(s) were unschedulable",))


def named(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    wanted = pod["spec"].get("nodeName")
    if not wanted or wanted == name_of(node):
        return None
    return Refusal("NodeName", UNRESOLVABLE, ("node(s) didn't match the requested node name",))


def taints(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    if not untolerated(pod, node):
        return None
    return Refusal("TaintToleration", UNRESOLVABLE, ("node(s) had untolerated taint(s)",))


def taint_scores(cluster: Cluster, pod: dict, nodes: list) -> dict:
    """The fewer PreferNoSchedule taints are not tolerated, the better."""
    return normalize({name_of(n): _disliked(pod, n) for n in nodes}, reverse=True)


def _disliked(pod: dict, node: dict) -> int:
    found = (node.get("spec") or {}).get("taints") or []
    return sum(1 for t in found if t["effect"] == "PreferNoSchedule" and not tolerated(pod, t))


# -- NodeAffinity --------------------------------------------------------------------------------------------------


def affinity_nodes(cluster: Cluster, pod: dict) -> set | Refusal | None:
    """The names that the pod's terms leave, if every term names nodes."""
    names: set = set()
    terms = required_terms(pod)
    if not terms:
        return None
    for term in terms:
        named_ones: set | None = None
        for requirement in term.get("matchFields") or []:
            if requirement["key"] == "metadata.name" and requirement["operator"] == "In":
                values = set(requirement["values"])
                named_ones = values if named_ones is None else named_ones & values
        if named_ones is None:
            return None
        names |= named_ones
    return names if names else Refusal("NodeAffinity", UNRESOLVABLE, ("pod affinity terms conflict",))


def affinity(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    if wants_node(pod, node):
        return None
    return Refusal("NodeAffinity", UNRESOLVABLE, ("node(s) didn't match Pod's node affinity/selector",))


def affinity_scores(cluster: Cluster, pod: dict, nodes: list) -> dict | None:
    preferred = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "preferredDuringSchedulingIgnoredDuringExecution"
    )
    if not preferred:
        return None
    return normalize(
        {name_of(n): sum(t["weight"] for t in preferred if term_matches(t["preference"], n)) for n in nodes}
    )


# -- NodePorts -----------------------------------------------------------------------------------------------------


def host_ports(pod: dict) -> list:
    """(address, protocol, port)"""
    found = []
    for container in [c for c in init_containers(pod) if is_sidecar(c)] + containers(pod):
        for port in container.get("ports") or []:
            if port.get("hostPort", 0) > 0:
                found.append((port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"]))
    return found


def ports(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    for address, *rest in host_ports(pod):
        for other in cluster.pods_on(node):
            for theirs, *taken in host_ports(other):
                if rest == taken and (address == theirs or "0.0.0.0" in (address, theirs)):
                    reason = "node(s) didn't have free ports for the requested pod ports"
                    return Refusal("NodePorts", UNSCHEDULABLE, (reason,))
    return None


# -- ImageLocality -------------------------------------------------------------------------------------------------


def _full_name(image: str) -> str:
    return image if image.rfind(":") > image.rfind("/") else image + ":latest"


def _image_sizes(node: dict) -> dict:
    return {n: i.get("sizeBytes", 0) for i in status(node).get("images") or [] for n in i.get("names") or []}


def image_scores(cluster: Cluster, pod: dict, nodes: list) -> dict:
    wanted = [c.get("image", "") for c in init_containers(pod) + containers(pod)]
    wanted += [v["image"].get("reference", "") for v in pod["spec"].get("volumes") or [] if v.get("image")]
    count = len(init_containers(pod)) + len(containers(pod))
    lowest, highest = 23 * MB, 1000 * MB * count
    found = {}
    for node in nodes:
        total = 0
        for name in map(_full_name, wanted):
            size = _image_sizes(node).get(name)
            if size is not None:
                holders = sum(1 for n in cluster.nodes if name in _image_sizes(n))
                total += int(float(size) * (holders / len(cluster.nodes)))
        total = min(max(total, lowest), highest)
        found[name_of(node)] = 100 * (total - lowest) // (highest - lowest)
    return found


# -- NodeDeclaredFeatures ------------------------------------------------------------------------------------------


def needed_features(pod: dict) -> set:
    """What the kubelet must be able to do for the pod."""
    found = set()
    rules = [r for c in init_containers(pod) + containers(pod) for r in c.get("restartPolicyRules") or []]
    if any(r.get("action") == "RestartAllContainers" for r in rules):
        found.add("RestartAllContainersOnContainerExits")
    if pod["spec"].get("hostNetwork") and pod["spec"].get("hostUsers") is False:
        found.add("UserNamespacesHostNetworkSupport")
    return found


def features(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    if needed_features(pod) <= set(status(node).get("declaredFeatures") or []):
        return None
    return Refusal("NodeDeclaredFeatures", UNRESOLVABLE, ("node(s) didn't match Pod's required features",))
