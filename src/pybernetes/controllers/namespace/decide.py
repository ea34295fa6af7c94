"""What is left in a namespace, in words and conditions. Pure. Semantics of upstream's ``pkg/controller/namespace/deletion``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...api.meta import Object, finalizers_of, metadata
from ...api.resources import GVR, ResourceInfo
from ...api.times import parse_time, to_time
from ..pods import is_terminal
from ..values import with_spec, with_status

FINALIZER = "kubernetes"
FINALIZER_ESTIMATE = 15
_CONDITIONS = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
)


@dataclass(slots=True)
class Remains:
    """What one look at the namespace's content found. ``estimate`` is the seconds that it may still take."""

    estimate: int = 0
    resources: Counter[GVR] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    discovery_error: str = ""

    def add(self, gvr: GVR, items: Iterable[Object], estimate: int, namespace: str) -> None:
        """Counts what is left of a resource after its deletion was asked for."""
        found = list(items)
        if not found:
            return
        self.resources[gvr] = len(found)
        held = Counter(f for item in found for f in finalizers_of(item))
        self.finalizers.update(held)
        if estimate == 0 and held:
            estimate = FINALIZER_ESTIMATE
        if estimate == 0:
            where = f"{gvr.group}/{gvr.version}, Resource={gvr.resource}"
            self.errors.append(f"unexpected items still remain in namespace: {namespace} for gvr: {where}")
        self.estimate = max(self.estimate, estimate)


def deletable(infos: Iterable[ResourceInfo]) -> list[ResourceInfo]:
    return [i for i in infos if i.namespaced and "delete" in i.verbs and "list" in i.verbs]


def grace_estimate(pods: Iterable[Object], deleted_at: str, now: float) -> int:
    """The longest grace period of a pod that runs, unless that long has passed since the deletion already."""
    graces = [int((p.get("spec") or {}).get("terminationGracePeriodSeconds") or 0) for p in pods if not is_terminal(p)]
    longest = max(graces, default=0)
    return longest if now - parse_time(deleted_at) < longest else 0


def marked_terminating(namespace: Object) -> Object | None:
    """The namespace with the phase that its deletion calls for; None where it has it."""
    status = namespace.get("status") or {}
    if status.get("phase") == "Terminating":
        return None
    return with_status(namespace, {**status, "phase": "Terminating"})


def with_conditions(namespace: Object, remains: Remains, now: float) -> Object | None:
    """The namespace with conditions that tell what is left; None where they would not change."""
    problems = _problems(remains)
    status = namespace.get("status") or {}
    conditions = [dict(c) for c in status.get("conditions") or []]
    by_type = {c["type"]: c for c in conditions}
    changed = False
    for kind, ok_reason, ok_message in _CONDITIONS:
        state, reason, message = ("True", *problems[kind]) if kind in problems else ("False", ok_reason, ok_message)
        old = by_type.get(kind)
        if old is None:
            made = {"type": kind, "status": state, "lastTransitionTime": to_time(now), "reason": reason}
            conditions.append({**made, "message": message})
            changed = True
        elif (old.get("status"), old.get("reason"), old.get("message")) != (state, reason, message):
            if old.get("status") != state:
                old["lastTransitionTime"] = to_time(now)
            old.update(status=state, reason=reason, message=message)
            changed = True
    return with_status(namespace, {**status, "conditions": conditions}) if changed else None


def _problems(remains: Remains) -> dict[str, tuple[str, str]]:
    problems: dict[str, tuple[str, str]] = {}
    if remains.discovery_error:
        problems["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", remains.discovery_error)
    if remains.errors:
        joined = ", ".join(sorted(remains.errors))
        message = f"Failed to delete all resource types, {len(remains.errors)} remaining: {joined}"
        problems["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
    if remains.resources:
        listed = sorted(f"{g.resource}.{g.group} has {n} resource instances" for g, n in remains.resources.items())
        message = f"Some resources are remaining: {', '.join(listed)}"
        problems["NamespaceContentRemaining"] = ("SomeResourcesRemain", message)
    if remains.finalizers:
        listed = sorted(f"{f} in {n} resource instances" for f, n in remains.finalizers.items())
        message = f"Some content in the namespace has finalizers remaining: {', '.join(listed)}"
        problems["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", message)
    return problems


def finalized(namespace: Object) -> Object:
    """The namespace without our finalizer: with the last one it goes."""
    left: list[Any] = [f for f in (namespace.get("spec") or {}).get("finalizers") or [] if f != FINALIZER]
    return with_spec(namespace, finalizers=sorted(left))


def is_held(namespace: Object) -> bool:
    return bool((namespace.get("spec") or {}).get("finalizers")) and "deletionTimestamp" in metadata(namespace)
