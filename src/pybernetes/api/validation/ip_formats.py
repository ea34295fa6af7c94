"""Addresses and CIDRs in fields of old and new APIs. v1.36 is strict about new values and keeps old ones."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import invalid_value
from ..ips import Network, is_mapped, parse_cidr_sloppy, parse_cidr_strict, parse_ip_sloppy, parse_ip_strict
from .errors import Errors

_IP_WORDS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_WORDS = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def legacy_ip(text: str, path: str, known: Iterable[str] = ()) -> Errors:
    """An address in an old field; values in ``known`` (those stored before) pass as they are."""
    if text in known:
        return []
    if parse_ip_sloppy(text) is None:
        return [invalid_value(path, text, _IP_WORDS)]
    strict = parse_ip_strict(text)
    if strict is None:
        return [invalid_value(path, text, "must not have leading 0s")]
    if is_mapped(strict):
        return [invalid_value(path, text, "must not be an IPv4-mapped IPv6 address")]
    return []


def canonical_ip(text: str, path: str) -> Errors:
    """An address in a new field: only its canonical form."""
    found = legacy_ip(text, path)
    address = parse_ip_sloppy(text)
    if not found and address is not None and str(address) != text:
        found.append(invalid_value(path, text, f'must be in canonical form ("{address}")'))
    return found


def legacy_cidr(text: str, path: str, known: Iterable[str] = ()) -> Errors:
    if text in known:
        return []
    if parse_cidr_sloppy(text) is None:
        return [invalid_value(path, text, _CIDR_WORDS)]
    strict = parse_cidr_strict(text)
    if strict is None:
        return [invalid_value(path, text, "must not have leading 0s in IP or prefix length")]
    if is_mapped(strict[0]):
        return [invalid_value(path, text, "must not have an IPv4-mapped IPv6 address")]
    if strict[0] != strict[1].network_address:
        return [invalid_value(path, text, "must not have bits set beyond the prefix length")]
    return []


def canonical_cidr(text: str, path: str) -> Errors:
    found = legacy_cidr(text, path)
    parsed = parse_cidr_sloppy(text)
    if not found and parsed is not None and str(parsed[1]) != text:
        found.append(invalid_value(path, text, f'must be in canonical form ("{parsed[1]}")'))
    return found


def interface_address(text: str, path: str) -> Errors:
    """An address with the length of its network's prefix, in canonical form."""
    parsed = parse_cidr_sloppy(text)
    if parsed is None:
        words = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        return [invalid_value(path, text, words)]
    address, prefix = parsed[0], parsed[1].prefixlen
    if is_mapped(address) and prefix >= 96:
        canonical = f"{str(address).rpartition(':')[2]}/{prefix - 96}"
    else:
        canonical = f"{address}/{prefix}"
    return [] if text == canonical else [invalid_value(path, text, f'must be in canonical form ("{canonical}")')]


def is_dual_stack(texts: Iterable[str]) -> bool:
    """Whether both families are among these addresses or CIDRs."""
    versions = set()
    for text in texts:
        address = parse_ip_sloppy(text.partition("/")[0])
        if address is None:
            return False
        versions.add(address.version)
    return len(versions) == 2


def cidr_network(text: str) -> Network | None:
    parsed = parse_cidr_sloppy(text)
    return None if parsed is None else parsed[1]


def endpoint_ip(text: str, path: str) -> Errors:
    """An address that others may be sent to."""
    address = parse_ip_sloppy(text)
    if address is None:
        return [invalid_value(path, text, "must be a valid IP address")]
    found: Errors = []
    if address.is_unspecified:
        found.append(invalid_value(path, text, f"may not be unspecified ({text})"))
    if address.is_loopback:
        found.append(invalid_value(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local and not address.is_multicast:
        words = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        found.append(invalid_value(path, text, words))
    packed = address.packed
    if (
        packed[:3] == b"\xe0\x00\x00"
        and len(packed) == 4
        or (len(packed) == 16 and packed[0] == 0xFF and packed[1] & 15 == 2)
    ):
        words = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        found.append(invalid_value(path, text, words))
    return found
