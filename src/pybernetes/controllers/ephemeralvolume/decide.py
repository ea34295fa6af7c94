"""The claims that a pod's ephemeral volumes need. Pure. Specified by "Generic ephemeral volumes"."""

from __future__ import annotations

from collections.abc import Iterator

from ...api.meta import Object, controller_of, controller_reference, is_deleting, name_of, namespace_of, uid_of
from ..values import deep_copy


def claims_for(pod: Object) -> Iterator[Object]:
    if is_deleting(pod):
        return
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is None:
            continue
        made = deep_copy(template)
        meta = made.get("metadata") or {}
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": f"{name_of(pod)}-{volume['name']}",
                "namespace": namespace_of(pod),
                "ownerReferences": [controller_reference(pod, "v1", "Pod")],
                **{k: meta[k] for k in ("labels", "annotations") if meta.get(k)},
            },
            "spec": made.get("spec") or {},
        }


def conflict(claim: Object, pod: Object) -> str | None:
    """A claim of that name that is not the pod's own must never be used for it."""
    owner = controller_of(claim)
    if owner is not None and owner.get("uid") == uid_of(pod):
        return None
    where = f"{namespace_of(claim)}/{name_of(claim)}"
    return f"PVC {where} was not created for pod {namespace_of(pod)}/{name_of(pod)} (pod is not owner)"
