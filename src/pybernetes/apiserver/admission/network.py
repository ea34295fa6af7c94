"""Plugins for services and ingresses: DefaultIngressClass, DenyServiceExternalIPs."""

from __future__ import annotations

from ...api.meta import annotations_of, name_of
from ...api.resources import GVR, SERVICES
from ...hooks.admission import CREATE, AdmissionAttributes
from .base import WRITES, Plugin, refuse, spec_of
from .storage import newest

INGRESS_CLASSES = GVR("networking.k8s.io", "v1", "ingressclasses")
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return (
            operation == CREATE and gvr.group == "networking.k8s.io" and gvr.resource == "ingresses" and not subresource
        )

    async def admit(self, attributes: AdmissionAttributes) -> None:
        ingress = attributes.object
        if ingress is None or (ingress.get("spec") or {}).get("ingressClassName") is not None:
            return
        if CLASS_ANNOTATION in annotations_of(ingress):
            return
        default = newest(c for c in self.reader.list(INGRESS_CLASSES) if annotations_of(c).get(DEFAULT_CLASS) == "true")
        if default is not None:
            spec_of(ingress)["ingressClassName"] = name_of(default)


class DenyServiceExternalIPs(Plugin):
    """No new external IPs; those that are there may stay."""

    name = "DenyServiceExternalIPs"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in WRITES and gvr == SERVICES and not subresource

    async def validate(self, attributes: AdmissionAttributes) -> None:
        new = ((attributes.object or {}).get("spec") or {}).get("externalIPs") or ()
        old = ((attributes.old_object or {}).get("spec") or {}).get("externalIPs") or ()
        if not set(new) <= set(old):
            raise refuse(attributes, "Use of external IPs is denied by admission control")
