"""Pods: status, generation, graceful deletion, and the subresources that change a spec after its creation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..pod_resources import qos_class
from .base import (
    Obj,
    Strategy,
    SubresourceStrategy,
    generation_of,
    keep,
    reset_metadata_for_status,
    section,
    semantically_equal,
    set_generation,
)
from .gated import drop_gated_fields, drop_gated_status

GATED_MESSAGE = "Scheduling is blocked due to non-empty scheduling gates"
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


class PodStrategy(Strategy):
    has_status = True
    tracks_generation = True

    def __init__(self, info: Any) -> None:
        super().__init__(info)
        self.subresources["ephemeralcontainers"] = EphemeralContainersStrategy(self)
        self.subresources["resize"] = ResizeStrategy(self)

    def empty_status(self, obj: Obj) -> Obj:
        spec = obj.get("spec") or {}
        status: Obj = {"phase": "Pending"}
        if spec.get("schedulingGates"):
            status["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": (obj.get("metadata") or {}).get("creationTimestamp"),
                    "reason": "SchedulingGated",
                    "message": GATED_MESSAGE,
                }
            ]
        # Upstream believes a class that a new pod brings along.
        status["qosClass"] = (obj.get("status") or {}).get("qosClass") or qos_class(spec)
        return status

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        spec = section(obj, "spec")
        drop_gated_fields(spec, None)
        labels = (obj.get("metadata") or {}).get("labels") or {}
        _merge_label_keys(spec, labels)
        _apply_apparmor_annotations(obj, spec)

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        drop_gated_fields(new.get("spec"), old.get("spec"))
        super().prepare_for_update(new, old, now=now)

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        metadata, status = section(new, "metadata"), section(new, "status")
        before = old.get("status") or {}
        # Upstream empties the field here and fills it again from the stored object when it validates metadata.
        for field in ("deletionTimestamp", "ownerReferences"):
            keep(metadata, old.get("metadata") or {}, field)
        for field in ("qosClass", "observedGeneration"):
            if not status.get(field) and before.get(field):
                status[field] = before[field]
        _keep_observed_generations(status, before)
        drop_gated_status(status, before)

    def graceful_deletion(self, obj: Obj, options: Mapping[str, Any] | None) -> tuple[bool, int]:
        if options is None:
            return False, 0
        spec = obj.get("spec") or {}
        period = options.get("gracePeriodSeconds")
        if period is None:
            period = spec.get("terminationGracePeriodSeconds") or 0
        if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
            period = 0
        return True, 1 if period < 0 else period

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import pod_create_warnings

        return pod_create_warnings(obj)

    def status_warnings(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import ip_warnings

        status = obj.get("status") or {}
        found = []
        for field in ("podIPs", "hostIPs"):
            for i, entry in enumerate(status.get(field) or ()):
                found += ip_warnings(f"status.{field}[{i}].ip", entry.get("ip") or "")
        return found


def _keep_observed_generations(status: Obj, before: Mapping[str, Any]) -> None:
    known: dict[str, list[int]] = {}
    for condition in before.get("conditions") or ():
        known.setdefault(condition.get("type") or "", []).append(condition.get("observedGeneration") or 0)
    for condition in status.get("conditions") or ():
        generations = known.get(condition.get("type") or "")
        generation = generations.pop(0) if generations else 0
        if not condition.get("observedGeneration") and generation:
            condition["observedGeneration"] = generation


def _merge_label_keys(spec: Obj, labels: Mapping[str, str]) -> None:
    """matchLabelKeys become requirements of the selector, with the pod's own values."""
    for constraint in spec.get("topologySpreadConstraints") or ():
        if constraint.get("labelSelector") is not None:
            _add_requirements(constraint["labelSelector"], constraint.get("matchLabelKeys"), "In", labels)
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            terms.append(weighted.get("podAffinityTerm") or {})
        for term in terms:
            if term.get("labelSelector") is not None:
                _add_requirements(term["labelSelector"], term.get("matchLabelKeys"), "In", labels)
                _add_requirements(term["labelSelector"], term.get("mismatchLabelKeys"), "NotIn", labels)


def _add_requirements(selector: Obj, keys: list[str] | None, operator: str, labels: Mapping[str, str]) -> None:
    found = [{"key": k, "operator": operator, "values": [labels[k]]} for k in keys or () if k in labels]
    if found:
        selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *found]


def apparmor_field(annotation: str) -> Obj | None:
    """The appArmorProfile that a deprecated annotation's value means; None where it means none."""
    if annotation.startswith("localhost/"):
        name = annotation.removeprefix("localhost/")
        return {"type": "Localhost", "localhostProfile": name} if name.strip() == name and name else None
    kinds = {"runtime/default": "RuntimeDefault", "unconfined": "Unconfined"}
    return {"type": kinds[annotation]} if annotation in kinds else None


def _apply_apparmor_annotations(obj: Obj, spec: Obj) -> None:
    annotations = (obj.get("metadata") or {}).get("annotations")
    if not annotations or (spec.get("os") or {}).get("name") == "windows":
        return
    pod_profile = (spec.get("securityContext") or {}).get("appArmorProfile")
    for field in _CONTAINER_LISTS:
        for container in spec.get(field) or ():
            annotation = annotations.get(APPARMOR_ANNOTATION + (container.get("name") or ""))
            if annotation is None or (container.get("securityContext") or {}).get("appArmorProfile") is not None:
                continue
            profile = apparmor_field(annotation)
            if profile is not None and profile != pod_profile:
                section(container, "securityContext")["appArmorProfile"] = profile


class _PodSubresource(SubresourceStrategy):
    def bump(self, new: Obj, old: Obj) -> None:
        changed = not semantically_equal(new.get("spec"), old.get("spec"))
        set_generation(new, generation_of(old) + (1 if changed else 0))


class EphemeralContainersStrategy(_PodSubresource):
    """Only spec.ephemeralContainers may change."""

    name = "ephemeralcontainers"

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        wanted = (new.get("spec") or {}).get("ephemeralContainers")
        spec = dict(old.get("spec") or {})
        spec.pop("ephemeralContainers", None)
        if wanted:
            spec["ephemeralContainers"] = wanted
        new["spec"] = spec
        keep(new, old, "status")
        reset_metadata_for_status(new, old)
        self.bump(new, old)


class ResizeStrategy(_PodSubresource):
    """Only resources and resizePolicy of containers, and the pod's own resources, may change."""

    name = "resize"

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        wanted, before = section(new, "spec"), old.get("spec") or {}
        lists = ("containers", "initContainers")
        if all(len(wanted.get(f) or ()) == len(before.get(f) or ()) for f in lists):
            spec = dict(before)
            for field in lists:
                if before.get(field):
                    spec[field] = _resized(wanted[field], before[field])
            keep(spec, wanted, "resources")
            new["spec"] = spec
            keep(new, old, "status")
            reset_metadata_for_status(new, old)
        self.bump(new, old)


def _resized(wanted: list[Obj], before: list[Obj]) -> list[Obj]:
    if any(w.get("name") != b.get("name") for w, b in zip(wanted, before, strict=True)):
        return wanted  # validation refuses the change of names
    merged = []
    for asked, stored in zip(wanted, before, strict=True):
        container = dict(stored)
        for field in ("resources", "resizePolicy"):
            keep(container, asked, field)
        merged.append(container)
    return merged


STRATEGIES = {("", "pods"): PodStrategy}
