"""What a change of a node or a pod means to pods that wait: upstream's cluster events. Pure."""

from __future__ import annotations

from ..api.meta import Object, annotations_of, labels_of
from ..hooks.scheduling import Action, Resource
from .queue import Change
from .requests import pod_requests


def is_over(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def node_of(pod: Object) -> str:
    return (pod.get("spec") or {}).get("nodeName") or ""


def nominated_node(pod: Object) -> str:
    return (pod.get("status") or {}).get("nominatedNodeName") or ""


def node_changes(old: Object, new: Object) -> list[Change]:
    """One change a property that may matter; none for heartbeats."""
    actions = []
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if bool(before.get("unschedulable")) != bool(after.get("unschedulable")) or before.get("taints") != after.get(
        "taints"
    ):
        actions.append(Action.UPDATE_NODE_TAINT)
    was, now = old.get("status") or {}, new.get("status") or {}
    if was.get("allocatable") != now.get("allocatable"):
        actions.append(Action.UPDATE_NODE_ALLOCATABLE)
    if labels_of(old) != labels_of(new):
        actions.append(Action.UPDATE_NODE_LABEL)
    if annotations_of(old) != annotations_of(new):
        actions.append(Action.UPDATE_NODE_ANNOTATION)
    if _conditions(was) != _conditions(now):
        actions.append(Action.UPDATE_NODE_CONDITION)
    if was.get("declaredFeatures") != now.get("declaredFeatures"):
        actions.append(Action.UPDATE_NODE_FEATURE)
    return [Change(Resource.NODE, action, old, new) for action in actions]


def _conditions(status: Object) -> dict[str, str]:
    return {c.get("type", ""): c.get("status", "") for c in status.get("conditions") or ()}


def pod_changes(old: Object, new: Object) -> list[Change]:
    """What changed of a pod, placed or waiting."""
    actions = []
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if labels_of(old) != labels_of(new):
        actions.append(Action.UPDATE_POD_LABEL)
    if _resources(old) != _resources(new) and _smaller(old, new):
        actions.append(Action.UPDATE_POD_SCALE_DOWN)
    if before.get("tolerations") != after.get("tolerations"):
        actions.append(Action.UPDATE_POD_TOLERATIONS)
    if before.get("schedulingGates") and not after.get("schedulingGates"):
        actions.append(Action.UPDATE_POD_SCHEDULING_GATES)
    return [Change(Resource.POD, action, old, new) for action in actions or (Action.UPDATE_OTHER,)]


def _resources(pod: Object) -> tuple[object, ...]:
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return (spec.get("resources"), *(c.get("resources") for c in containers))


def _smaller(old: Object, new: Object) -> bool:
    before, after = pod_requests(old), pod_requests(new)
    return any(after.get(name, 0) < value for name, value in before.items())


def matters_to_waiting(old: Object, new: Object) -> bool:
    """Whether a waiting pod changed in anything but its status and bookkeeping."""
    return (
        old.get("spec") != new.get("spec")
        or labels_of(old) != labels_of(new)
        or annotations_of(old) != annotations_of(new)
        or _deleting(old) != _deleting(new)
    )


def _deleting(pod: Object) -> bool:
    return (pod.get("metadata") or {}).get("deletionTimestamp") is not None
