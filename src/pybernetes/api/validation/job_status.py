"""A Job's status: counters, terminal conditions, finished indexes, and what may not be undone.

Some checks look only at what an update changes, so that a status with old faults can still be written.
"""

from __future__ import annotations

from ..errors import duplicate, invalid_value, required
from .errors import Errors, Obj, bare_invalid
from .index_ranges import BadIndexes, count_indexes, first_overlap
from .kube_meta import validate_meta_update
from .meta import nonnegative

_CONDITIONS = "status.conditions"


class _View:
    """A Job with its conditions at hand."""

    def __init__(self, job: Obj) -> None:
        self.spec = job.get("spec") or {}
        self.status = job.get("status") or {}
        self.true = {c.get("type") for c in self.status.get("conditions") or () if c.get("status") == "True"}
        self.false = {c.get("type") for c in self.status.get("conditions") or () if c.get("status") == "False"}
        self.complete = "Complete" in self.true
        self.failed = "Failed" in self.true
        self.finished = self.complete or self.failed
        self.met = "SuccessCriteriaMet" in self.true
        self.target = "FailureTarget" in self.true
        self.indexed = self.spec.get("completionMode") == "Indexed"


class _Changes:
    """Which parts of the status an update changes."""

    def __init__(self, new: _View, old: _View) -> None:
        def changed(field: str, unset: object = None) -> bool:
            return bool((new.status.get(field) or unset) != (old.status.get(field) or unset))

        def set_or_unset(field: str) -> bool:
            return bool(new.status.get(field) != old.status.get(field))

        self.finished = new.finished != old.finished
        self.complete = new.complete != old.complete
        self.failed = new.failed != old.failed
        self.target = new.target != old.target
        self.met = new.met != old.met
        self.completed_indexes = changed("completedIndexes", "")
        self.failed_indexes = set_or_unset("failedIndexes")
        self.active = changed("active", 0)
        self.start = set_or_unset("startTime")
        self.completion = set_or_unset("completionTime")
        self.uncounted = set_or_unset("uncountedTerminatedPods")
        self.ready = set_or_unset("ready")
        self.terminating = set_or_unset("terminating")


def validate_job_status(new_job: Obj, old_job: Obj) -> Errors:
    new, old = _View(new_job), _View(old_job)
    changes = _Changes(new, old)
    found = validate_meta_update(new_job, old_job)
    found += _counts(new.status) + _uncounted(new.status.get("uncountedTerminatedPods") or {})
    found += _times(new, changes) + _outcome(new, changes) + _pods(new, changes)
    found += _indexes(new, changes) + _ready(new, changes) + _success(new)
    return found + _undone(new, old) + _fixed_times(new, old, changes)


def _counts(status: Obj) -> Errors:
    fields = ("active", "succeeded", "failed", "ready", "terminating")
    return [e for field in fields for e in nonnegative(status.get(field) or 0, f"status.{field}")]


def _uncounted(pods: Obj) -> Errors:
    found: Errors = []
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for i, uid in enumerate(pods.get(field) or ()):
            path = f"status.uncountedTerminatedPods.{field}[{i}]"
            if not uid:
                found.append(invalid_value(path, uid, "must not be empty"))
            elif uid in seen:
                found.append(duplicate(path, uid))
            seen.add(uid)
    return found


def _times(job: _View, changes: _Changes) -> Errors:
    found: Errors = []
    ended, started = job.status.get("completionTime"), job.status.get("startTime")
    path = "status.completionTime"
    if (changes.complete or changes.failed) and job.complete and job.failed:
        found.append(bare_invalid(_CONDITIONS, "cannot set Complete=True and Failed=true conditions"))
    if (changes.complete or changes.target) and job.complete and job.target:
        found.append(bare_invalid(_CONDITIONS, "cannot set Complete=True and FailureTarget=true conditions"))
    if changes.complete or changes.completion:
        if ended is not None and not job.complete:
            words = "cannot set completionTime when there is no Complete=True condition"
            found.append(invalid_value(path, ended, words))
        if ended is None and job.complete:
            found.append(required(path, "completionTime is required for Complete jobs"))
    if (changes.start or changes.completion) and started and ended and ended < started:
        found.append(invalid_value(path, ended, "must be equal to or after `startTime`"))
    return found


def _outcome(job: _View, changes: _Changes) -> Errors:
    found: Errors = []
    if (changes.failed or changes.failed_indexes) and job.failed and not job.target:
        words = "cannot set Failed=True condition without the FailureTarget=true condition"
        found.append(bare_invalid(_CONDITIONS, words))
    if (changes.complete or changes.met) and job.complete and not job.met:
        words = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
        found.append(bare_invalid(_CONDITIONS, words))
    return found


