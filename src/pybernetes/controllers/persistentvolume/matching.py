"""Which volume fits which claim. Pure. Semantics of upstream's ``component-helpers/storage/volume``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from ...api.meta import Object, annotations_of, is_deleting, labels_of, metadata, name_of, namespace_of, uid_of
from ...api.quantity import parse_quantity
from ...api.selectors import selector_from_object

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONER, OLD_PROVISIONER = (
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
)
OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS, OLD_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
WAIT = "WaitForFirstConsumer"


def class_of(obj: Object) -> str:
    """Of a claim or a volume."""
    return annotations_of(obj).get(OLD_CLASS) or (obj.get("spec") or {}).get("storageClassName") or ""


def has_class(claim: Object) -> bool:
    return OLD_CLASS in annotations_of(claim) or (claim.get("spec") or {}).get("storageClassName") is not None


def default_class(classes: Iterable[Object]) -> Object | None:
    """The newest of those that are marked as default."""
    marked = [
        c for c in classes if "true" in (annotations_of(c).get(DEFAULT_CLASS), annotations_of(c).get(OLD_DEFAULT_CLASS))
    ]
    marked.sort(key=name_of)
    marked.sort(key=lambda c: metadata(c).get("creationTimestamp") or "", reverse=True)
    return marked[0] if marked else None


def waits_for_consumer(claim: Object, classes: Mapping[str, Object]) -> bool:
    found = classes.get(class_of(claim))
    return found is not None and found.get("volumeBindingMode") == WAIT


def mode_of(obj: Object) -> str:
    return (obj.get("spec") or {}).get("volumeMode") or "Filesystem"


def modes_fit(claim: Object, volume: Object) -> bool:
    return set(claim["spec"].get("accessModes") or []) <= set(volume["spec"].get("accessModes") or [])


def requested(claim: Object) -> Decimal:
    return parse_quantity(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "0")


def capacity(volume: Object) -> Decimal:
    return parse_quantity((volume["spec"].get("capacity") or {}).get("storage") or "0")


def attributes_class(obj: Object) -> str:
    return (obj.get("spec") or {}).get("volumeAttributesClassName") or ""


def is_reserved_for(volume: Object, claim: Object) -> bool:
    """Whether the volume's claimRef means this claim (one without a uid means any of the name)."""
    reference: dict[str, Any] = volume["spec"].get("claimRef") or {}
    return (
        reference.get("name") == name_of(claim)
        and reference.get("namespace") == namespace_of(claim)
        and reference.get("uid") in (None, "", uid_of(claim))
    )


def mismatch(volume: Object, claim: Object) -> str | None:
    """Why a volume that the claim names cannot be bound to it."""
    if requested(claim) > capacity(volume):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if attributes_class(volume) != attributes_class(claim):
        return "volumeAttributesClassName does not match"
    if mode_of(volume) != mode_of(claim):
        return "incompatible volumeMode"
    if not modes_fit(claim, volume):
        return "incompatible accessMode"
    return None


def best_match(claim: Object, volumes: Iterable[Object], *, delayed: bool) -> Object | None:
    """The smallest that fits; one that is reserved for the claim counts more. ``delayed``: only such a one."""
    selector = claim["spec"].get("selector")
    wanted = selector_from_object(selector) if selector is not None else None
    best: Object | None = None
    for volume in sorted(volumes, key=name_of):
        reserved = is_reserved_for(volume, claim)
        if volume["spec"].get("claimRef") and not reserved:
            continue
        if capacity(volume) < requested(claim) or mode_of(volume) != mode_of(claim) or is_deleting(volume):
            continue
        if attributes_class(volume) != attributes_class(claim) or not modes_fit(claim, volume):
            continue
        if reserved:
            return volume
        if delayed or (volume.get("status") or {}).get("phase") != "Available":
            continue
        if wanted is not None and not wanted.matches(labels_of(volume)):
            continue
        if class_of(volume) != class_of(claim):
            continue
        if best is None or capacity(volume) < capacity(best):
            best = volume
    return best
