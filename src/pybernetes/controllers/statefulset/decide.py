"""Which pods of a StatefulSet are made, mended or deleted next, and what its status says.

Pure. Semantics of upstream's ``stateful_set_control``. In order (the default) at most one pod is on its way; what comes after
it waits until it is available. In parallel nothing waits but the rolling update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...api.meta import Object, is_deleting, metadata, name_of
from ..history import template_in
from ..pods import is_available, is_ready, next_availability, phase_of
from ..values import compact, scaled_value
from . import identity
from .identity import ordinal_of, ordinals_of, replicas_of, revision_of


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``pods`` are those that it owns; ``claims`` the PersistentVolumeClaims of its namespace by name."""

    owner: Object
    current: Object
    update: Object
    pods: Sequence[Object]
    claims: Mapping[str, Object]
    collisions: int = 0


@dataclass(frozen=True, slots=True)
class Action:
    """``verb``: create, update (its labels) or delete a pod, or only ``claims`` (make those that are missing, set owners)."""

    verb: str
    pod: Object
    claims: Sequence[Object] = ()
    claim_updates: Sequence[Object] = ()
    labels: Mapping[str, str] | None = None


@dataclass(slots=True)
class Plan:
    actions: list[Action] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    after: float | None = None
    blocked: str = ""
    """Why nothing more can be done although something should."""


def is_parallel(owner: Object) -> bool:
    return owner["spec"].get("podManagementPolicy") == "Parallel"


def min_ready(owner: Object) -> int:
    return int(owner["spec"].get("minReadySeconds") or 0)


def decide(snapshot: Snapshot, now: float) -> Plan:
    plan = Plan()
    if not is_deleting(snapshot.owner):
        _Round(snapshot, now, plan).go()
    deleted = {name_of(a.pod) for a in plan.actions if a.verb == "delete"}
    plan.status = _status(snapshot, deleted, now)
    plan.after = next_availability(snapshot.pods, min_ready(snapshot.owner), now)
    return plan


