"""Taints and tolerations, and conditions of nodes. Specified by the "Taints and Tolerations" page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..api.meta import Object, get_condition

NO_SCHEDULE, NO_EXECUTE, PREFER_NO_SCHEDULE = "NoSchedule", "NoExecute", "PreferNoSchedule"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"
MEMORY_PRESSURE, DISK_PRESSURE = "node.kubernetes.io/memory-pressure", "node.kubernetes.io/disk-pressure"
PID_PRESSURE = "node.kubernetes.io/pid-pressure"

Taint = dict[str, Any]


def taints_of(node: Object) -> list[Taint]:
    return (node.get("spec") or {}).get("taints") or []


def find_taint(taints: Iterable[Taint], key: str, effect: str) -> Taint | None:
    return next((t for t in taints if t.get("key") == key and t.get("effect") == effect), None)


def _number(text: str) -> int | None:
    return int(text) if text.lstrip("+-").isdigit() else None


def tolerates(toleration: dict[str, Any], taint: Taint) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator, value = toleration.get("operator") or "Equal", taint.get("value") or ""
    if operator == "Exists":
        return True
    if operator == "Equal":
        return bool(toleration.get("key")) and (toleration.get("value") or "") == value
    if operator in ("Gt", "Lt"):
        have, want = _number(value), _number(toleration.get("value") or "")
        if have is None or want is None:
            return False
        return have > want if operator == "Gt" else have < want
    return False


def untolerated(tolerations: Iterable[dict[str, Any]], taints: Iterable[Taint], effects: Iterable[str]) -> Taint | None:
    """The first taint with one of the effects that nothing tolerates."""
    known, wanted = list(tolerations), set(effects)
    for taint in taints:
        if taint.get("effect") in wanted and not any(tolerates(t, taint) for t in known):
            return taint
    return None


def ready_status(node: Object) -> str | None:
    """``True``, ``False``, ``Unknown``, or None where the node has never said."""
    condition = get_condition(node, "Ready")
    return None if condition is None else condition.get("status")
