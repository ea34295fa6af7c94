"""SchedulingGates and PrioritySort: which pods may be scheduled, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...api.meta import Object, uid_of
from ...hooks.scheduling import Action, ClusterEvent, Code, Handle, Plugin, PodView, Resource, Status


class SchedulingGates(Plugin):
    """A pod with gates waits for its owner to remove them ("Pod Scheduling Readiness")."""

    name = "SchedulingGates"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        pass

    def pre_enqueue(self, pod: PodView) -> Status | None:
        gates = [g.get("name", "") for g in (pod.object.get("spec") or {}).get("schedulingGates") or ()]
        if not gates:
            return None
        return Status(Code.UNRESOLVABLE, (f"waiting for scheduling gates: [{' '.join(gates)}]",), self.name)

    def events(self) -> Iterable[ClusterEvent]:
        return (ClusterEvent(Resource.POD, Action.UPDATE_POD_SCHEDULING_GATES, _own_gates),)


def _own_gates(pod: PodView, old: Object | None, new: Object | None) -> bool:
    return new is not None and uid_of(new) == pod.uid


class PrioritySort(Plugin):
    """Higher priority first, then who waits longest."""

    name = "PrioritySort"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        pass

    def sort_key(self, pod: PodView, queued_at: float) -> Any:
        return (-pod.priority, queued_at)

    def events(self) -> Iterable[ClusterEvent]:
        return ()
