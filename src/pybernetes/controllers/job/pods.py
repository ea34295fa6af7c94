"""What a Job reads out of its pods, and how it makes them. Pure."""

from __future__ import annotations

from typing import Any

from ...api.meta import Object, annotations_of, finalizers_of, get_condition, is_deleting, metadata, name_of
from ...api.times import parse_time
from ..pods import FAILED, SUCCEEDED, phase_of, pod_from_template
from ..values import MAX_INT32, deep_copy
from .policies import judge

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
_MAX_GENERATED_PREFIX = 63 - 5

DEFAULT_BACKOFF, MAX_BACKOFF = 10.0, 600.0


def is_indexed(job: Object) -> bool:
    return job["spec"].get("completionMode") == "Indexed"


def is_suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def has_limit_per_index(job: Object) -> bool:
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def replaces_only_failed(job: Object) -> bool:
    """Whether a terminating pod keeps its place until it has really failed."""
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy") is not None


def is_tracked(pod: Object) -> bool:
    return FINALIZER in finalizers_of(pod)


def index_of(pod: Object) -> int | None:
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if text.isdigit() else None


def is_failed(pod: Object, job: Object) -> bool:
    """A pod that is being deleted counts as failed, unless only really failed ones are replaced."""
    phase = phase_of(pod)
    if phase == FAILED:
        return True
    return not replaces_only_failed(job) and is_deleting(pod) and phase != SUCCEEDED


def _count(pod: Object, annotation: str) -> int:
    text = annotations_of(pod).get(annotation, "")
    return int(text) if text.isdigit() and int(text) <= MAX_INT32 else 0


def index_failures(pod: Object) -> int:
    return _count(pod, INDEX_FAILURES)


def all_index_failures(pod: Object) -> int:
    return _count(pod, INDEX_FAILURES) + _count(pod, INDEX_IGNORED)


def finished_at(pod: Object) -> float:
    """When the last container ended, as well as the pod tells."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    statuses = list(status.get("containerStatuses") or ())
    statuses += [c for c in status.get("initContainerStatuses") or () if c.get("name") in sidecars]
    stamps = [((c.get("state") or {}).get("terminated") or {}).get("finishedAt") for c in statuses]
    ends = [parse_time(s) for s in stamps if s]
    if ends and len(ends) == len(stamps):
        return max(ends)
    ready = get_condition(pod, "Ready")
    if ready is not None and ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return parse_time(ready["lastTransitionTime"])
    meta = metadata(pod)
    if meta.get("deletionTimestamp"):
        return parse_time(meta["deletionTimestamp"]) - float(meta.get("deletionGracePeriodSeconds") or 0)
    made = meta.get("creationTimestamp")
    return parse_time(made) if made else 0.0


def backoff_remaining(failures: int, last_failure: float | None, now: float) -> float:
    """Seconds to wait before another try: 10 s, 20 s, ... up to ten minutes after the last failure."""
    if failures == 0 or last_failure is None:
        return 0.0
    delay = min(MAX_BACKOFF, DEFAULT_BACKOFF * 2.0 ** min(failures - 1, 16))
    return max(0.0, last_failure + delay - now)


# -- making pods -------------------------------------------------------------------------------------------------------


def template_for(job: Object) -> Object:
    """The pod template with the finalizer and, for an indexed Job, the variable that tells a container its index."""
    template: Object = deep_copy(job["spec"].get("template") or {})
    meta = template.setdefault("metadata", {})
    if FINALIZER not in (meta.get("finalizers") or []):
        meta["finalizers"] = [*(meta.get("finalizers") or []), FINALIZER]
    if is_indexed(job):
        spec = template.setdefault("spec", {})
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
            variables = container.setdefault("env", [])
            if not any(v.get("name") == _INDEX_VARIABLE for v in variables):
                source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
                variables.append({"name": _INDEX_VARIABLE, "valueFrom": source})
    return template


def new_pod(
    job: Object, template: Object, reference: dict[str, Any], index: int | None, replaced: Object | None
) -> Object:
    """``replaced`` is the failed pod of the index whose failures the new one inherits."""
    pod = pod_from_template(template, job, reference)
    if index is None:
        return pod
    meta = pod["metadata"]
    meta["annotations"] = {**(meta.get("annotations") or {}), INDEX: str(index)}
    meta["labels"] = {**(meta.get("labels") or {}), INDEX: str(index)}
    suffix = f"-{index}-"
    meta["generateName"] = name_of(job)[: _MAX_GENERATED_PREFIX - len(suffix)] + suffix
    pod["spec"] = {**pod["spec"], "hostname": f"{name_of(job)}-{index}"}
    if has_limit_per_index(job):
        meta["annotations"] |= _inherited_failures(job, replaced)
    return pod


def _inherited_failures(job: Object, replaced: Object | None) -> dict[str, str]:
    if replaced is None:
        return {INDEX_FAILURES: "0"}
    failures, ignored = index_failures(replaced), _count(replaced, INDEX_IGNORED)
    if judge(job["spec"].get("podFailurePolicy"), replaced).counts:
        failures += 1
    else:
        ignored += 1
    counts = {INDEX_FAILURES: str(failures)}
    return {**counts, INDEX_IGNORED: str(ignored)} if ignored else counts


def untrack_patch(pod: Object) -> dict[str, Any]:
    return {"metadata": {"uid": metadata(pod).get("uid"), "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
