"""What a pod asks of a node: resources by the "Resource requests of Pod and Container" rules, and host ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..api.meta import Object
from ..api.pod_resources import is_pod_level
from ..api.quantity import quantity_milli, quantity_value

Amounts = dict[str, int]
"""Resource name to amount: CPU in thousandths, all else in whole units (bytes, pods, devices)."""

DEFAULT_CPU, DEFAULT_MEMORY = 100, 200 * 1024 * 1024
"""What scores assume of a container that says nothing: a node full of such pods must not look empty."""
NON_ZERO: Amounts = {"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY}


MOST = 2**55
"""More is the same as never: sums and hundredfolds of it still fit into 64 bits."""


def amount(resource: str, quantity: Any) -> int:
    return min(MOST, quantity_milli(quantity) if resource == "cpu" else quantity_value(quantity))


def amounts(resources: Mapping[str, Any] | None) -> Amounts:
    return {name: amount(name, quantity) for name, quantity in (resources or {}).items()}


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise_to(total: Amounts, floor: Mapping[str, int]) -> None:
    for name, value in floor.items():
        if value > total.get(name, -1):
            total[name] = value


def _container_requests(
    container: Object, missing: Mapping[str, int], status: Mapping[str, Mapping[str, Any]]
) -> Amounts:
    asked = amounts((container.get("resources") or {}).get("requests"))
    actual = status.get(container.get("name", ""))
    if actual:
        # While a container is resized in place, what it has and what it is to get both count: the larger one.
        if actual.get("infeasible"):
            asked.clear()
        _raise_to(asked, amounts((actual.get("resources") or {}).get("requests")))
        _raise_to(asked, amounts(actual.get("allocatedResources")))
    for name, value in missing.items():
        asked.setdefault(name, value)
    return asked


def pod_requests(
    pod: Object, *, missing: Mapping[str, int] | None = None, status: Mapping[str, Mapping[str, Any]] | None = None
) -> Amounts:
    """The sum over containers and sidecars, at least what any init container needs beside the sidecars before it, plus overhead.

    Pod-level requests, where given, stand for their resource in place of the containers' (KEP-2837). ``missing`` is assumed
    of containers that do not say; ``status`` are container statuses by name.
    """
    spec, missing, status = pod.get("spec") or {}, missing or {}, status or {}
    total: Amounts = {}
    for container in spec.get("containers") or []:
        _add(total, _container_requests(container, missing, status))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or []:
        sidecar = container.get("restartPolicy") == "Always"
        own = _container_requests(container, missing, status if sidecar else {})
        if sidecar:
            _add(sidecars, own)
            _raise_to(peak, sidecars)
        else:
            beside = dict(sidecars)
            _add(beside, own)
            _raise_to(peak, beside)
    _add(total, sidecars)
    _raise_to(total, peak)
    total.update(_pod_level_requests(spec, status))
    _add(total, amounts(spec.get("overhead")))
    return {name: min(MOST, value) for name, value in total.items()}


def _pod_level_requests(spec: Object, status: Mapping[str, Mapping[str, Any]]) -> Amounts:
    given = spec.get("resources") or {}
    found = {name: value for name, value in amounts(given.get("requests")).items() if is_pod_level(name)}
    if found and WHOLE_POD in status:
        actual = _container_requests({"name": WHOLE_POD, "resources": given}, {}, status)
        found = {name: actual.get(name, 0) for name in found}
    return found


def non_zero_requests(
    pod: Object, asked: Amounts, status: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[int, int]:
    """CPU and memory as the node's non-zero sums count them; ``asked`` are the pod's requests."""
    missing = NON_ZERO
    if any(is_pod_level(n) for n in ((pod.get("spec") or {}).get("resources") or {}).get("requests") or {}):
        missing = {name: value for name, value in NON_ZERO.items() if not asked.get(name)}
    found = pod_requests(pod, missing=missing, status=status) if missing else asked
    return found.get("cpu", 0), found.get("memory", 0)


def resized_statuses(pod: Object) -> dict[str, Mapping[str, Any]]:
    """Statuses of containers (and under ``WHOLE_POD`` of the pod) whose actual resources differ from the specified ones.

    A resize of them is under way.

    Of a resize that the node can never grant, what is wished for does not count: the statuses say ``infeasible``.
    """
    status = pod.get("status") or {}
    pending: Mapping[str, Any] = next(
        (c for c in status.get("conditions") or () if c.get("type") == "PodResizePending"), {}
    )
    extra = {"infeasible": True} if pending.get("reason") == "Infeasible" else {}
    specified = {
        c.get("name", ""): (c.get("resources") or {}).get("requests")
        for field in ("containers", "initContainers")
        for c in (pod.get("spec") or {}).get(field) or ()
    }
    found: dict[str, Mapping[str, Any]] = {
        entry["name"]: {**entry, **extra}
        for field in ("containerStatuses", "initContainerStatuses")
        for entry in status.get(field) or ()
        if entry.get("resources") and entry["resources"].get("requests") != specified.get(entry["name"])
    }
    asked = ((pod.get("spec") or {}).get("resources") or {}).get("requests")
    if asked and status.get("resources") and status["resources"].get("requests") != asked:
        found[WHOLE_POD] = {**extra, **{k: status.get(k) for k in ("resources", "allocatedResources")}}
    return found


WHOLE_POD = "/"
"""Stands among names of containers, of which none is like this, for the pod as a whole."""

HostPort = tuple[str, str, int]
"""(address, protocol, port); the address ``0.0.0.0`` stands for all."""
ANY_ADDRESS = "0.0.0.0"


def host_ports(pod: Object) -> frozenset[HostPort]:
    """Ports of containers and sidecars; other init containers are over when the pod runs."""
    spec = pod.get("spec") or {}
    sidecars = [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    return frozenset(
        (port.get("hostIP") or ANY_ADDRESS, port.get("protocol") or "TCP", port["hostPort"])
        for container in [*(spec.get("containers") or []), *sidecars]
        for port in container.get("ports") or []
        if port.get("hostPort")
    )


def ports_conflict(wanted: HostPort, taken: HostPort) -> bool:
    return wanted[1:] == taken[1:] and (ANY_ADDRESS in (wanted[0], taken[0]) or wanted[0] == taken[0])
