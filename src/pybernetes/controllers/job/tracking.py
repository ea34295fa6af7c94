"""Counting each finished pod once. Pure.

``record`` writes the uids of pods that finished into the status and says whose finalizer may go then; ``settle`` moves those
whose finalizer is gone into the counters, and ends the Job when nothing is left to count. A manager that dies between any two
writes leaves a status from which the next one goes on.
"""

from __future__ import annotations

from typing import Any

from ...api.meta import Object, is_deleting, uid_of
from ...api.times import to_time
from ..conditions import Condition, find, without
from ..pods import SUCCEEDED, phase_of
from . import policies
from .decide import (
    COMPLETE,
    FAILED,
    FAILURE_TARGET,
    SUCCESS_CRITERIA_MET,
    SUSPENDED,
    View,
    condition,
    is_complete,
    success,
)
from .intervals import Indexes
from .pods import has_limit_per_index, index_of, is_failed, is_indexed, is_suspended, is_tracked

MAX_UNCOUNTED = 500

Status = dict[str, Any]
Event = tuple[str, str, str]


def base_status(view: View, *, managed: bool) -> tuple[Status, list[Event]]:
    """Counts of living pods, start time and suspension. ``managed``: pods were managed in this sync (nothing is ending)."""
    status: Status = dict(view.status)
    _count_living(view, status)
    uncounted = status.get("uncountedTerminatedPods") or {}
    status["uncountedTerminatedPods"] = {k: list(uncounted.get(k) or []) for k in ("succeeded", "failed")}
    status["conditions"] = list(status.get("conditions") or [])
    events: list[Event] = []
    if not status.get("startTime") and not is_suspended(view.job):
        status["startTime"] = to_time(view.now)
    if managed:
        events = _note_suspension(view, status)
    return status, events


def _count_living(view: View, status: Status) -> None:
    status["active"], status["ready"], status["terminating"] = len(view.active), view.ready, len(view.terminating)


def _note_suspension(view: View, status: Status) -> list[Event]:
    current = find(status["conditions"], SUSPENDED)
    suspended = is_suspended(view.job)
    if suspended and (current is None or current.get("status") != "True"):
        made = condition(SUSPENDED, "True", "JobSuspended", "Job suspended", view.now)
        status["conditions"] = [*without(status["conditions"], SUSPENDED), made]
        status.pop("startTime", None)
        return [("Normal", "Suspended", "Job suspended")]
    if not suspended and current is not None and current.get("status") == "True":
        made = condition(SUSPENDED, "False", "JobResumed", "Job resumed", view.now)
        status["conditions"] = [*without(status["conditions"], SUSPENDED), made]
        status["startTime"] = to_time(view.now)
        return [("Normal", "Resumed", "Job resumed")]
    return []


def ending(view: View) -> Condition | None:
    """Why the Job ends, as far as its pods allow it to go on ending now."""
    if view.finished is not None:
        return view.finished if not view.active else None
    return success(view.now) if is_complete(view) else None


def record(view: View, status: Status, finished: Condition | None) -> list[Object]:
    """Notes finished pods in ``status`` (which is changed) and gives those whose finalizer may go when it is stored."""
    uncounted = status["uncountedTerminatedPods"]
    _count_untracked(view, status)
    indexed, new_indexes, releasable = is_indexed(view.job), set(), []
    for pod in sorted(view.pods, key=lambda p: index_of(p) or 0) if indexed else view.pods:
        if not is_tracked(pod) or not _may_release(view, pod, finished):
            continue
        releasable.append(pod)
        if phase_of(pod) == SUCCEEDED and uid_of(pod) not in uncounted["failed"]:
            if indexed:
                index = index_of(pod)
                if index is not None and index < (view.completions or 0) and index not in view.previous_indexes:
                    new_indexes.add(index)
            elif uid_of(pod) not in uncounted["succeeded"]:
                uncounted["succeeded"].append(uid_of(pod))
        elif _counts_as_failed(view, pod, finished) and uid_of(pod) not in uncounted["failed"]:
            uncounted["failed"].append(uid_of(pod))
        if len(new_indexes) + len(uncounted["succeeded"]) + len(uncounted["failed"]) >= MAX_UNCOUNTED:
            break
    if indexed:
        done = view.previous_indexes | Indexes.of(new_indexes)
        status["succeeded"], status["completedIndexes"] = len(done), str(done)
        if has_limit_per_index(view.job):
            status["failedIndexes"] = str(view.failed_indexes or "")
    _note_target(status, finished)
    return releasable


