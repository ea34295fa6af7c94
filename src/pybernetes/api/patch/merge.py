"""JSON merge patch, RFC 7386."""

from __future__ import annotations

from typing import Any

from .. import errors
from ..meta import Object


def merge_patch(obj: Object, patch: Any) -> Object:
    """``obj`` with ``patch`` merged in. Raises a 400 for a patch that is no object."""
    if not isinstance(patch, dict):
        raise errors.bad_request("Invalid JSON Patch")
    return _merge(obj, patch)


def _merge(target: Any, patch: dict[str, Any]) -> Object:
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _merge(result.get(key), value)
        else:
            result[key] = value
    return result
