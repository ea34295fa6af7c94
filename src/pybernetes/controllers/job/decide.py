"""How a Job stands, and which pods it makes or deletes. Pure. Semantics of upstream's ``pkg/controller/job``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...api.meta import Object, is_deleting, uid_of
from ...api.times import parse_time, to_time
from ..conditions import Condition, find
from ..pods import SUCCEEDED, is_active, is_ready, is_terminating, phase_of, rank_for_deletion
from . import policies
from .intervals import Indexes
from .pods import (
    all_index_failures,
    backoff_remaining,
    finished_at,
    has_limit_per_index,
    index_failures,
    index_of,
    is_failed,
    is_indexed,
    is_suspended,
    is_tracked,
    new_pod,
    replaces_only_failed,
    template_for,
)

MAX_PER_SYNC = 500
COMPLETE, FAILED = "Complete", "Failed"
SUCCESS_CRITERIA_MET, FAILURE_TARGET, SUSPENDED = "SuccessCriteriaMet", "FailureTarget", "Suspended"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Failures since the last success, and when the last one was."""

    failures: int = 0
    last_failure: float | None = None


@dataclass(slots=True)
class View:
    """A Job and its pods at one moment, with what follows from them. ``pods`` are all that it owns."""

    job: Object
    pods: Sequence[Object]
    now: float
    active: list[Object] = field(default_factory=list)
    terminating: list[Object] = field(default_factory=list)
    new_succeeded: list[Object] = field(default_factory=list)
    new_failed: list[Object] = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0
    previous_indexes: Indexes = field(default_factory=Indexes)
    succeeded_indexes: Indexes = field(default_factory=Indexes)
    failed_indexes: Indexes | None = None
    delayed: dict[int, Object] = field(default_factory=dict)
    """By index the failed pod that stays until it is replaced: it carries the count of failures."""
    finished: Condition | None = None
    """Why the Job ends: ``SuccessCriteriaMet`` or ``FailureTarget``, or ``Failed`` where that target is in the status."""
    deadline_in: float | None = None

    @property
    def spec(self) -> dict[str, Any]:
        return self.job["spec"]

    @property
    def status(self) -> dict[str, Any]:
        return self.job.get("status") or {}

    @property
    def completions(self) -> int | None:
        return self.spec.get("completions")

    @property
    def parallelism(self) -> int:
        value = self.spec.get("parallelism")
        return 1 if value is None else int(value)

    @property
    def ready(self) -> int:
        return sum(map(is_ready, self.active))

    def uncounted(self, kind: str) -> list[str]:
        return (self.status.get("uncountedTerminatedPods") or {}).get(kind) or []


def condition(kind: str, status: str, reason: str, message: str, now: float) -> Condition:
    stamp = to_time(now)
    made = {"type": kind, "status": status, "lastProbeTime": stamp, "lastTransitionTime": stamp}
    return {**made, "reason": reason, "message": message}


def is_finished(job: Object) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(c.get("type") in (COMPLETE, FAILED) and c.get("status") == "True" for c in conditions)


# -- looking -----------------------------------------------------------------------------------------------------------


def look(job: Object, pods: Sequence[Object], now: float) -> View:
    view = View(job, pods, now)
    view.active = [p for p in pods if is_active(p)]
    view.terminating = [p for p in pods if is_terminating(p)]
    view.new_succeeded = _new_finished(view, "succeeded", [p for p in pods if phase_of(p) == SUCCEEDED])
    view.new_failed = _new_finished(view, "failed", [p for p in pods if is_failed(p, job)])
    status, policy = view.status, view.spec.get("podFailurePolicy")
    counted = sum(policies.judge(policy, p).counts for p in view.new_failed)
    view.failed = int(status.get("failed") or 0) + counted + len(view.uncounted("failed"))
    view.succeeded = int(status.get("succeeded") or 0) + len(view.new_succeeded) + len(view.uncounted("succeeded"))
    if is_indexed(job):
        _look_at_indexes(view)
    view.finished = _why_finished(view)
    return view


def _new_finished(view: View, kind: str, pods: Iterable[Object]) -> list[Object]:
    """Those that the status does not know of yet."""
    known = set(view.uncounted(kind))
    return [p for p in pods if is_tracked(p) and uid_of(p) not in known and _is_valid(view, p)]


def _is_valid(view: View, pod: Object) -> bool:
    if not is_indexed(view.job):
        return True
    index = index_of(pod)
    return index is not None and index < (view.completions or 0)


