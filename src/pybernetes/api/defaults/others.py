"""Defaults of the smaller groups: RBAC, networking, discovery, autoscaling, policy, admission, extension, flow control."""

from __future__ import annotations

from typing import Any

from ..resources import GVK
from .common import Obj, canonical, default, default_text, struct

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"


def _default_binding(obj: Obj) -> None:
    default_text(struct(obj, "roleRef"), "apiGroup", _RBAC)
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC


def _default_role(obj: Obj) -> None:
    obj.setdefault("rules", None)
    for rule in obj["rules"] or ():
        rule.setdefault("verbs", None)


def _default_network_policy(obj: Obj) -> None:
    spec = struct(obj, "spec")
    struct(spec, "podSelector")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                default(port, "protocol", "TCP")


def _default_ingress(obj: Obj) -> None:
    struct(obj, "spec")
    struct(struct(obj, "status"), "loadBalancer")


def _default_ingress_class(obj: Obj) -> None:
    parameters = struct(obj, "spec").get("parameters")
    if parameters is not None:
        default(parameters, "scope", "Cluster")


def _default_service_cidr(obj: Obj) -> None:
    struct(obj, "spec")
    struct(obj, "status")


def _default_endpoint_slice(obj: Obj) -> None:
    obj.setdefault("endpoints", None)
    obj.setdefault("ports", None)
    for endpoint in obj["endpoints"] or ():
        struct(endpoint, "conditions")
    for port in obj["ports"] or ():
        default(port, "name", "")
        default(port, "protocol", "TCP")


def _scaling_rules(rules: Obj | None, policies: list[Obj], window: int | None) -> Obj:
    given = {k: v for k, v in (rules or {}).items() if v is not None}
    made: Obj = {"selectPolicy": "Max", "policies": [dict(p) for p in policies]}
    if window is not None:
        made["stabilizationWindowSeconds"] = window
    made.update(given)
    if "tolerance" in made:
        made["tolerance"] = canonical(made["tolerance"])
    return made


