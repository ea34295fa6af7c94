"""Kubernetes' own libraries: URLs, IP addresses and CIDRs, quantities, semantic versions, named formats.

Specified by "Common Expression Language in Kubernetes" (https://kubernetes.io/docs/reference/using-api/cel/).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import total_ordering
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from ..quantity import DECIMAL_EXPONENT, QuantityError, format_quantity, parse_quantity
from ..schema import formats as schema_formats
from ..validation import formats as name_formats
from . import values
from .values import CelError, NoSuchOverload, OptionalValue

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


# -- URLs --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class URL:
    """An absolute URL or path, as the OpenAPI format uri takes it."""

    text: str
    parts: SplitResult

    TYPE_NAME = "kubernetes.URL"

    def size(self) -> int:
        return len(self.text)


_HOST = re.compile(r"[^\s<>\"{}|\\^`]*")


def parse_url(text: Any) -> URL:
    if text.__class__ is not str:
        raise NoSuchOverload
    problem = url_problem(text)
    if problem:
        raise CelError(f"URL parse error during conversion from string: {problem}")
    return URL(text, urlsplit(text))


def url_problem(text: str) -> str:
    """What Go's ParseRequestURI says; empty for a good one."""
    shown = f'parse "{text}": '
    if not text:
        return shown + "empty url"
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        return shown + "net/url: invalid control character in URL"
    if bad := re.search(r"%(?![0-9a-fA-F]{2})", text.split("?")[0]):
        return f'{shown}invalid URL escape "{text[bad.start() : bad.start() + 3]}"'
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        authority = text.split("//", 1)[-1].split("/", 1)[0]
        port = authority.rpartition(":")[2]
        return f'{shown}invalid port ":{port}" after host' if not port.isdigit() else f"{shown}invalid host"
    if not text.startswith("/") and not parts.scheme:
        if ":" in text.split("/")[0]:
            return shown + "first path segment in URL cannot contain colon"
        return shown + "invalid URI for request"
    if not _HOST.fullmatch(parts.netloc):
        bad_char = next(c for c in parts.netloc if not _HOST.fullmatch(c))
        return f'{shown}invalid character "{bad_char}" in host name'
    return ""


def is_url(text: Any) -> bool:
    if text.__class__ is not str:
        raise NoSuchOverload
    return not url_problem(text)


def _url(value: Any) -> SplitResult:
    if value.__class__ is not URL:
        raise NoSuchOverload
    return value.parts  # type: ignore[no-any-return]


def url_scheme(value: Any) -> str:
    return _url(value).scheme


def url_host(value: Any) -> str:
    return _url(value).netloc.rpartition("@")[2]


def url_hostname(value: Any) -> str:
    host = url_host(value)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def url_port(value: Any) -> str:
    host = url_host(value)
    tail = host.partition("]")[2] if host.startswith("[") else host
    return tail.partition(":")[2]


def url_path(value: Any) -> str:
    return quote(_url(value).path, safe="/%:@!$&'()*+,;=~-._")


def url_query(value: Any) -> dict[str, list[str]]:
    return parse_qs(_url(value).query, keep_blank_values=True)


# -- addresses ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IP:
    address: IPAddress

    TYPE_NAME = "net.IP"
    to_string = True

    def size(self) -> int:
        return len(self.address.packed)

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class CIDR:
    address: IPAddress
    bits: int

    TYPE_NAME = "net.CIDR"
    to_string = True

    def size(self) -> int:
        return -(-self.bits // 8)

    def __str__(self) -> str:
        return f"{self.address}/{self.bits}"

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network((self.address, self.bits), strict=False)


def _address(text: str) -> IPAddress:
    """Raises CelError with upstream's words."""
    if text.__class__ is not str:
        raise NoSuchOverload
    bare, percent, _ = text.partition("%")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        reason = "unable to parse IP"
        if ":" not in text and "." in text:
            reason = "IPv4 field has value >255" if re.search(r"\d{3}", text) else "IPv4 address too short"
        raise CelError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): {reason}'
        ) from None
    if percent:
        raise CelError(f'IP address "{text}" with zone value is not allowed')
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return address


def parse_ip(value: Any) -> IP:
    if value.__class__ is CIDR:
        return IP(value.address)
    return IP(_address(value))


def is_ip(text: Any) -> bool:
    try:
        _address(text)
    except NoSuchOverload:
        raise
    except CelError:
        return False
    return True


def is_canonical(text: Any) -> bool:
    return bool(str(_address(text)) == text)


def _ip(value: Any) -> IPAddress:
    if value.__class__ is not IP:
        raise NoSuchOverload
    return value.address  # type: ignore[no-any-return]


def family(value: Any) -> int:
    return _ip(value).version


def is_unspecified(value: Any) -> bool:
    return _ip(value).is_unspecified


def is_loopback(value: Any) -> bool:
    return _ip(value).is_loopback


