"""Results kept for pods of equal specification: verdicts and scores by row, corrected where something changed.

Most pods come from a template. What plugins of the scopes NODE and USAGE say of such a pod depends on its specification
and on each node by itself; so after a pod was placed only one row has to be worked out anew for the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..hooks.scheduling import Code, CycleState, Plugin, PreFilterResult, Scope, Status, Verdicts, takes_part
from .columns import Array
from .framework import Profile, Selected, normalized, run_filter, run_score
from .nodetable import NodeTable
from .podinfo import PodInfo

ALL = slice(None)


class Reasons:
    """Verdicts of one plugin on all rows, whose reasons may grow as rows are worked out anew."""

    __slots__ = ("_numbers", "codes", "plugin", "reasons")

    def __init__(self, plugin: Plugin, verdicts: Verdicts) -> None:
        self.plugin = plugin
        self.codes = verdicts.codes
        self.reasons: list[Status] = list(verdicts.reasons)
        self._numbers = {status: at + 1 for at, status in enumerate(self.reasons)}

    def correct(self, rows: Array, verdicts: Verdicts) -> None:
        numbers = [0]
        for status in verdicts.reasons:
            number = self._numbers.get(status)
            if number is None:
                self.reasons.append(status)
                number = self._numbers[status] = len(self.reasons)
            numbers.append(number)
        self.codes[rows] = np.array(numbers, dtype=np.int16)[verdicts.codes]


class Scores:
    """Raw scores of one plugin on all rows."""

    __slots__ = ("plugin", "raw", "uniform", "weight")

    def __init__(self, plugin: Plugin, weight: int, raw: Array, table: NodeTable) -> None:
        self.plugin, self.weight, self.raw = plugin, weight, raw
        self.uniform = _uniform(raw[table.valid])
        """Whether all nodes have the same score, which then decides nothing."""


def _uniform(values: Array) -> bool:
    return not len(values) or bool((values == values[0]).all())


class Kept:
    """What is known of one specification."""

    def __init__(self, profile: Profile, table: NodeTable, pod: PodInfo) -> None:
        self._table = table
        self.state = CycleState()
        self.rejection: Status | None = None
        self.names: frozenset[str] | None = None
        self.restricting: list[str] = []
        self.filters: list[Reasons] = []
        self.plain: list[Scores] = []
        """Scores that need no normalization: their weighted sum is kept."""
        self.relative: list[Scores] = []
        self.generation = table.generation
        self.position = table.touched_before + len(table.touched)
        skipped = self._pre_filter(profile, pod)
        if self.rejection is None:
            self._filter(profile, pod, skipped)
            self._score(profile, pod)

    def _pre_filter(self, profile: Profile, pod: PodInfo) -> set[str]:
        skipped: set[str] = set()
        for selected in profile.at("preFilter"):
            plugin = selected.plugin
            if not selected.cached:
                continue
            answer = plugin.pre_filter(self.state, pod)
            if isinstance(answer, PreFilterResult):
                self.names = answer.node_names if self.names is None else self.names & answer.node_names
                self.restricting.append(plugin.name)
            elif answer is not None and answer.code == Code.SKIP:
                skipped.add(plugin.name)
            elif answer is not None and answer.code != Code.SUCCESS:
                self.rejection = answer
                break
        return skipped

    def _filter(self, profile: Profile, pod: PodInfo, skipped: set[str]) -> None:
        self.ok: Array = self._table.valid.copy()
        for selected in profile.at("filter"):
            if selected.cached and selected.plugin.name not in skipped:
                verdicts = run_filter(selected.plugin, self.state, pod, ALL, self._table)
                self.filters.append(Reasons(selected.plugin, verdicts))
                self.ok &= verdicts.codes == 0

    def _score(self, profile: Profile, pod: PodInfo) -> None:
        skipped = {
            s.plugin.name
            for s in profile.at("preScore")
            if s.cached and (answer := s.plugin.pre_score(self.state, pod, ALL)) and answer.code == Code.SKIP
        }
        self.sum: Array = np.zeros(self._table.capacity, dtype=np.int64)
        for selected in profile.at("score"):
            plugin = selected.plugin
            if not selected.cached or plugin.name in skipped:
                continue
            raw = run_score(plugin, self.state, pod, ALL, self._table)
            scores = Scores(plugin, selected.weight, raw, self._table)
            if takes_part(plugin, "normalize"):
                self.relative.append(scores)
            else:
                normalized(plugin, self.state, pod, raw[self._table.valid])
                self.plain.append(scores)
                self.sum += selected.weight * raw

    def refresh(self, pod: PodInfo) -> bool:
        """Works out anew what changed; False where all of it did."""
        if self.generation != self._table.generation:
            return False
        touched, self.position = self._table.touched_since(self.position)
        if touched is None:
            return False
        if touched and self.rejection is None:
            rows = touched if len(touched) == 1 else sorted(set(touched))
            self._correct(pod, np.array(rows, dtype=np.int64))
        return True

    def _correct(self, pod: PodInfo, rows: Array) -> None:
        ok = self._table.valid[rows]
        for reasons in self.filters:
            if reasons.plugin.scope == Scope.USAGE:
                reasons.correct(rows, run_filter(reasons.plugin, self.state, pod, rows, self._table))
            ok = ok & (reasons.codes[rows] == 0)
        self.ok[rows] = ok
        for scores in (*self.plain, *self.relative):
            if scores.plugin.scope != Scope.USAGE:
                continue
            fresh = run_score(scores.plugin, self.state, pod, rows, self._table)
            if scores in self.plain:
                self.sum[rows] += scores.weight * (fresh - scores.raw[rows])
            else:
                scores.uniform = False
            scores.raw[rows] = fresh


class Results:
    """The last specifications of one profile, and what is known of them."""

    LIMIT = 64

    def __init__(self, profile: Profile, table: NodeTable) -> None:
        self._profile, self._table = profile, table
        self._kept: OrderedDict[tuple[Any, ...], Kept] = OrderedDict()

    def of(self, pod: PodInfo) -> Kept:
        key = (pod.facts.signature, pod.priority, pod.requested_node)
        kept = self._kept.get(key)
        if kept is not None and kept.refresh(pod):
            self._kept.move_to_end(key)
            return kept
        kept = self._kept[key] = Kept(self._profile, self._table, pod)
        self._kept.move_to_end(key)
        if len(self._kept) > self.LIMIT:
            self._kept.popitem(last=False)
        return kept

    def clear(self) -> None:
        self._kept.clear()


def selected_names(selected: Sequence[Selected]) -> list[str]:
    return [s.plugin.name for s in selected]
