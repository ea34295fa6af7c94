"""Times on the wire: ``metav1.Time`` has whole seconds, ``metav1.MicroTime`` six digits; both are UTC with a Z.

Inside, a time is a float of seconds since the epoch, as a ``Clock`` gives it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")


def _moment(epoch: float) -> datetime:
    # Not fromtimestamp, which has no years before the platform's first; and strftime leaves out leading zeros of a year.
    return _EPOCH + timedelta(seconds=epoch)


def to_time(epoch: float) -> str:
    """``2026-01-02T03:04:05Z``: fractions are cut, not rounded, as upstream's marshalling does."""
    return f"{_moment(int(epoch // 1)):%Y-%m-%dT%H:%M:%SZ}".zfill(20)


def to_micro_time(epoch: float) -> str:
    """``2026-01-02T03:04:05.000006Z``."""
    return f"{_moment(epoch):%Y-%m-%dT%H:%M:%S.%fZ}".zfill(27)


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 text (Time or MicroTime, any offset). Raises ValueError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"parsing time {text!r}: not RFC 3339")
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    fraction, zone = match.group(7), match.group(8)
    offset = 0
    if zone not in ("Z", "z"):
        offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * 60
        offset = offset if zone[0] == "+" else -offset
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp() - offset
    return moment + (float(fraction) if fraction else 0.0)
