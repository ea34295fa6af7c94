"""What the built-in plugins share: the empty plugin, and refusing in upstream's form.

Specified by ``apiserver/pkg/admission``: a refusal names the object as far as it has a name yet.
"""

from __future__ import annotations

from typing import Any

from ...api.errors import StatusError, forbidden
from ...api.meta import Object, metadata
from ...api.resources import GVR
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes, AdmissionContext

WRITES = (CREATE, UPDATE)


class Plugin:
    """Looks at everything and objects to nothing."""

    name = ""

    def __init__(self, context: AdmissionContext) -> None:
        self.context = context
        self.reader = context.reader

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return True

    async def admit(self, attributes: AdmissionAttributes) -> None:
        return None

    async def validate(self, attributes: AdmissionAttributes) -> None:
        return None


def object_name(attributes: AdmissionAttributes) -> str:
    """The name for messages: where none is given yet, what it will begin with."""
    if attributes.name:
        return attributes.name
    meta = metadata(attributes.object or {})
    return str(meta.get("name") or meta.get("generateName") or "Unknown")


def refuse(attributes: AdmissionAttributes, why: str) -> StatusError:
    """The 403 of an admission plugin."""
    return forbidden(attributes.gvr.group, attributes.gvr.resource, object_name(attributes), why)


def add_cause(error: StatusError, reason: str, message: str = "", field: str = "") -> StatusError:
    """A machine-readable cause beside the message."""
    details = dict(error.details or {})
    cause = {"reason": reason, "message": message, "field": field}
    details["causes"] = [*details.get("causes", ()), {k: v for k, v in cause.items() if v}]
    error.details = details
    return error


def spec_of(obj: Object | None) -> dict[str, Any]:
    """The spec, made where it is missing, so that it can be changed."""
    if obj is None:
        return {}
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    return spec


def is_pod(gvr: GVR) -> bool:
    return gvr.resource == "pods" and not gvr.group
