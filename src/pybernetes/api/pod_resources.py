"""What a pod asks for in total, and its quality-of-service class.

Containers add up; an init container needs its own share at its time, on top of the sidecars (restartable init
containers) started before it; the pod needs the larger of the two. Specified by "Init Containers: Resource sharing",
"Sidecar Containers" and "Pod Quality of Service Classes". Amounts are exact decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from .quantity import QuantityError, parse_quantity

Amounts = dict[str, Decimal]
GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
HUGEPAGES_PREFIX = "hugepages-"
_ZERO = Decimal(0)


def is_hugepage(name: str) -> bool:
    return name.startswith(HUGEPAGES_PREFIX)


def is_pod_level(name: str) -> bool:
    """Whether ``spec.resources`` of a pod may carry this resource."""
    return name in ("cpu", "memory") or is_hugepage(name)


def is_native(name: str) -> bool:
    """A resource of Kubernetes' own: no domain, or one under kubernetes.io."""
    return "/" not in name or "kubernetes.io/" in name


def is_overcommit_allowed(name: str) -> bool:
    return is_native(name) and not is_hugepage(name)


def is_restartable(container: Mapping[str, Any]) -> bool:
    """A sidecar: an init container that keeps running."""
    return container.get("restartPolicy") == "Always"


def amounts(resources: Mapping[str, Any] | None) -> Amounts:
    """A ResourceList as numbers; what is no quantity counts as nothing (validation refuses it elsewhere)."""
    found: Amounts = {}
    for name, value in (resources or {}).items():
        try:
            found[name] = parse_quantity(value)
        except QuantityError:
            found[name] = _ZERO
    return found


def add_amounts(total: Amounts, more: Mapping[str, Decimal]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, _ZERO) + value


def max_amounts(total: Amounts, other: Mapping[str, Decimal]) -> None:
    for name, value in other.items():
        if name not in total or value > total[name]:
            total[name] = value


def _aggregate(spec: Mapping[str, Any], of: Callable[[Mapping[str, Any]], Amounts]) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers") or ():
        add_amounts(total, of(container))
    sidecars: Amounts = {}
    initial: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = of(container)
        if is_restartable(container):
            add_amounts(total, own)
            add_amounts(sidecars, own)
            max_amounts(initial, sidecars)
        else:
            add_amounts(own, sidecars)
            max_amounts(initial, own)
    max_amounts(total, initial)
    return total


def aggregate_requests(spec: Mapping[str, Any]) -> Amounts:
    """What the containers of a pod spec request together, pod-level resources and overhead left out."""
    return _aggregate(spec, lambda c: amounts((c.get("resources") or {}).get("requests")))


def aggregate_limits(spec: Mapping[str, Any]) -> Amounts:
    return _aggregate(spec, lambda c: amounts((c.get("resources") or {}).get("limits")))


def pod_requests(spec: Mapping[str, Any]) -> Amounts:
    """What a pod needs of a node: containers, overridden by pod-level requests, plus overhead."""
    total = aggregate_requests(spec)
    own = (spec.get("resources") or {}).get("requests")
    total.update({name: value for name, value in amounts(own).items() if is_pod_level(name)})
    add_amounts(total, amounts(spec.get("overhead")))
    return total


def pod_limits(spec: Mapping[str, Any]) -> Amounts:
    """What a pod may use at most; overhead adds only to what is limited."""
    total = aggregate_limits(spec)
    own = (spec.get("resources") or {}).get("limits")
    total.update({name: value for name, value in amounts(own).items() if is_pod_level(name)})
    for name, value in amounts(spec.get("overhead")).items():
        if total.get(name):
            total[name] += value
    return total


def qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort, from CPU and memory alone."""
    own = spec.get("resources") or {}
    if any(is_pod_level(name) for part in ("requests", "limits") for name in own.get(part) or ()):
        parts = [own]
    else:
        parts = [c.get("resources") or {} for f in ("containers", "initContainers") for c in spec.get(f) or ()]
    requests, limits = Amounts(), Amounts()
    guaranteed = True
    for part in parts:
        asked = {n: q for n, q in amounts(part.get("requests")).items() if n in ("cpu", "memory") and q > 0}
        capped = {n: q for n, q in amounts(part.get("limits")).items() if n in ("cpu", "memory") and q > 0}
        add_amounts(requests, asked)
        add_amounts(limits, capped)
        guaranteed = guaranteed and len(capped) == 2
    if not requests and not limits:
        return BEST_EFFORT
    if guaranteed and len(requests) == len(limits) and all(limits.get(n) == q for n, q in requests.items()):
        return GUARANTEED
    return BURSTABLE
