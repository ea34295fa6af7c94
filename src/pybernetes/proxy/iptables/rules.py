"""All rules of the iptables mode, and what changed since they were last written. Pure, and incremental.

A change of endpoints touches the chains of one Service alone. Only where a Service or its frontends come, go or lose their last
endpoint are the shared chains, which have a line for every Service, written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from socket import inet_aton

from ..flow_targets import FlowTargets, udp_signature
from ..model import UDP, Choice, HostPort, ServicePort
from . import layout
from .layout import FILTER, MANGLE, NAT, Context, Part, Place, comment

SHARED: tuple[Place, ...] = (
    (FILTER, layout.SERVICES),
    (FILTER, layout.EXTERNAL),
    (FILTER, layout.NODE_PORTS),
    (FILTER, layout.PROXY_FIREWALL),
    (NAT, layout.SERVICES),
    (NAT, layout.NODE_PORTS),
    (NAT, layout.HOST_PORTS),
)
"""Chains that hold lines of many Services."""
_NEW = "-m conntrack --ctstate NEW "
_EXTERNAL_JUMP = f"{_NEW}{comment('kubernetes externally-visible service portals')} -j {layout.EXTERNAL}"
_SERVICES_JUMP = f"{_NEW}{comment('kubernetes service portals')} -j {layout.SERVICES}"
_FIREWALL_JUMP = f"{_NEW}{comment('kubernetes load balancer firewall')} -j {layout.PROXY_FIREWALL}"
_NAT_SERVICES_JUMP = f"{comment('kubernetes service portals')} -j {layout.SERVICES}"
_HOST_PORTS_JUMP = f"{comment('kube hostport portals')} -m addrtype --dst-type LOCAL -j {layout.HOST_PORTS}"
_UNSERVED_JUMP = f"{_NEW}{comment('addresses that no Service has')} -j {layout.UNSERVED}"
JUMPS: Mapping[Place, tuple[str, ...]] = {
    (FILTER, "INPUT"): (
        _FIREWALL_JUMP,
        f"{comment('kubernetes health check service ports')} -j {layout.NODE_PORTS}",
        _EXTERNAL_JUMP,
        f"-j {layout.FIREWALL}",
    ),
    (FILTER, "FORWARD"): (
        _FIREWALL_JUMP,
        f"{comment('kubernetes forwarding rules')} -j {layout.FORWARD}",
        _SERVICES_JUMP,
        _EXTERNAL_JUMP,
        _UNSERVED_JUMP,
    ),
    (FILTER, "OUTPUT"): (_FIREWALL_JUMP, _SERVICES_JUMP, f"-j {layout.FIREWALL}", _UNSERVED_JUMP),
    (NAT, "PREROUTING"): (_NAT_SERVICES_JUMP, _HOST_PORTS_JUMP),
    (NAT, "OUTPUT"): (_NAT_SERVICES_JUMP, _HOST_PORTS_JUMP),
    (NAT, "POSTROUTING"): (
        f"{comment('kubernetes postrouting rules')} -j {layout.POSTROUTING}",
        f"{comment('pods to the world')} -j {layout.OUTBOUND}",
    ),
}
"""From the kernel's own chains to ours, in this order."""


@dataclass(frozen=True, slots=True)
class IptablesOptions:
    """What the rules depend on besides objects."""

    cluster_cidr: str
    service_cidr: str = ""
    masquerade_outbound: bool = True


@dataclass(slots=True)
class IptablesUpdate:
    """What must be written: shared chains whole, chains of Services whole, and those that go."""

    shared: dict[Place, tuple[str, ...]] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    touches_udp: bool = False

    def __bool__(self) -> bool:
        return bool(self.shared or self.chains or self.removed)

    def count(self) -> dict[str, int]:
        """How many rules it has, by table."""
        found = {FILTER: 0, NAT: sum(map(len, self.chains.values()))}
        for (table, _), rules in self.shared.items():
            found[table] += len(rules)
        return found


