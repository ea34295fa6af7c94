"""The smaller groups: networking, policy, autoscaling, RBAC, storage, admission, certificates, flow control, resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import go_quote
from .base import (
    Obj,
    Strategy,
    StrategyFactory,
    SubresourceStrategy,
    generation_of,
    keep,
    section,
    semantically_equal,
    set_generation,
)


class _Spec(Strategy):
    """A spec without status, generation counted."""

    tracks_generation = True


class _SpecStatus(Strategy):
    has_status = True
    tracks_generation = True


class _StatusOnly(Strategy):
    """Status apart, no generation."""

    has_status = True


class _CreateOnUpdate(Strategy):
    allow_create_on_update = True


class IngressStrategy(_SpecStatus):
    def empty_status(self, obj: Obj) -> Obj:
        return {"loadBalancer": {}}

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        section(section(new, "status"), "loadBalancer")

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import ingress_warnings

        return ingress_warnings(obj)

    def status_warnings(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import load_balancer_warnings

        return load_balancer_warnings(obj)


class NetworkPolicyStrategy(_Spec):
    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import network_policy_warnings

        return network_policy_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class ServiceCIDRStrategy(_StatusOnly):
    protects_metadata_in_status = True


class EndpointSliceStrategy(_Spec):
    """The whole object but its metadata, and its labels, count for generation."""

    def changed(self, new: Obj, old: Obj) -> bool:
        labels = [(o.get("metadata") or {}).get("labels") or {} for o in (new, old)]
        fields = ("addressType", "endpoints", "ports")
        return labels[0] != labels[1] or not all(semantically_equal(new.get(f), old.get(f)) for f in fields)

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        for endpoint in obj.get("endpoints") or ():
            endpoint.pop("deprecatedTopology", None)

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        if not semantically_equal(new.get("endpoints"), old.get("endpoints")):
            for endpoint in new.get("endpoints") or ():
                endpoint.pop("deprecatedTopology", None)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import endpoint_slice_warnings

        return endpoint_slice_warnings(obj, created=True)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import endpoint_slice_warnings

        return endpoint_slice_warnings(obj, created=False)


class BudgetStrategy(_SpecStatus):
    allow_unconditional_update = False

    def empty_status(self, obj: Obj) -> Obj:
        return {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}


class AutoscalerStrategy(_StatusOnly):
    def empty_status(self, obj: Obj) -> Obj:
        if self.gvr.version == "v1":
            return {"currentReplicas": 0, "desiredReplicas": 0}
        return {"desiredReplicas": 0, "currentMetrics": None}


class LeaseStrategy(_CreateOnUpdate):
    allow_unconditional_update = False

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        for field in ("strategy", "preferredHolder"):
            section(obj, "spec").pop(field, None)  # coordinated leader election is off by default in v1.36

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        for field in ("strategy", "preferredHolder"):
            if (old.get("spec") or {}).get(field) is None:
                section(new, "spec").pop(field, None)


class PriorityClassStrategy(Strategy):
    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        set_generation(obj, 1)


class RuntimeClassStrategy(_CreateOnUpdate):
    allow_unconditional_update = False

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import runtime_class_warnings

        return runtime_class_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class CSIDriverStrategy(Strategy):
    allow_unconditional_update = False

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        section(obj, "spec").pop("preventPodSchedulingIfMissing", None)

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        if (old.get("spec") or {}).get("preventPodSchedulingIfMissing") is None:
            section(new, "spec").pop("preventPodSchedulingIfMissing", None)
        # The counter starts at its first change: creation does not set it.
        if not semantically_equal(new.get("spec"), old.get("spec")):
            set_generation(new, generation_of(old) + 1)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import csi_driver_warnings

        return csi_driver_warnings(obj, None)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import csi_driver_warnings

        return csi_driver_warnings(obj, old)


class CSINodeStrategy(Strategy):
    allow_unconditional_update = False


class StorageCapacityStrategy(Strategy):
    allow_unconditional_update = False

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import storage_capacity_warnings

        return storage_capacity_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class StorageClassStrategy(Strategy):
    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import storage_class_warnings

        return storage_class_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class VolumeAttachmentStrategy(_StatusOnly):
    allow_unconditional_update = False
    protects_metadata_in_status = True

    def empty_status(self, obj: Obj) -> Obj:
        return {"attached": False}


class _AdmissionStrategy(_Spec):
    allow_unconditional_update = False

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import static_suffix_warnings

        return static_suffix_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class WebhooksStrategy(_AdmissionStrategy):
    generation_fields = ("webhooks",)


class ValidatingPolicyStrategy(_AdmissionStrategy):
    has_status = True
    protects_metadata_in_status = True


class CRDStrategy(_SpecStatus):
    allow_unconditional_update = False

    def empty_status(self, obj: Obj) -> Obj:
        stored = _storage_version(obj)
        return {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": [stored] if stored else None,
        }

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        stored, status = _storage_version(new), section(new, "status")
        known = status.get("storedVersions") or []
        if stored and stored not in known:
            new["status"] = {**status, "storedVersions": [*known, stored]}

    def warnings_on_create(self, obj: Obj) -> list[str]:
        return [f"unrecognized format {go_quote(f)}" for f in _unknown_formats(obj)]

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        known = set(_unknown_formats(old))
        return [f"unrecognized format {go_quote(f)}" for f in _unknown_formats(obj) if f not in known]


def _unknown_formats(crd: Mapping[str, Any]) -> list[str]:
    from ..validation.custom_schema import unrecognized_formats

    versions = (crd.get("spec") or {}).get("versions") or ()
    schemas = [(v.get("schema") or {}).get("openAPIV3Schema") for v in versions]
    return list(dict.fromkeys(f for s in schemas if s is not None for f in unrecognized_formats(s)))


def _storage_version(crd: Mapping[str, Any]) -> str:
    versions = (crd.get("spec") or {}).get("versions") or ()
    return next((v.get("name") or "" for v in versions if v.get("storage")), "")


class APIServiceStrategy(_StatusOnly):
    allow_unconditional_update = False

    def empty_status(self, obj: Obj) -> Obj:
        if (obj.get("spec") or {}).get("service") is not None:
            return {}
        local: Obj = {
            "type": "Available",
            "status": "True",
            "lastTransitionTime": (obj.get("metadata") or {}).get("creationTimestamp"),
            "reason": "Local",
            "message": "Local APIServices are always available",
        }
        return {"conditions": [local]}

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        metadata, stored = section(new, "metadata"), old.get("metadata") or {}
        for field in ("labels", "annotations", "finalizers", "ownerReferences"):
            keep(metadata, stored, field)


class CSRStrategy(_StatusOnly):
    """The requester is written by the server; spec never changes; approval and status are separate doors."""

    def __init__(self, info: Any) -> None:
        super().__init__(info)
        self.subresources["approval"] = ApprovalStrategy(self)

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        spec = section(obj, "spec")
        for field in ("username", "uid", "groups", "extra"):
            spec.pop(field, None)
            if user and user.get(field):
                spec[field] = user[field]

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        keep(new, old, "spec")

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        status, before = section(new, "status"), old.get("status") or {}
        conditions, earlier = status.get("conditions") or [], before.get("conditions") or []
        for kind in ("Approved", "Denied"):
            mine = [i for i, c in enumerate(conditions) if c.get("type") == kind]
            theirs = [c for c in earlier if c.get("type") == kind]
            if len(mine) == len(theirs):
                for i, condition in zip(mine, theirs, strict=True):
                    conditions[i] = condition
        _stamp_conditions(conditions, earlier, now)


class ApprovalStrategy(SubresourceStrategy):
    """``/approval``: only status.conditions change."""

    name = "approval"

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        before = old.get("status") or {}
        conditions = (new.get("status") or {}).get("conditions") or []
        _stamp_conditions(conditions, before.get("conditions") or [], now)
        set_generation(new, generation_of(old))
        keep(new, old, "spec")
        status = {k: v for k, v in before.items() if k != "conditions"}
        new["status"] = {"conditions": conditions, **status} if conditions else status


def _stamp_conditions(conditions: list[Obj], earlier: list[Obj], now: str) -> None:
    for i, condition in enumerate(conditions):
        if condition.get("lastUpdateTime") is not None and condition.get("lastTransitionTime") is not None:
            continue
        same = (
            c["lastTransitionTime"]
            for c in earlier
            if c.get("lastTransitionTime") is not None
            and (c.get("type"), c.get("status")) == (condition.get("type"), condition.get("status"))
        )
        stamped = dict(condition)
        if stamped.get("lastUpdateTime") is None:
            stamped["lastUpdateTime"] = now or None
        if stamped.get("lastTransitionTime") is None:
            stamped["lastTransitionTime"] = next(same, now or None)
        conditions[i] = stamped


class FlowControlStrategy(_SpecStatus):
    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        metadata = dict(old.get("metadata") or {})
        keep(metadata, new.get("metadata") or {}, "managedFields")
        new["metadata"] = metadata


class ResourceClaimStrategy(_StatusOnly):
    protects_metadata_in_status = True

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        """Device statuses go with the allocation that they belong to."""
        status = section(new, "status")
        gone = _devices(old.get("status") or {}) - _devices(status)
        devices = [d for d in status.get("devices") or () if _device_key(d) not in gone]
        if devices:
            status["devices"] = devices
        else:
            status.pop("devices", None)


def _device_key(device: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(device.get(f) or "" for f in ("driver", "pool", "device", "shareID"))


def _devices(status: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
    return {_device_key(r) for r in results}


_ALPHA_ATTRIBUTES = ("bools", "ints", "strings", "versions")


class ResourceSliceStrategy(_Spec):
    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        _drop_alpha(obj)
        _date_taints(obj, (obj.get("metadata") or {}).get("creationTimestamp") or "")

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        _drop_alpha(new)
        _date_taints(new, now)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import resource_slice_warnings

        return resource_slice_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


def _date_taints(obj: Mapping[str, Any], now: str) -> None:
    for device in (obj.get("spec") or {}).get("devices") or ():
        for taint in device.get("taints") or ():
            if taint.get("timeAdded") is None:
                taint["timeAdded"] = now


def _drop_alpha(obj: Mapping[str, Any]) -> None:
    """What is behind gates that v1.36 has off: lists as attributes, devices that stand for a node's own resources."""
    for device in (obj.get("spec") or {}).get("devices") or ():
        device.pop("nodeAllocatableResourceMappings", None)
        for attribute in (device.get("attributes") or {}).values():
            for field in _ALPHA_ATTRIBUTES:
                attribute.pop(field, None)


