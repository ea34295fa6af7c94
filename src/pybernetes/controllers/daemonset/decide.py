"""Which nodes get or lose a daemon pod, how an update goes over them, and what the status says.

Pure. Semantics of upstream's ``pkg/controller/daemon``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...api.meta import Object, annotations_of, is_deleting, labels_of, metadata, name_of
from ...client.events import NORMAL, WARNING
from ..nodeaffinity import fits, only_node, target_node
from ..pods import is_available, is_ready, is_terminal, next_availability, node_of, phase_of, pod_from_template
from ..taints import (
    DISK_PRESSURE,
    MEMORY_PRESSURE,
    NETWORK_UNAVAILABLE,
    NO_EXECUTE,
    NO_SCHEDULE,
    NOT_READY,
    PID_PRESSURE,
    UNREACHABLE,
    UNSCHEDULABLE,
    taints_of,
    untolerated,
)
from ..values import compact, deep_copy, scaled_value

HASH_LABEL = "controller-revision-hash"
GENERATION_LABEL = "pod-template-generation"
GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
BURST = 250
_TOLERATED = (
    (NOT_READY, NO_EXECUTE),
    (UNREACHABLE, NO_EXECUTE),
    (DISK_PRESSURE, NO_SCHEDULE),
    (MEMORY_PRESSURE, NO_SCHEDULE),
    (PID_PRESSURE, NO_SCHEDULE),
    (UNSCHEDULABLE, NO_SCHEDULE),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``pods`` are those that it owns; ``backing_off`` the seconds for which failed pods of a node are still left."""

    owner: Object
    hash: str
    nodes: Sequence[Object]
    pods: Sequence[Object]
    backing_off: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    failed_nodes: list[str] = field(default_factory=list)
    """Nodes whose failed pod is being replaced: the next failure waits longer."""
    events: list[tuple[str, str, str]] = field(default_factory=list)
    after: float | None = None

    def again_in(self, seconds: float | None) -> None:
        if seconds is not None:
            self.after = seconds if self.after is None else min(self.after, seconds)


# -- nodes -------------------------------------------------------------------------------------------------------------


