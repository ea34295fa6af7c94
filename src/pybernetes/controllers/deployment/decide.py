"""What a Deployment does next: which ReplicaSet to make, scale or delete, and what its status says.

Semantics of upstream's ``pkg/controller/deployment``. The whole plan of one sync is made on copies; a set that several steps
change is written once, and the status last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...api.meta import Object, annotations_of, controller_reference, is_deleting, labels_of, metadata, name_of, uid_of
from ...api.resources import DEPLOYMENTS, REPLICA_SETS
from ...client.events import NORMAL, WARNING
from ..commands import Create, Decision, Delete, Emit, Update
from ..conditions import find, put
from ..pods import by_creation, phase_of
from ..values import MAX_INT32, hash_of, same_status, with_metadata, with_spec, with_status
from . import sets
from . import status as statuses


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``sets`` are the ReplicaSets that the Deployment owns; ``pods`` theirs, by the uid of the set."""

    deployment: Object
    sets: Sequence[Object]
    pods: Mapping[str, Sequence[Object]]


def decide(snapshot: Snapshot, now: float) -> Decision:
    return _Plan(snapshot, now).decide()


def creation_failed(deployment: Object, rs: Object, message: str, now: float) -> Decision:
    """The new ReplicaSet could not be made."""
    text = f'Failed to create new replica set "{name_of(rs)}": {message}'
    decision = Decision([Emit(deployment, WARNING, statuses.CREATE_ERROR, text)])
    if sets.has_deadline(deployment):
        old = deployment.get("status") or {}
        made = statuses.condition(statuses.PROGRESSING, "False", statuses.CREATE_ERROR, text, now)
        conditions = put(list(old.get("conditions") or []), made)
        if conditions != old.get("conditions"):
            changed = with_status(deployment, {**old, "conditions": conditions})
            decision.commands.append(Update(DEPLOYMENTS, changed, "status"))
    return decision


def collided(deployment: Object) -> Decision:
    """Another object has the name of the new ReplicaSet: the next try hashes with a higher count."""
    old = deployment.get("status") or {}
    count = int(old.get("collisionCount") or 0) + 1
    return Decision([Update(DEPLOYMENTS, with_status(deployment, {**old, "collisionCount": count}), "status")])


