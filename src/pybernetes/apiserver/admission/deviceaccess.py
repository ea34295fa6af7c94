"""Who may ask for devices as an administrator, and who may write which part of a claim's status.

Part of the API of resource.k8s.io, not a plugin that can be switched off: KEP-5018 (the namespace's label for admin access)
and the gate DRAResourceClaimGranularStatusAuthorization (``pkg/registry/resource/utils.go``), on by default in v1.36.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...api.errors import FieldError, forbidden_field, invalid
from ...api.meta import Object, labels_of
from ...api.resources import GVR, NAMESPACES
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes, AdmissionContext
from ...hooks.authorization import Attributes, Decision
from ..authz.messages import forbidden_error

GROUP = "resource.k8s.io"
LABEL = "resource.kubernetes.io/admin-access"
_NODE_OF_TOKEN = "authentication.kubernetes.io/node-name"


class DeviceAccess:
    name = "DeviceAccess"

    def __init__(self, context: AdmissionContext) -> None:
        self._reader, self._authorizer = context.reader, context.authorizer

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        if gvr.group != GROUP:
            return False
        if operation == CREATE:
            return not subresource and gvr.resource in ("resourceclaims", "resourceclaimtemplates")
        return operation == UPDATE and gvr.resource == "resourceclaims" and subresource == "status"

    async def admit(self, attributes: AdmissionAttributes) -> None:
        return None

    async def validate(self, attributes: AdmissionAttributes) -> None:
        """Raises StatusError (422), as upstream, where this is a part of the validation."""
        obj, old = attributes.object or {}, attributes.old_object or {}
        if attributes.operation == CREATE:
            found = self._requested(attributes, obj)
        else:
            found = self._granted(attributes, obj, old)
            found += await self._binding(attributes, obj, old) + await self._devices(attributes, obj, old)
        if found:
            raise invalid(GROUP, attributes.gvk.kind, attributes.name, found)

    # -- access as an administrator ----------------------------------------------------------------------------------

    def _requested(self, attributes: AdmissionAttributes, obj: Object) -> list[FieldError]:
        spec = obj.get("spec") or {}
        if attributes.gvr.resource == "resourceclaimtemplates":
            spec = spec.get("spec") or {}
        for i, request in enumerate((spec.get("devices") or {}).get("requests") or ()):
            if (request.get("exactly") or {}).get("adminAccess"):
                return self._labelled(attributes.namespace, f"spec.devices.requests[{i}].adminAccess")
        return []

    def _granted(self, attributes: AdmissionAttributes, obj: Object, old: Object) -> list[FieldError]:
        if any(result.get("adminAccess") for result in _results(old)):
            return []  # what is allocated does not change
        for i, result in enumerate(_results(obj)):
            if result.get("adminAccess"):
                return self._labelled(attributes.namespace, f"status.allocation.devices.results[{i}].adminAccess")
        return []

    def _labelled(self, namespace: str, path: str) -> list[FieldError]:
        if labels_of(self._reader.get(NAMESPACES, "", namespace) or {}).get(LABEL) == "true":
            return []
        words = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        return [forbidden_field(path, words)]

    # -- parts of the status -----------------------------------------------------------------------------------------

    async def _binding(self, attributes: AdmissionAttributes, obj: Object, old: Object) -> list[FieldError]:
        """The scheduler's part: ``status.allocation`` and ``status.reservedFor``."""
        new, before = obj.get("status") or {}, old.get("status") or {}
        if all((new.get(f) or None) == (before.get(f) or None) for f in ("allocation", "reservedFor")):
            return []
        verb = attributes.verb
        ask = Attributes(attributes.user, verb, GROUP, attributes.gvr.version, "resourceclaims", "binding")
        why = await self._refused(ask)
        if why is None:
            return []
        words = (
            'changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", '
            f'verb="{verb}" permission: {why}'
        )
        return [forbidden_field("status.allocation", words)]

    async def _devices(self, attributes: AdmissionAttributes, obj: Object, old: Object) -> list[FieldError]:
        """The drivers' part: each may write of its own devices, one that runs on a node of claims of that node."""
        status = obj.get("status") or {}
        drivers = _changed_drivers(status, old.get("status") or {}) if status.get("allocation") is not None else []
        verb, user = attributes.verb, attributes.user
        prefixes = ["arbitrary-node:"]
        node = _node_of(status.get("allocation") or {})
        if node and user.name.startswith("system:serviceaccount:") and user.extra.get(_NODE_OF_TOKEN) == (node,):
            prefixes.insert(0, "associated-node:")
        verbs = [prefix + verb for prefix in prefixes]
        found: list[FieldError] = []
        for driver in drivers:
            ask = Attributes(
                user, verbs[0], GROUP, attributes.gvr.version, "resourceclaims", "driver", attributes.namespace, driver
            )
            reasons = [await self._refused(replace(ask, verb=v)) for v in verbs]
            if None not in reasons:
                words = f'changing status.devices requires resource="resourceclaims/driver", verb="[{" ".join(verbs)}]"'
                found.append(forbidden_field("status.devices", f"{words} permission: {reasons[0]}"))
        return found

    async def _refused(self, ask: Attributes) -> str | None:
        """Why not, in the words of a refused request; None where it is allowed."""
        verdict = await self._authorizer.authorize(ask)
        if verdict.decision is Decision.ALLOW:
            return None
        return forbidden_error(ask, verdict.error or verdict.reason).message


def _results(claim: Object) -> Sequence[Mapping[str, Any]]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or ()


def _changed_drivers(status: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    def by_device(devices: Any) -> dict[tuple[str, ...], Any]:
        return {tuple(d.get(f) or "" for f in ("driver", "pool", "device", "shareID")): d for d in devices or ()}

    new, old = by_device(status.get("devices")), by_device(before.get("devices"))
    return sorted({key[0] for key in new.keys() | old.keys() if new.get(key) != old.get(key)})


def _node_of(allocation: Mapping[str, Any]) -> str:
    """The one node that an allocation is tied to by name; nothing for any other selector."""
    terms: list[Mapping[str, Any]] = (allocation.get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    if len(terms) != 1 or terms[0].get("matchExpressions"):
        return ""
    fields: list[Mapping[str, Any]] = terms[0].get("matchFields") or []
    if len(fields) != 1 or (fields[0].get("key"), fields[0].get("operator")) != ("metadata.name", "In"):
        return ""
    names: list[str] = fields[0].get("values") or []
    return names[0] if len(names) == 1 else ""