def is_link_local_multicast(value: Any) -> bool:
    address = _ip(value)
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.IPv4Network("224.0.0.0/24")
    return address in ipaddress.IPv6Network("ff02::/16")


def is_link_local_unicast(value: Any) -> bool:
    return _ip(value).is_link_local


def is_global_unicast(value: Any) -> bool:
    address = _ip(value)
    if isinstance(address, ipaddress.IPv4Address) and int(address) == 2**32 - 1:
        return False
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local)


def parse_cidr(text: Any) -> CIDR:
    if text.__class__ is not str:
        raise NoSuchOverload
    head, slash, tail = text.rpartition("/")
    words = "network address parse error during conversion from string: "
    if not slash:
        raise CelError(f"{words}{words}netip.ParsePrefix(\"{text}\"): no '/'")
    try:
        address = ipaddress.ip_address(head)
    except ValueError:
        raise CelError(f'{words}{words}netip.ParsePrefix("{text}"): ParseAddr("{head}"): unable to parse IP') from None
    good = tail.isascii() and tail.isdigit() and (tail == "0" or tail[0] != "0")
    if not good:
        raise CelError(f'{words}{words}netip.ParsePrefix("{text}"): bad bits after slash: "{tail}"')
    if int(tail) > address.max_prefixlen:
        raise CelError(f'{words}{words}netip.ParsePrefix("{text}"): prefix length out of range')
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise CelError(f'{words}IPv4-mapped IPv6 address "{text}" is not allowed')
    return CIDR(address, int(tail))


def is_cidr(text: Any) -> bool:
    try:
        parse_cidr(text)
    except NoSuchOverload:
        raise
    except CelError:
        return False
    return True


def _cidr(value: Any) -> CIDR:
    if value.__class__ is not CIDR:
        raise NoSuchOverload
    return value  # type: ignore[no-any-return]


def _inner(parse: Callable[[str], Any], text: Any) -> Any:
    try:
        return parse(text)
    except CelError:
        raise NoSuchOverload from None


def contains_ip(value: Any, other: Any) -> bool:
    address = other.address if other.__class__ is IP else _inner(_address, other)
    network = _cidr(value).network
    return address.version == network.version and address in network


def contains_cidr(value: Any, other: Any) -> bool:
    inner = other if other.__class__ is CIDR else _inner(parse_cidr, other)
    outer = _cidr(value)
    if inner.address.version != outer.address.version or inner.bits < outer.bits:
        return False
    return inner.address in outer.network


def prefix_length(value: Any) -> int:
    return _cidr(value).bits


def masked(value: Any) -> CIDR:
    cidr = _cidr(value)
    return CIDR(cidr.network.network_address, cidr.bits)


# -- quantities --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quantity:
    number: Decimal

    TYPE_NAME = "kubernetes.Quantity"

    def __str__(self) -> str:
        return format_quantity(self.number, DECIMAL_EXPONENT)


def parse_cel_quantity(text: Any) -> Quantity:
    if text.__class__ is not str:
        raise NoSuchOverload
    try:
        return Quantity(parse_quantity(text))
    except QuantityError as failure:
        raise CelError(str(failure)) from failure


def is_quantity(text: Any) -> bool:
    if text.__class__ is not str:
        raise NoSuchOverload
    try:
        parse_quantity(text)
    except QuantityError:
        return False
    return True


def _quantity(value: Any) -> Decimal:
    if value.__class__ is not Quantity:
        raise NoSuchOverload
    return value.number  # type: ignore[no-any-return]


def sign(value: Any) -> int:
    number = _quantity(value)
    return (number > 0) - (number < 0)


def is_integer(value: Any) -> bool:
    number = _quantity(value)
    return number == number.to_integral_value() and abs(number) < 2**63


def as_integer(value: Any) -> int:
    if not is_integer(value):
        raise CelError("cannot convert value to integer")
    return int(_quantity(value))


def as_float(value: Any) -> float:
    return float(_quantity(value))


def _amount(value: Any) -> Decimal:
    return Decimal(value) if value.__class__ is int else _quantity(value)


def quantity_add(value: Any, other: Any) -> Quantity:
    return Quantity(_quantity(value) + _amount(other))


def quantity_sub(value: Any, other: Any) -> Quantity:
    return Quantity(_quantity(value) - _amount(other))


# -- semantic versions -------------------------------------------------------------------------------------------------


@total_ordering
@dataclass(frozen=True, slots=True)
class Semver:
    numbers: tuple[int, int, int]
    pre: tuple[str, ...]

    TYPE_NAME = "kubernetes.Semver"

    def rank(self) -> tuple[Any, ...]:
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return (self.numbers, not self.pre, parts)

    def __lt__(self, other: Semver) -> bool:
        return self.rank() < other.rank()


_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


