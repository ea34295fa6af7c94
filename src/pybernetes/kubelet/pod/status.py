"""A pod's status as the API shows it, out of what the runtime says, what was shown before, and probe results.

Rules of upstream's ``kubelet_pods.go`` (generateAPIPodStatus, convertToAPIContainerStatuses) and ``prober_manager.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ...api.pod_resources import pod_requests
from ...api.quantity import BINARY_SI, DECIMAL_SI, canonical_quantity, format_quantity, quantity_milli
from ...api.times import to_time
from . import conditions as cond
from .actions import SUCCESS, Probes
from .model import (
    CREATED,
    EXITED,
    RUNNING,
    UNKNOWN,
    Container,
    Object,
    RuntimePod,
    any_regular_container_created,
    containers_of,
    ephemeral_containers_of,
    init_containers_of,
    is_sidecar,
    restarts_all,
    should_be_restarted,
    spec_of,
    uses_host_network,
)
from .phase import FAILED, RESTARTING_ALL, SUCCEEDED, phase_of
from .qos import MIN_MILLI_CPU_LIMIT, MIN_SHARES, compute_qos, shares_to_milli_cpu

_LOST = "ContainerStatusUnknown"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a status is made of beside the pod and its runtime state."""

    now: float
    host_ips: Sequence[str] = ()
    probes: Probes = field(default_factory=Probes)
    reasons: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Why a container's last start failed: name -> (reason, message)."""
    recursive_read_only: bool = False
    terminal: bool = False
    """Nothing of the pod is started any more: what has ended is final."""
    override: Mapping[str, Any] = field(default_factory=dict)
    """``phase``, ``reason`` and ``message`` of an eviction or a deadline."""
    actuated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Resources in force by container id, for runtimes that do not report them."""
    extra_conditions: Sequence[Object] = ()
    """Conditions with a memory of their own (resize, disruption)."""


def generate_status(pod: Object, runtime: RuntimePod, old: Mapping[str, Any], facts: Facts) -> Object:
    """``old`` is the status that was last generated, or the API's where there is none yet."""
    restarting = restart_all_wanted(pod, runtime, old)
    status: Object = {}
    groups = (
        ("initContainerStatuses", init_containers_of(pod)),
        ("containerStatuses", containers_of(pod)),
        ("ephemeralContainerStatuses", ephemeral_containers_of(pod)),
    )
    for key, specs in groups:
        if specs:
            status[key] = _Statuses(pod, runtime, old.get(key) or [], specs, key, facts, restarting).make()
    by_name = {s["name"]: s for k in ("initContainerStatuses", "containerStatuses") for s in status.get(k, ())}
    _phase(pod, runtime, old, status, by_name, facts)
    _mark_probed(pod, runtime, by_name, facts)
    _conditions(pod, runtime, old, status, by_name, facts, restarting)
    _addresses(pod, runtime, status, facts)
    status["qosClass"] = compute_qos(pod)
    requests = pod_requests(spec_of(pod))
    if requests:
        status["allocatedResources"] = {k: _shown(k, v) for k, v in requests.items()}
    if spec_of(pod).get("resources"):
        status["resources"] = {k: dict(v) for k, v in spec_of(pod)["resources"].items() if v}
    start = (pod.get("status") or {}).get("startTime") or old.get("startTime")
    status["startTime"] = start or to_time(facts.now)
    generation = (pod.get("metadata") or {}).get("generation")
    if generation:
        status["observedGeneration"] = generation
    return status


# -- phase, conditions, addresses ----------------------------------------------------------------------------------------


def _phase(
    pod: Object,
    runtime: RuntimePod,
    old: Mapping[str, Any],
    status: Object,
    by_name: Mapping[str, Object],
    facts: Facts,
) -> None:
    stored = pod.get("status") or {}
    regular = {c["name"] for c in containers_of(pod)}
    begun = any(c.name in regular for c in runtime.active())
    phase = phase_of(pod, by_name, terminal=facts.terminal, initialized=begun)
    ended = next((s.get("phase") for s in (stored, old) if s.get("phase") in (SUCCEEDED, FAILED)), None)
    phase = ended or phase
    if phase == old.get("phase"):
        for key in ("reason", "message"):
            value = old.get(key) or stored.get(key)
            if value:
                status[key] = value
    if facts.override and not ended:
        phase = facts.override.get("phase", phase)
        status.update({k: v for k, v in facts.override.items() if k in ("reason", "message")})
    status["phase"] = phase


