"""A node's service rules as nftables text: the whole table, replaced in one transaction. Pure. First form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .model import Choice, ServicePort

TABLE = "p8s_services"
MASQUERADE_MARK = 0x4000
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
_KEY = "type ipv4_addr . inet_proto . inet_service"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of this node that belongs to a container of one of its pods. An empty ``host_ip`` means all addresses."""

    host_ip: str
    protocol: int
    port: int
    pod_ip: str
    pod_port: int


@dataclass(slots=True)
class _Parts:
    """Elements of the table's maps and sets."""

    chains: list[str] = field(default_factory=list)
    frontends: list[str] = field(default_factory=list)
    unserved: list[str] = field(default_factory=list)
    internal: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)
    hairpin: set[str] = field(default_factory=set)

    def frontend(self, key: str, chain: str, targets: Sequence[tuple[str, int]], elsewhere: bool) -> None:
        self.frontends.append(f"{key} : goto {chain}")
        if not targets:
            self.unserved.append(f"{key} : {'drop' if elsewhere else 'goto refuse'}")


def render(
    services: Iterable[tuple[ServicePort, Choice]],
    host_ports: Iterable[HostPort],
    *,
    cluster_cidr: str,
    node_ips: Sequence[str],
) -> str:
    """A script for ``nft -f -``."""
    parts = _Parts()
    for number, (port, choice) in enumerate(services):
        _service(parts, number, port, choice, node_ips)
    rules = []
    for host_port in host_ports:
        rules.append(_host_port_rule(host_port))
        parts.hairpin.add(host_port.pod_ip)
    return _table(parts, rules, cluster_cidr)


def _service(parts: _Parts, number: int, port: ServicePort, choice: Choice, node_ips: Sequence[str]) -> None:
    inner = choice.local if port.internal_local else choice.cluster
    outer = choice.local if port.external_local else choice.cluster
    protocol = _PROTOCOLS[port.protocol]
    parts.chains.append(_chain(f"svc_{number}_in", inner, port))
    parts.hairpin.update(address for address, _ in (*inner, *outer))
    key = f"{port.cluster_ip} . {protocol} . {port.port}"
    parts.internal.append(key)
    parts.frontend(key, f"svc_{number}_in", inner, choice.any)
    if not port.externally_accessible:
        return
    parts.chains.append(_chain(f"svc_{number}_out", outer, port))
    addresses = [(a, port.port) for a in (*port.external_ips, *port.load_balancer_ips)]
    if port.node_port:
        addresses += [(a, port.node_port) for a in node_ips]
    for address, port_number in dict.fromkeys(addresses):
        key = f"{address} . {protocol} . {port_number}"
        parts.frontend(key, f"svc_{number}_out", outer, choice.any)
        if not port.external_local:
            parts.external.append(key)


def _chain(name: str, targets: Sequence[tuple[str, int]], port: ServicePort) -> str:
    if not targets:
        return f"chain {name} {{ }}"
    pairs = ", ".join(f"{i} : {address} . {number}" for i, (address, number) in enumerate(targets))
    source = f"jhash ip saddr mod {len(targets)}" if port.affinity_seconds else f"numgen random mod {len(targets)}"
    return f"chain {name} {{\n meta l4proto {port.protocol} dnat ip to {source} map {{ {pairs} }}\n}}"


def _host_port_rule(port: HostPort) -> str:
    where = "fib daddr type local" if port.host_ip in ("", "0.0.0.0") else f"ip daddr {port.host_ip}"
    return f"{where} {_PROTOCOLS[port.protocol]} dport {port.port} dnat ip to {port.pod_ip}:{port.pod_port}"


def _elements(items: Iterable[str]) -> str:
    found = sorted(set(items))
    return f"elements = {{ {', '.join(found)} }}" if found else ""


def _table(parts: _Parts, host_ports: Sequence[str], cluster_cidr: str) -> str:
    here = "ip daddr . meta l4proto . th dport"
    mark = f"meta mark set meta mark or {MASQUERADE_MARK:#x}"
    unserved = "ct state new ip daddr . meta l4proto . th dport vmap @unserved"
    filters = "".join(
        f"chain filter_{hook} {{\n type filter hook {hook} priority filter\n {unserved}\n}}\n"
        for hook in ("input", "forward", "output")
    )
    nat = "".join(
        f"chain {hook} {{\n type nat hook {hook} priority -100\n jump services\n}}\n"
        for hook in ("prerouting", "output")
    )
    newline = "\n"
    return f"""
add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
chain refuse {{
 reject
}}
{newline.join(parts.chains)}
map frontends {{ {_KEY} : verdict
 {_elements(parts.frontends)}
}}
map unserved {{ {_KEY} : verdict
 {_elements(parts.unserved)}
}}
set internal {{ {_KEY}
 {_elements(parts.internal)}
}}
set external {{ {_KEY}
 {_elements(parts.external)}
}}
set hairpin {{ type ipv4_addr . ipv4_addr
 {_elements(f"{a} . {a}" for a in parts.hairpin)}
}}
chain services {{
 {here} @external {mark}
 ip saddr != {cluster_cidr} {here} @internal {mark}
 {here} vmap @frontends
 {newline.join(host_ports)}
}}
{nat}
chain postrouting {{
 type nat hook postrouting priority srcnat
 ip saddr . ip daddr @hairpin masquerade fully-random
 meta mark and {MASQUERADE_MARK:#x} != 0 ct status dnat masquerade fully-random
 ip saddr {cluster_cidr} ip daddr != {cluster_cidr} ip daddr != 224.0.0.0/4 oifname != "lo" masquerade fully-random
}}
{filters}
}}
"""
