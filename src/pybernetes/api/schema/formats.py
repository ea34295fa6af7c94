"""String formats of custom resources' schemas ("Validation" in the CustomResourceDefinition page).

Unknown formats are ignored, as upstream ignores those that its registry does not know.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date
from urllib.parse import urlsplit

from ..regexes import matches
from .scalars import check_time, parse_duration

_HEX = "[0-9a-fA-F]"


def _uuid(version: str, variant: str) -> re.Pattern[str]:
    return re.compile(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?{version}-?{variant}-?{_HEX}{{12}}")


_UUIDS = {
    "uuid": _uuid(f"{_HEX}{{4}}", f"{_HEX}{{4}}"),
    "uuid3": _uuid(f"3{_HEX}{{3}}", f"{_HEX}{{4}}"),
    "uuid4": _uuid(f"4{_HEX}{{3}}", f"[89abAB]{_HEX}{{3}}"),
    "uuid5": _uuid(f"5{_HEX}{{3}}", f"[89abAB]{_HEX}{{3}}"),
}
_WORD = r"a-zA-Z0-9\p{S}\p{L}"
_HOSTNAME = (
    rf"^(?:[{_WORD}](?:-?[{_WORD}]{{0,62}})?|(?:[{_WORD}](?:[-{_WORD}]{{0,61}}[{_WORD}])?\.)+[a-zA-Z\p{{L}}]{{2,63}})$"
)
_EMAIL = re.compile(r"[^@\s<>()\[\],;:\\\"]+@[^@\s<>()\[\],;:\\\"]+")
_MAC = re.compile(
    rf"(?:{_HEX}{{2}}[:-]){{5}}{_HEX}{{2}}|(?:{_HEX}{{2}}[:-]){{7}}{_HEX}{{2}}|(?:{_HEX}{{4}}\.){{2}}{_HEX}{{4}}"
)
_CARD = re.compile(
    r"4\d{12}(?:\d{3})?|5[1-5]\d{14}|6(?:011|5\d\d)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|(?:2131|1800|35\d{3})\d{11}"
)
_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}")
_HEX_COLOR = re.compile(rf"#?(?:{_HEX}{{3}}|{_HEX}{{6}})")
_BYTE_VALUE = r"\s*(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*"
_RGB_COLOR = re.compile(rf"rgb\({_BYTE_VALUE},{_BYTE_VALUE},{_BYTE_VALUE}\)")
_SHORT_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LONG_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_SCALA_DURATION = re.compile(
    r"\s*\d+(?:\.\d+)?\s*(?:ns|nanos?|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?|s|seconds?"
    r"|m|minutes?|h|hours?|d|days?|w|weeks?)\s*"
)


def _no_error(check: Callable[[str], object]) -> Callable[[str], bool]:
    def valid(text: str) -> bool:
        try:
            check(text)
        except ValueError:
            return False
        return True

    return valid


def _full(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _uri(text: str) -> bool:
    if not text or any(ord(c) < 0x20 or c == "\x7f" for c in text):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    if parts.netloc and re.search(r"[ <>\"{}|\\^`]", parts.netloc):
        return False
    return text.startswith("/") or bool(parts.scheme)


def _hostname(text: str) -> bool:
    """One label, or labels before a top-level domain of letters, as the JSON schema rules for it were written."""
    if len(text) > 255 or any(len(label) > 63 for label in text.split(".")):
        return False
    return matches(_HOSTNAME, text)


def _cidr(text: str) -> None:
    if "/" not in text:
        raise ValueError(text)
    address, _, bits = text.partition("/")
    if not bits.isascii() or not bits.isdigit() or (len(bits) > 1 and bits[0] == "0"):
        raise ValueError(text)
    size = 32 if isinstance(ipaddress.ip_address(address), ipaddress.IPv4Address) else 128
    if int(bits) > size:
        raise ValueError(text)


def _isbn(text: str, length: int) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if len(digits) != length:
        return False
    if length == 10:
        if not (digits[:9].isdigit() and (digits[9].isdigit() or digits[9] in "Xx")):
            return False
        values = [int(c) for c in digits[:9]] + [10 if digits[9] in "Xx" else int(digits[9])]
        return sum((i + 1) * v for i, v in enumerate(values)) % 11 == 0
    return digits.isdigit() and sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(digits)) % 10 == 0


def _card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    if not _CARD.fullmatch(digits):
        return False
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _byte(text: str) -> None:
    try:
        base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except binascii.Error as failure:
        raise ValueError(text) from failure


def _duration(text: str) -> bool:
    return _no_error(parse_duration)(text) or _SCALA_DURATION.fullmatch(text) is not None


def _date_time(text: str) -> None:
    upper = text.replace("t", "T").replace("z", "Z")
    check_time(upper, "")


CHECKS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _full(re.compile(f"{_HEX}{{24}}")),
    "uri": _uri,
    "email": _full(_EMAIL),
    "hostname": _hostname,
    "ipv4": _no_error(ipaddress.IPv4Address),
    "ipv6": _no_error(ipaddress.IPv6Address),
    "cidr": _no_error(_cidr),
    "mac": _full(_MAC),
    **{name: _full(pattern) for name, pattern in _UUIDS.items()},
    "isbn": lambda text: _isbn(text, 10) or _isbn(text, 13),
    "isbn10": lambda text: _isbn(text, 10),
    "isbn13": lambda text: _isbn(text, 13),
    "creditcard": _card,
    "ssn": _full(_SSN),
    "hexcolor": _full(_HEX_COLOR),
    "rgbcolor": _full(_RGB_COLOR),
    "byte": _no_error(_byte),
    "password": lambda text: True,
    "date": _no_error(date.fromisoformat),
    "duration": _duration,
    "datetime": _no_error(_date_time),
    "k8sshortname": _full(_SHORT_NAME),
    "k8slongname": lambda text: len(text) <= 253 and _LONG_NAME.fullmatch(text) is not None,
}


def check_of(format_: str) -> Callable[[str], bool] | None:
    """The check of a format name (dashes do not count); None for unknown ones."""
    return CHECKS.get(format_.replace("-", ""))
