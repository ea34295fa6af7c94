"""Forgetting connections that lead nowhere: UDP has no end of its own, so a client that goes on sending keeps an old entry alive.

An entry counts as stale when its first packet went to an address that the proxy answers for and what it was translated to (or
that it was not translated at all) is not what the proxy would choose today.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .nft import wire
from .nft.kernel import Netfilter, NftError

UDP = 17
_GET, _DELETE = wire.SUBSYSTEM_CTNETLINK << 8 | 1, wire.SUBSYSTEM_CTNETLINK << 8 | 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_FILTER_PROTOCOL = 1 << 3


@dataclass(frozen=True, slots=True)
class Flow:
    """A tracked connection: where its first packet went to, and who answers; addresses and ports as in packets."""

    protocol: int
    destination: tuple[bytes, bytes]
    replier: tuple[bytes, bytes]
    handle: bytes
    """What names the entry when it is deleted."""


def flows(netfilter: Netfilter, protocol: int = UDP) -> Iterator[Flow]:
    """All IPv4 entries of one protocol. Raises NftError."""
    # Kernels before 5.8 ignore the filter and send everything.
    narrow = wire.nested(_FILTER, [wire.attribute(1, struct.pack("=I", _FILTER_PROTOCOL))])
    narrow += wire.nested(
        _TUPLE_ORIGINAL,
        [
            wire.nested(_TUPLE_IP, [wire.attribute(1, b"\0" * 4), wire.attribute(2, b"\0" * 4)]),
            wire.nested(_TUPLE_PROTOCOL, [wire.attribute(1, bytes((protocol,)))]),
        ],
    )
    for body in netfilter.ask(_GET, wire.AF_INET, narrow, wire.DUMP):
        flow = _flow(body)
        if flow is not None and flow.protocol == protocol:
            yield flow


def _flow(body: bytes) -> Flow | None:
    parts = wire.attributes(body)
    original, reply = wire.attributes(parts[_TUPLE_ORIGINAL]), wire.attributes(parts[_TUPLE_REPLY])
    addresses, answer = wire.attributes(original[_TUPLE_IP]), wire.attributes(reply[_TUPLE_IP])
    ports, answer_ports = wire.attributes(original[_TUPLE_PROTOCOL]), wire.attributes(reply[_TUPLE_PROTOCOL])
    if 2 not in addresses or 1 not in answer or 3 not in ports or 2 not in answer_ports:
        return None
    handle = wire.nested(_TUPLE_ORIGINAL, [parts[_TUPLE_ORIGINAL]])
    for kind in (_ID, _ZONE):
        if kind in parts:
            handle += wire.attribute(kind, parts[kind])
    return Flow(ports[1][0], (addresses[2], ports[3]), (answer[1], answer_ports[2]), handle)


def forget_stale(netfilter: Netfilter, is_stale: Callable[[Flow], bool], protocol: int = UDP) -> int:
    """Deletes entries that ``is_stale`` says lead nowhere; how many."""
    stale = [flow for flow in flows(netfilter, protocol) if is_stale(flow)]
    for flow in stale:
        delete(netfilter, flow)
    return len(stale)


def delete(netfilter: Netfilter, flow: Flow) -> None:
    try:
        list(netfilter.ask(_DELETE, wire.AF_INET, flow.handle, wire.ACK))
    except NftError as failure:
        if failure.code != errno.ENOENT:
            raise  # ENOENT: it ended by itself meanwhile
