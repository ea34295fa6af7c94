"""The audit policy file: which requests are recorded, at which level and stages. Specified by ``audit.k8s.io/v1`` Policy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...api.shapes import BOOL, STRING, Items, Shape, ShapeError, Struct, check
from ...concurrency import logger
from ...hooks.identity import UserInfo
from ..request import RequestInfo

log = logger("apiserver.audit")

NONE, METADATA, REQUEST, REQUEST_RESPONSE = "None", "Metadata", "Request", "RequestResponse"
LEVELS = (NONE, METADATA, REQUEST, REQUEST_RESPONSE)
RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = (RECEIVED, STARTED, COMPLETE, PANIC)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


_RESOURCES = Struct("v1.GroupResources", {"group": STRING, "resources": Items(STRING), "resourceNames": Items(STRING)})
_LISTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages")
_RULE: dict[str, Shape] = {"level": STRING, "resources": Items(_RESOURCES), "omitManagedFields": BOOL}
_RULE |= {name: Items(STRING) for name in _LISTS}
SHAPE = Struct(
    "Policy",
    {"rules": Items(Struct("v1.PolicyRule", _RULE)), "omitStages": Items(STRING), "omitManagedFields": BOOL},
)


class PolicyError(ValueError):
    """A policy that cannot be used; the message is upstream's where it has one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How one request is recorded."""

    level: str
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class GroupResources:
    """Resources of one group (``*`` is every group); no resources mean all of it."""

    group: str
    resources: tuple[str, ...]
    names: frozenset[str]

    def matches(self, info: RequestInfo) -> bool:
        if self.group not in ("*", info.group):
            return False
        if not self.resources:
            return True
        if self.names and info.name not in self.names:
            return False
        sub = info.subresource
        combined = f"{info.resource}/{sub}" if sub else info.resource
        return any(
            r in ("*", combined) or (sub and r == f"*/{sub}") or (r.endswith("/*") and r[:-2] == info.resource)
            for r in self.resources
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; what it does not name matches all."""

    choice: Choice
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[GroupResources, ...]
    paths: tuple[str, ...]

    def matches(self, user: UserInfo, info: RequestInfo) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if not info.is_resource or (self.namespaces and info.namespace not in self.namespaces):
                return False
            return not self.resources or any(r.matches(info) for r in self.resources)
        if self.paths:
            return not info.is_resource and any(_path_matches(p, info.path) for p in self.paths)
        return True


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


class Policy:
    """The first rule that matches decides; a request that none matches is not recorded."""

    MAX_KNOWN = 4096

    def __init__(self, rules: Sequence[Rule], default: Choice) -> None:
        self._rules, self._default = tuple(rules), default
        self._named = any(r.names for rule in rules for r in rule.resources)
        self._known: dict[tuple[Any, ...], Choice] = {}

    def decide(self, user: UserInfo, info: RequestInfo) -> Choice:
        what = info.name if self._named and info.is_resource else "" if info.is_resource else info.path
        key = (user.name, user.groups, info.verb, info.group, info.resource, info.subresource, info.namespace, what)
        choice = self._known.get(key)
        if choice is None:
            if len(self._known) >= self.MAX_KNOWN:
                self._known.clear()
            found = (r.choice for r in self._rules if r.matches(user, info))
            choice = self._known[key] = next(found, self._default)
        return choice


# -- the file ----------------------------------------------------------------------------------------------------------


def load(path: str | Path) -> Policy:
    """Raises PolicyError or OSError."""
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text())
        return parse(document)
    except (yaml.YAMLError, PolicyError) as failure:
        raise PolicyError(f"{failure}: from file {path}") from failure


def parse(document: Any) -> Policy:
    """Raises PolicyError."""
    if not isinstance(document, Mapping) or document.get("kind") != "Policy":
        raise PolicyError('failed decoding: no kind "Policy" is registered for this document')
    if document.get("apiVersion") != "audit.k8s.io/v1":
        raise PolicyError(f"unknown group version field {document.get('apiVersion')} in policy")
    try:
        unknown = check({k: v for k, v in document.items() if k in SHAPE.fields}, SHAPE)
    except ShapeError as failure:
        raise PolicyError(f"failed decoding: {failure}") from failure
    if unknown:
        log.warning("the audit policy has fields that are not known", fields=", ".join(unknown))
    rules = document.get("rules") or ()
    if not rules:
        raise PolicyError("loaded illegal policy with 0 rules")
    omitted = _stages(document, "omitStages")
    managed = bool(document.get("omitManagedFields"))
    parsed = [_rule(r, f"rules[{i}]", omitted, managed) for i, r in enumerate(rules)]
    return Policy(parsed, Choice(NONE, omitted, managed))


def _stages(of: Mapping[str, Any], where: str) -> frozenset[str]:
    stages = of.get("omitStages") or ()
    for i, stage in enumerate(stages):
        if stage not in STAGES:
            allowed = ",".join(STAGES)
            raise PolicyError(f'{where}[{i}]: Invalid value: "{stage}": allowed stages are {allowed}')
    return frozenset(stages)


def _texts(of: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    values = of.get(field) or ()
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise PolicyError(f"{where}.{field}: must be a list of strings")
    return tuple(values)


def _rule(rule: Any, where: str, omitted: frozenset[str], managed: bool) -> Rule:
    if not isinstance(rule, Mapping):
        raise PolicyError(f"{where}: must be an object")
    level = rule.get("level")
    if not level:
        raise PolicyError(f"{where}.level: Required value")
    if level not in LEVELS:
        supported = ", ".join(f'"{v}"' for v in LEVELS)
        raise PolicyError(f'{where}.level: Unsupported value: "{level}": supported values: {supported}')
    paths = _texts(rule, "nonResourceURLs", where)
    for i, path in enumerate(paths):
        if path != "*" and not path.startswith("/"):
            words = "non-resource URL rules must begin with a '/' character"
            raise PolicyError(f'{where}.nonResourceURLs[{i}]: Invalid value: "{path}": {words}')
        if "*" in path[:-1]:
            words = "non-resource URL wildcards '*' must be the final character of the rule"
            raise PolicyError(f'{where}.nonResourceURLs[{i}]: Invalid value: "{path}": {words}')
    resources = tuple(_resources(r, f"{where}.resources") for r in rule.get("resources") or ())
    namespaces = _texts(rule, "namespaces", where)
    if paths and (resources or namespaces):
        words = "rules cannot apply to both regular resources and non-resource URLs"
        raise PolicyError(f"{where}.nonResourceURLs: Invalid value: {list(paths)}: {words}")
    own = rule.get("omitManagedFields")
    choice = Choice(level, omitted | _stages(rule, f"{where}.omitStages"), managed if own is None else bool(own))
    users, groups, verbs = (frozenset(_texts(rule, f, where)) for f in ("users", "userGroups", "verbs"))
    return Rule(choice, users, groups, verbs, frozenset(namespaces), resources, paths)


def _resources(entry: Any, where: str) -> GroupResources:
    if not isinstance(entry, Mapping):
        raise PolicyError(f"{where}: must be an object")
    group = entry.get("group") or ""
    if group not in ("", "*") and not _SUBDOMAIN.fullmatch(group):
        raise PolicyError(f'{where}.group: Invalid value: "{group}": must be a lowercase RFC 1123 subdomain')
    resources, names = _texts(entry, "resources", where), _texts(entry, "resourceNames", where)
    if names and not resources:
        raise PolicyError(f"{where}.resourceNames: Invalid value: using resourceNames requires at least one resource")
    return GroupResources(group, resources, frozenset(names))
