"""Services: fields that hang on the type, and the values that the allocators fill in.

The allocation itself needs state and belongs to the API server; what an update keeps of earlier allocations is pure and
is here (``keep_allocated_values``, ``normalize_cluster_ips``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Obj, Strategy, section

Spec = Mapping[str, Any]


def needs_cluster_ip(spec: Spec) -> bool:
    return spec.get("type") != "ExternalName"


def needs_node_port(spec: Spec) -> bool:
    """Whether node ports are allocated for this spec."""
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def needs_health_check_port(spec: Spec) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_externally_accessible(spec: Spec) -> bool:
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _may_have_node_port(spec: Spec) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer")


def _node_ports(spec: Spec) -> set[int]:
    return {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}


def _same(new: Spec, old: Spec, *fields: str) -> bool:
    return all((new.get(f) or None) == (old.get(f) or None) for f in fields)


def drop_type_dependent_fields(service: Obj, old_service: Mapping[str, Any]) -> None:
    """A change of type takes the fields with it that only the old type has, where the client did not touch them."""
    new, old = section(service, "spec"), old_service.get("spec") or {}
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        if _same(new, old, "clusterIP", "clusterIPs"):
            new.pop("clusterIP", None)
            new.pop("clusterIPs", None)
        for field in ("ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if _same(new, old, field):
                new.pop(field, None)
    if _may_have_node_port(old) and not _may_have_node_port(new) and _node_ports(old) >= _node_ports(new):
        for port in new.get("ports") or ():
            port.pop("nodePort", None)
    if needs_health_check_port(old) and not needs_health_check_port(new) and _same(new, old, "healthCheckNodePort"):
        new.pop("healthCheckNodePort", None)
    if old.get("type") == "LoadBalancer" and new.get("type") != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if new.get(field) is not None and new[field] == old.get(field):
                new.pop(field)
    if is_externally_accessible(old) and not is_externally_accessible(new) and _same(new, old, "externalTrafficPolicy"):
        new.pop("externalTrafficPolicy", None)
    if new.get("type") != "LoadBalancer":
        service["status"] = {**(service.get("status") or {}), "loadBalancer": {}}


def normalize_cluster_ips(service: Obj, old_service: Mapping[str, Any] | None) -> None:
    """Keeps clusterIP and clusterIPs in step for clients that know only the first."""
    new = section(service, "spec")
    if old_service is None:
        if new.get("clusterIP") and not new.get("clusterIPs"):
            new["clusterIPs"] = [new["clusterIP"]]
        return
    old = old_service.get("spec") or {}
    if old.get("clusterIPs") and not new.get("clusterIPs") and _same(new, old, "clusterIP"):
        new["clusterIPs"] = list(old["clusterIPs"])
    if not _same(new, old, "clusterIP") and _same(new, old, "clusterIPs"):
        # An old client changed the singular field: the plural one follows.
        if not new.get("clusterIP"):
            new.pop("clusterIPs", None)
        else:
            new["clusterIPs"] = [new["clusterIP"]]


def keep_allocated_values(service: Obj, old_service: Mapping[str, Any]) -> None:
    """Cluster IPs and node ports that an update leaves out are those from before (before admission and validation)."""
    new, old = section(service, "spec"), old_service.get("spec") or {}
    if needs_cluster_ip(old) and needs_cluster_ip(new):
        if not new.get("clusterIP") and old.get("clusterIP"):
            new["clusterIP"] = old["clusterIP"]
        if not new.get("clusterIPs") and old.get("clusterIPs"):
            new["clusterIPs"] = list(old["clusterIPs"])
    if needs_node_port(old) and needs_node_port(new):
        used = _node_ports(old) & _node_ports(new)
        earlier = {p.get("name") or "": p.get("nodePort") or 0 for p in old.get("ports") or ()}
        for port in new.get("ports") or ():
            before = earlier.get(port.get("name") or "", 0)
            if not port.get("nodePort") and before and before not in used:
                port["nodePort"] = before
    if needs_health_check_port(old) and needs_health_check_port(new):
        if not new.get("healthCheckNodePort") and old.get("healthCheckNodePort"):
            new["healthCheckNodePort"] = old["healthCheckNodePort"]


class ServiceStrategy(Strategy):
    has_status = True
    allow_create_on_update = True

    def empty_status(self, obj: Obj) -> Obj:
        return {"loadBalancer": {}}

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        drop_type_dependent_fields(new, old)

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        section(section(new, "status"), "loadBalancer")

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import service_warnings

        return service_warnings(obj, None)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import service_warnings

        return service_warnings(obj, old)

    def status_warnings(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import load_balancer_warnings

        return load_balancer_warnings(obj)


STRATEGIES = {("", "services"): ServiceStrategy}
