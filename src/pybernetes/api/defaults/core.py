"""Defaults of the core group beside pods: services, namespaces, nodes, secrets, limits and quotas, endpoints, events."""

from __future__ import annotations

import base64
from typing import Any

from ..resources import GVK
from .common import Obj, default, default_text, round_list, round_lists, struct
from .pods import default_pod_template

_EXTERNAL = ("NodePort", "LoadBalancer")
_CLUSTER = ("ClusterIP", "NodePort", "LoadBalancer")
_AFFINITY_SECONDS = 10800


def _default_service(obj: Obj) -> None:
    spec = struct(obj, "spec")
    default_text(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        if (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _AFFINITY_SECONDS}}
    default_text(spec, "type", "ClusterIP")
    for port in spec.get("ports") or ():
        default_text(port, "protocol", "TCP")
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port") or 0
    kind = spec["type"]
    exposed = kind in _EXTERNAL or (kind == "ClusterIP" and spec.get("externalIPs"))
    if exposed:
        default_text(spec, "externalTrafficPolicy", "Cluster")
    if kind in _CLUSTER:
        default(spec, "internalTrafficPolicy", "Cluster")
    status = struct(obj, "status")
    balancer = struct(status, "loadBalancer")
    if kind == "LoadBalancer":
        default(spec, "allocateLoadBalancerNodePorts", True)
        for ingress in balancer.get("ingress") or ():
            if ingress.get("ip"):
                default(ingress, "ipMode", "VIP")


def _default_endpoints(obj: Obj) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            default_text(port, "protocol", "TCP")


def _fold_string_data(secret: Obj) -> None:
    """stringData is write-only: its values go into data, over those there."""
    texts = secret.pop("stringData", None)
    if texts:
        encoded = {key: base64.b64encode((value or "").encode()).decode() for key, value in texts.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _default_secret(obj: Obj) -> None:
    default_text(obj, "type", "Opaque")
    _fold_string_data(obj)
    # Go's base64 decoder and encoder turn an empty value into "".
    for values in (obj.get("data") or {},):
        for key, value in values.items():
            if value is None:
                values[key] = ""


def _default_config_map(obj: Obj) -> None:
    if obj.get("data") is None:
        obj.pop("data", None)


def _default_namespace(obj: Obj) -> None:
    metadata = struct(obj, "metadata")
    name = metadata.get("name")
    if name:
        labels = metadata.get("labels")
        if labels is None:
            labels = metadata["labels"] = {}
        labels["kubernetes.io/metadata.name"] = name
    struct(obj, "spec")
    default_text(struct(obj, "status"), "phase", "Active")


def _default_node(obj: Obj) -> None:
    spec = struct(obj, "spec")
    first = (spec.get("podCIDRs") or [None])[0]
    if spec.get("podCIDR") and first != spec["podCIDR"]:
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif first and not spec.get("podCIDR"):
        spec["podCIDR"] = first
    status = struct(obj, "status")
    round_lists(status, "capacity", "allocatable")
    if status.get("allocatable") is None and status.get("capacity") is not None:
        status["allocatable"] = dict(status["capacity"])
    endpoint = struct(struct(status, "daemonEndpoints"), "kubeletEndpoint")
    default_text(endpoint, "Port", 0)
    info = struct(status, "nodeInfo")
    for field in _NODE_INFO:
        info.setdefault(field, "")
    for condition in status.get("conditions") or ():
        condition.setdefault("lastHeartbeatTime", None)
        condition.setdefault("lastTransitionTime", None)


_NODE_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)


def _default_limit_range(obj: Obj) -> None:
    for item in struct(obj, "spec").get("limits") or ():
        round_lists(item, "max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
        if item.get("type") == "Container":
            limits = {**(item.get("max") or {}), **(item.get("default") or {})}
            requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
            for field, value in (("default", limits), ("defaultRequest", requests)):
                if value:
                    item[field] = value


def _default_resource_quota(obj: Obj) -> None:
    round_list(struct(obj, "spec").get("hard"))
    round_lists(struct(obj, "status"), "hard", "used")


def _default_replication_controller(obj: Obj) -> None:
    spec = struct(obj, "spec")
    struct(obj, "status")
    template = spec.get("template")
    if template is not None:
        default_pod_template(template)
        labels = template["metadata"].get("labels")
        if labels is not None:
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            metadata = struct(obj, "metadata")
            if not metadata.get("labels"):
                metadata["labels"] = dict(labels)
    default(spec, "replicas", 1)


def _default_event(obj: Obj) -> None:
    struct(obj, "involvedObject")
    struct(obj, "source")
    for field in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(field, None)
    for field in ("reportingComponent", "reportingInstance"):
        obj.setdefault(field, "")


DEFAULTERS: dict[GVK, Any] = {
    GVK("", "v1", "Service"): _default_service,
    GVK("", "v1", "Endpoints"): _default_endpoints,
    GVK("", "v1", "Secret"): _default_secret,
    GVK("", "v1", "ConfigMap"): _default_config_map,
    GVK("", "v1", "Namespace"): _default_namespace,
    GVK("", "v1", "Node"): _default_node,
    GVK("", "v1", "LimitRange"): _default_limit_range,
    GVK("", "v1", "ResourceQuota"): _default_resource_quota,
    GVK("", "v1", "ReplicationController"): _default_replication_controller,
    GVK("", "v1", "Event"): _default_event,
}
