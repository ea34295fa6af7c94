"""The shell of the StatefulSet controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.errors import StatusError
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
from ...api.resources import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from ...api.selectors import selector_from_object
from ...client.events import NORMAL, WARNING
from .. import history
from ..claims import claim
from ..runtime import API_ERRORS, Controller, bound, is_namespace_terminating, slow_start
from ..values import MAX_INT32, same_status, with_status
from . import decide
from .identity import is_member, revision_of


class StatefulSetController(Controller):
    name = "statefulset-controller"

    def setup(self) -> None:
        self.history = history.History(self)
        self.sets = self.watch(STATEFUL_SETS)
        self.claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self.pods = self.by_owner(PODS)
        self.by_owner(CONTROLLER_REVISIONS)
        self.watch_owned(PODS, "StatefulSet", self._matching)

    def _matching(self, pod: Object) -> Iterable[str]:
        for owner in self.sets.list(namespace_of(pod)) if labels_of(pod) else ():
            selector = selector_from_object(owner["spec"].get("selector"))
            if not selector.everything and selector.matches(labels_of(pod)):
                yield key_of(owner)

    async def sync(self, key: str) -> float | None:
        owner = self.sets.get_key(key)
        if owner is None:
            return None
        reference = controller_reference(owner, "apps/v1", "StatefulSet")
        selector = selector_from_object(owner["spec"].get("selector"))
        revisions = [r for r in self.history.listed(owner) if controller_of(r) or selector.matches(labels_of(r))]
        if not is_deleting(owner):
            revisions = await self.history.adopt(owner, reference, revisions)
        orphans = self.pods.by_index("owner", f"orphan/{namespace_of(owner)}")
        candidates = [*self.pods.by_index("owner", uid_of(owner)), *(p for p in orphans if is_member(owner, p))]
        pods = await claim(self, owner, STATEFUL_SETS, reference, PODS, selector, candidates)
        pods = [p for p in pods if is_member(owner, p)]
        current, update, collisions = await self._revisions(owner, reference, revisions)
        claims = {name_of(c): c for c in self.claims.list(namespace_of(owner))}
        snapshot = decide.Snapshot(owner, current, update, pods, claims, collisions)
        plan = decide.decide(snapshot, self.clock.now())
        failure = await self._carry_out(owner, plan)
        if not same_status(owner.get("status"), plan.status):
            await self.writer.update(STATEFUL_SETS, with_status(owner, plan.status), "status")
        if failure is not None:
            raise failure
        await self._truncate(owner, pods, revisions, current, update)
        return plan.after

    async def _revisions(
        self, owner: Object, reference: dict[str, object], revisions: list[Object]
    ) -> tuple[Object, Object, int]:
        """The revision that pods have, and the one that they shall have."""
        revisions = history.ordered(revisions)
        collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
        data = history.template_data(owner)
        number = int(revisions[-1].get("revision") or 0) + 1 if revisions else 1
        equal = history.equal_revisions(revisions, data)
        if equal and history.same_data(equal[-1], revisions[-1]):
            update = revisions[-1]
        elif equal:
            update = await self.history.renumber(equal[-1], number)
        else:
            update, collisions = await self.history.create(
                lambda count: history.new_revision(owner, reference, data, number, count), data, collisions
            )
        wanted = (owner.get("status") or {}).get("currentRevision")
        current = next((r for r in revisions if name_of(r) == wanted), update)
        return current, update, collisions

    async def _truncate(
        self, owner: Object, pods: list[Object], revisions: list[Object], current: Object, update: Object
    ) -> None:
        limit = owner["spec"].get("revisionHistoryLimit")
        if limit is None or limit == MAX_INT32 or is_deleting(owner):
            return
        live = {name_of(current), name_of(update), *map(revision_of, pods)}
        for revision in history.surplus(revisions, live, limit):
            await self.writer.delete(CONTROLLER_REVISIONS, revision)

    # -- actions ---------------------------------------------------------------------------------------------------

    async def _carry_out(self, owner: Object, plan: decide.Plan) -> Exception | None:
        if decide.is_parallel(owner):
            failure = await slow_start([bound(self._act, owner, action) for action in plan.actions])
        else:
            failure = None
            for action in plan.actions:
                try:
                    await self._act(owner, action)
                except API_ERRORS as caught:
                    failure = caught
                    break
        if failure is None and plan.blocked:
            return StatusError(500, "", plan.blocked)
        return failure

    async def _act(self, owner: Object, action: decide.Action) -> None:
        match action.verb:
            case "create":
                await self._create(owner, action)
            case "delete":
                await self._noted("Delete", owner, action.pod, self.writer.delete(PODS, action.pod))
            case "update":
                await self._noted("Update", owner, action.pod, self._update(action))
            case "claims":
                await self._make_claims(owner, action)

    async def _create(self, owner: Object, action: decide.Action) -> None:
        try:
            await self._make_claims(owner, action)
        except API_ERRORS as failure:
            self._note("Create", owner, action.pod, failure)
            raise
        await self._noted("Create", owner, action.pod, self.writer.create(PODS, action.pod))

    async def _make_claims(self, owner: Object, action: decide.Action) -> None:
        for wanted in action.claims:
            about = f"Claim {name_of(wanted)} Pod {name_of(action.pod)} in StatefulSet {name_of(owner)}"
            try:
                await self.writer.create(PERSISTENT_VOLUME_CLAIMS, wanted)
                self.event(owner, NORMAL, "SuccessfulCreate", f"Create {about} success")
            except StatusError as failure:
                if failure.reason == "AlreadyExists":
                    continue
                about = about.replace(" Pod ", " for Pod ", 1)
                self.event(owner, WARNING, "FailedCreate", f"Create {about} failed error: {failure}")
                raise

        for changed in action.claim_updates:
            await self.writer.update(PERSISTENT_VOLUME_CLAIMS, changed)

    async def _update(self, action: decide.Action) -> None:
        patch = {"metadata": {"uid": uid_of(action.pod), "labels": dict(action.labels or {})}}
        await self.writer.patch(PODS, name_of(action.pod), patch, namespace_of(action.pod))

    async def _noted(self, verb: str, owner: Object, pod: Object, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except API_ERRORS as failure:
            if is_namespace_terminating(failure):
                return
            if not (isinstance(failure, StatusError) and failure.reason == "AlreadyExists"):
                self._note(verb, owner, pod, failure)
            raise
        self._note(verb, owner, pod, None)

    def _note(self, verb: str, owner: Object, pod: Object, failure: Exception | None) -> None:
        about = f"{verb} Pod {name_of(pod)} in StatefulSet {name_of(owner)}"
        if failure is None:
            self.event(owner, NORMAL, f"Successful{verb}", f"{about} successful")
        else:
            self.event(owner, WARNING, f"Failed{verb}", f"{about} failed error: {failure}")
