"""The nftables table of network policies. Pure.

Two chains see every forwarded packet: the first asks whether its source may send it, the second whether its destination may
receive it. Each looks the pod up in a map that leads to the chain of those policies together that select it (pods of one
Deployment share one), from there to one chain a policy, whose rules accept. What comes to the end is dropped. Which pods a
selector finds stands in sets, so that pods come and go without a change of rules.

Traffic between a pod and its own node passes neither chain: it is always allowed. So are answers, and a pod to itself.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence

from .nft import expressions as e
from .nft.tables import ADDRESS, FORWARD, PROTOCOL, SERVICE, VERDICT, Chain, Hook, Set, Table
from .nft.wire import AF_INET
from .policy_model import DIRECTIONS, EGRESS, INGRESS, PodPeer, Policy, PolicyPort, PolicyRule
from .service_table import network

TABLE = "p8s_policies"
_PRIORITY = {EGRESS: -2, INGRESS: -1}
_NAME_LENGTH = 100


def policy_table() -> Table:
    table = Table(TABLE, AF_INET)
    table.add_set(Set("self", (ADDRESS, ADDRESS)))
    for direction in DIRECTIONS:
        table.add_set(Set(f"{direction}_pods", (ADDRESS,), (VERDICT,)))
    for direction, load in ((EGRESS, e.source_address(0)), (INGRESS, e.destination_address(0))):
        chain = table.add_chain(direction, Hook("filter", FORWARD, _PRIORITY[direction]))
        chain.add(e.join(e.has_state(e.STATE_ESTABLISHED | e.STATE_RELATED, 0), e.verdict(e.ACCEPT)))
        pair = [e.source_address(0), e.destination_address(1)]
        chain.add(e.join(pair, e.lookup("self", 0), e.verdict(e.ACCEPT)))
        chain.add(e.join(load, e.lookup_verdict(f"{direction}_pods", 0)))
    return table


def _short(text: str) -> str:
    if len(text) <= _NAME_LENGTH:
        return text
    return f"{text[: _NAME_LENGTH - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def policy_chain_name(policy: Policy, direction: str) -> str:
    return _short(f"{direction}_{policy.key}")


def together_chain_name(policies: Sequence[str], direction: str) -> str:
    """Of the chain for pods that exactly these policies select."""
    digest = hashlib.sha256(" ".join(policies).encode()).hexdigest()[:12]
    return f"{direction}_pods_{digest}"


def together_chain(policies: Sequence[Policy], direction: str) -> Chain:
    keys = [p.key for p in policies]
    chain = Chain(together_chain_name(keys, direction))
    for policy in policies:
        chain.add([e.verdict(e.JUMP, policy_chain_name(policy, direction))])
    chain.add([e.verdict(e.DROP)], f"isolated by {', '.join(keys)}")
    return chain


def peer_set(peer: PodPeer) -> Set:
    return Set(f"pods_{peer.identity}", (ADDRESS,))


def named_port_set(policy: Policy, direction: str, peer: PodPeer | None, port: PolicyPort) -> Set:
    """Destinations with a container port of this name: (address, protocol, number).

    Ingress arrives at pods that the policy selects, egress goes to the peer's (to any pod where there is no peer).
    """
    who = f"selected by {policy.key}" if direction == INGRESS else peer.identity if peer is not None else "any"
    digest = hashlib.sha256(f"{who}; {port.protocol}; {port.name}".encode()).hexdigest()[:12]
    return Set(f"ports_{digest}", (ADDRESS, PROTOCOL, SERVICE))


def policy_chain(policy: Policy, direction: str) -> Chain:
    chain = Chain(policy_chain_name(policy, direction))
    for rule in policy.rules[direction]:
        for expressions in _rule(policy, direction, rule):
            chain.add([*expressions, e.verdict(e.ACCEPT)])
    return chain


def _rule(policy: Policy, direction: str, rule: PolicyRule) -> Iterator[list[e.Expression]]:
    for port in rule.ports or (None,):
        for peer in (*rule.peers, *((None,) if rule.anywhere else ())):
            yield e.join(_from(direction, peer), _port(policy, direction, peer, port))
        for block in rule.blocks:
            address = e.source_address(0) if direction == INGRESS else e.destination_address(0)
            yield e.join(e.in_network(network(block), address, 0), _port(policy, direction, None, port))


def _from(direction: str, peer: PodPeer | None) -> list[e.Expression]:
    if peer is None:
        return []
    address = e.source_address(0) if direction == INGRESS else e.destination_address(0)
    return [address, e.lookup(peer_set(peer).name, 0)]


def _port(policy: Policy, direction: str, peer: PodPeer | None, port: PolicyPort | None) -> list[e.Expression]:
    if port is None:
        return []
    if port.name:
        return [*e.frontend(0), e.lookup(named_port_set(policy, direction, peer, port).name, 0)]
    found = [e.protocol(0), e.compare(0, e.EQUAL, bytes((port.protocol,)))]
    if port.first:
        found.append(e.destination_port(0))
        if port.first == port.last:
            found.append(e.compare(0, e.EQUAL, struct.pack("!H", port.first)))
        else:
            found.append(e.compare(0, e.AT_LEAST, struct.pack("!H", port.first)))
            found.append(e.compare(0, e.AT_MOST, struct.pack("!H", port.last)))
    return found


def named_ports(policy: Policy, direction: str) -> Iterator[tuple[PodPeer | None, PolicyPort]]:
    """(peer, port) of every named port; for ingress the peer does not matter, and in a block it is any pod."""
    for rule in policy.rules.get(direction, ()):
        for port in rule.ports:
            if not port.name:
                continue
            if direction == INGRESS:
                yield None, port
                continue
            for peer in (*rule.peers, *((None,) if rule.anywhere or rule.blocks else ())):
                yield peer, port


def sets_of(policies: Iterable[Policy]) -> dict[str, Set]:
    """The sets that the chains of these policies look into."""
    found: dict[str, Set] = {}
    for policy in policies:
        for direction, rules in policy.rules.items():
            for peer in (peer for rule in rules for peer in rule.peers):
                found[peer_set(peer).name] = peer_set(peer)
            for peer_of_port, port in named_ports(policy, direction):
                item = named_port_set(policy, direction, peer_of_port, port)
                found[item.name] = item
    return found
