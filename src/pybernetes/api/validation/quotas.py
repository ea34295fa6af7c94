"""ResourceQuotas and LimitRanges. Specified by "Resource Quotas" and "Limit Ranges"."""

from __future__ import annotations

from decimal import Decimal

from ..errors import duplicate, forbidden_field, invalid_value, required
from ..pod_resources import is_overcommit_allowed
from .amounts import (
    amount,
    container_resource_name,
    is_quota_resource,
    quota_resource_name,
    text,
    validate_amount,
    validate_resource_name,
)
from .errors import Errors, Obj, invalid_each
from .formats import IMMUTABLE_WORDS, qualified_name_problems
from .kube_meta import validate_meta, validate_meta_update
from .meta import subdomain_name

_POD_SCOPES = ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity")
_SCOPES = (*_POD_SCOPES, "BestEffort", "VolumeAttributesClass")
_POD_RESOURCES = ("pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory")
_ALLOWED = {
    **dict.fromkeys(_POD_SCOPES, _POD_RESOURCES),
    "BestEffort": ("pods",),
    "VolumeAttributesClass": ("persistentvolumeclaims", "requests.storage"),
}
_PAIRS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_EXISTS_ONLY = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")


def _amounts(resources: Obj | None, path: str) -> Errors:
    found: Errors = []
    for name, value in (resources or {}).items():
        found += quota_resource_name(name, f"{path}[{name}]") + validate_amount(name, value, f"{path}[{name}]")
    return found


def _refused(scope: str, hard: Obj) -> int:
    """How many of the limited resources a scope cannot count."""
    allowed = _ALLOWED.get(scope)
    return 0 if allowed is None else sum(is_quota_resource(name) and name not in allowed for name in hard)


def _quota_spec(spec: Obj) -> Errors:
    hard, scopes = spec.get("hard") or {}, spec.get("scopes") or []
    found = _amounts(hard, "spec.hard")
    for scope in scopes:
        if scope not in _SCOPES:
            found.append(invalid_value("spec.scopes", scopes, "unsupported scope"))
        words = "unsupported scope applied to resource"
        found += [invalid_value("spec.scopes", scopes, words)] * _refused(scope, hard)
    found += [invalid_value("spec.scopes", scopes, "conflicting scopes") for p in _PAIRS if p <= set(scopes)]
    selector = spec.get("scopeSelector")
    if selector is not None:
        found += _scope_selector(selector, hard, scopes)
    return found


