"""In-place resize: what a pod has been given (allocated), what is in force (actuated), and how to get from one to the other.

The spec may ask for other CPU and memory than the node has granted; until it is granted, the pod runs as if the spec still said the
former amounts. Rules and words of upstream's ``pkg/kubelet/allocation`` and ``kuberuntime_manager.go`` (computePodResizeAction).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ...api.quantity import parse_quantity, quantity_milli, quantity_value
from .admission import short_of
from .model import RUNNING, Object, RuntimePod, containers_of, init_containers_of, is_sidecar, is_static, spec_of
from .qos import pod_resources

INFEASIBLE, DEFERRED = "Infeasible", "Deferred"
RESIZE_PENDING, RESIZE_IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
POD = ""
"""The name under which a pod's own (pod-level) resources are kept."""
_RESIZABLE = ("cpu", "memory")

Resources = Mapping[str, Any]
Allocation = dict[str, Resources]
"""Container name -> resources; '' for those of the pod itself."""


def allocation_of(pod: Object) -> Allocation:
    """What the spec asks for."""
    found = {c["name"]: c.get("resources") or {} for c in (*init_containers_of(pod), *containers_of(pod))}
    if spec_of(pod).get("resources"):
        found[POD] = spec_of(pod)["resources"]
    return found


def with_allocation(pod: Object, allocation: Allocation) -> Object:
    """The pod as if its spec asked for ``allocation``."""
    spec = dict(spec_of(pod))
    for key in ("containers", "initContainers"):
        if spec.get(key):
            spec[key] = [{**c, "resources": allocation[c["name"]]} if c["name"] in allocation else c for c in spec[key]]
    if POD in allocation:
        spec["resources"] = allocation[POD]
    return {**pod, "spec": spec}


def _amount(resources: Resources, kind: str, name: str) -> int:
    value = (resources.get(kind) or {}).get(name)
    if value is None:
        return 0
    return quantity_milli(value) if name == "cpu" else quantity_value(value)


def same(one: Resources, other: Resources) -> bool:
    """Whether CPU and memory are the same amounts."""
    pairs = ((kind, name) for kind in ("requests", "limits") for name in _RESIZABLE)
    return all(_amount(one, kind, name) == _amount(other, kind, name) for kind, name in pairs)


def same_allocation(one: Allocation, other: Allocation) -> bool:
    return all(same(one.get(n, {}), other.get(n, {})) for n in {*one, *other})


def recovered(pod: Object) -> Allocation:
    """What the pod had been given when the kubelet last reported of it: for a kubelet that was restarted in between."""
    found = allocation_of(pod)
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for entry in status.get(key) or ():
            name, allocated = entry.get("name"), entry.get("allocatedResources")
            if name not in found or allocated is None or "running" not in (entry.get("state") or {}):
                continue
            spec = found[name]
            if all(_equal(allocated, spec.get("requests") or {}, r) for r in _RESIZABLE):
                continue
            limits = {**(spec.get("limits") or {}), **((entry.get("resources") or {}).get("limits") or {})}
            found[name] = {**spec, "requests": {**(spec.get("requests") or {}), **allocated}, "limits": limits}
    return found


def _equal(one: Resources, other: Resources, name: str) -> bool:
    return parse_quantity(one.get(name, 0)) == parse_quantity(other.get(name, 0))


# -- granting ------------------------------------------------------------------------------------------------------------


def judge(pod: Object, node: Object, others: Sequence[Object]) -> tuple[str, str] | None:
    """Why the pod cannot be given what its spec asks for: (Infeasible or Deferred, message); None where it can."""
    if is_static(pod):
        return INFEASIBLE, "In-place resize of static-pods is not supported"
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    requests = pod_resources(pod, "requests")
    for name in _RESIZABLE:
        asked = requests.get(name)
        limit = parse_quantity(allocatable.get(name, 0))
        if asked is not None and asked > limit:
            scale = 1000 if name == "cpu" else 1
            text = f"Node didn't have enough capacity: {name}, requested: {int(asked * scale)}, capacity: {int(limit * scale)}"
            return INFEASIBLE, text
    short = short_of(pod, node, others)
    return None if short is None else (DEFERRED, short.message)


def pending(reason: str, message: str, generation: int) -> Object:
    return _resize_condition(RESIZE_PENDING, generation, reason, message)


def in_progress(generation: int, message: str = "") -> Object:
    return _resize_condition(RESIZE_IN_PROGRESS, generation, "Error" if message else "", message)


def _resize_condition(kind: str, generation: int, reason: str, message: str) -> Object:
    found: Object = {"type": kind, "status": "True"}
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    if generation:
        found["observedGeneration"] = generation
    return found


def summary(pod: Object, generation: int, error: str = "") -> str:
    """The JSON that upstream puts into the events about a resize."""
    document: Object = {}
    for key in ("initContainers", "containers"):
        if spec_of(pod).get(key):
            document[key] = [{"name": c["name"], "resources": c.get("resources") or {}} for c in spec_of(pod)[key]]
    document["generation"] = generation
    if error:
        document["error"] = error
    return orjson.dumps(document).decode()


# -- putting in force ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """One running container whose resources differ from what it was given."""

    name: str
    container_id: str
    restart: bool
    memory_shrinks: bool


def _restarts(container: Object, wanted: Resources, actual: Resources) -> bool:
    for policy in container.get("resizePolicy") or ():
        name = policy.get("resourceName")
        differs = any(_amount(wanted, k, name) != _amount(actual, k, name) for k in ("requests", "limits"))
        if differs and policy.get("restartPolicy") == "RestartContainer":
            return True
    return False


def _long_lived(pod: Object) -> Iterator[Object]:
    yield from containers_of(pod)
    yield from init_containers_of(pod)


def changes(pod: Object, runtime: RuntimePod, actuated: Mapping[str, Resources]) -> list[Change]:
    """``pod`` as allocated; ``actuated`` by container id (one that is absent is taken to be as it should)."""
    found = []
    for container in _long_lived(pod):
        newest = runtime.find(container["name"])
        if newest is None or newest.state != RUNNING or newest.id not in actuated:
            continue
        wanted, actual = container.get("resources") or {}, actuated[newest.id]
        if same(wanted, actual):
            continue
        init = any(c is container for c in init_containers_of(pod))
        restart = _restarts(container, wanted, actual) and (not init or is_sidecar(container))
        before, after = (_amount(r, "limits", "memory") for r in (actual, wanted))
        found.append(Change(container["name"], newest.id, restart, bool(after) and (not before or after < before)))
    return found
