"""Volumes of the old in-tree kinds, which two pods of one node cannot both have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Volume = Mapping[str, Any]
_KINDS = ("gcePersistentDisk", "awsElasticBlockStore", "rbd", "iscsi")


def may_conflict(volume: Volume) -> bool:
    return any(volume.get(kind) for kind in _KINDS)


def conflicts(volume: Volume, others: Iterable[Volume]) -> bool:
    return any(_conflict(volume, other) for other in others)


def _conflict(one: Volume, other: Volume) -> bool:
    a, b = one.get("gcePersistentDisk"), other.get("gcePersistentDisk")
    if a and b and a.get("pdName") == b.get("pdName") and not _both_read_only(a, b):
        return True
    a, b = one.get("awsElasticBlockStore"), other.get("awsElasticBlockStore")
    if a and b and a.get("volumeID") == b.get("volumeID"):
        return True
    a, b = one.get("iscsi"), other.get("iscsi")
    if a and b and a.get("iqn") == b.get("iqn") and not _both_read_only(a, b):
        return True
    a, b = one.get("rbd"), other.get("rbd")
    if not a or not b or _both_read_only(a, b):
        return False
    same = (a.get("pool") or "rbd", a.get("image")) == (b.get("pool") or "rbd", b.get("image"))
    return same and bool(set(a.get("monitors") or ()) & set(b.get("monitors") or ()))


def _both_read_only(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return bool(a.get("readOnly")) and bool(b.get("readOnly"))
