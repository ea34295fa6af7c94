"""The question: one pod, all nodes, every plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...api.meta import Object
from ...hooks.scheduling import Code, CycleState, Diagnosis, Plugin, PreFilterResult, Status, Verdicts
from ..evaluation import Evaluator, Outcome, failure_message
from ..framework import run_filter
from ..model import Model
from ..plugins.preemption import DefaultPreemption
from ..podinfo import PodInfo
from .answers import Explanation, NodeAnswer, Preemption, Refusal
from .changes import changes
from .measures import Measures

ALL = slice(None)


@dataclass(slots=True)
class World:
    """What is asked: a model of the cluster, and the plugins of the pod's profile."""

    model: Model
    evaluator: Evaluator


def explain(world: World, pod: Object, *, hypothetical: bool = False) -> Explanation:
    """All about one pod. The world is as before when this returns."""
    spec = pod.get("spec") or {}
    free = {**pod, "spec": {k: v for k, v in spec.items() if hypothetical or k != "nodeName"}}
    info = world.model.info(free)
    answer = Explanation(info.key, "" if hypothetical else spec.get("nodeName") or "", hypothetical)
    with ExitStack() as stack:
        known = world.model.pods.get(info.key)
        if known is not None:
            answer.placed_on = answer.placed_on or world.model.node_of(info.key)
            if known.row >= 0:
                # A placed pod is asked about as if it were still to come.
                stack.enter_context(world.evaluator.without_pods([known]))
        nominations = world.evaluator.table.nominations
        nominated = nominations.remove(info.uid)
        if nominated is not None:
            stack.callback(nominations.put, *nominated)
        _fill(world, info, answer)
    return answer


def _fill(world: World, pod: PodInfo, answer: Explanation) -> None:
    evaluator = world.evaluator
    outcome = evaluator.filter(pod, nominated="")
    diagnosis = evaluator.diagnosis(outcome)
    answer.notes += _notes(pod.object)
    if not len(evaluator.table):
        answer.message = failure_message(diagnosis)
        return
    if outcome.rejection is not None:
        answer.rejection = _refusal(outcome.rejection, Measures(world, pod), None)
        answer.message = failure_message(diagnosis)
        return
    every = _Every(evaluator, pod)
    answer.notes += every.notes
    scores: Mapping[str, Mapping[str, int]] = evaluator.scores(outcome) if outcome.ok.any() else {}
    measures = Measures(world, pod)
    for name, row in sorted(evaluator.table.rows.items()):
        if outcome.ok[row]:
            answer.nodes.append(NodeAnswer(name, scores=scores[name]))
        else:
            statuses = _ordered(diagnosis.by_row.get(row), every.at(row))
            answer.nodes.append(NodeAnswer(name, [_refusal(s, measures, row) for s in statuses]))
    if not outcome.ok.any():
        answer.message = failure_message(diagnosis)
        answer.preemption = _preemption(evaluator, outcome, diagnosis)
    answer.changes = changes(world, pod, {n.node: n.refusals for n in answer.nodes if n.refusals})


class _Every:
    """All plugins' verdicts on all nodes: the scheduler itself stops at the first that refuses."""

    def __init__(self, evaluator: Evaluator, pod: PodInfo) -> None:
        self._evaluator, self._pod = evaluator, pod
        self._state = CycleState()
        self._verdicts: list[tuple[Plugin, Verdicts]] = []
        self.notes: list[str] = []
        skipped = self._ahead()
        for selected in evaluator.profile.at("filter"):
            if selected.plugin.name not in skipped:
                self._ask(selected.plugin)

    def _ahead(self) -> set[str]:
        skipped: set[str] = set()
        for selected in self._evaluator.profile.at("preFilter"):
            answer = selected.plugin.pre_filter(self._state, self._pod)
            if not isinstance(answer, PreFilterResult) and answer is not None and answer.code != Code.SUCCESS:
                skipped.add(selected.plugin.name)
        return skipped

    def _ask(self, plugin: Plugin) -> None:
        try:
            verdicts = run_filter(plugin, self._state, self._pod, ALL, self._evaluator.table)
        except Exception as failure:  # noqa: BLE001 - a user's plugin may raise anything; the others still have a say
            self.notes.append(f"plugin {plugin.name} failed: {failure or type(failure).__name__}")
            return
        if np.any(verdicts.codes):
            self._verdicts.append((plugin, verdicts))

    def at(self, row: int) -> list[Status]:
        found = []
        for plugin, verdicts in self._verdicts:
            code = int(verdicts.codes[row])
            if code:
                status = verdicts.reasons[code - 1]
                found.append(status if status.plugin else Status(status.code, status.reasons, plugin.name))
        return found


def _ordered(first: Status | None, every: Sequence[Status]) -> list[Status]:
    """The scheduler's own reason leads. It may be missing among the others where it is about nominated pods."""
    if first is None:
        return list(every)
    if not first.plugin:
        # Left out by a plugin that named the nodes; that plugin's own refusal says the same better.
        return list(every) or [first]
    return [first, *(s for s in every if s.plugin != first.plugin)]


def _refusal(status: Status, measures: Measures, row: int | None) -> Refusal:
    details = measures.of(status, row) if row is not None else ()
    return Refusal(status.plugin, status.reasons, tuple(details), status.code == Code.UNSCHEDULABLE)


def _notes(pod: Object) -> list[str]:
    spec: dict[str, Any] = pod.get("spec") or {}
    gates = [g.get("name", "") for g in spec.get("schedulingGates") or ()]
    found = []
    if gates:
        found.append(
            f"The scheduler does not look at the pod before its scheduling gates are gone: {', '.join(gates)}."
        )
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        found.append("The pod is being deleted.")
    return found


def _preemption(evaluator: Evaluator, outcome: Outcome, diagnosis: Diagnosis) -> Preemption | None:
    plugin = next(
        (s.plugin for s in evaluator.profile.at("postFilter") if isinstance(s.plugin, DefaultPreemption)), None
    )
    if plugin is None:
        return None
    problem = plugin.not_eligible(outcome, diagnosis)
    if problem:
        return Preemption(why_not=problem)
    candidate, _ = plugin.search(outcome, diagnosis)
    if candidate is None:
        return Preemption(why_not="no removal of pods with a lower priority makes room on any node")
    victims = tuple((v.key, v.priority) for v in candidate.victims)
    return Preemption(evaluator.table.name(candidate.row), victims, candidate.violations)
