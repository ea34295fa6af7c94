"""What admission must know of the registry: in which other versions a resource is served, and how a made object is completed."""

from __future__ import annotations

from collections.abc import Callable

from ..api.meta import Object
from ..api.resources import GVR
from ..api.schema import Schema
from .admission.matching import Equivalent
from .registry import Registry, Resource


class RegistryKnowledge:
    """Read from the registry as it is; it may change at any time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[tuple[GVR, str], tuple[Equivalent, ...]] = {}
        self._generation = -1

    def equivalents(self, gvr: GVR, subresource: str) -> tuple[Equivalent, ...]:
        """The other versions (or groups) under which the same stored objects are served."""
        if self._generation != self._registry.generation:
            self._known.clear()
            self._generation = self._registry.generation
        key = (gvr, subresource)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = tuple(self._find(gvr, subresource))
        return found

    def _find(self, gvr: GVR, subresource: str) -> list[Equivalent]:
        source = self._registry.by_gvr(gvr)
        if source is None or source.storage is None:
            return []
        others = []
        for other in self._registry:
            if other is source or other.storage != source.storage:
                continue
            if subresource and other.subresource(subresource) is None:
                continue
            others.append(Equivalent(other.gvr, other.gvk, _conversion(source, other)))
        return others

    def resource_of_kind(self, api_version: str, kind: str) -> tuple[GVR, bool] | None:
        """Where the objects of a kind are served, and whether they are in namespaces."""
        for resource in self._registry:
            if resource.info.kind == kind and resource.gvk.api_version == api_version:
                return resource.gvr, resource.info.namespaced
        return None

    def schema_of(self, gvr: GVR) -> Schema | None:
        resource = self._registry.by_gvr(gvr)
        return resource.kind.schema if resource is not None else None

    def complete(self, gvr: GVR, kind: str, obj: Object) -> Object:
        """The object as if it had been sent: type-checked, unknown fields dropped, defaults filled in. Raises StatusError."""
        resource = self._registry.by_gvr(gvr)
        if resource is None or resource.info.kind != kind:
            return obj
        decoded: Object = resource.kind.decode(obj)
        decoded["apiVersion"], decoded["kind"] = obj.get("apiVersion"), obj.get("kind")
        resource.kind.default(decoded)
        return decoded


def _conversion(source: Resource, target: Resource) -> Callable[[Object], Object]:
    def convert(obj: Object) -> Object:
        if source.conversion is not None:
            obj = source.conversion.to_storage(obj)
        if target.conversion is not None:
            return target.conversion.from_storage(obj)
        return {**obj, "apiVersion": target.gvk.api_version, "kind": target.gvk.kind}

    return convert
