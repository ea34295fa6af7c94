"""The shell of the DaemonSet controller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...api.meta import (
    Object,
    controller_of,
    controller_reference,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from ...api.resources import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from ...api.selectors import selector_from_object
from ...client.events import WARNING
from .. import history
from ..claims import claim
from ..commands import CreatePods, DeletePods
from ..runtime import API_ERRORS, Controller
from ..taints import taints_of
from ..values import MAX_INT32, same_status, with_status
from . import decide

_BACKOFF_BASE, _BACKOFF_MAX = 1.0, 15 * 60.0


class DaemonSetController(Controller):
    name = "daemonset-controller"
    workers = 2

    def setup(self) -> None:
        self.history = history.History(self)
        self._backoffs: dict[tuple[str, str], tuple[float, float]] = {}
        self.sets = self.watch(DAEMON_SETS)
        self.pods = self.by_owner(PODS)
        self.by_owner(CONTROLLER_REVISIONS)
        self.watch_owned(PODS, "DaemonSet", self._matching)
        self.nodes = self.watch(NODES, self._of_node)

    def _matching(self, pod: Object) -> Iterable[str]:
        for owner in self.sets.list(namespace_of(pod)) if labels_of(pod) else ():
            selector = selector_from_object(owner["spec"].get("selector"))
            if not selector.everything and selector.matches(labels_of(pod)):
                yield key_of(owner)

    def _of_node(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        """Heartbeats change nothing; labels and taints may."""
        if kind == "MODIFIED" and old is not None and new is not None:
            if labels_of(old) == labels_of(new) and taints_of(old) == taints_of(new):
                return ()
            return [key_of(d) for d in self.sets.list() if decide.should_run(d, old) != decide.should_run(d, new)]
        return [key_of(d) for d in self.sets.list()]

    async def sync(self, key: str) -> float | None:
        owner = self.sets.get_key(key)
        if owner is None or is_deleting(owner):
            return None
        if owner["spec"].get("selector") == {}:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self.event(owner, WARNING, "SelectingAll", message)
            return None
        reference = controller_reference(owner, "apps/v1", "DaemonSet")
        revisions = await self._claim_revisions(owner, reference)
        update, collisions = await self._revision(owner, reference, revisions)
        pods = await self._claim_pods(owner, reference)
        template_hash = labels_of(update).get(decide.HASH_LABEL, "")
        snapshot = self._snapshot(owner, template_hash, pods)
        failure, after = await self._step(snapshot, reference)
        # Once more, with what was made and deleted.
        snapshot = self._snapshot(owner, template_hash, self.pods.by_index("owner", uid_of(owner)))
        now = self.clock.now()
        status = decide.status(snapshot, collisions, now)
        if not same_status(owner.get("status"), status):
            await self.writer.update(DAEMON_SETS, with_status(owner, status), "status")
        if failure is not None:
            raise failure
        await self._truncate(owner, snapshot.pods, [r for r in revisions if name_of(r) != name_of(update)])
        waits = [w for w in (after, decide.next_look(snapshot, now)) if w is not None]
        return min(waits, default=None)

    def _snapshot(self, owner: Object, template_hash: str, pods: Iterable[Object]) -> decide.Snapshot:
        now = self.clock.monotonic()
        waiting = {n: due - now for (uid, n), (_, due) in self._backoffs.items() if uid == uid_of(owner) and due > now}
        return decide.Snapshot(owner, template_hash, self.nodes.list(), list(pods), waiting)

    async def _claim_pods(self, owner: Object, reference: dict[str, Any]) -> list[Object]:
        selector = selector_from_object(owner["spec"].get("selector"))
        orphans = self.pods.by_index("owner", f"orphan/{namespace_of(owner)}")
        candidates = [*self.pods.by_index("owner", uid_of(owner)), *orphans]
        return await claim(self, owner, DAEMON_SETS, reference, PODS, selector, candidates)

    async def _step(
        self, snapshot: decide.Snapshot, reference: dict[str, Any]
    ) -> tuple[Exception | None, float | None]:
        now = self.clock.now()
        plan = decide.manage(snapshot, reference, now)
        if not plan.create and not plan.delete:
            after = plan.after
            plan = decide.roll(snapshot, reference, now)
            plan.after = after
        for node in plan.failed_nodes:
            self._back_off(uid_of(snapshot.owner), node)
        for event in plan.events:
            self.event(snapshot.owner, *event)
        try:
            if plan.create:
                await self.execute([CreatePods(snapshot.owner, plan.create)])
            if plan.delete:
                await self.execute([DeletePods(snapshot.owner, plan.delete)])
        except API_ERRORS as failure:
            return failure, None
        return None, plan.after

    def _back_off(self, uid: str, node: str) -> None:
        now = self.clock.monotonic()
        delay, due = self._backoffs.get((uid, node), (0.0, now))
        # Quiet for twice the longest wait: begin anew.
        delay = _BACKOFF_BASE if now - due > 2 * _BACKOFF_MAX or not delay else min(_BACKOFF_MAX, delay * 2)
        self._backoffs[uid, node] = (delay, now + delay)

    # -- revisions -------------------------------------------------------------------------------------------------

    async def _claim_revisions(self, owner: Object, reference: dict[str, Any]) -> list[Object]:
        selector = selector_from_object(owner["spec"].get("selector"))
        listed = [r for r in self.history.listed(owner) if controller_of(r) or selector.matches(labels_of(r))]
        return await self.history.adopt(owner, reference, listed)

    async def _revision(self, owner: Object, reference: dict[str, Any], revisions: list[Object]) -> tuple[Object, int]:
        collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
        data = history.template_data(owner)
        equal = history.ordered(history.equal_revisions(revisions, data))
        old = [r for r in revisions if r not in equal]
        number = max((int(r.get("revision") or 0) for r in old), default=0) + 1
        if equal:
            newest = equal[-1]
            if int(newest.get("revision") or 0) < number:
                newest = await self.history.renumber(newest, number)
            return newest, collisions
        return await self.history.create(
            lambda count: history.new_revision(owner, reference, data, number, count, label=decide.HASH_LABEL),
            data,
            collisions,
        )

    async def _truncate(self, owner: Object, pods: Iterable[Object], old: list[Object]) -> None:
        limit = owner["spec"].get("revisionHistoryLimit")
        if limit is None or limit == MAX_INT32:
            return
        hashes = {labels_of(p).get(decide.HASH_LABEL) for p in pods}
        live = [name_of(r) for r in old if labels_of(r).get(decide.HASH_LABEL) in hashes]
        for revision in history.surplus(old, live, limit)[: max(0, len(old) - limit)]:
            await self.writer.delete(CONTROLLER_REVISIONS, revision)