class _Round:
    def __init__(self, snapshot: Snapshot, now: float, plan: Plan) -> None:
        self.snapshot, self.owner, self.now, self.plan = snapshot, snapshot.owner, now, plan
        self.in_order = not is_parallel(self.owner)
        by_ordinal = {ordinal_of(p): p for p in snapshot.pods}
        self.replicas: list[tuple[int, Object | None]] = [(o, by_ordinal.get(o)) for o in ordinals_of(self.owner)]
        wanted = set(ordinals_of(self.owner))
        self.condemned = sorted((p for p in snapshot.pods if ordinal_of(p) not in wanted), key=ordinal_of, reverse=True)

    def go(self) -> None:
        for ordinal, pod in self.replicas:
            if self._replica(ordinal, pod) and self.in_order:
                return
        for pod in self.condemned:
            self._fix_claims(pod)
        first_broken = self._first_unavailable()
        for pod in self.condemned:
            if self._condemn(pod, first_broken) and self.in_order:
                return
        if (self.owner["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
            self._roll()

    def _unavailable(self, pod: Object | None) -> bool:
        return pod is None or is_deleting(pod) or not is_available(pod, min_ready(self.owner), self.now)

    def _healthy(self, pod: Object) -> bool:
        return phase_of(pod) == "Running" and is_ready(pod) and is_available(pod, min_ready(self.owner), self.now)

    # -- making and mending ----------------------------------------------------------------------------------------

    def _replica(self, ordinal: int, pod: Object | None) -> bool:
        """True where everything after this one has to wait."""
        if pod is None:
            self._create(ordinal)
            return True
        if phase_of(pod) in ("Failed", "Succeeded"):
            if not is_deleting(pod):
                self.plan.actions.append(Action("delete", pod))
            return True
        missing = self._missing_claims(ordinal) if phase_of(pod) == "Pending" else []
        updates = self._claim_updates(pod)
        if missing or updates:
            self.plan.actions.append(Action("claims", pod, missing, updates))
        if is_deleting(pod) or not self._healthy(pod):
            if self.in_order:
                return True
        labels = identity.relabelled(self.owner, pod)
        if labels is not None:
            self.plan.actions.append(Action("update", pod, labels=labels))
        return False

    def _create(self, ordinal: int) -> None:
        pod = self._new_pod(ordinal)
        if identity.retention(self.owner)[1] != identity.RETAIN:
            for claim in identity.claims_for(self.owner, ordinal):
                found = self.snapshot.claims.get(name_of(claim))
                if found is not None and identity.has_stale_pod(found, pod):
                    # It goes with the pod of before: a new pod must not begin with it.
                    return
        for claim in identity.claims_for(self.owner, ordinal):
            found = self.snapshot.claims.get(name_of(claim))
            if found is not None and is_deleting(found):
                self.plan.blocked = f"pvc {name_of(claim)} is being deleted"
                return
        self.plan.actions.append(Action("create", pod, self._missing_claims(ordinal)))

    def _new_pod(self, ordinal: int) -> Object:
        """Below the partition pods stay with the current revision."""
        rolling = (self.owner["spec"].get("updateStrategy") or {}).get("rollingUpdate")
        partition = int((rolling or {}).get("partition") or 0)
        held = ordinal < identity.start_of(self.owner) + partition
        revision = self.snapshot.current if held else self.snapshot.update
        return identity.new_pod(self.owner, template_in(revision), name_of(revision), ordinal)

    def _missing_claims(self, ordinal: int) -> list[Object]:
        wanted = identity.claims_for(self.owner, ordinal)
        return [c for c in wanted if name_of(c) not in self.snapshot.claims]

    def _claim_updates(self, pod: Object) -> list[Object]:
        changed = []
        for template in self.owner["spec"].get("volumeClaimTemplates") or []:
            name = identity.claim_name(self.owner, template, ordinal_of(pod))
            claim = self.snapshot.claims.get(name)
            references = identity.claim_references(claim, self.owner, pod) if claim is not None else None
            if claim is not None and references is not None:
                changed.append(identity.owned(claim, references))
        return changed

    def _fix_claims(self, pod: Object) -> None:
        updates = self._claim_updates(pod)
        if updates:
            self.plan.actions.append(Action("claims", pod, claim_updates=updates))

    # -- scaling down ----------------------------------------------------------------------------------------------

    def _first_unavailable(self) -> Object | None:
        for pod in [*(p for _, p in self.replicas), *reversed(self.condemned)]:
            if pod is not None and self._unavailable(pod):
                return pod
        return None

    def _condemn(self, pod: Object, first_broken: Object | None) -> bool:
        if is_deleting(pod):
            return self.in_order
        if self.in_order and not self._healthy(pod) and pod is not first_broken:
            return True
        self.plan.actions.append(Action("delete", pod))
        return True

    # -- rolling update --------------------------------------------------------------------------------------------

    def _roll(self) -> None:
        rolling = (self.owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        partition = int(rolling.get("partition") or 0)
        if rolling.get("maxUnavailable") is not None:
            self._roll_many(rolling["maxUnavailable"], partition)
            return
        for _, pod in reversed(self.replicas[partition:]):
            if pod is not None and revision_of(pod) != name_of(self.snapshot.update) and not is_deleting(pod):
                self.plan.actions.append(Action("delete", pod))
                return
            if self._unavailable(pod):
                return

    def _roll_many(self, limit: Any, partition: int) -> None:
        allowed = max(1, scaled_value(limit, replicas_of(self.owner), round_up=False))
        room = allowed - sum(self._unavailable(p) for _, p in self.replicas)
        for _, pod in reversed(self.replicas[partition:]):
            if room <= 0:
                return
            if pod is not None and revision_of(pod) != name_of(self.snapshot.update) and not is_deleting(pod):
                self.plan.actions.append(Action("delete", pod))
                room -= 1


# -- status ------------------------------------------------------------------------------------------------------------


def _status(snapshot: Snapshot, deleted: set[str], now: float) -> dict[str, Any]:
    owner, spec = snapshot.owner, snapshot.owner["spec"]
    created = [p for p in snapshot.pods if phase_of(p) and ordinal_of(p) >= 0]
    running = [p for p in created if phase_of(p) == "Running" and is_ready(p)]
    stable = [p for p in created if not is_deleting(p)]
    current, update = name_of(snapshot.current), name_of(snapshot.update)
    status: dict[str, Any] = {
        "observedGeneration": metadata(owner).get("generation") or 0,
        "replicas": len(created),
        "readyReplicas": len(running),
        "availableReplicas": sum(is_available(p, min_ready(owner), now) for p in running),
        "currentReplicas": sum(revision_of(p) == current and name_of(p) not in deleted for p in stable),
        "updatedReplicas": sum(revision_of(p) == update for p in stable),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": snapshot.collisions,
    }
    wanted = replicas_of(owner)
    rolling = (spec.get("updateStrategy") or {}).get("type") != "OnDelete"
    if rolling and status["updatedReplicas"] == status["readyReplicas"] == status["replicas"] == wanted:
        status["currentReplicas"], status["currentRevision"] = status["updatedReplicas"], update
    old = (owner.get("status") or {}).get("conditions")
    if old:
        status["conditions"] = old
    return compact(status, keep=("replicas", "availableReplicas", "collisionCount"))
