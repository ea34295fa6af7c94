"""The next step of a claim or a volume. Pure. Semantics of upstream's ``pkg/controller/volume/persistentvolume``.

Binding takes four writes (the volume's reference, its phase, the claim's, its status): each decision gives the first that is
missing, so it may be interrupted anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...api.meta import Object, annotations_of, metadata, name_of, namespace_of, uid_of
from ...api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from ...client.events import NORMAL, WARNING
from ..commands import Command, Emit, Update
from ..values import with_metadata, with_spec, with_status
from . import matching
from .matching import BIND_COMPLETED, BOUND_BY_CONTROLLER, OLD_PROVISIONER, PROVISIONED_BY, PROVISIONER, SELECTED_NODE


@dataclass(frozen=True, slots=True)
class ClaimSnapshot:
    """``unscheduled`` names pods that use the claim and have no node yet."""

    claim: Object
    volumes: Mapping[str, Object]
    classes: Mapping[str, Object]
    unscheduled: Sequence[str] = ()


# -- claims ------------------------------------------------------------------------------------------------------------


def decide_claim(snapshot: ClaimSnapshot) -> list[Command]:
    if BIND_COMPLETED in annotations_of(snapshot.claim):
        return _bound_claim(snapshot)
    if snapshot.claim["spec"].get("volumeName"):
        return _claim_with_volume(snapshot)
    return _unbound_claim(snapshot)


def _unbound_claim(snapshot: ClaimSnapshot) -> list[Command]:
    claim = snapshot.claim
    delayed = matching.waits_for_consumer(claim, snapshot.classes)
    volume = matching.best_match(claim, snapshot.volumes.values(), delayed=delayed)
    if volume is not None:
        return bind(volume, claim)
    if not matching.has_class(claim):
        default = matching.default_class(snapshot.classes.values())
        if default is not None:
            return [Update(PERSISTENT_VOLUME_CLAIMS, with_spec(claim, storageClassName=name_of(default)))]
    if delayed and SELECTED_NODE not in annotations_of(claim):
        return [_waiting_event(snapshot), *_claim_phase(claim, "Pending", None)]
    if matching.class_of(claim):
        return _provision(snapshot)
    text = "no persistent volumes available for this claim and no storage class is set"
    return [Emit(claim, NORMAL, "FailedBinding", text), *_claim_phase(claim, "Pending", None)]


def _waiting_event(snapshot: ClaimSnapshot) -> Emit:
    if not snapshot.unscheduled:
        text = "waiting for first consumer to be created before binding"
        return Emit(snapshot.claim, NORMAL, "WaitForFirstConsumer", text)
    names = ",".join(snapshot.unscheduled)
    text = f"waiting for pod{'s' if len(snapshot.unscheduled) > 1 else ''} {names} to be scheduled"
    return Emit(snapshot.claim, NORMAL, "WaitForPodScheduled", text)


def _provision(snapshot: ClaimSnapshot) -> list[Command]:
    """All provisioners are outside of this controller: it only names the one that is to act."""
    claim = snapshot.claim
    found = snapshot.classes.get(matching.class_of(claim))
    if found is None:
        text = f'storageclass.storage.k8s.io "{matching.class_of(claim)}" not found'
        return [Emit(claim, WARNING, "ProvisioningFailed", text)]
    provisioner = found.get("provisioner") or ""
    if provisioner.startswith("kubernetes.io/"):
        return [Emit(claim, WARNING, "ProvisioningFailed", f"no volume plugin matched name: {provisioner}")]
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    commands: list[Command] = [Emit(claim, NORMAL, "ExternalProvisioning", text)]
    annotations = annotations_of(claim)
    if annotations.get(PROVISIONER) != provisioner:
        named = {**annotations, PROVISIONER: provisioner, OLD_PROVISIONER: provisioner}
        commands.insert(0, Update(PERSISTENT_VOLUME_CLAIMS, with_metadata(claim, annotations=named)))
    return commands


def _claim_with_volume(snapshot: ClaimSnapshot) -> list[Command]:
    claim = snapshot.claim
    volume = snapshot.volumes.get(claim["spec"]["volumeName"])
    if volume is None:
        return _claim_phase(claim, "Pending", None)
    if not volume["spec"].get("claimRef"):
        why = matching.mismatch(volume, claim)
        if why is None:
            return bind(volume, claim)
        text = f'Cannot bind to requested volume "{name_of(volume)}": {why}'
        return [Emit(claim, WARNING, "VolumeMismatch", text), *_claim_phase(claim, "Pending", None)]
    if matching.is_reserved_for(volume, claim):
        return bind(volume, claim)
    text = f'volume "{name_of(volume)}" already bound to a different claim.'
    return [Emit(claim, WARNING, "FailedBinding", text), *_claim_phase(claim, "Pending", None)]


def _bound_claim(snapshot: ClaimSnapshot) -> list[Command]:
    claim = snapshot.claim
    name = claim["spec"].get("volumeName")
    if not name:
        text = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        return _lost(claim, "ClaimLost", text)
    volume = snapshot.volumes.get(name)
    if volume is None:
        return _lost(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
    reference = volume["spec"].get("claimRef")
    if not reference or reference.get("uid") == uid_of(claim):
        return bind(volume, claim)
    text = "Two claims are bound to the same volume, this one is bound incorrectly"
    return _lost(claim, "ClaimMisbound", text)


def _lost(claim: Object, reason: str, text: str) -> list[Command]:
    if (claim.get("status") or {}).get("phase") == "Lost":
        return []
    return [*_claim_phase(claim, "Lost", None), Emit(claim, WARNING, reason, text)]


def _claim_phase(claim: Object, phase: str, volume: Object | None) -> list[Command]:
    old = claim.get("status") or {}
    new: dict[str, Any] = {**old, "phase": phase}
    if volume is None:
        for field in ("accessModes", "capacity", "currentVolumeAttributesClassName"):
            new.pop(field, None)
    else:
        new["accessModes"] = volume["spec"].get("accessModes") or []
        if old.get("phase") != phase:
            new["capacity"] = volume["spec"].get("capacity") or {}
        attributes = matching.attributes_class(volume)
        if old.get("phase") == "Pending" and attributes:
            new["currentVolumeAttributesClassName"] = attributes
    if new == old:
        return []
    return [Update(PERSISTENT_VOLUME_CLAIMS, with_status(claim, new), "status")]


# -- binding -----------------------------------------------------------------------------------------------------------


def bind(volume: Object, claim: Object) -> list[Command]:
    """The first step that is missing."""
    reserved = _with_reference(volume, claim)
    if reserved is not None:
        return [Update(PERSISTENT_VOLUMES, reserved)]
    if (volume.get("status") or {}).get("phase") != "Bound":
        return _volume_phase(volume, "Bound")
    annotations = annotations_of(claim)
    wanted = dict(annotations)
    if claim["spec"].get("volumeName") != name_of(volume):
        wanted[BOUND_BY_CONTROLLER] = "yes"
    wanted[BIND_COMPLETED] = "yes"
    if wanted != annotations or claim["spec"].get("volumeName") != name_of(volume):
        changed = with_metadata(with_spec(claim, volumeName=name_of(volume)), annotations=wanted)
        return [Update(PERSISTENT_VOLUME_CLAIMS, changed)]
    return _claim_phase(claim, "Bound", volume)


def _with_reference(volume: Object, claim: Object) -> Object | None:
    old = volume["spec"].get("claimRef") or {}
    if old.get("uid") == uid_of(claim):
        return None
    meta = metadata(claim)
    reference = {
        "kind": "PersistentVolumeClaim",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
        "apiVersion": "v1",
        "resourceVersion": meta.get("resourceVersion"),
    }
    changed = with_spec(volume, claimRef=reference)
    if not matching.is_reserved_for(volume, claim):
        annotations = {**annotations_of(volume), BOUND_BY_CONTROLLER: "yes"}
        changed = with_metadata(changed, annotations=annotations)
    return changed


def _volume_phase(volume: Object, phase: str, message: str = "") -> list[Command]:
    old = volume.get("status") or {}
    if old.get("phase") == phase:
        return []
    new = {**old, "phase": phase, "message": message}
    if not message:
        del new["message"]
    return [Update(PERSISTENT_VOLUMES, with_status(volume, new), "status")]


# -- volumes -----------------------------------------------------------------------------------------------------------


def decide_volume(volume: Object, claim: Object | None) -> list[Command]:
    """``claim`` is the one of the volume's claimRef, with the uid that it names; None where there is none (any more)."""
    reference = volume["spec"].get("claimRef")
    if not reference or not reference.get("uid"):
        return _volume_phase(volume, "Available")
    if claim is None:
        return _released(volume)
    wanted = claim["spec"].get("volumeName")
    if not wanted:
        if matching.mode_of(claim) == matching.mode_of(volume):
            return []
        why = "due to incompatible volumeMode."
        to_volume = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{name_of(claim)}" {why}'
        to_claim = f'Cannot bind PersistentVolume "{name_of(volume)}" to requested PersistentVolumeClaim {why}'
        return [
            Emit(volume, WARNING, "VolumeMismatch", to_volume),
            Emit(claim, WARNING, "VolumeMismatch", to_claim),
        ]
    if wanted == name_of(volume):
        return _volume_phase(volume, "Bound")
    if PROVISIONED_BY in annotations_of(volume) and _policy(volume) == "Delete":
        return _released(volume)
    return _unbound(volume)


