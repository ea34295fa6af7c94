"""The graph of ownership, over all resources: fed with events, it says which objects must be looked at.

An owner need not be known for its dependents to be indexed under its uid. That something is absent is only believed when its
deletion was seen, or a live lookup said so (``absent``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...api.meta import Object, finalizers_of, is_deleting, name_of, namespace_of, owner_references_of, uid_of
from ...api.resources import GVR

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_REMEMBERED_ABSENT = 20_000

Reference = dict[str, Any]


class Coordinates(NamedTuple):
    """What an owner reference names; ``namespace`` is empty for cluster-scoped owners."""

    uid: str
    api_version: str
    kind: str
    name: str
    namespace: str


def coordinates_of(reference: Reference, namespace: str) -> Coordinates:
    return Coordinates(
        reference.get("uid") or "",
        reference.get("apiVersion") or "",
        reference.get("kind") or "",
        reference.get("name") or "",
        namespace,
    )


@dataclass(slots=True, eq=False)
class Node:
    """One object that was seen."""

    gvr: GVR
    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    owners: list[Reference]
    deleting: bool = False
    foreground: bool = False
    """It is being deleted and waits for its dependents."""
    orphaning: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def reference_to(self, uid: str) -> Reference | None:
        return next((r for r in self.owners if r.get("uid") == uid), None)

    def is_named_by(self, reference: Reference, namespace: str) -> bool:
        """Whether a reference from an object in ``namespace`` means this node, and may."""
        return (
            reference.get("apiVersion") == self.api_version
            and reference.get("kind") == self.kind
            and reference.get("name") == self.name
            and self.namespace in ("", namespace)
        )


@dataclass(slots=True)
class Wake:
    """Uids to look at: now, after a while (their owner may only be late), and those whose dependents are let go."""

    delete: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    orphan: list[str] = field(default_factory=list)
    invalid_namespace: list[tuple[str, Reference]] = field(default_factory=list)
    """Objects that name an owner in another namespace."""


class Graph:
    """Nodes by uid, and dependents by the uid of their owner."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._dependents: dict[str, dict[str, Node]] = {}
        self._absent: OrderedDict[Coordinates, None] = OrderedDict()

    def dependents(self, uid: str) -> list[Node]:
        return list(self._dependents.get(uid, {}).values())

    def blocking(self, uid: str) -> list[Node]:
        """The dependents that a foreground deletion waits for."""
        return [d for d in self.dependents(uid) if (d.reference_to(uid) or {}).get("blockOwnerDeletion")]

    def note_absent(self, coordinates: Coordinates) -> None:
        self._absent[coordinates] = None
        if len(self._absent) > _REMEMBERED_ABSENT:
            self._absent.popitem(last=False)

    def is_absent(self, reference: Reference, namespace: str) -> bool:
        """Whether the owner is known to be gone, be it namespaced or not."""
        return any(coordinates_of(reference, n) in self._absent for n in {namespace, ""})

    # -- events ----------------------------------------------------------------------------------------------------

    def put(self, gvr: GVR, api_version: str, kind: str, obj: Object) -> Wake:
        """An object was added or changed."""
        uid, wake = uid_of(obj), Wake()
        deleting, finalizers = is_deleting(obj), finalizers_of(obj)
        foreground, orphaning = deleting and FOREGROUND in finalizers, deleting and ORPHAN in finalizers
        owners = owner_references_of(obj)
        node = self.nodes.get(uid)
        if node is None:
            node = Node(gvr, api_version, kind, namespace_of(obj), name_of(obj), uid, [])
            self.nodes[uid] = node
            self._check_dependents(node, wake)
        self._set_owners(node, owners, wake)
        if orphaning and not node.orphaning:
            wake.orphan.append(uid)
        elif foreground and not node.foreground:
            wake.delete += [d.uid for d in self.dependents(uid)]
            wake.delete.append(uid)
        node.deleting, node.foreground, node.orphaning = deleting, foreground, orphaning
        return wake

    def _check_dependents(self, node: Node, wake: Wake) -> None:
        """Those that named this uid before it was seen may have named it wrongly."""
        for dependent in self.dependents(node.uid):
            reference = dependent.reference_to(node.uid) or {}
            if not node.is_named_by(reference, dependent.namespace):
                self._mismatch(node, dependent, reference, wake)

    def _mismatch(self, owner: Node, dependent: Node, reference: Reference, wake: Wake) -> None:
        if owner.namespace and owner.namespace != dependent.namespace:
            wake.invalid_namespace.append((dependent.uid, reference))
        wake.delete.append(dependent.uid)

    def _set_owners(self, node: Node, owners: list[Reference], wake: Wake) -> None:
        old = {r.get("uid") or "": r for r in node.owners}
        new = {r.get("uid") or "": r for r in owners}
        if old == new:
            return
        node.owners = owners
        for uid, reference in old.items():
            if uid not in new:
                self._drop_dependent(uid, node)
            still = (new.get(uid) or {}).get("blockOwnerDeletion")
            if reference.get("blockOwnerDeletion") and not still and uid in self.nodes:
                wake.delete.append(uid)
        for uid, reference in new.items():
            if old.get(uid) == reference:
                continue
            self._dependents.setdefault(uid, {})[node.uid] = node
            owner = self.nodes.get(uid)
            if owner is None:
                wake.later.append(node.uid)
            elif not owner.is_named_by(reference, node.namespace):
                self._mismatch(owner, node, reference, wake)
            elif owner.foreground:
                wake.delete.append(node.uid)

    def _drop_dependent(self, owner_uid: str, node: Node) -> None:
        known = self._dependents.get(owner_uid)
        if known is not None:
            known.pop(node.uid, None)
            if not known:
                del self._dependents[owner_uid]

    def remove(self, uid: str) -> Wake:
        """An object was deleted."""
        wake = Wake()
        node = self.nodes.pop(uid, None)
        if node is None:
            return wake
        dependents = self.dependents(uid)
        if dependents:
            self.note_absent(Coordinates(uid, node.api_version, node.kind, node.name, node.namespace))
            wake.delete += [d.uid for d in dependents]
        for reference in node.owners:
            owner_uid = reference.get("uid") or ""
            self._drop_dependent(owner_uid, node)
            owner = self.nodes.get(owner_uid)
            if owner is not None and owner.foreground:
                wake.delete.append(owner_uid)
        return wake

    def forget_resource(self, gvr: GVR) -> None:
        """A resource is served no more: its objects cannot be looked at."""
        for uid in [n.uid for n in self.nodes.values() if n.gvr == gvr]:
            node = self.nodes.pop(uid)
            for reference in node.owners:
                self._drop_dependent(reference.get("uid") or "", node)

    def validate_state(self) -> None:
        for owner_uid, dependents in self._dependents.items():
            assert dependents, owner_uid
            for uid, node in dependents.items():
                assert self.nodes.get(uid) is node and node.reference_to(owner_uid) is not None, (owner_uid, uid)
        for node in self.nodes.values():
            for reference in node.owners:
                assert node.uid in self._dependents[reference.get("uid") or ""], node


def others(references: Iterable[Reference], uids: Iterable[str]) -> list[Reference]:
    """The references to owners that are not among ``uids``."""
    excluded = set(uids)
    return [r for r in references if r.get("uid") not in excluded]
