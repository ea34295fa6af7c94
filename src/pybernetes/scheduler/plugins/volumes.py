"""VolumeRestrictions and VolumeBinding: disks that exclude each other, and claims that must be, or will be, bound."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...api.meta import Object, annotations_of, labels_of, name_of, namespace_of, resource_version_of
from ...api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from ...hooks.scheduling import (
    SKIP,
    Action,
    ClusterEvent,
    Code,
    CycleState,
    Handle,
    Plugin,
    Resource,
    Rows,
    Status,
    Verdicts,
)
from ..claims import (
    BOUND_BY_CONTROLLER,
    NO_PROVISIONER,
    SELECTED_NODE,
    ClaimError,
    NodeVolumes,
    PodClaims,
    Volumes,
    bound_to,
    capacity_bytes,
    claim_name,
    class_of,
    is_bound,
    is_deleting,
    matches_topologies,
    requested_bytes,
    volume_is_enough,
    volume_limit,
    volume_suits,
)
from ..columns import Array
from ..nodeaffinity import NodeSelection
from ..nodetable import NodeTable
from .disks import conflicts, may_conflict
from .helpers import unresolvable, unschedulable
from .node import select_nodes

BIND_TIMEOUT_SECONDS = 600
NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
BIND_CONFLICT = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


def volume_selection(volume: Object) -> NodeSelection:
    return NodeSelection.of(None, ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required"))


class VolumeRestrictions(Plugin):
    name = "VolumeRestrictions"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes
        self._objects = handle.objects

    def pre_filter(self, state: CycleState, pod: Any) -> Status | None:
        if not pod.facts.volumes:
            return SKIP
        exclusive = 0
        for volume in pod.facts.volumes:
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if not name:
                continue
            claim = self._objects.get(PERSISTENT_VOLUME_CLAIMS, pod.namespace, name)
            if claim is None:
                return unresolvable(self.name, f'persistentvolumeclaim "{name}" not found')
            if "ReadWriteOncePod" in ((claim.get("spec") or {}).get("accessModes") or ()):
                exclusive += self._table.claims.get(f"{pod.namespace}/{name}", 0)
        disks = [v for v in pod.facts.volumes if may_conflict(v)]
        if not disks and not exclusive:
            return SKIP
        state[self.name] = (disks, exclusive)
        return None

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        disks, exclusive = state[self.name]
        reasons = (
            unschedulable(self.name, "node(s) had no available disk"),
            unschedulable(
                self.name,
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by "
                "another pod",
            ),
        )
        indices = self._table.indices(rows)
        codes = np.full(len(indices), 2 if exclusive else 0, dtype=np.int16)
        if disks:
            for at, row in enumerate(indices):
                if self._table.disk_pods.get(int(row)) and any(
                    conflicts(v, other.facts.volumes) for other in self._table.pods[row].values() for v in disks
                ):
                    codes[at] = 1
        return Verdicts(codes, reasons)

    def events(self) -> Iterable[ClusterEvent]:
        return (
            ClusterEvent(Resource.POD, Action.DELETE, _disk_freed),
            ClusterEvent(Resource.NODE, Action.ADD),
            ClusterEvent(Resource.PERSISTENT_VOLUME_CLAIM, Action.ADD, _own_claim),
        )


def _disk_freed(pod: Any, old: Object | None, new: Object | None) -> bool:
    if old is None or namespace_of(old) != pod.namespace:
        return False
    volumes = (old.get("spec") or {}).get("volumes") or ()
    if any(conflicts(v, volumes) for v in pod.facts.volumes if may_conflict(v)):
        return True
    claims = {(v.get("persistentVolumeClaim") or {}).get("claimName") for v in volumes} - {None}
    return any((v.get("persistentVolumeClaim") or {}).get("claimName") in claims for v in pod.facts.volumes)


def _own_claim(pod: Any, old: Object | None, new: Object | None) -> bool:
    if new is None or namespace_of(new) != pod.namespace:
        return False
    return any(claim_name(pod.object, v) == name_of(new) for v in pod.facts.volumes)


class VolumeBinding(Plugin):
    """Chooses volumes with the node, and binds them before the pod."""

    name = "VolumeBinding"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._handle = handle
        self._table: NodeTable = handle.nodes
        self._volumes = Volumes(handle.objects)
        timeout = args.get("bindTimeoutSeconds")
        self._timeout = BIND_TIMEOUT_SECONDS if timeout is None else int(timeout)

    # -- filter ----------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: Any) -> Status | None:
        if not pod.facts.volumes:
            return SKIP
        try:
            claims = self._volumes.claims_of(pod.object, pod.facts.volumes)
        except ClaimError as failure:
            return unresolvable(self.name, str(failure))
        if claims is None:
            return SKIP
        if claims.immediate:
            return unresolvable(self.name, "pod has unbound immediate PersistentVolumeClaims")
        state[self.name] = (claims, {})
        return None

    def filter(self, state: CycleState, pod: Any, rows: Rows) -> Verdicts:
        claims, chosen = state[self.name]
        indices = self._table.indices(rows)
        reasons: dict[int, list[str]] = {}
        self._check_bound(claims, rows, indices, reasons)
        if claims.delayed:
            candidates = self._candidates(claims, indices)
            for row in indices.tolist():
                if self._table.valid[row]:
                    self._choose(row, claims, candidates, chosen, reasons)
        return _verdicts(indices, reasons, self.name)

    def _check_bound(self, claims: PodClaims, rows: Rows, indices: Array, reasons: dict[int, list[str]]) -> None:
        for claim in claims.bound:
            volume = self._volumes.volume(claim["spec"]["volumeName"])
            if volume is None:
                for row in indices.tolist():
                    reasons.setdefault(row, []).append(NO_VOLUME)
                return
            for row in indices[~select_nodes(self._table, volume_selection(volume), rows)].tolist():
                if NODE_CONFLICT not in reasons.setdefault(row, []):
                    reasons[row].append(NODE_CONFLICT)

    def _candidates(self, claims: PodClaims, indices: Array) -> list[tuple[Object, dict[int, list[Object]]]]:
        """For each claim without a selected node, smallest first: the volumes it could have on each row, best first."""
        found = []
        searching = [c for c in claims.delayed if SELECTED_NODE not in annotations_of(c)]
        for claim in sorted(searching, key=requested_bytes):
            volumes = self._volumes.volumes_of_class(class_of(claim))
            own = [v for v in volumes if bound_to(v, claim) and volume_is_enough(v, claim)]
            suiting = own[:1] or sorted((v for v in volumes if volume_suits(v, claim)), key=capacity_bytes)
            by_row: dict[int, list[Object]] = {}
            for volume in suiting:
                for row in indices[select_nodes(self._table, volume_selection(volume), indices)].tolist():
                    by_row.setdefault(row, []).append(volume)
            found.append((claim, by_row))
        return found

    def _choose(
        self,
        row: int,
        claims: PodClaims,
        candidates: Sequence[tuple[Object, dict[int, list[Object]]]],
        chosen: dict[int, NodeVolumes],
        reasons: dict[int, list[str]],
    ) -> None:
        node = self._table.name(row)
        selected = [c for c in claims.delayed if SELECTED_NODE in annotations_of(c)]
        if any(annotations_of(c)[SELECTED_NODE] != node for c in selected):
            reasons.setdefault(row, []).append(BIND_CONFLICT)
            return
        result, taken = NodeVolumes(provisioned=list(selected)), set()
        for claim, by_row in candidates:
            volume = next((v for v in by_row.get(row, ()) if name_of(v) not in taken), None)
            if volume is None:
                result.provisioned.append(claim)
            else:
                taken.add(name_of(volume))
                result.static.append((volume, claim))
        problem = self._provisioning_problem(row, result.provisioned)
        if problem:
            reasons.setdefault(row, []).append(problem)
        else:
            chosen[row] = result

    def _provisioning_problem(self, row: int, claims: Sequence[Object]) -> str:
        labels = labels_of(self._table.objects[row] or {})
        for claim in claims:
            storage_class = self._volumes.storage_class(class_of(claim))
            if storage_class is None or (storage_class.get("provisioner") or NO_PROVISIONER) == NO_PROVISIONER:
                return BIND_CONFLICT
            if not matches_topologies(storage_class.get("allowedTopologies") or (), labels):
                return BIND_CONFLICT
            if not self._volumes.enough_capacity(claim, storage_class, labels):
                return NO_SPACE
        return ""

    # -- reserve and bind ------------------------------------------------------------------------------------------

    def _chosen(self, state: CycleState, node: str) -> NodeVolumes | None:
        row = self._table.row(node)
        kept = state.get(self.name)
        found: NodeVolumes | None = kept[1].get(row) if kept is not None and row is not None else None
        return found

    def reserve(self, state: CycleState, pod: Any, node: str) -> Status | None:
        chosen = self._chosen(state, node)
        if chosen is not None:
            self._volumes.assume(node, chosen)
            state[self.name, "reserved"] = chosen
        return None

    def unreserve(self, state: CycleState, pod: Any, node: str) -> None:
        chosen = state.pop((self.name, "reserved"), None)
        if chosen is not None:
            self._volumes.revert(chosen)

    async def pre_bind(self, state: CycleState, pod: Any, node: str) -> Status | None:
        chosen: NodeVolumes | None = state.get((self.name, "reserved"))
        if chosen is None or not (chosen.static or chosen.provisioned):
            return None
        written = await self._write(chosen, node)
        changed = asyncio.Event()
        ends = [
            self._handle.objects.subscribe(gvr, changed.set)
            for gvr in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS)
        ]
        try:
            async with self._handle.clock.timeout(self._timeout):
                while True:
                    changed.clear()
                    problem = self._binding_problem(pod, chosen, node, written)
                    if problem is None:
                        return None
                    if problem:
                        return Status(Code.ERROR, (f"binding volumes: {problem}",), self.name)
                    await changed.wait()
        except TimeoutError:
            return Status(Code.ERROR, ("binding volumes: context deadline exceeded",), self.name)
        finally:
            for end in ends:
                end()

    async def _write(self, chosen: NodeVolumes, node: str) -> dict[str, int]:
        """Writes what was chosen; the resourceVersions from which on a claim tells about it."""
        client, versions = self._handle.client, {}
        for volume, _ in chosen.static:
            patch = {
                "metadata": {
                    "resourceVersion": volume["metadata"].get("resourceVersion"),
                    "annotations": {BOUND_BY_CONTROLLER: "yes"},
                },
                "spec": {"claimRef": volume["spec"]["claimRef"]},
            }
            answer = await client.patch(PERSISTENT_VOLUMES, name_of(volume), patch)
            versions[name_of(volume)] = resource_version_of(answer)
        for claim in chosen.provisioned:
            patch = {
                "metadata": {
                    "resourceVersion": claim["metadata"].get("resourceVersion"),
                    "annotations": {SELECTED_NODE: node},
                }
            }
            answer = await client.patch(PERSISTENT_VOLUME_CLAIMS, name_of(claim), patch, namespace_of(claim))
            versions[f"{namespace_of(claim)}/{name_of(claim)}"] = resource_version_of(answer)
        return versions

    def _binding_problem(self, pod: Any, chosen: NodeVolumes, node: str, versions: Mapping[str, int]) -> str | None:
        """None: all bound; empty: not yet; else why they never will be."""
        objects = self._handle.objects
        if self._table.row(node) is None:
            return f'failed to get node "{node}": node "{node}" not found'
        if objects.get(PODS, pod.namespace, pod.name) is None:
            return f'pod does not exist any more: pod "{pod.name}" not found'
        waiting = False
        for volume, claim in chosen.static:
            known = objects.get(PERSISTENT_VOLUMES, "", name_of(volume))
            if known is None:
                return f'failed to check binding: could not find pv "{name_of(volume)}"'
            if resource_version_of(known) >= versions[name_of(volume)] and not (
                ((known.get("spec") or {}).get("claimRef") or {}).get("uid")
            ):
                return f'ClaimRef got reset for pv "{name_of(volume)}"'
            current = objects.get(PERSISTENT_VOLUME_CLAIMS, namespace_of(claim), name_of(claim))
            if current is None:
                return f'failed to check binding: could not find pvc "{namespace_of(claim)}/{name_of(claim)}"'
            waiting = waiting or not is_bound(current)
        for claim in chosen.provisioned:
            key = f"{namespace_of(claim)}/{name_of(claim)}"
            current = objects.get(PERSISTENT_VOLUME_CLAIMS, namespace_of(claim), name_of(claim))
            if current is None or is_deleting(current):
                return f'failed to check provisioning pvc: could not find v1.PersistentVolumeClaim "{key}"'
            if resource_version_of(current) < versions[key]:
                waiting = True
            elif annotations_of(current).get(SELECTED_NODE) != node:
                return f'provisioning failed for PVC "{name_of(claim)}"'
            waiting = waiting or not is_bound(current)
        return "" if waiting else None

    # -- what may help ---------------------------------------------------------------------------------------------

    def events(self) -> Iterable[ClusterEvent]:
        nodes = Action.ADD | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_TAINT
        return (
            ClusterEvent(Resource.STORAGE_CLASS, Action.ADD | Action.UPDATE, _class_changed),
            ClusterEvent(Resource.PERSISTENT_VOLUME_CLAIM, Action.ADD | Action.UPDATE, _own_claim),
            ClusterEvent(Resource.PERSISTENT_VOLUME, Action.ADD | Action.UPDATE),
            ClusterEvent(Resource.NODE, nodes),
            ClusterEvent(Resource.CSI_NODE, Action.ADD | Action.UPDATE),
            ClusterEvent(Resource.CSI_DRIVER, Action.UPDATE),
            ClusterEvent(Resource.CSI_STORAGE_CAPACITY, Action.ADD | Action.UPDATE, _more_capacity),
        )


def _class_changed(pod: Any, old: Object | None, new: Object | None) -> bool:
    return old is None or new is None or old.get("allowedTopologies") != new.get("allowedTopologies")


def _more_capacity(pod: Any, old: Object | None, new: Object | None) -> bool:
    return old is None or new is None or volume_limit(new) > volume_limit(old)


def _verdicts(indices: Array, reasons: Mapping[int, Sequence[str]], plugin: str) -> Verdicts:
    codes = np.zeros(len(indices), dtype=np.int16)
    known: dict[tuple[str, ...], int] = {}
    for at, row in enumerate(indices.tolist()):
        if row in reasons:
            codes[at] = known.setdefault(tuple(reasons[row]), len(known) + 1)
    return Verdicts(codes, [unresolvable(plugin, *texts) for texts in known])
