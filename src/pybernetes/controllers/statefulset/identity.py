"""The identity of a StatefulSet's pods, and the ownership of their claims. Pure."""

from __future__ import annotations

import re
from typing import Any

from ...api.meta import Object, controller_reference, labels_of, name_of, namespace_of, owner_references_of, uid_of
from ..pods import pod_from_template
from ..values import deep_copy, with_metadata

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
REVISION_LABEL = "controller-revision-hash"
_NAME = re.compile(r"(.*)-([0-9]+)")
RETAIN, DELETE = "Retain", "Delete"


def parent_and_ordinal(pod: Object) -> tuple[str, int]:
    match = _NAME.fullmatch(name_of(pod))
    return (match[1], int(match[2])) if match else ("", -1)


def ordinal_of(pod: Object) -> int:
    return parent_and_ordinal(pod)[1]


def is_member(owner: Object, pod: Object) -> bool:
    return parent_and_ordinal(pod)[0] == name_of(owner)


def replicas_of(owner: Object) -> int:
    value = owner["spec"].get("replicas")
    return 1 if value is None else int(value)


def start_of(owner: Object) -> int:
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def ordinals_of(owner: Object) -> range:
    return range(start_of(owner), start_of(owner) + replicas_of(owner))


def revision_of(pod: Object) -> str:
    return labels_of(pod).get(REVISION_LABEL, "")


def claim_name(owner: Object, template: Object, ordinal: int) -> str:
    return f"{name_of(template)}-{name_of(owner)}-{ordinal}"


def claims_for(owner: Object, ordinal: int) -> list[Object]:
    """The claims of one pod, from the templates."""
    match_labels = (owner["spec"].get("selector") or {}).get("matchLabels") or {}
    made = []
    for template in owner["spec"].get("volumeClaimTemplates") or []:
        claim = deep_copy(template)
        meta = claim["metadata"]
        meta.update(
            name=claim_name(owner, template, ordinal),
            namespace=namespace_of(owner),
            labels={**(meta.get("labels") or {}), **match_labels},
        )
        claim.pop("status", None)
        made.append({**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"})
    return made


def new_pod(owner: Object, template: Object, revision: str, ordinal: int) -> Object:
    """The pod of an ordinal from a revision's template."""
    pod = pod_from_template(template, owner, controller_reference(owner, "apps/v1", "StatefulSet"))
    name, meta = f"{name_of(owner)}-{ordinal}", pod["metadata"]
    meta["name"] = name
    # Upstream's pods carry both: the name is given, and the prefix is what they share.
    meta["labels"] = {
        **(meta.get("labels") or {}),
        POD_NAME_LABEL: name,
        INDEX_LABEL: str(ordinal),
        REVISION_LABEL: revision,
    }
    spec = {**pod["spec"], "hostname": name}
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    pod["spec"] = {**spec, **_volumes(owner, spec, ordinal)}
    return pod


def _volumes(owner: Object, spec: Object, ordinal: int) -> dict[str, Any]:
    templates = owner["spec"].get("volumeClaimTemplates") or []
    if not templates:
        return {}
    claimed = [
        {"name": name_of(t), "persistentVolumeClaim": {"claimName": claim_name(owner, t, ordinal)}} for t in templates
    ]
    names = {v["name"] for v in claimed}
    return {"volumes": claimed + [v for v in spec.get("volumes") or [] if v.get("name") not in names]}


def relabelled(owner: Object, pod: Object) -> dict[str, str] | None:
    """The labels of identity that a pod lost; None where it has them."""
    wanted = {POD_NAME_LABEL: name_of(pod)}
    return None if wanted.items() <= labels_of(pod).items() else wanted | {INDEX_LABEL: str(ordinal_of(pod))}


# -- who owns the claims -----------------------------------------------------------------------------------------------


def retention(owner: Object) -> tuple[str, str]:
    """(when deleted, when scaled)."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenDeleted") or RETAIN, policy.get("whenScaled") or RETAIN


def _names(reference: dict[str, Any], obj: Object, api_version: str, kind: str) -> bool:
    return (
        reference.get("apiVersion") == api_version
        and reference.get("kind") == kind
        and reference.get("name") == name_of(obj)
    )


def _is_stale(claim: Object, obj: Object, api_version: str, kind: str) -> bool:
    """Names an object of this name that was before this one."""
    for reference in owner_references_of(claim):
        if _names(reference, obj, api_version, kind):
            return reference.get("uid") != uid_of(obj)
    return False


def has_stale_pod(claim: Object, pod: Object) -> bool:
    return _is_stale(claim, pod, "v1", "Pod")


def has_other_controller(claim: Object, owner: Object, pod: Object) -> bool:
    if retention(owner) == (RETAIN, RETAIN):
        return False
    for reference in owner_references_of(claim):
        if _names(reference, owner, "apps/v1", "StatefulSet"):
            if reference.get("uid") != uid_of(owner):
                return True
        elif _names(reference, pod, "v1", "Pod"):
            if reference.get("uid") != uid_of(pod):
                return True
        elif reference.get("controller"):
            return True
    return False


def claim_references(claim: Object, owner: Object, pod: Object) -> list[dict[str, Any]] | None:
    """The owner references that the retention policy calls for; None where the claim has them or must be left alone."""
    if _is_stale(claim, owner, "apps/v1", "StatefulSet") or has_stale_pod(claim, pod):
        return None
    had = owner_references_of(claim)
    kept = [r for r in had if not _names(r, owner, "apps/v1", "StatefulSet") and not _names(r, pod, "v1", "Pod")]
    if has_other_controller(claim, owner, pod):
        return None if kept == had else kept
    when_deleted, when_scaled = retention(owner)
    scaled_down = ordinal_of(pod) not in ordinals_of(owner)
    wanted = list(kept)
    if when_scaled == DELETE and scaled_down:
        wanted.append(controller_reference(pod, "v1", "Pod"))
    elif when_deleted == DELETE:
        wanted.append(controller_reference(owner, "apps/v1", "StatefulSet"))

    def essence(references: list[dict[str, Any]]) -> set[tuple[str, bool]]:
        return {(r.get("uid") or "", bool(r.get("controller"))) for r in references}

    return None if essence(had) == essence(wanted) else wanted


def owned(claim: Object, references: list[dict[str, Any]]) -> Object:
    return with_metadata(claim, ownerReferences=references)