class _Plan:
    """One sync. ``self.old`` and ``self.new`` are the sets as they will be when the commands so far are done."""

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self.original = self.deployment = snapshot.deployment
        self.now, self.pods = now, snapshot.pods
        self.decision = Decision()
        ordered = sorted(snapshot.sets, key=by_creation)
        self.new = sets.find_new(self.deployment, ordered)
        self.old = [rs for rs in ordered if not sets.is_same(rs, self.new)]
        self._changed: dict[str, Object] = {}
        self._events: list[Emit] = []

    # -- the order of a sync ---------------------------------------------------------------------------------------

    def decide(self) -> Decision:
        spec = self.deployment.get("spec") or {}
        if spec.get("selector") == {}:
            return self._selects_all()
        if is_deleting(self.deployment):
            self._sync_revision(create=False)
            return self._finish(rollout=False)
        self._note_pause()
        if spec.get("paused"):
            self._sync_revision(create=False)
            self._scale()
            self._clean_up()
            return self._finish(rollout=False)
        if sets.rollback_revision(self.deployment) is not None:
            return self._roll_back()
        self._sync_revision(create=False)
        if self._is_scaling():
            self._scale()
            return self._finish(rollout=False)
        if sets.is_rolling(self.deployment):
            self._roll()
        else:
            self._recreate()
        return self._finish(rollout=True)

    def _selects_all(self) -> Decision:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        self.decision.commands.append(Emit(self.deployment, WARNING, "SelectingAll", message))
        old, generation = self.deployment.get("status") or {}, metadata(self.deployment).get("generation") or 0
        if (old.get("observedGeneration") or 0) < generation:
            changed = with_status(self.deployment, {**old, "observedGeneration": generation})
            self.decision.commands.append(Update(DEPLOYMENTS, changed, "status"))
        return self.decision

    def _finish(self, *, rollout: bool) -> Decision:
        everything = self._all()
        status = statuses.calculate(self.deployment, everything, self.new, self.now)
        if rollout:
            status = statuses.with_progress(self.deployment, everything, self.new, status, self.now)
        self._flush()
        after = with_status(self.deployment, status)
        if not same_status(self.original.get("status"), status) or annotations_of(after) != annotations_of(
            self.original
        ):
            self.decision.commands.append(Update(DEPLOYMENTS, after, "status"))
        elif rollout:
            self.decision.again_in(statuses.deadline_check(self.deployment, status, self.now))
        return self.decision

    def _flush(self) -> None:
        self.decision.commands[:0] = [Update(REPLICA_SETS, rs) for rs in self._changed.values()]
        self.decision.commands += self._events

    def _all(self) -> list[Object]:
        return [*self.old, *([self.new] if self.new else [])]

    def _set_condition(self, kind: str, status: str, reason: str, message: str) -> None:
        old = self.deployment.get("status") or {}
        made = statuses.condition(kind, status, reason, message, self.now)
        conditions = put(list(old.get("conditions") or []), made)
        self.deployment = with_status(self.deployment, {**old, "conditions": conditions})

    def _note_pause(self) -> None:
        """Pausing stops the clock of the deadline, resuming starts it anew."""
        if not sets.has_deadline(self.deployment):
            return
        current = find((self.deployment.get("status") or {}).get("conditions") or [], statuses.PROGRESSING)
        reason = current.get("reason") if current else None
        if reason == statuses.TIMED_OUT:
            return
        paused = bool(self.deployment["spec"].get("paused"))
        if paused and reason != statuses.PAUSED:
            self._set_condition(statuses.PROGRESSING, "Unknown", statuses.PAUSED, "Deployment is paused")
        elif not paused and reason == statuses.PAUSED:
            self._set_condition(statuses.PROGRESSING, "Unknown", statuses.RESUMED, "Deployment is resumed")

    # -- the new set and revisions ---------------------------------------------------------------------------------

    def _sync_revision(self, *, create: bool) -> None:
        """Gives the new set the highest revision, and tells the Deployment; makes the set where asked to."""
        revision = max((sets.revision(rs) for rs in self.old), default=0) + 1
        if self.new is None:
            if create:
                self._create_new(revision)
            return
        annotations = sets.new_annotations(self.deployment, self.new, revision)
        min_ready = int(self.deployment["spec"].get("minReadySeconds") or 0)
        if annotations != annotations_of(self.new):
            self._change(self.new, with_metadata(self.new, annotations=annotations))
        if int(self.new["spec"].get("minReadySeconds") or 0) != min_ready:
            self._change(self.new, with_spec(self.new, minReadySeconds=min_ready))
        self._set_revision(annotations_of(self.new).get(sets.REVISION, ""))
        conditions = (self.deployment.get("status") or {}).get("conditions") or []
        if sets.has_deadline(self.deployment) and find(conditions, statuses.PROGRESSING) is None:
            message = f'Found new replica set "{name_of(self.new)}"'
            self._set_condition(statuses.PROGRESSING, "True", statuses.FOUND, message)

    def _set_revision(self, revision: str) -> None:
        annotations = annotations_of(self.deployment)
        if annotations.get(sets.REVISION) != revision:
            self.deployment = with_metadata(self.deployment, annotations={**annotations, sets.REVISION: revision})

    def _create_new(self, revision: int) -> None:
        spec, old = self.deployment["spec"], self.deployment.get("status") or {}
        template = sets.template_of(self.deployment)
        template_hash = hash_of(template, old.get("collisionCount"))
        labels = {**(metadata(template).get("labels") or {}), sets.HASH_LABEL: template_hash}
        selector = spec.get("selector") or {}
        selector = {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), sets.HASH_LABEL: template_hash}}
        rs: Object = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": sets.set_name(self.deployment, template_hash),
                "namespace": metadata(self.deployment).get("namespace"),
                "labels": labels,
                "ownerReferences": [controller_reference(self.deployment, "apps/v1", "Deployment")],
            },
            "spec": {
                "replicas": sets.new_set_replicas(self.deployment, self.old, 0),
                "minReadySeconds": int(spec.get("minReadySeconds") or 0),
                "selector": selector,
                "template": with_metadata(template, labels=labels),
            },
        }
        annotations = sets.new_annotations(self.deployment, rs, revision) | sets.size_annotations(self.deployment)
        self.new = rs = with_metadata(rs, annotations=annotations)
        self.decision.commands.append(Create(REPLICA_SETS, rs))
        if sets.replicas(rs) > 0:
            message = f"Scaled up replica set {name_of(rs)} from 0 to {sets.replicas(rs)}"
            self._events.append(Emit(self.original, NORMAL, "ScalingReplicaSet", message))
        self._set_revision(str(revision))
        if sets.has_deadline(self.deployment):
            message = f'Created new replica set "{name_of(rs)}"'
            self._set_condition(statuses.PROGRESSING, "True", statuses.CREATED, message)

    def _change(self, before: Object, after: Object) -> Object:
        """Replaces a set by a changed copy."""
        self._changed[uid_of(before)] = after
        if sets.is_same(before, self.new):
            self.new = after
        self.old = [after if sets.is_same(before, rs) else rs for rs in self.old]
        return after

    # -- scaling ---------------------------------------------------------------------------------------------------

    def _scale_set(self, rs: Object, size: int) -> bool:
        """Sets a size and the annotations that go with it; True where the size changed."""
        before = sets.replicas(rs)
        wanted = sets.size_annotations(self.deployment)
        stale = not wanted.items() <= annotations_of(rs).items()
        if before == size and not stale:
            return False
        annotations = {**annotations_of(rs), **wanted}
        self._change(rs, with_metadata(with_spec(rs, replicas=size), annotations=annotations))
        if before == size:
            return False
        direction = "up" if before < size else "down"
        message = f"Scaled {direction} replica set {name_of(rs)} from {before} to {size}"
        self._events.append(Emit(self.original, NORMAL, "ScalingReplicaSet", message))
        return True

    def _is_scaling(self) -> bool:
        """Whether some active set was sized for another number of replicas than is asked for now."""
        wanted = sets.replicas(self.deployment)
        for rs in sets.active(self._all()):
            sized_for = sets.int_annotation(annotations_of(rs), sets.DESIRED_REPLICAS)
            if sized_for is not None and sized_for != wanted:
                return True
        return False

    def _scale(self) -> None:
        only = sets.active_or_latest(self.new, self.old)
        if only is not None:
            if sets.replicas(only) != sets.replicas(self.deployment):
                self._scale_set(only, sets.replicas(self.deployment))
            return
        if sets.is_saturated(self.deployment, self.new):
            for rs in sets.active(self.old):
                self._scale_set(rs, 0)
        elif sets.is_rolling(self.deployment):
            self._scale_in_proportion()

    def _scale_in_proportion(self) -> None:
        """In the middle of a rollout every set gets its share, the largest ones first."""
        wanted = sets.replicas(self.deployment)
        every = sets.active(self._all())
        allowed = wanted + sets.max_surge(self.deployment) if wanted > 0 else 0
        to_add = allowed - sets.total(every)
        # Of two sets of one size the newer grows first, the older shrinks first.
        every.sort(key=by_creation, reverse=to_add > 0)
        every.sort(key=lambda rs: -sets.replicas(rs))
        sizes, added = [], 0
        for rs in every:
            share = sets.proportion(rs, self.deployment, to_add, added)
            sizes.append(sets.replicas(rs) + share)
            added += share
        if every and to_add:
            sizes[0] = max(0, sizes[0] + to_add - added)
        for rs, size in zip(every, sizes, strict=True):
            self._scale_set(rs, size)

    # -- rolling update --------------------------------------------------------------------------------------------

    def _roll(self) -> None:
        self._sync_revision(create=True)
        if self.new is None or self._grow_new() or self._shrink_old():
            return
        if statuses.is_complete(self.deployment, self.deployment.get("status") or {}):
            self._clean_up()

    def _grow_new(self) -> bool:
        assert self.new is not None
        size, wanted = sets.replicas(self.new), sets.replicas(self.deployment)
        if size == wanted:
            return False
        if size > wanted:
            return self._scale_set(self.new, wanted)
        return self._scale_set(self.new, sets.new_set_replicas(self.deployment, self._all(), size))

    def _shrink_old(self) -> bool:
        """Old pods go as far as availability allows; those that are not available anyway go first."""
        assert self.new is not None
        if sets.total(self.old) == 0:
            return False
        floor = sets.replicas(self.deployment) - sets.max_unavailable(self.deployment)
        unavailable_new = sets.replicas(self.new) - sets.available(self.new)
        room = sets.total(self._all()) - floor - unavailable_new
        if room <= 0:
            return False
        cleaned = 0
        for rs in list(self.old):
            broken = sets.replicas(rs) - sets.available(rs)
            if cleaned < room and broken > 0:
                count = min(room - cleaned, broken)
                self._scale_set(rs, sets.replicas(rs) - count)
                cleaned += count
        spare = sum(map(sets.available, self._all())) - floor
        gone = 0
        for rs in list(self.old):
            count = min(sets.replicas(rs), spare - gone)
            if count > 0:
                self._scale_set(rs, sets.replicas(rs) - count)
                gone += count
        return cleaned + gone > 0

    # -- recreate --------------------------------------------------------------------------------------------------

    def _recreate(self) -> None:
        scaled = [self._scale_set(rs, 0) for rs in sets.active(self.old)]
        if any(scaled) or self._old_pods_run():
            return
        if self.new is None:
            self._sync_revision(create=True)
        assert self.new is not None
        if sets.replicas(self.new) != sets.replicas(self.deployment):
            self._scale_set(self.new, sets.replicas(self.deployment))
        if statuses.is_complete(self.deployment, self.deployment.get("status") or {}):
            self._clean_up()

    def _old_pods_run(self) -> bool:
        if sets.total_status(self.old, "replicas") > 0:
            return True
        new_uid = uid_of(self.new) if self.new else None
        return any(
            phase_of(pod) not in ("Failed", "Succeeded")
            for uid, pods in self.pods.items()
            if uid != new_uid
            for pod in pods
        )

    # -- history ---------------------------------------------------------------------------------------------------

    def _clean_up(self) -> None:
        limit = self.deployment["spec"].get("revisionHistoryLimit")
        if limit is None or limit == MAX_INT32:
            return
        cleanable = sets.alive(self.old)
        surplus = len(cleanable) - limit
        for rs in sorted(cleanable, key=lambda rs: (sets.revision(rs), by_creation(rs)))[: max(0, surplus)]:
            unseen = (metadata(rs).get("generation") or 0) > sets.status_count(rs, "observedGeneration")
            if sets.status_count(rs, "replicas") == 0 and sets.replicas(rs) == 0 and not unseen:
                self.decision.commands.append(Delete(REPLICA_SETS, rs))

    def _roll_back(self) -> Decision:
        """The old API's rollback (an annotation): takes the template of a revision over."""
        self._sync_revision(create=True)
        self._flush()
        wanted = sets.rollback_revision(self.deployment) or sets.last_revision(self._all())
        target = next((rs for rs in self._all() if wanted and sets.revision(rs) == wanted), None)
        after = self.deployment
        if target is None:
            words = "Unable to find the revision to rollback to." if wanted else "Unable to find last revision."
            event = Emit(self.original, WARNING, "DeploymentRollbackRevisionNotFound", words)
        elif sets.same_template(sets.template_of(after), sets.template_of(target)):
            words = f'The rollback revision contains the same template as current deployment "{name_of(after)}"'
            event = Emit(self.original, WARNING, "DeploymentRollbackTemplateUnchanged", words)
        else:
            after = _with_template_of(after, target)
            words = f'Rolled back deployment "{name_of(after)}" to revision {wanted}'
            event = Emit(self.original, NORMAL, "DeploymentRollback", words)
        kept = {k: v for k, v in annotations_of(after).items() if k != sets.ROLLBACK_TO}
        self.decision.commands += [Update(DEPLOYMENTS, with_metadata(after, annotations=kept)), event]
        return self.decision


def _with_template_of(deployment: Object, rs: Object) -> Object:
    template: dict[str, Any] = sets.template_of(rs)
    labels = {k: v for k, v in labels_of(template).items() if k != sets.HASH_LABEL}
    annotations = {k: v for k, v in annotations_of(deployment).items() if k in sets.NOT_COPIED}
    annotations |= {k: v for k, v in annotations_of(rs).items() if k not in sets.NOT_COPIED}
    return with_metadata(
        with_spec(deployment, template=with_metadata(template, labels=labels)), annotations=annotations
    )
