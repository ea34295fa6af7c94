"""What a pod asks of a node: resources by the "Resource requests of Pod and Container" rules, and host ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..api.meta import Object
from ..api.quantity import quantity_milli, quantity_value

Amounts = dict[str, int]
"""Resource name to amount: CPU in thousandths, all else in whole units (bytes, pods, devices)."""


def amount(resource: str, quantity: Any) -> int:
    return quantity_milli(quantity) if resource == "cpu" else quantity_value(quantity)


def amounts(resources: Mapping[str, Any] | None) -> Amounts:
    return {name: amount(name, quantity) for name, quantity in (resources or {}).items()}


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise_to(total: Amounts, floor: Amounts) -> None:
    for name, value in floor.items():
        total[name] = max(total.get(name, 0), value)


def _container_requests(container: Object) -> Amounts:
    return amounts((container.get("resources") or {}).get("requests"))


def pod_requests(pod: Object) -> Amounts:
    """The sum over containers and sidecars, at least what any init container needs beside the sidecars before it, plus overhead.

    Pod-level requests, where given, stand for their resource in place of the containers' (KEP-2837).
    """
    spec = pod.get("spec") or {}
    total: Amounts = {}
    for container in spec.get("containers") or []:
        _add(total, _container_requests(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or []:
        own = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _raise_to(peak, sidecars)
        else:
            beside = dict(sidecars)
            _add(beside, own)
            _raise_to(peak, beside)
    _add(total, sidecars)
    _raise_to(total, peak)
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    _add(total, amounts(spec.get("overhead")))
    return total


HostPort = tuple[str, str, int]
"""(address, protocol, port); the address ``0.0.0.0`` stands for all."""


def host_ports(pod: Object) -> frozenset[HostPort]:
    spec = pod.get("spec") or {}
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return frozenset(
        (port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"])
        for container in containers
        for port in container.get("ports") or []
        if port.get("hostPort")
    )


def ports_conflict(wanted: HostPort, taken: HostPort) -> bool:
    return wanted[1:] == taken[1:] and ("0.0.0.0" in (wanted[0], taken[0]) or wanted[0] == taken[0])
