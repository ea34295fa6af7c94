"""PodResizeValidator: an in-place resize stays within what the node has."""

from __future__ import annotations

from ...api.errors import go_quote
from ...api.meta import labels_of, metadata
from ...api.pod_resources import amounts, pod_requests
from ...api.resources import GVR, NODES
from ...hooks.admission import UPDATE, AdmissionAttributes
from .base import Plugin, add_cause, is_pod, refuse


class PodResizeValidator(Plugin):
    """A pod cannot be resized beyond what its node has at all."""

    name = "PodResizeValidator"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == UPDATE and is_pod(gvr) and subresource == "resize"

    async def validate(self, attributes: AdmissionAttributes) -> None:
        pod, old = attributes.object or {}, attributes.old_object or {}
        spec = pod.get("spec") or {}
        name = spec.get("nodeName")
        if not name or metadata(pod).get("generation") == metadata(old).get("generation"):
            return
        node = self.reader.get(NODES, "", name)
        if node is None:
            raise refuse(attributes, f"node {go_quote(name)} not found")
        system = labels_of(node).get("kubernetes.io/os")
        if system not in (None, "linux"):
            why = f"pod resize is only supported on linux nodes, node {go_quote(name)} is {go_quote(system)}"
            raise add_cause(refuse(attributes, why), "UnsupportedPlatform")
        have = amounts((node.get("status") or {}).get("allocatable"))
        want = pod_requests(spec)
        too_much = []
        for resource, factor in (("cpu", 1000), ("memory", 1)):
            asked, there = want.get(resource, 0) * factor, have.get(resource, 0) * factor
            if asked > there:
                too_much.append(f"{resource}, requested: {int(asked)}, allocatable: {int(there)}")
        if too_much:
            why = f"node didn't have enough allocatable resources: {'; '.join(too_much)}"
            raise add_cause(refuse(attributes, why), "NodeCapacity")