_ADMISSION = "admissionregistration.k8s.io"
_RBAC = "rbac.authorization.k8s.io"

STRATEGIES: dict[tuple[str, str], StrategyFactory] = {
    ("networking.k8s.io", "ingresses"): IngressStrategy,
    ("networking.k8s.io", "ingressclasses"): _Spec,
    ("networking.k8s.io", "networkpolicies"): NetworkPolicyStrategy,
    ("networking.k8s.io", "servicecidrs"): ServiceCIDRStrategy,
    ("discovery.k8s.io", "endpointslices"): EndpointSliceStrategy,
    ("policy", "poddisruptionbudgets"): BudgetStrategy,
    ("autoscaling", "horizontalpodautoscalers"): AutoscalerStrategy,
    ("coordination.k8s.io", "leases"): LeaseStrategy,
    ("scheduling.k8s.io", "priorityclasses"): PriorityClassStrategy,
    ("node.k8s.io", "runtimeclasses"): RuntimeClassStrategy,
    (_RBAC, "roles"): _CreateOnUpdate,
    (_RBAC, "clusterroles"): _CreateOnUpdate,
    (_RBAC, "rolebindings"): _CreateOnUpdate,
    (_RBAC, "clusterrolebindings"): _CreateOnUpdate,
    ("storage.k8s.io", "csidrivers"): CSIDriverStrategy,
    ("storage.k8s.io", "csinodes"): CSINodeStrategy,
    ("storage.k8s.io", "csistoragecapacities"): StorageCapacityStrategy,
    ("storage.k8s.io", "storageclasses"): StorageClassStrategy,
    ("storage.k8s.io", "volumeattachments"): VolumeAttachmentStrategy,
    (_ADMISSION, "mutatingwebhookconfigurations"): WebhooksStrategy,
    (_ADMISSION, "validatingwebhookconfigurations"): WebhooksStrategy,
    (_ADMISSION, "validatingadmissionpolicies"): ValidatingPolicyStrategy,
    (_ADMISSION, "validatingadmissionpolicybindings"): _AdmissionStrategy,
    (_ADMISSION, "mutatingadmissionpolicies"): _AdmissionStrategy,
    (_ADMISSION, "mutatingadmissionpolicybindings"): _AdmissionStrategy,
    ("apiextensions.k8s.io", "customresourcedefinitions"): CRDStrategy,
    ("apiregistration.k8s.io", "apiservices"): APIServiceStrategy,
    ("certificates.k8s.io", "certificatesigningrequests"): CSRStrategy,
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): FlowControlStrategy,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): FlowControlStrategy,
    ("resource.k8s.io", "deviceclasses"): _Spec,
    ("resource.k8s.io", "resourceclaims"): ResourceClaimStrategy,
    ("resource.k8s.io", "resourceslices"): ResourceSliceStrategy,
}
