"""Rights of controllers beyond upstream's bootstrap roles: of our own controller, and of one that does more here than upstream's.

They are named ``pybernetes:controller:<account>``, so that the bootstrap set stays what upstream's is. Who makes a cluster applies them.
"""

from __future__ import annotations

from typing import Any

from ..api.meta import Object
from ..api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GVR
from .accounts import NAMESPACE

PREFIX = "pybernetes:controller:"
_GROUP = "rbac.authorization.k8s.io"

RULES: dict[str, list[dict[str, Any]]] = {
    "local-volume-provisioner": [
        {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["create", "get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["create", "delete", "get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["persistentvolumeclaims", "nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
    ],
    # Upstream leaves the approval of serving certificates to the administrator; here a kubelet's request that fits is approved.
    "certificate-controller": [
        {
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["signers"],
            "resourceNames": ["kubernetes.io/kubelet-serving"],
            "verbs": ["approve"],
        }
    ],
}
"""By account."""


def controller_rights() -> list[tuple[GVR, Object]]:
    """The roles and their bindings."""
    found: list[tuple[GVR, Object]] = []
    for account, rules in RULES.items():
        name = f"{PREFIX}{account}"
        head = {"apiVersion": f"{_GROUP}/v1", "metadata": {"name": name}}
        subject = {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
        reference = {"apiGroup": _GROUP, "kind": "ClusterRole", "name": name}
        found += [
            (CLUSTER_ROLES, {**head, "kind": "ClusterRole", "rules": rules}),
            (
                CLUSTER_ROLE_BINDINGS,
                {**head, "kind": "ClusterRoleBinding", "subjects": [subject], "roleRef": reference},
            ),
        ]
    return found
