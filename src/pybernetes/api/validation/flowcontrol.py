"""API priority and fairness: flow schemas and priority levels."""

from __future__ import annotations

import math
from typing import Any

from ..errors import duplicate, forbidden_field, invalid_value, not_supported, required
from ..strategy.base import semantically_equal
from .errors import Errors, Obj, go_struct, invalid_each
from .formats import dns_label_problems, dns_subdomain_problems
from .kube_meta import validate_meta
from .meta import subdomain_name

MAX_PRECEDENCE = 10_000
MAX_QUEUES = 10_000_000
MAX_HASH_BITS = 60
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_KINDS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
_ZERO_SHARES = "flowcontrol.k8s.io/preserve-zero-concurrency-shares"


def _everything_for(*groups: str) -> list[Obj]:
    return [
        {
            "subjects": [{"kind": "Group", "group": {"name": group}} for group in groups],
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
            ],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }
    ]


FIXED_SCHEMAS: dict[str, Obj] = {
    "exempt": {
        "priorityLevelConfiguration": {"name": "exempt"},
        "matchingPrecedence": 1,
        "rules": _everything_for("system:masters"),
    },
    "catch-all": {
        "priorityLevelConfiguration": {"name": "catch-all"},
        "matchingPrecedence": MAX_PRECEDENCE,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": _everything_for("system:unauthenticated", "system:authenticated"),
    },
}
"""Specs that nobody may change: without them a server could lock out its administrators."""
FIXED_LEVELS: dict[str, Obj] = {
    "exempt": {"type": "Exempt"},
    "catch-all": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}, "lendablePercent": 0},
    },
}


# Flow schemas


def _list(rule: Obj, field: str, path: str, missing: str, others: str) -> tuple[list[str], Errors]:
    """A list of names or a star alone; and the names, if they are to be looked at."""
    values, here = rule.get(field) or [], f"{path}.{field}"
    if not values:
        return [], [required(here, missing)]
    if "*" not in values:
        return values, []
    words = f"if '*' is present, must not specify other {others}"
    return [], [invalid_value(here, values, words)] if len(values) > 1 else []


