"""One pod against all nodes: which can take it, why the others cannot, and how good each would be.

Synchronous and without side effects but for caches: the scheduling cycle, ``p8s why`` and tests all ask here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..hooks.scheduling import Code, CycleState, Diagnosis, Plugin, PreFilterResult, Status, Verdicts
from .columns import Array
from .framework import PluginFailure, Profile, normalized, run_filter, run_score
from .nodetable import NodeTable
from .podinfo import PodInfo
from .results import ALL, Kept, Reasons, Results

MINIMUM_FEASIBLE = 100
"""With percentageOfNodesToScore set, at least so many nodes are looked for."""


@dataclass(slots=True)
class Outcome:
    """What Filter found for one pod."""

    pod: PodInfo
    state: CycleState
    kept: Kept
    ok: Array
    """By row of the node table: whether the node can take the pod."""
    filters: list[Reasons] = field(default_factory=list)
    """In the order of the profile's Filter plugins; a plugin that was not needed is missing."""
    rejection: Status | None = None
    """The pod was refused before any node was looked at."""
    names: frozenset[str] | None = None
    restricting: tuple[str, ...] = ()
    """Plugins that said that only the nodes in ``names`` come into question."""
    single: bool = False
    """Only the nominated node was looked at, and it can take the pod."""

    @property
    def feasible(self) -> Array:
        """Row numbers."""
        return np.flatnonzero(self.ok)


