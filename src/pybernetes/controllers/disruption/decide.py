"""The status of a PodDisruptionBudget. Pure. Semantics of upstream's ``pkg/controller/disruption``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...api.meta import Object, get_condition, is_deleting, metadata, name_of
from ...api.times import parse_time, to_time
from ..conditions import find, without
from ..pods import is_ready, is_terminal
from ..values import compact, scaled_value

DELETION_TIMEOUT = 120.0
"""How long the API server may take from allowing an eviction to deleting the pod."""
STALE_CONDITION_TIMEOUT = 120.0
DISRUPTION_ALLOWED = "DisruptionAllowed"


@dataclass(frozen=True, slots=True)
class Expectation:
    """``scale`` is the sum of what the pods' controllers want; ``unmanaged`` names pods without one."""

    scale: int
    unmanaged: Sequence[str] = ()


def needs_scale(budget: Object) -> bool:
    """Whether the controllers of the pods must be asked: for percentages, and for what may be unavailable."""
    spec = budget.get("spec") or {}
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def wanted_counts(budget: Object, pods: Sequence[Object], expectation: Expectation) -> tuple[int, int]:
    """(expected, desired healthy). Raises ValueError for values that are no number or percentage."""
    spec = budget.get("spec") or {}
    if spec.get("maxUnavailable") is not None:
        allowed = scaled_value(spec["maxUnavailable"], expectation.scale, round_up=True)
        return expectation.scale, max(0, expectation.scale - allowed)
    minimum = spec.get("minAvailable")
    if isinstance(minimum, str):
        return expectation.scale, scaled_value(minimum, expectation.scale, round_up=True)
    if minimum is None:
        return 0, 0
    return len(pods), int(minimum)


def disrupted(budget: Object, pods: Sequence[Object], now: float) -> tuple[dict[str, str], float | None, list[Object]]:
    """(evictions under way, when to look again, pods that should have gone long ago)."""
    noted: Mapping[str, str] = (budget.get("status") or {}).get("disruptedPods") or {}
    left: dict[str, str] = {}
    recheck: float | None = None
    overdue = []
    for pod in pods:
        stamp = noted.get(name_of(pod))
        if stamp is None or is_deleting(pod):
            continue
        due = parse_time(stamp) + DELETION_TIMEOUT
        if due <= now:
            overdue.append(pod)
        else:
            left[name_of(pod)] = stamp
            recheck = due if recheck is None else min(recheck, due)
    return left, recheck, overdue


def healthy(pods: Sequence[Object], going: Mapping[str, str]) -> int:
    return sum(not is_deleting(p) and name_of(p) not in going and is_ready(p) for p in pods)


def status(
    budget: Object, counted: int, desired: int, expected: int, going: Mapping[str, str], now: float
) -> dict[str, Any]:
    allowed = max(0, counted - desired) if expected > 0 else 0
    generation = metadata(budget).get("generation") or 0
    old = (budget.get("status") or {}).get("conditions") or []
    reason = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    new = {
        "currentHealthy": counted,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "disruptedPods": dict(going),
        "observedGeneration": generation,
        "conditions": _with_condition(old, *reason, "", generation, now),
    }
    return compact(new, keep=("currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"))


def failed_status(budget: Object, message: str, now: float) -> dict[str, Any]:
    """Nothing may be evicted while we do not know."""
    old = budget.get("status") or {}
    conditions = _with_condition(
        old.get("conditions") or [], "False", "SyncFailed", message, old.get("observedGeneration") or 0, now
    )
    counts = {"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    return {**counts, **old, "disruptionsAllowed": 0, "conditions": conditions}


def _with_condition(
    old: list[dict[str, Any]], state: str, reason: str, message: str, generation: int, now: float
) -> list[dict[str, Any]]:
    current = find(old, DISRUPTION_ALLOWED)
    stamp = to_time(now)
    if current is not None and current.get("status") == state:
        stamp = current.get("lastTransitionTime") or stamp
    made = {
        "type": DISRUPTION_ALLOWED,
        "status": state,
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp,
        "observedGeneration": generation,
    }
    if current == made:
        return old
    return [*without(old, DISRUPTION_ALLOWED), made]


def stale_condition_due(pod: Object) -> float | None:
    """When a pod that was to be disrupted and was not, is no target any more."""
    condition = get_condition(pod, "DisruptionTarget")
    if condition is None or condition.get("status") != "True" or is_deleting(pod) or is_terminal(pod):
        return None
    if condition.get("reason") == "TerminationByKubelet" or not condition.get("lastTransitionTime"):
        return None
    return parse_time(condition["lastTransitionTime"]) + STALE_CONDITION_TIMEOUT
