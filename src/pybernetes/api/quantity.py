"""Resource quantities: exact numbers with SI or binary suffixes, and their canonical text.

Specified by the "Quantity" reference (``apimachinery/pkg/api/resource``): at most three decimal places are kept
(nano for parsing), no exponent and suffix together, canonical form with no fractional digits and the largest suffix.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

_PATTERN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?")
_BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4, "Pi": 1024**5, "Ei": 1024**6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_NANO = Decimal(1).scaleb(-9)
PARSE_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
DECIMAL_SI, BINARY_SI, DECIMAL_EXPONENT = "DecimalSI", "BinarySI", "DecimalExponent"


class QuantityError(ValueError):
    """Text that is no quantity; the message is upstream's."""


@lru_cache(maxsize=8192)
def _parse(text: str) -> tuple[Decimal, str]:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise QuantityError(PARSE_ERROR)
    suffix = match[2] or ""
    try:
        number = Decimal(match[1])
    except InvalidOperation as failure:
        raise QuantityError(PARSE_ERROR) from failure
    if suffix in _BINARY:
        value, form = number * _BINARY[suffix], BINARY_SI
    elif suffix in _DECIMAL:
        value, form = number.scaleb(_DECIMAL[suffix]), DECIMAL_SI
    else:
        value, form = number.scaleb(max(-400, min(400, int(suffix[1:])))), DECIMAL_EXPONENT
    if value != 0 and (value % _NANO if abs(value) < Decimal(10) ** 18 else 0):
        value = value.quantize(_NANO, rounding=ROUND_CEILING)
    limit = Decimal(2**63 - 1)
    return max(-limit, min(limit, value)), form


def parse_quantity(value: Any) -> Decimal:
    """The exact number of a quantity (text, int or float as JSON gives it). Raises QuantityError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise QuantityError(PARSE_ERROR)
    return _parse(value if isinstance(value, str) else repr(value))[0]


def quantity_form(value: Any) -> str:
    """The form a quantity was written in (``DecimalSI``, ``BinarySI`` or ``DecimalExponent``). Raises QuantityError."""
    return _parse(value if isinstance(value, str) else repr(value))[1]


def quantity_value(value: Any) -> int:
    """The number rounded up to a whole one (bytes, pods, devices)."""
    return int(parse_quantity(value).to_integral_value(rounding=ROUND_CEILING))


def quantity_milli(value: Any) -> int:
    """Thousandths, rounded up (CPU)."""
    return int((parse_quantity(value) * 1000).to_integral_value(rounding=ROUND_CEILING))


def format_quantity(number: Decimal | int, form: str = DECIMAL_SI) -> str:
    """The canonical text of a number in a form (``DecimalSI``, ``BinarySI`` or ``DecimalExponent``)."""
    value = Decimal(number)
    if value == 0:
        return "0"
    if form == BINARY_SI and abs(value) >= 1024 and value == value.to_integral_value():
        whole = int(value)
        for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
            if whole % _BINARY[suffix] == 0:
                return f"{whole // _BINARY[suffix]}{suffix}"
        return str(whole)
    exponent = -9
    whole = int((value * 10**9).to_integral_value(rounding=ROUND_CEILING))
    while whole % 1000 == 0 and exponent < 18:
        whole //= 1000
        exponent += 3
    if form == DECIMAL_EXPONENT:
        return f"{whole}e{exponent}" if exponent else str(whole)
    return f"{whole}{next(s for s, e in _DECIMAL.items() if e == exponent)}"


def canonical_quantity(value: Any) -> str:
    """The text that the API server stores and returns for a quantity. Raises QuantityError."""
    number, form = _parse(value if isinstance(value, str) else repr(value))
    return format_quantity(number, form)
