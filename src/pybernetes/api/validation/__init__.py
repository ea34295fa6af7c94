"""What the API server refuses, per kind: create, update, and updates through subresources.

``validate_create``, ``validate_update`` dispatch by group and resource to one module a family. They run after decoding
and defaulting, so types are right and values may be anything; they return ``FieldError`` lists and never raise. The
words, paths and the order of errors are upstream's (``pkg/apis/*/validation``), because people and tests read them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ..errors import FieldError
from ..resources import ResourceInfo
from .errors import Errors, Obj
from .meta import (
    path_segment_name,
    subdomain_name,
    validate_object_meta,
    validate_object_meta_update,
)

__all__ = ["FieldError", "validate_create", "validate_object_meta", "validate_update"]

Create = Callable[[Obj], Errors]
Update = Callable[[Obj, Obj], Errors]


@cache
def _modules() -> tuple[dict[tuple[str, str], Create], dict[tuple[str, str, str], Update]]:
    creates: dict[tuple[str, str], Create] = {}
    updates: dict[tuple[str, str, str], Update] = {}
    for module in _families():
        creates.update(module.CREATE)
        updates.update(module.UPDATE)
    return creates, updates


def _families() -> list[Any]:
    from . import (
        admission,
        aggregation,
        autoscaling,
        certificates,
        core,
        custom,
        device_claims,
        device_slices,
        discovery,
        events,
        flowcontrol,
        jobs,
        networking,
        persistent_volumes,
        pods,
        policies,
        quotas,
        rbac,
        services,
        storage,
        workloads,
    )

    first = [pods, core, services, persistent_volumes, quotas, events, workloads, jobs]
    second = [autoscaling, policies, rbac, discovery, networking, storage, flowcontrol, certificates]
    return [*first, *second, admission, aggregation, custom, device_claims, device_slices]


_RBAC = "rbac.authorization.k8s.io"
_FREE_NAMES = {
    *((_RBAC, kind) for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")),
    ("apiregistration.k8s.io", "APIService"),
    ("networking.k8s.io", "IPAddress"),
}


def validate_create(info: ResourceInfo, obj: Obj) -> Errors:
    """The errors of a new object: its kind's own first, and if there are none, those of its metadata."""
    check = _modules()[0].get((info.gvr.group, info.gvr.resource))
    metadata = obj.get("metadata") or {}
    if check is None:
        # Roles and bindings have names such as "system:node", API services "v1.", addresses "2001:db8::1".
        rule = path_segment_name if (info.gvr.group, info.kind) in _FREE_NAMES else subdomain_name
        found = validate_object_meta(metadata, info.namespaced, rule)
    else:
        found = check(obj)
    return found or validate_object_meta(metadata, info.namespaced, path_segment_name)


def validate_update(info: ResourceInfo, new: Obj, old: Obj, subresource: str = "") -> Errors:
    """The errors of an update through the main endpoint or a subresource: metadata first, then the kind's own."""
    metadata, before = new.get("metadata") or {}, old.get("metadata") or {}
    found = validate_object_meta(metadata, info.namespaced, path_segment_name)
    found += validate_object_meta_update(metadata, before)
    check = _modules()[1].get((info.gvr.group, info.gvr.resource, subresource))
    if check is not None:
        found += check(new, old)
    return found
