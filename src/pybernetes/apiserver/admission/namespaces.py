"""NamespaceLifecycle, and the two plugins of old that stand in its place: NamespaceAutoProvision and NamespaceExists."""

from __future__ import annotations

from ...api.errors import StatusError, not_found
from ...api.resources import GVR, NAMESPACES
from ...hooks.admission import CREATE, DELETE, UPDATE, AdmissionAttributes
from .base import Plugin, add_cause, refuse

IMMORTAL = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})


def _is_namespace(gvr: GVR) -> bool:
    return gvr.resource == "namespaces" and not gvr.group


def _is_access_review(gvr: GVR) -> bool:
    """To say that the namespace is not there would tell who may not know."""
    return gvr.group == "authorization.k8s.io" and gvr.resource == "localsubjectaccessreviews"


class NamespaceLifecycle(Plugin):
    """Nothing is made in a namespace that is not there or is going; the system's own namespaces stay."""

    name = "NamespaceLifecycle"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        if _is_namespace(gvr):
            return operation == DELETE
        return operation in (CREATE, UPDATE) and not _is_access_review(gvr)

    async def admit(self, attributes: AdmissionAttributes) -> None:
        if _is_namespace(attributes.gvr):
            if attributes.name in IMMORTAL:
                raise refuse(attributes, "this namespace may not be deleted")
            return
        name = attributes.namespace
        if not name:
            return
        namespace = self.reader.get(NAMESPACES, "", name)
        if namespace is None:
            raise not_found("", "namespaces", name)
        if attributes.operation == CREATE and (namespace.get("status") or {}).get("phase") == "Terminating":
            error = refuse(
                attributes, f"unable to create new content in namespace {name} because it is being terminated"
            )
            message = f"namespace {name} is being terminated"
            raise add_cause(error, "NamespaceTerminating", message, "metadata.namespace")


class NamespaceAutoProvision(Plugin):
    """Makes a namespace when the first object is made in it."""

    name = "NamespaceAutoProvision"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == CREATE and not _is_namespace(gvr) and not _is_access_review(gvr)

    async def admit(self, attributes: AdmissionAttributes) -> None:
        name = attributes.namespace
        if not name or attributes.dry_run or self.reader.get(NAMESPACES, "", name) is not None:
            return
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            await self.context.request("POST", "/api/v1/namespaces", body)
        except StatusError as failure:
            if failure.reason != "AlreadyExists":
                raise refuse(attributes, failure.message) from failure


class NamespaceExists(Plugin):
    """Refuses every request in a namespace that is not there."""

    name = "NamespaceExists"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in (CREATE, UPDATE, DELETE) and not _is_namespace(gvr)

    async def validate(self, attributes: AdmissionAttributes) -> None:
        name = attributes.namespace
        if name and self.reader.get(NAMESPACES, "", name) is None:
            raise not_found("", "namespaces", name)
