"""Pods that run without being wanted any more: what is needed to end them properly is in the runtime's labels."""

from __future__ import annotations

import orjson

from ..api.meta import Object
from .pod.model import DELETION_GRACE, PRE_STOP, TERMINATION_GRACE, RuntimePod


def pod_from_runtime(runtime: RuntimePod) -> Object:
    """As much of the pod as its containers carry: names, grace period, preStop hooks."""
    meta: Object = {"uid": runtime.uid, "name": runtime.name, "namespace": runtime.namespace}
    spec: Object = {"containers": [], "restartPolicy": "Never"}
    seen = set()
    for container in runtime.containers:
        if container.name in seen:
            continue
        seen.add(container.name)
        entry: Object = {"name": container.name, "image": container.image}
        hook = container.annotations.get(PRE_STOP)
        if hook:
            entry["lifecycle"] = {"preStop": orjson.loads(hook)}
        spec["containers"].append(entry)
        grace = container.annotations.get(DELETION_GRACE) or container.annotations.get(TERMINATION_GRACE)
        if grace is not None and grace.isdigit():
            spec["terminationGracePeriodSeconds"] = int(grace)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {}}
