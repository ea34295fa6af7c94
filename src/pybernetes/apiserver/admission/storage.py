"""Plugins for volumes: DefaultStorageClass, StorageObjectInUseProtection, PersistentVolumeClaimResize."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from ...api.meta import Object, annotations_of, finalizers_of, metadata, name_of
from ...api.quantity import parse_quantity
from ...api.resources import GVR, STORAGE_CLASSES
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes
from .base import Plugin, refuse, spec_of

PROTECTION = {
    ("", "persistentvolumes"): "kubernetes.io/pv-protection",
    ("", "persistentvolumeclaims"): "kubernetes.io/pvc-protection",
    ("storage.k8s.io", "volumeattributesclasses"): "kubernetes.io/vac-protection",
}
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BETA_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def newest(candidates: Iterable[Object]) -> Object | None:
    """The one made last; of those made in one second, the first by name."""
    ordered = sorted(candidates, key=name_of)
    return max(ordered, key=lambda c: metadata(c).get("creationTimestamp") or "", default=None)


def claim_class(claim: Object) -> str | None:
    """The claim's storage class: '' asks for none, None leaves it open."""
    beta = annotations_of(claim).get(BETA_CLASS)
    if beta is not None:
        return beta
    name: str | None = (claim.get("spec") or {}).get("storageClassName")
    return name


class DefaultStorageClass(Plugin):
    """A claim that leaves its class open gets the default one."""

    name = "DefaultStorageClass"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == CREATE and gvr == GVR("", "v1", "persistentvolumeclaims") and not subresource

    async def admit(self, attributes: AdmissionAttributes) -> None:
        claim = attributes.object
        if claim is None or claim_class(claim) is not None:
            return
        marked = (
            c
            for c in self.reader.list(STORAGE_CLASSES)
            if "true" in (annotations_of(c).get(DEFAULT_CLASS), annotations_of(c).get(BETA_DEFAULT_CLASS))
        )
        default = newest(marked)
        if default is not None:
            spec_of(claim)["storageClassName"] = name_of(default)


class StorageObjectInUseProtection(Plugin):
    """Volumes and claims that are in use wait with their deletion: a finalizer that a controller takes away."""

    name = "StorageObjectInUseProtection"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == CREATE and not subresource and (gvr.group, gvr.resource) in PROTECTION

    async def admit(self, attributes: AdmissionAttributes) -> None:
        obj = attributes.object
        if obj is None:
            return
        finalizer = PROTECTION[attributes.gvr.group, attributes.gvr.resource]
        if finalizer not in finalizers_of(obj):
            obj.setdefault("metadata", {})["finalizers"] = [*finalizers_of(obj), finalizer]


class PersistentVolumeClaimResize(Plugin):
    """A claim grows only where its class says that it can."""

    name = "PersistentVolumeClaimResize"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == UPDATE and gvr == GVR("", "v1", "persistentvolumeclaims") and not subresource

    async def validate(self, attributes: AdmissionAttributes) -> None:
        new, old = attributes.object or {}, attributes.old_object or {}
        if _size(new) <= _size(old):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise refuse(attributes, "Only bound persistent volume claims can be expanded")
        name = claim_class(new)
        found = self.reader.get(STORAGE_CLASSES, "", name) if name and name == claim_class(old) else None
        if found is None or not found.get("allowVolumeExpansion"):
            raise refuse(
                attributes,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            )


def _size(claim: Object) -> Decimal:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return parse_quantity(requests.get("storage") or "0")
