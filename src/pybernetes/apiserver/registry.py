"""The registry of served resources. It can change at run time; routing, discovery and OpenAPI are read from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..api.meta import Object
from ..api.resources import GVK, GVR, ResourceInfo, SubresourceInfo
from .cache import ResourceCache
from .kinds import Kind
from .request import Handler
from .views import ConvertedView, JsonView, View
from .watching import Dispatcher


@dataclass(frozen=True, slots=True)
class Conversion:
    """From and to the storage version, where a resource is served in several."""

    to_storage: Callable[[Object], Object]
    from_storage: Callable[[Object], Object]


@dataclass(slots=True)
class Resource:
    """One resource in one served version. Versions of a resource share dispatcher and cache."""

    info: ResourceInfo
    kind: Kind
    dispatcher: Dispatcher | None = None
    storage: GVR | None = None
    """The version that objects are stored in."""
    conversion: Conversion | None = None
    handler: Handler | None = None
    """Where set, answers everything: a virtual resource."""
    views: dict[str, View] = field(default_factory=dict)
    labels: tuple[str, str, str] = ("", "", "")

    @property
    def gvr(self) -> GVR:
        return self.info.gvr

    @property
    def gvk(self) -> GVK:
        return self.info.gvk

    @property
    def cache(self) -> ResourceCache:
        assert self.dispatcher is not None
        return self.dispatcher.cache

    @property
    def json(self) -> View:
        view = self.views.get("json")
        if view is None:
            if self.conversion is not None:
                view = ConvertedView(self.gvk, self.info.list_kind, self.conversion.from_storage)
            else:
                view = JsonView(self.gvk, self.info.list_kind, typed_items=self.kind.builtin)
            self.views["json"] = view
        return view

    @property
    def protobuf(self) -> View | None:
        """The binary view, where the kind has one."""
        if not self.kind.builtin:
            return None
        view = self.views.get("protobuf")
        if view is None:
            from .binary import ProtobufView

            convert = self.conversion.from_storage if self.conversion is not None else None
            view = self.views["protobuf"] = ProtobufView(self.gvk, self.info.list_kind, convert)
        return view

    def subresource(self, name: str) -> SubresourceInfo | None:
        return self.info.subresources.get(name)


Versions = dict[str, dict[str, Resource]]


class Registry:
    """Group -> version -> resource."""

    def __init__(self) -> None:
        self._groups: dict[str, Versions] = {}
        self._by_kind: dict[GVK, Resource] = {}
        self.generation = 0
        """Grows with every change: what is derived from the registry is made anew when it is asked for next."""

    def add(self, resource: Resource) -> None:
        gvr = resource.gvr
        self._groups.setdefault(gvr.group, {}).setdefault(gvr.version, {})[gvr.resource] = resource
        self._by_kind[resource.gvk] = resource
        self.generation += 1

    def remove(self, gvr: GVR) -> Resource | None:
        versions = self._groups.get(gvr.group, {})
        resource = versions.get(gvr.version, {}).pop(gvr.resource, None)
        if resource is None:
            return None
        self._by_kind.pop(resource.gvk, None)
        if not versions[gvr.version]:
            del versions[gvr.version]
        if not versions:
            del self._groups[gvr.group]
        self.generation += 1
        return resource

    def lookup(self, group: str, version: str, resource: str) -> Resource | None:
        try:
            return self._groups[group][version][resource]
        except KeyError:
            return None

    def by_gvr(self, gvr: GVR) -> Resource | None:
        return self.lookup(gvr.group, gvr.version, gvr.resource)

    def by_kind(self, gvk: GVK) -> Resource | None:
        return self._by_kind.get(gvk)

    @property
    def groups(self) -> Mapping[str, Versions]:
        return self._groups

    def __iter__(self) -> Iterator[Resource]:
        for versions in self._groups.values():
            for resources in versions.values():
                yield from resources.values()
