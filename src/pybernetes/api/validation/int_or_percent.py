"""Values that are a number or a percentage: of rolling updates and disruption budgets."""

from __future__ import annotations

import re

from ..errors import invalid_value
from .errors import Errors, invalid_each
from .formats import percent_problems
from .meta import nonnegative

_INTEGER = re.compile(r"[+-]?[0-9]+")


def validate_int_or_percent(value: int | str, path: str) -> Errors:
    if isinstance(value, str):
        return invalid_each(path, value, percent_problems(value))
    return nonnegative(value, path)


def at_most_all(value: int | str, path: str) -> Errors:
    """A percentage may be 100 at most."""
    if isinstance(value, str) and not percent_problems(value) and int(value[:-1]) > 100:
        return [invalid_value(path, value, "must not be greater than 100%")]
    return []


def number_of(value: int | str) -> int:
    """The number before the percent sign or the number itself; 0 for other text."""
    if not isinstance(value, str):
        return value
    digits = value[:-1] if not percent_problems(value) else value
    return int(digits) if _INTEGER.fullmatch(digits) else 0