class IptablesRules:
    """The wanted rules."""

    def __init__(self, options: IptablesOptions) -> None:
        self._options = options
        self._context = Context(options.cluster_cidr)
        self._services: dict[str, Sequence[tuple[ServicePort, Choice]]] = {}
        self._host_ports: dict[str, tuple[HostPort, ...]] = {}
        self._parts: dict[tuple[str, str], Part] = {}
        self._chains: dict[str, tuple[str, ...]] = {}
        self._count = {FILTER: 0, NAT: 1}
        self._dirty_chains: dict[str, None] = {}
        self._dirty_shared: set[Place] = set()
        self._touches_udp = False

    # -- changing --------------------------------------------------------------------------------------------------

    def set_node_ips(self, addresses: Sequence[str]) -> None:
        if tuple(addresses) != self._context.node_ips:
            self._context = replace(self._context, node_ips=tuple(addresses))
            self._touches_udp = True
            for key in list(self._services):
                self.set_service(key, self._services[key])

    def set_service(self, key: str, ports: Sequence[tuple[ServicePort, Choice]]) -> None:
        """All ports of one Service (``namespace/name``); none where it is gone."""
        if udp_signature(self._services.get(key, ())) != udp_signature(ports):
            self._touches_udp = True
        if ports:
            self._services[key] = ports
        else:
            self._services.pop(key, None)
        part = Part()
        for port, choice in ports:
            layout.lay_out(part, port, choice, self._context)
        self._assign(("service", key), part)

    def set_host_ports(self, pod: str, ports: Iterable[HostPort]) -> None:
        held = tuple(ports)
        if any(p.protocol == UDP for p in (*held, *self._host_ports.pop(pod, ()))):
            self._touches_udp = True
        if held:
            self._host_ports[pod] = held
        part = Part()
        # Specific addresses go before the wildcard, whichever container comes first.
        for p in sorted(held, key=lambda p: p.host_ip in ("", "0.0.0.0")):
            layout.lay_out_host_port(part, pod, p.protocol, p.host_ip, p.port, (p.pod_ip, p.pod_port))
        self._assign(("pod", pod), part)

    def _assign(self, owner: tuple[str, str], part: Part) -> None:
        old = self._parts.get(owner, Part())
        if part:
            self._parts[owner] = part
        else:
            self._parts.pop(owner, None)
        self._count_part(old, -1)
        self._count_part(part, 1)
        self._dirty_shared.update(p for p in {*old.lines, *part.lines} if old.lines.get(p) != part.lines.get(p))
        for chain in old.chains.keys() - part.chains.keys():
            del self._chains[chain]
            self._dirty_chains[chain] = None
        for chain, rules in part.chains.items():
            if self._chains.get(chain) != rules:
                self._chains[chain] = rules
                self._dirty_chains[chain] = None

    def _count_part(self, part: Part, sign: int) -> None:
        for (table, _), lines in part.lines.items():
            self._count[table] += sign * len(lines)
        self._count[NAT] += sign * sum(map(len, part.chains.values()))

    def take_update(self) -> IptablesUpdate:
        """What changed since the last call."""
        dirty, self._dirty_chains = self._dirty_chains, {}
        update = IptablesUpdate(
            shared=dict(self._shared(self._dirty_shared)),
            chains={c: self._chains[c] for c in dirty if c in self._chains},
            removed=[c for c in dirty if c not in self._chains],
            touches_udp=self._touches_udp,
        )
        self._dirty_shared, self._touches_udp = set(), False
        return update

    def __len__(self) -> int:
        """How many chains of Services and host ports there are."""
        return len(self._chains)

    def count(self) -> dict[str, int]:
        """How many rules there are by table, the fixed ones apart."""
        return self._count

    # -- what there is ---------------------------------------------------------------------------------------------

    def chains(self) -> dict[Place, tuple[str, ...]]:
        """Every chain of ours with its rules."""
        found = self._fixed()
        found.update(self._shared(SHARED))
        found.update(((NAT, chain), rules) for chain, rules in self._chains.items())
        return found

    def flow_targets(self) -> FlowTargets:
        found = FlowTargets(frozenset(map(inet_aton, self._context.node_ips)))
        for ports in self._services.values():
            for port, choice in ports:
                found.add_service(port, choice, None)
        for held in self._host_ports.values():
            for host_port in held:
                found.add_host_port(host_port)
        return found

    def _shared(self, places: Iterable[Place]) -> Iterator[tuple[Place, tuple[str, ...]]]:
        for place in sorted(places):
            lines = [line for part in self._parts.values() for line in part.lines.get(place, ())]
            if place == (NAT, layout.SERVICES):
                last = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
                lines.append(f"{last} -m addrtype --dst-type LOCAL -j {layout.NODE_PORTS}")
            elif place == (NAT, layout.HOST_PORTS):
                lines.sort(key=lambda line: not line.startswith("-d "))
            yield place, tuple(lines)

    def _fixed(self) -> dict[Place, tuple[str, ...]]:
        options = self._options
        inside, mark = options.cluster_cidr, layout.MARK
        canary = (f"{comment('gone when somebody flushed this table')} -j RETURN",)
        found: dict[Place, tuple[str, ...]] = {(table, layout.CANARY): canary for table in (MANGLE, NAT, FILTER)}
        found[NAT, layout.MARK_MASQ] = (f"-j MARK --set-xmark {mark}",)
        found[NAT, layout.POSTROUTING] = (
            f"-m mark ! --mark {mark} -j RETURN",
            # Taken away again, lest a packet that passes the stack once more be translated twice.
            "-j MARK --set-xmark 0x4000/0x0",
            f"{comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE --random-fully",
        )
        found[NAT, layout.OUTBOUND] = ()
        if options.masquerade_outbound:
            found[NAT, layout.OUTBOUND] = (
                f"-d 224.0.0.0/4 {comment('multicast stays as it is')} -j RETURN",
                f"-s {inside} ! -d {inside} {comment('pods to the world')} -j MASQUERADE --random-fully",
            )
        found[FILTER, layout.FORWARD] = (
            f"{comment('kubernetes forwarding rules')} -m mark --mark {mark} -j ACCEPT",
            f"{comment('kubernetes forwarding conntrack rule')} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        )
        found[FILTER, layout.FIREWALL] = (
            f"! -s 127.0.0.0/8 -d 127.0.0.0/8 {comment('block incoming localnet connections')}"
            " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        )
        unserved = f"-d {options.service_cidr} {comment('no such Service: it would go round in circles')} -j DROP"
        found[FILTER, layout.UNSERVED] = (unserved,) if options.service_cidr else ()
        return found