def _may_release(view: View, pod: Object, finished: Condition | None) -> bool:
    if is_deleting(view.job) or finished is not None or phase_of(pod) == SUCCEEDED:
        return True
    if not is_failed(pod, view.job):
        return False
    index = index_of(pod)
    # It carries the failures of its index until another pod takes them over.
    return index is None or (view.delayed.get(index) or {}) is not pod


def _counts_as_failed(view: View, pod: Object, finished: Condition | None) -> bool:
    if finished is not None and finished["type"] == SUCCESS_CRITERIA_MET:
        # The others are ended because they are needed no more: that is no failure of theirs.
        if phase_of(pod) != "Failed":
            return False
    elif finished is None and not is_failed(pod, view.job):
        return False
    if is_indexed(view.job):
        index = index_of(pod)
        if index is None or index >= (view.completions or 0):
            return False
    return policies.judge(view.spec.get("podFailurePolicy"), pod).counts


def _count_untracked(view: View, status: Status) -> None:
    """Uids whose pod has no finalizer any more move into the counters."""
    tracked = {uid_of(p) for p in view.pods if is_tracked(p)}
    uncounted = status["uncountedTerminatedPods"]
    for kind in ("succeeded", "failed"):
        left = [u for u in uncounted[kind] if u in tracked]
        moved = len(uncounted[kind]) - len(left)
        if moved:
            status[kind] = int(status.get(kind) or 0) + moved
            uncounted[kind] = left


def _note_target(status: Status, finished: Condition | None) -> None:
    if finished is not None and finished["type"] in (FAILURE_TARGET, SUCCESS_CRITERIA_MET):
        if find(status["conditions"], finished["type"]) is None:
            status["conditions"] = [*status["conditions"], finished]


def settle(view: View, status: Status, finished: Condition | None) -> list[Event]:
    """Moves what can be counted into the counters of ``status`` and, with nothing left, ends the Job; gives its events.

    ``view`` is of after the finalizers went.
    """
    _count_living(view, status)
    _count_untracked(view, status)
    uncounted = status["uncountedTerminatedPods"]
    if finished is None or uncounted["succeeded"] or uncounted["failed"] or view.terminating or _left_to_count(view):
        return []
    if finished["type"] == SUCCESS_CRITERIA_MET:
        last = condition(COMPLETE, "True", finished["reason"], finished["message"], view.now)
        status["completionTime"] = last["lastTransitionTime"]
    else:
        last = condition(FAILED, "True", finished["reason"], finished["message"], view.now)
    status["conditions"] = [*without(status["conditions"], last["type"]), last]
    if last["type"] == FAILED:
        return [("Warning", last["reason"], last["message"])]
    events: list[Event] = []
    if view.completions is not None and int(status.get("succeeded") or 0) > view.completions:
        text = "Too many succeeded pods running after completion count reached"
        events.append(("Warning", "TooManySucceededPods", text))
    return [*events, ("Normal", "Completed", "Job completed")]


def _left_to_count(view: View) -> bool:
    return any(is_tracked(p) for p in view.pods)


def cleaned(status: Status) -> Status:
    """As it is sent: empty things left out, as Go's encoding would."""
    result = {k: v for k, v in status.items() if not (v is None or v == "" or v == [] or v == 0)}
    result["uncountedTerminatedPods"] = {k: v for k, v in status["uncountedTerminatedPods"].items() if v}
    result["ready"], result["terminating"] = status["ready"], status["terminating"]
    if "failedIndexes" in status:
        result["failedIndexes"] = status["failedIndexes"]
    return result


def is_stored(status: Status, job: Object) -> bool:
    old = {k: v for k, v in (job.get("status") or {}).items() if not (v is None or v == "" or v == [] or v == 0)}
    new = {k: v for k, v in status.items() if v != 0}
    for side in (old, new):
        if not side.get("uncountedTerminatedPods"):
            side.pop("uncountedTerminatedPods", None)
    # The first status is written although it says nothing but zero: others wait for it.
    return old == new and ("ready" in (job.get("status") or {}))
