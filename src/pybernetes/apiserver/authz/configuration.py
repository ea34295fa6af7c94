"""The chain of authorizers as it is configured: ``--authorization-config``, or the older flags brought to the same form.

Specified by ``apiserver.config.k8s.io/v1`` AuthorizationConfiguration ("Configuring the API Server using an Authorization Config
File") and its validation. No I/O but a look at the kubeconfig files that webhooks name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...api.errors import FieldError, duplicate, invalid_value, not_supported, required, too_many
from ...api.validation.formats import dns_subdomain_problems
from .. import configfiles
from ..configfiles import BOOL, DURATION, STRING, ConfigurationError, Items, Struct

MODES = ("Node", "RBAC", "ABAC", "Webhook", "AlwaysAllow", "AlwaysDeny")
WEBHOOK = "Webhook"
KIND = "AuthorizationConfiguration"
VERSIONS = tuple(f"apiserver.config.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1"))
MAX_CONDITIONS = 64
MAX_TIMEOUT = 30.0
ALLOWED_TTL, REFUSED_TTL = 300.0, 30.0
IN_CLUSTER, KUBECONFIG_FILE = "InClusterConfig", "KubeConfigFile"

_WEBHOOK = Struct(
    "v1.WebhookConfiguration",
    {
        "authorizedTTL": DURATION,
        "cacheAuthorizedRequests": BOOL,
        "unauthorizedTTL": DURATION,
        "cacheUnauthorizedRequests": BOOL,
        "timeout": DURATION,
        "subjectAccessReviewVersion": STRING,
        "matchConditionSubjectAccessReviewVersion": STRING,
        "failurePolicy": STRING,
        "connectionInfo": Struct("v1.WebhookConnectionInfo", {"type": STRING, "kubeConfigFile": STRING}),
        "matchConditions": Items(Struct("v1.WebhookMatchCondition", {"expression": STRING})),
    },
)
SHAPE = Struct(
    KIND,
    {"authorizers": Items(Struct("v1.AuthorizerConfiguration", {"type": STRING, "name": STRING, "webhook": _WEBHOOK}))},
)


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How one webhook is asked; times are seconds, a lifetime of 0 remembers nothing."""

    kubeconfig: str
    version: str = "v1"
    """Of the SubjectAccessReview that is sent."""
    allowed_ttl: float = ALLOWED_TTL
    refused_ttl: float = REFUSED_TTL
    timeout: float = MAX_TIMEOUT
    fail_closed: bool = False
    """``failurePolicy: Deny``."""
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthorizerSettings:
    """One authorizer of the chain."""

    type: str
    name: str
    webhook: WebhookSettings | None = None


@dataclass(slots=True)
class AuthorizationOptions:
    """``--authorization-*``: a file, or modes and what they need."""

    modes: Sequence[str] = ("Node", "RBAC")
    policy_file: str = ""
    webhook_kubeconfig: str = ""
    webhook_version: str = "v1beta1"
    allowed_ttl: float = ALLOWED_TTL
    refused_ttl: float = REFUSED_TTL
    config_file: str = ""
    extra: Sequence[Any] = field(default_factory=tuple)
    """Authorizers of other packages (entry points), asked last."""


# -- the older flags ---------------------------------------------------------------------------------------------------


def from_flags(options: AuthorizationOptions) -> tuple[AuthorizerSettings, ...]:
    """Raises ConfigurationError."""
    problems: list[str] = []
    modes = list(options.modes)
    if not modes:
        problems.append("at least one authorization-mode must be passed")
    for mode in modes:
        if mode not in MODES:
            problems.append(f'authorization-mode "{mode}" is not a valid mode')
        if mode == "ABAC" and not options.policy_file:
            problems.append("authorization-mode ABAC's authorization policy file not passed")
        if mode == WEBHOOK and not options.webhook_kubeconfig:
            problems.append("authorization-mode Webhook's authorization config file not passed")
    if options.policy_file and "ABAC" not in modes:
        problems.append("cannot specify --authorization-policy-file without mode ABAC")
    if options.webhook_kubeconfig and WEBHOOK not in modes:
        problems.append("cannot specify --authorization-webhook-config-file without mode Webhook")
    if len(set(modes)) != len(modes):
        listed = " ".join(f'"{m}"' for m in modes)
        problems.append(f"authorization-mode [{listed}] has mode specified more than once")
    if options.webhook_version not in ("v1", "v1beta1"):
        words = 'supported versions are "v1", "v1beta1"'
        problems.append(f'unsupported webhook authorizer version "{options.webhook_version}", {words}')
    if problems:
        raise ConfigurationError(configfiles.aggregate(problems))
    webhook = WebhookSettings(
        options.webhook_kubeconfig, options.webhook_version, options.allowed_ttl, options.refused_ttl
    )
    return tuple(
        AuthorizerSettings(m, "default", webhook) if m == WEBHOOK else AuthorizerSettings(m, m.lower()) for m in modes
    )


