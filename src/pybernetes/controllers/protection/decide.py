"""Which finalizer is missing or may go. Pure. Specified by "Storage Object in Use Protection"."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, controller_of, finalizers_of, is_deleting, name_of, uid_of
from ...api.resources import GVR
from ..commands import Command, Update
from ..pods import is_terminal, node_of
from ..values import with_metadata

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
CLASS_FINALIZER = "kubernetes.io/vac-protection"


def uses(pod: Object, claim: Object) -> bool:
    """A pod that ended, or that no node has, uses nothing; one that is being deleted on a node does."""
    if is_terminal(pod) or not node_of(pod):
        return False
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == name_of(claim):
            return True
        if volume.get("ephemeral") and f"{name_of(pod)}-{volume['name']}" == name_of(claim):
            owner = controller_of(claim)
            if owner is not None and owner.get("uid") == uid_of(pod):
                return True
    return False


def is_used(claim: Object, pods: Iterable[Object]) -> bool:
    return any(uses(p, claim) for p in pods)


def with_finalizer(gvr: GVR, obj: Object, finalizer: str) -> list[Command]:
    if finalizer in finalizers_of(obj) or is_deleting(obj):
        return []
    return [_set(gvr, obj, [*finalizers_of(obj), finalizer])]


def without_finalizer(gvr: GVR, obj: Object, finalizer: str) -> list[Command]:
    if finalizer not in finalizers_of(obj) or not is_deleting(obj):
        return []
    return [_set(gvr, obj, [f for f in finalizers_of(obj) if f != finalizer])]


def _set(gvr: GVR, obj: Object, finalizers: list[str]) -> Command:
    # The roles of these controllers allow to update and not to patch.
    return Update(gvr, with_metadata(obj, finalizers=finalizers), unless_missing=True)
