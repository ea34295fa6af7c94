"""Whether the node takes a pod that was bound to it: the same questions as the scheduler's, asked again where it counts.

Reasons and messages are upstream's (``lifecycle/predicate.go``): the scheduler may have been late, or not asked at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...api.pod_resources import is_native
from ...api.quantity import parse_quantity
from .model import Object, containers_of, init_containers_of, is_critical, is_sidecar, is_static, spec_of
from .qos import pod_resources, qos_class

SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """``resources`` names what is short, where that is the reason (preemption may help)."""

    reason: str
    message: str
    resources: tuple[str, ...] = ()


def admission_order(pod: Object) -> tuple[int, str]:
    """Of pods that are found all at once (the kubelet was away) the important ones get their room first, then the older ones."""
    return -int(spec_of(pod).get("priority") or 0), (pod.get("metadata") or {}).get("creationTimestamp") or ""


def admit(
    pod: Object, node: Object, others: Sequence[Object], *, allowed_sysctls: Sequence[str] = ()
) -> Rejection | None:
    """``others`` are the pods that the node has taken and that have not ended."""
    spec, labels = spec_of(pod), (node.get("metadata") or {}).get("labels") or {}
    system = (spec.get("os") or {}).get("name")
    if system and system != "linux":
        return Rejection("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    wanted = (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    if wanted is not None and wanted != labels.get("kubernetes.io/os", "linux"):
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return Rejection("PodOSSelectorNodeLabelDoesNotMatch", text)
    policy = (spec.get("securityContext") or {}).get("supplementalGroupsPolicy")
    if policy == "Strict" and not ((node.get("status") or {}).get("features") or {}).get("supplementalGroupsPolicy"):
        text = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return Rejection("SupplementalGroupsPolicyNotSupported", text)
    forbidden = _forbidden_sysctl(spec, allowed_sysctls)
    if forbidden is not None:
        return Rejection("SysctlForbidden", forbidden)
    short = short_of(pod, node, others)
    if short is not None:
        return short
    if is_static(pod):
        return _taints(spec, node)
    if not matches_node(spec, node):
        return Rejection(
            "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        )
    if spec.get("nodeName") and spec["nodeName"] != (node.get("metadata") or {}).get("name"):
        return Rejection("NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name")
    if _ports_clash(pod, others):
        text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        return Rejection("NodePorts", text)
    return _taints(spec, node)


# -- resources -----------------------------------------------------------------------------------------------------------


def _number(name: str, value: Any) -> int:
    number = parse_quantity(str(value))
    return int(number * 1000) if name == "cpu" else int(number)


def short_of(pod: Object, node: Object, others: Sequence[Object]) -> Rejection | None:
    """What the node lacks to take the pod beside the others."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    missing: list[tuple[str, int, int, int]] = []
    limit = allocatable.get("pods")
    if limit is not None and len(others) + 1 > int(parse_quantity(limit)):
        missing.append(("pods", 1, len(others), int(parse_quantity(limit))))
    used: dict[str, int] = {}
    for other in others:
        for name, value in pod_resources(other, "requests").items():
            used[name] = used.get(name, 0) + _number(name, value)
    for name, value in pod_resources(pod, "requests").items():
        if name not in allocatable and not is_native(name):
            continue  # the scheduler counts what the node does not know of (resources of the cluster, or not yet seen here)
        asked, capacity = _number(name, value), _number(name, allocatable.get(name, 0))
        if asked and asked > capacity - used.get(name, 0):
            missing.append((name, asked, used.get(name, 0), capacity))
    if not missing:
        return None
    name, asked, taken, capacity = missing[0]
    text = f"Node didn't have enough resource: {name}, requested: {asked}, used: {taken}, capacity: {capacity}"
    return Rejection(f"OutOf{name}", text, tuple(m[0] for m in missing))


# -- labels, taints, ports -----------------------------------------------------------------------------------------------


def _expression(expression: Mapping[str, Any], value: str | None) -> bool:
    operator = expression.get("operator")
    values: list[str] = expression.get("values") or []
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if value is None or not re.fullmatch(r"-?\d+", value) or len(values) != 1 or not re.fullmatch(r"-?\d+", values[0]):
        return False
    return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])


