"""``--admission-control-config-file``: what its AdmissionConfiguration says to the plugins that are on, as their settings.

Specified by ``apiserver.config.k8s.io/v1`` AdmissionConfiguration and the configurations of PodSecurity, ResourceQuota, EventRateLimit,
PodNodeSelector and of the webhook plugins. Plugins that are off are not looked at, as upstream has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...api.errors import FieldError, invalid_value, not_supported, required
from .. import configfiles
from ..configfiles import ANYTHING, INT, STRING, ConfigurationError, Items, Struct
from .podsecurity.policy import LEVELS, MODES, VERSION

GROUP = "apiserver.config.k8s.io"
LIMIT_TYPES = ("Server", "Namespace", "User", "SourceAndObject")
NODE_SELECTORS = "podNodeSelectorPluginConfig"
_LISTED = Struct("v1.AdmissionPluginConfiguration", {"name": STRING, "path": STRING, "configuration": ANYTHING})
SHAPE = Struct("AdmissionConfiguration", {"plugins": Items(_LISTED)})

_POD_SECURITY = Struct(
    "PodSecurityConfiguration",
    {
        "defaults": Struct(
            "v1.PodSecurityDefaults", {name: STRING for mode in MODES for name in (mode, f"{mode}-version")}
        ),
        "exemptions": Struct(
            "v1.PodSecurityExemptions", {n: Items(STRING) for n in ("usernames", "namespaces", "runtimeClasses")}
        ),
    },
)
_SCOPE = Struct(
    "v1.ScopedResourceSelectorRequirement", {"scopeName": STRING, "operator": STRING, "values": Items(STRING)}
)
_LIMITED: dict[str, configfiles.Shape] = {
    "apiGroup": STRING,
    "resource": STRING,
    "matchContains": Items(STRING),
    "matchScopes": Items(_SCOPE),
}
_QUOTA = Struct("Configuration", {"limitedResources": Items(Struct("v1.LimitedResource", _LIMITED))})
_LIMIT = Struct("v1alpha1.Limit", {"type": STRING, "qps": INT, "burst": INT, "cacheSize": INT})
_WEBHOOK = Struct("WebhookAdmission", {"kubeConfigFile": STRING, "staticManifestsDir": STRING})


@dataclass(frozen=True, slots=True)
class _Kind:
    """What one plugin's configuration may be, and the settings that come of it."""

    versions: tuple[str, ...]
    kinds: Mapping[str, Struct]
    read: Callable[[Mapping[str, Any]], dict[str, Any]]


# -- plugins -----------------------------------------------------------------------------------------------------------


def _pod_security(document: Mapping[str, Any]) -> dict[str, Any]:
    defaults = document.get("defaults") or {}
    wrong = []
    for mode in MODES:
        if (defaults.get(mode) or LEVELS[0]) not in LEVELS:
            wrong.append(f"{mode}: must be one of {', '.join(LEVELS)}")
        version = defaults.get(f"{mode}-version") or "latest"
        if version != "latest" and not VERSION.fullmatch(version):
            wrong.append(f'{mode}-version: must be "latest" or "v1.x"')
    if wrong:
        raise ConfigurationError(f"PodSecurity configuration error: {configfiles.aggregate(wrong)}")
    return {"pod-security": document}


def _quota(document: Mapping[str, Any]) -> dict[str, Any]:
    limited = [entry or {} for entry in document.get("limitedResources") or ()]
    _refuse(
        [required(f"limitedResources[{i}].resource") for i, entry in enumerate(limited) if not entry.get("resource")]
    )
    return {"limited-resources": limited}


def _event_limits(document: Mapping[str, Any]) -> dict[str, Any]:
    limits = [entry or {} for entry in document.get("limits") or ()]
    problems: list[FieldError] = []
    if not limits:
        problems.append(invalid_value("limits", None, "must not be empty"))
    for number, limit in enumerate(limits):
        at = f"limits[{number}]"
        if limit.get("type") not in LIMIT_TYPES:
            problems.append(not_supported(f"{at}.type", limit.get("type") or "", LIMIT_TYPES))
        for name in ("burst", "qps"):
            if (limit.get(name) or 0) <= 0:
                problems.append(invalid_value(f"{at}.{name}", limit.get(name) or 0, "must be positive"))
        if limit.get("type") != "Server" and (limit.get("cacheSize") or 0) < 0:
            problems.append(invalid_value(f"{at}.cacheSize", limit["cacheSize"], "must not be negative"))
    _refuse(problems)
    return {"event-limits": limits}


