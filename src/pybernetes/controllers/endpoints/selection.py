"""Which pods serve a Service, on which ports, and which changes of a pod matter. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...api.meta import Object, is_deleting, key_of, labels_of, namespace_of
from ..pods import is_ready, is_terminal

HEADLESS_LABEL = "service.kubernetes.io/headless"


def selector_of(service: Object) -> dict[str, str] | None:
    """None: the Service's endpoints are somebody else's business."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return None
    return spec.get("selector") or None


def has_cluster_ip(service: Object) -> bool:
    return (service.get("spec") or {}).get("clusterIP") not in ("None", "", None)


def addresses_of(pod: Object) -> list[str]:
    status = pod.get("status") or {}
    found = [entry["ip"] for entry in status.get("podIPs") or [] if entry.get("ip")]
    return found or ([status["podIP"]] if status.get("podIP") else [])


def is_endpoint(pod: Object, *, include_terminating: bool) -> bool:
    if is_terminal(pod) or not addresses_of(pod):
        return False
    return include_terminating or not is_deleting(pod)


def wants_hostname(pod: Object, service: Object) -> bool:
    """Whether the pod has a name of its own under the Service's in DNS."""
    spec = pod.get("spec") or {}
    return (
        bool(spec.get("hostname"))
        and spec.get("subdomain") == service["metadata"]["name"]
        and namespace_of(service) == namespace_of(pod)
    )


def find_port(pod: Object, port: dict[str, Any]) -> int | None:
    """The number behind a Service port's target: given, or by name from the pod's containers and sidecars."""
    target = port.get("targetPort")
    if target is None:
        return int(port["port"])
    if isinstance(target, int):
        return target
    spec = pod.get("spec") or {}
    sidecars = [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    protocol = port.get("protocol") or "TCP"
    for container in [*(spec.get("containers") or []), *sidecars]:
        for declared in container.get("ports") or []:
            if declared.get("name") == target and (declared.get("protocol") or "TCP") == protocol:
                return int(declared["containerPort"])
    return None


def _relevant(pod: Object) -> tuple[Any, ...]:
    spec = pod.get("spec") or {}
    return (
        labels_of(pod),
        is_deleting(pod),
        is_ready(pod),
        is_terminal(pod),
        addresses_of(pod),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
    )


def services_woken(
    list_services: Callable[[str], Iterable[Object]], old: Object | None, new: Object | None
) -> Iterator[str]:
    """The keys of the Services that select the pod, before or after a change that matters to them."""
    pod = new or old
    if pod is None or (old is not None and new is not None and _relevant(old) == _relevant(new)):
        return
    labels = [labels_of(p) for p in (old, new) if p is not None]
    for service in list_services(namespace_of(pod)):
        wanted = selector_of(service)
        if wanted is not None and any(wanted.items() <= had.items() for had in labels):
            yield key_of(service)


def selected(pods: Iterable[Object], service: Object) -> list[Object]:
    wanted = (selector_of(service) or {}).items()
    return [p for p in pods if wanted <= labels_of(p).items()]
