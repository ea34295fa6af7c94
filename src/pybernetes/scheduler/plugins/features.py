"""NodeDeclaredFeatures: a pod that needs something new of its kubelet goes where the node declares it (KEP-5328)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...api.meta import Object, uid_of
from ...hooks.scheduling import (
    SKIP,
    Action,
    ClusterEvent,
    CycleState,
    Handle,
    Plugin,
    Resource,
    Rows,
    Status,
    Verdicts,
)
from ..nodetable import NodeTable
from .helpers import unresolvable

RESTART_ALL, HOST_NETWORK_USERS = "RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport"


def needed_features(pod: Object) -> frozenset[str]:
    """What the pod's kubelet must declare."""
    spec = pod.get("spec") or {}
    found = set()
    if spec.get("hostNetwork") and spec.get("hostUsers") is False:
        found.add(HOST_NETWORK_USERS)
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        if any(rule.get("action") == "RestartAllContainers" for rule in container.get("restartPolicyRules") or ()):
            found.add(RESTART_ALL)
    return frozenset(found)


class NodeDeclaredFeatures(Plugin):
    name = "NodeDeclaredFeatures"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes

    def pre_filter(self, state: CycleState, pod: Any) -> Status | None:
        needed = needed_features(pod.object)
        if not needed:
            return SKIP
        state[self.name] = needed
        return None

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        needed = state[self.name]
        at = self._table.indices(rows)
        codes = [0 if needed <= _declared(self._table.objects[row]) else 1 for row in at.tolist()]
        status = unresolvable(self.name, "node(s) didn't match Pod's required features")
        return Verdicts(np.array(codes, dtype=np.int16), (status,))

    def events(self) -> Iterable[ClusterEvent]:
        return (
            ClusterEvent(Resource.NODE, Action.ADD | Action.UPDATE_NODE_FEATURE, _declares_more),
            ClusterEvent(Resource.POD, Action.UPDATE, lambda pod, old, new: new is not None and uid_of(new) == pod.uid),
        )


def _declared(node: Object | None) -> frozenset[str]:
    return frozenset(((node or {}).get("status") or {}).get("declaredFeatures") or ())


def _declares_more(pod: Any, old: Object | None, new: Object | None) -> bool:
    return old is None or _declared(old) != _declared(new)
