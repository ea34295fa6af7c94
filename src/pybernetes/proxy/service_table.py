"""The nftables table of services: a fixed program, and maps that hold all there is to say of any Service. Pure.

A *frontend* is an address, protocol and port that clients use. Maps say how many endpoints stand behind it (``sizes``) and which
the n-th is (``endpoints``). The number of endpoints must be a constant of the rule that throws the dice, so there is one small
chain for each number in use (``balance-3``), found by ``dispatch``. A change of an endpoint is then a change of elements alone:
no rule is replaced and the kernel checks no chain again, however many Services there are.

*Near* clients (pods and the node itself) of a Service with ``externalTrafficPolicy: Local`` may use endpoints on all nodes: their
frontends are in the ``near_`` maps, which are asked first.

The packet's priority serves as scratch register between two maps and is zero again when the destination is set.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from socket import inet_aton

from .model import UDP, VXLAN_PORT
from .nft import expressions as e
from .nft.tables import (
    ADDRESS,
    FORWARD,
    INPUT,
    MARK,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    PROTOCOL,
    SERVICE,
    VERDICT,
    Chain,
    Hook,
    Set,
    Table,
)
from .nft.wire import AF_INET

TABLE = "p8s_services"
FRONTEND = (ADDRESS, PROTOCOL, SERVICE)
TARGET = (ADDRESS, SERVICE)
AFFINITY_CLIENTS = 262_144
"""How many pairs of client and Service are remembered; when it is full, new clients get no affinity."""
_META_PRIORITY = 2
_LOOPBACK = (b"\x7f\0\0\0", b"\xff\0\0\0")
_MULTICAST = (b"\xe0\0\0\0", b"\xf0\0\0\0")
_DNAT, _SNAT, _FILTER, _RAW, _MANGLE = -100, 100, 0, -300, -150


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What the fixed part depends on."""

    cluster_cidr: str
    service_cidr: str = ""
    masquerade_outbound: bool = True


def network(cidr: str) -> tuple[bytes, bytes]:
    parsed = IPv4Network(cidr)
    return parsed.network_address.packed, parsed.netmask.packed


