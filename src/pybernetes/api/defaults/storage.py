"""Defaults of volumes, claims, classes and CSI objects."""

from __future__ import annotations

from typing import Any

from ..resources import GVK
from .common import Obj, canonical, default, default_text, round_list, round_lists, struct
from .pods import VOLUME_SOURCES, default_claim_spec

_PV_SOURCES = ("hostPath", "rbd", "iscsi", "azureDisk", "scaleIO")


def default_claim(obj: Obj) -> None:
    """A PersistentVolumeClaim, alone or as a StatefulSet's claim template."""
    struct(obj, "metadata")
    default_claim_spec(struct(obj, "spec"))
    status = struct(obj, "status")
    default_text(status, "phase", "Pending")
    round_lists(status, "capacity", "allocatedResources")
    for condition in status.get("conditions") or ():
        condition.setdefault("lastProbeTime", None)
        condition.setdefault("lastTransitionTime", None)


def _default_volume_spec_sources(spec: Obj) -> None:
    round_list(spec.get("capacity"))
    for field in _PV_SOURCES:
        source = spec.get(field)
        if source is not None:
            VOLUME_SOURCES[field](source)


def _default_persistent_volume(obj: Obj) -> None:
    spec = struct(obj, "spec")
    default_text(struct(obj, "status"), "phase", "Pending")
    default_text(spec, "persistentVolumeReclaimPolicy", "Retain")
    default(spec, "volumeMode", "Filesystem")
    _default_volume_spec_sources(spec)


def _default_storage_class(obj: Obj) -> None:
    default(obj, "reclaimPolicy", "Delete")
    default(obj, "volumeBindingMode", "Immediate")


def _default_csi_driver(obj: Obj) -> None:
    spec = struct(obj, "spec")
    default(spec, "attachRequired", True)
    default(spec, "podInfoOnMount", False)
    default(spec, "storageCapacity", False)
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType")
    default_text(spec, "volumeLifecycleModes", ["Persistent"])
    default(spec, "requiresRepublish", False)
    default(spec, "seLinuxMount", False)


def _default_csi_node(obj: Obj) -> None:
    spec = struct(obj, "spec")
    spec.setdefault("drivers", None)
    for driver in spec["drivers"] or ():
        driver.setdefault("topologyKeys", None)


def _default_volume_attachment(obj: Obj) -> None:
    inline = (struct(struct(obj, "spec"), "source")).get("inlineVolumeSpec")
    if inline is not None:
        _default_volume_spec_sources(inline)
    default(struct(obj, "status"), "attached", False)


def _default_storage_capacity(obj: Obj) -> None:
    for field in ("capacity", "maximumVolumeSize"):
        if obj.get(field) is not None:
            obj[field] = canonical(obj[field])


DEFAULTERS: dict[GVK, Any] = {
    GVK("", "v1", "PersistentVolume"): _default_persistent_volume,
    GVK("", "v1", "PersistentVolumeClaim"): default_claim,
    GVK("storage.k8s.io", "v1", "StorageClass"): _default_storage_class,
    GVK("storage.k8s.io", "v1", "CSIDriver"): _default_csi_driver,
    GVK("storage.k8s.io", "v1", "CSINode"): _default_csi_node,
    GVK("storage.k8s.io", "v1", "VolumeAttachment"): _default_volume_attachment,
    GVK("storage.k8s.io", "v1", "CSIStorageCapacity"): _default_storage_capacity,
}
