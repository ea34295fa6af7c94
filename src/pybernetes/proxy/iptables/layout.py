"""Which rules a Service port or a host port needs in iptables. Pure.

The layout is kube-proxy's: ``KUBE-SERVICES`` and ``KUBE-NODEPORTS`` find the Service; ``KUBE-EXT-`` decides for traffic from
outside, ``KUBE-FW-`` by its source; ``KUBE-SVC-`` (all endpoints) or ``KUBE-SVL-`` (those of this node) throw the dice;
``KUBE-SEP-`` translates to one endpoint. Chains' hashes are kube-proxy's too. Rules are spelled as ``iptables-save`` prints
them, so that what is in the kernel can be compared with what should be.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from ..model import PROTOCOLS, Choice, PortName, ServicePort, Target

NAT, FILTER, MANGLE = "nat", "filter", "mangle"
SERVICES, EXTERNAL, NODE_PORTS = "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS"
POSTROUTING, MARK_MASQ, FORWARD = "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-FORWARD"
PROXY_FIREWALL, FIREWALL, HOST_PORTS = "KUBE-PROXY-FIREWALL", "KUBE-FIREWALL", "KUBE-HOSTPORTS"
OUTBOUND, UNSERVED = "P8S-OUTBOUND", "P8S-UNSERVED"
"""Ours alone: what leaves the pods' network, and Service addresses that nobody has."""
CANARY = "KUBE-PROXY-CANARY"
OWN_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-FW-", "KUBE-EXT-", "KUBE-SEP-", "KUBE-HP-")
MARK = "0x4000/0x4000"
"""kube-proxy's default masquerade bit, 14."""
_PROTOCOL_NAMES = {number: name.lower() for name, number in PROTOCOLS.items()}
_LOOPBACK = "127.0.0.0/8"
_LOCAL_SOURCE = "-m addrtype --src-type LOCAL"
Place = tuple[str, str]
"""(table, chain)."""


def name_hash(*parts: str) -> str:
    return base64.b32encode(hashlib.sha256("".join(parts).encode()).digest()).decode()[:16]


def endpoint_chain(name: PortName, protocol: str, target: Target) -> str:
    return "KUBE-SEP-" + name_hash(str(name), protocol, f"{target[0]}:{target[1]}")


def host_port_chain(pod: str, protocol: str, port: int, host_ip: str) -> str:
    return "KUBE-HP-" + name_hash(pod, protocol, str(port), host_ip)


def comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def probability(choices: int) -> str:
    """One in so many, as the kernel rounds it and ``iptables-save`` prints it."""
    return f"{round(0x80000000 / choices) / 0x80000000:.11f}"


@dataclass(frozen=True, slots=True)
class Context:
    """What rules depend on besides Services."""

    cluster_cidr: str
    node_ips: tuple[str, ...] = ()

    def contains_node(self, cidr: str) -> bool:
        return any(IPv4Address(a) in IPv4Network(cidr) for a in self.node_ips)


@dataclass(slots=True)
class Part:
    """The rules of one Service or pod: lines of shared chains, and chains of its own (all in table nat)."""

    lines: dict[Place, list[str]] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def line(self, table: str, chain: str, rule: str) -> None:
        self.lines.setdefault((table, chain), []).append(rule)

    def __bool__(self) -> bool:
        return bool(self.lines or self.chains)


def lay_out(part: Part, port: ServicePort, choice: Choice, context: Context) -> None:
    """Adds what one Service port needs."""
    _Port(part, port, choice, context).lay_out()


