"""NetworkPolicies and pods as the node's rules need them. Pure.

Specified by the page "Network Policies" and the API reference of ``networking.k8s.io/v1``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

from ..api.meta import Object, key_of, labels_of, name_of, namespace_of
from ..api.selectors import LabelSelector, SelectorError, selector_from_object
from .model import PROTOCOLS, is_family

INGRESS, EGRESS = "ingress", "egress"
DIRECTIONS = (INGRESS, EGRESS)


@dataclass(frozen=True, slots=True)
class PolicyPod:
    """What policies look at in a pod."""

    key: str
    namespace: str
    address: str
    node: str
    labels: Mapping[str, str] = field(compare=False, hash=False, default_factory=dict)
    named_ports: tuple[tuple[str, int, int], ...] = ()
    """(name, protocol, port)."""


def policy_pod(pod: Object, address: str = "") -> PolicyPod | None:
    """None for a pod that policies do not concern: without an address of its own, or ended. ``address`` may be known earlier."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    addresses = [address, *(i.get("ip") or "" for i in status.get("podIPs") or ()), status.get("podIP") or ""]
    found = next((a for a in addresses if is_family(a, 4)), "")
    if not found:
        return None
    beside = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    ports = tuple(
        (port["name"], PROTOCOLS[port.get("protocol") or "TCP"], int(port["containerPort"]))
        for container in (*(spec.get("containers") or ()), *beside)
        for port in container.get("ports") or ()
        if port.get("name")
    )
    return PolicyPod(key_of(pod), namespace_of(pod), found, spec.get("nodeName") or "", labels_of(pod), ports)


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods by their labels, in one namespace or in those that a selector finds."""

    namespace: str
    namespaces: LabelSelector | None
    pods: LabelSelector

    @property
    def identity(self) -> str:
        """The same for peers that select the same pods, so that they share one set."""
        where = f"in {self.namespace}" if self.namespaces is None else f"where {_text(self.namespaces)}"
        return hashlib.sha256(f"{where}; {_text(self.pods)}".encode()).hexdigest()[:12]

    def selects(self, pod: PolicyPod, namespace_labels: Mapping[str, str] | None) -> bool:
        if self.namespaces is None:
            return pod.namespace == self.namespace and self.pods.matches(pod.labels)
        if namespace_labels is None:
            return False  # its namespace is not known yet
        return self.namespaces.matches(namespace_labels) and self.pods.matches(pod.labels)


def _text(selector: LabelSelector) -> str:
    return "nothing" if selector.nothing else str(selector)


@dataclass(frozen=True, slots=True)
class PolicyPort:
    """One entry of ``ports``: a protocol, and a number, a range or a name where it says so."""

    protocol: int
    first: int = 0
    last: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """``peers`` and ``blocks`` are what it allows, all where ``anywhere``; no ports means every port of every protocol."""

    peers: tuple[PodPeer, ...] = ()
    blocks: tuple[str, ...] = ()
    anywhere: bool = False
    ports: tuple[PolicyPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One NetworkPolicy. ``rules`` has the directions that it isolates."""

    key: str
    namespace: str
    pods: LabelSelector
    rules: Mapping[str, tuple[PolicyRule, ...]] = field(hash=False)

    def selects(self, pod: PolicyPod) -> bool:
        return pod.namespace == self.namespace and self.pods.matches(pod.labels)


def policy_of(obj: Object) -> Policy:
    """Reads a NetworkPolicy. A part that cannot be understood (validation refuses such today) allows nothing."""
    spec = obj.get("spec") or {}
    namespace = namespace_of(obj)
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    rules = {}
    if "Ingress" in types:
        rules[INGRESS] = tuple(_rule(r, "from", namespace) for r in spec.get("ingress") or ())
    if "Egress" in types:
        rules[EGRESS] = tuple(_rule(r, "to", namespace) for r in spec.get("egress") or ())
    return Policy(f"{namespace}/{name_of(obj)}", namespace, _selector(spec.get("podSelector") or {}), rules)


def _selector(selector: Mapping[str, Any]) -> LabelSelector:
    try:
        return selector_from_object(selector)
    except SelectorError:
        return selector_from_object(None)


def _rule(rule: Mapping[str, Any], word: str, namespace: str) -> PolicyRule:
    listed = rule.get(word) or ()
    peers, blocks = [], []
    for peer in listed:
        if peer.get("ipBlock") is not None:
            blocks += _blocks(peer["ipBlock"])
            continue
        namespaces = peer.get("namespaceSelector")
        pods = peer.get("podSelector")
        found = PodPeer(
            "" if namespaces is not None else namespace,
            _selector(namespaces) if namespaces is not None else None,
            _selector(pods if pods is not None else {}),
        )
        peers.append(found)
    ports = tuple(p for p in map(_port, rule.get("ports") or ()) if p is not None)
    if rule.get("ports") and not ports:
        return PolicyRule()  # only ports of a protocol that is not known
    return PolicyRule(tuple(peers), tuple(blocks), not listed, ports)


def _blocks(block: Mapping[str, Any]) -> list[str]:
    """The networks that are left of a block without its exceptions."""
    try:
        left = [IPv4Network(block["cidr"], strict=False)]
        for exception in block.get("except") or ():
            hole = IPv4Network(exception, strict=False)
            left = [part for network in left for part in _without(network, hole)]
    except ValueError:
        return []  # IPv6, or an old object that today's validation would refuse
    return [str(n) for n in collapse_addresses(left)]


def _without(network: IPv4Network, hole: IPv4Network) -> Iterable[IPv4Network]:
    if not network.overlaps(hole):
        return [network]
    return [] if network.subnet_of(hole) else network.address_exclude(hole)


def _port(entry: Mapping[str, Any]) -> PolicyPort | None:
    protocol = PROTOCOLS.get(entry.get("protocol") or "TCP")
    port = entry.get("port")
    if protocol is None:
        return None
    if port is None:
        return PolicyPort(protocol)
    if isinstance(port, str):
        return PolicyPort(protocol, name=port)
    return PolicyPort(protocol, int(port), int(entry.get("endPort") or port))
