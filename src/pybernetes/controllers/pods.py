"""What the workload controllers know of pods: phases, readiness, ranking for deletion, and making one from a template."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..api.meta import Object, annotations_of, get_condition, is_deleting, metadata, name_of, uid_of
from ..api.times import parse_time

PENDING, RUNNING, SUCCEEDED, FAILED, UNKNOWN = "Pending", "Running", "Succeeded", "Failed", "Unknown"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK = {PENDING: 0, UNKNOWN: 1, RUNNING: 2}
_SUBDOMAIN_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*-?")


def phase_of(pod: Object) -> str:
    return (pod.get("status") or {}).get("phase") or ""


def is_terminal(pod: Object) -> bool:
    return phase_of(pod) in (SUCCEEDED, FAILED)


def is_active(pod: Object) -> bool:
    return not is_terminal(pod) and not is_deleting(pod)


def is_terminating(pod: Object) -> bool:
    return not is_terminal(pod) and is_deleting(pod)


def node_of(pod: Object) -> str:
    return (pod.get("spec") or {}).get("nodeName") or ""


def ready_since(pod: Object) -> float | None:
    """When it became ready; None where it is not (0.0 where it does not say when)."""
    condition = get_condition(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    stamp = condition.get("lastTransitionTime")
    return parse_time(stamp) if stamp else 0.0


def is_ready(pod: Object) -> bool:
    return ready_since(pod) is not None


def is_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    since = ready_since(pod)
    if since is None:
        return False
    return min_ready_seconds == 0 or (since > 0.0 and since + min_ready_seconds <= now)


def next_availability(pods: Iterable[Object], min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the next ready pod becomes available."""
    if min_ready_seconds <= 0:
        return None
    waits = [
        since + min_ready_seconds - now
        for since in map(ready_since, pods)
        if since is not None and since > 0.0 and since + min_ready_seconds > now
    ]
    return min(waits, default=None)


def deletion_cost(pod: Object) -> int:
    text = annotations_of(pod).get(DELETION_COST, "")
    # "+" and leading zeros are refused, as the API does.
    if re.fullmatch(r"0|-?[1-9]\d*", text) and -(2**31) <= int(text) < 2**31:
        return int(text)
    return 0


def _restarts(pod: Object) -> tuple[int, int]:
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    regular = max((int(c.get("restartCount") or 0) for c in status.get("containerStatuses") or ()), default=0)
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    statuses = [c for c in status.get("initContainerStatuses") or () if c.get("name") in sidecars]
    return regular, max((int(c.get("restartCount") or 0) for c in statuses), default=0)


def _logarithmic_age(stamp: float, now: float) -> int:
    age = now - stamp
    return int(math.log2(age * 1e9)) if age > 0 else -1


def _older_last(a: float, b: float, now: float) -> int:
    """Younger pods go first, but ages of one magnitude count as equal (LogarithmicScaleDown)."""
    if a == 0.0 or b == 0.0:
        return -1 if a == 0.0 else 1
    return _logarithmic_age(a, now) - _logarithmic_age(b, now)


def rank_for_deletion(pods: Iterable[Object], colocated: Mapping[str, int], now: float) -> list[Object]:
    """Those first that are missed least: unassigned, not running, not ready, cheap, crowded on one node, young.

    ``colocated`` counts the related active pods of each node.
    """

    def compare(a: Object, b: Object) -> int:
        node_a, node_b = node_of(a), node_of(b)
        if bool(node_a) != bool(node_b):
            return 1 if node_a else -1
        for first, second in (
            (_PHASE_RANK.get(phase_of(a), 0), _PHASE_RANK.get(phase_of(b), 0)),
            (is_ready(a), is_ready(b)),
            (deletion_cost(a), deletion_cost(b)),
            (-colocated.get(node_a, 0), -colocated.get(node_b, 0)),
        ):
            if first != second:
                return -1 if first < second else 1
        since_a, since_b = ready_since(a), ready_since(b)
        if since_a is not None and since_b is not None and since_a != since_b:
            return _older_last(since_a, since_b, now) or _by_uid(a, b)
        restarts_a, restarts_b = _restarts(a), _restarts(b)
        if restarts_a != restarts_b:
            return -1 if restarts_a > restarts_b else 1
        made_a, made_b = (metadata(p).get("creationTimestamp") or "" for p in (a, b))
        if made_a != made_b:
            return _older_last(_epoch(made_a), _epoch(made_b), now) or _by_uid(a, b)
        return 0

    return sorted(pods, key=functools.cmp_to_key(compare))


def _epoch(stamp: str) -> float:
    return parse_time(stamp) if stamp else 0.0


def _by_uid(a: Object, b: Object) -> int:
    return -1 if uid_of(a) < uid_of(b) else 1


def name_prefix(owner_name: str) -> str:
    """``web-`` for an owner ``web``, unless that would make an invalid pod name."""
    prefix = f"{owner_name}-"
    return prefix if len(prefix) <= 253 and _SUBDOMAIN_PREFIX.fullmatch(prefix) else owner_name


def pod_from_template(template: Object, owner: Object, reference: dict[str, Any]) -> Object:
    """A new pod for ``owner``. Shares the template's spec: change a copy."""
    made = metadata(template)
    meta: dict[str, Any] = {
        "generateName": name_prefix(name_of(owner)),
        "namespace": metadata(owner).get("namespace"),
        "ownerReferences": [reference],
    }
    for field in ("labels", "annotations"):
        if made.get(field):
            meta[field] = dict(made[field])
    if made.get("finalizers"):
        meta["finalizers"] = list(made["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template.get("spec") or {}}


def by_creation(obj: Object) -> tuple[str, str]:
    """Sorts the oldest first, then by name."""
    return metadata(obj).get("creationTimestamp") or "", name_of(obj)
