"""Plugins that complete pods: Priority, DefaultTolerationSeconds, RuntimeClass, PodTopologyLabels, and TaintNodesByCondition
for nodes.
"""

from __future__ import annotations

from typing import Any

from ...api.errors import go_quote
from ...api.meta import Object, labels_of, name_of
from ...api.quantity import QuantityError, parse_quantity
from ...api.resources import GVR, NODES, PRIORITY_CLASSES, RUNTIME_CLASSES
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes, AdmissionContext
from .base import WRITES, Plugin, is_pod, refuse, spec_of
from .tolerations import merge

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
TOPOLOGY_LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class Priority(Plugin):
    """The number behind a pod's PriorityClass, and at most one class that is everybody's default."""

    name = "Priority"

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        self._default: Object | None = None
        self._known = False
        self.reader.subscribe(PRIORITY_CLASSES, self._changed)

    def _changed(self, *event: object) -> None:
        self._known = False

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        if operation not in WRITES or subresource:
            return False
        return is_pod(gvr) or (gvr.resource == "priorityclasses" and gvr.group == "scheduling.k8s.io")

    def _default_class(self) -> Object | None:
        """Of several, made at the same time, the lowest."""
        if not self._known:
            marked = [c for c in self.reader.list(PRIORITY_CLASSES) if c.get("globalDefault")]
            self._default = min(marked, key=lambda c: c.get("value") or 0, default=None)
            self._known = True
        return self._default

    async def admit(self, attributes: AdmissionAttributes) -> None:
        if not is_pod(attributes.gvr):
            return
        spec = spec_of(attributes.object)
        if attributes.operation == UPDATE:
            old = (attributes.old_object or {}).get("spec") or {}
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        name, value, policy = self._resolve(attributes, spec.get("priorityClassName") or "")
        if name:
            spec["priorityClassName"] = name
        given = spec.get("priority")
        if given is not None and given != value:
            raise refuse(
                attributes,
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission controller "
                f"computed {value} from the given PriorityClass name",
            )
        spec["priority"] = value
        if policy:
            given = spec.get("preemptionPolicy")
            if given is not None and given != policy:
                raise refuse(
                    attributes,
                    f"the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission "
                    f"controller computed {policy} from the given PriorityClass name",
                )
            spec["preemptionPolicy"] = policy

    def _resolve(self, attributes: AdmissionAttributes, name: str) -> tuple[str, int, str]:
        if name:
            found = self.reader.get(PRIORITY_CLASSES, "", name)
            if found is None:
                raise refuse(attributes, f"no PriorityClass with name {name} was found")
        else:
            found = self._default_class()
            if found is None:
                return "", 0, "PreemptLowerPriority"
        return name_of(found), int(found.get("value") or 0), found.get("preemptionPolicy") or ""

    async def validate(self, attributes: AdmissionAttributes) -> None:
        if is_pod(attributes.gvr) or not (attributes.object or {}).get("globalDefault"):
            return
        default = self._default_class()
        if default is None or (attributes.operation == UPDATE and name_of(default) == name_of(attributes.object or {})):
            return
        why = f"PriorityClass {name_of(default)} is already marked as default. Only one default can exist"
        raise refuse(attributes, why)


class DefaultTolerationSeconds(Plugin):
    """A pod stays five minutes on a node that is not ready or not reachable, unless it says otherwise."""

    name = "DefaultTolerationSeconds"

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        self._seconds = {
            NOT_READY: int(context.settings.get("default-not-ready-toleration-seconds", 300)),
            UNREACHABLE: int(context.settings.get("default-unreachable-toleration-seconds", 300)),
        }

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in WRITES and is_pod(gvr) and not subresource

    async def admit(self, attributes: AdmissionAttributes) -> None:
        spec = spec_of(attributes.object)
        present = spec.get("tolerations") or ()
        added = [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            for key, seconds in self._seconds.items()
            if not any(
                (t.get("key") or key) == key and (t.get("effect") or "NoExecute") == "NoExecute" for t in present
            )
        ]
        if added:
            spec["tolerations"] = [*present, *added]


class TaintNodesByCondition(Plugin):
    """A new node is not ready until the node controller says that it is."""

    name = "TaintNodesByCondition"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == CREATE and gvr == NODES and not subresource

    async def admit(self, attributes: AdmissionAttributes) -> None:
        spec = spec_of(attributes.object)
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


class RuntimeClass(Plugin):
    """What a RuntimeClass says of its pods: their overhead, and on which nodes they can run."""

    name = "RuntimeClass"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == CREATE and is_pod(gvr) and not subresource

    def _class(self, attributes: AdmissionAttributes, spec: dict[str, Any]) -> Object | None:
        name = spec.get("runtimeClassName")
        if name is None:
            return None
        found = self.reader.get(RUNTIME_CLASSES, "", name)
        if found is None:
            raise refuse(attributes, f"pod rejected: RuntimeClass {go_quote(name)} not found")
        return found

    async def admit(self, attributes: AdmissionAttributes) -> None:
        spec = spec_of(attributes.object)
        runtime = self._class(attributes, spec)
        if runtime is None:
            return
        if runtime.get("overhead"):
            fixed = runtime["overhead"].get("podFixed") or {}
            if spec.get("overhead") and not _same_amounts(fixed, spec["overhead"]):
                raise refuse(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = dict(fixed)
        scheduling = runtime.get("scheduling")
        if scheduling:
            self._schedule(attributes, spec, scheduling)

    @staticmethod
    def _schedule(attributes: AdmissionAttributes, spec: dict[str, Any], scheduling: dict[str, Any]) -> None:
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.get(key, value) != value:
                raise refuse(
                    attributes,
                    f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                    f"pod.spec.nodeSelector[{key}] = {selector[key]}",
                )
            selector[key] = value
        if selector:
            spec["nodeSelector"] = selector
        tolerations = merge(spec.get("tolerations") or (), scheduling.get("tolerations") or ())
        if tolerations:
            spec["tolerations"] = tolerations

    async def validate(self, attributes: AdmissionAttributes) -> None:
        spec = (attributes.object or {}).get("spec") or {}
        runtime = self._class(attributes, spec)
        if runtime is not None and runtime.get("overhead"):
            if not _same_amounts(runtime["overhead"].get("podFixed") or {}, spec.get("overhead") or {}):
                raise refuse(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        elif spec.get("overhead") is not None:
            why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise refuse(attributes, why)


def _same_amounts(left: dict[str, Any], right: dict[str, Any]) -> bool:
    try:
        return {k: parse_quantity(v) for k, v in left.items()} == {k: parse_quantity(v) for k, v in right.items()}
    except QuantityError:
        return False


class PodTopologyLabels(Plugin):
    """A bound pod carries its node's zone and region."""

    name = "PodTopologyLabels"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == CREATE and is_pod(gvr) and subresource in ("", "binding")

    async def admit(self, attributes: AdmissionAttributes) -> None:
        obj = attributes.object
        if obj is None:
            return
        if attributes.subresource:
            target = obj.get("target") or {}
            node = target.get("name") if target.get("kind") == "Node" else None
        else:
            node = (obj.get("spec") or {}).get("nodeName")
        found = self.reader.get(NODES, "", node) if node else None
        if found is None:
            return
        labels = labels_of(found)
        copied = {k: labels[k] for k in TOPOLOGY_LABELS if k in labels}
        if copied:
            meta = obj.setdefault("metadata", {})
            meta["labels"] = {**(meta.get("labels") or {}), **copied}
