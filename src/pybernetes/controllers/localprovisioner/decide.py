"""The volume for a claim, and the StorageClass. Pure."""

from __future__ import annotations

from typing import Any

from ...api.meta import Object, annotations_of, name_of, namespace_of, uid_of
from ..persistentvolume.matching import DEFAULT_CLASS, PROVISIONED_BY, PROVISIONER, SELECTED_NODE, WAIT, mode_of

NAME = "pybernetes.io/local"
CLASS_NAME = "standard"
HOSTNAME = "kubernetes.io/hostname"


def storage_class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS_NAME, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": NAME,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": WAIT,
    }


def wants_volume(claim: Object, found: Object | None) -> bool:
    """``found`` is the claim's StorageClass."""
    annotations = annotations_of(claim)
    if annotations.get(PROVISIONER) != NAME or claim["spec"].get("volumeName") or found is None:
        return False
    return found.get("volumeBindingMode") != WAIT or SELECTED_NODE in annotations


def refusal(claim: Object) -> str | None:
    """Why a directory cannot serve this claim."""
    if mode_of(claim) == "Block":
        return "only volumeMode Filesystem is supported"
    if claim["spec"].get("selector") is not None:
        return "claim.Spec.Selector is not supported for dynamic provisioning"
    if "ReadWriteMany" in (claim["spec"].get("accessModes") or []):
        return "a directory of one node cannot be ReadWriteMany"
    return None


def volume_name(claim: Object) -> str:
    return f"pvc-{uid_of(claim)}"


def volume_for(claim: Object, found: Object, node: Object, directory: str) -> Object:
    name = volume_name(claim)
    hostname = (node["metadata"].get("labels") or {}).get(HOSTNAME) or name_of(node)
    term = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [hostname]}]}
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    spec: dict[str, Any] = {
        "accessModes": claim["spec"].get("accessModes") or [],
        "capacity": {"storage": requests.get("storage") or "0"},
        "claimRef": {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "namespace": namespace_of(claim),
            "name": name_of(claim),
            "uid": uid_of(claim),
        },
        "hostPath": {"path": f"{directory}/{name}_{namespace_of(claim)}_{name_of(claim)}", "type": "DirectoryOrCreate"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        "persistentVolumeReclaimPolicy": found.get("reclaimPolicy") or "Delete",
        "storageClassName": name_of(found),
        "volumeMode": "Filesystem",
    }
    if found.get("mountOptions"):
        spec["mountOptions"] = found["mountOptions"]
    meta = {"name": name, "annotations": {PROVISIONED_BY: NAME}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec}


def is_to_be_removed(volume: Object) -> bool:
    return (
        annotations_of(volume).get(PROVISIONED_BY) == NAME
        and (volume.get("status") or {}).get("phase") == "Released"
        and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        and "deletionTimestamp" not in volume["metadata"]
    )