def _look_at_indexes(view: View) -> None:
    completions, status = view.completions or 0, view.status
    view.previous_indexes = Indexes.parse(status.get("completedIndexes"), completions)
    fresh = [p for p in view.pods if phase_of(p) == SUCCEEDED and is_tracked(p) and _is_valid(view, p)]
    view.succeeded_indexes = view.previous_indexes | Indexes.of(index_of(p) or 0 for p in fresh)
    view.succeeded = len(view.succeeded_indexes)
    if not has_limit_per_index(view.job):
        return
    known = Indexes.parse(status.get("failedIndexes"), completions)
    broken = [p for p in view.pods if is_tracked(p) and _is_valid(view, p) and _fails_index(view.job, p)]
    view.failed_indexes = known | Indexes.of(index_of(p) or 0 for p in broken)
    view.delayed = _delayed(view)


def _fails_index(job: Object, pod: Object) -> bool:
    if not is_failed(pod, job):
        return False
    verdict = policies.judge(job["spec"].get("podFailurePolicy"), pod)
    if verdict.action == policies.FAIL_INDEX:
        return True
    return verdict.counts and index_failures(pod) >= int(job["spec"]["backoffLimitPerIndex"])


def _delayed(view: View) -> dict[int, Object]:
    busy = {index_of(p) for p in view.active}
    found: dict[int, Object] = {}
    for pod in view.pods:
        index = index_of(pod)
        if index is None or not is_tracked(pod) or not _is_valid(view, pod) or not is_failed(pod, view.job):
            continue
        if index in view.succeeded_indexes or index in (view.failed_indexes or ()) or index in busy:
            continue
        last = found.get(index)
        order = (all_index_failures(pod), finished_at(pod))
        if last is None or (order[0] >= all_index_failures(last) and order[1] >= finished_at(last)):
            found[index] = pod
    return found


def _why_finished(view: View) -> Condition | None:
    conditions = view.status.get("conditions") or []
    met = find(conditions, SUCCESS_CRITERIA_MET)
    if met is not None and met.get("status") == "True":
        return met
    target = find(conditions, FAILURE_TARGET)
    if target is not None and target.get("status") == "True":
        return condition(FAILED, "True", target.get("reason") or "", target.get("message") or "", view.now)
    failure = _failure(view)
    if failure is not None:
        return condition(FAILURE_TARGET, "True", *failure, view.now)
    if is_indexed(view.job):
        message = policies.success_message(
            view.spec.get("successPolicy"), view.completions or 0, view.succeeded_indexes
        )
        if message is not None:
            return condition(SUCCESS_CRITERIA_MET, "True", "SuccessPolicy", message, view.now)
    return None


def _failure(view: View) -> tuple[str, str] | None:
    """(reason, message). Sets when the deadline is to be looked at."""
    policy, limit = view.spec.get("podFailurePolicy"), view.spec.get("backoffLimit")
    if policy is not None:
        for pod in view.pods:
            verdict = policies.judge(policy, pod) if is_failed(pod, view.job) else None
            if verdict is not None and verdict.message:
                return "PodFailurePolicy", verdict.message
    if limit is not None and (view.failed > limit or _too_many_restarts(view, limit)):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    seconds, start = view.spec.get("activeDeadlineSeconds"), view.status.get("startTime")
    if seconds is not None and start and not is_suspended(view.job):
        left = parse_time(start) + seconds - view.now
        if left <= 0:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        view.deadline_in = left
    if view.failed_indexes is None:
        return None
    allowed = view.spec.get("maxFailedIndexes")
    if allowed is not None and len(view.failed_indexes) > allowed:
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if len(view.failed_indexes) and len(view.failed_indexes) + view.succeeded >= (view.completions or 0):
        return "FailedIndexes", "Job has failed indexes"
    return None


