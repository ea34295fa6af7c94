"""Distributing endpoints over slices with as few and as small writes as possible. Pure; shared with the mirroring.

The order of preference: leave slices alone, update those that change anyway, fill one that has room, make new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...api.meta import Object, name_of
from ..pods import name_prefix
from ..values import semantic

Endpoint = dict[str, Any]
Identity = tuple[Any, ...]


def identity(endpoint: Endpoint) -> Identity:
    """What makes it the same endpoint, whatever its conditions are."""
    target = endpoint.get("targetRef") or {}
    return (
        tuple(sorted(endpoint.get("addresses") or ())),
        endpoint.get("nodeName") or "",
        target.get("namespace") or "",
        target.get("name") or "",
    )


def ports_key(ports: Iterable[dict[str, Any]] | None) -> tuple[Any, ...]:
    return tuple(
        sorted(
            (p.get("name") or "", p.get("port") or 0, p.get("protocol") or "TCP", p.get("appProtocol") or "")
            for p in ports or ()
        )
    )


def same_endpoint(one: Endpoint, other: Endpoint) -> bool:
    """Beyond identity: conditions, hostname, zone and whose it is."""

    def rest(endpoint: Endpoint) -> Any:
        target = {k: v for k, v in (endpoint.get("targetRef") or {}).items() if k != "resourceVersion"}
        return semantic({**{k: v for k, v in endpoint.items() if k != "hints"}, "targetRef": target})

    return bool(rest(one) == rest(other))


@dataclass(slots=True)
class Changes:
    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)

    def extend(self, other: Changes) -> None:
        self.create += other.create
        self.update += other.update
        self.delete += other.delete


def pack(
    existing: Sequence[Object],
    desired: dict[Identity, Endpoint],
    blank: Object,
    maximum: int,
    labels_changed: Iterable[str] = (),
) -> Changes:
    """``existing`` are the slices with these ports; ``blank`` is a new one. Those named in ``labels_changed`` are written
    anyway. ``blank``'s labels go to every slice that is written."""
    left = dict(desired)
    unchanged: dict[str, Object] = {}
    updated: dict[str, Object] = {}
    changes = Changes()
    labels, relabelled = blank["metadata"]["labels"], set(labels_changed)
    for old in existing:
        kept, altered = _take(old, left)
        if altered and not kept:
            changes.delete.append(old)
        elif altered or name_of(old) in relabelled:
            updated[name_of(old)] = _rewritten(old, kept, labels)
        else:
            unchanged[name_of(old)] = old
    for slice_ in sorted(updated.values(), key=lambda s: -len(s["endpoints"])):
        _fill(slice_, left, maximum)
    while left:
        target = _with_room(unchanged.values(), len(left), maximum)
        if target is None:
            made: Object = {**blank, "endpoints": []}
            _fill(made, left, maximum)
            changes.create.append(made)
        else:
            del unchanged[name_of(target)]
            updated[name_of(target)] = rewritten = _rewritten(target, list(target.get("endpoints") or []), labels)
            _fill(rewritten, left, maximum)
    changes.update = list(updated.values())
    return changes


def _take(old: Object, left: dict[Identity, Endpoint]) -> tuple[list[Endpoint], bool]:
    """The endpoints of a slice that stay, as they are wanted now, and whether anything about them changes."""
    kept, altered = [], False
    for endpoint in old.get("endpoints") or []:
        wanted = left.pop(identity(endpoint), None)
        if wanted is None:
            altered = True
            continue
        if not same_endpoint(wanted, endpoint):
            altered = True
        elif "hints" in endpoint:
            wanted = {**wanted, "hints": endpoint["hints"]}
        kept.append(wanted)
    return kept, altered


def _rewritten(old: Object, endpoints: list[Endpoint], labels: dict[str, str]) -> Object:
    return {**old, "endpoints": endpoints, "metadata": {**old["metadata"], "labels": labels}}


def _fill(slice_: Object, left: dict[Identity, Endpoint], maximum: int) -> None:
    endpoints = slice_["endpoints"]
    for key in list(left)[: max(0, maximum - len(endpoints))]:
        endpoints.append(left.pop(key))


def _with_room(slices: Iterable[Object], count: int, maximum: int) -> Object | None:
    """The fullest slice that all of them fit into."""
    best, best_room = None, maximum
    for slice_ in slices:
        room = maximum - count - len(slice_.get("endpoints") or [])
        if 0 <= room < best_room:
            best, best_room = slice_, room
    return best


def recycle(changes: Changes) -> Changes:
    """Writes what would be made over what would be deleted: one call in place of two."""
    create, update, delete = list(changes.create), list(changes.update), []
    for old in changes.delete:
        at = next((i for i, new in enumerate(create) if new["addressType"] == old["addressType"]), None)
        if at is None:
            delete.append(old)
            continue
        new = create.pop(at)
        meta = {**old["metadata"], "labels": new["metadata"]["labels"]}
        meta["ownerReferences"] = new["metadata"]["ownerReferences"]
        update.append({**old, "metadata": meta, "ports": new["ports"], "endpoints": new["endpoints"]})
    return Changes(create, update, delete)


def blank_slice(
    owner: Object, reference: dict[str, Any], ports: list[dict[str, Any]], address_type: str, labels: dict[str, str]
) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": name_prefix(name_of(owner)),
            "namespace": owner["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [reference],
        },
        "addressType": address_type,
        "ports": ports,
        "endpoints": [],
    }
