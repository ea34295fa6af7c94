"""Rows of networking, discovery, autoscaling, policy and dynamic resource allocation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import NONE, UNKNOWN, UNSET, Obj, at_most, name_and_age, selector_or_none
from .core import balancer_addresses


def _ingress(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    class_name = spec.get("ingressClassName")
    return [
        name,
        NONE if class_name is None else class_name,
        _hosts(spec.get("rules") or []),
        ",".join(balancer_addresses(obj.get("status") or {})),
        "80, 443" if spec.get("tls") else "80",
        age,
    ]


def _hosts(rules: list[Mapping[str, Any]]) -> str:
    hosts: list[str] = []
    more = False
    for rule in rules:
        more = more or len(hosts) == 3
        if not more and rule.get("host"):
            hosts.append(rule["host"])
    text = ",".join(hosts) or "*"
    return f"{text} + {len(rules) - 3} more..." if more else text


def _ingress_class(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if annotations.get("ingressclass.kubernetes.io/is-default-class") == "true":
        name += " (default)"
    spec = obj.get("spec") or {}
    parameters, text = spec.get("parameters"), NONE
    if parameters is not None:
        group = parameters.get("apiGroup")
        text = (parameters.get("kind") or "") + ("" if group is None else f".{group}")
        text += f"/{parameters.get('name') or ''}"
    return [name, spec.get("controller") or "", text, age]


def _network_policy(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, selector_or_none((obj.get("spec") or {}).get("podSelector") or {}), age]


def _service_cidr(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, ",".join((obj.get("spec") or {}).get("cidrs") or ()), age]


def _ip_address(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    parent, text = (obj.get("spec") or {}).get("parentRef"), NONE
    if parent is not None:
        group, resource = parent.get("group") or "", parent.get("resource") or ""
        parts = [(f"{resource}.{group}" if group else resource).lower(), parent.get("namespace") or ""]
        text = "/".join([*(p for p in parts if p), parent.get("name") or ""])
    return [name, text, age]


def _endpoint_slice(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    ports = []
    for port in obj.get("ports") or ():
        number, own = port.get("port"), port.get("name")
        ports.append(str(number) if number is not None else "*" if own is None else own)
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return [name, obj.get("addressType") or "", at_most(ports), at_most(addresses), age]


def _budget(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    amounts = ("N/A" if spec.get(f) is None else str(spec[f]) for f in ("minAvailable", "maxUnavailable"))
    return [name, *amounts, (obj.get("status") or {}).get("disruptionsAllowed") or 0, age]


_SOURCES = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def _metric(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    kind = _SOURCES.get(spec.get("type") or "")
    if kind is None:
        return "<unknown type>"
    source = spec.get(kind) or {}
    target = source.get("target") or {}
    measured = status.get(kind)
    current = (measured or {}).get("current") or {}
    average = target.get("averageValue")
    if kind in ("resource", "containerResource"):
        if average is not None:
            have = UNKNOWN if measured is None else str(current.get("averageValue") or "0")
            return f"{source.get('name') or ''}: {have}/{average}"
        have, want = (
            default if amount is None else f"{amount}%"
            for amount, default in (
                (current.get("averageUtilization"), UNKNOWN),
                (target.get("averageUtilization"), "<auto>"),
            )
        )
        return f"{source.get('name') or ''}: {have}/{want}"
    if kind == "pods":
        return f"{UNKNOWN if measured is None else current.get('averageValue') or '0'}/{average or '0'}"
    if average is not None:
        return f"{current.get('averageValue') or UNKNOWN}/{average} (avg)"
    return f"{UNKNOWN if measured is None else current.get('value') or '0'}/{target.get('value') or '0'}"


def _autoscaler(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    specs, current = spec.get("metrics"), status.get("currentMetrics")
    if specs is None and "targetCPUUtilizationPercentage" in spec:  # autoscaling/v1
        target = {"averageUtilization": spec["targetCPUUtilizationPercentage"]}
        specs = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        used = status.get("currentCPUUtilizationPercentage")
        current = [] if used is None else [{"resource": {"current": {"averageUtilization": used}}}]
    current = current or []
    texts = [_metric(s, (current[i] or {}) if i < len(current) else {}) for i, s in enumerate(specs or ())]
    metrics = ", ".join(texts[:2]) + (f" + {len(texts) - 2} more..." if len(texts) > 2 else "")
    name, age = name_and_age(obj, now)
    target_ref = spec.get("scaleTargetRef") or {}
    least = spec.get("minReplicas")
    return [
        name,
        f"{target_ref.get('kind') or ''}/{target_ref.get('name') or ''}",
        metrics or NONE,
        UNSET if least is None else str(least),
        spec.get("maxReplicas") or 0,
        status.get("currentReplicas") or 0,
        age,
    ]


def _scale(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [name, spec.get("replicas") or 0, status.get("replicas") or 0, age]


def _name_age(obj: Obj, now: float) -> list[Any]:
    return [*name_and_age(obj, now)]


def _resource_claim(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    status = obj.get("status") or {}
    deleted = (obj.get("metadata") or {}).get("deletionTimestamp") is not None
    states = ["deleted"] if deleted else []
    if status.get("allocation") is None:
        states += [] if deleted else ["pending"]
    else:
        states += ["allocated", "reserved"] if status.get("reservedFor") else ["allocated"]
    return [name, ",".join(states), age]


def _resource_slice(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    spec = obj.get("spec") or {}
    pool = (spec.get("pool") or {}).get("name") or ""
    return [name, spec.get("nodeName") or "", spec.get("driver") or "", pool, age]


def _status(obj: Obj, now: float) -> list[Any]:
    return [obj.get("status") or "", obj.get("reason") or "", obj.get("message") or ""]


_NETWORKING, _RESOURCE = "networking.k8s.io", "resource.k8s.io"

PRINTERS = {
    (_NETWORKING, "Ingress"): _ingress,
    (_NETWORKING, "IngressClass"): _ingress_class,
    (_NETWORKING, "NetworkPolicy"): _network_policy,
    (_NETWORKING, "ServiceCIDR"): _service_cidr,
    (_NETWORKING, "IPAddress"): _ip_address,
    ("discovery.k8s.io", "EndpointSlice"): _endpoint_slice,
    ("policy", "PodDisruptionBudget"): _budget,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("autoscaling", "Scale"): _scale,
    (_RESOURCE, "DeviceClass"): _name_age,
    (_RESOURCE, "ResourceClaim"): _resource_claim,
    (_RESOURCE, "ResourceClaimTemplate"): _name_age,
    (_RESOURCE, "ResourceSlice"): _resource_slice,
    ("", "Status"): _status,
}
