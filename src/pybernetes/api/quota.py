"""What objects count against a ResourceQuota: which quota applies, how much an object uses, and whether it says so itself.

Admission charges by it, the quota controller counts by it. Specified by the "Resource Quotas" page and
``kubernetes/pkg/quota/v1/evaluator``. Amounts are exact decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any

from .meta import Object, annotations_of, metadata
from .pod_resources import (
    BEST_EFFORT,
    Amounts,
    amounts,
    is_hugepage,
    is_native,
    is_pod_level,
    pod_limits,
    pod_requests,
    qos_class,
)
from .quantity import format_quantity, quantity_form
from .resources import GVR
from .times import parse_time

ONE = Decimal(1)
Requirement = Mapping[str, Any]
"""A ``ScopedResourceSelectorRequirement``: scopeName, operator, values."""

IGNORED = frozenset(
    {
        ("", "bindings"),
        ("", "componentstatuses"),
        ("", "events"),
        ("events.k8s.io", "events"),
        ("authentication.k8s.io", "tokenreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
    }
)
"""(group, resource) that no quota counts."""

_ALIASES = {
    ("", "configmaps"): "configmaps",
    ("", "resourcequotas"): "resourcequotas",
    ("", "replicationcontrollers"): "replicationcontrollers",
    ("", "secrets"): "secrets",
}
_POD_RESOURCES = frozenset(
    {
        "count/pods", "pods", "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory",
        "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
    }
)  # fmt: skip
_MUST_BE_SAID = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
_BY_CLASS = ".storageclass.storage.k8s.io/"
_BY_DEVICE_CLASS = ".deviceclass.resource.k8s.io/devices"


def count_name(group: str, resource: str) -> str:
    """``count/deployments.apps``: what every resource can be counted by."""
    return f"count/{resource}.{group}" if group else f"count/{resource}"


def scope_requirements(quota: Object) -> list[Requirement]:
    """The scopes of a quota in their long form."""
    spec = quota.get("spec") or {}
    short = [{"scopeName": s, "operator": "Exists"} for s in spec.get("scopes") or ()]
    return short + list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())


def _selects(requirement: Requirement, value: str) -> bool:
    """Whether a requirement holds for an object with this value ('' has none)."""
    operator, values = requirement.get("operator"), requirement.get("values") or ()
    if operator == "In":
        return bool(value) and value in values
    if operator == "NotIn":
        return not value or value not in values
    return (operator == "Exists") == bool(value)


class Evaluator:
    """How objects of one resource count. This one only counts them."""

    def __init__(self, group: str, resource: str) -> None:
        alias = _ALIASES.get((group, resource))
        self.names = frozenset({count_name(group, resource), *([alias] if alias else ())})

    def handles(self, operation: str, subresource: str, new: Object | None, old: Object | None) -> bool:
        """Whether such a write can change what is used."""
        return operation == "CREATE" and not subresource

    def counted(self, names: Iterable[str]) -> list[str]:
        """Those of a quota's resource names that this resource counts for."""
        return [n for n in names if n in self.names]

    def in_scope(self, requirement: Requirement, obj: Object) -> bool:
        return False

    def unsaid(self, names: Iterable[str], obj: Object) -> str:
        """What the object must say about itself for these names and does not, in upstream's words."""
        return ""

    def usage(self, obj: Object, now: float) -> Amounts:
        return dict.fromkeys(self.names, ONE)

    def matches(self, quota: Object, obj: Object) -> bool:
        """Whether the quota counts this object."""
        hard = (quota.get("status") or {}).get("hard") or (quota.get("spec") or {}).get("hard") or {}
        if not self.counted(hard):
            return False
        return all(self.in_scope(r, obj) for r in scope_requirements(quota))


# -- pods --------------------------------------------------------------------------------------------------------------


def is_terminating(pod: Object) -> bool:
    """Of the Terminating scope: it ends by itself after some time."""
    seconds = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    return seconds is not None and bool(seconds >= 0)


def counts_as_running(pod: Object, now: float) -> bool:
    """A pod that ended, or should have ended long ago, does not use anything but its place in the store."""
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return False
    meta = metadata(pod)
    grace = meta.get("deletionGracePeriodSeconds")
    if meta.get("deletionTimestamp") and grace is not None:
        return now <= parse_time(meta["deletionTimestamp"]) + float(grace)
    return True


def _crosses_namespaces(pod: Object) -> bool:
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        weighted = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [w.get("podAffinityTerm") or {} for w in weighted]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms):
            return True
    return False


def _is_extended_request(name: str) -> bool:
    implicit = name.startswith("requests.deviceclass.resource.kubernetes.io/")
    return name.startswith("requests.") and (implicit or not is_native(name))


