"""Small helpers that several families of defaults share."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ..quantity import QuantityError, canonical_quantity, format_quantity, parse_quantity, quantity_form

Obj = dict[str, Any]

ALWAYS, IF_NOT_PRESENT = "Always", "IfNotPresent"

_DOMAIN = (
    r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
)
_HOST = rf"(?:{_DOMAIN}|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?:{_HOST})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
_LONGEST_PATH = 255
_BARE_ID = re.compile(r"[a-f0-9]{64}")


@lru_cache(maxsize=4096)
def default_pull_policy(image: str) -> str:
    """``Always`` for the tag ``latest`` and for no tag and no digest; a reference that does not parse has no tag."""
    match = _IMAGE.fullmatch(image)
    if match is None or len(match["path"]) > _LONGEST_PATH or _BARE_ID.fullmatch(image):
        return IF_NOT_PRESENT
    tag = match["tag"] or ("" if match["digest"] else "latest")
    return ALWAYS if tag == "latest" else IF_NOT_PRESENT


@lru_cache(maxsize=8192)
def rounded_quantity(value: str | int | float) -> str | int | float:
    """A quantity in canonical text, rounded up to thousandths: what a ResourceList stores."""
    try:
        number = parse_quantity(value)
        milli = number * 1000
        if milli != milli.to_integral_value():
            whole = -int(-milli // 1)
            if whole < milli:
                whole += 1
            return format_quantity(whole * parse_quantity("1m"), quantity_form(value))
        return canonical_quantity(value)
    except QuantityError:
        return value


@lru_cache(maxsize=8192)
def canonical(value: str | int | float) -> str | int | float:
    """A quantity in canonical text; what is no quantity stays (decoding has refused it before)."""
    try:
        return canonical_quantity(value)
    except QuantityError:
        return value


def round_list(resources: Obj | None) -> None:
    """Every amount of a ResourceList in place."""
    if resources:
        for name, value in resources.items():
            stored = rounded_quantity(value)
            if stored != value:
                resources[name] = stored


def round_lists(requirements: Obj | None, *fields: str) -> None:
    """The ResourceLists under these fields of an object."""
    if requirements:
        for field in fields:
            round_list(requirements.get(field))


def struct(obj: Obj, field: str) -> Obj:
    """The struct under ``field``, made where it is missing: upstream always writes it."""
    value = obj.get(field)
    if value is None:
        value = obj[field] = {}
    return value  # type: ignore[no-any-return]


def default(obj: Obj, field: str, value: Any) -> None:
    """Sets a pointer field that is absent (or null)."""
    if obj.get(field) is None:
        obj[field] = value


def default_text(obj: Obj, field: str, value: Any) -> None:
    """Sets a scalar field that is absent or zero."""
    if not obj.get(field):
        obj[field] = value
