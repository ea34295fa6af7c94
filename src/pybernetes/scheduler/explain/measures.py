"""By how much a plugin refuses a node, and who stands in the way there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...api.meta import Object, labels_of, name_of
from ...api.selectors import Requirement
from ...hooks.scheduling import Status
from ..nodeaffinity import NAME_FIELD, NO_EXECUTE, NO_SCHEDULE, SelectorTerm, Taint, taints_of, tolerates
from ..plugins.spread import PodTopologySpread
from ..podinfo import PodInfo
from ..requests import ports_conflict
from ..terms import Term
from .amounts import said

if TYPE_CHECKING:
    from .asking import World

SHOWN = 3
"""So many pods are named; who wants all of them has kubectl."""


class Measures:
    """For one pod. What many nodes share is worked out once."""

    def __init__(self, world: World, pod: PodInfo) -> None:
        self._world, self._pod = world, pod
        self._table = world.evaluator.table
        self._by_domain: dict[Any, dict[str, list[str]]] = {}
        self._measures = {
            "NodeUnschedulable": self._cordoned,
            "NodeName": self._named,
            "TaintToleration": self._tainted,
            "NodeAffinity": self._unwanted,
            "NodeResourcesFit": self._full,
            "NodePorts": self._ports_taken,
            "VolumeRestrictions": self._claims_used,
            "PodTopologySpread": self._skewed,
            "InterPodAffinity": self._neighbours,
        }

    def of(self, status: Status, row: int) -> Sequence[str]:
        """One line a fact; nothing of plugins that are not known here."""
        measure = self._measures.get(status.plugin)
        return list(measure(status, row)) if measure is not None else ()

    def _node(self, row: int) -> Object:
        return self._table.objects[row] or {}

    # -- the node alone --------------------------------------------------------------------------------------------

    def _cordoned(self, status: Status, row: int) -> Iterable[str]:
        yield "the node is cordoned"

    def _named(self, status: Status, row: int) -> Iterable[str]:
        yield f"the pod names {self._pod.requested_node}"

    def _tainted(self, status: Status, row: int) -> Iterable[str]:
        yield from (f"taint {taint_text(t)}" for t in hostile_taints(self._pod, self._node(row)))

    def _unwanted(self, status: Status, row: int) -> Iterable[str]:
        node = self._node(row)
        labels = labels_of(node)
        selection = self._pod.facts.selection
        for key, value in selection.selector:
            if labels.get(key) != value:
                yield f"wants {key}={value}, {_is(key, labels)}"
        if selection.terms and not any(t.matches(name_of(node), labels) for t in selection.terms):
            for term in selection.terms:
                failed = _first_failure(term, node)
                if failed is not None:
                    yield f"wants {failed}, {_is(failed.key, labels, name_of(node))}"

    # -- what is on the node ---------------------------------------------------------------------------------------

    def _full(self, status: Status, row: int) -> Iterable[str]:
        table = self._table
        nominated = table.nominations.above(self._pod.priority)
        for reason in status.reasons:
            if reason == "Too many pods":
                waiting = int(nominated.count[row]) if nominated is not None else 0
                yield f"holds {int(table.pod_count[row]) + waiting} of at most {int(table.allowed_pods[row])} pods"
                continue
            name = reason.removeprefix("Insufficient ")
            at = table.resource(name)
            has = int(table.allocatable[at, row])
            free = has - int(table.requested[at, row])
            if nominated is not None:
                free -= int(nominated.requested_of(at)[row])
            asked = self._pod.facts.requests.get(name, 0)
            yield f"asks {said(name, asked)} {name}, {said(name, max(free, 0))} free of {said(name, has)}"

    def _ports_taken(self, status: Status, row: int) -> Iterable[str]:
        for wanted in sorted(self._pod.facts.ports):
            for other in self._table.pods[row].values():
                if any(ports_conflict(wanted, taken) for taken in other.facts.ports):
                    yield f"port {wanted[2]}/{wanted[1]} is taken by {other.key}"
                    break

    def _claims_used(self, status: Status, row: int) -> Iterable[str]:
        names = _claim_names(self._pod)
        for other in self._table.all_pods():
            used = _claim_names(other) & names
            if used and other.namespace == self._pod.namespace:
                yield f"claim {min(used)} is used by {other.key}"

    # -- other pods ------------------------------------------------------------------------------------------------

    def _skewed(self, status: Status, row: int) -> Iterable[str]:
        labels = labels_of(self._node(row))
        plugin = self._world.evaluator.profile.plugins["PodTopologySpread"]
        if not isinstance(plugin, PodTopologySpread):
            return
        for constraint, counts, lowest in plugin.domains(self._pod):
            if constraint.key not in labels:
                yield f"the node has no label {constraint.key}"
                continue
            value = labels[constraint.key]
            here = counts.get(value, 0)
            own = 1 if constraint.selector.matches(self._pod.labels) else 0
            if here + own - lowest > constraint.max_skew:
                yield (
                    f"{constraint.key}={value} holds {here} matching pods, the fewest is {lowest}: with this one the skew "
                    f"is {here + own - lowest}, at most {constraint.max_skew} is allowed"
                )

    def _neighbours(self, status: Status, row: int) -> Iterable[str]:
        labels = labels_of(self._node(row))
        terms = self._pod.terms
        if "didn't match pod affinity rules" in status.reasons[0]:
            for term in terms.required:
                if term.topology_key not in labels:
                    yield f"the node has no label {term.topology_key}"
                elif not self._matching(term).get(labels[term.topology_key]):
                    where = f"{term.topology_key}={labels[term.topology_key]}"
                    yield f"no pod that matches {term.selector} is in {where}"
            return
        if "existing pods" in status.reasons[0]:
            yield from self._against(labels)
            return
        for term in terms.required_anti:
            found = self._matching(term).get(labels.get(term.topology_key, ""), [])
            if found:
                yield f"{_some(found)} {'is' if len(found) == 1 else 'are'} in {term.topology_key}={labels[term.topology_key]}"

    def _matching(self, term: Term) -> dict[str, list[str]]:
        """Pods that the term speaks of, by domain."""
        found = self._by_domain.get(term)
        if found is None:
            found = self._by_domain[term] = {}
            known = self._table.terms.namespace_labels
            for row, pods in enumerate(self._table.pods):
                value = labels_of(self._node(row)).get(term.topology_key) if pods else None
                for other in pods.values() if value is not None else ():
                    if term.matches(other.namespace, other.labels, known.get(other.namespace, {})):
                        found.setdefault(value or "", []).append(other.key)
        return found

    def _against(self, labels: dict[str, str]) -> Iterable[str]:
        """Placed pods that do not want this one near."""
        own = self._table.terms.namespace_labels.get(self._pod.namespace, {})
        found = self._by_domain.get("against")
        if found is None:
            found = self._by_domain["against"] = {}
            for other in self._table.all_pods():
                for term in other.terms.required_anti:
                    value = labels_of(self._node(other.row)).get(term.topology_key)
                    if value is not None and term.matches(self._pod.namespace, self._pod.labels, own):
                        found.setdefault(f"{term.topology_key}={value}", []).append(other.key)
        for domain, pods in found.items():
            key, _, value = domain.partition("=")
            if labels.get(key) == value:
                yield f"{_some(pods)} {'wants' if len(pods) == 1 else 'want'} no such pod in {domain}"


def _claim_names(pod: PodInfo) -> set[str]:
    return {v["persistentVolumeClaim"]["claimName"] for v in pod.facts.volumes if v.get("persistentVolumeClaim")}


def hostile_taints(pod: PodInfo, node: Object) -> list[Taint]:
    tolerations = pod.facts.tolerations
    return [
        t
        for t in taints_of(node)
        if t[2] in (NO_SCHEDULE, NO_EXECUTE) and not any(tolerates(own, t) for own in tolerations)
    ]


def taint_text(taint: Taint) -> str:
    key, value, effect = taint
    return f"{key}={value}:{effect}" if value else f"{key}:{effect}"


def _first_failure(term: SelectorTerm, node: Object) -> Requirement | None:
    for requirement in term.expressions:
        if not requirement.matches(labels_of(node)):
            return requirement
    return next((r for r in term.fields if not r.matches({NAME_FIELD: name_of(node)})), None)


def _is(key: str, labels: Any, name: str = "") -> str:
    if key == NAME_FIELD:
        return f"it is {name}"
    return f"it is {labels[key]}" if key in labels else "the label is missing"


def _some(pods: Sequence[str]) -> str:
    listed = ", ".join(pods[:SHOWN])
    return listed if len(pods) <= SHOWN else f"{listed} and {len(pods) - SHOWN} more"


__all__ = ["Measures", "hostile_taints", "taint_text"]
