"""The string functions: the ``strings`` extension (version 2), ``find`` and ``findAll``, ``format``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import orjson

from ..regexes import PatternError, compile_pattern
from . import values
from .operators import to_string
from .values import CelError, Duration, NoSuchOverload, Timestamp, TypeValue, UInt, type_name

_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_WHITE = (
    " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_JSON_POINTER = re.compile("[/~]")


def _texts(*given: Any) -> None:
    if any(v.__class__ is not str for v in given):
        raise NoSuchOverload


def _ints(*given: Any) -> None:
    if any(v.__class__ is not int for v in given):
        raise NoSuchOverload


def char_at(text: Any, place: Any) -> str:
    _texts(text)
    _ints(place)
    if not 0 <= place <= len(text):
        raise CelError(f"index out of range: {place}")
    return str(text[place : place + 1])


def index_of(text: Any, part: Any, start: Any = 0) -> int:
    if isinstance(text, list):
        return next((i for i, v in enumerate(text) if values.equal(v, part)), -1)
    _texts(text, part)
    _ints(start)
    if part == "":
        return int(start)
    if start < 0:
        raise CelError(f"index out of range: {start}")
    return int(text.find(part, start))


def last_index_of(text: Any, part: Any, start: Any = None) -> int:
    if isinstance(text, list):
        return next((i for i in range(len(text) - 1, -1, -1) if values.equal(text[i], part)), -1)
    _texts(text, part)
    if start is None:
        return len(text) if part == "" else int(text.rfind(part))
    _ints(start)
    if part == "":
        return int(start)
    if start < 0:
        raise CelError(f"index out of range: {start}")
    return -1 if start >= len(text) else int(text.rfind(part, 0, start + len(part)))


def lower_ascii(text: Any) -> str:
    _texts(text)
    return str(text.translate(_LOWER))


def upper_ascii(text: Any) -> str:
    _texts(text)
    return str(text.translate(_UPPER))


_LONGEST = 1 << 25
"""More characters than any object could hold."""


def replace(text: Any, old: Any, new: Any, count: Any = -1) -> str:
    _texts(text, old, new)
    _ints(count)
    if len(text) * len(new) > _LONGEST and len(new) * (text.count(old) if count < 0 else count) > _LONGEST:
        raise CelError("replacement is too long")
    return str(text.replace(old, new, count if count >= 0 else -1))


def split(text: Any, separator: Any, count: Any = -1) -> list[str]:
    _texts(text, separator)
    _ints(count)
    if count == 0:
        return []
    if separator == "":
        parts = list(text)
        return parts if count < 0 or len(parts) <= count else [*parts[: count - 1], "".join(parts[count - 1 :])]
    return list(text.split(separator, count - 1 if count > 0 else -1))


def substring(text: Any, start: Any, end: Any = None) -> str:
    _texts(text)
    _ints(start)
    if end is None:
        if not 0 <= start <= len(text):
            raise CelError(f"index out of range: {start}")
        return str(text[start:])
    _ints(end)
    if start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    for place in (start, end):
        if not 0 <= place <= len(text):
            raise CelError(f"index out of range: {place}")
    return str(text[start:end])


def trim(text: Any) -> str:
    _texts(text)
    return str(text.strip(_WHITE))


def join(items: Any, separator: Any = "") -> str:
    _texts(separator)
    if not isinstance(items, list):
        raise NoSuchOverload
    for item in items:
        if item.__class__ is not str:
            raise CelError(f"join: invalid input: {item}")
    return str(separator.join(items))


def quote(text: Any) -> str:
    _texts(text)
    escapes = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    escapes |= {"\\": "\\\\", '"': '\\"'}
    return '"' + "".join(escapes.get(c, c) for c in text) + '"'


def _pattern(pattern: Any) -> Any:
    try:
        return compile_pattern(pattern)
    except PatternError as failure:
        raise CelError(f"Illegal regex: {failure}") from failure


def find(text: Any, pattern: Any) -> str:
    _texts(text, pattern)
    match = _pattern(pattern).search(text)
    return match[0] if match is not None else ""


def find_all(text: Any, pattern: Any, count: Any = -1) -> list[str]:
    _texts(text, pattern)
    _ints(count)
    found: list[str] = []
    for match in _pattern(pattern).finditer(text):
        if len(found) == count:
            break
        found.append(match[0])
    return found


def escape_key(text: Any) -> str:
    _texts(text)
    return _JSON_POINTER.sub(lambda m: "~1" if m[0] == "/" else "~0", text)


# -- format ----------------------------------------------------------------------------------------------------------

_MAX_PRECISION = 1000
_CLAUSE = re.compile(r"%(?:%|(?:\.(\d+))?(.)?)", re.S)


def format_text(template: Any, args: Any) -> str:
    """``"%s is %d".format([...])``."""
    _texts(template)
    if not isinstance(args, list):
        raise NoSuchOverload
    out: list[str] = []
    at = used = 0
    for match in _CLAUSE.finditer(template):
        out.append(template[at : match.start()])
        at = match.end()
        if match[0] == "%%":
            out.append("%")
            continue
        if used >= len(args):
            raise CelError(f"index {used} out of range")
        if match[2] is None:
            raise CelError("unexpected end of string")
        clause = _CLAUSES.get(match[2])
        if clause is None:
            raise CelError(f'could not parse formatting clause: unrecognized formatting clause "{match[2]}"')
        precision = int(match[1][:9]) if match[1] else 6
        if precision > _MAX_PRECISION:
            raise CelError(f"precision {precision} exceeds the limit of {_MAX_PRECISION}")
        out.append(clause(args[used], precision))
        used += 1
    return "".join(out) + str(template[at:])


def format_value(value: Any) -> str:
    """``%s``."""
    if isinstance(value, list):
        return "[" + ", ".join(_nested(v) for v in value) + "]"
    if isinstance(value, dict):
        pairs = sorted((_nested(k), _nested(v)) for k, v in value.items())
        return "{" + ", ".join(f"{k}:{v}" for k, v in pairs) + "}"
    if value is None:
        return "null"
    if value.__class__ is TypeValue:
        return str(value.name)
    if value.__class__ in (bool, int, UInt, float, str, bytes, Timestamp, Duration):
        return to_string(value)
    raise CelError(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, "
        f"lists, types, durations, and timestamps, was given {type_name(value)}"
    )


def _nested(value: Any) -> str:
    """Inside lists and maps, texts and moments are written as literals."""
    if value.__class__ is str:
        return orjson.dumps(value).decode()
    if value.__class__ is bytes:
        return f'b"{value.decode("utf-8", "replace")}"'
    if value.__class__ in (Timestamp, Duration):
        return f'{"timestamp" if value.__class__ is Timestamp else "duration"}("{value}")'
    if value.__class__ is float:
        return _fixed(value, 6)
    return format_value(value)


def format_issue(template: str, known: int) -> str | None:
    """What is wrong with a written-out template for so many arguments."""
    used = 0
    for match in _CLAUSE.finditer(template):
        if match[0] == "%%":
            continue
        if used >= known:
            return f"index {used} out of range"
        if match[2] is None:
            return "unexpected end of string"
        if match[2] not in _CLAUSES:
            return f'could not parse formatting clause: unrecognized formatting clause "{match[2]}"'
        used += 1
    return None


def clauses(template: str) -> list[str]:
    """The letters of the clauses of a good template."""
    return [m[2] for m in _CLAUSE.finditer(template) if m[0] != "%%" and m[2]]


def _clause_error(name: str, allowed: str, value: Any) -> CelError:
    return CelError(
        f"error during formatting: {name} clause can only be used on {allowed}, was given {type_name(value)}"
    )


def _decimal(value: Any, _: int) -> str:
    if value.__class__ in (int, UInt):
        return str(int(value))
    if value.__class__ is float and (math.isnan(value) or math.isinf(value)):
        return _special(value)
    raise _clause_error("decimal", "integers", value)


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")


def _number(value: Any, name: str) -> float:
    if value.__class__ is str and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if value.__class__ is not float:
        raise _clause_error(name, "doubles", value)
    return float(value)


def _fixed(value: Any, precision: int) -> str:
    number = _number(value, "fixed-point")
    return f"{number:.{precision}f}" if math.isfinite(number) else _special(number)


_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _scientific(value: Any, precision: int) -> str:
    number = _number(value, "scientific")
    if not math.isfinite(number):
        return _special(number)
    mantissa, _, exponent = f"{number:.{precision}e}".partition("e")
    return f"{mantissa}\u00d710{str(int(exponent)).zfill(2).translate(_SUPERSCRIPT)}"


def _binary(value: Any, _: int) -> str:
    if value.__class__ in (int, UInt, bool):
        return f"{int(value):b}"
    raise _clause_error("binary", "integers and bools", value)


def _octal(value: Any, _: int) -> str:
    if value.__class__ in (int, UInt):
        return f"{int(value):o}"
    raise _clause_error("octal", "integers", value)


def _hex(value: Any, _: int) -> str:
    if value.__class__ in (int, UInt):
        return f"{int(value):x}"
    if isinstance(value, str):
        return value.encode().hex()
    if isinstance(value, bytes):
        return value.hex()
    raise _clause_error("hex", "integers, byte buffers, and strings", value)


_CLAUSES: dict[str, Callable[[Any, int], str]] = {
    "s": lambda value, _: format_value(value),
    "d": _decimal,
    "f": _fixed,
    "e": _scientific,
    "b": _binary,
    "o": _octal,
    "x": _hex,
    "X": lambda value, _: _hex(value, 0).upper(),
}