class Evaluator:
    """Asks the plugins of one profile."""

    def __init__(self, profile: Profile, table: NodeTable) -> None:
        self.profile, self.table = profile, table
        self.results = Results(profile, table)
        self._start = 0
        self._order = {s.plugin.name: at for at, s in enumerate(profile.at("filter"))}
        self.has_foreign_filters = any(
            not type(s.plugin).__module__.startswith(__package__ or "") for s in profile.at("filter")
        )
        """Whether Filter plugins take part whose rules are not known here."""

    # -- filter ----------------------------------------------------------------------------------------------------

    def filter(self, pod: PodInfo, *, nominated: str | None = None, sample: bool = False) -> Outcome:
        """``nominated`` is the node that is looked at first [as the pod's status says].

        ``sample`` stops at as many feasible nodes as percentageOfNodesToScore asks for, if it is set."""
        kept = self.results.of(pod)
        outcome = Outcome(
            pod, CycleState(kept.state), kept, _NONE, restricting=tuple(kept.restricting), names=kept.names
        )
        outcome.rejection = kept.rejection
        if outcome.rejection is not None:
            return outcome
        skipped = self._pre_filter(outcome)
        if outcome.rejection is not None:
            return outcome
        outcome.ok = kept.ok.copy()
        outcome.filters = list(kept.filters)
        self._restrict(outcome)
        first = self.table.row(pod.nominated_node if nominated is None else nominated)
        if first is not None and outcome.ok[first] and self._only(outcome, skipped, first):
            return outcome
        self._run_filters(outcome, skipped)
        self._respect_nominations(outcome)
        if sample:
            self._sample(outcome)
        return outcome

    def _pre_filter(self, outcome: Outcome) -> set[str]:
        skipped: set[str] = set()
        for selected in self.profile.uncached_at("preFilter"):
            plugin = selected.plugin
            answer = plugin.pre_filter(outcome.state, outcome.pod)
            if isinstance(answer, PreFilterResult):
                names = outcome.names
                outcome.names = answer.node_names if names is None else names & answer.node_names
                outcome.restricting = (*outcome.restricting, plugin.name)
            elif answer is not None and answer.code == Code.SKIP:
                skipped.add(plugin.name)
            elif answer is not None and answer.code != Code.SUCCESS:
                if not answer.rejected:
                    raise PluginFailure(f'running PreFilter plugin "{plugin.name}": {answer.message}')
                outcome.rejection = answer
                break
        return skipped

    def _restrict(self, outcome: Outcome) -> None:
        if outcome.names is not None:
            allowed = np.zeros(self.table.capacity, dtype=bool)
            allowed[[row for n in outcome.names if (row := self.table.row(n)) is not None]] = True
            outcome.ok &= allowed

    def _active(self, skipped: set[str]) -> Iterator[Plugin]:
        for selected in self.profile.uncached_at("filter"):
            if selected.plugin.name not in skipped:
                yield selected.plugin

    def _run_filters(self, outcome: Outcome, skipped: set[str]) -> None:
        for plugin in self._active(skipped):
            rows = np.flatnonzero(outcome.ok)
            if not len(rows):
                break
            self._run_one(outcome, plugin, ALL if len(rows) * 4 > self.table.capacity else rows)
        outcome.filters.sort(key=lambda r: self._order[r.plugin.name])

    def _run_one(self, outcome: Outcome, plugin: Plugin, rows: Any) -> None:
        verdicts = run_filter(plugin, outcome.state, outcome.pod, rows, self.table)
        if isinstance(rows, slice):
            reasons = Reasons(plugin, verdicts)
        else:
            spread = np.zeros(self.table.capacity, dtype=np.int16)
            spread[rows] = verdicts.codes
            verdicts.codes = spread
            reasons = Reasons(plugin, verdicts)
        outcome.filters.append(reasons)
        outcome.ok &= reasons.codes == 0

    def _only(self, outcome: Outcome, skipped: set[str], row: int) -> bool:
        """Whether the node that was made free for the pod can take it now: then no other is looked at."""
        rows = np.array([row])
        for plugin in self._active(skipped):
            if run_filter(plugin, outcome.state, outcome.pod, rows, self.table).codes[0]:
                return False
        outcome.ok[:] = False
        outcome.ok[row] = True
        self._respect_nominations(outcome)
        outcome.single = bool(outcome.ok[row])
        if not outcome.single:
            outcome.ok = outcome.kept.ok.copy()
            self._restrict(outcome)
        return outcome.single

    def _sample(self, outcome: Outcome) -> None:
        percentage = self.profile.percentage_of_nodes_to_score
        if not percentage or percentage >= 100:
            return
        wanted = max(MINIMUM_FEASIBLE, len(self.table) * percentage // 100)
        rows = np.flatnonzero(outcome.ok)
        if len(rows) <= wanted:
            return
        first = int(np.searchsorted(rows, self._start % self.table.capacity))
        order = np.roll(rows, -first)
        outcome.ok[order[wanted:]] = False
        self._start = int(order[wanted])

    # -- nominated pods --------------------------------------------------------------------------------------------

    def _respect_nominations(self, outcome: Outcome) -> None:
        """Beside resources, which NodeResourcesFit counts: nominated pods that other plugins would mind."""
        nominations, pod = self.table.nominations, outcome.pod
        if not len(nominations):
            return
        for node in list(nominations.nodes()):
            row = self.table.row(node)
            if row is None or not outcome.ok[row]:
                continue
            others = [p for p in nominations.on(node) if p.priority >= pod.priority and p.uid != pod.uid]
            if any(_may_mind(pod, other) for other in others):
                with self.with_pods(others, row):
                    status = self.check(pod, row, count_nominated=False)
                if status is not None:
                    outcome.ok[row] = False
                    reasons = Reasons(self.profile.plugins[status.plugin], _single(self.table.capacity, row, status))
                    outcome.filters.append(reasons)

    @contextmanager
    def with_pods(self, pods: Sequence[PodInfo], row: int) -> Iterator[None]:
        """The table as if these pods were on that node."""
        for pod in pods:
            self.table.add_pod(pod, row)
        try:
            yield
        finally:
            for pod in pods:
                self.table.remove_pod(pod)

    @contextmanager
    def without_pods(self, pods: Sequence[PodInfo]) -> Iterator[None]:
        """The table as if these pods were not there."""
        rows = [pod.row for pod in pods]
        for pod in pods:
            self.table.remove_pod(pod)
        try:
            yield
        finally:
            for pod, row in zip(pods, rows, strict=True):
                if pod.row < 0:
                    self.table.add_pod(pod, row)

    def check(self, pod: PodInfo, row: int, *, count_nominated: bool = True) -> Status | None:
        """Whether one node can take a pod in the table as it is now, all plugins asked anew."""
        if not count_nominated:
            with self.table.nominations.suspended():
                return self.check(pod, row)
        state, rows = CycleState(), np.array([row])
        skipped: set[str] = set()
        for selected in self.profile.at("preFilter"):
            answer = selected.plugin.pre_filter(state, pod)
            if isinstance(answer, PreFilterResult):
                if self.table.name(row) not in answer.node_names:
                    return Status(Code.UNRESOLVABLE, (), selected.plugin.name)
            elif answer is not None and answer.code == Code.SKIP:
                skipped.add(selected.plugin.name)
            elif answer is not None and answer.code != Code.SUCCESS:
                return answer
        for selected in self.profile.at("filter"):
            if selected.plugin.name in skipped:
                continue
            verdicts = run_filter(selected.plugin, state, pod, rows, self.table)
            if verdicts.codes[0]:
                return verdicts.reasons[int(verdicts.codes[0]) - 1]
        return None

    # -- score -----------------------------------------------------------------------------------------------------

    def choose(self, outcome: Outcome, rng: random.Random) -> int:
        """The best row; one of the best at random."""
        rows = outcome.feasible
        if len(rows) == 1:
            return int(rows[0])
        best = rows[self._totals(outcome, rows)]
        return int(best[0]) if len(best) == 1 else int(rng.choice(best))

    def _totals(self, outcome: Outcome, rows: Array) -> Array:
        """A mask over ``rows``: those with the highest total."""
        total = outcome.kept.sum[rows]
        for scores in outcome.kept.relative:
            if not scores.uniform:
                raw = scores.raw[rows]
                total = total + scores.weight * normalized(scores.plugin, outcome.state, outcome.pod, raw)
        for plugin, weight, raw in self._cluster_scores(outcome, rows):
            total = total + weight * normalized(plugin, outcome.state, outcome.pod, raw)
        highest: Array = total == total.max()
        return highest

    def _cluster_scores(self, outcome: Outcome, rows: Array) -> Iterator[tuple[Plugin, int, Array]]:
        skipped: set[str] = set()
        for selected in self.profile.uncached_at("preScore"):
            answer = selected.plugin.pre_score(outcome.state, outcome.pod, rows)
            if answer is not None and answer.code == Code.SKIP:
                skipped.add(selected.plugin.name)
            elif answer is not None and answer.code != Code.SUCCESS:
                raise PluginFailure(f'running PreScore plugin "{selected.plugin.name}": {answer.message}')
        for selected in self.profile.uncached_at("score"):
            plugin = selected.plugin
            if plugin.name not in skipped:
                yield plugin, selected.weight, run_score(plugin, outcome.state, outcome.pod, rows, self.table)

    def scores(self, outcome: Outcome) -> dict[str, dict[str, int]]:
        """Node to plugin to weighted score, of the nodes that can take the pod; for people, not for the fast path.

        A plugin that has nothing to say of the pod is left out.
        """
        rows = outcome.feasible
        found: dict[str, dict[str, int]] = {self.table.name(int(row)): {} for row in rows}
        parts = [(s.plugin, s.weight, s.raw[rows]) for s in (*outcome.kept.plain, *outcome.kept.relative)]
        for plugin, weight, raw in (*parts, *self._cluster_scores(outcome, rows)):
            points = weight * normalized(plugin, outcome.state, outcome.pod, raw)
            for row, value in zip(rows.tolist(), points.tolist(), strict=True):
                found[self.table.name(row)][plugin.name] = int(value)
        return found

    # -- why not ---------------------------------------------------------------------------------------------------

    def refusals(self, outcome: Outcome) -> tuple[dict[int, Status], frozenset[str]]:
        """(the first refusal of each row that was looked at and refused, the plugins that refused)."""
        found: dict[int, Status] = {}
        plugins: set[str] = set()
        for reasons in outcome.filters:
            for row in np.flatnonzero((reasons.codes > 0) & self.table.valid).tolist():
                if row not in found and self._considered(outcome, row):
                    found[row] = reasons.reasons[int(reasons.codes[row]) - 1]
                    plugins.add(reasons.plugin.name)
        return found, frozenset(plugins | set(outcome.restricting))

    def _considered(self, outcome: Outcome, row: int) -> bool:
        return outcome.names is None or self.table.name(row) in outcome.names

    def diagnosis(self, outcome: Outcome) -> Diagnosis:
        if outcome.rejection is not None:
            plugins = frozenset([outcome.rejection.plugin]) if outcome.rejection.plugin else frozenset[str]()
            return Diagnosis(len(self.table), {}, outcome.rejection, plugins)
        by_row, plugins = self.refusals(outcome)
        if outcome.names is not None:
            text = f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(outcome.restricting))}]"
            absent = Status(Code.UNRESOLVABLE, (text,))
            for row in self.table.rows.values():
                if row not in by_row and not outcome.ok[row]:
                    by_row[row] = absent
        return Diagnosis(len(self.table), by_row, None, plugins)


