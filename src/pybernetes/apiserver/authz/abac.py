"""Attribute-based access control from a policy file: one JSON object a line. Specified by "Using ABAC Authorization"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ...hooks.authorization import Attributes, Decision, Verdict
from ...hooks.identity import AUTHENTICATED, UserInfo
from .rules import PolicyRule, ResolvedRules

_READ_ONLY = frozenset({"get", "list", "watch"})
_NO_MATCH = Verdict(Decision.NO_OPINION, "No policy matched.")
_ALLOW = Verdict(Decision.ALLOW)


@dataclass(frozen=True, slots=True)
class AbacPolicy:
    """One line of the file; ``*`` matches all, nothing matches nothing."""

    user: str = ""
    group: str = ""
    read_only: bool = False
    api_group: str = ""
    namespace: str = ""
    resource: str = ""
    path: str = ""

    def applies_to(self, user: UserInfo) -> bool:
        if not self.user and not self.group:
            return False
        if self.user and self.user != user.name:
            return False
        return not self.group or self.group in user.groups

    def allows(self, a: Attributes) -> bool:
        if not self.applies_to(a.user) or (self.read_only and a.verb not in _READ_ONLY):
            return False
        if not a.resource:
            return bool(self.path) and (
                self.path in ("*", a.path) or (self.path.endswith("*") and a.path.startswith(self.path.rstrip("*")))
            )
        return (
            self.namespace in ("*", a.namespace)
            and self.resource in ("*", a.resource)
            and self.api_group in ("*", a.group)
        )


def parse_policy(document: Mapping[str, Any]) -> AbacPolicy:
    """Raises ValueError for what is no policy. A line without kind is of the oldest form."""
    if document.get("kind") or document.get("apiVersion"):
        if document.get("kind") != "Policy" or document.get("apiVersion") != "abac.authorization.kubernetes.io/v1beta1":
            raise ValueError(f"unrecognized object: {document.get('apiVersion')}, Kind={document.get('kind')}")
        spec = document.get("spec") or {}
        user, group = spec.get("user") or "", spec.get("group") or ""
        if "*" in (user, group):
            user, group = "", AUTHENTICATED
        return AbacPolicy(
            user,
            group,
            bool(spec.get("readonly")),
            spec.get("apiGroup") or "",
            spec.get("namespace") or "",
            spec.get("resource") or "",
            spec.get("nonResourcePath") or "",
        )
    user, group = document.get("user") or "", document.get("group") or ""
    if "*" in (user, group) or not (user or group):
        user, group = "", AUTHENTICATED
    namespace, resource = document.get("namespace") or "", document.get("resource") or ""
    return AbacPolicy(
        user,
        group,
        bool(document.get("readonly")),
        "*",
        namespace or "*",
        resource or "*",
        "" if namespace or resource else "*",
    )


class AbacAuthorizer:
    """The ABAC mode."""

    def __init__(self, policies: Iterable[AbacPolicy]) -> None:
        self._policies = tuple(policies)

    @classmethod
    def from_file(cls, path: str | Path) -> AbacAuthorizer:
        """Raises ValueError that names the line."""
        policies = []
        for number, line in enumerate(Path(path).read_text().splitlines(), 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            try:
                document = orjson.loads(text)
                if not isinstance(document, dict):
                    raise ValueError("not an object")
                policies.append(parse_policy(document))
            except ValueError as failure:
                raise ValueError(f"error reading policy file {path}, line {number}: {text}: {failure}") from failure
        return cls(policies)

    async def authorize(self, attributes: Attributes) -> Verdict:
        return self.decide(attributes)

    def decide(self, attributes: Attributes) -> Verdict:
        return _ALLOW if any(p.allows(attributes) for p in self._policies) else _NO_MATCH

    def rules_for(self, user: UserInfo, namespace: str) -> ResolvedRules:
        rules: list[PolicyRule] = []
        for p in self._policies:
            if not p.applies_to(user) or p.namespace not in ("*", namespace):
                continue
            verbs = sorted(_READ_ONLY) if p.read_only else ["*"]
            if p.resource:
                rules.append({"verbs": verbs, "apiGroups": [p.api_group], "resources": [p.resource]})
            if p.path:
                rules.append({"verbs": verbs, "nonResourceURLs": [p.path]})
        return ResolvedRules(rules, [])
