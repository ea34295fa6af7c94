"""Rows of workloads."""

from __future__ import annotations

from typing import Any

from ..selectors import SelectorError, selector_text
from .common import (
    NONE,
    Obj,
    containers_and_images,
    human_duration,
    labels_text,
    name_and_age,
    seconds_of,
    selector_or_none,
    since,
    true_false,
)


def _parts(obj: Obj) -> tuple[Obj, Obj]:
    return obj.get("spec") or {}, obj.get("status") or {}


def _deployment(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    name, age = name_and_age(obj, now)
    try:
        selector = selector_text(spec.get("selector"))
    except SelectorError:
        selector = "<invalid>"
    return [
        name,
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age,
        *containers_and_images(spec.get("template")),
        selector,
    ]


def _replica_set(obj: Obj, now: float) -> list[Any]:
    spec, _ = _parts(obj)
    return [*_replicas(obj, now), *containers_and_images(spec.get("template")), selector_or_none(spec.get("selector"))]


def _replication_controller(obj: Obj, now: float) -> list[Any]:
    spec, _ = _parts(obj)
    return [*_replicas(obj, now), *containers_and_images(spec.get("template")), labels_text(spec.get("selector"))]


def _replicas(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    name, age = name_and_age(obj, now)
    return [name, spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0, age]


def _stateful_set(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    name, age = name_and_age(obj, now)
    ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"
    return [name, ready, age, *containers_and_images(spec.get("template"))]


_DAEMON_FIELDS = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
)


def _daemon_set(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    name, age = name_and_age(obj, now)
    template = spec.get("template") or {}
    return [
        name,
        *(status.get(f) or 0 for f in _DAEMON_FIELDS),
        labels_text((template.get("spec") or {}).get("nodeSelector")),
        age,
        *containers_and_images(template),
        selector_or_none(spec.get("selector")),
    ]


_JOB_LATER_STATES = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def _job_status(obj: Obj, status: Obj) -> str:
    first: dict[str, Any] = {}
    for condition in status.get("conditions") or ():
        first.setdefault(condition.get("type") or "", condition.get("status"))
    holds = {kind for kind, value in first.items() if value == "True"}
    for kind in ("Complete", "Failed"):
        if kind in holds:
            return kind
    if (obj.get("metadata") or {}).get("deletionTimestamp") is not None:
        return "Terminating"
    return next((kind for kind in _JOB_LATER_STATES if kind in holds), "Running")


def _job(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    name, age = name_and_age(obj, now)
    done, parallelism = status.get("succeeded") or 0, spec.get("parallelism") or 0
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    else:
        completions = f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"
    start, end = seconds_of(status.get("startTime")), seconds_of(status.get("completionTime"))
    duration = "" if start is None else human_duration((now if end is None else end) - start)
    return [
        name,
        _job_status(obj, status),
        completions,
        duration,
        age,
        *containers_and_images(spec.get("template")),
        selector_or_none(spec.get("selector")),
    ]


def _cron_job(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    name, age = name_and_age(obj, now)
    last = status.get("lastScheduleTime")
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    zone = spec.get("timeZone")
    return [
        name,
        spec.get("schedule") or "",
        NONE if zone is None else zone,
        true_false(spec.get("suspend")),
        len(status.get("active") or ()),
        NONE if last is None else since(last, now),
        age,
        *containers_and_images(job.get("template")),
        selector_or_none(job.get("selector")),
    ]


def _controller_revision(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
    owner = next((o for o in owners if o.get("controller")), None)
    controller = NONE
    if owner is not None:
        group = (owner.get("apiVersion") or "").rpartition("/")[0]
        kind = owner.get("kind") or ""
        controller = (f"{kind}.{group}" if group else kind).lower() + f"/{owner.get('name') or ''}"
    return [name, controller, obj.get("revision") or 0, age]


def _pod_template(obj: Obj, now: float) -> list[Any]:
    template = obj.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    return [name_and_age(obj, now)[0], *containers_and_images(template), labels_text(labels)]


PRINTERS = {
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ControllerRevision"): _controller_revision,
    ("", "ReplicationController"): _replication_controller,
    ("", "PodTemplate"): _pod_template,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
}
