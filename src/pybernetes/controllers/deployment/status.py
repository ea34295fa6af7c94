"""The status of a Deployment: counts, Available, Progressing and its deadline. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...api.meta import Object, metadata, name_of
from ...api.times import parse_time, to_time
from ..conditions import Condition, find, put, without
from ..values import compact
from . import sets

PROGRESSING, AVAILABLE, REPLICA_FAILURE = "Progressing", "Available", "ReplicaFailure"
UPDATED, CREATED, FOUND, DONE = (
    "ReplicaSetUpdated",
    "NewReplicaSetCreated",
    "FoundNewReplicaSet",
    "NewReplicaSetAvailable",
)
TIMED_OUT, CREATE_ERROR = "ProgressDeadlineExceeded", "ReplicaSetCreateError"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def condition(kind: str, status: str, reason: str, message: str, now: float) -> Condition:
    stamp = to_time(now)
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


def calculate(deployment: Object, all_sets: Sequence[Object], new: Object | None, now: float) -> dict[str, Any]:
    """The counts and the Available condition; other conditions are taken over."""
    old = deployment.get("status") or {}
    available = sets.total_status(all_sets, "availableReplicas")
    conditions = list(old.get("conditions") or [])
    if available >= sets.replicas(deployment) - sets.max_unavailable(deployment):
        conditions = put(
            conditions,
            condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now),
        )
    else:
        message = "Deployment does not have minimum availability."
        conditions = put(conditions, condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now))
    return compact(
        {
            "observedGeneration": metadata(deployment).get("generation") or 0,
            "replicas": sets.total_status(all_sets, "replicas"),
            "updatedReplicas": sets.status_count(new, "replicas") if new else 0,
            "readyReplicas": sets.total_status(all_sets, "readyReplicas"),
            "availableReplicas": available,
            "unavailableReplicas": max(0, sets.total(all_sets) - available),
            "collisionCount": old.get("collisionCount"),
            "conditions": conditions,
            **_terminating(all_sets),
        },
        keep=("terminatingReplicas",),
    )


def _terminating(all_sets: Sequence[Object]) -> dict[str, int]:
    """The sum, unless a set that was looked at does not tell."""
    count = 0
    for rs in all_sets:
        told = (rs.get("status") or {}).get("terminatingReplicas")
        if told is not None:
            count += told
        elif sets.status_count(rs, "observedGeneration"):
            return {}
    return {"terminatingReplicas": count}


def is_complete(deployment: Object, status: dict[str, Any]) -> bool:
    wanted = sets.replicas(deployment)
    return all((status.get(f) or 0) == wanted for f in ("updatedReplicas", "replicas", "availableReplicas")) and (
        status.get("observedGeneration") or 0
    ) >= (metadata(deployment).get("generation") or 0)


def _made_progress(old: dict[str, Any], new: dict[str, Any]) -> bool:
    def count(status: dict[str, Any], field: str) -> int:
        return int(status.get(field) or 0)

    outdated_before = count(old, "replicas") - count(old, "updatedReplicas")
    outdated_now = count(new, "replicas") - count(new, "updatedReplicas")
    return outdated_now < outdated_before or any(
        count(new, f) > count(old, f) for f in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )


def _timed_out(deployment: Object, current: Condition | None, now: float) -> bool:
    if current is None or current.get("reason") == DONE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    since = current.get("lastUpdateTime")
    return since is not None and parse_time(since) + deployment["spec"]["progressDeadlineSeconds"] < now


def with_progress(
    deployment: Object, all_sets: Sequence[Object], new: Object | None, status: dict[str, Any], now: float
) -> dict[str, Any]:
    """Adds what the rollout's progress says: Progressing and the failures of the sets."""
    conditions: list[Condition] = list(status.get("conditions") or [])
    old = deployment.get("status") or {}
    current = find(old.get("conditions") or [], PROGRESSING)
    if not sets.has_deadline(deployment):
        conditions = without(conditions, PROGRESSING)
    else:
        finished = (status.get("replicas") or 0) == (status.get("updatedReplicas") or 0)
        if not (finished and current is not None and current.get("reason") == DONE):
            conditions = _progress(deployment, new, old, status, conditions, current, now)
    failure = _failure(all_sets, new)
    conditions = put(conditions, failure) if failure else without(conditions, REPLICA_FAILURE)
    return compact({**status, "conditions": conditions}, keep=("terminatingReplicas",))


def _progress(
    deployment: Object,
    new: Object | None,
    old: dict[str, Any],
    status: dict[str, Any],
    conditions: list[Condition],
    current: Condition | None,
    now: float,
) -> list[Condition]:
    who = f'ReplicaSet "{name_of(new)}"' if new else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, status):
        return put(conditions, condition(PROGRESSING, "True", DONE, f"{who} has successfully progressed.", now))
    if _made_progress(old, status):
        made = condition(PROGRESSING, "True", UPDATED, f"{who} is progressing.", now)
        if current is not None and current.get("status") == "True":
            made["lastTransitionTime"] = current.get("lastTransitionTime")
        # Replaced even where status and reason are the same: the time of the update is what the deadline counts from.
        return [*without(conditions, PROGRESSING), made]
    if _timed_out(deployment, find(conditions, PROGRESSING), now):
        return put(conditions, condition(PROGRESSING, "False", TIMED_OUT, f"{who} has timed out progressing.", now))
    return conditions


def _failure(all_sets: Sequence[Object], new: Object | None) -> Condition | None:
    """The new set's failure before that of an old one."""
    for rs in [*([new] if new else []), *all_sets]:
        found = find((rs.get("status") or {}).get("conditions") or [], REPLICA_FAILURE)
        if found is not None:
            return {**found, "lastUpdateTime": found.get("lastTransitionTime")}
    return None


def deadline_check(deployment: Object, status: dict[str, Any], now: float) -> float | None:
    """Seconds until the deadline must be looked at although nothing happens."""
    current = find((deployment.get("status") or {}).get("conditions") or [], PROGRESSING)
    if not sets.has_deadline(deployment) or current is None:
        return None
    if is_complete(deployment, status) or current.get("reason") == TIMED_OUT:
        return None
    since = parse_time(current["lastUpdateTime"]) if current.get("lastUpdateTime") else now
    # One second more: times on the wire have whole seconds.
    return max(0.0, since + deployment["spec"]["progressDeadlineSeconds"] - now) + 1.0