def _pods(job: _View, changes: _Changes) -> Errors:
    if not job.finished:
        return []
    found: Errors = []
    active, pods = job.status.get("active") or 0, job.status.get("uncountedTerminatedPods")
    never_ran = job.spec.get("suspend") and job.spec.get("completions") == 0
    if (changes.finished or changes.active) and active > 0:
        found.append(invalid_value("status.active", active, "active>0 is invalid for finished job"))
    if (changes.finished or changes.start) and not never_ran and job.status.get("startTime") is None:
        found.append(required("status.startTime", "startTime is required for finished job"))
    if (changes.finished or changes.uncounted) and pods and (pods.get("failed") or pods.get("succeeded")):
        shown = {"Succeeded": pods.get("succeeded"), "Failed": pods.get("failed")}
        words = "must be empty for finished job"
        found.append(invalid_value("status.uncountedTerminatedPods", shown, words))
    return found


def _unreadable(text: str, completions: int, field: str) -> Errors:
    try:
        count_indexes(text, completions)
    except BadIndexes as failure:
        return [invalid_value(f"status.{field}", text, f"error parsing {field}: {failure}")]
    return []


def _indexes(job: _View, changes: _Changes) -> Errors:
    found: Errors = []
    completions, limit = job.spec.get("completions"), job.spec.get("backoffLimitPerIndex")
    completed, failed = job.status.get("completedIndexes") or "", job.status.get("failedIndexes")
    if changes.completed_indexes and completions is not None:
        found += _unreadable(completed, completions, "completedIndexes")
    if changes.failed_indexes and None not in (completions, limit, failed):
        found += _unreadable(failed or "", completions or 0, "failedIndexes")
    if changes.completed_indexes and completed and not job.indexed:
        words = "cannot set non-empty completedIndexes when non-indexed completion mode"
        found.append(invalid_value("status.completedIndexes", completed, words))
    if changes.failed_indexes and limit is None and failed is not None:
        words = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        found.append(invalid_value("status.failedIndexes", failed, words))
    if (changes.failed_indexes or changes.completed_indexes) and completions is not None and completed and failed:
        index = first_overlap(completed, failed, completions)
        if index is not None:
            words = f"failedIndexes and completedIndexes overlap at index: {index}"
            found.append(invalid_value("status.failedIndexes", failed, words))
    return found


def _ready(job: _View, changes: _Changes) -> Errors:
    found: Errors = []
    terminating, ready = job.status.get("terminating") or 0, job.status.get("ready")
    if (changes.finished or changes.terminating) and terminating > 0 and job.finished:
        words = "terminating>0 is invalid for finished job"
        found.append(invalid_value("status.terminating", terminating, words))
    if (changes.ready or changes.active) and ready is not None and ready > (job.status.get("active") or 0):
        found.append(invalid_value("status.ready", ready, "cannot set more ready pods than active"))
    return found


def _success(job: _View) -> Errors:
    found: Errors = []
    if job.met and job.failed:
        found.append(bare_invalid(_CONDITIONS, "cannot set SuccessCriteriaMet=True and Failed=true conditions"))
    if job.met and job.target:
        words = "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"
        found.append(bare_invalid(_CONDITIONS, words))
    if job.spec.get("successPolicy") is not None and job.complete and not job.met:
        words = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        found.append(bare_invalid(_CONDITIONS, words))
    return found


def _undone(new: _View, old: _View) -> Errors:
    """Terminal conditions stay and counters grow; a Job of fixed indexes that is scaled may lose successes."""
    found: Errors = []
    for kind in ("Failed", "Complete", "FailureTarget"):
        if kind in old.true and kind not in new.true:
            found.append(bare_invalid(_CONDITIONS, f"cannot disable the terminal {kind}=True condition"))
    failed, succeeded = new.status.get("failed") or 0, new.status.get("succeeded") or 0
    if failed < (old.status.get("failed") or 0):
        found.append(invalid_value("status.failed", failed, "cannot decrease the failed counter"))
    elastic = new.indexed and new.spec.get("completions") == new.spec.get("parallelism")
    if not elastic and succeeded < (old.status.get("succeeded") or 0):
        found.append(invalid_value("status.succeeded", succeeded, "cannot decrease the succeeded counter"))
    return found


def _fixed_times(new: _View, old: _View, changes: _Changes) -> Errors:
    found: Errors = []
    ended, before = new.status.get("completionTime"), old.status.get("completionTime")
    if None not in (ended, before) and ended != before:
        found.append(invalid_value("status.completionTime", ended, "field is immutable"))
    resuming = "Suspended" in old.true and "Suspended" in new.false
    if changes.start and not resuming and old.status.get("startTime") is not None and not new.spec.get("suspend"):
        words = "field is immutable for unsuspended job once set"
        found.append(invalid_value("status.startTime", new.status.get("startTime"), words))
    if old.met and not new.met:
        found.append(bare_invalid(_CONDITIONS, "cannot disable the SuccessCriteriaMet=True condition"))
    if old.complete and not old.met and new.met:
        words = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        found.append(bare_invalid(_CONDITIONS, words))
    return found