class _Port:
    def __init__(self, part: Part, port: ServicePort, choice: Choice, context: Context) -> None:
        self.part, self.port, self.choice, self.context = part, port, choice, context
        self.protocol = _PROTOCOL_NAMES[port.protocol]
        self.title = str(port.name)
        digest = name_hash(self.title, self.protocol)
        self.cluster_chain, self.local_chain = f"KUBE-SVC-{digest}", f"KUBE-SVL-{digest}"
        self.external_chain, self.firewall_chain = f"KUBE-EXT-{digest}", f"KUBE-FW-{digest}"
        self.internal = self.local_chain if port.internal_local else self.cluster_chain
        self.has_internal = choice.any and not (port.internal_local and not choice.local)
        self.has_external = choice.any and not (port.external_local and not choice.local)

    def lay_out(self) -> None:
        port, choice = self.port, self.choice
        self._cluster_ip()
        if port.externally_accessible:
            for address in port.external_ips:
                self._external_address(address, "external IP", self.external_chain)
            self._load_balancers()
            self._node_port()
            if choice.any:
                self.part.chains[self.external_chain] = tuple(self._external_rules())
        if choice.cluster and port.uses_cluster_endpoints:
            self._balance(self.cluster_chain, choice.cluster)
        if choice.local and port.uses_local_endpoints:
            self._balance(self.local_chain, choice.local)
        for target in dict.fromkeys((*choice.cluster, *choice.local)):
            self._endpoint(target)
        if port.health_check_node_port:
            text = comment(f"{self.title} health check node port")
            rule = f"-p tcp {text} -m tcp --dport {port.health_check_node_port} -j ACCEPT"
            self.part.line(FILTER, NODE_PORTS, rule)

    # -- frontends -------------------------------------------------------------------------------------------------

    def _match(self, text: str, number: int, address: str = "") -> str:
        where = f"-d {address}/32 " if address else ""
        return f"{where}-p {self.protocol} {comment(text)} -m {self.protocol} --dport {number}"

    @property
    def _unserved(self) -> tuple[str, str]:
        """(why, target) for traffic that no endpoint gets."""
        if self.choice.any:
            return f"{self.title} has no local endpoints", "DROP"
        return f"{self.title} has no endpoints", "REJECT --reject-with icmp-port-unreachable"

    def _cluster_ip(self) -> None:
        address, number = self.port.cluster_ip, self.port.port
        if self.has_internal:
            match = self._match(f"{self.title} cluster IP", number, address)
            self.part.line(NAT, SERVICES, f"{match} -j {self.internal}")
        else:
            why, target = self._unserved
            self.part.line(FILTER, SERVICES, f"{self._match(why, number, address)} -j {target}")

    def _external_address(self, address: str, what: str, chain: str) -> None:
        number = self.port.port
        if self.choice.any:
            self.part.line(NAT, SERVICES, f"{self._match(f'{self.title} {what}', number, address)} -j {chain}")
        if not self.has_external:
            why, target = self._unserved
            self.part.line(FILTER, EXTERNAL, f"{self._match(why, number, address)} -j {target}")

    def _load_balancers(self) -> None:
        port = self.port
        guarded = self.choice.any and bool(port.load_balancer_ips) and bool(port.source_ranges)
        for address in port.load_balancer_ips:
            self._external_address(address, "loadbalancer IP", self.firewall_chain if guarded else self.external_chain)
            if guarded:
                text = f"{self.title} traffic not accepted by {self.firewall_chain}"
                self.part.line(FILTER, PROXY_FIREWALL, f"{self._match(text, port.port, address)} -j DROP")
        if guarded:
            self.part.chains[self.firewall_chain] = tuple(self._firewall_rules())

    def _firewall_rules(self) -> Iterator[str]:
        text = comment(f"{self.title} loadbalancer IP")
        near = False
        for cidr in self.port.source_ranges:
            near = near or self.context.contains_node(cidr)
            yield f"{_source(cidr)}{text} -j {self.external_chain}"
        if near:
            # The node itself may ask with the balancer's address as its source.
            for address in self.port.load_balancer_ips:
                yield f"-s {address}/32 {text} -j {self.external_chain}"
        yield comment(f"other traffic to {self.title} will be dropped by KUBE-PROXY-FIREWALL")

    def _node_port(self) -> None:
        number = self.port.node_port
        if not number:
            return
        if self.choice.any:
            self.part.line(NAT, NODE_PORTS, f"{self._match(self.title, number)} -j {self.external_chain}")
        if not self.has_external:
            why, target = self._unserved
            match = f"-p {self.protocol} {comment(why)} -m addrtype --dst-type LOCAL -m {self.protocol}"
            self.part.line(FILTER, EXTERNAL, f"{match} --dport {number} -j {target}")

    # -- the Service's own chains ----------------------------------------------------------------------------------

    def _external_rules(self) -> Iterator[str]:
        if not self.port.external_local:
            yield f"{comment(f'masquerade traffic for {self.title} external destinations')} -j {MARK_MASQ}"
        else:
            if self.choice.cluster:
                text = comment(f"pod traffic for {self.title} external destinations")
                yield f"-s {self.context.cluster_cidr} {text} -j {self.cluster_chain}"
            text = comment(f"masquerade LOCAL traffic for {self.title} external destinations")
            yield f"{text} {_LOCAL_SOURCE} -j {MARK_MASQ}"
            if self.choice.cluster:
                text = comment(f"route LOCAL traffic for {self.title} external destinations")
                yield f"{text} {_LOCAL_SOURCE} -j {self.cluster_chain}"
        if self.has_external:
            yield f"-j {self.local_chain if self.port.external_local else self.cluster_chain}"

    def _balance(self, chain: str, targets: Sequence[Target]) -> None:
        rules = []
        if chain == self.internal and self.has_internal:
            match = self._match(f"{self.title} cluster IP", self.port.port, self.port.cluster_ip)
            rules.append(f"! -s {self.context.cluster_cidr} {match} -j {MARK_MASQ}")
        ends = [(t, endpoint_chain(self.port.name, self.protocol, t)) for t in targets]
        if self.port.affinity_seconds:
            for target, end in ends:
                seen = f"-m recent --rcheck --seconds {self.port.affinity_seconds} --reap --name {end}"
                rules.append(f"{self._towards(target)} {seen} --mask 255.255.255.255 --rsource -j {end}")
        for index, (target, end) in enumerate(ends):
            left = len(ends) - index
            dice = f" -m statistic --mode random --probability {probability(left)}" if left > 1 else ""
            rules.append(f"{self._towards(target)}{dice} -j {end}")
        self.part.chains[chain] = tuple(rules)

    def _towards(self, target: Target) -> str:
        return comment(f"{self.title} -> {target[0]}:{target[1]}")

    def _endpoint(self, target: Target) -> None:
        end = endpoint_chain(self.port.name, self.protocol, target)
        text = comment(self.title)
        remember = ""
        if self.port.affinity_seconds:
            remember = f" -m recent --set --name {end} --mask 255.255.255.255 --rsource"
        destination = f"-m {self.protocol} -j DNAT --to-destination {target[0]}:{target[1]}"
        self.part.chains[end] = (
            f"-s {target[0]}/32 {text} -j {MARK_MASQ}",
            f"-p {self.protocol} {text}{remember} {destination}",
        )


def _source(cidr: str) -> str:
    """``iptables-save`` leaves out what matches everything."""
    return "" if cidr == "0.0.0.0/0" else f"-s {cidr} "


def lay_out_host_port(part: Part, pod: str, protocol: int, host_ip: str, port: int, target: Target) -> None:
    """Adds a host port, as kubelets did by themselves before the runtime's plugins took it over."""
    name = _PROTOCOL_NAMES[protocol]
    chain = host_port_chain(pod, name, port, host_ip)
    text = comment(f"{pod} hostport {port}")
    where = f"-d {host_ip}/32 " if host_ip not in ("", "0.0.0.0") else ""
    part.line(NAT, HOST_PORTS, f"{where}-p {name} {text} -m {name} --dport {port} -j {chain}")
    part.chains[chain] = (
        f"-s {target[0]}/32 {text} -j {MARK_MASQ}",
        f"-s {_LOOPBACK} {text} -j {MARK_MASQ}",
        f"-p {name} {text} -m {name} -j DNAT --to-destination {target[0]}:{target[1]}",
    )
