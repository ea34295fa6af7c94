"""Plugins that are off unless somebody asks for them: AlwaysAdmit, AlwaysDeny, AlwaysPullImages, ExtendedResourceToleration,
LimitPodHardAntiAffinityTopology, OwnerReferencesPermissionEnforcement, PodNodeSelector. Specified by "Admission Control in Kubernetes".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...api.errors import not_found
from ...api.meta import Object
from ...api.resources import GVR, NAMESPACES, parse_api_version
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes, AdmissionContext
from ...hooks.authorization import Attributes, Decision
from .base import WRITES, Plugin, is_pod, refuse, spec_of

_HOSTNAME = "kubernetes.io/hostname"
_SELECTOR = "scheduler.alpha.kubernetes.io/node-selector"


class AlwaysAdmit(Plugin):
    name = "AlwaysAdmit"


class AlwaysDeny(Plugin):
    name = "AlwaysDeny"

    async def admit(self, attributes: AdmissionAttributes) -> None:
        raise refuse(attributes, "admission control is denying all modifications")

    validate = admit


def _containers(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


class AlwaysPullImages(Plugin):
    """Nobody uses an image that somebody else was allowed to pull."""

    name = "AlwaysPullImages"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in WRITES and is_pod(gvr) and subresource in ("", "ephemeralcontainers")

    async def admit(self, attributes: AdmissionAttributes) -> None:
        if attributes.operation == UPDATE and not _new_images(attributes):
            return
        spec = spec_of(attributes.object)
        for container in _containers(spec):
            container["imagePullPolicy"] = "Always"
        for volume in spec.get("volumes") or ():
            if volume.get("image") and volume["image"].get("reference"):
                volume["image"]["pullPolicy"] = "Always"

    async def validate(self, attributes: AdmissionAttributes) -> None:
        if attributes.operation == UPDATE and not _new_images(attributes):
            return
        if any(c.get("imagePullPolicy") != "Always" for c in _containers(spec_of(attributes.object))):
            raise refuse(attributes, 'spec.containers.imagePullPolicy: Unsupported value: supported values: "Always"')


def _new_images(attributes: AdmissionAttributes) -> bool:
    """An update that brings no image of its own leaves the policies as they are."""
    known = {c.get("image") for c in _containers((attributes.old_object or {}).get("spec") or {})}
    return any(c.get("image") not in known for c in _containers(spec_of(attributes.object)))


class ExtendedResourceToleration(Plugin):
    """Pods that ask for special resources tolerate nodes that are kept for those who do."""

    name = "ExtendedResourceToleration"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in WRITES and is_pod(gvr) and not subresource

    async def admit(self, attributes: AdmissionAttributes) -> None:
        spec = spec_of(attributes.object)
        wanted = {
            name
            for container in _containers(spec)
            for name in ((container.get("resources") or {}).get("requests") or {})
            if "/" in name and not name.split("/", 1)[0].endswith("kubernetes.io")
        }
        for name in sorted(wanted):
            toleration = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
            held = spec.get("tolerations") or []
            if not any(all(t.get(k) == v for k, v in toleration.items()) for t in held):
                spec["tolerations"] = [*held, toleration]


class LimitPodHardAntiAffinityTopology(Plugin):
    """Required anti-affinity by anything wider than a node can keep everybody else off a zone."""

    name = "LimitPodHardAntiAffinityTopology"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in WRITES and is_pod(gvr) and not subresource

    async def validate(self, attributes: AdmissionAttributes) -> None:
        affinity = (spec_of(attributes.object).get("affinity") or {}).get("podAntiAffinity") or {}
        for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            key = term.get("topologyKey")
            if key != _HOSTNAME:
                words = "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey"
                raise refuse(attributes, f"{words} {key} but only key {_HOSTNAME} is allowed")


class PodNodeSelector(Plugin):
    """Pods of a namespace go where its annotation says."""

    name = "PodNodeSelector"

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        self._configured: Mapping[str, str] = context.settings.get("node-selectors") or {}

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == CREATE and is_pod(gvr) and not subresource

    def _selector(self, attributes: AdmissionAttributes) -> dict[str, str]:
        namespace = self.reader.get(NAMESPACES, "", attributes.namespace)
        if namespace is None:
            raise not_found("", "namespaces", attributes.namespace)
        text = (namespace["metadata"].get("annotations") or {}).get(_SELECTOR)
        return _pairs(self._configured.get(CLUSTER_DEFAULT, "") if text is None else text)

    async def admit(self, attributes: AdmissionAttributes) -> None:
        selector, spec = self._selector(attributes), spec_of(attributes.object)
        own = spec.get("nodeSelector") or {}
        if any(own.get(k, v) != v for k, v in selector.items()):
            raise refuse(attributes, "pod node label selector conflicts with its namespace node label selector")
        if selector:
            spec["nodeSelector"] = {**selector, **own}

    async def validate(self, attributes: AdmissionAttributes) -> None:
        own = spec_of(attributes.object).get("nodeSelector") or {}
        if any(own.get(k, v) != v for k, v in self._selector(attributes).items()):
            raise refuse(attributes, "pod node label selector conflicts with its namespace node label selector")
        allowed = _pairs(self._configured.get(attributes.namespace, ""))
        if allowed and any(allowed.get(k) != v for k, v in own.items()):
            raise refuse(attributes, "pod node label selector labels conflict with its namespace whitelist")


CLUSTER_DEFAULT = "clusterDefaultNodeSelector"


def _pairs(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


ResourceOfKind = Any


class OwnerReferencesPermissionEnforcement(Plugin):
    """Who blocks an owner's deletion must be allowed to write its finalizers; who changes owners must be allowed to delete."""

    name = "OwnerReferencesPermissionEnforcement"

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        self._resource_of_kind: ResourceOfKind = context.settings.get("resource_of_kind")

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in WRITES and not subresource and gvr != GVR("", "v1", "pods") or operation == UPDATE

    async def validate(self, attributes: AdmissionAttributes) -> None:
        new, old = _owners(attributes.object), _owners(attributes.old_object)
        if new == old:
            return
        a = attributes
        if a.operation == UPDATE and not await self._may(a, "delete", a.gvr, a.subresource, a.namespace, a.name):
            raise refuse(a, "cannot set an ownerRef on a resource you can't delete: ")
        blocking = [r for r in new if r.get("blockOwnerDeletion") and r not in old]
        for reference in blocking:
            await self._check_blocking(a, reference)

    async def _check_blocking(self, a: AdmissionAttributes, reference: Mapping[str, Any]) -> None:
        version, kind = reference.get("apiVersion") or "", reference.get("kind") or ""
        served = self._resource_of_kind(version, kind) if self._resource_of_kind else None
        if served is None:
            group = parse_api_version(version)[0]
            words = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for"
            raise refuse(a, f"{words} APIVersion {version} Kind {kind}: no matches for kind {kind} in group {group}")
        gvr, namespaced = served
        namespace = a.namespace if namespaced else ""
        if not await self._may(a, "update", gvr, "finalizers", namespace, reference.get("name") or ""):
            words = (
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
            )
            raise refuse(a, f"{words}: ")

    async def _may(
        self, a: AdmissionAttributes, verb: str, gvr: GVR, subresource: str, namespace: str, name: str
    ) -> bool:
        ask = Attributes(a.user, verb, gvr.group, gvr.version, gvr.resource, subresource, namespace, name)
        return (await self.context.authorizer.authorize(ask)).decision is Decision.ALLOW


def _owners(obj: Object | None) -> list[dict[str, Any]]:
    return list(((obj or {}).get("metadata") or {}).get("ownerReferences") or ())