def _scope_selector(selector: Obj, hard: Obj, scopes: list[str]) -> Errors:
    path, found = "spec.scopeSelector.matchExpressions", Errors()
    seen: set[str] = set()
    for requirement in selector.get("matchExpressions") or ():
        scope, operator = requirement.get("scopeName") or "", requirement.get("operator") or ""
        values = requirement.get("values") or []
        if scope not in _SCOPES:
            found.append(invalid_value(f"{path}.scopeName", scope, "unsupported scope"))
        shown = {"MatchExpressions": [_go_requirement(r) for r in selector.get("matchExpressions") or ()]}
        words = "unsupported scope applied to resource"
        found += [invalid_value(path, shown, words)] * _refused(scope, hard)
        if scope in _EXISTS_ONLY and operator != "Exists":
            words = (
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
                "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                "ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            found.append(invalid_value(f"{path}.operator", operator, words))
        if operator in ("In", "NotIn"):
            if not values:
                words = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                found.append(required(f"{path}.values", words))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                words = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                found.append(invalid_value(f"{path}.values", values, words))
        else:
            found.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
        seen.add(scope)
    return found + [invalid_value(path, scopes or None, "conflicting scopes") for pair in _PAIRS if pair <= seen]


def _go_requirement(requirement: Obj) -> Obj:
    return {
        "ScopeName": requirement.get("scopeName") or "",
        "Operator": requirement.get("operator") or "",
        "Values": requirement.get("values"),
    }


def _quota(quota: Obj) -> Errors:
    status = quota.get("status") or {}
    found = validate_meta(quota.get("metadata") or {}, True, subdomain_name)
    found += _quota_spec(quota.get("spec") or {})
    return found + _amounts(status.get("hard"), "status.hard") + _amounts(status.get("used"), "status.used")


def _quota_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = validate_meta_update(new, old) + _quota_spec(spec)
    if set(spec.get("scopes") or ()) != set(before.get("scopes") or ()):
        found.append(invalid_value("spec.scopes", spec.get("scopes"), IMMUTABLE_WORDS))
    return found


def _quota_status(new: Obj, old: Obj) -> Errors:
    status = new.get("status") or {}
    found = validate_meta_update(new, old)
    if not (new.get("metadata") or {}).get("resourceVersion"):
        found.append(required("resourceVersion"))
    return found + _amounts(status.get("hard"), "status.hard") + _amounts(status.get("used"), "status.used")


_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_LISTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def _limit_range(limits: Obj) -> Errors:
    found = validate_meta(limits.get("metadata") or {}, True, subdomain_name)
    seen: set[str] = set()
    for i, item in enumerate((limits.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{i}]", item.get("type") or ""
        problems = qualified_name_problems(kind)
        found += invalid_each(f"{path}.type", kind, problems)
        if not problems and "/" not in kind and kind not in _LIMIT_TYPES:
            words = "must be a standard limit type or fully qualified"
            found.append(invalid_value(f"{path}.type", kind, words))
        if kind in seen:
            found.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        found += _limit_names(item, kind, path) + _limit_amounts(item, kind, path)
    return found


def _limit_names(item: Obj, kind: str, path: str) -> Errors:
    check = container_resource_name if kind in ("Pod", "Container") else validate_resource_name
    found: Errors = []
    for field in _LISTS:
        values = item.get(field) or {}
        if kind == "Pod" and field in ("default", "defaultRequest"):
            if values:
                found.append(forbidden_field(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
            continue
        if field == "maxLimitRequestRatio" and kind == "PersistentVolumeClaim":
            if "storage" not in (item.get("min") or {}) and "storage" not in (item.get("max") or {}):
                words = "either minimum or maximum storage value is required, but neither was provided"
                found.append(required(f"{path}.limits", words))
        for name in values:
            found += check(name, f"{path}.{field}[{name}]")
    return found


# (list with the smaller amount, list with the larger one, list of the error, list whose value is shown, words)
_ORDER = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    (
        "min",
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "min value {} is greater than default request value {}",
    ),
    (
        "defaultRequest",
        "max",
        "defaultRequest",
        "defaultRequest",
        "default request value {} is greater than max value {}",
    ),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "defaultRequest",
        "default request value {} is greater than default limit value {}",
    ),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)


def _limit_amounts(item: Obj, kind: str, path: str) -> Errors:
    lists = {f: item.get(f) or {} for f in _LISTS}
    if kind == "Pod":
        lists["default"] = lists["defaultRequest"] = {}
    found: Errors = []
    for name in dict.fromkeys(n for values in lists.values() for n in values):
        have = {f: values[name] for f, values in lists.items() if name in values}
        for small, large, where, shown, words in _ORDER:
            if small in have and large in have and amount(have[small]) > amount(have[large]):
                detail = words.format(text(have[small]), text(have[large]))
                found.append(invalid_value(f"{path}.{where}[{name}]", text(have[shown]), detail))
        found += _ratio(have, f"{path}.maxLimitRequestRatio[{name}]")
        if not is_overcommit_allowed(name) and "default" in have and "defaultRequest" in have:
            if amount(have["default"]) != amount(have["defaultRequest"]):
                detail = f"default value {have['default']} must equal to defaultRequest value {have['defaultRequest']} in {name}"
                found.append(invalid_value(f"{path}.defaultRequest[{name}]", text(have["defaultRequest"]), detail))
    return found


def _ratio(have: Obj, path: str) -> Errors:
    if "maxLimitRequestRatio" not in have:
        return []
    ratio, found = have["maxLimitRequestRatio"], Errors()
    if amount(ratio) < 1:
        found.append(invalid_value(path, text(ratio), f"ratio {ratio} is less than 1"))
    if "min" in have and "max" in have:
        least, most = amount(have["min"]), amount(have["max"])
        if least and amount(ratio) > most / least:
            limit = (most / least).quantize(Decimal("0.000001"))
            found.append(invalid_value(path, text(ratio), f"ratio {ratio} is greater than max/min = {limit:f}"))
    return found


def _limit_range_update(new: Obj, old: Obj) -> Errors:
    return _limit_range(new)


CREATE = {("", "resourcequotas"): _quota, ("", "limitranges"): _limit_range}
UPDATE = {
    ("", "resourcequotas", ""): _quota_update,
    ("", "resourcequotas", "status"): _quota_status,
    ("", "limitranges", ""): _limit_range_update,
}
