"""From NetworkPolicies, pods and namespaces to the wanted contents of the policy table. Pure, and incremental by pod.

A pod that comes, changes or goes is a matter of elements. A policy that changes brings new chains: then the table is compared as a
whole (``take_update`` says so).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import inet_aton

from .nft.contents import Changes, Contents, Item
from .nft.tables import Chain, Set, goto_data
from .policy_model import DIRECTIONS, INGRESS, PodPeer, Policy, PolicyPod, PolicyPort
from .policy_table import (
    named_port_set,
    named_ports,
    peer_set,
    policy_chain,
    sets_of,
    together_chain,
    together_chain_name,
)
from .service_table import pack_frontend


@dataclass(slots=True)
class PolicyUpdate:
    """``whole`` asks for a comparison of the whole table; else chains, then elements."""

    whole: bool = False
    chains: list[Chain] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)

    def __bool__(self) -> bool:
        return bool(self.whole or self.chains or self.changes)


class PolicyRules:
    """The wanted policy table of node ``node_name``."""

    def __init__(self, node_name: str) -> None:
        self.contents = Contents()
        self._node = node_name
        self._policies: dict[str, Policy] = {}
        self._pods: dict[str, PolicyPod] = {}
        self._by_namespace: dict[str, dict[str, PolicyPod]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._peers: dict[str, PodPeer] = {}
        self._targets: list[tuple[Set, PodPeer | None, PolicyPort, str]] = []
        self._together: dict[str, Chain] = {}
        self._update = PolicyUpdate()
        self._policies_changed = False

    @property
    def sets(self) -> list[Set]:
        return list(sets_of(self._policies.values()).values())

    @property
    def chains(self) -> list[Chain]:
        policies = [policy_chain(p, d) for p in self._policies.values() for d in p.rules]
        return [*policies, *self._together.values()]

    # -- changing --------------------------------------------------------------------------------------------------

    def set_policy(self, key: str, policy: Policy | None) -> None:
        if policy == self._policies.get(key):
            return
        if policy is None:
            del self._policies[key]
        else:
            self._policies[key] = policy
        self._policies_changed = True

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """None where it is gone."""
        if labels == self._namespaces.get(name):
            return
        if labels is None:
            del self._namespaces[name]
        else:
            self._namespaces[name] = labels
        for pod in list(self._by_namespace.get(name, {}).values()):
            self._place(pod)

    def set_pod(self, key: str, pod: PolicyPod | None) -> None:
        """None for one that is gone or that policies do not concern."""
        old = self._pods.get(key)
        if old is not None:
            del self._pods[key]
            del self._by_namespace[old.namespace][key]
        if pod is None:
            if old is not None:
                self.contents.assign(key, {})
            return
        self._pods[key] = pod
        self._by_namespace.setdefault(pod.namespace, {})[key] = pod
        if old is None or old != pod or old.labels != pod.labels:
            self._place(pod)

    def pod(self, key: str) -> PolicyPod | None:
        return self._pods.get(key)

    def take_update(self) -> PolicyUpdate:
        if self._policies_changed:
            self._policies_changed = False
            self._rearrange()
            self._update.whole = True
        update, self._update = self._update, PolicyUpdate()
        update.changes = self.contents.take_changes()
        return update

    # -- working out -----------------------------------------------------------------------------------------------

    def _rearrange(self) -> None:
        """After a change of policies: all pods find their places anew."""
        policies = self._policies.values()
        self._peers = {p.identity: p for o in policies for rules in o.rules.values() for r in rules for p in r.peers}
        targets = {}
        for policy in policies:
            for direction in policy.rules:
                for peer, port in named_ports(policy, direction):
                    item = named_port_set(policy, direction, peer, port)
                    selected_by = policy.key if direction == INGRESS else ""
                    targets[item.name] = (item, peer, port, selected_by)
        self._targets = list(targets.values())
        self._together.clear()
        for pod in self._pods.values():
            self._place(pod)

    def _place(self, pod: PolicyPod) -> None:
        wanted: dict[Item, bytes] = {}
        address = inet_aton(pod.address)
        labels = self._namespaces.get(pod.namespace)
        for peer in self._peers.values():
            if peer.selects(pod, labels):
                wanted[peer_set(peer).name, address] = b""
        for item, peer_of_port, port, selected_by in self._targets:
            if not self._is_target(pod, peer_of_port, selected_by):
                continue
            for name, protocol, number in pod.named_ports:
                if name == port.name and protocol == port.protocol:
                    wanted[item.name, pack_frontend(pod.address, protocol, number)] = b""
        if pod.node == self._node:
            self._isolate(wanted, pod, address)
        self.contents.assign(pod.key, wanted)

    def _is_target(self, pod: PolicyPod, peer: PodPeer | None, selected_by: str) -> bool:
        if selected_by:
            return pod.node == self._node and self._policies[selected_by].selects(pod)
        return peer is None or peer.selects(pod, self._namespaces.get(pod.namespace))

    def _isolate(self, wanted: dict[Item, bytes], pod: PolicyPod, address: bytes) -> None:
        selecting = [p for _, p in sorted(self._policies.items()) if p.selects(pod)]
        for direction in DIRECTIONS:
            policies = [p for p in selecting if direction in p.rules]
            if not policies:
                continue
            name = together_chain_name([p.key for p in policies], direction)
            if name not in self._together:
                self._together[name] = together_chain(policies, direction)
                self._update.chains.append(self._together[name])
            wanted[f"{direction}_pods", address] = goto_data(name)
            wanted["self", address * 2] = b""
