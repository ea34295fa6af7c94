"""The pod conditions that the kubelet owns. Reasons and messages are upstream's (``pkg/kubelet/status/generate.go``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...api.meta import get_condition
from ...api.times import to_time
from .actions import sandbox_changed
from .model import Object, RuntimePod, containers_of, could_restart_all, init_containers_of, is_sidecar, spec_of
from .phase import FAILED, SUCCEEDED
from .resize import RESIZE_IN_PROGRESS, RESIZE_PENDING

READY_TO_START, INITIALIZED, READY = "PodReadyToStartContainers", "Initialized", "Ready"
CONTAINERS_READY, SCHEDULED = "ContainersReady", "PodScheduled"
RESTARTING, DISRUPTION = "AllContainersRestarting", "DisruptionTarget"
OWNED = frozenset(
    (READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, SCHEDULED, RESIZE_PENDING, RESIZE_IN_PROGRESS, RESTARTING)
)
"""What nobody but the kubelet writes once the pod is bound."""

_COMPLETED, _FAILED = "PodCompleted", "PodFailed"


def _condition(kind: str, status: bool, reason: str = "", message: str = "") -> Object:
    found: Object = {"type": kind, "status": "True" if status else "False"}
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return found


def _listed(names: list[str]) -> str:
    """Go's ``%s`` of a list."""
    return "[" + " ".join(names) + "]"


def ready_to_start(pod: Object, runtime: RuntimePod) -> Object:
    return _condition(READY_TO_START, not sandbox_changed(pod, runtime)[0])


def initialized(pod: Object, statuses: Mapping[str, Object], phase: str, old: Object) -> Object:
    unknown, incomplete = [], []
    for spec in init_containers_of(pod):
        status = statuses.get(spec["name"])
        if status is None:
            unknown.append(spec["name"])
        elif not status.get("started" if is_sidecar(spec) else "ready"):
            incomplete.append(spec["name"])
    if phase == SUCCEEDED and not unknown:
        return _condition(INITIALIZED, True, _COMPLETED)
    regular = [(statuses.get(c["name"]) or {}).get("state") or {} for c in containers_of(pod)]
    if any("running" in s or "terminated" in s for s in regular):
        return _condition(INITIALIZED, True)
    parts = []
    if unknown:
        parts.append(f"containers with unknown status: {_listed(unknown)}")
    if incomplete:
        parts.append(f"containers with incomplete status: {_listed(incomplete)}")
    before = get_condition({"status": old}, INITIALIZED)
    if parts and not (before is not None and before.get("status") == "True"):
        return _condition(INITIALIZED, False, "ContainersNotInitialized", ", ".join(parts))
    return _condition(INITIALIZED, True)


def containers_ready(pod: Object, statuses: Mapping[str, Object], phase: str) -> Object:
    unknown, unready = [], []
    for spec in (*(c for c in init_containers_of(pod) if is_sidecar(c)), *containers_of(pod)):
        status = statuses.get(spec["name"])
        if status is None:
            unknown.append(spec["name"])
        elif not status.get("ready"):
            unready.append(spec["name"])
    if phase == SUCCEEDED and not unknown:
        return _condition(CONTAINERS_READY, False, _COMPLETED)
    if phase == FAILED:
        return _condition(CONTAINERS_READY, False, _FAILED)
    parts = []
    if unknown:
        parts.append(f"containers with unknown status: {_listed(unknown)}")
    if unready:
        parts.append(f"containers with unready status: {_listed(unready)}")
    if parts:
        return _condition(CONTAINERS_READY, False, "ContainersNotReady", ", ".join(parts))
    return _condition(CONTAINERS_READY, True)


def ready(pod: Object, containers: Object, others: list[Object]) -> Object:
    """``containers`` is the ContainersReady condition, ``others`` where readiness gates are looked up."""
    if containers["status"] != "True":
        return {**containers, "type": READY}
    missing = []
    for gate in spec_of(pod).get("readinessGates") or ():
        kind = gate.get("conditionType", "")
        found = next((c for c in others if c.get("type") == kind), None)
        if found is None:
            missing.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif found.get("status") != "True":
            missing.append(f'the status of pod readiness gate "{kind}" is not "True", but {found.get("status")}')
    if missing:
        return _condition(READY, False, "ReadinessGatesNotReady", ", ".join(missing))
    return _condition(READY, True)


def restarting_all(pod: Object, phase: str, restarting: bool) -> list[Object]:
    if not could_restart_all(pod):
        return []
    if phase in (SUCCEEDED, FAILED):
        return [_condition(RESTARTING, False, _COMPLETED if phase == SUCCEEDED else _FAILED)]
    if not restarting:
        return [_condition(RESTARTING, False)]
    return [_condition(RESTARTING, True, "RestartAllContainersStarted", "container exited with restart policy rule")]


def stamped(conditions: list[Object], old: Mapping[str, Any], generation: int, now: float) -> list[Object]:
    """With transition times (kept while the status stays the same), the probe time and the generation they speak of."""
    result = []
    for condition in conditions:
        before = get_condition({"status": old}, condition["type"])
        same = before is not None and before.get("status") == condition["status"]
        moment = before.get("lastTransitionTime") if before is not None and same else None
        stamp = {"lastProbeTime": None, "lastTransitionTime": moment or to_time(now), **condition}
        if generation:
            stamp.setdefault("observedGeneration", generation)
        result.append(stamp)
    return result
