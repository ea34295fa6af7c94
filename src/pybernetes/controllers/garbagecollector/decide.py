"""What becomes of one object, given what is known of its owners. Pure. Semantics of upstream's ``attemptToDeleteItem``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...api.meta import Object, finalizers_of, metadata, name_of, namespace_of, owner_references_of, uid_of
from ..commands import Command, Delete, Patch
from .graph import FOREGROUND, ORPHAN, Node, Reference, others


@dataclass(slots=True)
class Owners:
    """An object's references by what became of the owner."""

    solid: list[Reference] = field(default_factory=list)
    dangling: list[Reference] = field(default_factory=list)
    waiting: list[Reference] = field(default_factory=list)
    """The owner is being deleted in the foreground and waits for its dependents."""


def decide(node: Node, obj: Object, owners: Owners, dependents: Sequence[Node]) -> list[Command]:
    """``obj`` is the newest metadata known; every command is bound to its resourceVersion."""
    gone = owners.dangling + owners.waiting
    if owners.solid:
        # Somebody still wants it: only the references to the others go.
        return [_set_owners(node, obj, others(owner_references_of(obj), _uids(gone)))] if gone else []
    if not gone:
        return []
    version = metadata(obj).get("resourceVersion") or ""
    if owners.waiting and dependents:
        commands: list[Command] = []
        if any(d.foreground for d in dependents):
            # A circle of objects that wait for each other would never end: this one does not block its owners any more.
            unblocked = [{**r, "blockOwnerDeletion": False} for r in owner_references_of(obj)]
            if unblocked != owner_references_of(obj):
                return [_set_owners(node, obj, unblocked)]
        commands.append(Delete(node.gvr, obj, propagation="Foreground", resource_version=version))
        return commands
    finalizers = finalizers_of(obj)
    policy = "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"
    return [Delete(node.gvr, obj, propagation=policy, resource_version=version)]


def _uids(references: Sequence[Reference]) -> list[str]:
    return [r.get("uid") or "" for r in references]


def _set_owners(node: Node, obj: Object, references: list[Reference]) -> Patch:
    meta = {"resourceVersion": metadata(obj).get("resourceVersion"), "uid": uid_of(obj)}
    patch = {"metadata": {**meta, "ownerReferences": references or None}}
    return Patch(node.gvr, namespace_of(obj), name_of(obj), patch, unless_missing=True)


def release(node: Node, obj: Object, owner_uid: str) -> list[Command]:
    """Lets a dependent go: its owner is deleted and orphans it."""
    if node.reference_to(owner_uid) is None:
        return []
    return [_set_owners(node, obj, others(owner_references_of(obj), [owner_uid]))]


def without_finalizer(node: Node, obj: Object, finalizer: str) -> list[Command]:
    left = [f for f in finalizers_of(obj) if f != finalizer]
    if len(left) == len(finalizers_of(obj)):
        return []
    meta = {"resourceVersion": metadata(obj).get("resourceVersion"), "uid": uid_of(obj), "finalizers": left or None}
    return [Patch(node.gvr, namespace_of(obj), name_of(obj), {"metadata": meta}, unless_missing=True)]