_NONE: Array = np.zeros(0, dtype=bool)


def _single(capacity: int, row: int, status: Status) -> Verdicts:
    codes = np.zeros(capacity, dtype=np.int16)
    codes[row] = 1
    return Verdicts(codes, (status,))


def _may_mind(pod: PodInfo, other: PodInfo) -> bool:
    """Whether a nominated pod could keep another from its node by more than the resources it takes."""
    if pod.facts.ports and other.facts.ports:
        return True
    if pod.facts.volumes and other.facts.volumes:
        return True
    return bool(pod.facts.spread or pod.terms.required_anti or other.terms.required_anti)


def failure_message(diagnosis: Diagnosis, post_filter: str = "") -> str:
    """``0/5 nodes are available: 2 Insufficient cpu, 3 node(s) ...``: counted, sorted by text as upstream does."""
    if not diagnosis.nodes:
        return "no nodes available to schedule pods"
    message = f"0/{diagnosis.nodes} nodes are available:"
    if diagnosis.pre_filter is not None:
        message += f" {diagnosis.pre_filter.message}."
    else:
        counts: dict[str, int] = {}
        by_status: dict[int, int] = {}
        statuses: dict[int, Status] = {}
        for status in diagnosis.by_row.values():
            by_status[id(status)] = by_status.get(id(status), 0) + 1
            statuses[id(status)] = status
        for key, number in by_status.items():
            for reason in statuses[key].reasons:
                counts[reason] = counts.get(reason, 0) + number
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
        if listed:
            message += f" {listed}."
    return f"{message} {post_filter}" if post_filter else message


def totals(scores: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Node to total score."""
    return {node: sum(parts.values()) for node, parts in scores.items()}