def _too_many_restarts(view: View, limit: int) -> bool:
    """With restartPolicy OnFailure the restarts in place count."""
    if ((view.spec.get("template") or {}).get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = 0
    for pod in view.pods:
        status = pod.get("status") or {}
        if phase_of(pod) in ("Running", "Pending"):
            for entry in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
                restarts += int(entry.get("restartCount") or 0)
    return restarts > 0 if limit == 0 else restarts >= limit


def is_complete(view: View) -> bool:
    if view.active:
        return False
    if view.completions is None:
        return view.succeeded > 0
    return view.succeeded >= view.completions


def success(now: float) -> Condition:
    return condition(
        SUCCESS_CRITERIA_MET, "True", "CompletionsReached", "Reached expected number of succeeded pods", now
    )


def next_backoff(before: Backoff, view: View) -> Backoff:
    """A success forgets the failures before it."""
    failed = sorted(map(finished_at, view.new_failed))
    succeeded = sorted(map(finished_at, view.new_succeeded))
    if succeeded:
        failed = [t for t in failed if t > succeeded[-1]]
        return Backoff(len(failed), failed[-1] if failed else None)
    if not failed:
        return before
    return Backoff(before.failures + len(failed), failed[-1])


def remembered_backoff(view: View) -> Backoff:
    """What the pods that were counted already tell, to a manager that has just started."""
    new = {uid_of(p) for p in (*view.new_failed, *view.new_succeeded)}
    old = [p for p in view.pods if uid_of(p) not in new]
    last_success = max((finished_at(p) for p in old if phase_of(p) == SUCCEEDED), default=0.0)
    failed = [t for p in old if phase_of(p) == "Failed" and (t := finished_at(p)) > last_success]
    return Backoff(len(failed), max(failed, default=None))


# -- managing ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Management:
    """``end``: these pods are deleted and counted. ``drop``: these are deleted and not counted."""

    create: list[Object] = field(default_factory=list)
    end: list[Object] = field(default_factory=list)
    drop: list[Object] = field(default_factory=list)
    after: float | None = None


def manage(view: View, backoff: Backoff, reference: dict[str, Any]) -> Management:
    if view.finished is not None:
        return Management(end=view.active)
    if is_deleting(view.job):
        return Management()
    if is_suspended(view.job):
        return Management(drop=_for_removal(view, len(view.active)))
    wanted = _wanted_active(view)
    surplus = _for_removal(view, max(0, len(view.active) - wanted))[:MAX_PER_SYNC]
    if surplus:
        return Management(drop=surplus)
    missing = wanted - len(view.active)
    if replaces_only_failed(view.job):
        missing -= len(view.terminating)
    return _creation(view, min(missing, MAX_PER_SYNC), backoff, reference) if missing > 0 else Management()


def _wanted_active(view: View) -> int:
    if view.completions is None:
        # A work queue: the first success says that the work is done.
        return len(view.active) if view.succeeded > 0 else view.parallelism
    return max(0, min(view.parallelism, view.completions - view.succeeded))


def _for_removal(view: View, at_least: int) -> list[Object]:
    """The pods to drop: of an indexed Job also doubles, and those beyond the completions."""
    left: list[Object] = list(view.active)
    doomed: list[Object] = []
    if is_indexed(view.job):
        left, doomed = _without_doubles(view)
    if len(doomed) < at_least:
        ranked = rank_for_deletion(left, {}, view.now)
        doomed += ranked[: at_least - len(doomed)]
    return doomed


def _without_doubles(view: View) -> tuple[list[Object], list[Object]]:
    by_index: dict[int, list[Object]] = {}
    doomed: list[Object] = []
    for pod in view.active:
        index = index_of(pod)
        if index is None or index >= (view.completions or 0):
            doomed.append(pod)
        else:
            by_index.setdefault(index, []).append(pod)
    left = []
    for pods in by_index.values():
        ranked = rank_for_deletion(pods, {}, view.now)
        doomed += ranked[:-1]
        left.append(ranked[-1])
    return left, doomed


def _creation(view: View, count: int, backoff: Backoff, reference: dict[str, Any]) -> Management:
    job, per_index = view.job, has_limit_per_index(view.job)
    if not per_index:
        wait = backoff_remaining(backoff.failures, backoff.last_failure, view.now)
        if wait > 0:
            return Management(after=wait)
    template = template_for(job)
    if not is_indexed(job):
        return Management(create=[new_pod(job, template, reference, None, None)] * count)
    indexes = _pending_indexes(view, count)
    waits = {i: _index_wait(view, i) for i in indexes} if per_index else {}
    now_possible = [i for i in indexes if waits.get(i, 0.0) <= 0]
    if not now_possible:
        return Management(after=min(waits.values(), default=None))
    pods = [new_pod(job, template, reference, i, view.delayed.get(i)) for i in now_possible]
    return Management(create=pods, after=min((w for w in waits.values() if w > 0), default=None))


def _index_wait(view: View, index: int) -> float:
    last = view.delayed.get(index)
    return 0.0 if last is None else backoff_remaining(all_index_failures(last) + 1, finished_at(last), view.now)


def _pending_indexes(view: View, count: int) -> list[int]:
    busy = [i for p in view.active if (i := index_of(p)) is not None]
    if replaces_only_failed(view.job):
        busy += [i for p in view.terminating if (i := index_of(p)) is not None]
    taken = view.succeeded_indexes | Indexes.of(busy)
    if view.failed_indexes is not None:
        taken = taken | view.failed_indexes
    return [i for i, _ in zip(taken.gaps(view.completions or 0), range(count), strict=False)]
