"""JSON bodies: fast decoding, and the duplicate keys that strict field validation reports.

orjson decides almost everything. Duplicates are looked for in three steps, each only where the one before was not
sure: the length of the re-encoded object (equal for compact bodies without duplicates), C json with a hook on every
object, and at last a walk that knows the paths.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from .. import errors

MAX_DEPTH = 250
"""orjson writes no deeper objects; upstream's limit of 10,000 has no known user."""
_MAX_DUPLICATES = 100
_QUOTE, _BACKSLASH = 0x22, 0x5C


def decode(body: bytes) -> Any:
    """The JSON value of a body. Raises a 400 for what is no JSON or nests too deep."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as failure:
        value = _lenient(body, failure)
    check_depth(body, value)
    return value


def check_depth(body: bytes, value: Any) -> None:
    if body.count(b"{") + body.count(b"[") < MAX_DEPTH:
        return
    try:
        orjson.dumps(value)
    except TypeError as failure:
        raise errors.bad_request("json: exceeded max depth") from failure


def _lenient(body: bytes, failure: orjson.JSONDecodeError) -> Any:
    """Go accepts broken UTF-8 and lone surrogates, and writes U+FFFD for them."""
    try:
        value = json.loads(body.decode("utf-8", "replace"), parse_constant=_no_constant)
        return _replace(value)
    except RecursionError:
        raise errors.bad_request("json: exceeded max depth") from failure
    except ValueError:
        raise errors.bad_request(syntax_error(body)) from failure


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _replace(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    return json.loads("".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text))


def strict_decode(body: bytes) -> tuple[Any, list[str]]:
    """The value of a body and the paths of its duplicate keys (``spec.replicas``, ``items[0].name``)."""
    value = decode(body)
    return value, duplicate_fields(body, value)


def duplicate_fields(body: bytes, value: Any) -> list[str]:
    written = orjson.dumps(value)
    # A duplicate key is missing from what was read; spaces and escapes change the length, but not the number of keys.
    if len(written) == len(body.strip()) or written.count(b'":') == body.count(b'":'):
        return []
    if not _has_duplicates(body):
        return []
    return _duplicate_paths(body)


def _has_duplicates(body: bytes) -> bool:
    found = False

    def check(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        if not found and len({key for key, _ in pairs}) != len(pairs):
            found = True

    json.loads(body.decode("utf-8", "replace"), object_pairs_hook=check)
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object with every pair of its text."""


def _duplicate_paths(body: bytes) -> list[str]:
    fields = _fields(json.loads(body.decode("utf-8", "replace"), object_pairs_hook=_Pairs), "")
    return list(dict.fromkeys(path for path, again in fields if again))[:_MAX_DUPLICATES]


def _fields(value: Any, path: str) -> Iterator[tuple[str, bool]]:
    """(path, whether its object had it before) of every field, in the order of the text."""
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            below = f"{path}.{key}" if path else key
            yield below, key in seen
            seen.add(key)
            yield from _fields(item, below)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _fields(item, f"{path}[{index}]")


def in_order(body: bytes, strangers: list[str]) -> list[str]:
    """What strict decoding says of a JSON body with duplicate and unknown (``strangers``) fields, in the body's own order."""
    fields = _fields(json.loads(body.decode("utf-8", "replace"), object_pairs_hook=_Pairs), "")
    unknown = frozenset(strangers)
    found = (
        f'duplicate field "{path}"' if again else f'unknown field "{path}"'
        for path, again in fields
        if again or path in unknown
    )
    return list(dict.fromkeys(found))


def syntax_error(body: bytes) -> str:
    """Go's words for a body that is no JSON, as far as people meet them."""
    text = body.decode("utf-8", "replace")
    try:
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as failure:
        at = failure.pos
        if at >= len(text) or failure.msg.startswith("Unterminated"):
            return "unexpected end of JSON input"
        return f"invalid character {_go_char(text[at])} {_expectation(failure.msg)}"
    except (ValueError, RecursionError):
        pass
    return "invalid character in JSON input"


def _go_char(char: str) -> str:
    return {"'": "'\\''", "\n": "'\\n'", "\t": "'\\t'", "\r": "'\\r'"}.get(char, f"'{char}'")


def _expectation(message: str) -> str:
    if "property name" in message:
        return "looking for beginning of object key string"
    if "':'" in message:
        return "after object key"
    if "','" in message:
        return "after object key:value pair"
    if message.startswith("Extra data"):
        return "after top-level value"
    if "control character" in message:
        return "in string literal"
    if "escape" in message:
        return "in string escape code"
    return "looking for beginning of value"
