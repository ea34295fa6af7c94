"""The shell of the disruption controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.errors import StatusError
from ...api.meta import Object, controller_of, key_of, labels_of, metadata, name_of, namespace_of, uid_of
from ...api.resources import (
    DEPLOYMENTS,
    GVR,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    parse_api_version,
)
from ...api.selectors import LabelSelector, selector_from_object
from ...api.times import to_time
from ...client.discovery import discover
from ...client.events import NORMAL, WARNING
from ...client.rest import STRATEGIC_MERGE_PATCH, path_for
from ..pods import is_active, is_ready
from ..runtime import API_ERRORS, Controller
from ..values import same_status, with_status
from . import decide

_POD_PREFIX = "pod:"
_SCALED = {
    "ReplicaSet": REPLICA_SETS,
    "StatefulSet": STATEFUL_SETS,
    "ReplicationController": REPLICATION_CONTROLLERS,
}


class NoController(Exception):
    """A pod's controller has no scale: the budget cannot be computed."""


class DisruptionController(Controller):
    name = "disruption-controller"
    component = "controllermanager"
    workers = 1

    def setup(self) -> None:
        self._scalable: dict[tuple[str, str], GVR] = {}
        self.budgets = self.watch(POD_DISRUPTION_BUDGETS)
        self.pods = self.informer(PODS)
        self.watch(PODS, self._of_pod)
        self.owners = {kind: self.informer(gvr) for kind, gvr in _SCALED.items()}
        self.deployments = self.informer(DEPLOYMENTS)

    def _of_pod(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        pod = new or old or {}
        if kind != "DELETED" and decide.stale_condition_due(pod) is not None:
            yield _POD_PREFIX + key_of(pod)
        if old is not None and new is not None and not _matters(old, new):
            return
        for budget in self.budgets.list(namespace_of(pod)):
            selector = _selector(budget)
            if any(o is not None and selector.matches(labels_of(o)) for o in (old, new)):
                yield key_of(budget)

    async def sync(self, key: str) -> float | None:
        if key.startswith(_POD_PREFIX):
            return await self._sync_pod(key.removeprefix(_POD_PREFIX))
        budget = self.budgets.get_key(key)
        if budget is None:
            return None
        try:
            return await self._sync_budget(budget)
        except (NoController, ValueError) as failure:
            message = f"Failed to calculate the number of expected pods: {failure}"
            self.event(budget, WARNING, "CalculateExpectedPodCountFailed", message)
            await self._store(budget, decide.failed_status(budget, str(failure), self.clock.now()))
            raise StatusError(500, "", str(failure)) from failure

    async def _sync_budget(self, budget: Object) -> float | None:
        selector = _selector(budget)
        pods = [p for p in self.pods.list(namespace_of(budget)) if selector.matches(labels_of(p))]
        if not pods:
            self.event(budget, NORMAL, "NoPods", "No matching pods found")
        expectation = decide.Expectation(0)
        if decide.needs_scale(budget):
            expectation = await self._expectation(pods)
        if expectation.unmanaged:
            self.event(budget, WARNING, "UnmanagedPods", _unmanaged_text(budget))
        expected, desired = decide.wanted_counts(budget, pods, expectation)
        now = self.clock.now()
        going, recheck, overdue = decide.disrupted(budget, pods, now)
        for pod in overdue:
            where = f"{namespace_of(budget)}/{name_of(budget)}"
            text = f"Pod was expected by PDB {where} to be deleted but it wasn't"
            self.event(pod, WARNING, "NotDeleted", text)
        counted = decide.healthy(pods, going)
        await self._store(budget, decide.status(budget, counted, desired, expected, going, now))
        return None if recheck is None else recheck - now

    async def _store(self, budget: Object, status: dict[str, object]) -> None:
        if not same_status(budget.get("status"), status):
            await self.writer.update(POD_DISRUPTION_BUDGETS, with_status(budget, status), "status")

    # -- what the controllers of the pods want ---------------------------------------------------------------------

    async def _expectation(self, pods: list[Object]) -> decide.Expectation:
        scales: dict[str, int] = {}
        unmanaged = []
        seen = set()
        for pod in pods:
            reference = controller_of(pod)
            if reference is None:
                unmanaged.append(name_of(pod))
                continue
            if reference["uid"] in seen:
                continue
            seen.add(reference["uid"])
            found = self._known_scale(reference, namespace_of(pod)) or await self._asked_scale(
                reference, namespace_of(pod)
            )
            if found is None:
                raise NoController(f'found no controllers for pod "{name_of(pod)}"')
            scales[found[0]] = found[1]
        return decide.Expectation(sum(scales.values()), unmanaged)

    def _known_scale(self, reference: dict[str, str], namespace: str) -> tuple[str, int] | None:
        """(uid of the owner that counts, its replicas)."""
        informer = self.owners.get(reference["kind"])
        owner = informer.get(namespace, reference["name"]) if informer is not None else None
        if owner is None or uid_of(owner) != reference["uid"]:
            return None
        above = controller_of(owner)
        if reference["kind"] == "ReplicaSet" and above is not None and above.get("kind") == "Deployment":
            deployment = self.deployments.get(namespace, above["name"])
            if deployment is not None and uid_of(deployment) == above["uid"]:
                owner = deployment
        replicas = owner["spec"].get("replicas")
        return uid_of(owner), 1 if replicas is None else int(replicas)

    async def _asked_scale(self, reference: dict[str, str], namespace: str) -> tuple[str, int] | None:
        """Of a custom resource with a scale subresource."""
        gvr = await self._scalable_resource(reference)
        if gvr is None:
            return None
        try:
            scale = await self.client.request("GET", path_for(gvr, namespace, reference["name"], "scale"))
        except StatusError as failure:
            if failure.reason == "NotFound":
                return None
            raise
        if metadata(scale).get("uid") not in (None, reference["uid"]):
            return None
        return reference["uid"], int((scale.get("spec") or {}).get("replicas") or 0)

    async def _scalable_resource(self, reference: dict[str, str]) -> GVR | None:
        key = (parse_api_version(reference["apiVersion"])[0], reference["kind"])
        if key not in self._scalable:
            infos, _ = await discover(self.client)
            self._scalable = {(i.gvr.group, i.kind): i.gvr for i in reversed(infos) if "scale" in i.subresources}
        return self._scalable.get(key)

    # -- pods that were to be disrupted ----------------------------------------------------------------------------

    async def _sync_pod(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        due = decide.stale_condition_due(pod) if pod is not None else None
        if pod is None or due is None:
            return None
        now = self.clock.now()
        if due > now:
            return due - now
        condition = {"type": "DisruptionTarget", "status": "False", "lastTransitionTime": to_time(now)}
        patch = {
            "metadata": {"uid": uid_of(pod)},
            "status": {"conditions": [{**condition, "reason": None, "message": None}]},
        }
        await self.writer.patch(
            PODS, name_of(pod), patch, namespace_of(pod), patch_type=STRATEGIC_MERGE_PATCH, subresource="status"
        )
        return None

    def failed(self, key: str, failure: Exception) -> None:
        if isinstance(failure, API_ERRORS):
            self.log.info("budget not computed", key=key, error=str(failure))
        else:
            super().failed(key, failure)


def _selector(budget: Object) -> LabelSelector:
    return selector_from_object((budget.get("spec") or {}).get("selector"))


def _matters(old: Object, new: Object) -> bool:
    def facts(pod: Object) -> tuple[object, ...]:
        meta = metadata(pod)
        return labels_of(pod), is_ready(pod), meta.get("deletionTimestamp"), is_active(pod), controller_of(pod)

    return facts(old) != facts(new)


def _unmanaged_text(budget: Object) -> str:
    return (
        f"Pods selected by this PodDisruptionBudget (selector: {_selector(budget)}) were found to be unmanaged. "
        "As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "
        'To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
    )
