"""What would let the pod in: one remedy for each plugin that refuses a node, all of them together tried on that node.

A remedy is told only when the scheduler's own rules accept the changed pod. Nodes that need the same remedies are one answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...api.meta import Object
from ..nodeaffinity import Taint
from ..podinfo import PodInfo
from ..requests import amounts
from .amounts import said, written
from .answers import Change, Refusal
from .measures import hostile_taints, taint_text

if TYPE_CHECKING:
    from .asking import World

GROUPS, TRIES, NAMED = 12, 8, 5
"""Kinds of answers that are tried, nodes tried for each, and answers that are told."""
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_CONDITIONS = {
    "node.kubernetes.io/not-ready": "the node must become ready",
    "node.kubernetes.io/unreachable": "the node must become reachable",
    "node.kubernetes.io/memory-pressure": "the node must be relieved of its memory pressure",
    "node.kubernetes.io/disk-pressure": "the node must be relieved of its disk pressure",
    "node.kubernetes.io/pid-pressure": "the node must be relieved of its PID pressure",
    "node.kubernetes.io/network-unavailable": "the node's network must come up",
    "node.kubernetes.io/unschedulable": "uncordon the node",
}
"""Taints that the control plane sets: tolerating them is seldom what is meant."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """``key`` says what is done, the same for all nodes; ``cost`` orders nodes by how much of it they need."""

    key: tuple[Any, ...]
    text: str
    apply: Callable[[Object], None]
    cost: float = 0.0


def changes(world: World, pod: PodInfo, refused: Mapping[str, Sequence[Refusal]]) -> list[Change]:
    """The fewest remedies first, then those that open the most nodes."""
    groups: dict[tuple[Any, ...], list[tuple[float, str, list[Remedy]]]] = {}
    for node, refusals in refused.items():
        remedies = [_remedy(world, pod, node, r) for r in refusals]
        if any(r is None for r in remedies):
            continue
        listed = [r for r in remedies if r is not None]
        key = tuple(r.key for r in listed)
        groups.setdefault(key, []).append((sum(r.cost for r in listed), node, listed))
    order = sorted(groups.items(), key=lambda item: (len(item[0]), -len(item[1])))
    found = [c for _, candidates in order[:GROUPS] if (c := _tried(world, pod, candidates)) is not None]
    return found[:NAMED]


def _tried(world: World, pod: PodInfo, candidates: list[tuple[float, str, list[Remedy]]]) -> Change | None:
    """The cheapest node's remedies, if they hold, and the other nodes for which the same do."""
    candidates.sort(key=lambda c: (c[0], c[1]))
    for at, (_, node, remedies) in enumerate(candidates[:TRIES]):
        changed = copy.deepcopy(pod.object)
        for remedy in remedies:
            remedy.apply(changed)
        if not _fits(world, changed, node):
            continue
        rest = candidates[at + 1 :]
        also = [other for _, other, _ in rest[:TRIES] if _fits(world, changed, other)]
        text = "; ".join(dict.fromkeys(r.text for r in remedies))
        return Change(text, (node, *also), more=max(0, len(rest) - TRIES))
    return None


def _fits(world: World, pod: Object, node: str) -> bool:
    row = world.evaluator.table.row(node)
    return row is not None and world.evaluator.check(world.model.info(pod), row) is None


def _remedy(world: World, pod: PodInfo, node: str, refusal: Refusal) -> Remedy | None:
    """None where no change of the pod helps, or none is known."""
    row = world.evaluator.table.row(node)
    make = _REMEDIES.get(refusal.plugin)
    return make(world, pod, row, refusal) if make is not None and row is not None else None


# -- by plugin -----------------------------------------------------------------------------------------------------


def _less(world: World, pod: PodInfo, row: int, refusal: Refusal) -> Remedy | None:
    table = world.evaluator.table
    nominated = table.nominations.above(pod.priority)
    target: dict[str, int] = {}
    for reason in refusal.reasons:
        name = reason.removeprefix("Insufficient ")
        if name == reason or name not in table.resources:
            return None
        at = table.resources[name]
        free = int(table.allocatable[at, row]) - int(table.requested[at, row])
        free -= int(nominated.requested_of(at)[row]) if nominated is not None else 0
        if free <= 0:
            return None
        target[name] = free
    asked = pod.facts.requests
    texts = [f"ask for at most {said(n, v)} {n} in place of {said(n, asked[n])}" for n, v in sorted(target.items())]
    cost = sum(1 - value / asked[name] for name, value in target.items())
    return Remedy(("requests", *sorted(target)), " and ".join(texts), lambda o: reduce_requests(o, target), cost)


def reduce_requests(pod: Object, target: Mapping[str, int]) -> None:
    """Lowers a pod's requests so that it asks for no more than that, the hungriest container first."""
    spec = pod["spec"]
    for name, limit in target.items():
        limit = max(limit - amounts(spec.get("overhead")).get(name, 0), 0)
        level = (spec.get("resources") or {}).get("requests") or {}
        if name in level:
            level[name] = written(name, limit)
        initial = [c for c in spec.get("initContainers") or () if _asks(c, name)]
        sidecars = [c for c in initial if c.get("restartPolicy") == "Always"]
        _cut([*(c for c in spec["containers"] if _asks(c, name)), *sidecars], name, limit)
        beside = limit - sum(_asks(c, name) for c in sidecars)
        for container in initial:
            if container not in sidecars and _asks(container, name) > beside:
                container["resources"]["requests"][name] = written(name, beside)


