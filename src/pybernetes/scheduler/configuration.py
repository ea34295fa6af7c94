"""``kubescheduler.config.k8s.io/v1`` KubeSchedulerConfiguration: read, defaulted and checked with upstream's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..api.errors import FieldError, duplicate, invalid_value, required
from .plugin_args import validate_plugin_args
from .profiles import DEFAULT_SCHEDULER

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
PARALLEL_BINDINGS = 32
"""Bindings under way at a time: enough to keep an API server busy, few enough to keep their connections."""

_LEADER = {
    "leaderElect", "leaseDuration", "renewDeadline", "retryPeriod", "resourceLock", "resourceName", "resourceNamespace",
}  # fmt: skip
_FIELDS: dict[str, Any] = {
    "apiVersion": None,
    "kind": None,
    "parallelism": None,
    "leaderElection": dict.fromkeys(_LEADER),
    "clientConnection": dict.fromkeys(("kubeconfig", "acceptContentTypes", "contentType", "qps", "burst")),
    "enableProfiling": None,
    "enableContentionProfiling": None,
    "percentageOfNodesToScore": None,
    "podInitialBackoffSeconds": None,
    "podMaxBackoffSeconds": None,
    "delayCacheUntilActive": None,
    "extenders": None,
    "profiles": [
        {
            "schedulerName": None,
            "percentageOfNodesToScore": None,
            "pluginConfig": [{"name": None, "args": None}],
            "plugins": {
                point: {"enabled": [{"name": None, "weight": None}], "disabled": [{"name": None, "weight": None}]}
                for point in (
                    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit",
                    "preBind", "bind", "postBind", "multiPoint", "placementGenerate", "placementScore",
                )
            },
        }
    ],
}  # fmt: skip
"""What may stand where; None for anything."""
_REMOVED = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")


class ConfigurationError(ValueError):
    """A configuration that cannot be used; one line a problem."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the scheduler does with a configuration."""

    profiles: Sequence[Mapping[str, Any]] = ()
    parallelism: int = 16
    parallel_bindings: int = PARALLEL_BINDINGS
    percentage_of_nodes_to_score: int | None = None
    initial_backoff: float = 1.0
    maximum_backoff: float = 10.0
    leader_election: Mapping[str, Any] = field(default_factory=dict)
    client_connection: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def default(cls, name: str = DEFAULT_SCHEDULER) -> Configuration:
        return cls(profiles=({"schedulerName": name},))


def load(path: str | Path) -> Configuration:
    """Reads a file. Raises ConfigurationError."""
    try:
        document = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        raise ConfigurationError(f"cannot read {path}: {failure}") from failure
    return parse(document)


def parse(document: Any) -> Configuration:
    """A configuration from its wire form. Raises ConfigurationError."""
    if not isinstance(document, dict):
        raise ConfigurationError("the configuration is not an object")
    version, kind = document.get("apiVersion"), document.get("kind")
    if kind != KIND:
        raise ConfigurationError(f'no kind "{kind}" is registered for version "{version}": {KIND} is expected')
    if version != API_VERSION:
        raise ConfigurationError(f'no kind "{KIND}" is registered for version "{version}": {API_VERSION} is expected')
    unknown = _unknown(document, _FIELDS, "")
    if unknown:
        raise ConfigurationError("strict decoding error: " + ", ".join(f'unknown field "{u}"' for u in unknown))
    if document.get("extenders"):
        raise ConfigurationError("extenders: Forbidden: scheduler extenders are not supported; write a plugin")
    given = document.get("profiles") or [{}]
    profiles = [dict(p) for p in given]
    if len(profiles) == 1 and profiles[0].get("schedulerName") is None:
        profiles[0]["schedulerName"] = DEFAULT_SCHEDULER
    problems = _validate(document, profiles)
    if problems:
        raise ConfigurationError("\n".join(str(p) for p in problems))
    return Configuration(
        profiles=tuple(profiles),
        parallelism=int(document.get("parallelism", 16)),
        percentage_of_nodes_to_score=document.get("percentageOfNodesToScore"),
        initial_backoff=float(document.get("podInitialBackoffSeconds", 1)),
        maximum_backoff=float(document.get("podMaxBackoffSeconds", 10)),
        leader_election=document.get("leaderElection") or {},
        client_connection=document.get("clientConnection") or {},
    )


