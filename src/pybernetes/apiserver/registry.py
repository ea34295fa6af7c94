"""The registry of served resources. It can change at run time; routing, discovery and OpenAPI are read from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..api.meta import Object
from ..api.resources import GVK, GVR, ResourceInfo, SubresourceInfo
from ..api.versions import version_rank
from .cache import ResourceCache
from .encoding import Entry
from .kinds import Kind
from .request import Handler
from .views import ConvertedView, JsonView, VersionedView, View
from .watching import Dispatcher


@dataclass(frozen=True, slots=True)
class Conversion:
    """From and to the storage version, where a resource is served in several."""

    to_storage: Callable[[Object], Object]
    from_storage: Callable[[Object], Object]
    fields: Mapping[str, str] = field(default_factory=dict)
    """Selectable fields that have another name in the storage version."""


class Versioning(Protocol):
    """How objects at rest, which may be in any version, become those of one served version, and back (custom resources)."""

    asks: bool
    """Whether a webhook converts: then everything goes through ``convert`` before it is looked at or shown."""

    async def convert(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries in this version. Raises StatusError where a webhook does not convert them."""
        ...

    def bytes(self, entry: Entry) -> bytes:
        """The entry's object in this version as it is served."""
        ...

    def read(self, entry: Entry) -> Object:
        """The entry's object in this version, the caller's own."""
        ...

    async def to_storage(self, obj: Object) -> Object: ...

    async def from_storage(self, obj: Object) -> Object: ...


@dataclass(slots=True)
class Resource:
    """One resource in one served version. Versions of a resource share dispatcher and cache."""

    info: ResourceInfo
    kind: Kind
    dispatcher: Dispatcher | None = None
    storage: GVR | None = None
    """The version that objects are stored in."""
    conversion: Conversion | None = None
    versioning: Versioning | None = None
    """In place of ``conversion`` for custom resources."""
    hidden: bool = False
    """Served and not told of by discovery: a custom resource that is not established yet."""
    terminating: bool = False
    """Its definition is being deleted: nothing new is created."""
    pending: Callable[[], Awaitable[None]] | None = None
    """Where set, requests wait for it: the cache is being filled."""
    warning: str = ""
    """A warning for every request: the version is deprecated."""
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
            if self.versioning is not None:
                view = VersionedView(self.gvk, self.info.list_kind, self.versioning)
            elif self.conversion is not None:
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

    async def seen(self, entry: Entry) -> Entry:
        """The entry as this version shows it: where a webhook converts, it has to be asked before."""
        if self.versioning is None or not self.versioning.asks:
            return entry
        return (await self.versioning.convert([entry]))[0]


Versions = dict[str, dict[str, Resource]]


class Registry:
    """Group -> version -> resource."""

    def __init__(self) -> None:
        self._groups: dict[str, Versions] = {}
        self._foreign: set[tuple[str, str]] = set()
        """Group versions that are not built in, (group, '') for groups: they come and go, and are told of in order."""
        self._by_kind: dict[GVK, Resource] = {}
        self.generation = 0
        """Grows with every change: what is derived from the registry is made anew when it is asked for next."""

    def add(self, resource: Resource) -> None:
        gvr = resource.gvr
        if not resource.kind.builtin:
            self._note_foreign(gvr)
        self._groups.setdefault(gvr.group, {}).setdefault(gvr.version, {})[gvr.resource] = resource
        self._by_kind[resource.gvk] = resource
        self.generation += 1

    def touch(self) -> None:
        """Something beside it has changed that discovery and OpenAPI are made of."""
        self.generation += 1

    def remove(self, gvr: GVR) -> Resource | None:
        versions = self._groups.get(gvr.group, {})
        resource = versions.get(gvr.version, {}).pop(gvr.resource, None)
        if resource is None:
            return None
        self._by_kind.pop(resource.gvk, None)
        if not versions[gvr.version]:
            del versions[gvr.version]
            self._foreign.discard((gvr.group, gvr.version))
        if not versions:
            del self._groups[gvr.group]
            self._foreign.discard((gvr.group, ""))
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

    def _note_foreign(self, gvr: GVR) -> None:
        versions = self._groups.get(gvr.group)
        if versions is None:
            self._foreign.add((gvr.group, ""))
        if versions is None or gvr.version not in versions:
            self._foreign.add((gvr.group, gvr.version))

    @property
    def groups(self) -> Mapping[str, Versions]:
        return self._groups

    def is_foreign(self, group: str) -> bool:
        """Whether nothing of a group is built in."""
        return group not in self._groups or (group, "") in self._foreign

    def told(self) -> dict[str, Versions]:
        """What discovery tells of, in the order it does: what is built in first, then groups by name and their versions
        from the newest stable one down."""
        found: dict[str, Versions] = {}
        for group in sorted(
            self._groups, key=lambda g: ((g, "") in self._foreign, g if (g, "") in self._foreign else "")
        ):
            versions: Versions = {}
            for version in sorted(self._groups[group], key=lambda v: self._version_rank(group, v)):
                resources = {n: r for n, r in self._groups[group][version].items() if not r.hidden}
                if resources:
                    versions[version] = resources
            if versions:
                found[group] = versions
        return found

    def _version_rank(self, group: str, version: str) -> tuple[object, ...]:
        return (True, *version_rank(version)) if (group, version) in self._foreign else (False,)

    def __iter__(self) -> Iterator[Resource]:
        for versions in self._groups.values():
            for resources in versions.values():
                yield from resources.values()
