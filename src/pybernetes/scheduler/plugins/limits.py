"""NodeVolumeLimits: no more volumes of a CSI driver on a node than its CSINode allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...api.meta import Object, name_of, namespace_of
from ...api.resources import CSI_NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
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
from ..claims import VOLUME_ATTACHMENTS, claim_name, class_of
from ..nodetable import NodeTable
from ..podinfo import PodInfo
from .helpers import unresolvable, unschedulable


class NodeVolumeLimits(Plugin):
    name = "NodeVolumeLimits"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes
        self._objects = handle.objects

    def pre_filter(self, state: CycleState, pod: Any) -> Status | None:
        return None if pod.facts.claims else SKIP

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        reasons: list[Status] = [unschedulable(self.name, "node(s) exceed max volume count")]
        indices = self._table.indices(rows)
        codes = np.zeros(len(indices), dtype=np.int16)
        try:
            new = self._volumes_of(pod, strict=True)
        except LookupError as failure:
            return Verdicts(codes + 1, [unresolvable(self.name, str(failure.args[0]))])
        if new:
            attachments = self._attachments()
            for at, row in enumerate(indices.tolist()):
                if self._table.valid[row] and self._exceeds(row, new, attachments):
                    codes[at] = 1
        return Verdicts(codes, reasons)

    def _volumes_of(self, pod: PodInfo, *, strict: bool) -> dict[str, str]:
        """Volume (or claim that will get one) to driver, of CSI volumes. Raises LookupError where a new pod's claim lacks."""
        found: dict[str, str] = {}
        for volume in pod.facts.volumes:
            name = claim_name(pod.object, volume)
            if name is None:
                continue
            claim = self._objects.get(PERSISTENT_VOLUME_CLAIMS, pod.namespace, name)
            if claim is None:
                if strict:
                    raise LookupError(
                        f'looking up PVC {pod.namespace}/{name}: persistentvolumeclaim "{name}" not found'
                    )
                continue
            driver, handle = self._driver_of(claim)
            if driver:
                found[f"{driver}/{handle}"] = driver
        return found

    def _driver_of(self, claim: Object) -> tuple[str, str]:
        volume_name = (claim.get("spec") or {}).get("volumeName")
        volume = self._objects.get(PERSISTENT_VOLUMES, "", volume_name) if volume_name else None
        if volume is not None:
            csi = (volume.get("spec") or {}).get("csi") or {}
            return csi.get("driver") or "", csi.get("volumeHandle") or ""
        storage_class = self._objects.get(STORAGE_CLASSES, "", class_of(claim))
        provisioner = (storage_class or {}).get("provisioner") or ""
        return provisioner, f"claim {namespace_of(claim)}/{name_of(claim)}"

    def _limits(self, node: str) -> dict[str, int]:
        csi_node = self._objects.get(CSI_NODES, "", node)
        drivers = ((csi_node or {}).get("spec") or {}).get("drivers") or ()
        counts = ((d.get("name", ""), (d.get("allocatable") or {}).get("count")) for d in drivers)
        return {name: int(count) for name, count in counts if count is not None}

    def _attachments(self) -> dict[str, dict[str, str]]:
        """Volumes that attachments say are on a node already, pods or not."""
        found: dict[str, dict[str, str]] = {}
        for attachment in self._objects.list(VOLUME_ATTACHMENTS):
            spec = attachment.get("spec") or {}
            volume_name = (spec.get("source") or {}).get("persistentVolumeName")
            volume = self._objects.get(PERSISTENT_VOLUMES, "", volume_name) if volume_name else None
            csi = ((volume or {}).get("spec") or {}).get("csi")
            if csi:
                node = found.setdefault(spec.get("nodeName") or "", {})
                node[f"{csi.get('driver')}/{csi.get('volumeHandle')}"] = csi.get("driver") or ""
        return found

    def _exceeds(self, row: int, new: Mapping[str, str], attachments: Mapping[str, Mapping[str, str]]) -> bool:
        node = self._table.name(row)
        limits = self._limits(node)
        if not limits:
            return False
        present: dict[str, str] = dict(attachments.get(node, {}))
        if self._table.disk_pods.get(row):
            for pod in self._table.pods[row].values():
                present.update(self._volumes_of(pod, strict=False))
        used = Counter(present.values())
        more = Counter(driver for volume, driver in new.items() if volume not in present)
        return any(driver in limits and used[driver] + count > limits[driver] for driver, count in more.items())

    def events(self) -> Iterable[ClusterEvent]:
        return (
            ClusterEvent(Resource.CSI_NODE, Action.ADD),
            ClusterEvent(Resource.CSI_NODE, Action.UPDATE, _limit_raised),
            ClusterEvent(Resource.POD, Action.DELETE, _had_claims),
            ClusterEvent(Resource.PERSISTENT_VOLUME_CLAIM, Action.ADD, _own_claim),
            ClusterEvent(Resource.VOLUME_ATTACHMENT, Action.DELETE),
        )


def _limit_raised(pod: Any, old: Object | None, new: Object | None) -> bool:
    def limits(csi_node: Object | None) -> dict[str, int]:
        drivers = ((csi_node or {}).get("spec") or {}).get("drivers") or ()
        return {d.get("name", ""): int((d.get("allocatable") or {}).get("count") or 0) for d in drivers}

    before = limits(old)
    return any(count > before.get(driver, 0) for driver, count in limits(new).items())


def _had_claims(pod: Any, old: Object | None, new: Object | None) -> bool:
    spec = (old or {}).get("spec") or {}
    if not spec.get("nodeName"):
        return False
    return any("persistentVolumeClaim" in v or "ephemeral" in v for v in spec.get("volumes") or ())


def _own_claim(pod: Any, old: Object | None, new: Object | None) -> bool:
    if new is None or namespace_of(new) != pod.namespace:
        return False
    return any(claim_name(pod.object, v) == name_of(new) for v in pod.facts.volumes)
