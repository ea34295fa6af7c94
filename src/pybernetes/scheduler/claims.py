"""Claims and volumes as the scheduler sees them: which nodes a pod's claims allow, and which volumes would be bound there.

Pure, but for the overlay of what the scheduler has decided and not yet seen back. Specified by "Volume Binding Mode", "Node
Affinity" and "Storage Capacity" of the storage pages; reasons and messages are upstream's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..api.meta import (
    Object,
    annotations_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    owner_references_of,
    resource_version_of,
    uid_of,
)
from ..api.quantity import quantity_value
from ..api.resources import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from .terms import parse_selector

CSI_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers")
CSI_STORAGE_CAPACITIES = GVR("storage.k8s.io", "v1", "csistoragecapacities")
VOLUME_ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments")

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


class ClaimError(Exception):
    """What keeps a pod from every node; the message is shown."""


def claim_name(pod: Object, volume: Mapping[str, Any]) -> str | None:
    """The claim of a pod's volume; an ephemeral volume's is named after pod and volume."""
    claim = volume.get("persistentVolumeClaim")
    if claim:
        return claim.get("claimName") or ""
    return f"{name_of(pod)}-{volume['name']}" if volume.get("ephemeral") is not None else None


def class_of(claim: Object) -> str:
    """The name of a claim's (or volume's) storage class."""
    beta: str | None = annotations_of(claim).get(CLASS_ANNOTATION)
    return beta if beta is not None else (claim.get("spec") or {}).get("storageClassName") or ""


def is_bound(claim: Object) -> bool:
    return bool((claim.get("spec") or {}).get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def requested_bytes(claim: Object) -> int:
    size = (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")
    return quantity_value(size) if size is not None else 0


def capacity_bytes(volume: Object) -> int:
    size = ((volume.get("spec") or {}).get("capacity") or {}).get("storage")
    return quantity_value(size) if size is not None else 0


def bound_to(volume: Object, claim: Object) -> bool:
    reference = (volume.get("spec") or {}).get("claimRef")
    if not reference:
        return False
    if (reference.get("name"), reference.get("namespace")) != (name_of(claim), namespace_of(claim)):
        return False
    return not reference.get("uid") or reference["uid"] == uid_of(claim)


def volume_is_enough(volume: Object, claim: Object) -> bool:
    """Size, mode and attributes: asked also of a volume that is meant for the claim."""
    spec, wanted = volume.get("spec") or {}, claim.get("spec") or {}
    if is_deleting(volume) or capacity_bytes(volume) < requested_bytes(claim):
        return False
    if (spec.get("volumeMode") or "Filesystem") != (wanted.get("volumeMode") or "Filesystem"):
        return False
    return (spec.get("volumeAttributesClassName") or "") == (wanted.get("volumeAttributesClassName") or "")


def volume_suits(volume: Object, claim: Object) -> bool:
    """Whether a free volume could be bound to a claim, nodes left aside."""
    spec, wanted = volume.get("spec") or {}, claim.get("spec") or {}
    if spec.get("claimRef") or (volume.get("status") or {}).get("phase") != "Available":
        return False
    if not volume_is_enough(volume, claim) or class_of(volume) != class_of(claim):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    selector = wanted.get("selector")
    return selector is None or parse_selector(selector).matches(labels_of(volume))


def matches_topologies(terms: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    """A storage class' ``allowedTopologies``: none allow everything."""
    if not terms:
        return True
    return any(
        all(labels.get(e.get("key", "")) in (e.get("values") or ()) for e in t.get("matchLabelExpressions") or ())
        for t in terms
        if t.get("matchLabelExpressions")
    )


@dataclass(slots=True)
class PodClaims:
    """A pod's claims by what is to be done about them."""

    bound: list[Object] = field(default_factory=list)
    immediate: list[Object] = field(default_factory=list)
    delayed: list[Object] = field(default_factory=list)


@dataclass(slots=True)
class NodeVolumes:
    """What would be bound on one node: (volume, claim) pairs, and claims for which volumes would be made."""

    static: list[tuple[Object, Object]] = field(default_factory=list)
    provisioned: list[Object] = field(default_factory=list)


