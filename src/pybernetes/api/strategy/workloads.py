"""Workloads: deployments, replica sets, stateful sets, daemon sets, replication controllers, jobs, cron jobs."""

from __future__ import annotations

from collections.abc import Mapping

from .base import (
    ORPHAN,
    Obj,
    Strategy,
    StrategyFactory,
    generation_of,
    keep,
    section,
    semantically_equal,
    set_generation,
)
from .gated import drop_gated_template_fields
from .scale import Scalable

JOB_NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")
CONTROLLER_UID_LABEL = "batch.kubernetes.io/controller-uid"
CONTROLLER_UID_LABELS = ("controller-uid", CONTROLLER_UID_LABEL)


class _Workload(Strategy):
    """Status apart, generation counted, warnings about the pod template."""

    has_status = True
    tracks_generation = True
    warns_of_name = False
    """Pods are named after the object: a name that is no DNS label makes odd host names."""

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, object] | None = None) -> None:
        drop_gated_template_fields(obj, None)
        super().prepare_for_create(obj, user=user)

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        drop_gated_template_fields(new, old)
        super().prepare_for_update(new, old, now=now)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import name_warnings, template_warnings

        found = name_warnings(obj) if self.warns_of_name else []
        return found + template_warnings("spec.template", (obj.get("spec") or {}).get("template"), None)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import template_warnings

        if generation_of(obj) == generation_of(old):
            return []
        before, after = ((o.get("spec") or {}).get("template") for o in (old, obj))
        return template_warnings("spec.template", after, before)


class DeploymentStrategy(_Workload, Scalable):
    warns_of_name = True

    def changed(self, new: Obj, old: Obj) -> bool:
        annotations = ((o.get("metadata") or {}).get("annotations") or None for o in (new, old))
        return super().changed(new, old) or next(annotations) != next(annotations)

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        keep(section(new, "metadata"), old.get("metadata") or {}, "labels")


class ReplicaSetStrategy(_Workload, Scalable):
    warns_of_name = True

    def empty_status(self, obj: Obj) -> Obj:
        return {"replicas": 0}


class ReplicationControllerStrategy(ReplicaSetStrategy):
    default_garbage_collection_policy = ORPHAN


class StatefulSetStrategy(_Workload, Scalable):
    def empty_status(self, obj: Obj) -> Obj:
        return {"replicas": 0, "availableReplicas": 0}

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, object] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        _drop_max_unavailable(obj, {})

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        _drop_max_unavailable(new, old)
        super().prepare_for_update(new, old, now=now)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import stateful_set_warnings

        return super().warnings_on_create(obj) + stateful_set_warnings(obj, "")

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import stateful_set_warnings

        return super().warnings_on_update(obj, old) + stateful_set_warnings(obj, ".Spec")


def _rolling(obj: Mapping[str, object]) -> Obj:
    spec = obj.get("spec") or {}
    assert isinstance(spec, dict)
    return (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}


def _drop_max_unavailable(new: Obj, old: Obj) -> None:
    """rollingUpdate.maxUnavailable is behind a gate that is off by default in v1.36."""
    if "maxUnavailable" not in _rolling(old):
        _rolling(new).pop("maxUnavailable", None)


class DaemonSetStrategy(_Workload):
    def empty_status(self, obj: Obj) -> Obj:
        fields = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
        return dict.fromkeys(fields, 0)

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, object] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        # The template's generation was a spec field in old API versions and lives on as an annotation.
        _set_template_generation(obj, max(_template_generation(obj), 1))

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        before, after = ((o.get("spec") or {}).get("template") for o in (old, new))
        changed = not semantically_equal(after, before)
        _set_template_generation(new, _template_generation(old) + (1 if changed else 0))
        if _template_generation(new) != _template_generation(old):
            set_generation(new, generation_of(old) + 1)

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        _set_template_generation(new, _template_generation(old))

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return super().warnings_on_update(obj, old) if _template_generation(obj) != _template_generation(old) else []


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _template_generation(obj: Mapping[str, object]) -> int:
    metadata = obj.get("metadata") or {}
    assert isinstance(metadata, dict)
    text = (metadata.get("annotations") or {}).get(TEMPLATE_GENERATION) or "0"
    try:
        return int(text)
    except ValueError:
        return 0


def _set_template_generation(obj: Obj, generation: int) -> None:
    metadata = section(obj, "metadata")
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(generation)}


class JobStrategy(_Workload):
    default_garbage_collection_policy = ORPHAN
    warns_of_name = True

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, object] | None = None) -> None:
        spec = section(obj, "spec")
        if not spec.get("manualSelector"):
            _generate_selector(section(obj, "metadata"), spec)
        _default_labels(obj)
        super().prepare_for_create(obj, user=user)

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        _default_labels(new)

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        super().prepare_status(new, old, now)
        _default_labels(new)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import job_spec_warnings, name_warnings

        return name_warnings(obj) + job_spec_warnings("spec", obj.get("spec") or {}, None)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import job_spec_warnings

        if generation_of(obj) == generation_of(old):
            return []
        return job_spec_warnings("spec", obj.get("spec") or {}, old.get("spec") or {})


def _generate_selector(metadata: Obj, spec: Obj) -> None:
    """A job selects its pods by its own uid, unless its author took that into their own hands."""
    template = section(section(spec, "template"), "metadata")
    labels = section(template, "labels")
    for label in JOB_NAME_LABELS:
        labels.setdefault(label, metadata.get("name") or "")
    for label in CONTROLLER_UID_LABELS:
        labels.setdefault(label, metadata.get("uid") or "")
    selector = section(spec, "selector")
    selector["matchLabels"] = {CONTROLLER_UID_LABEL: metadata.get("uid") or "", **(selector.get("matchLabels") or {})}


def _default_labels(job: Obj) -> None:
    """Upstream gets here by defaulting again what it reads back from the store."""
    metadata, template = section(job, "metadata"), (job.get("spec") or {}).get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if labels and not metadata.get("labels"):
        metadata["labels"] = labels


class CronJobStrategy(_Workload):
    warns_of_name = True

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import job_spec_warnings, name_warnings

        spec = ((obj.get("spec") or {}).get("jobTemplate") or {}).get("spec") or {}
        return name_warnings(obj) + job_spec_warnings("spec.jobTemplate.spec", spec, None)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import cron_time_zone_warnings, job_spec_warnings

        found = []
        if generation_of(obj) != generation_of(old):
            after, before = (((o.get("spec") or {}).get("jobTemplate") or {}).get("spec") or {} for o in (obj, old))
            found = job_spec_warnings("spec.jobTemplate.spec", after, before)
        return found + cron_time_zone_warnings(obj)


STRATEGIES: dict[tuple[str, str], StrategyFactory] = {
    ("apps", "deployments"): DeploymentStrategy,
    ("apps", "replicasets"): ReplicaSetStrategy,
    ("apps", "statefulsets"): StatefulSetStrategy,
    ("apps", "daemonsets"): DaemonSetStrategy,
    ("", "replicationcontrollers"): ReplicationControllerStrategy,
    ("batch", "jobs"): JobStrategy,
    ("batch", "cronjobs"): CronJobStrategy,
}
