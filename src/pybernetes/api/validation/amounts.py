"""Resource names and amounts: requests, limits, quotas. Specified by "Resource Management for Pods and Containers"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from ..errors import duplicate, field_not_found, forbidden_field, invalid_value, not_supported, required
from ..pod_resources import HUGEPAGES_PREFIX, is_hugepage, is_native, is_overcommit_allowed, is_pod_level
from ..quantity import QuantityError, parse_quantity, quantity_form
from ..quantity import format_quantity as _format
from .errors import Errors, FieldError, Obj, at, invalid_each
from .formats import NEGATIVE_WORDS, dns_label_problems, qualified_name_problems

NOT_POSITIVE_WORDS = "must be greater than zero"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_COUNTED = (
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
)
_QUOTA = {
    *_COMPUTE,
    *(f"requests.{n}" for n in (*_COMPUTE, "storage")),
    *(f"limits.{n}" for n in _COMPUTE),
    *_COUNTED,
}
_STANDARD = {*_QUOTA, "storage"}
ZERO = Decimal(0)


def amount(value: Any) -> Decimal:
    """A quantity as a number; what is none (decoding refuses it before) counts as zero."""
    try:
        return parse_quantity(value)
    except QuantityError:
        return ZERO


def text(value: Any) -> str:
    """A quantity as upstream prints it."""
    return str(value)


def printed_amount(number: Decimal, like: Any) -> str:
    """A number in the form of another quantity."""
    try:
        return _format(number, quantity_form(like))
    except QuantityError:
        return str(number)


def whole(value: Any) -> int:
    return int(amount(value).to_integral_value(rounding=ROUND_CEILING))


def is_fractional(value: Any) -> bool:
    milli = int((amount(value) * 1000).to_integral_value(rounding=ROUND_CEILING))
    return milli % 1000 != 0


def is_quota_hugepage(name: str) -> bool:
    return name.startswith((HUGEPAGES_PREFIX, "requests." + HUGEPAGES_PREFIX))


def is_quota_resource(name: str) -> bool:
    """A resource that quota knows by itself."""
    return name in _QUOTA or is_quota_hugepage(name)


def is_standard_resource(name: str) -> bool:
    return name in _STANDARD or is_quota_hugepage(name)


def is_extended(name: str) -> bool:
    """A resource of a device plugin or an operator: fully qualified, outside kubernetes.io."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not qualified_name_problems("requests." + name)


def is_integer_resource(name: str) -> bool:
    return name in _COUNTED or is_extended(name)


def validate_resource_name(name: str, path: str) -> Errors:
    found = invalid_each(path, name, qualified_name_problems(name))
    if not found and "/" not in name and not is_standard_resource(name):
        found.append(invalid_value(path, name, "must be a standard resource type or fully qualified"))
    return found


def container_resource_name(name: str, path: str) -> Errors:
    found = validate_resource_name(name, path)
    if "/" not in name:
        if name not in _COMPUTE and not is_hugepage(name):
            found.append(invalid_value(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        found.append(invalid_value(path, name, "doesn't follow extended resource name standard"))
    return found


def pod_resource_name(name: str, path: str) -> Errors:
    found = validate_resource_name(name, path)
    if not found and not is_pod_level(name):
        found.append(not_supported(path, name, ("cpu", "hugepages-", "memory")))
    return found


def quota_resource_name(name: str, path: str) -> Errors:
    found = validate_resource_name(name, path)
    if "/" not in name and not is_quota_resource(name):
        found.append(invalid_value(path, name, "must be a standard resource for quota"))
    return found


def nonnegative_amount(value: Any, path: str) -> Errors:
    return [invalid_value(path, text(value), NEGATIVE_WORDS)] if amount(value) < 0 else []


def positive_amount(value: Any, path: str) -> Errors:
    return [invalid_value(path, text(value), NOT_POSITIVE_WORDS)] if amount(value) <= 0 else []


def validate_amount(name: str, value: Any, path: str) -> Errors:
    """An amount of a resource: not negative, and whole where the resource is counted."""
    found = nonnegative_amount(value, path)
    if is_integer_resource(name) and is_fractional(value):
        found.append(invalid_value(path, text(value), "must be an integer"))
    return found


def basic_amount(value: Any, path: str) -> Errors:
    number = whole(value)
    return [invalid_value(path, number, "must be a valid resource quantity")] if number < 0 else []


def _indivisible(name: str, value: Any) -> bool:
    try:
        page = parse_quantity(name.removeprefix(HUGEPAGES_PREFIX))
    except QuantityError:
        return True
    if page <= 0 or page != page.to_integral_value():
        return True
    return whole(value) % int(page) != 0


def has_indivisible_hugepages(resources: Mapping[str, Any] | None) -> bool:
    return any(is_hugepage(name) and _indivisible(name, value) for name, value in (resources or {}).items())


def _hugepage(name: str, value: Any, path: str, lax: bool) -> Errors:
    if lax or not _indivisible(name, value):
        return []
    return [invalid_value(path, text(value), f"{text(value)} is not positive integer multiple of {name}")]


NameCheck = Callable[[str, str], Errors]


def validate_requirements(
    resources: Obj, path: str, claims: Collection[str], name_check: NameCheck, *, lax_hugepages: bool
) -> Errors:
    """Requests and limits of a container or a pod."""
    found: Errors = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, value in limits.items():
        here = f"{at(path, 'limits')}[{name}]"
        found += name_check(name, here) + validate_amount(name, value, here)
        if is_hugepage(name):
            found += _hugepage(name, value, here, lax_hugepages)
    for name, value in requests.items():
        here = f"{at(path, 'requests')}[{name}]"
        found += name_check(name, here) + validate_amount(name, value, here)
        if name in limits:
            limit = limits[name]
            if amount(value) != amount(limit) and not is_overcommit_allowed(name):
                words = f"must be equal to {name} limit of {text(limit)}"
                found.append(invalid_value(at(path, "requests"), text(value), words))
            elif amount(value) > amount(limit):
                words = f"must be less than or equal to {name} limit of {text(limit)}"
                found.append(invalid_value(at(path, "requests"), text(value), words))
        elif not is_overcommit_allowed(name):
            found.append(required(at(path, "limits"), "Limit must be set for non overcommitable resources"))
        if is_hugepage(name):
            found += _hugepage(name, value, here, lax_hugepages)
    names = {*limits, *requests}
    if any(is_hugepage(n) for n in names) and not names & {"cpu", "memory"}:
        found.append(forbidden_field(path, "HugePages require cpu or memory"))
    return found + _claim_names(resources.get("claims") or [], claims, at(path, "claims"))


def _claim_names(used: list[Obj], known: Collection[str], path: str) -> Errors:
    found: Errors = []
    seen: set[str] = set()
    for i, claim in enumerate(used):
        here, name, request = f"{path}[{i}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            found.append(required(here))
            continue
        if name in seen:
            found.append(duplicate(here, name))
        else:
            key = name
            if request:
                found += invalid_each(f"{here}.request", request, dns_label_problems(request))
                key = f"{name}/{request}"
            if key in seen:
                found.append(duplicate(here, key))
            elif not request:
                found += [duplicate(here, name) for other in seen if other.partition("/")[0] == name and "/" in other]
            seen.add(key)
        if name not in known:
            missing = field_not_found(here, name)
            words = "must be one of the names in pod.spec.resourceClaims"
            words += ": " + ", ".join(sorted(known)) if known else " which is empty"
            found.append(FieldError(here, missing.reason, f"{missing.body}: {words}"))
    return found
