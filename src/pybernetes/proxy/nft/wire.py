"""Netlink's bytes: attributes, message headers, and the batch that makes many nftables messages one transaction.

Numbers are those of ``linux/netlink.h``, ``linux/netfilter/nfnetlink.h`` and ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_ATTRIBUTE = struct.Struct("=HH")
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("!BBH")
HEADER_SIZE = _HEADER.size + _FAMILY.size

REQUEST, MULTI, ACK, ECHO = 0x1, 0x2, 0x4, 0x8
DUMP = 0x300
CREATE, EXCL, APPEND = 0x400, 0x200, 0x800

NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
BATCH_BEGIN, BATCH_END = 0x10, 0x11
SUBSYSTEM_NFTABLES, SUBSYSTEM_CTNETLINK = 10, 1
AF_INET, AF_INET6 = 2, 10
NFPROTO_INET = 1

(
    NEWTABLE,
    GETTABLE,
    DELTABLE,
    NEWCHAIN,
    GETCHAIN,
    DELCHAIN,
    NEWRULE,
    GETRULE,
    DELRULE,
    NEWSET,
    GETSET,
    DELSET,
    NEWSETELEM,
    GETSETELEM,
    DELSETELEM,
    NEWGEN,
    GETGEN,
) = range(17)


def attribute(kind: int, payload: bytes) -> bytes:
    size = len(payload) + 4
    return _ATTRIBUTE.pack(size, kind) + payload + b"\0" * (-size & 3)


def nested(kind: int, parts: Iterable[bytes]) -> bytes:
    return attribute(kind | NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!Q", value))


def message(kind: int, family: int, body: bytes, *, flags: int = 0, sequence: int = 0, resource: int = 0) -> bytes:
    """One whole nfnetlink message; ``kind`` includes the subsystem."""
    size = HEADER_SIZE + len(body)
    header = _HEADER.pack(size, kind, flags | REQUEST, sequence, 0) + _FAMILY.pack(family, 0, resource)
    return header + body + b"\0" * (-size & 3)


def nftables(kind: int) -> int:
    return SUBSYSTEM_NFTABLES << 8 | kind


def batch(messages: Iterable[tuple[int, int, int, bytes]], family: int) -> tuple[bytes, int]:
    """(bytes, sequence number of the last message, which asks for the acknowledgement of all).

    Messages are (kind, flags, family, body); the sequence number of the first is 1. Family 0 means the transaction's.
    """
    listed = list(messages)
    parts = [message(BATCH_BEGIN, 0, b"", resource=SUBSYSTEM_NFTABLES)]
    for number, (kind, flags, own_family, body) in enumerate(listed, 1):
        if number == len(listed):
            flags |= ACK
        parts.append(message(nftables(kind), own_family or family, body, flags=flags, sequence=number))
    parts.append(message(BATCH_END, 0, b"", resource=SUBSYSTEM_NFTABLES, sequence=len(listed) + 1))
    return b"".join(parts), len(listed)


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, sequence, body after the netlink header) of each message in a datagram."""
    offset, total = 0, len(data)
    while offset + _HEADER.size <= total:
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size or offset + size > total:
            raise ValueError("a netlink message is longer than its datagram")
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + size]
        offset += (size + 3) & ~3


def notifications(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(kind, port of the socket that caused it, body after the netlink header)."""
    offset, total = 0, len(data)
    while offset + _HEADER.size <= total:
        size, kind, _, _, port = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size or offset + size > total:
            raise ValueError("a netlink message is longer than its datagram")
        yield kind, port, data[offset + _HEADER.size : offset + size]
        offset += (size + 3) & ~3


def error_of(body: bytes) -> int:
    """The errno of an NLMSG_ERROR message; 0 is an acknowledgement."""
    code: int = struct.unpack_from("=i", body)[0]
    return -code


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by type; of several of one type the last."""
    return dict(attribute_list(data, offset))


def attribute_list(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    total = len(data)
    while offset + 4 <= total:
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < 4 or offset + size > total:
            raise ValueError("a netlink attribute is longer than its message")
        yield kind & _TYPE_MASK, data[offset + 4 : offset + size]
        offset += (size + 3) & ~3
