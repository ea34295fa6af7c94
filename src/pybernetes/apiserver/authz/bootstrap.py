"""The roles and bindings that every cluster has, and bringing a store in line with them at start.

``data/bootstrap_rbac.json`` has upstream's set for v1.36 without what is the same in all of them. Reconciling adds what is missing
and leaves what somebody added; an object with ``rbac.authorization.kubernetes.io/autoupdate: "false"`` is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import orjson

from ...api.errors import StatusError
from ...api.meta import Object, annotations_of, metadata, name_of, namespace_of
from ...api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GVR, ROLE_BINDINGS, ROLES
from ...hooks.admission import Requester
from .rules import PolicyRule, uncovered

GROUP = "rbac.authorization.k8s.io"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
BOOTSTRAPPING = "kubernetes.io/bootstrapping"

KINDS: Mapping[GVR, str] = {
    CLUSTER_ROLES: "ClusterRole",
    CLUSTER_ROLE_BINDINGS: "ClusterRoleBinding",
    ROLES: "Role",
    ROLE_BINDINGS: "RoleBinding",
}


def _object(kind: str, row: Mapping[str, Any]) -> Object:
    meta: dict[str, Any] = {
        "name": row["name"],
        "annotations": {AUTOUPDATE: "true"},
        "labels": {BOOTSTRAPPING: "rbac-defaults", **row.get("labels", {})},
    }
    if "namespace" in row:
        meta["namespace"] = row["namespace"]
    obj: Object = {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": meta}
    if kind in ("ClusterRole", "Role"):
        if "aggregationRule" in row:
            obj["aggregationRule"] = row["aggregationRule"]
        obj["rules"] = row.get("rules")
        return obj
    role_kind = "ClusterRole" if kind == "ClusterRoleBinding" else "Role"
    obj["roleRef"] = {"apiGroup": GROUP, "kind": role_kind, "name": row["role"]}
    subjects = row.get("subjects")
    if subjects:
        obj["subjects"] = [s if s["kind"] == "ServiceAccount" else {"apiGroup": GROUP, **s} for s in subjects]
    return obj


@cache
def bootstrap_objects() -> tuple[tuple[GVR, Object], ...]:
    """Every object of the set, roles before the bindings that refer to them. Shared: never mutate."""
    table = orjson.loads(resources.files(__package__).joinpath("data/bootstrap_rbac.json").read_bytes())
    return tuple((gvr, _object(kind, row)) for gvr, kind in KINDS.items() for row in table[gvr.resource])


@cache
def node_rules() -> tuple[PolicyRule, ...]:
    """What every kubelet may do; the node authorizer divides the rest by node."""
    role = next(o for g, o in bootstrap_objects() if g == CLUSTER_ROLES and name_of(o) == "system:node")
    return tuple(role["rules"])


def kubeadm_objects() -> list[tuple[GVR, Object]]:
    """What kubeadm adds to the set: its administrators, and what a node needs to join by a bootstrap token."""
    bootstrappers = "system:bootstrappers:kubeadm:default-node-token"
    certificates = "system:certificates.k8s.io:certificatesigningrequests:"
    bindings = (
        ("kubeadm:cluster-admins", "cluster-admin", "kubeadm:cluster-admins"),
        ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", bootstrappers),
        ("kubeadm:node-autoapprove-bootstrap", certificates + "nodeclient", bootstrappers),
        ("kubeadm:node-autoapprove-certificate-rotation", certificates + "selfnodeclient", "system:nodes"),
        ("kubeadm:get-nodes", "kubeadm:get-nodes", bootstrappers),
    )
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}
    objects: list[tuple[GVR, Object]] = [(CLUSTER_ROLES, _plain("ClusterRole", "kubeadm:get-nodes", rules=[rule]))]
    for name, role, group in bindings:
        objects.append(
            (CLUSTER_ROLE_BINDINGS, _binding("ClusterRoleBinding", name, "ClusterRole", role, "Group", group))
        )
    info = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"]}
    name = "kubeadm:bootstrap-signer-clusterinfo"
    objects.append((ROLES, _plain("Role", name, "kube-public", rules=[info])))
    binding = _binding("RoleBinding", name, "Role", name, "User", "system:anonymous", "kube-public")
    objects.append((ROLE_BINDINGS, binding))
    return objects


def _plain(kind: str, name: str, namespace: str = "", **fields: Any) -> Object:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": meta, **fields}


def _binding(
    kind: str, name: str, role_kind: str, role: str, subject_kind: str, subject: str, namespace: str = ""
) -> Object:
    return _plain(
        kind,
        name,
        namespace,
        roleRef={"apiGroup": GROUP, "kind": role_kind, "name": role},
        subjects=[{"apiGroup": GROUP, "kind": subject_kind, "name": subject}],
    )


# -- reconciling -------------------------------------------------------------------------------------------------------


def reconciled(existing: Object, expected: Object) -> Object | None:
    """The existing object with what it lacks; None where it lacks nothing or must be left alone."""
    if annotations_of(existing).get(AUTOUPDATE) == "false":
        return None
    changed = {**existing, "metadata": dict(metadata(existing))}
    for field in ("annotations", "labels"):
        wanted = metadata(expected).get(field) or {}
        have = metadata(existing).get(field) or {}
        if any(k not in have for k in wanted):
            changed["metadata"][field] = {**wanted, **have}
    if expected["kind"] in ("ClusterRole", "Role"):
        _reconcile_role(changed, existing, expected)
    else:
        have = existing.get("subjects") or []
        missing = [s for s in expected.get("subjects") or () if s not in have]
        if missing:
            changed["subjects"] = [*have, *missing]
        changed["roleRef"] = expected["roleRef"]
    return changed if changed != existing else None


def _reconcile_role(changed: Object, existing: Object, expected: Object) -> None:
    missing = uncovered(existing.get("rules") or (), expected.get("rules") or ())
    if missing:
        changed["rules"] = [*(existing.get("rules") or ()), *missing]
    wanted = expected.get("aggregationRule")
    have = existing.get("aggregationRule")
    if wanted is None and have is not None:
        changed["aggregationRule"] = None
    elif wanted is not None:
        selectors = (have or {}).get("clusterRoleSelectors") or []
        lacking = [s for s in wanted["clusterRoleSelectors"] if s not in selectors]
        if lacking:
            changed["aggregationRule"] = {"clusterRoleSelectors": [*selectors, *lacking]}


def _path(gvr: GVR, obj: Object, name: str = "") -> str:
    namespace = namespace_of(obj)
    base = f"{gvr.path}/namespaces/{namespace}/{gvr.resource}" if namespace else f"{gvr.path}/{gvr.resource}"
    return f"{base}/{name}" if name else base


async def reconcile(request: Requester, extra: Iterable[tuple[GVR, Object]] = ()) -> int:
    """Brings the store in line with the set (and ``extra``); the number of writes. Raises StatusError."""
    expected = [*bootstrap_objects(), *extra]
    existing: dict[tuple[GVR, str, str], Object] = {}
    for gvr, kind in KINDS.items():
        listed = await request("GET", f"{gvr.path}/{gvr.resource}")
        for item in listed.get("items") or ():
            item = {"apiVersion": f"{GROUP}/v1", "kind": kind, **item}
            existing[gvr, namespace_of(item), name_of(item)] = item
    writes = 0
    try:
        # All at once: the store commits what comes together in one transaction.
        async with asyncio.TaskGroup() as group:
            for gvr, obj in expected:
                found = existing.get((gvr, namespace_of(obj), name_of(obj)))
                if found is None:
                    group.create_task(_create(request, gvr, obj))
                    writes += 1
                elif (new := reconciled(found, obj)) is not None:
                    group.create_task(_replace(request, gvr, found, new))
                    writes += 1
    except* StatusError as failures:
        raise failures.exceptions[0] from None
    return writes


async def _create(request: Requester, gvr: GVR, obj: Object) -> None:
    try:
        # The pipeline completes what it is given in place; the set is shared.
        await request("POST", _path(gvr, obj), orjson.loads(orjson.dumps(obj)))
    except StatusError as failure:
        # Another API server of the same store was faster.
        if failure.reason != "AlreadyExists":
            raise


async def _replace(request: Requester, gvr: GVR, old: Object, new: Object) -> None:
    path = _path(gvr, old, name_of(old))
    if "roleRef" in new and new["roleRef"] != old.get("roleRef"):
        # A binding's role cannot be changed: only a new binding can have another.
        await request("DELETE", path)
        fresh = {k: v for k, v in new.items() if k != "metadata"}
        kept = ("name", "namespace", "labels", "annotations")
        fresh["metadata"] = {k: v for k, v in metadata(new).items() if k in kept}
        await request("POST", _path(gvr, old), fresh)
        return
    await request("PUT", path, new)
