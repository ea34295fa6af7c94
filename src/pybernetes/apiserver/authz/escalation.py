"""Nobody grants by RBAC what he does not have, unless he is told ``escalate`` or ``bind``.

Specified by "Privilege escalation prevention and bootstrapping" in the RBAC page and ``kubernetes/pkg/registry/rbac``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...api.errors import forbidden, go_quote, not_found
from ...api.meta import Object
from ...api.resources import GVR
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes
from ...hooks.authorization import Attributes, Authorizer, Decision
from ...hooks.identity import SYSTEM_MASTERS, UserInfo
from .rbac import RbacAuthorizer, RoleMissing
from .rules import FULL_AUTHORITY, PolicyRule, compact, describe, uncovered

GROUP = "rbac.authorization.k8s.io"
_ROLES = ("roles", "clusterroles")
_BINDINGS = ("rolebindings", "clusterrolebindings")
_GC_FIELDS = ("ownerReferences", "finalizers", "managedFields", "selfLink", "resourceVersion", "generation")


def only_for_garbage_collection(new: Object, old: Object) -> bool:
    """Whether the update changes nothing but what the garbage collector must be able to change."""

    def rest(obj: Object) -> tuple[dict[str, Any], dict[str, Any]]:
        meta = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _GC_FIELDS}
        return meta, {k: v for k, v in obj.items() if k not in ("metadata", "kind", "apiVersion") and v}

    return rest(new) == rest(old)


class RbacEscalation:
    """A check on every write of a role or binding. It is part of the API and cannot be switched off."""

    name = "RbacEscalation"

    def __init__(self, rbac: RbacAuthorizer, authorizer: Authorizer) -> None:
        self._rbac, self._authorizer = rbac, authorizer

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return (
            gvr.group == GROUP
            and not subresource
            and operation in (CREATE, UPDATE)
            and gvr.resource in (*_ROLES, *_BINDINGS)
        )

    async def admit(self, attributes: AdmissionAttributes) -> None:
        return None

    async def validate(self, attributes: AdmissionAttributes) -> None:
        user, obj, old = attributes.user, attributes.object, attributes.old_object
        if obj is None or SYSTEM_MASTERS in user.groups:
            return
        if old is not None and attributes.operation == UPDATE and only_for_garbage_collection(obj, old):
            return
        if attributes.gvr.resource in _ROLES:
            await self._check_role(attributes, obj, old)
        else:
            await self._check_binding(attributes, obj)

    async def _check_role(self, attributes: AdmissionAttributes, obj: Object, old: Object | None) -> None:
        resource = attributes.gvr.resource
        ask = Attributes(
            attributes.user, "escalate", GROUP, "*", resource, namespace=attributes.namespace, name=attributes.name
        )
        if (await self._authorizer.authorize(ask)).decision is Decision.ALLOW:
            return
        self._require_held(attributes, obj.get("rules") or ())
        if resource == "clusterroles" and (_aggregates(obj) or (old is not None and _aggregates(old))):
            if self._missing(attributes.user, "", FULL_AUTHORITY):
                why = "must have cluster-admin privileges to use the aggregationRule"
                raise forbidden(GROUP, resource, attributes.name, why)

    async def _check_binding(self, attributes: AdmissionAttributes, obj: Object) -> None:
        ref: Mapping[str, Any] = obj.get("roleRef") or {}
        kind, name = ref.get("kind") or "", ref.get("name") or ""
        resource = {"ClusterRole": "clusterroles", "Role": "roles"}.get(kind)
        if resource:
            ask = Attributes(
                attributes.user,
                "bind",
                ref.get("apiGroup") or GROUP,
                "*",
                resource,
                namespace=attributes.namespace,
                name=name,
            )
            if (await self._authorizer.authorize(ask)).decision is Decision.ALLOW:
                return
        try:
            role = self._rbac.index.role_object((kind, attributes.namespace if kind == "Role" else "", name))
        except RoleMissing as failure:
            if resource is None:
                raise forbidden(GROUP, attributes.gvr.resource, attributes.name, str(failure)) from failure
            # Upstream says it of the binding's resource, with the role's name.
            raise not_found(GROUP, attributes.gvr.resource, name) from failure
        self._require_held(attributes, role.get("rules") or ())

    def _missing(self, user: UserInfo, namespace: str, rules: Sequence[PolicyRule]) -> list[dict[str, list[str]]]:
        return uncovered(self._rbac.rules_for(user, namespace).rules, rules)

    def _require_held(self, attributes: AdmissionAttributes, rules: Sequence[PolicyRule]) -> None:
        user = attributes.user
        owned, errors, _ = self._rbac.rules_for(user, attributes.namespace)
        missing = uncovered(owned, rules)
        if not missing:
            return
        groups = " ".join(go_quote(g) for g in user.groups)
        lines = "\n".join(sorted({describe(r) for r in compact(missing)}))
        why = f"user {go_quote(user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{lines}"
        if errors:
            why += f"; resolution errors: [{', '.join(errors)}]"
        raise forbidden(GROUP, attributes.gvr.resource, attributes.name, why)


def _aggregates(role: Object) -> bool:
    return bool((role.get("aggregationRule") or {}).get("clusterRoleSelectors"))
