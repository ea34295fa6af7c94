"""A pod's phase out of its container statuses. Rules of upstream's ``getPhase`` (``kubelet_pods.go``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import Object, containers_of, init_containers_of, is_sidecar, is_static, should_restart

PENDING, PHASE_RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"
RESTARTING_ALL = "RestartingAllContainers"


@dataclass(slots=True)
class _Count:
    pending_init: int = 0
    pending_sidecars: int = 0
    failed_init: int = 0
    unknown: int = 0
    running: int = 0
    waiting: int = 0
    stopped: int = 0
    final: int = 0
    """Stopped, and never started again."""
    succeeded: int = 0


def _terminated(status: Mapping[str, Any], field: str) -> Object | None:
    found: Object | None = (status.get(field) or {}).get("terminated")
    return found


def _comes_back(spec: Object, pod: Object, ended: Object) -> bool:
    return should_restart(spec, pod, ended.get("exitCode", 0)) or ended.get("reason") == RESTARTING_ALL


def _count_init(pod: Object, spec: Object, status: Object | None, count: _Count) -> None:
    state = (status or {}).get("state") or {}
    ended = _terminated(status or {}, "lastState" if "waiting" in state else "state")
    if ended is None:
        count.pending_init += 1
    elif ended.get("exitCode", 0) != 0 and not _comes_back(spec, pod, ended):
        count.failed_init += 1


def _count_sidecar(status: Object | None, count: _Count) -> None:
    if status is None:
        count.unknown += 1
        return
    state = status.get("state") or {}
    if "running" in state:
        count.pending_sidecars += not status.get("started")
        count.running += 1
    elif "terminated" in state:
        return
    elif "waiting" in state:
        if _terminated(status, "lastState") is None:
            count.pending_sidecars += 1
            count.waiting += 1
    else:
        count.pending_sidecars += 1
        count.unknown += 1


def _count_regular(pod: Object, spec: Object, status: Object | None, count: _Count) -> None:
    state = (status or {}).get("state") or {}
    if "running" in state:
        count.running += 1
        return
    waiting = "waiting" in state
    ended = _terminated(status or {}, "lastState" if waiting else "state")
    if ended is None:
        count.waiting += waiting
        count.unknown += not waiting
        return
    count.stopped += 1
    count.final += not _comes_back(spec, pod, ended)
    count.succeeded += not waiting and ended.get("exitCode", 0) == 0


def phase_of(pod: Object, statuses: Mapping[str, Object], *, terminal: bool, initialized: bool) -> str:
    """``statuses`` are those of init and regular containers by name; ``terminal`` means nothing will be started any more;
    ``initialized`` that a regular container of the present sandbox has been started."""
    count = _Count()
    for spec in init_containers_of(pod):
        status = statuses.get(spec["name"])
        if is_sidecar(spec):
            _count_sidecar(status, count)
        else:
            _count_init(pod, spec, status, count)
    for spec in containers_of(pod):
        _count_regular(pod, spec, statuses.get(spec["name"]), count)
    if count.failed_init:
        return FAILED
    if count.pending_init or (count.pending_sidecars and not initialized) or count.waiting:
        return PENDING
    if count.running and not count.unknown:
        return PHASE_RUNNING
    if not count.running and count.stopped and not count.unknown:
        if terminal and not is_static(pod):
            return SUCCEEDED if count.stopped == count.succeeded else FAILED
        if count.stopped != count.final:
            return PHASE_RUNNING
        return SUCCEEDED if count.stopped == count.succeeded else FAILED
    return PENDING
