"""When a pod has to leave its node. Pure. Semantics of upstream's ``pkg/controller/tainteviction``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...api.meta import Object, get_condition, is_deleting, metadata
from ...api.times import parse_time, to_time
from ..taints import NO_EXECUTE, Taint, tolerates

TaintKey = tuple[str, str]


def taint_key(taint: Taint) -> TaintKey:
    return taint.get("key") or "", taint.get("value") or ""


def execute_taints(node: Object) -> list[Taint]:
    return [t for t in (node.get("spec") or {}).get("taints") or [] if t.get("effect") == NO_EXECUTE]


def eviction_time(pod: Object, taints: Iterable[Taint], first_seen: Mapping[TaintKey, float]) -> float | None:
    """The moment at which it must go (0.0: at once); None: never.

    What a toleration grants counts from when the taint was added (or first seen), or the pod came to the node, if later.
    So a restart of the manager neither shortens nor renews it.
    """
    if is_deleting(pod):
        return None
    tolerations = (pod.get("spec") or {}).get("tolerations") or []
    arrived, due = _arrival(pod), None
    for taint in taints:
        matching = [t for t in tolerations if tolerates(t, taint)]
        if not matching:
            return 0.0
        limits = [max(0, t["tolerationSeconds"]) for t in matching if t.get("tolerationSeconds") is not None]
        if not limits:
            continue
        added = parse_time(taint["timeAdded"]) if taint.get("timeAdded") else first_seen.get(taint_key(taint), 0.0)
        moment = max(added, arrived) + min(limits)
        due = moment if due is None else min(due, moment)
    return due


def _arrival(pod: Object) -> float:
    condition = get_condition(pod, "PodScheduled")
    stamp = (condition or {}).get("lastTransitionTime") or metadata(pod).get("creationTimestamp")
    return parse_time(stamp) if stamp else 0.0


def disruption_patch(pod: Object, reason: str, message: str, now: float, **status: Any) -> dict[str, Any]:
    """The condition that tells why a pod is ended from outside (and more status, where given)."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": to_time(now),
    }
    old = get_condition(pod, "DisruptionTarget")
    if old is not None and old.get("status") == "True":
        condition["lastTransitionTime"] = old.get("lastTransitionTime") or condition["lastTransitionTime"]
    return {"metadata": {"uid": metadata(pod).get("uid")}, "status": {**status, "conditions": [condition]}}
