"""What the Deployment controller reads out of ReplicaSets: revisions, sizes, which one is new. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...api.meta import Object, annotations_of, is_deleting, metadata, name_of, uid_of
from ..pods import by_creation
from ..values import MAX_INT32, int_annotation, scaled_value, semantic

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ROLLBACK_TO = "deprecated.deployment.rollback.to"
NOT_COPIED = frozenset({LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO})
"""Annotations that belong to the Deployment or to the ReplicaSet alone."""
_HISTORY_LENGTH = 2000


def replicas(owner: Object) -> int:
    value = (owner.get("spec") or {}).get("replicas")
    return 1 if value is None else int(value)


def status_count(rs: Object, field: str) -> int:
    return int((rs.get("status") or {}).get(field) or 0)


def total(sets: Iterable[Object]) -> int:
    return sum(map(replicas, sets))


def total_status(sets: Iterable[Object], field: str) -> int:
    return sum(status_count(rs, field) for rs in sets)


def available(rs: Object) -> int:
    """What may be counted on. The status may be of before the set was made smaller: more than it asks for will not stay."""
    return min(status_count(rs, "availableReplicas"), replicas(rs))


def active(sets: Iterable[Object]) -> list[Object]:
    return [rs for rs in sets if replicas(rs) > 0]


def alive(sets: Iterable[Object]) -> list[Object]:
    return [rs for rs in sets if not is_deleting(rs)]


def template_of(owner: Object) -> Object:
    return (owner.get("spec") or {}).get("template") or {}


def _without_hash(template: Object) -> Object:
    meta = dict(metadata(template))
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    return semantic({**template, "metadata": {**meta, "labels": labels}})


def same_template(one: Object, other: Object) -> bool:
    return _without_hash(one) == _without_hash(other)


def find_new(deployment: Object, sets: Iterable[Object]) -> Object | None:
    """The oldest ReplicaSet with the Deployment's template."""
    wanted = _without_hash(template_of(deployment))
    for rs in sorted(sets, key=by_creation):
        if _without_hash(template_of(rs)) == wanted:
            return rs
    return None


def revision(obj: Object) -> int:
    """0 where there is none, or where it is no number."""
    text = annotations_of(obj).get(REVISION, "")
    return int(text) if text.lstrip("-").isdigit() else 0


def last_revision(sets: Iterable[Object]) -> int:
    """The second highest: what an undo without a number goes back to."""
    found = sorted((revision(rs) for rs in sets), reverse=True)
    return found[1] if len(found) > 1 else 0


def is_rolling(deployment: Object) -> bool:
    return strategy_type(deployment) == "RollingUpdate"


def strategy_type(deployment: Object) -> str:
    return ((deployment.get("spec") or {}).get("strategy") or {}).get("type") or "RollingUpdate"


def _fenceposts(deployment: Object) -> tuple[int, int]:
    """(surge, unavailable) as numbers. Both zero by rounding becomes one unavailable: else nothing could ever move."""
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    wanted = replicas(deployment)
    surge = scaled_value(rolling.get("maxSurge", 0), wanted, round_up=True)
    unavailable = scaled_value(rolling.get("maxUnavailable", 0), wanted, round_up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def max_surge(deployment: Object) -> int:
    return _fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Object) -> int:
    if not is_rolling(deployment) or replicas(deployment) == 0:
        return 0
    return min(_fenceposts(deployment)[1], replicas(deployment))


def new_set_replicas(deployment: Object, sets: Iterable[Object], current: int) -> int:
    """How many the new ReplicaSet may have now, given what all sets ask for."""
    wanted = replicas(deployment)
    if not is_rolling(deployment):
        return wanted
    room = wanted + max_surge(deployment) - total(sets)
    return current + min(room, wanted - current) if room > 0 else current


def is_saturated(deployment: Object, rs: Object | None) -> bool:
    if rs is None:
        return False
    wanted = replicas(deployment)
    return (
        replicas(rs) == wanted
        and int_annotation(annotations_of(rs), DESIRED_REPLICAS) == wanted
        and status_count(rs, "availableReplicas") == wanted
    )


def active_or_latest(new: Object | None, old: Sequence[Object]) -> Object | None:
    """The only active set, or the newest where none is active; None where several are."""
    sets = active([*old, *([new] if new else [])])
    if len(sets) == 1:
        return sets[0]
    if not sets:
        return new or max(old, key=by_creation, default=None)
    return None


def size_annotations(deployment: Object) -> dict[str, str]:
    wanted = replicas(deployment)
    return {DESIRED_REPLICAS: str(wanted), MAX_REPLICAS: str(wanted + max_surge(deployment))}


def proportion(rs: Object, deployment: Object, to_add: int, added: int) -> int:
    """The share of ``to_add`` replicas (may be negative) that this set gets."""
    size = replicas(rs)
    if size == 0 or to_add in (0, added):
        return 0
    fraction = _fraction(rs, deployment)
    allowed = to_add - added
    return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)


def _fraction(rs: Object, deployment: Object) -> int:
    size = replicas(rs)
    if replicas(deployment) == 0:
        return -size
    before = int_annotation(annotations_of(rs), MAX_REPLICAS) or status_count(deployment, "replicas")
    if before == 0:
        return 0
    share = size * (replicas(deployment) + max_surge(deployment)) / before
    return int(share + 0.5) - size


def new_annotations(deployment: Object, rs: Object, new_revision: int) -> dict[str, str]:
    """The new ReplicaSet's annotations: the Deployment's own, its revision, and the revisions that it had before."""
    made = dict(annotations_of(rs))
    made.update({k: v for k, v in annotations_of(deployment).items() if k not in NOT_COPIED})
    had = made.get(REVISION, "")
    if had and not had.lstrip("-").isdigit():
        return made
    if int(had or 0) >= new_revision:
        return made
    made[REVISION] = str(new_revision)
    if had:
        history = [r for r in made.get(REVISION_HISTORY, "").split(",") if r] + [had]
        while len(history) > 1 and len(",".join(history)) > _HISTORY_LENGTH:
            history.pop(0)
        made[REVISION_HISTORY] = ",".join(history)
    return made


def has_deadline(deployment: Object) -> bool:
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    return deadline is not None and deadline != MAX_INT32


def rollback_revision(deployment: Object) -> int | None:
    text = annotations_of(deployment).get(ROLLBACK_TO, "")
    return int(text) if text.lstrip("-").isdigit() else None


def is_same(one: Object | None, other: Object | None) -> bool:
    return one is not None and other is not None and uid_of(one) == uid_of(other)


def set_name(deployment: Object, template_hash: str) -> str:
    return f"{name_of(deployment)[: 253 - 1 - len(template_hash)]}-{template_hash}"
