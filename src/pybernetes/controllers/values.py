"""Small pure helpers that the decisions share: copies, comparisons, number-or-percent values, hashes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from ..api.meta import Object

# The 27 characters of apimachinery's ``util/rand``: no vowels and nothing that looks like another, so no words appear.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
MAX_INT32 = 2**31 - 1


def deep_copy(value: Any) -> Any:
    """A copy of JSON data that may be changed."""
    return orjson.loads(orjson.dumps(value))


def with_metadata(obj: Object, **changes: Any) -> Object:
    """The object with these metadata fields replaced, sharing all the rest."""
    return {**obj, "metadata": {**obj.get("metadata", {}), **changes}}


def with_spec(obj: Object, **changes: Any) -> Object:
    return {**obj, "spec": {**(obj.get("spec") or {}), **changes}}


def with_status(obj: Object, status: Mapping[str, Any]) -> Object:
    return {**obj, "status": dict(status)}


def compact(mapping: Mapping[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Without what Go leaves out as empty (zero, false, '', [], {}, None), except the named keys."""
    return {k: v for k, v in mapping.items() if k in keep or not (v is None or v is False or v in (0, "", [], {}))}


def same_status(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    return compact(old or {}) == compact(new)


def semantic(value: Any) -> Any:
    """The value without nulls and empty lists: two of these are equal where upstream's semantic comparison says so."""
    if isinstance(value, dict):
        return {k: semantic(v) for k, v in value.items() if v is not None and v != []}
    if isinstance(value, list):
        return [semantic(v) for v in value]
    return value


def scaled_value(value: Any, total: int, *, round_up: bool) -> int:
    """A number, or a percentage of ``total``. Raises ValueError for other text."""
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.endswith("%") and value[:-1].lstrip("-").isdigit():
        share = int(value[:-1]) * total / 100
        return math.ceil(share) if round_up else math.floor(share)
    raise ValueError("invalid value for IntOrString: invalid type: string is not a percentage")


def fnv32a(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def safe_encode(text: str) -> str:
    """Each character replaced by one that forms no words."""
    return "".join(_SAFE[ord(c) % len(_SAFE)] for c in text)


def hash_of(value: Any, collision_count: int | None = None) -> str:
    """The name part made from a template: FNV-1a of its canonical JSON and the collision count, safely encoded."""
    data = orjson.dumps(semantic(value), option=orjson.OPT_SORT_KEYS)
    if collision_count is not None:
        data += collision_count.to_bytes(8, "little")
    return safe_encode(str(fnv32a(data)))


def int_annotation(annotations: Mapping[str, str], key: str) -> int | None:
    """A non-negative 32-bit number in an annotation; None where it is missing or no such number."""
    text = annotations.get(key, "")
    if not text.isdigit() or int(text) > MAX_INT32:
        return None
    return int(text)
