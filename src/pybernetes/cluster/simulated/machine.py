"""What a simulated pod reports at a moment: pure, from the pod as stored, the course that its run takes, and the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...api.meta import Object, is_deleting, metadata, uid_of
from ...api.times import parse_time, to_time
from .stages import Course


@dataclass(slots=True)
class Run:
    """One run of the pod's containers: its course, when it began to count, and how many there were before it."""

    course: Course
    since: float
    restarts: int = 0
    deleted_at: float | None = None

    @property
    def started(self) -> float:
        return self.since + self.course.start

    @property
    def ready(self) -> float:
        return self.started + self.course.ready

    @property
    def ended(self) -> float | None:
        return None if self.course.run is None else self.started + self.course.run


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now (a status to report, or the end of the pod), and when to look again (a time, or None)."""

    status: dict[str, Any] | None = None
    remove: bool = False
    again_at: float | None = None
    restart: bool = False
    """The run is over and another begins, as the restart policy says."""


def next_step(pod: Object, run: Run, now: float, pod_ip: str, host_ip: str) -> Step:
    """``run.deleted_at`` must be set where the pod is being deleted."""
    phase = (pod.get("status") or {}).get("phase") or "Pending"
    if is_deleting(pod):
        return _ending(pod, run, now, phase, pod_ip, host_ip)
    if phase in ("Succeeded", "Failed"):
        return Step()
    if now < run.started:
        return Step(again_at=run.started)
    if run.ended is not None and now >= run.ended:
        return _ended(pod, run, now, pod_ip, host_ip)
    is_ready = now >= run.ready
    status = _status(pod, run, "Running", _running(run), is_ready, pod_ip, host_ip)
    later = [t for t in (run.ready, run.ended) if t is not None and t > now]
    return Step(status if _differs(pod, status) else None, again_at=min(later, default=None))


def _ending(pod: Object, run: Run, now: float, phase: str, pod_ip: str, host_ip: str) -> Step:
    assert run.deleted_at is not None
    grace = float(metadata(pod).get("deletionGracePeriodSeconds") or 0)
    due = run.deleted_at + min(run.course.stop, grace)
    if now < due:
        return Step(again_at=due)
    if metadata(pod).get("finalizers") and phase not in ("Succeeded", "Failed"):
        # Somebody waits to see how it ended.
        state = _terminated(run, 137, now)
        return Step(_status(pod, run, "Failed", state, False, pod_ip, host_ip), remove=True)
    return Step(remove=True)


def _ended(pod: Object, run: Run, now: float, pod_ip: str, host_ip: str) -> Step:
    policy = (pod.get("spec") or {}).get("restartPolicy") or "Always"
    failed = run.course.exit_code != 0
    if policy == "Always" or (policy == "OnFailure" and failed):
        return Step(restart=True)
    state = _terminated(run, run.course.exit_code, now)
    return Step(_status(pod, run, "Failed" if failed else "Succeeded", state, False, pod_ip, host_ip))


def _running(run: Run) -> dict[str, Any]:
    return {"running": {"startedAt": to_time(run.started)}}


def _terminated(run: Run, exit_code: int, now: float) -> dict[str, Any]:
    return {
        "terminated": {
            "exitCode": exit_code,
            "reason": "Completed" if exit_code == 0 else "Error",
            "startedAt": to_time(min(run.started, now)),
            "finishedAt": to_time(now),
        }
    }


def _differs(pod: Object, status: dict[str, Any]) -> bool:
    old = pod.get("status") or {}
    if any(old.get(f) != status[f] for f in ("phase", "podIP", "containerStatuses")):
        return True
    had = {c.get("type"): c.get("status") for c in old.get("conditions") or []}
    return any(had.get(c["type"]) != c["status"] for c in status["conditions"])


def _status(
    pod: Object, run: Run, phase: str, state: dict[str, Any], ready: bool, pod_ip: str, host_ip: str
) -> dict[str, Any]:
    spec, old = pod.get("spec") or {}, pod.get("status") or {}
    over = phase in ("Succeeded", "Failed")
    containers = [
        {
            "name": c["name"],
            "image": c.get("image", ""),
            "imageID": f"simulated://{c.get('image', '')}",
            "containerID": f"simulated://{uid_of(pod)}/{c['name']}/{run.restarts}",
            "ready": ready,
            "started": not over,
            "restartCount": run.restarts,
            "state": state,
            "lastState": {},
        }
        for c in spec.get("containers") or []
    ]
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(pod, run, ready, over),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": host_ip if spec.get("hostNetwork") else pod_ip,
        "startTime": old.get("startTime") or to_time(run.since),
        "containerStatuses": containers,
        "qosClass": old.get("qosClass") or "BestEffort",
        "observedGeneration": metadata(pod).get("generation") or 1,
    }
    status["podIPs"] = [{"ip": status["podIP"]}]
    return status


def _conditions(pod: Object, run: Run, ready: bool, over: bool) -> list[dict[str, Any]]:
    had = {c.get("type"): c for c in (pod.get("status") or {}).get("conditions") or []}
    gates = (pod.get("spec") or {}).get("readinessGates") or []
    gated = all((had.get(g["conditionType"]) or {}).get("status") == "True" for g in gates)
    wanted = {
        "PodReadyToStartContainers": not over,
        "Initialized": True,
        "Ready": ready and gated,
        "ContainersReady": ready,
        "PodScheduled": True,
    }
    stamps = {"Ready": run.ready, "ContainersReady": run.ready, "PodReadyToStartContainers": run.started}
    result = []
    for kind, value in wanted.items():
        text, old = "True" if value else "False", had.get(kind)
        stamp = to_time(stamps.get(kind, run.since) if value else run.ended or run.since)
        if old is not None and old.get("status") == text:
            stamp = old.get("lastTransitionTime") or stamp
        # The status goes out as a merge patch: a reason that holds no more must be taken away by a null.
        reason = None
        if not value and kind in ("Ready", "ContainersReady"):
            reason = "PodCompleted" if over else "ContainersNotReady"
        result.append({"type": kind, "status": text, "lastTransitionTime": stamp, "reason": reason})
    return result


def resumed(pod: Object, course: Course, now: float) -> Run:
    """The run of a pod that was started before this process was."""
    status = pod.get("status") or {}
    statuses = status.get("containerStatuses") or []
    if not statuses:
        return Run(course, now)
    state = statuses[0].get("state") or {}
    started = (state.get("running") or {}).get("startedAt")
    since = (parse_time(started) if started else now) - course.start
    return Run(course, since, restarts=int(statuses[0].get("restartCount") or 0))