def _compute_usage(requests: Mapping[str, Decimal], limits: Mapping[str, Decimal]) -> Amounts:
    used: Amounts = {"pods": ONE}
    for name in ("cpu", "memory", "ephemeral-storage"):
        if name in requests:
            used[name] = used[f"requests.{name}"] = requests[name]
        if name in limits:
            used[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if is_hugepage(name):
            used[name] = used[f"requests.{name}"] = amount
        elif not is_native(name) or name.startswith("deviceclass.resource.kubernetes.io/"):
            used[f"requests.{name}"] = amount
    return used


class PodEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__("", "pods")

    def handles(self, operation: str, subresource: str, new: Object | None, old: Object | None) -> bool:
        if subresource:
            return subresource == "resize" and operation == "UPDATE"
        if operation == "UPDATE":
            return new is not None and old is not None and is_terminating(new) != is_terminating(old)
        return operation == "CREATE"

    def counted(self, names: Iterable[str]) -> list[str]:
        return [
            n
            for n in names
            if n in _POD_RESOURCES or n.startswith(("hugepages-", "requests.hugepages-")) or _is_extended_request(n)
        ]

    def in_scope(self, requirement: Requirement, obj: Object) -> bool:
        match requirement.get("scopeName"):
            case "Terminating":
                return is_terminating(obj)
            case "NotTerminating":
                return not is_terminating(obj)
            case "BestEffort":
                return qos_class(obj.get("spec") or {}) == BEST_EFFORT
            case "NotBestEffort":
                return qos_class(obj.get("spec") or {}) != BEST_EFFORT
            case "PriorityClass":
                return _selects(requirement, (obj.get("spec") or {}).get("priorityClassName") or "")
            case "CrossNamespacePodAffinity":
                return _crosses_namespaces(obj)
        return False

    def unsaid(self, names: Iterable[str], obj: Object) -> str:
        spec = obj.get("spec") or {}
        own = spec.get("resources") or {}
        if any(is_pod_level(n) for part in ("requests", "limits") for n in own.get(part) or ()):
            return ""
        required = _MUST_BE_SAID.intersection(names)
        missing: dict[str, set[str]] = {}
        for field in ("containers", "initContainers"):
            for container in spec.get(field) or ():
                resources = container.get("resources") or {}
                said = _compute_usage(amounts(resources.get("requests")), amounts(resources.get("limits")))
                for name in required.difference(said):
                    missing.setdefault(name, set()).add(container.get("name") or "")
        if not missing:
            return ""
        return "must specify " + "; ".join(f"{n} for: {','.join(sorted(missing[n]))}" for n in sorted(missing))

    def usage(self, obj: Object, now: float) -> Amounts:
        used: Amounts = {"count/pods": ONE}
        if counts_as_running(obj, now):
            spec = obj.get("spec") or {}
            used.update(_compute_usage(pod_requests(spec), pod_limits(spec)))
        return used


# -- services, claims, devices -----------------------------------------------------------------------------------------


class ServiceEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__("", "services")
        self.names = frozenset({"count/services", "services", "services.nodeports", "services.loadbalancers"})

    def handles(self, operation: str, subresource: str, new: Object | None, old: Object | None) -> bool:
        return operation in ("CREATE", "UPDATE") and not subresource

    def usage(self, obj: Object, now: float) -> Amounts:
        spec = obj.get("spec") or {}
        kind, ports = spec.get("type"), spec.get("ports") or ()
        node_ports = len(ports) if kind in ("NodePort", "LoadBalancer") else 0
        if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
            node_ports = sum(1 for p in ports if p.get("nodePort"))
        return {
            "count/services": ONE,
            "services": ONE,
            "services.nodeports": Decimal(node_ports),
            "services.loadbalancers": Decimal(kind == "LoadBalancer"),
        }


def attributes_classes(claim: Object) -> set[str]:
    """The VolumeAttributesClasses that a claim (or volume) has, wants or is given."""
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    modifying = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    names = {spec.get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), modifying}
    return {n for n in names if n}


class ClaimEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__("", "persistentvolumeclaims")
        self.names = frozenset({"count/persistentvolumeclaims", "persistentvolumeclaims", "requests.storage"})

    def handles(self, operation: str, subresource: str, new: Object | None, old: Object | None) -> bool:
        if not subresource:
            return operation in ("CREATE", "UPDATE")
        if subresource != "status" or new is None or old is None:
            return False
        before, after = ((o.get("status") or {}).get("allocatedResources") or {} for o in (old, new))
        return before.get("storage") != after.get("storage") or attributes_classes(new) != attributes_classes(old)

    def counted(self, names: Iterable[str]) -> list[str]:
        suffixes = (f"{_BY_CLASS}persistentvolumeclaims", f"{_BY_CLASS}requests.storage")
        return [n for n in names if n in self.names or n.endswith(suffixes)]

    def in_scope(self, requirement: Requirement, obj: Object) -> bool:
        if requirement.get("scopeName") != "VolumeAttributesClass":
            return False
        classes = attributes_classes(obj)
        return any(_selects(requirement, c) for c in classes) if classes else _selects(requirement, "")

    def usage(self, obj: Object, now: float) -> Amounts:
        spec = obj.get("spec") or {}
        name = annotations_of(obj).get("volume.beta.kubernetes.io/storage-class", spec.get("storageClassName"))
        used: Amounts = {"persistentvolumeclaims": ONE, "count/persistentvolumeclaims": ONE}
        if name:
            used[f"{name}{_BY_CLASS}persistentvolumeclaims"] = ONE
        asked = amounts((spec.get("resources") or {}).get("requests")).get("storage")
        if asked is not None:
            allocated = amounts((obj.get("status") or {}).get("allocatedResources")).get("storage", asked)
            size = max(asked, allocated).to_integral_value(rounding=ROUND_CEILING)
            used["requests.storage"] = size
            if name:
                used[f"{name}{_BY_CLASS}requests.storage"] = size
        return used


