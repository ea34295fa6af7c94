"""From the version an object rests in to the version that is served, and back.

An object stays at rest in the version that was the storage version when it was last written. With the strategy None the
versions differ in their apiVersion only, and in what their schemas let through; with a webhook it is asked, and its answers
are kept with the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import orjson

from ...api.meta import Object
from ..encoding import Entry, encode_for_store, with_revision
from .definition import Definition, Version
from .kind import selectable_fields


class Converter(Protocol):
    """Asks a conversion webhook."""

    async def convert(self, objects: Sequence[Object], api_version: str) -> list[Object]:
        """All in the wanted version. Raises StatusError."""
        ...


def head(version: Version) -> bytes:
    """How the stored form of an object in this version begins."""
    kind, api_version = version.definition.kind.encode(), version.api_version.encode()
    return b'{"kind":"%b","apiVersion":"%b",' % (kind, api_version)


class _Versioning:
    def __init__(self, definition: Definition, version: Version) -> None:
        self.definition = definition
        self.version = version
        self._head = head(version)
        self._stored_here = version is definition.storage

    def _is_here(self, entry: Entry) -> bool:
        return entry.data.startswith(self._head)

    def _fitted(self, obj: Object, version: Version) -> Object:
        """What a conversion gave, as the version's schema lets it through."""
        if not self.definition.preserves:
            version.schema.prune(obj)
        return obj

    @property
    def _storage(self) -> Version:
        assert self.definition.storage is not None
        return self.definition.storage


class SameFields(_Versioning):
    """The conversion strategy None."""

    asks = False

    async def convert(self, entries: Sequence[Entry]) -> list[Entry]:
        return list(entries)

    def bytes(self, entry: Entry) -> bytes:
        if self._is_here(entry):
            return entry.data
        known = entry.versions.get(self.version.name) if entry.versions is not None else None
        if known is None:
            obj = self._as(entry.decode(), self.version)
            data = orjson.dumps({"kind": obj.pop("kind"), "apiVersion": obj.pop("apiVersion"), **obj})
            known = Entry(entry.namespace, entry.name, entry.revision, data, entry.labels, entry.fields)
            if entry.versions is None:
                entry.versions = {}
            entry.versions[self.version.name] = known
        return known.data

    def read(self, entry: Entry) -> Object:
        found: Object = orjson.loads(self.bytes(entry))
        return found

    def _as(self, obj: Object, version: Version) -> Object:
        obj["apiVersion"] = version.api_version
        return self._fitted(obj, version)

    async def to_storage(self, obj: Object) -> Object:
        if self._stored_here:
            return obj
        stored = self._as(orjson.loads(orjson.dumps(obj)), self._storage)
        self._storage.schema.default(stored)
        return stored

    async def from_storage(self, obj: Object) -> Object:
        return obj if self._stored_here else self._as(orjson.loads(orjson.dumps(obj)), self.version)


class ByWebhook(_Versioning):
    """The conversion strategy Webhook."""

    asks = True

    def __init__(self, definition: Definition, version: Version, converter: Converter) -> None:
        super().__init__(definition, version)
        self._converter = converter
        self._fields = selectable_fields([version])

    async def convert(self, entries: Sequence[Entry]) -> list[Entry]:
        name = self.version.name
        missing = [e for e in entries if not self._is_here(e) and name not in (e.versions or ())]
        if missing:
            made = await self._converter.convert([e.decode() for e in missing], self.version.api_version)
            for entry, obj in zip(missing, made, strict=True):
                if entry.versions is None:
                    entry.versions = {}
                entry.versions[name] = self._entry(entry, obj)
        return [e if self._is_here(e) or e.versions is None else e.versions[name] for e in entries]

    def _entry(self, entry: Entry, obj: Object) -> Entry:
        self._fitted(obj, self.version)
        metadata = obj["metadata"]
        data = encode_for_store(obj)
        if entry.revision:
            data = with_revision(data, entry.revision)
        fields = self._fields(obj) if self._fields is not None else entry.fields
        return Entry(entry.namespace, entry.name, entry.revision, data, metadata.get("labels") or {}, fields)

    def bytes(self, entry: Entry) -> bytes:
        assert self._is_here(entry), "an entry is shown that was not converted"
        return entry.data

    def read(self, entry: Entry) -> Object:
        found: Object = orjson.loads(self.bytes(entry))
        return found

    async def to_storage(self, obj: Object) -> Object:
        if self._stored_here:
            return obj
        return await self._asked(obj, self._storage, default=True)

    async def from_storage(self, obj: Object) -> Object:
        return obj if self._stored_here else await self._asked(obj, self.version, default=False)

    async def _asked(self, obj: Object, version: Version, *, default: bool) -> Object:
        metadata = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
        sent = {**obj, "metadata": metadata}
        made = self._fitted((await self._converter.convert([sent], version.api_version))[0], version)
        if default:
            version.schema.default(made)
        if "resourceVersion" in obj["metadata"]:
            made["metadata"]["resourceVersion"] = obj["metadata"]["resourceVersion"]
        return made


def coercion(definition: Definition) -> Callable[[Object], None]:
    """What is done to every object that is read from the store: its own version's schema prunes and fills it in."""

    def coerce(obj: Object) -> None:
        _, _, name = (obj.get("apiVersion") or "").partition("/")
        version = definition.by_name.get(name)
        if version is None:
            return
        if not definition.preserves:
            version.schema.prune(obj)
        version.schema.default(obj)

    return coerce
