"""RBAC policy rules: compiling one, asking it, comparing sets of them. Pure.

Specified by the "Using RBAC Authorization" page, ``apis/rbac/v1/evaluation_helpers.go`` and ``component-helpers/auth/rbac``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...api.errors import go_quote

PolicyRule = Mapping[str, Any]
ALL = "*"


class ResolvedRules(NamedTuple):
    """The rules of one user as they are written, what could not be found, and whether there may be more than these."""

    rules: list[PolicyRule]
    errors: list[str]
    incomplete: bool = False


FULL_AUTHORITY: tuple[PolicyRule, ...] = (
    {"verbs": [ALL], "apiGroups": [ALL], "resources": [ALL]},
    {"verbs": [ALL], "nonResourceURLs": [ALL]},
)


class CompiledRule:
    """One rule, ready to be asked."""

    __slots__ = (
        "all_groups",
        "all_resources",
        "all_urls",
        "all_verbs",
        "groups",
        "names",
        "prefixes",
        "resources",
        "urls",
        "verbs",
    )

    def __init__(self, rule: PolicyRule) -> None:
        self.verbs = frozenset(rule.get("verbs") or ())
        self.groups = frozenset(rule.get("apiGroups") or ())
        self.resources = frozenset(rule.get("resources") or ())
        names = rule.get("resourceNames") or ()
        self.names: frozenset[str] | None = frozenset(names) if names else None
        urls = rule.get("nonResourceURLs") or ()
        self.urls = frozenset(urls)
        self.prefixes = tuple(u.rstrip("*") for u in urls if u.endswith("*"))
        self.all_verbs = ALL in self.verbs
        self.all_groups = ALL in self.groups
        self.all_resources = ALL in self.resources
        self.all_urls = ALL in self.urls

    def allows_resource(self, verb: str, group: str, resource: str, subresource: str) -> bool:
        """Whatever the object's name: ``names`` is to be asked as well."""
        if not (self.all_verbs or verb in self.verbs) or not (self.all_groups or group in self.groups):
            return False
        if self.all_resources:
            return True
        if not subresource:
            return resource in self.resources
        return f"{resource}/{subresource}" in self.resources or f"*/{subresource}" in self.resources

    def allows_path(self, verb: str, path: str) -> bool:
        if not (self.all_verbs or verb in self.verbs):
            return False
        return self.all_urls or path in self.urls or path.startswith(self.prefixes)


def compile_rules(rules: Sequence[PolicyRule] | None) -> tuple[CompiledRule, ...]:
    return tuple(CompiledRule(r) for r in rules or ())


# -- comparing ---------------------------------------------------------------------------------------------------------


def break_down(rule: PolicyRule) -> list[dict[str, list[str]]]:
    """The rule as rules with one group, resource, verb and name each."""
    verbs = rule.get("verbs") or ()
    names = rule.get("resourceNames") or ()
    parts: list[dict[str, list[str]]] = []
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                part = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                parts.extend({**part, "resourceNames": [n]} for n in names) if names else parts.append(part)
    for url in rule.get("nonResourceURLs") or ():
        parts.extend({"nonResourceURLs": [url], "verbs": [verb]} for verb in verbs)
    return parts


def _first(part: Mapping[str, list[str]], field: str) -> str | None:
    values = part.get(field)
    return values[0] if values else None


def _covers(owner: CompiledRule, part: Mapping[str, list[str]]) -> bool:
    if not owner.all_verbs and _first(part, "verbs") not in owner.verbs:
        return False
    url = _first(part, "nonResourceURLs")
    if url is not None:
        return url in owner.urls or any(url.startswith(p) for p in owner.prefixes)
    if not owner.all_groups and _first(part, "apiGroups") not in owner.groups:
        return False
    resource = _first(part, "resources") or ""
    if not owner.all_resources and resource not in owner.resources:
        _, separator, sub = resource.partition("/")
        if not separator or f"*/{sub}" not in owner.resources:
            return False
    name = _first(part, "resourceNames")
    return owner.names is None or (name is not None and name in owner.names)


def uncovered(
    owners: Iterable[PolicyRule] | Iterable[CompiledRule], rules: Iterable[PolicyRule]
) -> list[dict[str, list[str]]]:
    """What of ``rules`` the owners do not cover, broken down; empty where they cover all."""
    compiled = [o if isinstance(o, CompiledRule) else CompiledRule(o) for o in owners]
    return [part for rule in rules for part in break_down(rule) if not any(_covers(o, part) for o in compiled)]


def compact(parts: Iterable[Mapping[str, list[str]]]) -> list[dict[str, list[str]]]:
    """Joins broken-down rules that differ by verb only."""
    simple: dict[tuple[str, str, str | None], dict[str, list[str]]] = {}
    others: list[dict[str, list[str]]] = []
    for part in parts:
        if "nonResourceURLs" in part:
            others.append(dict(part))
            continue
        key = (part["apiGroups"][0], part["resources"][0], _first(part, "resourceNames"))
        known = simple.get(key)
        if known is None:
            simple[key] = {k: list(v) for k, v in part.items()}
        else:
            known["verbs"].extend(part["verbs"])
    return [*others, *simple.values()]


def describe(rule: Mapping[str, Sequence[str]]) -> str:
    """``{APIGroups:[""], Resources:["pods"], Verbs:["get"]}``, as upstream prints a rule."""
    fields = (
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("ResourceNames", "resourceNames"),
        ("Verbs", "verbs"),
    )
    parts = []
    for label, field in fields:
        if rule.get(field):
            parts.append(f"{label}:[{' '.join(go_quote(v) for v in rule[field])}]")
    return "{" + ", ".join(parts) + "}"
