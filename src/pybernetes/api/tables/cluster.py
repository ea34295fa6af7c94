"""Rows of cluster machinery: storage, RBAC, admission, certificates, extension, flow control, scheduling classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import NONE, UNSET, Obj, human_duration, name_and_age


def _storage_class(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    keys = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
    if any(annotations.get(k) == "true" for k in keys):
        name += " (default)"
    return [
        name,
        obj.get("provisioner") or "",
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        age,
    ]


def _volume_attributes_class(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, obj.get("driverName") or "", age]


def _volume_attachment(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    return [
        name,
        spec.get("attacher") or "",
        (spec.get("source") or {}).get("persistentVolumeName") or "",
        spec.get("nodeName") or "",
        bool((obj.get("status") or {}).get("attached")),
        age,
    ]


def _csi_node(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, len((obj.get("spec") or {}).get("drivers") or ()), age]


def _csi_driver(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    tokens = spec.get("tokenRequests")
    return [
        name,
        spec.get("attachRequired") is not False,
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        UNSET if tokens is None else ",".join(t.get("audience") or "" for t in tokens),
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age,
    ]


def _binding(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    role = obj.get("roleRef") or {}
    found: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        kind, own = subject.get("kind"), subject.get("name") or ""
        if kind == "ServiceAccount":
            own = f"{subject.get('namespace') or ''}/{own}"
        if kind in found:
            found[kind].append(own)
    return [name, f"{role.get('kind') or ''}/{role.get('name') or ''}", age, *(", ".join(v) for v in found.values())]


def _webhooks(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, len(obj.get("webhooks") or ()), age]


def _param_kind(spec: Mapping[str, Any]) -> str:
    kind = spec.get("paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion') or ''}/{kind.get('kind') or ''}"


def _validating_policy(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    return [name, len(spec.get("validations") or ()), _param_kind(spec), age]


def _mutating_policy(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    return [name, len(spec.get("mutations") or ()), _param_kind(spec), age]


def _go_selector(selector: Mapping[str, Any]) -> str:
    """A LabelSelector as the Go type prints itself."""
    labels = selector.get("matchLabels") or {}
    texts = "".join(f"{k}: {labels[k]}," for k in sorted(labels))
    expressions = "".join(
        "LabelSelectorRequirement{"
        f"Key:{e.get('key') or ''},Operator:{e.get('operator') or ''},Values:[{' '.join(e.get('values') or ())}],"
        "},"
        for e in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{texts}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


def _policy_binding(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    reference = spec.get("paramRef") or {}
    text = UNSET
    if reference.get("name"):
        text = f"{reference.get('namespace') or '*'}/{reference['name']}"
    elif reference.get("selector") is not None:
        text = _go_selector(reference["selector"])
    return [name, spec.get("policyName") or "", text, age]


def _csr(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    kinds = {c.get("type") for c in status.get("conditions") or ()}
    state = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    state += ",Failed" if "Failed" in kinds else ""
    state += ",Issued" if status.get("certificate") else ""
    seconds = spec.get("expirationSeconds")
    duration = NONE if seconds is None else human_duration(seconds)
    return [name, age, spec.get("signerName") or NONE, spec.get("username") or "", duration, state]


def _api_service(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    service = (obj.get("spec") or {}).get("service")
    where = "Local" if service is None else f"{service.get('namespace') or ''}/{service.get('name') or ''}"
    conditions = (obj.get("status") or {}).get("conditions") or ()
    available = next((c for c in conditions if c.get("type") == "Available"), None)
    state = "Unknown"
    if available is not None:
        state = available.get("status") or ""
        if state != "True" and available.get("reason"):
            state = f"{state} ({available['reason']})"
    return [name, where, state, age]


def _flow_schema(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    method = spec.get("distinguisherMethod")
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return [
        name,
        (spec.get("priorityLevelConfiguration") or {}).get("name") or "",
        spec.get("matchingPrecedence") or 0,
        NONE if method is None else method.get("type") or "",
        age,
        next((c.get("status") or "" for c in conditions if c.get("type") == "Dangling"), "?"),
    ]


def _priority_level(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    limited = spec.get("limited")
    shares: Any = NONE
    queues: list[Any] = [NONE, NONE, NONE]
    if limited is not None:
        shares = limited.get("nominalConcurrencyShares") or 0
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            queues = [queuing.get(f) or 0 for f in ("queues", "handSize", "queueLengthLimit")]
    return [name, spec.get("type") or "", shares, *queues, age]


def _priority_class(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    policy = obj.get("preemptionPolicy") or ""
    return [name, obj.get("value") or 0, bool(obj.get("globalDefault")), age, policy]


def _runtime_class(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, obj.get("handler") or "", age]


def _lease(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, (obj.get("spec") or {}).get("holderIdentity") or "", age]


_STORAGE, _RBAC, _ADMISSION = "storage.k8s.io", "rbac.authorization.k8s.io", "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"

PRINTERS = {
    (_STORAGE, "StorageClass"): _storage_class,
    (_STORAGE, "VolumeAttributesClass"): _volume_attributes_class,
    (_STORAGE, "VolumeAttachment"): _volume_attachment,
    (_STORAGE, "CSINode"): _csi_node,
    (_STORAGE, "CSIDriver"): _csi_driver,
    (_RBAC, "RoleBinding"): _binding,
    (_RBAC, "ClusterRoleBinding"): _binding,
    (_ADMISSION, "MutatingWebhookConfiguration"): _webhooks,
    (_ADMISSION, "ValidatingWebhookConfiguration"): _webhooks,
    (_ADMISSION, "ValidatingAdmissionPolicy"): _validating_policy,
    (_ADMISSION, "MutatingAdmissionPolicy"): _mutating_policy,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): _policy_binding,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): _policy_binding,
    ("certificates.k8s.io", "CertificateSigningRequest"): _csr,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    (_FLOW, "FlowSchema"): _flow_schema,
    (_FLOW, "PriorityLevelConfiguration"): _priority_level,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    ("node.k8s.io", "RuntimeClass"): _runtime_class,
    ("coordination.k8s.io", "Lease"): _lease,
}