class Volumes:
    """Claims and volumes, with what this scheduler has decided laid over what the API server has told."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects
        self._volumes: dict[str, Object] = {}
        self._claims: dict[str, Object] = {}

    def claim(self, namespace: str, name: str) -> Object | None:
        known: Object | None = self._objects.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        return _newer(self._claims, f"{namespace}/{name}", known)

    def volume(self, name: str) -> Object | None:
        return _newer(self._volumes, name, self._objects.get(PERSISTENT_VOLUMES, "", name))

    def volumes_of_class(self, name: str) -> list[Object]:
        found = []
        for listed in self._objects.list(PERSISTENT_VOLUMES):
            volume = _newer(self._volumes, name_of(listed), listed)
            if volume is not None and class_of(volume) == name:
                found.append(volume)
        return found

    def storage_class(self, name: str) -> Object | None:
        found: Object | None = self._objects.get(STORAGE_CLASSES, "", name)
        return found

    def assume(self, node: str, chosen: NodeVolumes) -> None:
        """From now on the volumes belong to their claims, and the claims to the node."""
        chosen.static = [(_claimed(volume, claim), claim) for volume, claim in chosen.static]
        for volume, _ in chosen.static:
            self._volumes[name_of(volume)] = volume
        chosen.provisioned = [_selected(claim, node) for claim in chosen.provisioned]
        for claim in chosen.provisioned:
            self._claims[key_of(claim)] = claim

    def revert(self, chosen: NodeVolumes) -> None:
        for volume, _ in chosen.static:
            self._volumes.pop(name_of(volume), None)
        for claim in chosen.provisioned:
            self._claims.pop(key_of(claim), None)

    # -- a pod's claims --------------------------------------------------------------------------------------------

    def claims_of(self, pod: Object, volumes: Sequence[Mapping[str, Any]]) -> PodClaims | None:
        """None where the pod has no claims. Raises ClaimError."""
        found = PodClaims()
        seen: set[str] = set()
        for volume in volumes:
            name = claim_name(pod, volume)
            # Two volumes may be of one claim, which needs one volume.
            if name is None or name in seen:
                continue
            seen.add(name)
            claim = self._usable_claim(pod, volume, name)
            if is_bound(claim):
                found.bound.append(claim)
            elif self._is_delayed(claim) and not (claim.get("spec") or {}).get("volumeName"):
                found.delayed.append(claim)
            else:
                found.immediate.append(claim)
        return found if seen else None

    def _usable_claim(self, pod: Object, volume: Mapping[str, Any], name: str) -> Object:
        namespace = namespace_of(pod)
        claim = self.claim(namespace, name)
        ephemeral = "persistentVolumeClaim" not in volume
        if claim is None:
            if ephemeral:
                raise ClaimError(
                    f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
                )
            raise ClaimError(f'persistentvolumeclaim "{name}" not found')
        if (claim.get("status") or {}).get("phase") == "Lost":
            volume_name = (claim.get("spec") or {}).get("volumeName") or ""
            raise ClaimError(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume_name}"')
        if is_deleting(claim):
            raise ClaimError(f'persistentvolumeclaim "{name}" is being deleted')
        if ephemeral and not any(r.get("uid") == uid_of(pod) for r in owner_references_of(claim)):
            raise ClaimError(
                f"PVC {namespace}/{name} was not created for pod {namespace}/{name_of(pod)} (pod is not owner)"
            )
        return claim

    def _is_delayed(self, claim: Object) -> bool:
        found = self.storage_class(class_of(claim))
        return found is not None and found.get("volumeBindingMode") == WAIT_FOR_FIRST_CONSUMER

    # -- capacity --------------------------------------------------------------------------------------------------

    def enough_capacity(self, claim: Object, storage_class: Object, labels: Mapping[str, str]) -> bool:
        """Whether a driver that reports its capacity has room for the claim in the segment of a node."""
        wanted = requested_bytes(claim)
        driver = self._objects.get(CSI_DRIVERS, "", storage_class.get("provisioner") or "")
        if not wanted or driver is None or not (driver.get("spec") or {}).get("storageCapacity"):
            return True
        return any(
            capacity.get("storageClassName") == name_of(storage_class)
            and volume_limit(capacity) >= wanted
            and capacity.get("nodeTopology") is not None
            and parse_selector(capacity["nodeTopology"]).matches(labels)
            for capacity in self._objects.list(CSI_STORAGE_CAPACITIES)
        )


def volume_limit(capacity: Object) -> int:
    """The largest volume that a CSIStorageCapacity promises; -1 where it says nothing."""
    limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
    return quantity_value(limit) if limit is not None else -1


def _newer(overlay: dict[str, Object], key: str, known: Object | None) -> Object | None:
    mine = overlay.get(key)
    if mine is None:
        return known
    if known is None or resource_version_of(known) > resource_version_of(mine):
        del overlay[key]
        return known
    return mine


def _claimed(volume: Object, claim: Object) -> Object:
    reference = {
        **((volume.get("spec") or {}).get("claimRef") or {}),
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "name": name_of(claim),
        "namespace": namespace_of(claim),
        "uid": uid_of(claim),
    }
    meta = {**volume["metadata"], "annotations": {**annotations_of(volume), BOUND_BY_CONTROLLER: "yes"}}
    return {**volume, "metadata": meta, "spec": {**(volume.get("spec") or {}), "claimRef": reference}}


def _selected(claim: Object, node: str) -> Object:
    meta = {**claim["metadata"], "annotations": {**annotations_of(claim), SELECTED_NODE: node}}
    return {**claim, "metadata": meta}
