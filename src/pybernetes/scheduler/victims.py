"""Preemption: on which node lower pods should give way for a pod, and which ones. Pure but for what-if changes of the table.

Specified by "Pod Priority and Preemption"; the order of criteria is upstream's: fewest violated disruption budgets, lowest
highest priority of a victim, smallest sum of priorities, fewest victims, and victims that started last.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..api.meta import Object, labels_of, name_of, namespace_of
from ..hooks.scheduling import Code, Diagnosis, Scope, Status
from .evaluation import Evaluator, Outcome
from .podinfo import PodInfo
from .terms import parse_selector

FIT = "NodeResourcesFit"
NO_VICTIMS = Status(Code.UNRESOLVABLE, ("No preemption victims found for incoming pod",), "DefaultPreemption")
NOT_HELPFUL = Status(Code.UNRESOLVABLE, ("Preemption is not helpful for scheduling",), "DefaultPreemption")
_NEVER = "~"
"""Sorts behind every time."""


def start_of(pod: PodInfo) -> str:
    return (pod.object.get("status") or {}).get("startTime") or _NEVER


def importance(pod: PodInfo) -> tuple[int, str]:
    """Sorts the most important pod first."""
    return (-pod.priority, start_of(pod))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node, and the pods to remove there, most important first."""

    row: int
    victims: tuple[PodInfo, ...]
    violations: int

    def cost(self) -> tuple[Any, ...]:
        highest = self.victims[0].priority
        first = min(start_of(v) for v in self.victims if v.priority == highest)
        return (
            self.violations,
            highest,
            sum(v.priority + 2**31 for v in self.victims),
            len(self.victims),
            _Latest(first),
        )


