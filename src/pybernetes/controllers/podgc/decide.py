"""Which pods go: too many finished ones, those of nodes that are gone or out of service, deleted ones that were never bound.

Pure. Semantics of upstream's ``pkg/controller/podgc``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...api.meta import Object, is_deleting, metadata, name_of, namespace_of
from ...api.resources import PODS
from ...client.rest import STRATEGIC_MERGE_PATCH
from ..commands import Command, Delete, Patch
from ..pods import is_terminal, node_of, phase_of
from ..tainteviction.decide import disruption_patch
from ..taints import OUT_OF_SERVICE, ready_status, taints_of

QUARANTINE = 40.0
"""How long a node must be missing before its pods count as orphans."""


def _age(pod: Object) -> tuple[bool, str, str]:
    evicted = phase_of(pod) == "Failed" and (pod.get("status") or {}).get("reason") == "Evicted"
    return not evicted, metadata(pod).get("creationTimestamp") or "", name_of(pod)


def surplus_terminated(pods: Iterable[Object], threshold: int) -> list[Object]:
    """The oldest finished pods beyond the threshold, evicted ones first. A threshold of 0 keeps all."""
    finished = sorted((p for p in pods if phase_of(p) not in ("Pending", "Running", "Unknown")), key=_age)
    return finished[: max(0, len(finished) - threshold)] if threshold > 0 else []


def out_of_service(pods: Iterable[Object], nodes: Mapping[str, Object]) -> list[Object]:
    """Deleted pods on nodes that somebody declared out of service: no kubelet will finish them."""
    found = []
    for pod in pods:
        node = nodes.get(node_of(pod))
        if is_deleting(pod) and node is not None and ready_status(node) != "True":
            if any(t.get("key") == OUT_OF_SERVICE for t in taints_of(node)):
                found.append(pod)
    return found


def never_bound(pods: Iterable[Object]) -> list[Object]:
    return [p for p in pods if is_deleting(p) and not node_of(p)]


def removal(pod: Object, now: float, *, orphaned: bool = False) -> list[Command]:
    """Marks the pod Failed, with the reason where its node is gone, and removes it without grace."""
    commands: list[Command] = []
    if not is_terminal(pod):
        patch: dict[str, Any] = {"metadata": {"uid": metadata(pod).get("uid")}, "status": {"phase": "Failed"}}
        if orphaned:
            patch = disruption_patch(pod, "DeletionByPodGC", "PodGC: node no longer exists", now, phase="Failed")
        commands.append(
            Patch(PODS, namespace_of(pod), name_of(pod), patch, STRATEGIC_MERGE_PATCH, "status", unless_missing=True)
        )
    return [*commands, Delete(PODS, pod, grace_period_seconds=0)]