_UP = [
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
]
_DOWN = [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def _default_hpa_v1(obj: Obj) -> None:
    default(struct(obj, "spec"), "minReplicas", 1)
    status = struct(obj, "status")
    default_text(status, "currentReplicas", 0)
    default_text(status, "desiredReplicas", 0)


def _default_hpa(obj: Obj) -> None:
    spec = struct(obj, "spec")
    status = struct(obj, "status")
    default_text(status, "desiredReplicas", 0)
    status.setdefault("currentMetrics", None)
    default(spec, "minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    for metric in spec["metrics"]:
        for field in ("object", "pods", "resource", "containerResource", "external"):
            target = (metric.get(field) or {}).get("target") or {}
            for amount in ("value", "averageValue"):
                if target.get(amount) is not None:
                    target[amount] = canonical(target[amount])
    behavior = spec.get("behavior")
    if behavior is not None:
        behavior["scaleUp"] = _scaling_rules(behavior.get("scaleUp"), _UP, 0)
        behavior["scaleDown"] = _scaling_rules(behavior.get("scaleDown"), _DOWN, None)


def _default_budget(obj: Obj) -> None:
    struct(obj, "spec")
    status = struct(obj, "status")
    for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        default_text(status, field, 0)


def _default_webhooks(obj: Obj) -> None:
    for webhook in obj.get("webhooks") or ():
        default(webhook, "failurePolicy", "Fail")
        default(webhook, "matchPolicy", "Equivalent")
        default(webhook, "namespaceSelector", {})
        default(webhook, "objectSelector", {})
        default(webhook, "timeoutSeconds", 10)
        webhook.setdefault("admissionReviewVersions", None)
        webhook.setdefault("sideEffects", None)
        for rule in webhook.get("rules") or ():
            default(rule, "scope", "*")
        _default_service_reference(struct(webhook, "clientConfig"))


def _default_mutating_webhooks(obj: Obj) -> None:
    for webhook in obj.get("webhooks") or ():
        default(webhook, "reinvocationPolicy", "Never")
    _default_webhooks(obj)


def _default_service_reference(holder: Obj) -> None:
    service = holder.get("service")
    if service is not None:
        default(service, "port", 443)


def _default_match_resources(match: Obj | None) -> None:
    if match is None:
        return
    default(match, "matchPolicy", "Equivalent")
    default(match, "namespaceSelector", {})
    default(match, "objectSelector", {})
    for field in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(field) or ():
            default(rule, "scope", "*")


def _default_admission_policy(obj: Obj) -> None:
    spec = struct(obj, "spec")
    default(spec, "failurePolicy", "Fail")
    _default_match_resources(spec.get("matchConstraints"))


def _default_validating_policy(obj: Obj) -> None:
    _default_admission_policy(obj)
    struct(obj, "status")


def _default_policy_binding(obj: Obj) -> None:
    _default_match_resources(struct(obj, "spec").get("matchResources"))


def _default_crd(obj: Obj) -> None:
    spec = struct(obj, "spec")
    names = struct(spec, "names")
    kind = names.get("kind") or ""
    if kind:
        default_text(names, "singular", kind.lower())
        default_text(names, "listKind", kind + "List")
    conversion = spec.get("conversion")
    if conversion is None:
        conversion = spec["conversion"] = {"strategy": "None"}
    webhook = conversion.get("webhook")
    if webhook is not None:
        client = webhook.get("clientConfig")
        if client is not None:
            _default_service_reference(client)
        webhook.setdefault("conversionReviewVersions", None)
    status = struct(obj, "status")
    if not status.get("storedVersions"):
        status["storedVersions"] = [v.get("name") or "" for v in spec.get("versions") or () if v.get("storage")][
            :1
        ] or None
    status.setdefault("conditions", None)
    if status.get("acceptedNames") is None:
        status["acceptedNames"] = {}
    for field in ("plural", "kind"):
        status["acceptedNames"].setdefault(field, "")


def _default_api_service(obj: Obj) -> None:
    _default_service_reference(struct(obj, "spec"))
    struct(obj, "status")


def _default_flow_schema(obj: Obj) -> None:
    spec = struct(obj, "spec")
    default_text(spec, "matchingPrecedence", 1000)
    struct(spec, "priorityLevelConfiguration")
    struct(obj, "status")


def _default_priority_level(obj: Obj) -> None:
    spec = struct(obj, "spec")
    struct(obj, "status")
    exempt = spec.get("exempt")
    if exempt is not None:
        default(exempt, "nominalConcurrencyShares", 0)
        default(exempt, "lendablePercent", 0)
    limited = spec.get("limited")
    if limited is not None:
        default(limited, "nominalConcurrencyShares", 30)
        default(limited, "lendablePercent", 0)
        queuing = struct(limited, "limitResponse").get("queuing")
        if queuing is not None:
            default_text(queuing, "queues", 64)
            default_text(queuing, "handSize", 8)
            default_text(queuing, "queueLengthLimit", 50)


def _default_priority_class(obj: Obj) -> None:
    default(obj, "preemptionPolicy", "PreemptLowerPriority")
    default_text(obj, "value", 0)


def _default_token_request(obj: Obj) -> None:
    spec = struct(obj, "spec")
    default(spec, "expirationSeconds", 3600)
    spec.setdefault("audiences", None)
    status = struct(obj, "status")
    default_text(status, "token", "")
    status.setdefault("expirationTimestamp", None)


def _default_csr(obj: Obj) -> None:
    struct(obj, "spec")
    struct(obj, "status")


def _default_scale(obj: Obj) -> None:
    struct(obj, "spec")
    default_text(struct(obj, "status"), "replicas", 0)


def _default_event(obj: Obj) -> None:
    struct(obj, "regarding")
    struct(obj, "deprecatedSource")
    for field in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"):
        obj.setdefault(field, None)


def _default_status(obj: Obj) -> None:
    struct(obj, "spec")
    struct(obj, "status")


def _default_access_review(obj: Obj) -> None:
    struct(obj, "spec")
    default(struct(obj, "status"), "allowed", False)


def _default_device_requests(claim_spec: Obj) -> None:
    for request in struct(claim_spec, "devices").get("requests") or ():
        for wanted in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if wanted is not None:
                default_text(wanted, "allocationMode", "ExactCount")
                if wanted["allocationMode"] == "ExactCount":
                    default_text(wanted, "count", 1)
                for toleration in wanted.get("tolerations") or ():
                    default_text(toleration, "operator", "Equal")
                round_requests = (wanted.get("capacity") or {}).get("requests") or {}
                for name, value in round_requests.items():
                    round_requests[name] = canonical(value)


def _default_resource_claim(obj: Obj) -> None:
    _default_device_requests(struct(obj, "spec"))
    allocation = struct(obj, "status").get("allocation")
    if allocation is not None:
        for result in struct(allocation, "devices").get("results") or ():
            for toleration in result.get("tolerations") or ():
                default_text(toleration, "operator", "Equal")


def _default_resource_claim_template(obj: Obj) -> None:
    spec = struct(obj, "spec")
    struct(spec, "metadata")
    _default_device_requests(struct(spec, "spec"))


def _default_resource_slice(obj: Obj) -> None:
    for device in struct(obj, "spec").get("devices") or ():
        for capacity in (device.get("capacity") or {}).values():
            if capacity.get("value") is not None:
                capacity["value"] = canonical(capacity["value"])


DEFAULTERS: dict[GVK, Any] = {
    GVK(_RBAC, "v1", "RoleBinding"): _default_binding,
    GVK(_RBAC, "v1", "ClusterRoleBinding"): _default_binding,
    GVK(_RBAC, "v1", "Role"): _default_role,
    GVK(_RBAC, "v1", "ClusterRole"): _default_role,
    GVK("networking.k8s.io", "v1", "NetworkPolicy"): _default_network_policy,
    GVK("networking.k8s.io", "v1", "Ingress"): _default_ingress,
    GVK("networking.k8s.io", "v1", "IngressClass"): _default_ingress_class,
    GVK("networking.k8s.io", "v1", "ServiceCIDR"): _default_service_cidr,
    GVK("networking.k8s.io", "v1", "IPAddress"): lambda obj: (
        None if obj.get("spec") is not None else obj.update(spec={})
    ),
    GVK("discovery.k8s.io", "v1", "EndpointSlice"): _default_endpoint_slice,
    GVK("autoscaling", "v1", "HorizontalPodAutoscaler"): _default_hpa_v1,
    GVK("autoscaling", "v2", "HorizontalPodAutoscaler"): _default_hpa,
    GVK("autoscaling", "v1", "Scale"): _default_scale,
    GVK("policy", "v1", "PodDisruptionBudget"): _default_budget,
    GVK(_ADMISSION, "v1", "ValidatingWebhookConfiguration"): _default_webhooks,
    GVK(_ADMISSION, "v1", "MutatingWebhookConfiguration"): _default_mutating_webhooks,
    GVK(_ADMISSION, "v1", "ValidatingAdmissionPolicy"): _default_validating_policy,
    GVK(_ADMISSION, "v1", "MutatingAdmissionPolicy"): _default_admission_policy,
    GVK(_ADMISSION, "v1", "ValidatingAdmissionPolicyBinding"): _default_policy_binding,
    GVK(_ADMISSION, "v1", "MutatingAdmissionPolicyBinding"): _default_policy_binding,
    GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): _default_crd,
    GVK("apiregistration.k8s.io", "v1", "APIService"): _default_api_service,
    GVK("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"): _default_flow_schema,
    GVK("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"): _default_priority_level,
    GVK("scheduling.k8s.io", "v1", "PriorityClass"): _default_priority_class,
    GVK("authentication.k8s.io", "v1", "TokenRequest"): _default_token_request,
    GVK("authentication.k8s.io", "v1", "TokenReview"): _default_status,
    GVK("authentication.k8s.io", "v1", "SelfSubjectReview"): lambda obj: obj.setdefault("status", {"userInfo": {}}),
    GVK("authorization.k8s.io", "v1", "SubjectAccessReview"): _default_access_review,
    GVK("authorization.k8s.io", "v1", "SelfSubjectAccessReview"): _default_access_review,
    GVK("authorization.k8s.io", "v1", "LocalSubjectAccessReview"): _default_access_review,
    GVK("authorization.k8s.io", "v1", "SelfSubjectRulesReview"): lambda obj: obj.setdefault("spec", {}),
    GVK("certificates.k8s.io", "v1", "CertificateSigningRequest"): _default_csr,
    GVK("coordination.k8s.io", "v1", "Lease"): lambda obj: obj.setdefault("spec", {}),
    GVK("events.k8s.io", "v1", "Event"): _default_event,
    GVK("resource.k8s.io", "v1", "ResourceClaim"): _default_resource_claim,
    GVK("resource.k8s.io", "v1", "ResourceClaimTemplate"): _default_resource_claim_template,
    GVK("resource.k8s.io", "v1", "ResourceSlice"): _default_resource_slice,
    GVK("resource.k8s.io", "v1", "DeviceClass"): lambda obj: obj.setdefault("spec", {}),
}