def tolerations(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The template's, and those that let daemons stay where ordinary pods must not be."""
    found = list(spec.get("tolerations") or [])
    extra = [*_TOLERATED, *([(NETWORK_UNAVAILABLE, NO_SCHEDULE)] if spec.get("hostNetwork") else [])]
    for key, effect in extra:
        toleration = {"key": key, "operator": "Exists", "effect": effect}
        if toleration not in found:
            found.append(toleration)
    return found


def should_run(owner: Object, node: Object) -> tuple[bool, bool]:
    """(a new pod belongs there, one that runs there may stay)."""
    spec = (owner["spec"].get("template") or {}).get("spec") or {}
    if spec.get("nodeName") not in (None, "", name_of(node)) or not fits(spec, node):
        return False, False
    tolerated, taints = tolerations(spec), taints_of(node)
    if untolerated(tolerated, taints, (NO_EXECUTE,)) is not None:
        return False, False
    return untolerated(tolerated, taints, (NO_SCHEDULE,)) is None, True


def pods_by_node(pods: Sequence[Object], *, with_deleted_terminal: bool = False) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        if not with_deleted_terminal and is_terminal(pod) and is_deleting(pod):
            continue
        target = target_node(pod)
        if target:
            found.setdefault(target, []).append(pod)
    for on_node in found.values():
        on_node.sort(key=_seniority)
    return found


def _seniority(pod: Object) -> tuple[bool, str, str]:
    return not node_of(pod), metadata(pod).get("creationTimestamp") or "", name_of(pod)


# -- one pod a node ----------------------------------------------------------------------------------------------------


def manage(snapshot: Snapshot, reference: dict[str, Any], now: float) -> Plan:
    plan, by_node = Plan(), pods_by_node(snapshot.pods)
    wanting: list[str] = []
    for node in snapshot.nodes:
        _one_node(snapshot, node, by_node.get(name_of(node), []), plan, wanting, now)
    known = {name_of(n) for n in snapshot.nodes}
    for target, pods in by_node.items():
        if target not in known:
            # Bound to a node that is no more before it ever got there.
            plan.delete += [p for p in pods if not node_of(p) and not is_deleting(p)]
    plan.create = [pod_for(snapshot, reference, n) for n in wanting[:BURST]]
    plan.delete = plan.delete[:BURST]
    return plan


def _one_node(snapshot: Snapshot, node: Object, pods: list[Object], plan: Plan, wanting: list[str], now: float) -> None:
    owner, name = snapshot.owner, name_of(node)
    run, stay = should_run(owner, node)
    if run and not pods:
        wanting.append(name)
    elif stay:
        running = _living(snapshot, name, pods, plan)
        if not max_surge(owner, 1):
            plan.delete += running[1:]
        elif not running:
            if run and pods:
                wanting.append(name)
        elif len(running) > 1:
            plan.delete += _surge_excess(snapshot, running, now)
    else:
        plan.delete += [p for p in pods if not is_deleting(p)]


def _living(snapshot: Snapshot, node: str, pods: list[Object], plan: Plan) -> list[Object]:
    """The pods that count; failed and finished ones are noted for deletion."""
    living = []
    for pod in pods:
        if is_deleting(pod):
            continue
        where = f"daemon pod {pod['metadata']['namespace']}/{name_of(pod)} on node {node}"
        if phase_of(pod) == "Failed":
            wait = snapshot.backing_off.get(node, 0.0)
            if wait > 0:
                plan.again_in(wait)
                continue
            plan.failed_nodes.append(node)
            plan.events.append((WARNING, "FailedDaemonPod", f"Found failed {where}, will try to kill it"))
            plan.delete.append(pod)
        elif phase_of(pod) == "Succeeded":
            plan.events.append((NORMAL, "SucceededDaemonPod", f"Found succeeded {where}, will try to delete it"))
            plan.delete.append(pod)
        else:
            living.append(pod)
    return living


def _surge_excess(snapshot: Snapshot, running: list[Object], now: float) -> list[Object]:
    """With surge an old and a new pod may be there together, until the new one is available."""
    doomed: list[Object] = []
    new = old = None
    for pod in running:
        if labels_of(pod).get(HASH_LABEL) == snapshot.hash:
            if new is None:
                new = pod
                continue
        elif old is None:
            old = pod
            continue
        doomed.append(pod)
    if new is not None and old is not None:
        if not is_ready(old) or is_available(new, _min_ready(snapshot.owner), now):
            doomed.append(old)
    return doomed


def pod_for(snapshot: Snapshot, reference: dict[str, Any], node: str) -> Object:
    owner = snapshot.owner
    template = deep_copy(owner["spec"].get("template") or {})
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    generation = annotations_of(owner).get(GENERATION_ANNOTATION)
    if generation:
        labels[GENERATION_LABEL] = generation
    labels[HASH_LABEL] = snapshot.hash
    spec = template.setdefault("spec", {})
    spec["tolerations"] = tolerations(spec)
    spec["affinity"] = only_node(spec.get("affinity"), node)
    return pod_from_template(template, owner, reference)


# -- rolling update ----------------------------------------------------------------------------------------------------


def _strategy(owner: Object) -> dict[str, Any]:
    return owner["spec"].get("updateStrategy") or {}


def max_surge(owner: Object, wanted: int) -> int:
    rolling = _strategy(owner).get("rollingUpdate")
    if _strategy(owner).get("type") != "RollingUpdate" or not rolling:
        return 0
    return scaled_value(rolling.get("maxSurge") or 0, wanted, round_up=True)


def max_unavailable(owner: Object, wanted: int) -> int:
    rolling = _strategy(owner).get("rollingUpdate")
    if _strategy(owner).get("type") != "RollingUpdate" or not rolling:
        return 0
    value = rolling.get("maxUnavailable")
    return scaled_value(1 if value is None else value, wanted, round_up=True)


def _min_ready(owner: Object) -> int:
    return int(owner["spec"].get("minReadySeconds") or 0)


def is_updated(owner: Object, pod: Object, template_hash: str) -> bool:
    generation = annotations_of(owner).get(GENERATION_ANNOTATION)
    labels = labels_of(pod)
    if generation and labels.get(GENERATION_LABEL) == generation:
        return True
    return bool(template_hash) and labels.get(HASH_LABEL) == template_hash


def roll(snapshot: Snapshot, reference: dict[str, Any], now: float) -> Plan:
    """The next step of an update; only when ``manage`` has nothing to do."""
    owner = snapshot.owner
    if _strategy(owner).get("type") != "RollingUpdate":
        return Plan()
    by_node = pods_by_node(snapshot.pods)
    desired = [name_of(n) for n in snapshot.nodes if should_run(owner, n)[0]]
    for name in desired:
        by_node.setdefault(name, [])
    surge, unavailable = max_surge(owner, len(desired)), max_unavailable(owner, len(desired))
    if desired and not surge and not unavailable:
        unavailable = 1
    pairs = {name: _new_and_old(snapshot, by_node[name]) for name in sorted(by_node)}
    if surge:
        return _roll_with_surge(snapshot, reference, pairs, desired, surge, now)
    return _roll_in_place(snapshot, pairs, unavailable, now)


Pair = tuple[Object | None, Object | None]


def _new_and_old(snapshot: Snapshot, pods: list[Object]) -> Pair | None:
    """None where there are several of a kind: ``manage`` mends that first."""
    new = old = None
    for pod in pods:
        if is_deleting(pod):
            continue
        if is_updated(snapshot.owner, pod, snapshot.hash):
            if new is not None:
                return None
            new = pod
        else:
            if old is not None:
                return None
            old = pod
    return new, old


def _roll_in_place(snapshot: Snapshot, pairs: dict[str, Pair | None], allowed: int, now: float) -> Plan:
    missing, at_once, candidates = 0, [], []
    min_ready = _min_ready(snapshot.owner)
    for pair in pairs.values():
        if pair is None or (pair[0] is None) == (pair[1] is None):
            missing += 1
            continue
        new, old = pair
        if new is not None:
            missing += not is_available(new, min_ready, now)
        elif old is not None and not is_available(old, min_ready, now):
            # It serves nobody: it may go without counting.
            at_once.append(old)
            missing += 1
        elif old is not None:
            candidates.append(old)
    return Plan(delete=(at_once + candidates[: max(0, allowed - missing)])[:BURST])


def _roll_with_surge(
    snapshot: Snapshot,
    reference: dict[str, Any],
    pairs: dict[str, Pair | None],
    desired: list[str],
    allowed: int,
    now: float,
) -> Plan:
    min_ready, wanted = _min_ready(snapshot.owner), set(desired)
    surging = available = 0
    doomed: list[Object] = []
    misplaced: list[Object] = []
    at_once: list[str] = []
    candidates: list[str] = []
    for name, pair in pairs.items():
        if pair is None:
            surging += 1
            continue
        new, old = pair
        first = old or new
        available += first is not None and is_available(first, min_ready, now)
        if old is None:
            continue
        if new is not None:
            if is_available(new, min_ready, now):
                doomed.append(old)
            else:
                surging += 1
        elif not is_available(old, min_ready, now):
            if name in wanted:
                at_once.append(name)
            else:
                doomed.append(old)
        elif name in wanted:
            candidates.append(name)
        else:
            misplaced.append(old)
    doomed += misplaced[: max(0, available - len(desired))]
    names = at_once + candidates[: max(0, allowed - surging)]
    create = [pod_for(snapshot, reference, n) for n in names[:BURST]]
    return Plan(create=create, delete=doomed[:BURST])


# -- status ------------------------------------------------------------------------------------------------------------


def status(snapshot: Snapshot, collisions: int, now: float) -> dict[str, Any]:
    owner, by_node = snapshot.owner, pods_by_node(snapshot.pods)
    desired = current = misscheduled = ready = updated = available = 0
    for node in snapshot.nodes:
        pods = by_node.get(name_of(node)) or []
        if not should_run(owner, node)[0]:
            misscheduled += bool(pods)
            continue
        desired += 1
        if not pods:
            continue
        current += 1
        first = pods[0]
        ready += is_ready(first)
        available += is_available(first, _min_ready(owner), now)
        updated += is_updated(owner, first, snapshot.hash)
    new: dict[str, Any] = {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": desired,
        "numberReady": ready,
        "observedGeneration": metadata(owner).get("generation") or 0,
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": desired - available,
        "collisionCount": collisions,
        "conditions": (owner.get("status") or {}).get("conditions"),
    }
    return compact(new, keep=("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"))


def next_look(snapshot: Snapshot, now: float) -> float | None:
    return next_availability(snapshot.pods, _min_ready(snapshot.owner), now)
