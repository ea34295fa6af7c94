"""What the scheduler keeps of objects: the less, the more pods fit into a gigabyte.

Of a placed pod only what placing others depends on; of a waiting one its whole specification, for it is scheduled by it.
Equal parts are shared between objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..api.meta import Object
from ..api.resources import GVR, NODES, PODS
from ..client.sharing import Sharer

_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp", "ownerReferences", "generation",
)  # fmt: skip
_SPEC = (
    "nodeName", "schedulerName", "priority", "preemptionPolicy", "containers", "initContainers", "overhead", "resources",
    "affinity", "topologySpreadConstraints", "tolerations", "nodeSelector", "schedulingGates", "volumes", "hostNetwork",
    "hostUsers",
)  # fmt: skip
_CONTAINER = ("name", "image", "resources", "ports", "restartPolicy", "restartPolicyRules")
_PLACED_SPEC = frozenset(_SPEC) - {
    "tolerations", "nodeSelector", "schedulingGates", "preemptionPolicy", "hostNetwork", "hostUsers",
}  # fmt: skip
_CONDITIONS = ("PodScheduled", "DisruptionTarget", "PodResizePending")
_MEANINGLESS_VOLUMES = {"projected", "configMap", "secret", "emptyDir", "downwardAPI", "hostPath", "name", "nfs"}
_NODE_STATUS = ("allocatable", "images", "conditions", "declaredFeatures")


def _kept(mapping: Any, fields: Any) -> dict[str, Any]:
    return {k: mapping[k] for k in fields if k in mapping}


class Slimmer:
    """Transforms for the scheduler's own informers. Who uses them must write pods by patch."""

    def __init__(self) -> None:
        self._sharer = Sharer()

    def pod(self, pod: Object) -> Object:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        placed = bool(spec.get("nodeName"))
        slim = _kept(spec, _PLACED_SPEC if placed else _SPEC)
        for field in ("containers", "initContainers"):
            if field in slim:
                slim[field] = [{k: v for k, v in c.items() if k in _CONTAINER and v} for c in slim[field]]
        volumes = [v for v in slim.pop("volumes", None) or () if v.keys() - _MEANINGLESS_VOLUMES]
        if volumes:
            slim["volumes"] = volumes
        found = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": _kept(pod["metadata"], _METADATA),
            "spec": slim,
            "status": self._status(status, placed),
        }
        return self._sharer.share(found)

    def _status(self, status: Any, placed: bool) -> dict[str, Any]:
        found = _kept(status, ("phase", "startTime", "nominatedNodeName", "resources", "allocatedResources"))
        conditions = [
            c
            for c in status.get("conditions") or ()
            if c.get("type") in _CONDITIONS and not (placed and c.get("type") == "PodScheduled")
        ]
        if conditions:
            found["conditions"] = conditions
        for field in ("containerStatuses", "initContainerStatuses"):
            entries = [
                _kept(s, ("name", "resources", "allocatedResources"))
                for s in status.get(field) or ()
                if s.get("resources")
            ]
            if entries:
                found[field] = entries
        return found

    def node(self, node: Object) -> Object:
        meta = {k: v for k, v in node["metadata"].items() if k != "managedFields"}
        status = _kept(node.get("status") or {}, _NODE_STATUS)
        if "conditions" in status:
            # Heartbeats change nothing else of a condition.
            status["conditions"] = [_kept(c, ("type", "status")) for c in status["conditions"]]
        slim = {**node, "metadata": meta, "status": status}
        return self._sharer.share(slim)

    def other(self, obj: Object) -> Object:
        obj["metadata"].pop("managedFields", None)
        return self._sharer.share(obj)

    def transforms(self, gvr: GVR) -> Callable[[Object], Object]:
        """For ``InformerFactory(transforms=...)``."""
        return self.pod if gvr == PODS else self.node if gvr == NODES else self.other