def _conditions(
    pod: Object,
    runtime: RuntimePod,
    old: Mapping[str, Any],
    status: Object,
    by_name: Mapping[str, Object],
    facts: Facts,
    restarting: bool,
) -> None:
    stored = (pod.get("status") or {}).get("conditions") or []
    foreign = [c for c in stored if c.get("type") not in cond.OWNED]
    disruption = [c for c in old.get("conditions") or () if c.get("type") == cond.DISRUPTION]
    foreign = [c for c in foreign if c.get("type") != cond.DISRUPTION] + (
        disruption or [c for c in foreign if c.get("type") == cond.DISRUPTION]
    )
    phase = status["phase"]
    containers = cond.containers_ready(pod, by_name, phase)
    owned = [
        *facts.extra_conditions,
        cond.ready_to_start(pod, runtime),
        cond.initialized(pod, by_name, phase, dict(old)),
        cond.ready(pod, containers, foreign),
        containers,
        {"type": cond.SCHEDULED, "status": "True"},
        *cond.restarting_all(pod, phase, restarting and not _reset_done(pod, runtime)),
    ]
    generation = (pod.get("metadata") or {}).get("generation") or 0
    before = {"conditions": [*(old.get("conditions") or ()), *stored]}
    status["conditions"] = [*foreign, *cond.stamped(owned, before, generation, facts.now)]


def _addresses(pod: Object, runtime: RuntimePod, status: Object, facts: Facts) -> None:
    ips = list(runtime.ips)
    if facts.host_ips:
        status["hostIP"] = facts.host_ips[0]
        status["hostIPs"] = [{"ip": ip} for ip in facts.host_ips]
        if uses_host_network(pod) and not ips:
            ips = list(facts.host_ips)
    if not ips:
        # A pod keeps the address that it had when its sandbox goes.
        ips = [entry["ip"] for entry in (pod.get("status") or {}).get("podIPs") or ()]
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]


# -- probes --------------------------------------------------------------------------------------------------------------


def _mark_probed(pod: Object, runtime: RuntimePod, by_name: Mapping[str, Object], facts: Facts) -> None:
    """``started`` and ``ready``: by the probes, or by the state where there is none."""
    for spec in containers_of(pod):
        _mark(spec, by_name.get(spec["name"]), facts.probes)
    for spec in init_containers_of(pod):
        status = by_name.get(spec["name"])
        if status is None:
            continue
        if is_sidecar(spec):
            _mark(spec, status, facts.probes)
        else:
            state = status["state"]
            status["started"] = "running" in state
            status["ready"] = "terminated" in state and state["terminated"].get("exitCode", 0) == 0


def _mark(spec: Object, status: Object | None, probes: Probes) -> None:
    if status is None:
        return
    running = "running" in status["state"]
    identity = status.get("containerID", "").rpartition("//")[2]
    started = running and (not spec.get("startupProbe") or probes.startup.get(identity) == SUCCESS)
    status["started"] = started
    status["ready"] = started and (not spec.get("readinessProbe") or probes.readiness.get(identity) == SUCCESS)


# -- restart of all containers -------------------------------------------------------------------------------------------


def restart_all_wanted(pod: Object, runtime: RuntimePod, old: Mapping[str, Any]) -> bool:
    """Whether some container ended in a way by which its rules ask for all containers to start over."""
    for condition in old.get("conditions") or ():
        if condition.get("type") == cond.RESTARTING and condition.get("status") == "True":
            return not _reset_done(pod, runtime)
    for spec in (*init_containers_of(pod), *containers_of(pod)):
        newest = runtime.find(spec["name"])
        if newest is not None and newest.state == EXITED and restarts_all(spec, newest.exit_code):
            return True
    return False


def _reset_done(pod: Object, runtime: RuntimePod) -> bool:
    names = {c["name"] for c in (*init_containers_of(pod), *containers_of(pod))}
    return not any(c.name in names for c in runtime.containers)


# -- containers ----------------------------------------------------------------------------------------------------------


