"""What a CronJob does now: Jobs to start, replace, forget and clean away. Pure. Semantics of upstream's ``cronjob_controllerv2``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ...api.cron import CronError, Schedule, load_zone, parse
from ...api.meta import Object, controller_reference, is_deleting, metadata, name_of, namespace_of, uid_of
from ...api.times import parse_time, to_time
from ...client.events import NORMAL, WARNING
from ..commands import Emit
from ..values import deep_copy

_LATENESS_ALLOWANCE = 0.1
SCHEDULED_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp"


@dataclass(slots=True)
class Plan:
    """``start`` after everything in ``replace`` is deleted. ``status`` holds what follows from the Jobs alone."""

    status: dict[str, Any]
    events: list[Emit] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    replace: list[dict[str, Any]] = field(default_factory=list)
    start: Object | None = None
    scheduled: float | None = None
    after: float | None = None


def finished_type(job: Object) -> str:
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return str(condition["type"])
    return ""


def missing(cron_job: Object, jobs: Sequence[Object]) -> list[dict[str, Any]]:
    """Active entries without a Job in the copy: to be looked up before they are believed gone."""
    present = {uid_of(j) for j in jobs}
    return [r for r in (cron_job.get("status") or {}).get("active") or [] if r.get("uid") not in present]


def decide(cron_job: Object, jobs: Sequence[Object], gone: Sequence[str], now: float) -> Plan:
    """``jobs`` are those that it owns; ``gone`` the uids of active entries that really are no more."""
    plan = Plan(dict(cron_job.get("status") or {}))
    active = [r for r in plan.status.get("active") or []]
    _follow_jobs(cron_job, jobs, active, plan)
    for reference in list(active):
        if reference.get("uid") in gone:
            active.remove(reference)
            _say(plan, cron_job, NORMAL, "MissingJob", f"Active job went missing: {reference.get('name')}")
    plan.status["active"] = active
    _clean_up(cron_job, jobs, plan)
    if not is_deleting(cron_job):
        _schedule(cron_job, plan, now)
    return plan


def _say(plan: Plan, cron_job: Object, kind: str, reason: str, message: str) -> None:
    plan.events.append(Emit(cron_job, kind, reason, message))


def _follow_jobs(cron_job: Object, jobs: Sequence[Object], active: list[dict[str, Any]], plan: Plan) -> None:
    listed = {r.get("uid"): r for r in active}
    for job in jobs:
        ended, reference = finished_type(job), listed.get(uid_of(job))
        if not ended:
            if reference is None:
                text = f"Saw a job that the controller did not create or forgot: {name_of(job)}"
                _say(plan, cron_job, WARNING, "UnexpectedJob", text)
            continue
        if reference is not None:
            active.remove(reference)
            text = f"Saw completed job: {name_of(job)}, condition: {ended}"
            _say(plan, cron_job, NORMAL, "SawCompletedJob", text)
        completed = (job.get("status") or {}).get("completionTime")
        if ended == "Complete" and completed and completed > (plan.status.get("lastSuccessfulTime") or ""):
            plan.status["lastSuccessfulTime"] = completed


def _clean_up(cron_job: Object, jobs: Sequence[Object], plan: Plan) -> None:
    limits = {"Complete": "successfulJobsHistoryLimit", "Failed": "failedJobsHistoryLimit"}
    for ended, limit_field in limits.items():
        limit = cron_job["spec"].get(limit_field)
        if limit is None:
            continue
        found = [j for j in jobs if finished_type(j) == ended and not is_deleting(j)]
        found.sort(key=lambda j: ((j.get("status") or {}).get("startTime") or "~", name_of(j)))
        plan.delete += found[: max(0, len(found) - limit)]


# -- the schedule ------------------------------------------------------------------------------------------------------


def _schedule(cron_job: Object, plan: Plan, now: float) -> None:
    spec = cron_job["spec"]
    zone = spec.get("timeZone") or ""
    try:
        load_zone(zone)
    except CronError as failure:
        _say(plan, cron_job, WARNING, "UnknownTimeZone", f'invalid timeZone: "{zone}": {failure}')
        return
    if spec.get("suspend"):
        return
    text = spec.get("schedule") or ""
    if "TZ" in text:
        words = "CRON_TZ or TZ used in schedule"
        _say(plan, cron_job, WARNING, "UnsupportedSchedule", f'{words} "{text}" is not officially supported, see docs')
    try:
        schedule = parse(text, zone)
    except CronError as failure:
        _say(plan, cron_job, WARNING, "UnparseableSchedule", f'unparseable schedule: "{text}" : {failure}')
        return
    due, many = _due(cron_job, schedule, now)
    plan.after = _next_look(cron_job, schedule, now)
    if due is None:
        return
    if many:
        text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        _say(plan, cron_job, WARNING, "TooManyMissedTimes", text)
    _start(cron_job, plan, due, now)


def _start(cron_job: Object, plan: Plan, due: float, now: float) -> None:
    spec = cron_job["spec"]
    deadline, active = spec.get("startingDeadlineSeconds"), plan.status["active"]
    if deadline is not None and due + deadline < now:
        stamp = datetime.fromtimestamp(due, load_zone("")).strftime("%a, %d %b %Y %H:%M:%S +0000")
        _say(plan, cron_job, WARNING, "MissSchedule", f"Missed scheduled time to start a job: {stamp}")
        return
    if any(r.get("name") == job_name(cron_job, due) for r in active):
        return
    if plan.status.get("lastScheduleTime") == to_time(due):
        return
    policy = spec.get("concurrencyPolicy") or "Allow"
    if policy == "Forbid" and active:
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        _say(plan, cron_job, NORMAL, "JobAlreadyActive", text)
        return
    if policy == "Replace":
        plan.replace = list(active)
    plan.scheduled, plan.start = due, job_for(cron_job, due)


def _due(cron_job: Object, schedule: Schedule, now: float) -> tuple[float | None, bool]:
    """The newest time that has come and was not acted on, and whether very many were missed."""
    earliest = _earliest(cron_job)
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        earliest = max(earliest, now - deadline)
    first = schedule.next(earliest)
    if first is None or now < first:
        return None, False
    second = schedule.next(first)
    if second is None or now < second:
        return first, False
    missed = int((now - first) // max(1.0, second - first)) + 1
    # Begins near the end: a CronJob that slept for a year need not count every minute of it.
    at = first + max(0.0, missed - 2) * (second - first)
    newest = None
    found = schedule.next(at)
    while found is not None and found <= now:
        newest, found = found, schedule.next(found)
    return newest if newest is not None else first, missed > 100


def _earliest(cron_job: Object) -> float:
    last = (cron_job.get("status") or {}).get("lastScheduleTime")
    return parse_time(last or metadata(cron_job).get("creationTimestamp") or "1970-01-01T00:00:00Z")


def _next_look(cron_job: Object, schedule: Schedule, now: float) -> float | None:
    upcoming = schedule.next(now)
    return None if upcoming is None else upcoming - now + _LATENESS_ALLOWANCE


def job_name(cron_job: Object, due: float) -> str:
    """The same for the same time: a second try makes no second Job."""
    return f"{name_of(cron_job)}-{int(due) // 60}"


def job_for(cron_job: Object, due: float) -> Object:
    template = cron_job["spec"].get("jobTemplate") or {}
    meta, zone = metadata(template), load_zone(cron_job["spec"].get("timeZone") or "")
    stamp = datetime.fromtimestamp(due, zone).isoformat(timespec="seconds").replace("+00:00", "Z")
    made: dict[str, Any] = {
        "name": job_name(cron_job, due),
        "namespace": namespace_of(cron_job),
        "annotations": {**(meta.get("annotations") or {}), SCHEDULED_ANNOTATION: stamp},
        "ownerReferences": [controller_reference(cron_job, "batch/v1", "CronJob")],
    }
    if meta.get("labels"):
        made["labels"] = dict(meta["labels"])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": made, "spec": deep_copy(template.get("spec") or {})}


def reference_to(job: Object) -> dict[str, Any]:
    meta = metadata(job)
    return {
        "kind": "Job",
        "namespace": meta.get("namespace"),
        "name": meta.get("name"),
        "uid": meta.get("uid"),
        "apiVersion": "batch/v1",
        "resourceVersion": meta.get("resourceVersion"),
    }