# -- the file ----------------------------------------------------------------------------------------------------------


def parse(data: bytes, needed: Iterable[str] = ()) -> tuple[AuthorizerSettings, ...]:
    """The chain of a file. ``needed`` are types that must be in it. Raises ConfigurationError."""
    try:
        document = configfiles.decode(data, VERSIONS, {KIND: SHAPE})
    except ConfigurationError as failure:
        raise ConfigurationError(f"failed to load AuthorizationConfiguration from file: {failure}") from failure
    entries = [e or {} for e in document.get("authorizers") or []]
    problems = _problems(entries)
    if problems:
        raise ConfigurationError(configfiles.aggregate(problems))
    wrong = [
        f"expected name {e['type'].lower()} for authorizer {e['type']} instead of {e['name']}"
        for e in entries
        if e["type"] != WEBHOOK and e["name"] != e["type"].lower()
    ]
    missing = sorted(set(needed) - {e["type"] for e in entries})
    if missing:
        wrong.append(f"missing required types: [{' '.join(missing)}]")
    if wrong:
        raise ConfigurationError(configfiles.aggregate(wrong))
    return tuple(map(_settings, entries))


def _settings(entry: Mapping[str, Any]) -> AuthorizerSettings:
    w = entry.get("webhook")
    if w is None:
        return AuthorizerSettings(entry["type"], entry["name"])
    allowed = configfiles.seconds(w.get("authorizedTTL")) or ALLOWED_TTL
    refused = configfiles.seconds(w.get("unauthorizedTTL")) or REFUSED_TTL
    info = w["connectionInfo"]
    if info["type"] == IN_CLUSTER:
        raise ConfigurationError(
            f"authorizers {entry['name']}: connectionInfo.type {IN_CLUSTER} is not allowed for kube-apiserver"
        )
    webhook = WebhookSettings(
        kubeconfig=info["kubeConfigFile"],
        version=w["subjectAccessReviewVersion"],
        allowed_ttl=0.0 if w.get("cacheAuthorizedRequests") is False else allowed,
        refused_ttl=0.0 if w.get("cacheUnauthorizedRequests") is False else refused,
        timeout=configfiles.seconds(w["timeout"]),
        fail_closed=w["failurePolicy"] == "Deny",
        conditions=tuple(c["expression"] for c in w.get("matchConditions") or ()),
    )
    return AuthorizerSettings(entry["type"], entry["name"], webhook)