def parse_semver(text: Any, normalize: Any = False) -> Semver:
    if text.__class__ is not str or normalize.__class__ is not bool:
        raise NoSuchOverload
    try:
        wanted = _normalized(text) if normalize else text
        match = _SEMVER.fullmatch(wanted)
        if match is None or any(int(n) >= 2**64 for n in match.groups()[:3]):
            raise ValueError(_semver_problem(wanted))
    except ValueError as failure:
        raise CelError(str(failure)) from failure
    return Semver((int(match[1]), int(match[2]), int(match[3])), tuple(match[4].split(".")) if match[4] else ())


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            short = part.lstrip("0")
            parts[index] = short if short[:1].isdigit() else "0" + short
    if len(parts) < 3 and re.search(r"[+-]", parts[-1]):
        raise ValueError("short version cannot contain PreRelease/Build meta data")
    return ".".join(parts + ["0"] * (3 - len(parts)))


def _semver_problem(text: str) -> str:
    if not text:
        return "Version string empty"
    parts = text.split(".", 2)
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    for name, part in zip(("Major", "Minor", "Patch"), (*parts[:2], re.split("[-+]", parts[2])[0]), strict=True):
        if not part.isdigit():
            return f'Invalid character(s) found in {name.lower()} number "{part}"'
        if len(part) > 1 and part[0] == "0":
            return f'{name} number must not contain leading zeroes "{part}"'
    return f'Invalid character(s) found in prerelease "{parts[2].partition("-")[2]}"'


def is_semver(text: Any, normalize: Any = False) -> bool:
    try:
        parse_semver(text, normalize)
    except NoSuchOverload:
        raise
    except CelError:
        return False
    return True


def _semver(value: Any) -> Semver:
    if value.__class__ is not Semver:
        raise NoSuchOverload
    return value  # type: ignore[no-any-return]


def major(value: Any) -> int:
    return _semver(value).numbers[0]


def minor(value: Any) -> int:
    return _semver(value).numbers[1]


def patch(value: Any) -> int:
    return _semver(value).numbers[2]


def _pair(value: Any, other: Any) -> tuple[Any, Any]:
    if value.__class__ is Semver:
        return _semver(value), _semver(other)
    return _quantity(value), _quantity(other)


def is_greater_than(value: Any, other: Any) -> bool:
    left, right = _pair(value, other)
    return bool(left > right)


def is_less_than(value: Any, other: Any) -> bool:
    left, right = _pair(value, other)
    return bool(left < right)


def compare_to(value: Any, other: Any) -> int:
    left, right = _pair(value, other)
    return int(left > right) - int(left < right)


# -- named formats -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Format:
    name: str
    problems: Callable[[str], list[str]]
    pattern_size: int
    """How long its regular expression counts in the cost model."""

    TYPE_NAME = "kubernetes.NamedFormat"

    def size(self) -> int:
        return len(self.name)


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    from ..validation.meta import mask_trailing_dash

    return lambda text: check(mask_trailing_dash(text))


def _fits(name: str, words: str) -> Callable[[str], list[str]]:
    check = schema_formats.CHECKS[name]
    return lambda text: [] if check(text) else [words]


def _url_problems(text: str) -> list[str]:
    problem = url_problem(text)
    return [problem] if problem else []


_DATE_TIME_PATTERN_SIZE = 72
FORMATS: dict[str, Format] = {
    "dns1123Label": Format("DNS1123Label", name_formats.dns_label_problems, 30),
    "dns1123Subdomain": Format("DNS1123Subdomain", name_formats.dns_subdomain_problems, 60),
    "dns1035Label": Format("DNS1035Label", name_formats.dns_1035_label_problems, 30),
    "qualifiedName": Format("QualifiedName", name_formats.qualified_name_problems, 60),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", _prefix(name_formats.dns_label_problems), 30),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", _prefix(name_formats.dns_subdomain_problems), 60),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", _prefix(name_formats.dns_1035_label_problems), 30),
    "labelValue": Format("LabelValue", name_formats.label_value_problems, 40),
    "uri": Format("URI", _url_problems, 1103),
    "uuid": Format("uuid", _fits("uuid", "does not match the UUID format"), 72),
    "byte": Format("byte", _fits("byte", "invalid base64"), 84),
    "date": Format("date", _fits("date", "invalid date"), _DATE_TIME_PATTERN_SIZE),
    "datetime": Format("datetime", _fits("datetime", "invalid datetime"), _DATE_TIME_PATTERN_SIZE),
}


def format_named(name: Any) -> OptionalValue:
    if name.__class__ is not str:
        raise NoSuchOverload
    return OptionalValue(True, FORMATS[name]) if name in FORMATS else values.NONE


def validate(value: Any, text: Any) -> OptionalValue:
    if value.__class__ is not Format or text.__class__ is not str:
        raise NoSuchOverload
    problems = value.problems(text)
    return OptionalValue(True, problems) if problems else values.NONE
