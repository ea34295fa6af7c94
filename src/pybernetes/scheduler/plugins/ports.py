"""NodePorts: a host port is one pod's at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...api.meta import Object
from ...hooks.scheduling import (
    SKIP,
    Action,
    ClusterEvent,
    CycleState,
    Handle,
    Plugin,
    Resource,
    Rows,
    Scope,
    Status,
    Verdicts,
)
from ..nodetable import NodeTable
from ..requests import host_ports, ports_conflict
from .helpers import unschedulable


class NodePorts(Plugin):
    name = "NodePorts"
    scope = Scope.USAGE

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes

    def pre_filter(self, state: CycleState, pod: Any) -> Status | None:
        return None if pod.facts.ports else SKIP

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        status = unschedulable(self.name, "node(s) didn't have free ports for the requested pod ports")
        taken = np.zeros(self._table.capacity, dtype=np.int16)
        taken[list(self._table.rows_with_ports(pod.facts.ports))] = 1
        return Verdicts(taken[rows], (status,))

    def events(self) -> Iterable[ClusterEvent]:
        return (
            ClusterEvent(Resource.POD, Action.DELETE, _ports_freed),
            ClusterEvent(Resource.NODE, Action.ADD),
        )


def _ports_freed(pod: Any, old: Object | None, new: Object | None) -> bool:
    if old is None or not (old.get("spec") or {}).get("nodeName"):
        return False
    return any(ports_conflict(w, t) for w in pod.facts.ports for t in host_ports(old))