def _policy(volume: Object) -> str:
    return volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain"


def _released(volume: Object) -> list[Command]:
    if (volume.get("status") or {}).get("phase") not in ("Released", "Failed"):
        return _volume_phase(volume, "Released")
    if PROVISIONED_BY in annotations_of(volume) or (volume.get("status") or {}).get("phase") == "Failed":
        # Who made it takes it away.
        return []
    if _policy(volume) == "Delete":
        text = f'error getting deleter volume plugin for volume "{name_of(volume)}": no deletable volume plugin matched'
        return [*_volume_phase(volume, "Failed", text), Emit(volume, WARNING, "VolumeFailedDelete", text)]
    if _policy(volume) == "Recycle":
        text = "No recycler plugin found for the volume!"
        return [*_volume_phase(volume, "Failed", text), Emit(volume, WARNING, "VolumeFailedRecycle", text)]
    return []


def _unbound(volume: Object) -> list[Command]:
    """Its claim is bound elsewhere: the volume is free again, or keeps what somebody reserved by name."""
    annotations = dict(annotations_of(volume))
    if annotations.pop(BOUND_BY_CONTROLLER, None) is not None:
        spec = {k: v for k, v in volume["spec"].items() if k != "claimRef"}
        return [Update(PERSISTENT_VOLUMES, with_metadata({**volume, "spec": spec}, annotations=annotations))]
    reference = {k: v for k, v in volume["spec"]["claimRef"].items() if k != "uid"}
    return [Update(PERSISTENT_VOLUMES, with_spec(volume, claimRef=reference))]
