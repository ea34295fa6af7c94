"""Conditions of a status, as the workload controllers keep them: one a type, changed only when it says something new."""

from __future__ import annotations

from typing import Any

Condition = dict[str, Any]


def find(conditions: list[Condition], kind: str) -> Condition | None:
    return next((c for c in conditions if c.get("type") == kind), None)


def without(conditions: list[Condition], kind: str) -> list[Condition]:
    return [c for c in conditions if c.get("type") != kind]


def put(conditions: list[Condition], condition: Condition) -> list[Condition]:
    """With the condition, unless one of the same type, status and reason is there.

    The time of transition stays where the status does.
    """
    current = find(conditions, condition["type"])
    if current is not None and current.get("status") == condition["status"]:
        if current.get("reason", "") == condition.get("reason", ""):
            return conditions
        if "lastUpdateTime" in condition:
            condition = {**condition, "lastTransitionTime": current.get("lastTransitionTime")}
    return [*without(conditions, condition["type"]), condition]
