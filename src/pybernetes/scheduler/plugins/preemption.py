"""DefaultPreemption: lower pods give way where that makes room for a pod that fits nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, get_condition, is_deleting, metadata, name_of, namespace_of, uid_of
from ...api.resources import POD_DISRUPTION_BUDGETS, PODS
from ...api.times import to_time
from ...hooks.scheduling import (
    Action,
    ClusterEvent,
    Code,
    CycleState,
    Diagnosis,
    Plugin,
    PodView,
    PostFilterResult,
    Resource,
    Status,
)
from ..evaluation import Outcome, failure_message
from ..handle import SchedulerHandle
from ..victims import NOT_HELPFUL, Budgets, Candidate, VictimSearch

OUTCOME = "scheduler/outcome"
"""Where the scheduler leaves, in a pod's state, what Filter found."""
STRATEGIC = "application/strategic-merge-patch+json"


class DefaultPreemption(Plugin):
    name = "DefaultPreemption"

    def __init__(self, args: Mapping[str, Any], handle: SchedulerHandle) -> None:
        self._handle = handle
        percentage, absolute = args.get("minCandidateNodesPercentage"), args.get("minCandidateNodesAbsolute")
        self._percentage = 10 if percentage is None else int(percentage)
        self._absolute = 100 if absolute is None else int(absolute)
        self._search: VictimSearch | None = None
        self._preempting: set[str] = set()
        self.attempts = 0
        self.victims = 0

    # -- queueing --------------------------------------------------------------------------------------------------

    def pre_enqueue(self, pod: PodView) -> Status | None:
        if pod.uid in self._preempting:
            return Status(Code.UNRESOLVABLE, ("waiting for the preemption for this pod to be finished",), self.name)
        return None

    def events(self) -> Iterable[ClusterEvent]:
        return (ClusterEvent(Resource.POD, Action.DELETE, lambda pod, old, new: False),)

    # -- choosing --------------------------------------------------------------------------------------------------

    def post_filter(self, state: CycleState, pod: PodView, diagnosis: Diagnosis) -> PostFilterResult:
        self.attempts += 1
        outcome: Outcome | None = state.get(OUTCOME)
        if outcome is None:
            return PostFilterResult(None)
        problem = self.not_eligible(outcome, diagnosis)
        if problem:
            return PostFilterResult(None, self._unschedulable(problem))
        candidate, statuses = self.search(outcome, diagnosis)
        if candidate is None:
            by_row = {row: statuses.get(row, NOT_HELPFUL) for row in self._handle.nodes.rows.values()}
            return PostFilterResult("", self._unschedulable(failure_message(Diagnosis(diagnosis.nodes, by_row))))
        node = self._handle.nodes.name(candidate.row)
        self._actuate(pod, node, candidate)
        return PostFilterResult(node)

    def _unschedulable(self, message: str) -> Status:
        return Status(Code.UNSCHEDULABLE, (f"preemption: {message}",), self.name)

    def search(self, outcome: Outcome, diagnosis: Diagnosis) -> tuple[Candidate | None, Mapping[int, Status]]:
        """The node and its victims, if any; nothing happens to them. Also for ``p8s why``."""
        if self._search is None:
            self._search = VictimSearch(
                self._handle.evaluator, self._handle.rng, percentage=self._percentage, absolute=self._absolute
            )
        return self._search.search(outcome, diagnosis, Budgets(self._handle.objects.list(POD_DISRUPTION_BUDGETS)))

    def not_eligible(self, outcome: Outcome, diagnosis: Diagnosis) -> str:
        """Why the pod may not preempt at all."""
        pod = outcome.pod
        if (pod.object.get("spec") or {}).get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        row = self._handle.nodes.row(pod.nominated_node) if pod.nominated_node else None
        if row is None:
            return ""
        status = diagnosis.by_row.get(row)
        if status is not None and status.code == Code.UNRESOLVABLE:
            return ""
        leaving = (p for p in self._handle.nodes.pods[row].values() if p.priority < pod.priority)
        if any(_leaves_for_another(p.object) for p in leaving):
            return "not eligible due to a terminating pod on the nominated node."
        return ""

    # -- making room -----------------------------------------------------------------------------------------------

    def _actuate(self, pod: PodView, node: str, candidate: Candidate) -> None:
        victims = [v.object for v in candidate.victims if not is_deleting(v.object)]
        if not victims or self._handle.run is None:
            return
        self.victims += len(candidate.victims)
        lower = [p for p in self._handle.nodes.nominations.on(node) if p.priority < pod.priority]
        for other in lower:
            self._handle.nodes.nominations.remove(other.uid)
        self._preempting.add(pod.uid)
        self._handle.run(self._prepare(pod, node, victims, [p.object for p in lower]))

    async def _prepare(self, pod: PodView, node: str, victims: list[Object], lower: list[Object]) -> None:
        """Asynchronous: other pods are scheduled meanwhile, the preemptor waits outside of the queue."""
        try:
            for other in lower:
                await self._call(_clear_nomination(self._handle.client, other))
            for victim in victims[:-1]:
                if not await self._preempt(pod, node, victim):
                    return
            # The last deletion is what brings the preemptor back, so it must be let in by then.
            self._preempting.discard(pod.uid)
            await self._preempt(pod, node, victims[-1])
        finally:
            self._preempting.discard(pod.uid)
            self._handle.extra["activate"](pod.key)

    async def _call(self, calling: Any) -> bool:
        try:
            await calling
        except StatusError as failure:
            return failure.code == 404
        except (ConnectionError, TimeoutError):
            return False
        return True

    async def _preempt(self, pod: PodView, node: str, victim: Object) -> bool:
        client = self._handle.client
        scheduler = (pod.object.get("spec") or {}).get("schedulerName") or self._handle.profile
        if self._handle.extra["reject_waiting"](uid_of(victim), self.name):
            suffix = " (in kube-scheduler memory)."
        else:
            suffix = ""
            known = get_condition(victim, "DisruptionTarget") or {}
            if known.get("status") != "True" or known.get("reason") != "PreemptionByScheduler":
                patch = {"status": {"conditions": [self._condition(victim, scheduler)]}}
                name, namespace = name_of(victim), namespace_of(victim)
                patching = client.patch(PODS, name, patch, namespace, subresource="status", patch_type=STRATEGIC)
                if not await self._call(patching):
                    return False
            if not await self._call(client.delete(PODS, name_of(victim), namespace_of(victim), uid=uid_of(victim))):
                return False
        self._handle.event(
            victim,
            "Normal",
            "Preempted",
            f"Preempted by pod {pod.uid} on node {node}{suffix}",
            "Preempting",
            pod.object,
        )
        return True

    def _condition(self, victim: Object, scheduler: str) -> Object:
        return {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{scheduler}: preempting to accommodate a higher priority pod",
            "observedGeneration": metadata(victim).get("generation"),
            "lastTransitionTime": to_time(self._handle.clock.now()),
        }


async def _clear_nomination(client: Any, pod: Object) -> None:
    patch = {"status": {"nominatedNodeName": None}}
    await client.patch(PODS, name_of(pod), patch, namespace_of(pod), subresource="status")


def _leaves_for_another(pod: Object) -> bool:
    condition = get_condition(pod, "DisruptionTarget") or {}
    return is_deleting(pod) and condition.get("status") == "True" and condition.get("reason") == "PreemptionByScheduler"
