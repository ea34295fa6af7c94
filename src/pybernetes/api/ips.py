"""IP addresses and CIDRs as the API accepts and prints them.

Old fields take what Go's early parsers took: leading zeros in IPv4 octets, IPv4-mapped IPv6, host bits in a CIDR.
Specified by "IP address and CIDR validation" in the API conventions.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_OCTETS = re.compile(r"\d+(?:\.\d+){3}")
_PREFIX = re.compile(r"\d{1,3}", re.ASCII)


@lru_cache(maxsize=4096)
def parse_ip_sloppy(text: str) -> Address | None:
    """An address; IPv4 octets may have leading zeros and IPv4-mapped IPv6 is IPv4. None where it is none."""
    if ":" in text:
        return _parse_v6(text)
    if not _OCTETS.fullmatch(text) or not text.isascii():
        return None
    octets = [int(part) for part in text.split(".") if len(part) <= 64]
    if len(octets) != 4 or max(octets) > 255:
        return None
    return IPv4Address(bytes(octets))


def _parse_v6(text: str) -> Address | None:
    head, _, tail = text.rpartition(":")
    if "%" in text:
        return None
    if "." in tail:
        embedded = parse_ip_sloppy(tail)
        if embedded is None:
            return None
        number = int(embedded)
        text = f"{head}:{number >> 16:x}:{number & 0xFFFF:x}"
    try:
        address = IPv6Address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address


@lru_cache(maxsize=4096)
def parse_ip_strict(text: str) -> Address | None:
    """An address without leading zeros; IPv4-mapped addresses stay IPv6."""
    try:
        return IPv6Address(text) if ":" in text and "%" not in text else IPv4Address(text)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def parse_cidr_sloppy(text: str) -> tuple[Address, Network] | None:
    """(the address as written, the network that it lies in); None where the text is no CIDR."""
    base, slash, bits = text.partition("/")
    address = parse_ip_sloppy(base)
    if not slash or address is None or not _PREFIX.fullmatch(bits):
        return None
    length = int(bits)
    if ":" in base and isinstance(address, IPv4Address):
        length -= 96  # a mapped address counts its bits from the start of the IPv6 form
        if not 0 <= length <= 32:
            return None
    if length > address.max_prefixlen:
        return None
    return address, network_of(address, length)


@lru_cache(maxsize=4096)
def parse_cidr_strict(text: str) -> tuple[Address, Network] | None:
    """As ``parse_cidr_sloppy``, without leading zeros anywhere; IPv4-mapped stays IPv6."""
    base, slash, bits = text.partition("/")
    address = parse_ip_strict(base)
    if not slash or address is None or not _PREFIX.fullmatch(bits) or (len(bits) > 1 and bits[0] == "0"):
        return None
    if int(bits) > address.max_prefixlen:
        return None
    return address, network_of(address, int(bits))


def network_of(address: Address, length: int) -> Network:
    """The network of this prefix length that holds the address."""
    if isinstance(address, IPv4Address):
        return IPv4Network((address, length), strict=False)
    return IPv6Network((address, length), strict=False)


def is_mapped(address: Address) -> bool:
    """IPv4-mapped IPv6 (``::ffff:1.2.3.4``)."""
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def is_ipv6(text: str) -> bool:
    """Whether a text is an IPv6 address (mapped ones are IPv4)."""
    return isinstance(parse_ip_sloppy(text), IPv6Address)
