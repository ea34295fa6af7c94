"""The row of a pod: what its containers' states amount to in a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import NONE, Obj, human_duration, name_and_age, seconds_of

_COMPLETED = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}


def completed_conditions(pod: Obj) -> list[Obj]:
    phase = (pod.get("status") or {}).get("phase")
    if phase not in _COMPLETED:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _COMPLETED[phase]}]


class _Restarts:
    """A count, and when the last restarted container had ended."""

    def __init__(self) -> None:
        self.count = 0
        self.last: float | None = None

    def add(self, status: Mapping[str, Any]) -> None:
        self.count += status.get("restartCount") or 0
        ended = seconds_of(((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
        if ended is not None and (self.last is None or ended > self.last):
            self.last = ended

    def text(self, now: float) -> str:
        if self.count and self.last is not None:
            return f"{self.count} ({human_duration(now - self.last)} ago)"
        return str(self.count)


def _end_of(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode') or 0}"


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), {})


class _Summary:
    """READY, STATUS and RESTARTS of one pod."""

    def __init__(self, pod: Obj) -> None:
        self.spec, self.status = pod.get("spec") or {}, pod.get("status") or {}
        initial = self.spec.get("initContainers") or ()
        self.sidecars = {c.get("name") for c in initial if c.get("restartPolicy") == "Always"}
        self.total = len(self.spec.get("containers") or ()) + sum(
            1 for c in initial if c.get("restartPolicy") == "Always"
        )
        self.ready = 0
        self.reason: str = self.status.get("reason") or self.status.get("phase") or ""
        if any(
            c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated"
            for c in self.status.get("conditions") or ()
        ):
            self.reason = "SchedulingGated"
        self.restarts = _Restarts()
        sidecar_restarts = _Restarts()
        initializing = self._initial_containers(sidecar_restarts)
        if not initializing or _condition(self.status, "Initialized").get("status") == "True":
            self.restarts = sidecar_restarts
            self._containers()
        self._deletion(pod)

    def _initial_containers(self, sidecar_restarts: _Restarts) -> bool:
        for index, entry in enumerate(self.status.get("initContainerStatuses") or ()):
            sidecar = entry.get("name") in self.sidecars
            self.restarts.add(entry)
            if sidecar:
                sidecar_restarts.add(entry)
            state = entry.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting") or {}
            if terminated is not None and not terminated.get("exitCode"):
                continue
            if sidecar and entry.get("started"):
                self.ready += 1 if entry.get("ready") else 0
                continue
            if terminated is not None:
                self.reason = "Init:" + _end_of(terminated)
            elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
                self.reason = "Init:" + waiting["reason"]
            else:
                self.reason = f"Init:{index}/{len(self.spec.get('initContainers') or ())}"
            return True
        return False

    def _containers(self) -> None:
        running, failure = False, ""
        for entry in reversed(self.status.get("containerStatuses") or ()):
            self.restarts.add(entry)
            state = entry.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting") or {}
            if waiting.get("reason"):
                self.reason = waiting["reason"]
            elif terminated is not None:
                self.reason = _end_of(terminated)
                if terminated.get("exitCode"):
                    failure = self.reason
            elif entry.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed":
            ready = any(
                c.get("type") == "Ready" and c.get("status") == "True" for c in self.status.get("conditions") or ()
            )
            if running and ready:
                self.reason = "Running"
            elif failure:
                self.reason = failure
            elif running:
                self.reason = "NotReady"

    def _deletion(self, pod: Obj) -> None:
        if (pod.get("metadata") or {}).get("deletionTimestamp") is None:
            return
        if self.status.get("reason") == "NodeLost":
            self.reason = "Unknown"
        elif self.status.get("phase") not in ("Failed", "Succeeded"):
            self.reason = "Terminating"


def _readiness_gates(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    gates = spec.get("readinessGates")
    if not gates:
        return NONE
    passed = sum(1 for g in gates if _condition(status, g.get("conditionType") or "").get("status") == "True")
    return f"{passed}/{len(gates)}"


def pod_cells(pod: Obj, now: float) -> list[Any]:
    summary = _Summary(pod)
    spec, status = summary.spec, summary.status
    name, age = name_and_age(pod, now)
    address = ((status.get("podIPs") or [{}])[0]).get("ip") or status.get("podIP")
    return [
        name,
        f"{summary.ready}/{summary.total}",
        summary.reason,
        summary.restarts.text(now),
        age,
        address or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(spec, status),
    ]


PRINTERS = {("", "Pod"): pod_cells}