class _Latest(str):
    """Compares the other way round: later is less."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


class Budgets:
    """Disruption budgets: how many more pods each allows to go."""

    def __init__(self, budgets: Sequence[Object]) -> None:
        self._budgets = [
            (
                namespace_of(b),
                parse_selector((b.get("spec") or {}).get("selector")),
                frozenset((b.get("status") or {}).get("disruptedPods") or ()),
                int((b.get("status") or {}).get("disruptionsAllowed") or 0),
            )
            for b in budgets
        ]
        self.key = tuple((name_of(b), (b.get("metadata") or {}).get("resourceVersion")) for b in budgets)

    def split(self, pods: Sequence[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
        """(pods whose removal would violate a budget, the others), in order."""
        left = [allowed for *_, allowed in self._budgets]
        violating: list[PodInfo] = []
        others: list[PodInfo] = []
        for pod in pods:
            violates = False
            labels = labels_of(pod.object)
            for at, (namespace, selector, disrupted, _) in enumerate(self._budgets if labels else ()):
                if namespace != pod.namespace or selector.everything or not selector.matches(labels):
                    continue
                if pod.name in disrupted:
                    continue
                left[at] -= 1
                violates = violates or left[at] < 0
            (violating if violates else others).append(pod)
        return violating, others


Verdict = Candidate | Status


class VictimSearch:
    """Looks for the node where removing pods costs least."""

    LIMIT = 16

    def __init__(self, evaluator: Evaluator, rng: random.Random, *, percentage: int = 10, absolute: int = 100) -> None:
        self._evaluator, self._table, self._rng = evaluator, evaluator.table, rng
        self._percentage, self._absolute = percentage, absolute
        self._kept: dict[tuple[Any, ...], dict[int, tuple[int, Verdict]]] = {}

    def search(
        self, outcome: Outcome, diagnosis: Diagnosis, budgets: Budgets
    ) -> tuple[Candidate | None, Mapping[int, Status]]:
        """(the best candidate, else why each node that was looked at is none)."""
        rows = [row for row, status in diagnosis.by_row.items() if status.code == Code.UNSCHEDULABLE]
        if not rows:
            return None, {}
        wanted = min(len(rows), max(len(rows) * self._percentage // 100, self._absolute))
        offset = self._rng.randrange(len(rows))
        found: list[Candidate] = []
        harmless = 0
        statuses: dict[int, Status] = {}
        judge = self._judge(outcome, budgets)
        for row in (*rows[offset:], *rows[:offset]):
            verdict = judge(row)
            if isinstance(verdict, Status):
                statuses[row] = verdict
                continue
            found.append(verdict)
            harmless += verdict.violations == 0
            if harmless and len(found) >= wanted:
                break
        return (min(found, key=Candidate.cost) if found else None), statuses

    def _judge(self, outcome: Outcome, budgets: Budgets) -> Any:
        pod = outcome.pod
        if not self._only_resources(outcome):
            return lambda row: self._try(pod, row, budgets)
        key = (pod.facts.signature, pod.priority, budgets.key)
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= self.LIMIT:
                self._kept.clear()
            kept = self._kept[key] = {}

        def judge(row: int) -> Verdict:
            version = self._table.versions[row]
            known = kept.get(row)
            if known is None or known[0] != version:
                known = kept[row] = (version, self._count(pod, row, budgets))
            return known[1]

        return judge

    def _only_resources(self, outcome: Outcome) -> bool:
        """Whether removing pods can matter to no plugin but NodeResourcesFit."""
        usual = {id(r) for r in outcome.kept.filters}
        changing = {r.plugin.name for r in outcome.kept.filters if r.plugin.scope == Scope.USAGE}
        if changing != {FIT} or any(id(r) not in usual for r in outcome.filters):
            return False
        # A Filter that comes after all nodes were refused was not asked; it must be one that has nothing to say.
        pod = outcome.pod
        others = pod.facts.volumes or pod.terms.any or pod.facts.spread
        return not others and not self._evaluator.has_foreign_filters and not len(self._table.terms)

    def _lower(self, pod: PodInfo, row: int) -> list[PodInfo]:
        return sorted((p for p in self._table.pods[row].values() if p.priority < pod.priority), key=importance)

    def _count(self, pod: PodInfo, row: int, budgets: Budgets) -> Verdict:
        """By arithmetic alone."""
        lower = self._lower(pod, row)
        if not lower:
            return NO_VICTIMS
        table = self._table
        nominated = table.nominations.above(pod.priority)
        names = [n for n, value in pod.facts.requests.items() if value > 0 and n != "pods"]
        free: list[int] = []
        for name in names:
            at = table.resource(name)
            left = int(table.allocatable[at, row]) - int(table.requested[at, row]) - pod.facts.requests[name]
            free.append(left - (int(nominated.requested_of(at)[row]) if nominated else 0))
        free.append(
            int(table.allowed_pods[row])
            - int(table.pod_count[row])
            - 1
            - (int(nominated.count[row]) if nominated else 0)
        )
        sizes = {p.uid: [*(p.facts.requests.get(n, 0) for n in names), 1] for p in lower}
        for victim in lower:
            free = [f + s for f, s in zip(free, sizes[victim.uid], strict=True)]
        if min(free) < 0:
            lacking = ["Too many pods"] if free[-1] < 0 else []
            lacking += [f"Insufficient {n}" for n, f in zip(names, free, strict=False) if f < 0]
            return Status(Code.UNSCHEDULABLE, tuple(lacking), FIT)
        violating, others = budgets.split(lower)
        victims: list[PodInfo] = []
        violations = 0
        for victim in (*violating, *others):
            rest = [f - s for f, s in zip(free, sizes[victim.uid], strict=True)]
            if min(rest) >= 0:
                free = rest
            else:
                victims.append(victim)
                violations += victim in violating
        return self._candidate(row, victims, violations)

    def _candidate(self, row: int, victims: Sequence[PodInfo], violations: int) -> Verdict:
        if not victims:
            return Status(Code.ERROR, (f'expected at least one victim pod on node "{self._table.name(row)}"',))
        return Candidate(row, tuple(sorted(victims, key=importance)), violations)

    def _try(self, pod: PodInfo, row: int, budgets: Budgets) -> Verdict:
        """By removing pods from the table and asking every plugin anew."""
        lower = self._lower(pod, row)
        if not lower:
            return NO_VICTIMS
        with self._evaluator.without_pods(lower):
            status = self._check(pod, row)
            if status is not None:
                return status
            violating, others = budgets.split(lower)
            victims: list[PodInfo] = []
            violations = 0
            for victim in (*violating, *others):
                self._table.add_pod(victim, row)
                if self._check(pod, row) is not None:
                    self._table.remove_pod(victim)
                    victims.append(victim)
                    violations += victim in violating
        return self._candidate(row, victims, violations)

    def _check(self, pod: PodInfo, row: int) -> Status | None:
        """Both with and without the pods nominated there."""
        nominations = self._table.nominations
        others = [p for p in nominations.on(self._table.name(row)) if p.priority >= pod.priority and p.uid != pod.uid]
        if others:
            with self._evaluator.with_pods(others, row):
                status = self._evaluator.check(pod, row, count_nominated=False)
            if status is not None:
                return status
        return self._evaluator.check(pod, row, count_nominated=False)


__all__ = ["NOT_HELPFUL", "Budgets", "Candidate", "VictimSearch"]
