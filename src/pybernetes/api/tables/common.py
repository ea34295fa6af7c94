"""How times, labels, selectors and lists look in tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..selectors import SelectorError, selector_text
from ..times import parse_time

Obj = dict[str, Any]
NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def human_duration(seconds: float) -> str:
    """Two units at most, and one where the second says little: ``45s``, ``3m2s``, ``5h``, ``6d4h``, ``3y20d``.

    Up to two seconds in the future count as now: clocks of machines differ.
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 48 * _HOUR:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * 365 * _DAY:
        return f"{whole // _DAY}d"
    if whole < 8 * 365 * _DAY:
        return _two(whole, 365 * _DAY, "y", _DAY, "d")
    return f"{whole // (365 * _DAY)}y"


def _two(whole: int, unit: int, name: str, lower: int, lower_name: str) -> str:
    rest = whole % unit // lower
    return f"{whole // unit}{name}" + (f"{rest}{lower_name}" if rest else "")


def seconds_of(text: Any) -> float | None:
    """A time's seconds since the epoch; None where it is unset."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        return None


def since(text: Any, now: float) -> str:
    """How long ago a time was."""
    moment = seconds_of(text)
    return UNKNOWN if moment is None else human_duration(now - moment)


def name_and_age(obj: Mapping[str, Any], now: float) -> tuple[str, str]:
    metadata = obj.get("metadata") or {}
    return metadata.get("name") or "", since(metadata.get("creationTimestamp"), now)


def labels_text(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def selector_or_none(selector: Mapping[str, Any] | None) -> str:
    try:
        return selector_text(selector) or NONE
    except SelectorError:
        return "<error>"


def containers_and_images(template: Mapping[str, Any] | None) -> tuple[str, str]:
    containers = ((template or {}).get("spec") or {}).get("containers") or ()
    return ",".join(c.get("name") or "" for c in containers), ",".join(c.get("image") or "" for c in containers)


def at_most(items: Iterable[str], limit: int = 3) -> str:
    """The first few, and how many more there are."""
    found = list(items)
    text = ",".join(found[:limit])
    if len(found) > limit:
        return f"{text} + {len(found) - limit} more..."
    return text or UNSET


def true_false(value: Any) -> str:
    return UNSET if value is None else ("True" if value else "False")
