"""Claiming: a controller owns what its selector matches; it adopts orphans that match and releases what matches no more.

Specified by "Controllers' Adoption and Release" in the API conventions; semantics of upstream's ControllerRefManager.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object, controller_of, is_deleting, labels_of, name_of, namespace_of, uid_of
from ..api.resources import GVR
from ..api.selectors import LabelSelector
from ..client.rest import STRATEGIC_MERGE_PATCH
from .runtime import Controller, is_status


@dataclass(slots=True)
class Claims:
    claimed: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def sort_out(owner: Object, selector: LabelSelector, candidates: Iterable[Object]) -> Claims:
    """Who belongs to ``owner`` already, who is to be adopted, who to be let go."""
    claims = Claims()
    owner_uid, owner_deleting = uid_of(owner), is_deleting(owner)
    for obj in candidates:
        reference = controller_of(obj)
        matches = selector.matches(labels_of(obj))
        if reference is not None:
            if reference.get("uid") != owner_uid:
                continue
            if matches:
                claims.claimed.append(obj)
            elif not owner_deleting:
                claims.release.append(obj)
        elif matches and not owner_deleting and not is_deleting(obj) and namespace_of(obj) == namespace_of(owner):
            claims.adopt.append(obj)
    return claims


def adoption_patch(obj: Object, reference: dict[str, Any], finalizers: Iterable[str] = ()) -> Object:
    """The uid makes the patch fail on another object of the same name."""
    metadata: dict[str, Any] = {"ownerReferences": [reference], "uid": uid_of(obj)}
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    return {"metadata": metadata}


def release_patch(obj: Object, owner_uid: str, finalizers: Iterable[str] = ()) -> Object:
    metadata: dict[str, Any] = {"ownerReferences": [{"$patch": "delete", "uid": owner_uid}], "uid": uid_of(obj)}
    if finalizers:
        metadata["$deleteFromPrimitiveList/finalizers"] = list(finalizers)
    return {"metadata": metadata}


async def claim(
    controller: Controller,
    owner: Object,
    owner_gvr: GVR,
    reference: dict[str, Any],
    gvr: GVR,
    selector: LabelSelector,
    candidates: Iterable[Object],
    finalizers: Iterable[str] = (),
) -> list[Object]:
    """Adopts and releases by patch, and gives what the owner has then."""
    claims = sort_out(owner, selector, candidates)
    if claims.adopt and await _may_adopt(controller, owner, owner_gvr):
        for obj in claims.adopt:
            try:
                adopted = await controller.writer.patch(
                    gvr,
                    name_of(obj),
                    adoption_patch(obj, reference, finalizers),
                    namespace_of(obj),
                    patch_type=STRATEGIC_MERGE_PATCH,
                )
            except StatusError as failure:
                if failure.reason != "NotFound":
                    raise
                continue
            claims.claimed.append(adopted)
    for obj in claims.release:
        try:
            await controller.writer.patch(
                gvr,
                name_of(obj),
                release_patch(obj, uid_of(owner), finalizers),
                namespace_of(obj),
                patch_type=STRATEGIC_MERGE_PATCH,
            )
        except StatusError as failure:
            # Gone, or another object of that name: nothing of ours to let go.
            if not is_status(failure, "NotFound", "Invalid"):
                raise
    return claims.claimed


async def _may_adopt(controller: Controller, owner: Object, gvr: GVR) -> bool:
    """Asks the server, not the copy: an owner that is being deleted must not gain dependents."""
    try:
        fresh = await controller.client.get(gvr, name_of(owner), namespace_of(owner))
    except StatusError as failure:
        if failure.reason == "NotFound":
            return False
        raise
    return uid_of(fresh) == uid_of(owner) and not is_deleting(fresh)
