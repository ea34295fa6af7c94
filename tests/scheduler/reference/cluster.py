"""A cluster as lists of plain objects, and the vocabulary of all rules: quantities, selectors, taints."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction

UNSCHEDULABLE = "Unschedulable"
"""Removing pods from the node might help."""
UNRESOLVABLE = "UnschedulableAndUnresolvable"
"""Removing pods from the node cannot help."""


@dataclass(frozen=True)
class Refusal:
    plugin: str
    code: str
    reasons: tuple[str, ...]


@dataclass
class Cluster:
    """``pods`` are all pods but the one in question: placed ones (spec.nodeName) and nominated ones."""

    nodes: list = field(default_factory=list)
    pods: list = field(default_factory=list)
    namespaces: list = field(default_factory=list)
    services: list = field(default_factory=list)
    replication_controllers: list = field(default_factory=list)
    replica_sets: list = field(default_factory=list)
    stateful_sets: list = field(default_factory=list)
    disruption_budgets: list = field(default_factory=list)
    volumes: list = field(default_factory=list)
    claims: list = field(default_factory=list)
    storage_classes: list = field(default_factory=list)
    csi_nodes: list = field(default_factory=list)
    csi_drivers: list = field(default_factory=list)
    csi_capacities: list = field(default_factory=list)
    attachments: list = field(default_factory=list)

    def pods_on(self, node: dict) -> list:
        return [p for p in self.pods if p["spec"].get("nodeName") == name_of(node) and not is_over(p)]

    def node_of(self, pod: dict) -> dict | None:
        return find(self.nodes, pod["spec"].get("nodeName"))

    def placed(self) -> list:
        return [p for p in self.pods if self.node_of(p) is not None and not is_over(p)]

    def nominated_on(self, node: dict) -> list:
        return [
            p
            for p in self.pods
            if not p["spec"].get("nodeName") and status(p).get("nominatedNodeName") == name_of(node)
        ]

    def namespace_labels(self, name: str) -> dict:
        found = find(self.namespaces, name)
        return labels_of(found) if found else {}

    def without(self, pods: list) -> Cluster:
        gone = {uid_of(p) for p in pods}
        return replace(self, pods=[p for p in self.pods if uid_of(p) not in gone])

    def with_placed(self, pods: list, node: dict) -> Cluster:
        """As if these pods ran on the node."""
        moved = []
        for pod in pods:
            pod = copy.deepcopy(pod)
            pod["spec"]["nodeName"] = name_of(node)
            moved.append(pod)
        rest = self.without(pods)
        return replace(rest, pods=rest.pods + moved)


# -- objects -------------------------------------------------------------------------------------------------------


def name_of(obj: dict) -> str:
    return obj["metadata"]["name"]


def namespace_of(obj: dict) -> str:
    return obj["metadata"].get("namespace", "")


def uid_of(obj: dict) -> str:
    return obj["metadata"].get("uid") or f"{namespace_of(obj)}/{name_of(obj)}"


def labels_of(obj: dict) -> dict:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: dict) -> dict:
    return obj["metadata"].get("annotations") or {}


def status(obj: dict) -> dict:
    return obj.get("status") or {}


def priority_of(pod: dict) -> int:
    return pod["spec"].get("priority") or 0


def is_over(pod: dict) -> bool:
    return status(pod).get("phase") in ("Succeeded", "Failed")


def is_terminating(pod: dict) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def find(objects: list, name: str | None, namespace: str = "") -> dict | None:
    return next((o for o in objects if name_of(o) == name and namespace_of(o) == namespace), None)


def containers(pod: dict) -> list:
    return pod["spec"].get("containers") or []


def init_containers(pod: dict) -> list:
    return pod["spec"].get("initContainers") or []


def is_sidecar(container: dict) -> bool:
    return container.get("restartPolicy") == "Always"


# -- quantities ----------------------------------------------------------------------------------------------------

_SUFFIXES = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{suffix: Fraction(1000**at) for at, suffix in enumerate(["k", "M", "G", "T", "P", "E"], 1)},
    **{suffix: Fraction(1024**at) for at, suffix in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], 1)},
}


def quantity(text: str | int | float) -> Fraction:
    match = re.fullmatch(r"([+-]?[0-9.]+)(?:[eE]([+-]?[0-9]+)|([a-zA-Z]*))", str(text))
    assert match, text
    number, exponent, suffix = match.groups()
    return Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix])


def amount(resource: str, text: str | int | float) -> int:
    """Thousandths of a CPU, whole units of all else, rounded up."""
    value = quantity(text)
    return math.ceil(value * 1000) if resource == "cpu" else math.ceil(value)


# -- label selectors -----------------------------------------------------------------------------------------------


def requirement_holds(requirement: dict, labels: dict) -> bool:
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values") or []
    match operator:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt" | "Lt":
            if key not in labels or not _is_integer(labels[key]):
                return False
            left, right = int(labels[key]), int(values[0])
            return left > right if operator == "Gt" else left < right
    raise AssertionError(operator)


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", text) is not None and -(2**63) <= int(text) < 2**63


def requirements_of(selector: dict) -> list:
    wanted = [{"key": k, "operator": "In", "values": [v]} for k, v in (selector.get("matchLabels") or {}).items()]
    return wanted + (selector.get("matchExpressions") or [])


def selects(selector: dict | None, labels: dict) -> bool:
    """A missing selector selects nothing, an empty one everything."""
    return selector is not None and all(requirement_holds(r, labels) for r in requirements_of(selector))


# -- node selectors ------------------------------------------------------------------------------------------------


def term_matches(term: dict, node: dict) -> bool:
    """An empty term matches nothing."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    return all(requirement_holds(r, labels_of(node)) for r in expressions) and all(
        requirement_holds(r, {"metadata.name": name_of(node)}) for r in fields
    )


def required_terms(pod: dict) -> list | None:
    required = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    return None if required is None else required.get("nodeSelectorTerms") or []


def wants_node(pod: dict, node: dict) -> bool:
    """nodeSelector and the required node affinity."""
    for key, value in (pod["spec"].get("nodeSelector") or {}).items():
        if labels_of(node).get(key) != value:
            return False
    terms = required_terms(pod)
    return terms is None or any(term_matches(t, node) for t in terms)


# -- taints --------------------------------------------------------------------------------------------------------


def tolerates(toleration: dict, taint: dict) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return toleration.get("operator", "Equal") == "Equal" and toleration.get("value", "") == taint.get("value", "")


def tolerated(pod: dict, taint: dict) -> bool:
    return any(tolerates(t, taint) for t in pod["spec"].get("tolerations") or [])


def untolerated(pod: dict, node: dict) -> list:
    """Taints that keep the pod away."""
    taints = (node.get("spec") or {}).get("taints") or []
    return [t for t in taints if t["effect"] in ("NoSchedule", "NoExecute") and not tolerated(pod, t)]


# -- scores --------------------------------------------------------------------------------------------------------


def normalize(scores: dict[str, int], reverse: bool = False) -> dict[str, int]:
    """0..100 in proportion to the highest."""
    highest = max(scores.values(), default=0)
    if highest == 0:
        return {n: 100 if reverse else 0 for n in scores}
    return {n: 100 - 100 * s // highest if reverse else 100 * s // highest for n, s in scores.items()}