def _cut(containers: Sequence[Object], name: str, limit: int) -> None:
    over = sum(_asks(c, name) for c in containers) - limit
    for container in sorted(containers, key=lambda c: -_asks(c, name)):
        cut = min(max(over, 0), _asks(container, name))
        container["resources"]["requests"][name] = written(name, _asks(container, name) - cut)
        over -= cut


def _asks(container: Object, name: str) -> int:
    return amounts((container.get("resources") or {}).get("requests")).get(name, 0)


def _tolerate(world: World, pod: PodInfo, row: int, refusal: Refusal) -> Remedy | None:
    taints = hostile_taints(pod, world.evaluator.table.objects[row] or {})
    wanted = [t for t in taints if t[0] not in _CONDITIONS]
    texts = [_CONDITIONS[t[0]] for t in taints if t[0] in _CONDITIONS]
    if wanted:
        texts.append(f"tolerate {', '.join(taint_text(t) for t in wanted)}")
    text = " and ".join(dict.fromkeys(texts))
    return Remedy(("taints", tuple(taints)), text, lambda o: _add_tolerations(o, taints))


def _add_tolerations(pod: Object, taints: Sequence[Taint]) -> None:
    more = [{"key": key, "operator": "Equal", "value": value, "effect": effect} for key, value, effect in taints]
    pod["spec"]["tolerations"] = [*(pod["spec"].get("tolerations") or ()), *more]


def _uncordon(world: World, pod: PodInfo, row: int, refusal: Refusal) -> Remedy | None:
    taint = ("node.kubernetes.io/unschedulable", "", "NoSchedule")
    return Remedy(("uncordon",), _CONDITIONS[taint[0]], lambda o: _add_tolerations(o, [taint]))


def _select_less(world: World, pod: PodInfo, row: int, refusal: Refusal) -> Remedy | None:
    labels = (world.evaluator.table.objects[row] or {})["metadata"].get("labels") or {}
    selection = pod.facts.selection
    missing = [f"{k}={v}" for k, v in selection.selector if labels.get(k) != v]
    affinity = selection.terms is not None and not any(
        t.matches(world.evaluator.table.name(row), labels) for t in selection.terms
    )
    texts = []
    if missing:
        texts.append(f"drop {', '.join(missing)} from the nodeSelector or label the node so")
    if affinity:
        texts.append("loosen the required node affinity or label the node to match")
    if not texts:
        return None

    def apply(obj: Object) -> None:
        spec = obj["spec"]
        for key in [m.partition("=")[0] for m in missing]:
            spec["nodeSelector"].pop(key)
        if affinity:
            spec["affinity"]["nodeAffinity"].pop(REQUIRED, None)

    return Remedy(("selection", tuple(missing), affinity), " and ".join(texts), apply)


def _any_node(world: World, pod: PodInfo, row: int, refusal: Refusal) -> Remedy | None:
    return Remedy(("name",), "leave spec.nodeName empty", lambda o: o["spec"].pop("nodeName"))


def _no_host_port(world: World, pod: PodInfo, row: int, refusal: Refusal) -> Remedy | None:
    def apply(obj: Object) -> None:
        spec = obj["spec"]
        for container in (*spec["containers"], *(spec.get("initContainers") or ())):
            for port in container.get("ports") or ():
                port.pop("hostPort", None)

    return Remedy(("ports",), "do without the host port", apply)


def _spread_softly(world: World, pod: PodInfo, row: int, refusal: Refusal) -> Remedy | None:
    keys = sorted({c["topologyKey"] for c in pod.facts.spread if c.get("whenUnsatisfiable") == "DoNotSchedule"})
    if not keys:
        return None

    def apply(obj: Object) -> None:
        for constraint in obj["spec"]["topologySpreadConstraints"]:
            constraint["whenUnsatisfiable"] = "ScheduleAnyway"
            constraint.pop("minDomains", None)

    text = f"set whenUnsatisfiable: ScheduleAnyway (or a larger maxSkew) for {', '.join(keys)}"
    return Remedy(("spread",), text, apply)


def _mind_less(world: World, pod: PodInfo, row: int, refusal: Refusal) -> Remedy | None:
    if "existing pods" in refusal.reasons[0]:
        return None
    kind = "podAntiAffinity" if "anti-affinity" in refusal.reasons[0] else "podAffinity"
    text = f"make the {kind} preferred in place of required"
    return Remedy((kind,), text, lambda o: o["spec"]["affinity"][kind].pop(REQUIRED, None))


_REMEDIES: Mapping[str, Callable[[World, PodInfo, int, Refusal], Remedy | None]] = {
    "NodeResourcesFit": _less,
    "TaintToleration": _tolerate,
    "NodeUnschedulable": _uncordon,
    "NodeAffinity": _select_less,
    "NodeName": _any_node,
    "NodePorts": _no_host_port,
    "PodTopologySpread": _spread_softly,
    "InterPodAffinity": _mind_less,
}
