"""VolumeZone: a volume with zone or region labels wants its pod there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...api.meta import Object, labels_of, name_of, namespace_of
from ...api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
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
from ..claims import WAIT_FOR_FIRST_CONSUMER, class_of
from ..nodetable import NodeTable
from .helpers import refused_where, unresolvable

_OLD = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
LABELS = (*_OLD, *_OLD.values())
Topology = tuple[str, frozenset[str]]
"""(label key, allowed values)"""


def volume_topologies(volume: Object) -> list[Topology]:
    """A label of several zones has them joined by ``__``; one with an empty zone is broken and ignored."""
    found = []
    for key in LABELS:
        if key in labels_of(volume):
            values = [v.strip() for v in labels_of(volume)[key].split("__")]
            if all(values):
                found.append((key, frozenset(values)))
    return found


class VolumeZone(Plugin):
    name = "VolumeZone"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes
        self._objects = handle.objects

    def pre_filter(self, state: CycleState, pod: Any) -> Status | None:
        found: list[Topology] = []
        for volume in pod.facts.volumes:
            reference = volume.get("persistentVolumeClaim")
            if reference:
                topologies = self._of_claim(pod.namespace, reference.get("claimName") or "")
                if isinstance(topologies, Status):
                    return topologies
                found += topologies
        if not found:
            return SKIP
        state[self.name] = found
        return None

    def _of_claim(self, namespace: str, name: str) -> Status | list[Topology]:
        if not name:
            return unresolvable(self.name, "PersistentVolumeClaim had no name")
        claim = self._objects.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        if claim is None:
            return unresolvable(self.name, f'persistentvolumeclaim "{name}" not found')
        volume_name = (claim.get("spec") or {}).get("volumeName")
        if volume_name:
            volume = self._objects.get(PERSISTENT_VOLUMES, "", volume_name)
            if volume is None:
                return unresolvable(self.name, f'persistentvolume "{volume_name}" not found')
            return volume_topologies(volume)
        class_name = class_of(claim)
        if not class_name:
            return unresolvable(self.name, "PersistentVolumeClaim had no pv name and storageClass name")
        storage_class = self._objects.get(STORAGE_CLASSES, "", class_name)
        if storage_class is None:
            return unresolvable(self.name, f'storageclass.storage.k8s.io "{class_name}" not found')
        mode = storage_class.get("volumeBindingMode")
        if not mode:
            return unresolvable(self.name, f'VolumeBindingMode not set for StorageClass "{class_name}"')
        if mode == WAIT_FOR_FIRST_CONSUMER:
            return []
        return unresolvable(self.name, "PersistentVolume had no name")

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        size = self._table.size(rows)
        refused, constrained = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        for key in LABELS:
            constrained |= self._table.labels(key).ids[rows] >= 0
        for key, values in state[self.name]:
            allowed = np.zeros(size, dtype=bool)
            present = self._table.labels(key).ids[rows] >= 0
            for value in values:
                allowed |= self._table.labels(key).equals(value, rows)
                if key in _OLD:
                    allowed |= ~present & self._table.labels(_OLD[key]).equals(value, rows)
            refused |= ~allowed
        # A node without any zone or region is not a matter of zones.
        return refused_where(refused & constrained, unresolvable(self.name, "node(s) had no available volume zone"))

    def events(self) -> Iterable[ClusterEvent]:
        both = Action.ADD | Action.UPDATE
        return (
            ClusterEvent(Resource.STORAGE_CLASS, Action.ADD, _waits),
            ClusterEvent(Resource.NODE, Action.ADD | Action.UPDATE_NODE_LABEL),
            ClusterEvent(Resource.PERSISTENT_VOLUME_CLAIM, both, _own_claim),
            ClusterEvent(Resource.PERSISTENT_VOLUME, both, _topology_changed),
        )


def _waits(pod: Any, old: Object | None, new: Object | None) -> bool:
    return new is not None and new.get("volumeBindingMode") == WAIT_FOR_FIRST_CONSUMER


def _own_claim(pod: Any, old: Object | None, new: Object | None) -> bool:
    if new is None or namespace_of(new) != pod.namespace:
        return False
    return any((v.get("persistentVolumeClaim") or {}).get("claimName") == name_of(new) for v in pod.facts.volumes)


def _topology_changed(pod: Any, old: Object | None, new: Object | None) -> bool:
    return old is None or new is None or volume_topologies(old) != volume_topologies(new)
