"""Defaults of jobs and cron jobs."""

from __future__ import annotations

from typing import Any

from ..resources import GVK
from .common import Obj, default, default_text, struct
from .pods import default_pod_template

_MAX_INT32 = 2**31 - 1


def _default_job(obj: Obj) -> None:
    spec = struct(obj, "spec")
    struct(obj, "status")
    _default_templates(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    default(spec, "parallelism", 1)
    default(spec, "backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else _MAX_INT32)
    labels = spec["template"]["metadata"].get("labels")
    if labels is not None:
        metadata = struct(obj, "metadata")
        if not metadata.get("labels"):
            # The same map, as upstream: what is later put on the template is then on the job, too.
            metadata["labels"] = labels
    default(spec, "completionMode", "NonIndexed")
    default(spec, "suspend", False)
    default(spec, "podReplacementPolicy", "TerminatingOrFailed" if spec.get("podFailurePolicy") is None else "Failed")
    default(spec, "manualSelector", False)


def _default_templates(spec: Obj) -> None:
    """What a JobSpec gets wherever it stands: in a Job and in a CronJob's template."""
    default_pod_template(struct(spec, "template"))
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            default_text(pattern, "status", "True")


def _default_cron_job(obj: Obj) -> None:
    spec = struct(obj, "spec")
    struct(obj, "status")
    default_text(spec, "concurrencyPolicy", "Allow")
    default(spec, "suspend", False)
    default(spec, "successfulJobsHistoryLimit", 3)
    default(spec, "failedJobsHistoryLimit", 1)
    template = struct(spec, "jobTemplate")
    struct(template, "metadata")
    _default_templates(struct(template, "spec"))


DEFAULTERS: dict[GVK, Any] = {
    GVK("batch", "v1", "Job"): _default_job,
    GVK("batch", "v1", "CronJob"): _default_cron_job,
}
