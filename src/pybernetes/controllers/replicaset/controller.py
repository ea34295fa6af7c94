"""The shell of ReplicaSet and ReplicationController: which events wake which sets, and the order of a sync."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ...api.meta import Object, controller_of, controller_reference, key_of, labels_of, namespace_of, uid_of
from ...api.resources import GVR, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from ...api.selectors import LabelSelector, selector_from_map, selector_from_object
from ..claims import claim
from ..pods import is_active, is_terminating, next_availability
from ..runtime import API_ERRORS, Controller, kind_of
from ..values import same_status, with_status
from . import decide


class ReplicaSetController(Controller):
    name = "replicaset-controller"
    gvr: ClassVar[GVR] = REPLICA_SETS
    counts_terminating: ClassVar[bool] = True

    def setup(self) -> None:
        self.api_version, self.kind = kind_of(self.gvr)
        self.sets = self.watch(self.gvr)
        self.by_owner(self.gvr)
        self.pods = self.by_owner(PODS)
        self.watch_owned(PODS, self.kind, self._matching)

    def selector_of(self, owner: Object) -> LabelSelector:
        return selector_from_object((owner.get("spec") or {}).get("selector"))

    def _matching(self, pod: Object) -> Iterable[str]:
        """The sets that might adopt an orphan."""
        labels = labels_of(pod)
        if not labels:
            return
        for owner in self.sets.list(namespace_of(pod)):
            selector = self.selector_of(owner)
            if not selector.everything and selector.matches(labels):
                yield key_of(owner)

    def _related(self, owner: Object) -> list[Object]:
        """The active pods of all sets that have this set's controller (the ReplicaSets of one Deployment)."""
        reference = controller_of(owner)
        siblings = [owner] if reference is None else self.sets.by_index("owner", reference["uid"])
        return [p for s in siblings for p in self.pods.by_index("owner", uid_of(s)) if is_active(p)]

    async def sync(self, key: str) -> float | None:
        owner = self.sets.get_key(key)
        if owner is None:
            return None
        reference = controller_reference(owner, self.api_version, self.kind)
        selector = self.selector_of(owner)
        own = self.pods.by_index("owner", uid_of(owner))
        orphans = self.pods.by_index("owner", f"orphan/{namespace_of(owner)}")
        candidates = [p for p in (*own, *orphans) if is_active(p)]
        active = await claim(self, owner, self.gvr, reference, PODS, selector, candidates)
        terminating = [p for p in own if is_terminating(p) and selector.matches(labels_of(p))]
        snapshot = decide.Snapshot(
            owner, active, terminating if self.counts_terminating else None, self._related(owner)
        )
        failure: Exception | None = None
        now = self.clock.now()
        try:
            await self.execute(decide.manage(snapshot, reference, now))
        except API_ERRORS as caught:
            failure = caught
        status = decide.status(snapshot, None if failure is None else str(failure), now)
        if not same_status(owner.get("status"), status):
            await self.writer.update(self.gvr, with_status(owner, status), "status")
        if failure is not None:
            raise failure
        return next_availability(active, int((owner.get("spec") or {}).get("minReadySeconds") or 0), now)


class ReplicationControllerController(ReplicaSetController):
    name = "replicationcontroller-controller"
    component = "replication-controller"
    gvr = REPLICATION_CONTROLLERS
    counts_terminating = False

    def selector_of(self, owner: Object) -> LabelSelector:
        return selector_from_map((owner.get("spec") or {}).get("selector"))
