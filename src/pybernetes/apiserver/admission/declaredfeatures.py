"""NodeDeclaredFeatureValidator: an update of a running pod that its node cannot carry out is refused.

Specified by "Node Declared Features"; nodes say what they can in ``status.declaredFeatures``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...api.errors import go_quote
from ...api.meta import metadata
from ...api.resources import GVR, NODES
from ...hooks.admission import UPDATE, AdmissionAttributes
from .base import Plugin, is_pod, refuse

POD_RESOURCES = "InPlacePodLevelResourcesVerticalScaling"
INIT_CONTAINERS = "InPlacePodVerticalScalingInitContainers"


def needed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The features that a change of a pod's spec asks of its node. Pure."""
    found = []
    if (old.get("resources") or None) != (new.get("resources") or None):
        found.append(POD_RESOURCES)
    before, after = old.get("initContainers") or (), new.get("initContainers") or ()
    for was, now in zip(before, after, strict=False):
        # A sidecar is resized as every container is.
        if was.get("restartPolicy") != "Always" and (was.get("resources") or {}) != (now.get("resources") or {}):
            found.append(INIT_CONTAINERS)
            break
    return found


class NodeDeclaredFeatureValidator(Plugin):
    name = "NodeDeclaredFeatureValidator"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == UPDATE and is_pod(gvr) and subresource in ("", "resize")

    async def validate(self, attributes: AdmissionAttributes) -> None:
        pod, old = attributes.object or {}, attributes.old_object or {}
        spec = pod.get("spec") or {}
        name = spec.get("nodeName")
        if not name or metadata(pod).get("generation") == metadata(old).get("generation"):
            return
        features = needed(old.get("spec") or {}, spec)
        if not features:
            return
        node = self.reader.get(NODES, "", name)
        if node is None:
            raise refuse(attributes, f"node {go_quote(name)} not found")
        declared = (node.get("status") or {}).get("declaredFeatures") or ()
        missing = [f for f in features if f not in declared]
        if missing:
            why = f"pod update requires features {', '.join(missing)} which are not available on node {go_quote(name)}"
            raise refuse(attributes, why)