def _webhook(plugin: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    def read(document: Mapping[str, Any]) -> dict[str, Any]:
        file = document.get("kubeConfigFile") or ""
        if document.get("staticManifestsDir"):
            words = "requires the ManifestBasedAdmissionControlConfig feature gate to be enabled"
            raise ConfigurationError(f"staticManifestsDir: Forbidden: {words}")
        if not file:
            return {}
        if not os.path.isabs(file):
            _refuse([invalid_value("kubeConfigFile", file, "must be an absolute file path")])
        from .webhooks.users import WebhookUsers

        return {f"users-of-{plugin}": WebhookUsers.from_file(file)}

    return read


def _refuse(problems: list[FieldError]) -> None:
    if problems:
        raise ConfigurationError(configfiles.aggregate(problems))


_WEBHOOK_VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1alpha1")
_WEBHOOK_KINDS = {"WebhookAdmissionConfiguration": _WEBHOOK, "WebhookAdmission": _WEBHOOK}
KINDS: dict[str, _Kind] = {
    "PodSecurity": _Kind(
        tuple(f"pod-security.admission.config.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1")),
        {"PodSecurityConfiguration": _POD_SECURITY},
        _pod_security,
    ),
    "ResourceQuota": _Kind(
        (f"{GROUP}/v1", "resourcequota.admission.k8s.io/v1beta1", "resourcequota.admission.k8s.io/v1alpha1"),
        {"ResourceQuotaConfiguration": _QUOTA, "Configuration": _QUOTA},
        _quota,
    ),
    "EventRateLimit": _Kind(
        ("eventratelimit.admission.k8s.io/v1alpha1",),
        {"Configuration": Struct("Configuration", {"limits": Items(_LIMIT)})},
        _event_limits,
    ),
    **{
        name: _Kind(_WEBHOOK_VERSIONS, _WEBHOOK_KINDS, _webhook(name))
        for name in ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook")
    },
}


# -- the file ----------------------------------------------------------------------------------------------------------


def settings_of(file: str, enabled: Collection[str]) -> dict[str, Any]:
    """The settings of the plugins that are on. Raises ConfigurationError."""
    listed = _plugins(Path(file)) if file else {}
    settings: dict[str, Any] = {}
    for name in enabled:
        try:
            settings |= _settings(name, listed.get(name), Path(file).parent)
        except (ConfigurationError, OSError, ValueError) as failure:
            words = f'couldn\'t init admission plugin "{name}"'
            raise ConfigurationError(f"failed to apply admission: {words}: {failure}") from failure
    return settings


def _plugins(file: Path) -> dict[str, Mapping[str, Any]]:
    """The entries by name; of two for one plugin the first counts."""
    try:
        data = file.read_bytes()
    except OSError as failure:
        words = f'unable to read admission control configuration from "{file}" [{failure}]'
        raise ConfigurationError(f"failed to apply admission: failed to read plugin config: {words}") from failure
    try:
        document, problems = configfiles.parse(data)
        if NODE_SELECTORS in document and not document.get("kind"):
            return {"PodNodeSelector": {"configuration": document}}
        versions = (f"{GROUP}/v1", "apiserver.k8s.io/v1alpha1")
        configfiles.decoded(document, problems, versions, {"AdmissionConfiguration": SHAPE}, data)
    except ConfigurationError as failure:
        raise ConfigurationError(f"failed to apply admission: failed to read plugin config: {failure}") from failure
    found: dict[str, Mapping[str, Any]] = {}
    for entry in document.get("plugins") or ():
        found.setdefault((entry or {}).get("name") or "", entry or {})
    return found


def _settings(name: str, entry: Mapping[str, Any] | None, directory: Path) -> dict[str, Any]:
    document, problems, data = _document(entry, directory)
    if name == "PodNodeSelector":
        selectors = (document or {}).get(NODE_SELECTORS) or {}
        if not isinstance(selectors, dict) or not all(isinstance(v, str) for v in selectors.values()):
            raise ConfigurationError(f"{NODE_SELECTORS}: must be a map of strings")
        return {"node-selectors": selectors}
    kind = KINDS.get(name)
    if kind is None:
        return {}
    if document is None:
        # Without a configuration there are defaults; only this plugin has none.
        return _event_limits({}) if name == "EventRateLimit" else {}
    return kind.read(configfiles.decoded(document, problems, kind.versions, kind.kinds, data))


def _document(entry: Mapping[str, Any] | None, directory: Path) -> tuple[dict[str, Any] | None, list[str], bytes]:
    """What is embedded, or in the file that is named, which may be beside the whole file."""
    if entry is None:
        return None, [], b""
    if entry.get("configuration") is not None:
        embedded = entry["configuration"]
        if not isinstance(embedded, dict):
            raise ConfigurationError("configuration: must be an object")
        return embedded, [], b""
    if not entry.get("path"):
        return None, [], b""
    data = Path(directory, entry["path"]).read_bytes()
    document, problems = configfiles.parse(data)
    return document, problems, data