def _device_requests(claim: Object) -> Iterator[tuple[str, Decimal]]:
    """(device class, number of devices) of every request; of alternatives each counts, as any may be taken."""
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        options = request.get("firstAvailable") or [request.get("exactly") or {}]
        most: dict[str, Decimal] = {}
        for option in options:
            # All of a class on a node: as many as an allocation can hold.
            number = Decimal(32) if option.get("allocationMode") == "All" else Decimal(option.get("count") or 1)
            name = option.get("deviceClassName") or ""
            most[name] = max(most.get(name, Decimal(0)), number)
        yield from most.items()


class DeviceClaimEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__("resource.k8s.io", "resourceclaims")

    def handles(self, operation: str, subresource: str, new: Object | None, old: Object | None) -> bool:
        return operation in ("CREATE", "UPDATE") and not subresource

    def counted(self, names: Iterable[str]) -> list[str]:
        return [n for n in names if n in self.names or n.endswith(_BY_DEVICE_CLASS)]

    def usage(self, obj: Object, now: float) -> Amounts:
        used = super().usage(obj, now)
        for name, number in _device_requests(obj):
            key = f"{name}{_BY_DEVICE_CLASS}"
            used[key] = used.get(key, Decimal(0)) + number
        return used


_SPECIAL: Mapping[tuple[str, str], Callable[[], Evaluator]] = {
    ("", "pods"): PodEvaluator,
    ("", "services"): ServiceEvaluator,
    ("", "persistentvolumeclaims"): ClaimEvaluator,
    ("resource.k8s.io", "resourceclaims"): DeviceClaimEvaluator,
}


@lru_cache(maxsize=4096)
def evaluator_for(group: str, resource: str) -> Evaluator | None:
    """None where no quota counts such objects."""
    if (group, resource) in IGNORED:
        return None
    special = _SPECIAL.get((group, resource))
    return special() if special is not None else Evaluator(group, resource)


def resources_counted_by(names: Iterable[str]) -> list[tuple[str, str]]:
    """(group, resource) of everything that a quota with these names counts: what its controller must look at."""
    found: dict[tuple[str, str], None] = {}
    for name in names:
        if name.startswith("count/"):
            resource, _, group = name.removeprefix("count/").partition(".")
            found[group, resource] = None
            continue
        for key in (*_SPECIAL, *_ALIASES):
            evaluator = evaluator_for(*key)
            if evaluator is not None and evaluator.counted([name]):
                found[key] = None
    return list(found)


# -- sums --------------------------------------------------------------------------------------------------------------


def add_texts(used: Mapping[str, str], more: Mapping[str, Decimal], like: Mapping[str, str]) -> dict[str, str]:
    """``used`` with amounts added, each written in the form that it (or ``like``) has."""
    result = dict(used)
    have = amounts(used)
    for name, amount in more.items():
        text = used.get(name)
        # A zero has no form of its own.
        form = quantity_form(text if text and text != "0" else like.get(name, "0"))
        result[name] = format_quantity(have.get(name, Decimal(0)) + amount, form)
    return result


def total_usage(quota: Object, objects: Mapping[GVR, Sequence[Object]], now: float) -> dict[str, str]:
    """What of a quota is used by these objects (all of its namespace)."""
    hard: Mapping[str, str] = (quota.get("spec") or {}).get("hard") or {}
    requirements = scope_requirements(quota)
    totals = dict.fromkeys(hard, Decimal(0))
    for gvr, items in objects.items():
        evaluator = evaluator_for(gvr.group, gvr.resource)
        names = set(evaluator.counted(hard)) if evaluator else set()
        if evaluator is None or not names:
            continue
        for obj in items:
            if all(evaluator.in_scope(r, obj) for r in requirements):
                for name, amount in evaluator.usage(obj, now).items():
                    if name in names:
                        totals[name] += amount
    return {n: format_quantity(v, quantity_form(hard[n])) for n, v in totals.items()}
