"""Texts that Go's types accept and how they write them back: times, durations, quantities, base64.

Each reader takes a JSON value that is not null and gives the canonical one, or raises ``ValueError`` with upstream's words.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import date
from functools import lru_cache
from typing import Any

from ..quantity import QuantityError, canonical_quantity
from ..times import parse_time, to_micro_time, to_time

TIME_LAYOUT = "2006-01-02T15:04:05Z07:00"
MICRO_TIME_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_CANONICAL_TIME = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ")
_PIECES = re.compile(
    r"(?P<year>\d{4})(?P<d1>-)(?P<month>\d\d)(?P<d2>-)(?P<day>\d\d)(?P<t>T)(?P<hour>\d\d?)(?P<c1>:)(?P<minute>\d\d)"
    r"(?P<c2>:)(?P<second>\d\d)(?P<fraction>[.,]\d+)?(?P<zone>Z|[+-]\d\d:\d\d)"
)
_STEPS = (
    (re.compile(r"\d{4}"), "2006"),
    (re.compile("-"), "-"),
    (re.compile(r"\d\d"), "01"),
    (re.compile("-"), "-"),
    (re.compile(r"\d\d"), "02"),
    (re.compile("T"), "T"),
    (re.compile(r"\d\d?"), "15"),
    (re.compile(":"), ":"),
    (re.compile(r"\d\d"), "04"),
    (re.compile(":"), ":"),
    (re.compile(r"\d\d"), "05"),
)
_ZONE = re.compile(r"Z|[+-]\d\d:\d\d")
_DURATION = re.compile(r"([+-]?)((?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class TypeMismatch(ValueError):
    """The value has a wrong JSON type; the message is the Go type that was wanted."""


def _time_error(text: str, layout: str, rest: str, wanted: str) -> ValueError:
    quoted, shown = go_string(text), go_string(rest)
    return ValueError(f'parsing time {quoted} as "{layout}": cannot parse {shown} as "{wanted}"')


def go_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def check_time(text: str, layout: str) -> None:
    """Raises Go's ``time.ParseError`` text for what is no RFC 3339 time."""
    at = 0
    for pattern, wanted in _STEPS:
        match = pattern.match(text, at)
        if match is None:
            raise _time_error(text, layout, text[at:], wanted)
        at = match.end()
    fraction = re.compile(r"[.,]\d+").match(text, at)
    if layout == MICRO_TIME_LAYOUT:
        if fraction is None or len(fraction[0]) != 7:
            raise _time_error(text, layout, text[at:], ".000000")
    at = fraction.end() if fraction else at
    zone = _ZONE.match(text, at)
    if zone is None:
        raise _time_error(text, layout, text[at:], "Z07:00")
    if zone.end() != len(text):
        raise ValueError(f"parsing time {go_string(text)}: extra text: {go_string(text[zone.end() :])}")
    _check_ranges(text)


def _check_ranges(text: str) -> None:
    pieces = _PIECES.fullmatch(text)
    if pieces is None:
        raise ValueError(f"parsing time {go_string(text)}: day out of range")
    month = int(pieces["month"])
    for name, low, high in (("month", 1, 12), ("hour", 0, 23), ("minute", 0, 59), ("second", 0, 59)):
        if not low <= int(pieces[name]) <= high:
            raise ValueError(f"parsing time {go_string(text)}: {name} out of range")
    try:
        date(max(1, int(pieces["year"])), month, int(pieces["day"]))
    except ValueError as failure:
        raise ValueError(f"parsing time {go_string(text)}: day out of range") from failure


@lru_cache(maxsize=1024)
def _canonical_time(text: str, micro: bool) -> str:
    check_time(text, MICRO_TIME_LAYOUT if micro else TIME_LAYOUT)
    hours = _PIECES.fullmatch(text)
    if hours is not None and len(hours["hour"]) == 1:
        text = text[: hours.start("hour")] + "0" + text[hours.start("hour") :]
    epoch = parse_time(text.replace(",", "."))
    return to_micro_time(epoch) if micro else to_time(epoch)


def read_time(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeMismatch("string")
    if len(value) == 20 and _CANONICAL_TIME.fullmatch(value):
        return value
    return _canonical_time(value, False)


def read_micro_time(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeMismatch("string")
    return _canonical_time(value, True)


def parse_duration(text: str) -> int:
    """Nanoseconds of Go's duration text."""
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0
    if not _DURATION.fullmatch(text):
        if body and re.fullmatch(r"\d+\.?\d*|\.\d+", body):
            raise ValueError(f"time: missing unit in duration {go_string(text)}")
        raise ValueError(f"time: invalid duration {go_string(text)}")
    total = 0
    for number, unit in _DURATION_PART.findall(body):
        whole, _, fraction = number.partition(".")
        scale = _UNITS[unit]
        total += int(whole or 0) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    if total > 2**63 - 1:
        raise ValueError(f"time: invalid duration {go_string(text)}")
    return -total if text[:1] == "-" else total


def format_duration(nanoseconds: int) -> str:
    """As ``time.Duration.String``: ``1h0m0s``, ``1.5s``, ``200ms``."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 10**9:
        for unit, scale in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
            if rest < scale * 1000:
                return f"{sign}{_decimal(rest, scale)}{unit}"
    minutes, seconds = divmod(rest, 60 * 10**9)
    text = f"{_decimal(seconds, 10**9)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{minutes}m{text}"
        if hours:
            text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, scale: int) -> str:
    whole, rest = divmod(value, scale)
    if not rest:
        return str(whole)
    digits = len(str(scale)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")


def read_duration(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeMismatch("string")
    return format_duration(parse_duration(value))


_quantity_text = lru_cache(maxsize=8192)(canonical_quantity)


def read_quantity(value: Any) -> str:
    if value.__class__ is str:
        return _quantity_text(value.strip())
    if value.__class__ is bool or not isinstance(value, int | float):
        raise QuantityError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    return canonical_quantity(value)


_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def read_bytes(value: Any) -> str:
    """Base64 as Go accepts it (line breaks ignored); canonical on the way out."""
    if value.__class__ is not str:
        raise TypeMismatch("[]uint8")
    if _BASE64.fullmatch(value):
        return str(value)
    bare = value.replace("\r", "").replace("\n", "")
    if not _BASE64.fullmatch(bare):
        raise ValueError(f"illegal base64 data at input byte {_base64_fault(value)}")
    try:
        return base64.b64encode(base64.b64decode(bare)).decode()
    except binascii.Error as failure:
        raise ValueError(f"illegal base64 data at input byte {_base64_fault(value)}") from failure


def _base64_fault(text: str) -> int:
    """Where Go's decoder gives up."""
    seen = 0
    for index, char in enumerate(text):
        if char in "\r\n":
            continue
        if char == "=":
            rest = text[index:].replace("\r", "").replace("\n", "")
            if seen % 4 == 2 and rest[1:2] == "=":
                return index + 2 if len(rest) > 2 else index
            if seen % 4 == 3:
                return index + 1 if len(rest) > 1 else index
            return index + 1 if seen % 4 == 2 and len(rest) > 1 else (len(text) if seen % 4 == 2 else index)
        if not (char.isascii() and (char.isalnum() or char in "+/")):
            return index
        seen += 1
    return len(text) - seen % 4 if seen % 4 else len(text)
