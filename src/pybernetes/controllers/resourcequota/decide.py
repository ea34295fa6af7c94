"""The status of a quota, and which events make it worth counting anew. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...api.meta import Object, is_deleting
from ...api.quantity import parse_quantity
from ...api.quota import total_usage
from ...api.resources import GVR, PODS
from ..pods import is_terminal

WHOLE = frozenset(
    {
        ("", "pods"),
        ("", "services"),
        ("", "persistentvolumeclaims"),
        ("resource.k8s.io", "resourceclaims"),
    }
)
"""Resources whose objects count by what they say; of the others the metadata is enough."""


def status(quota: Object, objects: Mapping[GVR, Sequence[Object]], now: float) -> dict[str, Any]:
    """What could not be counted (a resource that is not served) keeps its old amount."""
    hard: dict[str, str] = (quota.get("spec") or {}).get("hard") or {}
    old: dict[str, str] = (quota.get("status") or {}).get("used") or {}
    counted = total_usage(quota, objects, now)
    return {"hard": hard, "used": {name: counted.get(name, old.get(name, "0")) for name in hard}}


def is_current(quota: Object, status_: Mapping[str, Any]) -> bool:
    old = quota.get("status") or {}
    return all(_same(old.get(field), status_[field]) for field in ("hard", "used"))


def _same(old: Mapping[str, str] | None, new: Mapping[str, str]) -> bool:
    if old is None or old.keys() != new.keys():
        return False
    return all(parse_quantity(old[name]) == parse_quantity(new[name]) for name in new)


def asks_anew(kind: str, old: Object | None, new: Object | None) -> bool:
    """Whether an event of a quota itself is worth a count.

    Its status is not: admission charges there *before* the object exists, and a count that sees the charge but not yet the
    object would take the charge back.
    """
    if kind != "MODIFIED" or old is None or new is None:
        return True
    return _hard(old) != _hard(new)


def _hard(quota: Object) -> Mapping[str, str]:
    return (quota.get("spec") or {}).get("hard") or {}


def frees(gvr: GVR, old: Object | None, new: Object | None, kind: str) -> bool:
    """Whether an event may lower what is used. What raises it, admission has charged already."""
    if kind == "DELETED":
        return True
    if kind == "ADDED" or old is None or new is None:
        return False
    if gvr == PODS:
        return is_terminal(new) != is_terminal(old) or (is_deleting(new) and not is_deleting(old))
    return (gvr.group, gvr.resource) in WHOLE and old.get("spec") != new.get("spec")
