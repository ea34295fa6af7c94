"""The real scheduler's decisions, asked through its own contract and told in the reference's terms."""

from __future__ import annotations

import random

from pybernetes.api.resources import (
    CSI_NODES,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
)
from pybernetes.hooks.scheduling import Code
from pybernetes.scheduler.claims import CSI_DRIVERS, CSI_STORAGE_CAPACITIES, VOLUME_ATTACHMENTS
from pybernetes.scheduler.evaluation import failure_message
from pybernetes.scheduler.handle import SchedulerHandle
from pybernetes.scheduler.model import StaticObjects, model_of
from pybernetes.scheduler.profiles import default_evaluator
from pybernetes.scheduler.victims import Budgets, VictimSearch
from pybernetes.scheduler.victims import Candidate as FastCandidate

from .reference import Candidate, Cluster, Refusal

CODES = {Code.UNSCHEDULABLE: "Unschedulable", Code.UNRESOLVABLE: "UnschedulableAndUnresolvable"}
LISTS = {
    "namespaces": NAMESPACES,
    "services": SERVICES,
    "replication_controllers": REPLICATION_CONTROLLERS,
    "replica_sets": REPLICA_SETS,
    "stateful_sets": STATEFUL_SETS,
    "disruption_budgets": POD_DISRUPTION_BUDGETS,
    "volumes": PERSISTENT_VOLUMES,
    "claims": PERSISTENT_VOLUME_CLAIMS,
    "storage_classes": STORAGE_CLASSES,
    "csi_nodes": CSI_NODES,
    "csi_drivers": CSI_DRIVERS,
    "csi_capacities": CSI_STORAGE_CAPACITIES,
    "attachments": VOLUME_ATTACHMENTS,
}


class Fast:
    """One scheduler, kept while its cluster changes."""

    def __init__(self, cluster: Cluster, seed: int = 0, config: dict | None = None) -> None:
        self.objects = StaticObjects({gvr: getattr(cluster, field) for field, gvr in LISTS.items()})
        self.model = model_of(self.objects, cluster.nodes, [])
        for pod in cluster.pods:
            self.put(pod)
        self.handle = SchedulerHandle(self.model, self.objects, rng=random.Random(seed))
        self.evaluator = default_evaluator(self.handle, config)

    def put(self, pod: dict) -> None:
        info = self.model.put_pod(pod)
        nominated = (pod.get("status") or {}).get("nominatedNodeName", "")
        self.model.table.nominations.put(info, "" if info.node_name else nominated)

    def remove(self, pod: dict) -> None:
        info = self.model.info(pod)
        self.model.displace(info.key)
        self.model.table.nominations.remove(info.uid)

    def ask(self, pod: dict) -> Asked:
        return Asked(self, pod)


class Asked:
    """What came of one pod."""

    def __init__(self, fast: Fast, pod: dict) -> None:
        self._fast = fast
        self.info = fast.model.info(pod)
        self.outcome = fast.evaluator.filter(self.info)
        self.diagnosis = fast.evaluator.diagnosis(self.outcome)

    @property
    def ahead(self) -> Refusal | None:
        return None if self.diagnosis.pre_filter is None else _refusal(self.diagnosis.pre_filter)

    @property
    def refusals(self) -> dict:
        """Of nodes that were looked at."""
        table = self._fast.model.table
        return {table.name(row): _refusal(status) for row, status in self.diagnosis.by_row.items() if status.plugin}

    @property
    def feasible(self) -> set:
        if self.diagnosis.pre_filter is not None:
            return set()
        return {self._fast.model.table.name(int(row)) for row in self.outcome.feasible}

    @property
    def scores(self) -> dict:
        return self._fast.evaluator.scores(self.outcome) if self.feasible else {}

    @property
    def message(self) -> str:
        return failure_message(self.diagnosis)

    def choice(self, seed: int) -> str:
        return self._fast.model.table.name(self._fast.evaluator.choose(self.outcome, random.Random(seed)))

    # -- preemption ------------------------------------------------------------------------------------------------

    def candidates(self) -> list:
        """Every node's victims, not only the best one's."""
        search = VictimSearch(self._fast.evaluator, random.Random(0))
        judge = search._judge(self.outcome, self._budgets())
        rows = [row for row, status in self.diagnosis.by_row.items() if status.code == Code.UNSCHEDULABLE]
        return [self._candidate(found) for row in rows if isinstance(found := judge(row), FastCandidate)]

    def victims(self, seed: int) -> Candidate | None:
        search = VictimSearch(self._fast.evaluator, random.Random(seed))
        best, _ = search.search(self.outcome, self.diagnosis, self._budgets())
        return None if best is None else self._candidate(best)

    def _budgets(self) -> Budgets:
        return Budgets(self._fast.objects.list(POD_DISRUPTION_BUDGETS))

    def _candidate(self, found: FastCandidate) -> Candidate:
        name = self._fast.model.table.name(found.row)
        return Candidate(name, tuple(v.name for v in found.victims), found.violations)


def _refusal(status) -> Refusal:
    return Refusal(status.plugin, CODES[status.code], tuple(status.reasons))
