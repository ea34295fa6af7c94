"""From Services and their chosen endpoints to the elements of the service table. Pure, and incremental: one Service at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, collapse_addresses
from socket import inet_aton

from .flow_targets import FlowTargets, udp_signature
from .model import UDP, Choice, HostPort, PortName, ServicePort, Target
from .nft.contents import Changes, Contents, Item
from .nft.tables import Chain, Set, goto_data
from .service_table import (
    Size,
    affinity_ids,
    balance_chain,
    pack_frontend,
    pack_number,
    pack_port,
    pack_target,
    remember_chains,
)


@dataclass(slots=True)
class ServiceUpdate:
    """What the kernel must do: new sets and chains first, then the elements."""

    sets: list[Set] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    replaced: list[Chain] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    departed: list[tuple[int, Target]] = field(default_factory=list)
    """(affinity id, endpoint) that clients must forget."""

    touches_udp: bool = False
    """Whether tracked UDP flows may now lead to the wrong place."""

    def __bool__(self) -> bool:
        return bool(self.sets or self.chains or self.replaced or self.changes or self.departed)


def reorder(previous: Sequence[Target], wanted: Iterable[Target]) -> tuple[Target, ...]:
    """The wanted targets, with as many as possible in their places: what left is filled from the end."""
    missing = dict.fromkeys(wanted)
    slots: list[Target | None] = []
    for target in previous:
        slots.append(target if target in missing else None)
        missing.pop(target, None)
    fresh = list(missing)
    for index, slot in enumerate(slots):
        if slot is None and fresh:
            slots[index] = fresh.pop(0)
    found = [*slots, *fresh]
    index = 0
    while index < len(found):
        if found[index] is None:
            last = found.pop()
            if index < len(found):
                found[index] = last
            continue
        index += 1
    return tuple(target for target in found if target is not None)


class ServiceRules:
    """The wanted contents of the service table."""

    def __init__(self) -> None:
        self.contents = Contents()
        self._node_ips: tuple[str, ...] = ()
        self._services: dict[str, Sequence[tuple[ServicePort, Choice]]] = {}
        self._host_ports: dict[str, tuple[HostPort, ...]] = {}
        self._slots: dict[tuple[PortName, str], tuple[Target, ...]] = {}
        self._ids: dict[tuple[PortName, bool], int] = {}
        self._used_ids: set[int] = set()
        self._affinities: list[int] = []
        self._chains: dict[str, Chain] = {}
        self._update = ServiceUpdate()

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def sets(self) -> list[Set]:
        """Sets beyond those of the fixed table."""
        return [affinity_ids(seconds) for seconds in self._affinities]

    @property
    def chains(self) -> list[Chain]:
        """Chains beyond those of the fixed table."""
        return [*self._chains.values(), *(remember_chains(self._affinities) if self._affinities else ())]

    def flow_targets(self) -> FlowTargets:
        found = FlowTargets(frozenset(map(inet_aton, self._node_ips)))
        for ports in self._services.values():
            for port, choice in ports:
                found.add_service(port, choice, self._node_ips)
        for held in self._host_ports.values():
            for host_port in held:
                found.add_host_port(host_port)
        return found

    # -- changing --------------------------------------------------------------------------------------------------

    def set_node_ips(self, addresses: Sequence[str]) -> None:
        """Where node ports are served."""
        if tuple(addresses) != self._node_ips:
            self._node_ips = tuple(addresses)
            self._update.touches_udp = True
            for key in list(self._services):
                self.set_service(key, self._services[key])

    def set_service(self, key: str, ports: Sequence[tuple[ServicePort, Choice]]) -> None:
        """All ports of one Service (``namespace/name``); none where it is gone."""
        if udp_signature(self._services.get(key, ())) != udp_signature(ports):
            self._update.touches_udp = True
        previous = {port.name for port, _ in self._services.get(key, ())}
        for name in previous - {port.name for port, _ in ports}:
            self._forget(name)
        if ports:
            self._services[key] = ports
        else:
            self._services.pop(key, None)
        wanted: dict[Item, bytes] = {}
        for port, choice in ports:
            self._port(wanted, port, choice)
        self.contents.assign(("service", key), wanted)

    def set_host_ports(self, pod: str, ports: Iterable[HostPort]) -> None:
        wanted: dict[Item, bytes] = {}
        held = tuple(ports)
        if any(p.protocol == UDP for p in (*held, *self._host_ports.pop(pod, ()))):
            self._update.touches_udp = True
        if held:
            self._host_ports[pod] = held
        for port in held:
            target = pack_target(port.pod_ip, port.pod_port)
            if port.host_ip in ("", "0.0.0.0"):
                wanted["host_ports", pack_port(port.protocol, port.port)] = target
            else:
                wanted["host_address_ports", pack_frontend(port.host_ip, port.protocol, port.port)] = target
            wanted["hairpin", _pair(port.pod_ip)] = b""
        self.contents.assign(("pod", pod), wanted)

    def take_update(self) -> ServiceUpdate:
        update = self._update
        self._update = ServiceUpdate()
        update.changes = self.contents.take_changes()
        return update

    # -- one port --------------------------------------------------------------------------------------------------

    def _port(self, wanted: dict[Item, bytes], port: ServicePort, choice: Choice) -> None:
        inner = self._place(port, "internal", choice.local if port.internal_local else choice.cluster)
        cluster = (port.cluster_ip, port.port)
        wanted["cluster_ips", inet_aton(port.cluster_ip)] = b""
        wanted["masquerade_outside", pack_frontend(port.cluster_ip, port.protocol, port.port)] = b""
        self._frontend(wanted, port, cluster, inner, choice.any, internal=True)
        if not port.externally_accessible:
            return
        outer = self._place(port, "external", choice.local if port.external_local else choice.cluster)
        near = self._place(port, "near", choice.cluster) if port.external_local else ()
        for address, number in self._external_frontends(port):
            self._frontend(wanted, port, (address, number), outer, choice.any, internal=False)
            frontend = pack_frontend(address, port.protocol, number)
            if near:
                self._balance(wanted, port, frontend, near, "near_")
            if not port.external_local:
                wanted["masquerade_all", frontend] = b""
        if port.source_ranges:
            self._restrict(wanted, port)

    def _external_frontends(self, port: ServicePort) -> list[Target]:
        found = [(a, port.port) for a in (*port.external_ips, *port.load_balancer_ips)]
        if port.node_port:
            found += [(a, port.node_port) for a in self._node_ips]
        return [f for f in dict.fromkeys(found) if f != (port.cluster_ip, port.port)]

    def _frontend(
        self,
        wanted: dict[Item, bytes],
        port: ServicePort,
        address: Target,
        targets: Sequence[Target],
        elsewhere: bool,
        *,
        internal: bool,
    ) -> None:
        frontend = pack_frontend(address[0], port.protocol, address[1])
        if not targets:
            wanted["dropped" if elsewhere else "refused", frontend] = b""
        else:
            self._balance(wanted, port, frontend, targets, "")
        if port.affinity_seconds:
            local = port.internal_local if internal else port.external_local
            self._use_affinity(port.affinity_seconds)
            wanted[f"affinity_{port.affinity_seconds}", frontend] = pack_number(self._id(port.name, local))

    def _balance(
        self, wanted: dict[Item, bytes], port: ServicePort, frontend: bytes, targets: Sequence[Target], prefix: str
    ) -> None:
        size = Size(len(targets), port.affinity_seconds)
        number = pack_number(self._use_size(size, prefix))
        wanted[f"{prefix}sizes", frontend] = number
        wanted[f"{prefix}dispatch", number] = goto_data(size.chain(prefix))
        name = f"{prefix}endpoints"
        for index, (address, target_port) in enumerate(targets):
            wanted[name, frontend + pack_number(index)] = pack_target(address, target_port)
            wanted["hairpin", _pair(address)] = b""

    def _restrict(self, wanted: dict[Item, bytes], port: ServicePort) -> None:
        for address in port.load_balancer_ips:
            frontend = pack_frontend(address, port.protocol, port.port)
            wanted["restricted", frontend] = b""
            # The kernel takes no ranges that overlap.
            for span in collapse_addresses(IPv4Network(cidr) for cidr in port.source_ranges):
                first, last = span.network_address.packed, span.broadcast_address.packed
                wanted["allowed", frontend + first + frontend + last] = b""

    # -- places, sizes, ids ----------------------------------------------------------------------------------------

    def _place(self, port: ServicePort, view: str, wanted: Sequence[Target]) -> tuple[Target, ...]:
        key = port.name, view
        previous = self._slots.get(key, ())
        placed = self._slots[key] = reorder(previous, wanted)
        if port.affinity_seconds:
            local = port.internal_local if view == "internal" else port.external_local
            number = self._id(port.name, local)
            self._update.departed += [(number, target) for target in set(previous) - set(placed)]
        return placed

    def _forget(self, name: PortName) -> None:
        for view in ("internal", "external", "near"):
            self._slots.pop((name, view), None)
        for local in (False, True):
            self._used_ids.discard(self._ids.pop((name, local), -1))

    def _id(self, name: PortName, local: bool) -> int:
        """Follows from the name, so that clients are still remembered when the agent was restarted."""
        known = self._ids.get((name, local))
        if known is None:
            known = zlib.crc32(f"{name} {local}".encode())
            while known in self._used_ids:
                known = (known + 1) & 0xFFFFFFFF
            self._ids[name, local] = known
            self._used_ids.add(known)
        return known

    def _use_affinity(self, seconds: int) -> None:
        if seconds not in self._affinities:
            self._affinities.append(seconds)
            self._update.sets.append(affinity_ids(seconds))
            self._update.replaced = remember_chains(self._affinities)

    def _use_size(self, size: Size, prefix: str) -> int:
        if size.affinity:
            self._use_affinity(size.affinity)
        name = size.chain(prefix)
        if name not in self._chains:
            self._chains[name] = balance_chain(size, prefix)
            self._update.chains.append(self._chains[name])
        return size.endpoints | (self._affinities.index(size.affinity) + 1 if size.affinity else 0) << _COUNT_BITS


_COUNT_BITS = 20


def _pair(address: str) -> bytes:
    return inet_aton(address) * 2