def _problems(entries: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    if not entries:
        return [required("authorizers", "at least one authorization mode must be defined")]
    problems: list[FieldError] = []
    types: set[str] = set()
    names: set[str] = set()
    for number, entry in enumerate(entries):
        at, type_ = f"authorizers[{number}]", entry.get("type") or ""
        if not type_:
            problems.append(required(f"{at}.type"))
        elif type_ not in MODES:
            problems.append(not_supported(f"{at}.type", type_, sorted(MODES)))
        elif type_ in types and type_ != WEBHOOK:
            problems.append(duplicate(f"{at}.type", type_))
        else:
            types.add(type_)
            problems += _name_problems(entry.get("name") or "", f"{at}.name", names)
            problems += _webhook_problems(type_, entry.get("webhook"), at)
    return problems


def _name_problems(name: str, at: str, names: set[str]) -> list[FieldError]:
    known = name in names
    names.add(name)
    if not name:
        return [required(at)]
    if known:
        return [duplicate(at, name)]
    wrong = dns_subdomain_problems(name)
    return [invalid_value(at, name, f"authorizer name is invalid: {', '.join(wrong)}")] if wrong else []


def _webhook_problems(type_: str, webhook: Mapping[str, Any] | None, at: str) -> list[FieldError]:
    if type_ != WEBHOOK:
        words = "may only be specified when type=Webhook"
        return [invalid_value(f"{at}.webhook", "non-null", words)] if webhook is not None else []
    if webhook is None:
        return [required(f"{at}.webhook", "required when type=Webhook")]
    problems = _time_problems(webhook, at)
    problems += _choice(webhook, at, "subjectAccessReviewVersion", ("v1", "v1beta1"))
    matched = "matchConditionSubjectAccessReviewVersion"
    if webhook.get(matched):
        problems += _choice(webhook, at, matched, ("v1",))
    elif webhook.get("matchConditions"):
        problems.append(required(f"{at}.{matched}", "required if match conditions are specified"))
    problems += _choice(webhook, at, "failurePolicy", ("NoOpinion", "Deny"))
    problems += _connection_problems(webhook.get("connectionInfo") or {}, f"{at}.connectionInfo")
    return problems + _condition_problems(webhook.get("matchConditions") or (), f"{at}.matchConditions")


def _time_problems(webhook: Mapping[str, Any], at: str) -> list[FieldError]:
    problems: list[FieldError] = []
    timeout = configfiles.seconds(webhook.get("timeout"))
    if not timeout:
        problems.append(required(f"{at}.timeout"))
    elif not 0 < timeout <= MAX_TIMEOUT:
        problems.append(invalid_value(f"{at}.timeout", configfiles.shown(timeout), "must be > 0s and <= 30s"))
    for name in ("authorizedTTL", "unauthorizedTTL"):
        ttl = configfiles.seconds(webhook.get(name))
        if ttl < 0:
            problems.append(invalid_value(f"{at}.{name}", configfiles.shown(ttl), "must be > 0s"))
    return problems


def _choice(of: Mapping[str, Any], at: str, name: str, supported: Sequence[str]) -> list[FieldError]:
    value = of.get(name) or ""
    if not value:
        return [required(f"{at}.{name}")]
    return [] if value in supported else [not_supported(f"{at}.{name}", value, supported)]


def _connection_problems(info: Mapping[str, Any], at: str) -> list[FieldError]:
    type_, file = info.get("type") or "", info.get("kubeConfigFile")
    path = f"{at}.kubeConfigFile"
    if not type_:
        return [required(f"{at}.type")]
    if type_ == IN_CLUSTER:
        words = "can only be set when type=KubeConfigFile"
        return [invalid_value(path, file, words)] if file is not None else []
    if type_ != KUBECONFIG_FILE:
        value = {"Type": type_, "KubeConfigFile": file}
        return [not_supported(f"{at}.type", value, (IN_CLUSTER, KUBECONFIG_FILE))]
    if not file:
        return [required(path)]
    if not os.path.isabs(file):
        return [invalid_value(path, file, "must be an absolute path")]
    try:
        mode = os.stat(file).st_mode
    except OSError as failure:
        words = (failure.strerror or "").lower()
        return [invalid_value(path, file, f"error loading file: stat {file}: {words}")]
    return [] if stat.S_ISREG(mode) else [invalid_value(path, file, "must be a regular file")]


def _condition_problems(conditions: Sequence[Mapping[str, Any]], at: str) -> list[FieldError]:
    if len(conditions) > MAX_CONDITIONS:
        return [too_many(at, len(conditions), MAX_CONDITIONS)]
    problems: list[FieldError] = []
    seen: set[str] = set()
    for number, condition in enumerate(conditions):
        path, expression = f"{at}[{number}].expression", (condition or {}).get("expression") or ""
        if not expression.strip():
            problems.append(required(path))
        elif expression in seen:
            problems.append(duplicate(path, expression))
        else:
            seen.add(expression)
            problems += _expression_problems(path, expression)
    return problems


def _expression_problems(path: str, expression: str) -> list[FieldError]:
    from ...api.cel import CompileError
    from ...api.cel.program import ProgramError
    from .conditions import compile_condition

    try:
        compiled = compile_condition(expression)
    except (CompileError, ProgramError) as failure:
        return [invalid_value(path, expression, f"compilation failed: {failure}")]
    if compiled.type.kind != "bool":
        return [invalid_value(path, expression, f"must evaluate to bool but got {compiled.type}")]
    return []