def pack_number(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def pack_target(address: str, port: int) -> bytes:
    return inet_aton(address) + struct.pack("!Hxx", port)


def pack_frontend(address: str, protocol: int, port: int) -> bytes:
    return inet_aton(address) + struct.pack("!BxxxHxx", protocol, port)


def pack_port(protocol: int, port: int) -> bytes:
    return struct.pack("!BxxxHxx", protocol, port)


# -- the parts of rules --------------------------------------------------------------------------------------------------


def _store(from_: int) -> e.Expression:
    return e.set_meta(_META_PRIORITY, from_)


def _recall(to: int) -> e.Expression:
    return e.meta(_META_PRIORITY, to)


def _choose_chain(prefix: str) -> list[e.Expression]:
    return e.join(
        e.frontend(0),
        e.lookup(f"{prefix}sizes", 0, 4),
        _store(4),
        _recall(4),
        e.lookup_verdict(f"{prefix}dispatch", 4),
    )


def _forget_priority(to: int) -> list[e.Expression]:
    return [e.immediate(to, b"\0\0\0\0"), _store(to)]


# -- the table -----------------------------------------------------------------------------------------------------------


def service_table(options: TableOptions) -> Table:
    """The fixed program. Chains of ``balance_chain`` come as sizes come into use."""
    table = Table(TABLE, AF_INET)
    for item in _sets():
        table.add_set(item)
    inside = network(options.cluster_cidr)
    _nat_chains(table, inside)
    _postrouting(table, inside, options.masquerade_outbound)
    _filters(table, options)
    return table


def _sets() -> Iterable[Set]:
    for prefix in ("", "near_"):
        yield Set(f"{prefix}sizes", FRONTEND, (MARK,))
        yield Set(f"{prefix}endpoints", (*FRONTEND, MARK), TARGET)
        yield Set(f"{prefix}dispatch", (MARK,), (VERDICT,))
    yield Set("affinity", (MARK, ADDRESS), TARGET, dynamic=True, size=AFFINITY_CLIENTS)
    yield Set("masquerade_all", FRONTEND)
    yield Set("masquerade_outside", FRONTEND)
    yield Set("hairpin", (ADDRESS, ADDRESS))
    yield Set("refused", FRONTEND)
    yield Set("dropped", FRONTEND)
    yield Set("cluster_ips", (ADDRESS,))
    yield Set("restricted", FRONTEND)
    yield Set("allowed", (*FRONTEND, ADDRESS), interval=True)
    yield Set("host_ports", (PROTOCOL, SERVICE), TARGET)
    yield Set("host_address_ports", FRONTEND, TARGET)


def _nat_chains(table: Table, inside: tuple[bytes, bytes]) -> None:
    services = table.add_chain("services")
    services.add(_choose_chain(""))
    services.add(e.join(e.frontend(0), e.lookup("host_address_ports", 0, 4), e.destination_nat(AF_INET, 4, 5)))
    services.add(
        e.join(
            e.address_type(0),
            e.compare(0, e.EQUAL, e.LOCAL_ADDRESS),
            e.protocol(0),
            e.destination_port(1),
            e.lookup("host_ports", 0, 4),
            e.destination_nat(AF_INET, 4, 5),
        ),
        "host ports",
    )
    incoming = table.add_chain("prerouting", Hook("nat", PREROUTING, _DNAT))
    incoming.add(e.join(e.in_network(inside, e.source_address(0), 0), _choose_chain("near_")), "from pods")
    incoming.add([e.verdict(e.JUMP, "services")])
    outgoing = table.add_chain("output", Hook("nat", OUTPUT, _DNAT))
    outgoing.add(_choose_chain("near_"), "from the node itself")
    outgoing.add([e.verdict(e.JUMP, "services")])


def _postrouting(table: Table, inside: tuple[bytes, bytes], outbound: bool) -> None:
    chain = table.add_chain("postrouting", Hook("nat", POSTROUTING, _SNAT))
    translated = e.was_translated(0)
    masquerade = e.masquerade()
    original = e.original_frontend(0)
    pair = [e.source_address(0), e.destination_address(1)]
    chain.add(e.join(translated, pair, e.lookup("hairpin", 0), masquerade), "an endpoint that reaches itself")
    chain.add(e.join(translated, original, e.lookup("masquerade_all", 0), masquerade), "externalTrafficPolicy: Cluster")
    chain.add(
        e.join(
            translated,
            e.in_network(inside, e.source_address(0), 0, inside=False),
            original,
            e.lookup("masquerade_outside", 0),
            masquerade,
        ),
        "cluster addresses used by other than pods",
    )
    own = [e.address_type(0, of_source=True), e.compare(0, e.EQUAL, e.LOCAL_ADDRESS)]
    chain.add(e.join(translated, own, original, e.lookup("near_sizes", 0, 4), masquerade), "the node's own, short cut")
    chain.add(
        e.join(translated, e.in_network(_LOOPBACK, e.source_address(0), 0), masquerade), "host ports on the loopback"
    )
    if outbound:
        chain.add(
            e.join(
                e.in_network(inside, e.source_address(0), 0),
                e.in_network(inside, e.destination_address(0), 0, inside=False),
                e.in_network(_MULTICAST, e.destination_address(0), 0, inside=False),
                masquerade,
            ),
            "pods to the world",
        )


def _filters(table: Table, options: TableOptions) -> None:
    restricted = e.join(
        e.has_state(e.STATE_NEW, 0),
        e.frontend(0),
        e.lookup("restricted", 0),
        e.source_address(3),
        e.lookup("allowed", 0, inverted=True),
        e.verdict(e.DROP),
    )
    for name, hook in (("restrict_prerouting", PREROUTING), ("restrict_output", OUTPUT)):
        table.add_chain(name, Hook("filter", hook, _DNAT - 10)).add(restricted, "loadBalancerSourceRanges")
    unserved = table.add_chain("unserved")
    unserved.add(e.join(e.frontend(0), e.lookup("refused", 0), e.reject()), "no endpoints")
    unserved.add(e.join(e.frontend(0), e.lookup("dropped", 0), e.verdict(e.DROP)), "no endpoints here")
    unserved.add(e.join(e.destination_address(0), e.lookup("cluster_ips", 0), e.reject()), "no such port")
    if options.service_cidr:
        # Else such packets would go in circles between this node and its default route.
        unserved.add(
            e.join(e.in_network(network(options.service_cidr), e.destination_address(0), 0), e.verdict(e.DROP)),
            "no such service",
        )
    new = e.has_state(e.STATE_NEW, 0)
    for name, hook in (("input", INPUT), ("forward", FORWARD), ("filter_output", OUTPUT)):
        table.add_chain(name, Hook("filter", hook, _FILTER)).add(e.join(new, e.verdict(e.JUMP, "unserved")))
    # With route_localnet the kernel takes packets for 127.0.0.0/8 from the wire; nobody but the node may send such.
    martians = table.add_chain("raw_prerouting", Hook("filter", PREROUTING, _RAW))
    martians.add(
        e.join(
            e.meta(e.META_IIF, 0),
            e.compare(0, e.DIFFERENT, pack_number(1)),
            e.in_network(_LOOPBACK, e.destination_address(0), 0),
            e.verdict(e.DROP),
        ),
        "loopback addresses from elsewhere",
    )
    # What VXLAN carries is tracked itself; to track the envelope too would cost every packet as much again.
    envelope = e.join(
        e.protocol(0),
        e.compare(0, e.EQUAL, bytes((UDP,))),
        e.destination_port(0),
        e.compare(0, e.EQUAL, struct.pack("!H", VXLAN_PORT)),
        e.notrack(),
    )
    martians.add(envelope, "VXLAN")
    table.add_chain("raw_output", Hook("filter", OUTPUT, _RAW)).add(envelope, "VXLAN")


# -- what grows with use -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """A number of endpoints, and for how many seconds a client stays with one (0: no affinity)."""

    endpoints: int
    affinity: int = 0

    def chain(self, prefix: str) -> str:
        name = f"{prefix}balance-{self.endpoints}"
        return f"{name}-for-{self.affinity}s" if self.affinity else name


def affinity_ids(seconds: int) -> Set:
    """Which clients' memory a frontend uses."""
    return Set(f"affinity_{seconds}", FRONTEND, (MARK,))


def balance_chain(size: Size, prefix: str) -> Chain:
    """Picks one of so many endpoints; a client that is remembered goes where it went before."""
    chain = Chain(size.chain(prefix))
    if size.affinity:
        chain.add(
            e.join(
                e.frontend(0),
                e.lookup(f"affinity_{size.affinity}", 0, 4),
                _store(4),
                _recall(4),
                e.source_address(5),
                e.lookup("affinity", 4, 8),
                _forget_priority(12),
                e.destination_nat(AF_INET, 8, 9),
            )
        )
    chain.add(
        e.join(
            e.frontend(0),
            e.random_below(size.endpoints, 3),
            e.lookup(f"{prefix}endpoints", 0, 8),
            _forget_priority(12),
            e.destination_nat(AF_INET, 8, 9),
        )
    )
    # Only a packet that meets a change half-way gets here. Dropped, it is sent again and meets the new state; passed on
    # untranslated, its connection would be tracked so and never work.
    chain.add([e.verdict(e.DROP)])
    return chain


def remember_chains(seconds: Sequence[int]) -> list[Chain]:
    """Chains that write down which endpoint a client got, after it was chosen, so with what was really chosen."""
    chains = [
        Chain("remember_postrouting", Hook("filter", POSTROUTING, _MANGLE)),
        Chain("remember_input", Hook("filter", INPUT, _MANGLE)),
    ]
    for chain in chains:
        for timeout in seconds:
            chain.add(_remember(timeout))
    return chains


def _remember(timeout: int) -> list[e.Expression]:
    return e.join(
        e.has_state(e.STATE_NEW, 0),
        e.was_translated(0),
        e.original_frontend(0),
        e.lookup(f"affinity_{timeout}", 0, 4),
        _store(4),
        _recall(4),
        e.conntrack(e.CT_SOURCE_IP, 5, original=True),
        e.destination_address(6),
        e.destination_port(7),
        # The data of an element cannot be changed in place.
        e.dynamic("affinity", e.DYNAMIC_DELETE, 4, 6),
        e.dynamic("affinity", e.DYNAMIC_UPDATE, 4, 6, timeout),
        _forget_priority(12),
    )