class _Statuses:
    """The statuses of one group of containers (init, regular, ephemeral), in the order in which the API lists them."""

    def __init__(
        self,
        pod: Object,
        runtime: RuntimePod,
        old: Sequence[Object],
        specs: Sequence[Object],
        key: str,
        facts: Facts,
        restarting: bool,
    ) -> None:
        self._pod, self._runtime, self._specs, self._facts = pod, runtime, specs, facts
        self._init = key == "initContainerStatuses"
        self._ephemeral = key == "ephemeralContainerStatuses"
        self._old = {s["name"]: s for s in old}
        self._restarting = restarting
        self._reason = "PodInitializing" if init_containers_of(pod) else "ContainerCreating"

    def make(self) -> list[Object]:
        found = [self._one(spec) for spec in self._specs]
        return found if self._init else sorted(found, key=lambda s: str(s["name"]))

    def _one(self, spec: Object) -> Object:
        name = spec["name"]
        instances = [c for c in self._runtime.containers if c.name == name][:2]
        old = self._old.get(name)
        if instances:
            status = self._converted(spec, instances[0], old)
            if len(instances) == 2:
                status["lastState"] = self._converted(spec, instances[1], old)["state"]
        else:
            status = self._absent(spec, old)
        self._waiting(spec, status)
        return _ordered(status)

    def _fresh(self, spec: Object) -> Object:
        status: Object = {
            "name": spec["name"],
            "state": {"waiting": {"reason": self._reason}},
            "lastState": {},
            "ready": False,
            "restartCount": 0,
            "image": spec.get("image", ""),
            "imageID": "",
        }
        mounts = _mount_statuses(spec, self._facts.recursive_read_only)
        if mounts:
            status["volumeMounts"] = mounts
        return status

    def _absent(self, spec: Object, old: Object | None) -> Object:
        """The runtime has no instance: never started, or gone without a trace."""
        status = self._fresh(spec)
        if old is None:
            return status
        state = old.get("state") or {}
        if self._restarting and "waiting" not in state:
            message = "The container is removed because RestartAllContainers in place"
            gone = {"reason": RESTARTING_ALL, "message": message}
            status["state"] = {"waiting": dict(gone)}
            status["lastState"] = {"terminated": {"exitCode": 137, "startedAt": None, "finishedAt": None, **gone}}
            status["restartCount"] = old.get("restartCount", 0) + 1
            return status
        if "terminated" in state:
            return dict(old)
        status["restartCount"] = old.get("restartCount", 0)
        status["lastState"] = old.get("lastState") or {}
        if "running" in state and "terminated" not in status["lastState"]:
            message = "The container could not be located when the pod was deleted.  The container used to be Running"
            status["lastState"] = {"terminated": _ended(137, _LOST, message)}
            if (self._pod.get("metadata") or {}).get("deletionTimestamp") is None:
                status["restartCount"] += 1
        return status

    def _converted(self, spec: Object, container: Container, old: Object | None) -> Object:
        status = self._fresh(spec)
        status |= {
            "restartCount": container.restart_count,
            "image": container.image,
            "imageID": container.image_ref,
            "containerID": container.full_id,
        }
        if old is not None:
            self._carry_over(status, container, old)
        status["state"] = self._state(container, status, old)
        if not self._ephemeral:
            _add_resources(spec, container, status, self._facts.actuated.get(container.id))
        if container.user:
            status["user"] = {"linux": _user(container.user)}
        if container.stop_signal not in ("", "RUNTIME_DEFAULT"):
            status["stopSignal"] = container.stop_signal
        return status

    @staticmethod
    def _carry_over(status: Object, container: Container, old: Object) -> None:
        if old.get("volumeMounts"):
            status["volumeMounts"] = old["volumeMounts"]
        status["restartCount"] = max(status["restartCount"], old.get("restartCount", 0))
        ended = (old.get("state") or {}).get("terminated")
        if old.get("containerID") != container.full_id and ended is not None:
            status["lastState"] = {"terminated": ended}
        elif "terminated" in (old.get("lastState") or {}):
            status["lastState"] = old["lastState"]

    def _state(self, container: Container, status: Object, old: Object | None) -> Object:
        before = (old or {}).get("state") or {}
        if container.state == RUNNING:
            if old is not None and "terminated" in before and old.get("restartCount", 0) >= container.restart_count:
                if before["terminated"].get("containerID") != container.full_id:
                    status["restartCount"] = old.get("restartCount", 0) + 1
            return {"running": {"startedAt": to_time(container.started_at)}}
        if container.state == EXITED:
            ended = _ended(container.exit_code, container.reason, container.message)
            ended["startedAt"] = _moment(container.started_at)
            ended["finishedAt"] = _moment(container.finished_at)
            ended["containerID"] = container.full_id
            return {"terminated": ended}
        if container.state == UNKNOWN and "running" in before:
            status["restartCount"] = (old or {}).get("restartCount", 0) + 1
            reason = RESTARTING_ALL if self._restarting else _LOST
            message = "The container could not be located when the pod was terminated"
            return {"terminated": _ended(137, reason, message)}
        return {"waiting": {}}

    def _waiting(self, spec: Object, status: Object) -> None:
        """A container that failed to start, or will be started again after a while, waits and says why."""
        newest = self._runtime.find(spec["name"])
        if self._init:
            if newest is not None and newest.state == EXITED and newest.exit_code == 0 and not is_sidecar(spec):
                return
            begun = any_regular_container_created(self._pod, self._runtime)
            if newest is None and begun and not is_sidecar(spec) and "waiting" in status["state"]:
                message = (
                    "Unable to get init container status from container runtime and pod has been initialized, "
                    "treat it as exited normally"
                )
                status["state"] = {"terminated": _ended(0, "Completed", message)}
                return
        if self._ephemeral and newest is not None and newest.state not in (UNKNOWN, CREATED):
            return
        if not should_be_restarted(spec, self._pod, self._runtime):
            return
        reason = self._facts.reasons.get(spec["name"])
        if reason is None:
            return
        if "terminated" in status["state"]:
            status["lastState"] = status["state"]
        status["state"] = {"waiting": {k: v for k, v in zip(("reason", "message"), reason, strict=True) if v}}