def _term(term: Mapping[str, Any], node: Object) -> bool:
    meta = node.get("metadata") or {}
    labels = meta.get("labels") or {}
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    named = {"metadata.name": meta.get("name")}
    return all(_expression(e, labels.get(e["key"])) for e in expressions) and all(
        _expression(f, named.get(f["key"])) for f in fields
    )


def matches_node(spec: Mapping[str, Any], node: Object) -> bool:
    """nodeSelector and the required node affinity."""
    labels = (node.get("metadata") or {}).get("labels") or {}
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term(t, node) for t in required.get("nodeSelectorTerms") or ())


def _tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    for toleration in tolerations:
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("key") not in (None, "", taint.get("key")):
            continue
        operator = toleration.get("operator") or "Equal"
        if operator == "Exists" or (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def _taints(spec: Mapping[str, Any], node: Object) -> Rejection | None:
    tolerations = spec.get("tolerations") or ()
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") == "NoExecute" and not _tolerated(taint, tolerations):
            text = f"node(s) had untolerated taint {{{taint.get('key')}: {taint.get('value') or ''}}}"
            return Rejection("TaintToleration", f"Predicate TaintToleration failed: {text}")
    return None


def _host_ports(pod: Object) -> set[tuple[str, int, str]]:
    found = set()
    sidecars = (c for c in init_containers_of(pod) if is_sidecar(c))
    for container in (*containers_of(pod), *sidecars):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                found.add((port.get("protocol") or "TCP", port["hostPort"], port.get("hostIP") or "0.0.0.0"))
    return found


def _ports_clash(pod: Object, others: Sequence[Object]) -> bool:
    mine = _host_ports(pod)
    if not mine:
        return False
    anywhere = ("0.0.0.0", "::", "")
    for other in others:
        for protocol, port, address in _host_ports(other):
            for own_protocol, own_port, own_address in mine:
                same = address == own_address or address in anywhere or own_address in anywhere
                if same and (protocol, port) == (own_protocol, own_port):
                    return True
    return False


# -- sysctls -------------------------------------------------------------------------------------------------------------


def _forbidden_sysctl(spec: Mapping[str, Any], allowed: Sequence[str]) -> str | None:
    host_network, host_ipc = bool(spec.get("hostNetwork")), bool(spec.get("hostIPC"))
    for entry in (spec.get("securityContext") or {}).get("sysctls") or ():
        shown = entry.get("name", "")
        name = shown.replace("/", ".")
        listed = name in SAFE_SYSCTLS or any(
            name == a or (a.endswith("*") and name.startswith(a.removesuffix("*"))) for a in allowed
        )
        if not listed:
            return f'forbidden sysctl: "{shown}" not allowlisted'
        if name.startswith("net.") and host_network:
            return f'forbidden sysctl: "{shown}" not allowed with host net enabled'
        if name.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")) and host_ipc:
            return f'forbidden sysctl: "{shown}" not allowed with host ipc enabled'
    return None


# -- preemption ----------------------------------------------------------------------------------------------------------


def victims(pod: Object, rejection: Rejection, node: Object, others: Sequence[Object]) -> list[Object]:
    """For a critical pod that lacks resources: the fewest and least important pods whose end makes room, or none."""
    if not is_critical(pod) or not rejection.resources:
        return []
    order = {"BestEffort": 0, "Burstable": 1, "Guaranteed": 2}
    mine = int(spec_of(pod).get("priority") or 0)
    candidates = sorted(
        (o for o in others if not is_critical(o) and int(spec_of(o).get("priority") or 0) < max(mine, 1)),
        key=lambda o: (int(spec_of(o).get("priority") or 0), order[qos_class(o)]),
    )
    chosen: list[Object] = []
    for candidate in candidates:
        chosen.append(candidate)
        left = [o for o in others if not any(o is c for c in chosen)]
        if short_of(pod, node, left) is None:
            return chosen
    return []
