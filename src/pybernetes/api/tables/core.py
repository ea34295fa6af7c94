"""Rows of the core group: services, nodes, volumes, events, quotas and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import NONE, UNKNOWN, UNSET, Obj, labels_text, name_and_age, since

_STORAGE_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _external_ip(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    kind, addresses = spec.get("type"), list(spec.get("externalIPs") or ())
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(addresses) or NONE
    if kind == "LoadBalancer":
        return ",".join([*balancer_addresses(status), *addresses]) or "<pending>"
    if kind == "ExternalName":
        return str(spec.get("externalName") or "")
    return UNKNOWN


def balancer_addresses(status: Mapping[str, Any]) -> list[str]:
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    return sorted({i.get("ip") or i.get("hostname") for i in ingress} - {None, ""})


def _port(port: Mapping[str, Any]) -> str:
    node_port = port.get("nodePort") or 0
    number = f"{port.get('port') or 0}:{node_port}" if node_port > 0 else f"{port.get('port') or 0}"
    return f"{number}/{port.get('protocol') or ''}"


def _service(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    name, age = name_and_age(obj, now)
    return [
        name,
        spec.get("type") or "",
        (spec.get("clusterIPs") or [NONE])[0],
        _external_ip(spec, status),
        ",".join(_port(p) for p in spec.get("ports") or ()) or NONE,
        age,
        labels_text(spec.get("selector")),
    ]


def _host_port(address: str, port: Any) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _endpoints(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    subsets = obj.get("subsets") or ()
    listed: list[str] = []
    for subset in subsets:
        addresses = [a.get("ip") or "" for a in subset.get("addresses") or ()]
        if subset.get("ports"):
            listed += [_host_port(a, p.get("port") or 0) for p in subset["ports"] for a in addresses]
        else:
            listed += addresses
    text = ",".join(listed[:3]) + (f" + {len(listed) - 3} more..." if len(listed) > 3 else "")
    return [name, text if subsets else NONE, age]


def _node(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    name, age = name_and_age(obj, now)
    ready = [c for c in status.get("conditions") or () if c.get("type") == "Ready"][-1:]
    states = ["Ready" if c.get("status") == "True" else "NotReady" for c in ready] or ["Unknown"]
    if spec.get("unschedulable"):
        states.append("SchedulingDisabled")
    kernel = info.get("kernelVersion") or UNKNOWN
    if info.get("architecture"):
        kernel += f" ({info['architecture']})"
    return [
        name,
        ",".join(states),
        ",".join(_roles((obj.get("metadata") or {}).get("labels") or {})) or NONE,
        age,
        info.get("kubeletVersion") or "",
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        kernel,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _address(status: Mapping[str, Any], kind: str) -> str:
    found = (a.get("address") or "" for a in status.get("addresses") or () if a.get("type") == kind)
    return next(found, NONE)


def _roles(labels: Mapping[str, str]) -> list[str]:
    prefix = "node-role.kubernetes.io/"
    roles = {k.removeprefix(prefix) for k in labels if k.startswith(prefix)}
    roles.add(labels.get("kubernetes.io/role") or "")
    return sorted(roles - {""})


def _namespace(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, (obj.get("status") or {}).get("phase") or "", age]


def _secret(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, obj.get("type") or "", len(obj.get("data") or ()), age]


def _config_map(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    return [name, len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age]


def _service_account(obj: Obj, now: float) -> list[Any]:
    return [*name_and_age(obj, now)]


def _modes(modes: Any) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _storage_class_of(obj: Obj) -> str:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if _STORAGE_CLASS_ANNOTATION in annotations:
        return str(annotations[_STORAGE_CLASS_ANNOTATION])
    return (obj.get("spec") or {}).get("storageClassName") or ""


def _phase(obj: Obj) -> str:
    if (obj.get("metadata") or {}).get("deletionTimestamp") is not None:
        return "Terminating"
    return (obj.get("status") or {}).get("phase") or ""


def _or_unset(value: Any) -> Any:
    return UNSET if value is None else value


def _persistent_volume(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    name, age = name_and_age(obj, now)
    claim = spec.get("claimRef")
    return [
        name,
        str((spec.get("capacity") or {}).get("storage") or "0"),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy") or "",
        _phase(obj),
        "" if claim is None else f"{claim.get('namespace') or ''}/{claim.get('name') or ''}",
        _storage_class_of(obj),
        _or_unset(spec.get("volumeAttributesClassName")),
        status.get("reason") or "",
        age,
        _or_unset(spec.get("volumeMode")),
    ]


def _claim(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    name, age = name_and_age(obj, now)
    bound = bool(spec.get("volumeName"))
    return [
        name,
        _phase(obj),
        spec.get("volumeName") or "",
        str((status.get("capacity") or {}).get("storage") or "0") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        _storage_class_of(obj),
        _or_unset(spec.get("volumeAttributesClassName")),
        age,
        _or_unset(spec.get("volumeMode")),
    ]


def _event(obj: Obj, now: float) -> list[Any]:
    involved = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    first = since(obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime"), now)
    last_time = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    last = since(last_time, now) if last_time else first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    series = obj.get("series")
    if series is not None:
        last, count = since(series.get("lastObservedTime"), now), series.get("count") or 0
    kind = (involved.get("kind") or "").lower()
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return [
        last,
        obj.get("type") or "",
        obj.get("reason") or "",
        f"{kind}/{involved['name']}" if involved.get("name") else kind,
        involved.get("fieldPath") or "",
        f"{component}, {instance}" if instance else component,
        (obj.get("message") or obj.get("note") or "").strip(),
        first,
        count,
        (obj.get("metadata") or {}).get("name") or "",
    ]


def _resource_quota(obj: Obj, now: float) -> list[Any]:
    name, age = name_and_age(obj, now)
    status = obj.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for resource in sorted(hard):
        text = f"{resource}: {used.get(resource, '0')}/{hard[resource]}"
        (limits if resource.startswith("limits.") else requests).append(text)
    return [name, ", ".join(requests), ", ".join(limits), age]


def _component_status(obj: Obj, now: float) -> list[Any]:
    healthy = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), None)
    name = name_and_age(obj, now)[0]
    if healthy is None:
        return [name, "Unknown", "", ""]
    state = "Healthy" if healthy.get("status") == "True" else "Unhealthy"
    return [name, state, healthy.get("message") or "", healthy.get("error") or ""]


PRINTERS = {
    ("", "Service"): _service,
    ("", "Endpoints"): _endpoints,
    ("", "Node"): _node,
    ("", "Namespace"): _namespace,
    ("", "Secret"): _secret,
    ("", "ConfigMap"): _config_map,
    ("", "ServiceAccount"): _service_account,
    ("", "PersistentVolume"): _persistent_volume,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Event"): _event,
    ("events.k8s.io", "Event"): _event,
    ("", "ResourceQuota"): _resource_quota,
    ("", "ComponentStatus"): _component_status,
}