def _shown(name: str, amount: Decimal) -> str:
    return format_quantity(amount, BINARY_SI if name != "cpu" else DECIMAL_SI)


def _ended(code: int, reason: str, message: str) -> Object:
    ended: Object = {"exitCode": code}
    if reason:
        ended["reason"] = reason
    if message:
        ended["message"] = message
    return ended | {"startedAt": None, "finishedAt": None}


def _moment(epoch: float) -> str | None:
    return to_time(epoch) if epoch > 0 else None


def _ordered(status: Object) -> Object:
    """Ephemeral and regular statuses alike, without the fields that are empty."""
    return {k: v for k, v in status.items() if v is not None}


def _user(user: Mapping[str, Any]) -> Object:
    found: Object = {"uid": user.get("uid", 0), "gid": user.get("gid", 0)}
    if user.get("supplemental_groups"):
        found["supplementalGroups"] = list(user["supplemental_groups"])
    return found


def _mount_statuses(spec: Object, recursive_supported: bool) -> list[Object]:
    found = []
    for mount in spec.get("volumeMounts") or ():
        status: Object = {"name": mount["name"], "mountPath": mount.get("mountPath", "")}
        if mount.get("readOnly"):
            wanted = mount.get("recursiveReadOnly")
            recursive = wanted == "Enabled" or (wanted == "IfPossible" and recursive_supported)
            status |= {"readOnly": True, "recursiveReadOnly": "Enabled" if recursive else "Disabled"}
        found.append(status)
    return found


def _add_resources(spec: Object, container: Container, status: Object, actuated: Mapping[str, Any] | None) -> None:
    """``resources`` as they are in force (for CPU and memory what the runtime reports) and ``allocatedResources``."""
    wanted = spec.get("resources") or {}
    found: Object = {k: dict(v) for k, v in wanted.items() if k in ("limits", "requests") and v}
    if container.state == RUNNING:
        for kind, values in found.items():
            for name in ("cpu", "memory"):
                if name in values and name in ((actuated or {}).get(kind) or {}):
                    values[name] = actuated[kind][name]  # type: ignore[index]
        if container.resources:
            _actual(found.get("limits"), found.get("requests"), container.resources)
    # An empty object is shown too: it says that the kubelet reports resources.
    status["resources"] = found
    if found.get("requests"):
        status["allocatedResources"] = dict(wanted["requests"])


def _actual(limits: Object | None, requests: Object | None, actual: Mapping[str, Any]) -> None:
    quota, period = actual.get("cpu_quota", 0), actual.get("cpu_period", 0)
    if limits is not None:
        milli = quota * 1000 // period if quota > 0 and period > 0 else 0
        if milli and "cpu" in limits and max(milli, quantity_milli(limits["cpu"])) > MIN_MILLI_CPU_LIMIT:
            limits["cpu"] = canonical_quantity(f"{milli}m")
        memory = actual.get("memory_limit_in_bytes", 0)
        if memory > 0 and "memory" in limits:
            limits["memory"] = format_quantity(memory, BINARY_SI)
    if requests is not None and "cpu" in requests:
        milli = shares_to_milli_cpu(actual.get("cpu_shares", 0))
        if milli and max(milli, quantity_milli(requests["cpu"])) > MIN_SHARES:
            requests["cpu"] = canonical_quantity(f"{milli}m")