def _unknown(value: Any, known: Any, path: str) -> list[str]:
    if known is None or value is None:
        return []
    if isinstance(known, list):
        if not isinstance(value, list):
            raise ConfigurationError(f"{path}: a list is expected")
        return [u for at, item in enumerate(value) for u in _unknown(item, known[0], f"{path}[{at}]")]
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: an object is expected")
    found: list[str] = []
    for key, child in value.items():
        at = f"{path}.{key}" if path else str(key)
        found += _unknown(child, known[key], at) if key in known else [at]
    return found


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _validate(document: Mapping[str, Any], profiles: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    found: list[FieldError] = []
    lock = (document.get("leaderElection") or {}).get("resourceLock")
    if lock and lock != "leases":
        found.append(invalid_value("leaderElection.resourceLock", lock, 'resourceLock value must be "leases"'))
    parallelism = document.get("parallelism", 16)
    if not _is_whole(parallelism) or parallelism <= 0:
        found.append(invalid_value("parallelism", parallelism, "should be an integer value greater than zero"))
    names: dict[str, int] = {}
    for at, profile in enumerate(profiles):
        path = f"profiles[{at}]"
        found += _validate_profile(path, profile)
        name = profile.get("schedulerName") or ""
        if name in names:
            found.append(duplicate(f"{path}.schedulerName", f"profiles[{names[name]}].schedulerName"))
        names[name] = at
    found += _common_queue_sort(profiles)
    found += _percentage("percentageOfNodesToScore", document.get("percentageOfNodesToScore"))
    initial, maximum = document.get("podInitialBackoffSeconds", 1), document.get("podMaxBackoffSeconds", 10)
    if not _is_whole(initial) or initial <= 0:
        found.append(invalid_value("podInitialBackoffSeconds", initial, "must be greater than 0"))
    elif not _is_whole(maximum) or maximum < initial:
        words = "must be greater than or equal to PodInitialBackoffSeconds"
        found.append(invalid_value("podMaxBackoffSeconds", maximum, words))
    return found


def _percentage(path: str, value: Any) -> list[FieldError]:
    if value is None or (_is_whole(value) and 0 <= value <= 100):
        return []
    return [invalid_value(path, value, "not in valid range [0-100]")]


def _validate_profile(path: str, profile: Mapping[str, Any]) -> list[FieldError]:
    found: list[FieldError] = []
    if not profile.get("schedulerName"):
        found.append(required(f"{path}.schedulerName", ""))
    found += _percentage(f"{path}.percentageOfNodesToScore", profile.get("percentageOfNodesToScore"))
    for point, chosen in (profile.get("plugins") or {}).items():
        for at, plugin in enumerate((chosen or {}).get("enabled") or ()):
            here = f"{path}.plugins.{point}.enabled[{at}]"
            name, weight = plugin.get("name"), plugin.get("weight")
            if not isinstance(name, str) or not name:
                found.append(required(f"{here}.name", ""))
            elif name in _REMOVED:
                words = (
                    f'was invalid in version "{API_VERSION}" (KubeSchedulerConfiguration is version "{API_VERSION}")'
                )
                found.append(invalid_value(here, name, words))
            if weight is not None and (not _is_whole(weight) or weight < 0):
                found.append(invalid_value(f"{here}.weight", weight, "must be a whole number that is not negative"))
    seen: set[str] = set()
    for at, config in enumerate(profile.get("pluginConfig") or ()):
        here, name = f"{path}.pluginConfig[{at}]", config.get("name") or ""
        if name in seen:
            found.append(duplicate(here, name))
        seen.add(name)
        found += validate_plugin_args(name, config.get("args") or {}, f"{here}.args")
    return found


def _common_queue_sort(profiles: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    def sorting(profile: Mapping[str, Any]) -> Any:
        return (profile.get("plugins") or {}).get("queueSort") or {}

    found: list[FieldError] = []
    enabled = sorting(profiles[0]).get("enabled") or []
    if len(enabled) > 1:
        words = "only one queue sort plugin can be enabled"
        found.append(invalid_value("profiles[0].plugins.queueSort.Enabled", len(enabled), words))
    for at, profile in enumerate(profiles[1:], 1):
        if sorting(profile) != sorting(profiles[0]):
            names = ", ".join(p.get("name", "") for p in sorting(profile).get("enabled") or ())
            found.append(invalid_value(f"profiles[{at}].plugins.queueSort", names, "must be the same for all profiles"))
    return found