def _verbs(rule: Obj, path: str) -> Errors:
    verbs, found = _list(rule, "verbs", path, "verbs must contain at least one value", "verbs")
    if not set(verbs) <= set(_VERBS):
        found.append(not_supported(f"{path}.verbs", verbs, _VERBS))
    return found


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if "*" in url and (url.count("*") > 1 or not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def _non_resource_rule(rule: Obj, path: str) -> Errors:
    found = _verbs(rule, path)
    missing = "nonResourceURLs must contain at least one value"
    urls, more = _list(rule, "nonResourceURLs", path, missing, "non-resource URLs")
    found += more
    for i, url in enumerate(urls):
        problem = _url_problem(url)
        if problem:
            found.append(invalid_value(f"{path}.nonResourceURLs[{i}]", url, problem))
    return found


def _resource_rule(rule: Obj, path: str) -> Errors:
    found = _verbs(rule, path)
    for field, one, others in (
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ):
        found += _list(rule, field, path, f"resource rules must supply at least one {one}", others)[1]
    if not rule.get("namespaces") and rule.get("clusterScope"):
        return found
    missing = "resource rules that are not cluster scoped must supply at least one namespace"
    namespaces, more = _list(rule, "namespaces", path, missing, "namespaces")
    found += more
    intro = "each member of this list must be '*' or a DNS-1123 label; "
    for i, namespace in enumerate(namespaces):
        here = f"{path}.namespaces[{i}]"
        found += [invalid_value(here, namespace, intro + words) for words in dns_label_problems(namespace)]
    return found


def _account(account: Obj, path: str) -> Errors:
    name, namespace, here = account.get("name") or "", account.get("namespace") or "", f"{path}.namespace"
    found: Errors = []
    if not name:
        found.append(required(f"{path}.name"))
    elif name != "*":
        found += invalid_each(f"{path}.name", name, dns_subdomain_problems(name))
    if namespace:
        return found + invalid_each(here, namespace, dns_label_problems(namespace))
    return [*found, required(here, "must specify namespace for service account")]


def _subject(subject: Obj, path: str) -> Errors:
    kind = subject.get("kind") or ""
    if kind not in _KINDS:
        return [not_supported(f"{path}.kind", kind, sorted(_KINDS))]
    field = _KINDS[kind]
    named = subject.get(field)
    if named is None:
        found = [required(f"{path}.{field}", f"{field} is required when subject kind is '{kind}'")]
    elif field == "serviceAccount":
        found = _account(named, f"{path}.{field}")
    else:
        found = [] if named.get("name") else [required(f"{path}.{field}.name")]
    for other in ("serviceAccount", "user", "group"):
        if other != field and subject.get(other) is not None:
            words = f"{other} is forbidden when subject kind is not '{other[0].upper()}{other[1:]}'"
            found.append(forbidden_field(f"{path}.{other}", words))
    return found


def _rule(rule: Obj, path: str) -> Errors:
    found: Errors = []
    if not rule.get("subjects"):
        found.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for i, subject in enumerate(rule.get("subjects") or ()):
        found += _subject(subject, f"{path}.subjects[{i}]")
    resources, others = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
    if not resources and not others:
        found.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for i, inner in enumerate(resources):
        found += _resource_rule(inner, f"{path}.resourceRules[{i}]")
    for i, inner in enumerate(others):
        found += _non_resource_rule(inner, f"{path}.nonResourceRules[{i}]")
    return found


def _precedence(value: int, name: str) -> Errors:
    path, found = "spec.matchingPrecedence", Errors()
    if value <= 0:
        found.append(invalid_value(path, value, "must be a positive value"))
    if value > MAX_PRECEDENCE:
        found.append(invalid_value(path, value, f"must not be greater than {MAX_PRECEDENCE}"))
    if value == 1 and name != "exempt":
        found.append(invalid_value(path, value, "only the schema named 'exempt' may have matchingPrecedence 1"))
    return found


def _schema_spec(spec: Obj, name: str) -> Errors:
    found = _precedence(spec.get("matchingPrecedence") or 0, name)
    method, known = spec.get("distinguisherMethod"), ("ByNamespace", "ByUser")
    if method is not None and method.get("type") not in known:
        found.append(not_supported("spec.distinguisherMethod.type", go_struct(method, "type"), known))
    level, here = (spec.get("priorityLevelConfiguration") or {}).get("name") or "", "spec.priorityLevelConfiguration"
    if level:
        found += invalid_each(f"{here}.name", level, dns_subdomain_problems(level))
    else:
        found.append(required(f"{here}.name", "must reference a priority level"))
    for i, rule in enumerate(spec.get("rules") or ()):
        found += _rule(rule, f"spec.rules[{i}]")
    return found


def _conditions(status: Obj) -> Errors:
    found: Errors = []
    seen: set[str] = set()
    for i, condition in enumerate(status.get("conditions") or ()):
        kind, path = condition.get("type") or "", f"status.conditions[{i}].type"
        if kind in seen:
            found.append(duplicate(path, kind))
        seen.add(kind)
        if not kind:
            found.append(required(path))
    return found


def _flow_schema(schema: Obj) -> Errors:
    metadata, spec = schema.get("metadata") or {}, schema.get("spec") or {}
    name = metadata.get("name") or ""
    found = validate_meta(metadata, False, subdomain_name) + _schema_spec(spec, name)
    if name in FIXED_SCHEMAS and not semantically_equal(spec, FIXED_SCHEMAS[name]):
        found.append(invalid_value("spec", spec, f"spec of '{name}' must equal the fixed value"))
    return found + _conditions(schema.get("status") or {})


def _flow_schema_update(new: Obj, old: Obj) -> Errors:
    return _flow_schema(new)


def _status(new: Obj, old: Obj) -> Errors:
    return _conditions(new.get("status") or {})


# Priority levels


def _percent(value: int | None, path: str) -> Errors:
    if value is None or 0 <= value <= 100:
        return []
    return [invalid_value(path, value, "must be between 0 and 100, inclusive")]


def _shares(value: int, path: str) -> Errors:
    return [invalid_value(path, value, "must be a non-negative integer")] if value < 0 else []


def _limited(limited: Obj, path: str) -> Errors:
    found = _shares(limited.get("nominalConcurrencyShares") or 0, f"{path}.nominalConcurrencyShares")
    found += _response(limited.get("limitResponse") or {}, f"{path}.limitResponse")
    found += _percent(limited.get("lendablePercent"), f"{path}.lendablePercent")
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        words = "if specified, must be a non-negative integer"
        found.append(invalid_value(f"{path}.borrowingLimitPercent", borrowing, words))
    return found


def _response(response: Obj, path: str) -> Errors:
    kind, queuing, here = response.get("type") or "", response.get("queuing"), f"{path}.queuing"
    if kind == "Reject":
        words = "must be nil if limited.limitResponse.type is not Limited"
        return [] if queuing is None else [forbidden_field(here, words)]
    if kind != "Queue":
        return [not_supported(f"{path}.type", kind, ("Queue", "Reject"))]
    if queuing is None:
        return [required(here, "must not be empty if limited.limitResponse.type is Limited")]
    return _queuing(queuing, here)


def _queuing(queuing: Obj, path: str) -> Errors:
    found: Errors = []
    length, queues, hand = (queuing.get(f) or 0 for f in ("queueLengthLimit", "queues", "handSize"))
    if length <= 0:
        found.append(invalid_value(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        found.append(invalid_value(f"{path}.queues", queues, "must be positive"))
    elif queues > MAX_QUEUES:
        found.append(invalid_value(f"{path}.queues", queues, f"must not be greater than {MAX_QUEUES}"))
    if hand <= 0:
        found.append(invalid_value(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        found.append(invalid_value(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif math.ceil(math.log2(queues) * hand) > MAX_HASH_BITS:
        words = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        )
        found.append(invalid_value(f"{path}.handSize", hand, words))
    return found


def _level_spec(spec: Obj, name: str) -> Errors:
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    found: Errors = []
    if (name == "exempt") != (kind == "Exempt"):
        found.append(invalid_value("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            found.append(forbidden_field("spec.limited", "must be nil if the type is not Limited"))
        shares = (exempt or {}).get("nominalConcurrencyShares") or 0
        found += _shares(shares, "spec.exempt.nominalConcurrencyShares")
        found += _percent((exempt or {}).get("lendablePercent"), "spec.exempt.lendablePercent")
    elif kind == "Limited":
        if exempt is not None:
            found.append(forbidden_field("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            found.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            found += _limited(limited, "spec.limited")
    else:
        found.append(not_supported("spec.type", kind, ("Exempt", "Limited")))
    return found


def _level(level: Obj) -> Errors:
    metadata, spec = level.get("metadata") or {}, level.get("spec") or {}
    name = metadata.get("name") or ""
    found = validate_meta(metadata, False, subdomain_name)
    if _ZERO_SHARES in (metadata.get("annotations") or {}):
        found.append(forbidden_field("metadata.annotations", f"annotation '{_ZERO_SHARES}' is forbidden"))
    found += _level_spec(spec, name)
    compared: dict[str, Any] = {k: v for k, v in spec.items() if k != "exempt"} if name == "exempt" else spec
    if name in FIXED_LEVELS and not semantically_equal(compared, FIXED_LEVELS[name]):
        which = "except the 'spec.exempt' field " if name == "exempt" else ""
        found.append(invalid_value("spec", spec, f"spec of '{name}' {which}must equal the fixed value"))
    return found + _conditions(level.get("status") or {})


def _level_update(new: Obj, old: Obj) -> Errors:
    return _level(new)


_GROUP = "flowcontrol.apiserver.k8s.io"
CREATE = {(_GROUP, "flowschemas"): _flow_schema, (_GROUP, "prioritylevelconfigurations"): _level}
UPDATE = {
    (_GROUP, "flowschemas", ""): _flow_schema_update,
    (_GROUP, "flowschemas", "status"): _status,
    (_GROUP, "prioritylevelconfigurations", ""): _level_update,
    (_GROUP, "prioritylevelconfigurations", "status"): _status,
}
