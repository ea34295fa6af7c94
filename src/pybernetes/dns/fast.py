"""Plain questions answered without building message objects: names of the cluster, types A and AAAA. Pure.

Nearly all that pods ask is of this kind. Anything else (other types, options but EDNS, aliases, answers that are too long) is
left to the general path. Formats are those of RFC 1035 and RFC 6891.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, MutableSequence
from socket import AF_INET6, inet_aton, inet_pton

from .records import AAAA, A, Zone

_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _AUTHORITATIVE, _RECURSION_AVAILABLE, _RECURSION_DESIRED, _CHECKING_DISABLED = (
    0x8000,
    0x400,
    0x80,
    0x100,
    0x10,
)
_UNPLAIN = 0xFA0F
"""Flags of a query that is not plain: an answer, another operation, truncated, a code."""
_NXDOMAIN = 3
_OPT = 41
_POINTER_TO_QUESTION = b"\xc0\x0c"
PAYLOAD = 1232
"""What we take by UDP, as the operators of the DNS agreed in 2020."""
Shuffle = Callable[[MutableSequence[bytes]], None]


def quick_answer(packet: bytes, zone: Zone, ttl: int, shuffle: Shuffle) -> tuple[bytes, bool] | None:
    """(the answer, whether it may be kept), or None where the question is not plain."""
    if len(packet) < 17:
        return None
    identity, flags, questions, answers, authorities, extra = _HEADER.unpack_from(packet)
    if flags & _UNPLAIN or questions != 1 or answers or authorities or extra > 1:
        return None
    parsed = _question(packet)
    if parsed is None:
        return None
    name, kind, end = parsed
    limit = 512
    edns = b""
    if extra:
        # Exactly an OPT record without options, version 0.
        if len(packet) != end + 11 or packet[end : end + 3] != b"\0\0\x29" or packet[end + 5 : end + 7] != b"\0\0":
            return None
        if packet[end + 9 :] != b"\0\0":
            return None
        limit = max(512, int.from_bytes(packet[end + 3 : end + 5], "big"))
        edns = b"\0" + struct.pack("!HHIH", _OPT, PAYLOAD, int.from_bytes(packet[end + 7 : end + 9], "big") & 0x8000, 0)
    elif len(packet) != end:
        return None
    if kind not in (A, AAAA) or not zone.covers(name):
        return None
    found = zone.lookup(name, kind)
    records = []
    for record in found.records:
        if record.kind != kind:
            return None  # an alias
        data = inet_aton(record.data) if kind == A else inet_pton(AF_INET6, record.data)
        records.append(_POINTER_TO_QUESTION + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data)
    if len(records) > 1:
        shuffle(records)
    authority = b"" if records else _authority(zone, ttl)
    said = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | flags & (_RECURSION_DESIRED | _CHECKING_DISABLED)
    if not found.exists:
        said |= _NXDOMAIN
    header = _HEADER.pack(identity, said, 1, len(records), 1 if authority else 0, 1 if edns else 0)
    whole = header + packet[12:end] + b"".join(records) + authority + edns
    return (whole, len(records) < 2) if len(whole) <= limit else None


def _question(packet: bytes) -> tuple[str, int, int] | None:
    """(name in lower case without the last dot, type, where the question ends)."""
    labels = []
    at, total = 12, len(packet)
    while True:
        if at >= total:
            return None
        size = packet[at]
        if size == 0:
            break
        if size > 63 or at + 1 + size >= total or at > 260:
            return None
        label = packet[at + 1 : at + 1 + size]
        # A dot within a label would look like two labels.
        if not label.isascii() or b"." in label or b"\\" in label:
            return None
        labels.append(label)
        at += 1 + size
    if at + 5 > total:
        return None
    kind, kind_of_net = struct.unpack_from("!HH", packet, at + 1)
    if kind_of_net != 1 or not labels:
        return None
    return b".".join(labels).lower().decode(), kind, at + 5


def encode_name(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"


def _authority(zone: Zone, ttl: int) -> bytes:
    domain = encode_name(zone.domain)
    numbers = struct.pack("!IIIII", zone.generation & 0xFFFFFFFF, 7200, 1800, 86400, ttl)
    data = encode_name(f"ns.dns.{zone.domain}") + encode_name(f"hostmaster.{zone.domain}") + numbers
    return domain + struct.pack("!HHIH", 6, 1, ttl, len(data)) + data
