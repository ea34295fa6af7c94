"""KubeletConfiguration files and durations: what ``--config`` names, read into ``KubeletSettings``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from ..api.quantity import QuantityError, quantity_value
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
_TUPLES = frozenset(("cluster_dns", "allowed_unsafe_sysctls", "enforce_node_allocatable", "register_with_taints"))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m[1].lower(), name)


def values_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a KubeletConfiguration gives. What this kubelet has no use for is left out."""
    if document.get("kind") != "KubeletConfiguration":
        raise ConfigurationError(f"kind is {document.get('kind')!r}, not KubeletConfiguration")
    known = {f.name for f in fields(KubeletSettings)}
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = _NAMES.get(key) or _snake(key)
        if name not in known or value is None:
            continue
        if name in _DURATIONS:
            value = duration(value, key)
        elif name in _PATHS:
            value = Path(value) if value else None
        elif name in _TUPLES:
            value = tuple(value)
        elif name == "container_log_max_size":
            value = _size(value, key)
        elif name == "eviction_soft_grace_period":
            value = {k: duration(v, f"{key}.{k}") for k, v in value.items()}
        found[name] = value
    crash = (document.get("crashLoopBackOff") or {}).get("maxContainerRestartPeriod")
    if crash is not None:
        found["max_crash_backoff"] = duration(crash, "crashLoopBackOff.maxContainerRestartPeriod")
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
