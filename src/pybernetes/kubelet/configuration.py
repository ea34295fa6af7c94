"""KubeletConfiguration files and durations: what ``--config`` names, read into ``KubeletSettings``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from ..api.quantity import BINARY_SI, QuantityError, format_quantity, quantity_value
from .pod.restarts import go_duration
from .settings import KubeletSettings


class ConfigurationError(ValueError):
    """A configuration that cannot be used; the message names the field."""


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def duration(text: Any, where: str = "duration") -> float:
    """Seconds of a Go duration (``1m30s``); a bare number is taken as seconds."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    value = str(text)
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    parts = _PART.findall(value)
    if not parts or "".join(n + u for n, u in parts) != value:
        raise ConfigurationError(f"{where}: invalid duration {value!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _size(text: Any, where: str) -> int:

    try:
        return quantity_value(text)
    except QuantityError as failure:
        raise ConfigurationError(f"{where}: {failure}") from failure


# Names that are not the snake case of upstream's, and fields whose value is not simply taken over.
_NAMES = {
    "clusterDNS": "cluster_dns",
    "staticPodPath": "static_pod_path",
    "cgroupsPerQOS": "cgroups_per_qos",
    "cpuCFSQuota": "cpu_cfs_quota",
    "cpuCFSQuotaPeriod": "cpu_cfs_quota_period",
    "resolvConf": "resolv_conf",
    "podLogsDir": "pod_logs_dir",
    "imageGCHighThresholdPercent": "image_gc_high_threshold",
    "imageGCLowThresholdPercent": "image_gc_low_threshold",
    "imageMinimumGCAge": "image_minimum_gc_age",
    "imageMaximumGCAge": "image_maximum_gc_age",
    "containerLogMaxSize": "container_log_max_size",
    "evictionMaxPodGracePeriod": "eviction_max_pod_grace_period",
    "registerNode": "register_node",
    "nodeStatusMaxImages": "node_status_max_images",
    "providerID": "provider_id",
    "shutdownGracePeriodCriticalPods": "shutdown_grace_period_critical_pods",
    "shutdownGracePeriodByPodPriority": "shutdown_grace_period_by_pod_priority",
    "maxParallelImagePulls": "max_parallel_image_pulls",
}
_DURATIONS = frozenset(
    (
        "file_check_frequency",
        "sync_frequency",
        "node_status_update_frequency",
        "node_status_report_frequency",
        "image_minimum_gc_age",
        "image_maximum_gc_age",
        "cpu_cfs_quota_period",
        "eviction_pressure_transition_period",
        "shutdown_grace_period",
        "shutdown_grace_period_critical_pods",
    )
)
_PATHS = frozenset(("static_pod_path", "resolv_conf", "pod_logs_dir"))
_TUPLES = frozenset(("cluster_dns", "allowed_unsafe_sysctls", "enforce_node_allocatable"))
# Lists of objects: what each of them holds.
_RECORDS: dict[str, dict[str, type]] = {
    "register_with_taints": {"key": str, "value": str, "effect": str, "timeAdded": str},
    "shutdown_grace_period_by_pod_priority": {"priority": int, "shutdownGracePeriodSeconds": int},
}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m[1].lower(), name)


def values_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a KubeletConfiguration gives. What this kubelet has no use for is left out. Raises ConfigurationError."""
    if document.get("kind") != "KubeletConfiguration":
        raise ConfigurationError(f"kind is {document.get('kind')!r}, not KubeletConfiguration")
    known = {f.name: str(f.type) for f in fields(KubeletSettings)}
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = _NAMES.get(key) or _snake(key)
        if name in known and name not in OWN and value is not None:
            found[name] = _value(name, key, value, known[name])
    crash = document.get("crashLoopBackOff")
    if crash is not None:
        period = _checked(crash, Mapping, "crashLoopBackOff").get("maxContainerRestartPeriod")
        if period is not None:
            found["max_crash_backoff"] = duration(period, "crashLoopBackOff.maxContainerRestartPeriod")
    return found


def _checked(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigurationError(f"{where}: {value!r} is not of the type that it should be")
    return value


def _value(name: str, key: str, value: Any, kind: str) -> Any:
    """One field's value as a setting."""
    if name in _DURATIONS:
        return duration(value, key)
    if name in _PATHS:
        return Path(_checked(value, str, key)) if value else None
    if name == "container_log_max_size":
        return _size(value, key)
    if name in _TUPLES:
        return tuple(_checked(v, str, f"{key}[{n}]") for n, v in enumerate(_checked(value, list, key)))
    if name in _RECORDS:
        return tuple(_record(v, _RECORDS[name], f"{key}[{n}]") for n, v in enumerate(_checked(value, list, key)))
    if name == "eviction_soft_grace_period":
        return {k: duration(v, f"{key}.{k}") for k, v in _checked(value, Mapping, key).items()}
    if kind.startswith("Mapping"):
        return {k: _checked(v, str, f"{key}.{k}") for k, v in _checked(value, Mapping, key).items()}
    return _checked(value, {"int": int, "bool": bool, "float": (int, float)}.get(kind, str), key)


def _record(value: Any, kinds: Mapping[str, type], where: str) -> dict[str, Any]:
    entry = _checked(value, Mapping, where)
    return {k: _checked(entry[k], kind, f"{where}.{k}") for k, kind in kinds.items() if k in entry}


# What belongs to this process and is no field of a KubeletConfiguration.
OWN = frozenset(
    (
        "node_name",
        "root_dir",
        "container_logs_dir",
        "node_ips",
        "hostname_override",
        "node_labels",
        "hosts_file",
        "register_schedulable",
        "pod_infra_container_image",
        "max_crash_backoff",
    )
)


def field_name(setting: str) -> str:
    """``image_gc_high_threshold`` -> ``imageGCHighThresholdPercent``."""
    for name, known in _NAMES.items():
        if known == setting:
            return name
    head, *rest = setting.split("_")
    return head + "".join(w.capitalize() for w in rest)


def document_of(settings: KubeletSettings) -> dict[str, Any]:
    """The KubeletConfiguration that these settings are: what ``/configz`` shows, and what ``values_of`` reads."""
    found: dict[str, Any] = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1"}
    for entry in fields(KubeletSettings):
        value = getattr(settings, entry.name)
        if entry.name in OWN or value is None:
            continue
        if entry.name in _DURATIONS:
            value = go_duration(value)
        elif entry.name == "eviction_soft_grace_period":
            value = {k: go_duration(v) for k, v in value.items()}
        elif entry.name == "container_log_max_size":
            value = format_quantity(value, BINARY_SI)
        elif isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = [dict(v) if isinstance(v, Mapping) else v for v in value]
        elif isinstance(value, Mapping):
            value = dict(value)
        found[field_name(entry.name)] = value
    found["crashLoopBackOff"] = {"maxContainerRestartPeriod": go_duration(settings.max_crash_backoff)}
    return found


def load(path: str | Path) -> dict[str, Any]:
    """Reads a file. Raises ConfigurationError."""
    try:
        document = yaml.safe_load(Path(path).read_text())
    except OSError as failure:
        raise ConfigurationError(f"cannot read {path}: {failure.strerror}") from failure
    except yaml.YAMLError as failure:
        raise ConfigurationError(f"{path} is not YAML: {failure}") from failure
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is no KubeletConfiguration")
    return values_of(document)
