"""Defaults of Pod and of the pod templates in every workload: the path that every pod write takes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..pod_resources import aggregate_limits, aggregate_requests, is_hugepage, is_overcommit_allowed, is_pod_level
from ..quantity import BINARY_SI, DECIMAL_SI, format_quantity
from ..resources import GVK
from .common import Obj, default, default_pull_policy, default_text, round_list, round_lists, struct

_FILE_MODE = 0o644
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def default_pod(obj: Obj) -> None:
    spec = struct(obj, "spec")
    default_pod_spec(spec)
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            _requests_from_limits(container["resources"])
    resources = spec.get("resources")
    if resources:
        _default_hugepage_limits(spec, resources)
        _default_pod_requests(spec, resources)
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    if spec.get("hostNetwork"):
        for field in ("containers", "initContainers"):
            for container in spec.get(field) or ():
                for port in container.get("ports") or ():
                    if not port.get("hostPort") and port.get("containerPort"):
                        port["hostPort"] = port["containerPort"]
    status = struct(obj, "status")
    _align_addresses(status)
    for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(field) or ():
            default(entry, "state", {})
            default(entry, "lastState", {})
            round_list(entry.get("allocatedResources"))
            round_lists(entry.get("resources"), "limits", "requests")
    for condition in status.get("conditions") or ():
        condition.setdefault("lastProbeTime", None)
        condition.setdefault("lastTransitionTime", None)


def _align_addresses(status: Obj) -> None:
    """podIP and the first of podIPs are one; where they differ, podIP is right: old kubelets know no other."""
    address, addresses = status.get("podIP"), status.get("podIPs") or []
    if address and (not addresses or addresses[0].get("ip") != address):
        status["podIPs"] = [{"ip": address}]
    elif addresses and addresses[0].get("ip"):
        status["podIP"] = addresses[0]["ip"]


def default_pod_template(template: Obj) -> None:
    """A PodTemplateSpec inside a workload."""
    struct(template, "metadata")
    default_pod_spec(struct(template, "spec"))


def default_pod_spec(spec: Obj) -> None:
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    for field in _CONTAINER_LISTS:
        for container in spec.get(field) or ():
            _default_container(container)
    if spec.get("containers") is None:
        spec["containers"] = None
    round_list(spec.get("overhead"))
    round_lists(spec.get("resources"), "limits", "requests")


def _requests_from_limits(resources: Obj) -> None:
    limits = resources.get("limits")
    if limits is None:
        return
    requests = resources.get("requests")
    if requests is None:
        if not limits:
            return
        requests = resources["requests"] = {}
    for name, value in limits.items():
        if name not in requests:
            requests[name] = value


def _default_container(container: Obj) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = default_pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for entry in container.get("env") or ():
        source = entry.get("valueFrom")
        if source:
            _default_env_source(source)
    resources = container.get("resources")
    if resources is None:
        container["resources"] = {}
    elif resources:
        round_list(resources.get("limits"))
        round_list(resources.get("requests"))
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(field)
        if probe is not None:
            _default_probe(probe)
    lifecycle = container.get("lifecycle")
    if lifecycle:
        for field in ("postStart", "preStop"):
            get = (lifecycle.get(field) or {}).get("httpGet")
            if get is not None:
                _default_http_get(get)


def _default_env_source(source: Obj) -> None:
    reference = source.get("fieldRef")
    if reference is not None:
        default_text(reference, "apiVersion", "v1")
    amount = source.get("resourceFieldRef")
    if amount is not None:
        default_text(amount, "divisor", "0")
    key = source.get("fileKeyRef")
    if key is not None:
        default(key, "optional", False)


def _default_probe(probe: Obj) -> None:
    default_text(probe, "timeoutSeconds", 1)
    default_text(probe, "periodSeconds", 10)
    default_text(probe, "successThreshold", 1)
    default_text(probe, "failureThreshold", 3)
    get = probe.get("httpGet")
    if get is not None:
        _default_http_get(get)
    grpc = probe.get("grpc")
    if grpc is not None:
        default(grpc, "service", "")


def _default_http_get(action: Obj) -> None:
    default_text(action, "path", "/")
    default_text(action, "scheme", "HTTP")


def _default_volume(volume: Obj) -> None:
    sources = [field for field, value in volume.items() if field != "name" and value is not None]
    for field in sources:  # one, if it is to be accepted
        defaulter = VOLUME_SOURCES.get(field)
        if defaulter is not None:
            defaulter(volume[field])
    if not sources:
        volume["emptyDir"] = {}


def _default_mode(source: Obj) -> None:
    default(source, "defaultMode", _FILE_MODE)


def _default_downward(source: Obj) -> None:
    default(source, "defaultMode", _FILE_MODE)
    _default_downward_items(source)


def _default_downward_items(source: Obj) -> None:
    for item in source.get("items") or ():
        _default_env_source(item)


def _default_projected(source: Obj) -> None:
    default(source, "defaultMode", _FILE_MODE)
    source.setdefault("sources", None)
    for entry in source["sources"] or ():
        downward = entry.get("downwardAPI")
        if downward:
            _default_downward_items(downward)
        token = entry.get("serviceAccountToken")
        if token is not None:
            default(token, "expirationSeconds", 3600)


def _default_ephemeral(source: Obj) -> None:
    template = source.get("volumeClaimTemplate")
    if template is not None:
        struct(template, "metadata")
        default_claim_spec(struct(template, "spec"))


def default_claim_spec(spec: Obj) -> None:
    """PersistentVolumeClaimSpec, in claims, claim templates and ephemeral volumes."""
    default(spec, "volumeMode", "Filesystem")
    round_lists(struct(spec, "resources"), "limits", "requests")
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if isinstance(source, dict):
        source.setdefault("apiGroup", None)
    if isinstance(reference, dict):
        reference.setdefault("apiGroup", None)


def _default_image_volume(source: Obj) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = default_pull_policy(source.get("reference") or "")


def _default_host_path(source: Obj) -> None:
    default(source, "type", "")


def _default_iscsi(source: Obj) -> None:
    default_text(source, "iscsiInterface", "default")


def _default_rbd(source: Obj) -> None:
    default_text(source, "pool", "rbd")
    default_text(source, "user", "admin")
    default_text(source, "keyring", "/etc/ceph/keyring")


def _default_azure_disk(source: Obj) -> None:
    default(source, "cachingMode", "ReadWrite")
    default(source, "fsType", "ext4")
    default(source, "readOnly", False)
    default(source, "kind", "Shared")


def _default_scale_io(source: Obj) -> None:
    default_text(source, "storageMode", "ThinProvisioned")
    default_text(source, "fsType", "xfs")


VOLUME_SOURCES = {
    "hostPath": _default_host_path,
    "secret": _default_mode,
    "configMap": _default_mode,
    "iscsi": _default_iscsi,
    "rbd": _default_rbd,
    "downwardAPI": _default_downward,
    "projected": _default_projected,
    "azureDisk": _default_azure_disk,
    "scaleIO": _default_scale_io,
    "ephemeral": _default_ephemeral,
    "image": _default_image_volume,
}
"""Defaults of one volume source, for pods and (where both have it) PersistentVolumes."""


def _default_hugepage_limits(spec: Obj, resources: Obj) -> None:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if not limits and not requests:
        return
    found = {
        name: _amount(name, total)
        for name, total in aggregate_limits(spec).items()
        if is_hugepage(name) and name not in requests and name not in limits
    }
    if found:
        resources["limits"] = {**limits, **found}


def _default_pod_requests(spec: Obj, resources: Obj) -> None:
    limits = resources.get("limits") or {}
    if not limits:
        return
    requests = dict(resources.get("requests") or {})
    for name, total in aggregate_requests(spec).items():
        if name not in requests and is_pod_level(name) and is_overcommit_allowed(name):
            requests[name] = _amount(name, total)
    for name, value in limits.items():
        if name not in requests and is_pod_level(name):
            requests[name] = value
    if requests:
        resources["requests"] = requests


def _amount(name: str, total: Decimal) -> str:
    return format_quantity(total, DECIMAL_SI if name == "cpu" else BINARY_SI)


def _default_pod_template_kind(obj: Obj) -> None:
    default_pod_template(struct(obj, "template"))


DEFAULTERS: dict[GVK, Any] = {
    GVK("", "v1", "Pod"): default_pod,
    GVK("", "v1", "PodTemplate"): _default_pod_template_kind,
}
