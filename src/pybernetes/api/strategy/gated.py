"""Fields of pods behind gates that are off by default in v1.36: dropped, unless the stored pod has them already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_SOURCES = ("clusterTrustBundle", "podCertificate")


def drop_gated_fields(spec: dict[str, Any] | None, stored: Mapping[str, Any] | None) -> None:
    """``spec`` in place; ``stored`` is the spec before an update."""
    if not spec:
        return
    before = stored or {}
    if "schedulingGroup" in spec and before.get("schedulingGroup") is None:
        del spec["schedulingGroup"]
    _drop_stop_signals(spec, before)
    _drop_sources(spec, before)


def _drop_stop_signals(spec: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    users = [c for c in _all_containers(spec) if c.get("lifecycle") and "stopSignal" in c["lifecycle"]]
    if users and not any((c.get("lifecycle") or {}).get("stopSignal") for c in _all_containers(before)):
        for container in users:
            del container["lifecycle"]["stopSignal"]
            if not container["lifecycle"]:
                del container["lifecycle"]


def _all_containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [c for field in _CONTAINERS for c in spec.get(field) or ()]


def _drop_sources(spec: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    for kind in _SOURCES:
        users = [source for source in _sources(spec) if kind in source]
        if users and not any(source.get(kind) for source in _sources(before)):
            for source in users:
                del source[kind]


def _sources(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    projected = [v["projected"] for v in spec.get("volumes") or () if v.get("projected")]
    return [source for volume in projected for source in volume.get("sources") or ()]


_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def drop_gated_status(status: dict[str, Any], before: Mapping[str, Any]) -> None:
    """``status`` in place: what the nodes' own resources and digests of image volumes would write there."""
    if not before.get("nodeAllocatableResourceClaimStatuses"):
        status.pop("nodeAllocatableResourceClaimStatuses", None)
    mounts = [m for field in _STATUSES for c in status.get(field) or () for m in c.get("volumeMounts") or ()]
    known = [m for field in _STATUSES for c in before.get(field) or () for m in c.get("volumeMounts") or ()]
    if not any(m.get("volumeStatus") for m in known):
        for mount in mounts:
            mount.pop("volumeStatus", None)


def drop_gated_template_fields(obj: Mapping[str, Any], stored: Mapping[str, Any] | None) -> None:
    """The same in the pod template of a workload."""
    drop_gated_fields(_template_spec(obj), _template_spec(stored or {}))


def _template_spec(obj: Mapping[str, Any]) -> dict[str, Any]:
    spec = obj.get("spec") or {}
    if spec.get("jobTemplate"):
        spec = spec["jobTemplate"].get("spec") or {}
    found: dict[str, Any] = (spec.get("template") or {}).get("spec") or {}
    return found
