"""How many pods to make or delete, which ones, and what the status says. Semantics of upstream's ``pkg/controller/replicaset``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...api.meta import Object, is_deleting, labels_of, metadata
from ...api.times import to_time
from ..commands import Command, CreatePods, DeletePods
from ..conditions import find, put, without
from ..pods import is_available, is_ready, node_of, pod_from_template, rank_for_deletion
from ..values import compact

BURST = 500
"""The most pods that one sync makes or deletes."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``active`` and ``terminating`` are the owner's pods; ``related`` the active pods of all sets with the same controller."""

    owner: Object
    active: Sequence[Object]
    terminating: Sequence[Object] | None
    related: Sequence[Object]


def replicas_of(owner: Object) -> int:
    replicas = (owner.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def manage(snapshot: Snapshot, reference: dict[str, Any], now: float) -> list[Command]:
    """The pods to make or to delete. Nothing for an owner that is being deleted."""
    owner = snapshot.owner
    if is_deleting(owner):
        return []
    missing = replicas_of(owner) - len(snapshot.active)
    if missing > 0:
        pod = pod_from_template((owner.get("spec") or {}).get("template") or {}, owner, reference)
        return [CreatePods(owner, [pod] * min(missing, BURST))]
    if missing < 0:
        doomed = choose(snapshot.active, snapshot.related, min(-missing, BURST), now)
        return [DeletePods(owner, doomed)]
    return []


def choose(active: Sequence[Object], related: Iterable[Object], count: int, now: float) -> Sequence[Object]:
    """The pods that are missed least."""
    if count >= len(active):
        return active
    colocated = Counter(node for node in map(node_of, related) if node)
    return rank_for_deletion(active, colocated, now)[:count]


def status(snapshot: Snapshot, failure: str | None, now: float) -> dict[str, Any]:
    """The new status; ``failure`` is what went wrong with making or deleting pods."""
    owner, active = snapshot.owner, snapshot.active
    spec, old = owner.get("spec") or {}, owner.get("status") or {}
    template_labels = metadata(spec.get("template") or {}).get("labels") or {}
    min_ready = int(spec.get("minReadySeconds") or 0)
    conditions = _conditions(old.get("conditions") or [], len(active) - replicas_of(owner), failure, now)
    new = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(template_labels.items() <= labels_of(p).items() for p in active),
        "readyReplicas": sum(map(is_ready, active)),
        "availableReplicas": sum(is_available(p, min_ready, now) for p in active),
        "observedGeneration": metadata(owner).get("generation") or 0,
        "conditions": conditions,
    }
    new = compact(new, keep=("replicas",))
    if snapshot.terminating is not None:
        new["terminatingReplicas"] = len(snapshot.terminating)
    return new


def _conditions(old: list[dict[str, Any]], surplus: int, failure: str | None, now: float) -> list[dict[str, Any]]:
    if failure is None:
        return without(old, "ReplicaFailure")
    if find(old, "ReplicaFailure") is not None:
        return old
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": to_time(now),
        "reason": "FailedCreate" if surplus < 0 else "FailedDelete" if surplus > 0 else "",
        "message": failure,
    }
    return put(old, compact(condition))
