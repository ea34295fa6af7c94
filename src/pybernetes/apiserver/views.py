"""Views: the forms in which one stored object can be sent (JSON as it is, another version, Table, metadata only).

A view turns an entry into the bytes of one item, and wraps items into lists and watch frames. Its ``key`` names it in the
caches of encoded bytes, so two views with one key must give the same bytes. Specified by "Kubernetes API Concepts"
(Receiving resources as Tables, "fetching only metadata").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import orjson

from ..api.meta import Object
from ..api.resources import GVK
from ..wire.watch import encode_event
from .encoding import Entry
from .kinds import Kind

META = "meta.k8s.io"
Convert = Callable[[Object], Object]


class View(Protocol):
    """How objects of one resource are written for one kind of client."""

    key: str
    content_type: str
    stream_type: str
    """The content type of a watch."""
    cacheable: bool
    """Whether the same entry always gives the same bytes."""
    streams: bool
    """Whether a list can be written in parts (joined by commas)."""

    def item(self, entry: Entry) -> bytes:
        """One object as the body of a GET."""
        ...

    def obj(self, obj: Object) -> bytes:
        """A decoded object, in the version of the request, as a body."""
        ...

    def items(self, entries: Iterable[Entry]) -> bytes:
        """The inside of a list."""
        ...

    def list(self, revision: int, proceed: str, remaining: int | None, items: bytes) -> tuple[bytes, bytes, bytes]:
        """Head, inside and tail of a list body."""
        ...

    def frame(self, kind: str, entry: Entry) -> bytes:
        """One watch event."""
        ...

    def bookmark(self, revision: int, initial: bool) -> bytes: ...

    def status(self, status: Mapping[str, Any]) -> bytes:
        """The frame of an ERROR event."""
        ...


def list_metadata(revision: int, proceed: str, remaining: int | None) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if proceed:
        metadata["continue"] = proceed
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
    return orjson.dumps(metadata)


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


class JsonView:
    """The stored bytes themselves."""

    content_type = "application/json"
    stream_type = "application/json"
    cacheable = True
    streams = True

    def __init__(self, gvk: GVK, list_kind: str, *, typed_items: bool = True) -> None:
        self.gvk = gvk
        self.key = f"json:{gvk.group}/{gvk.version}"
        self._list_head = _list_head(list_kind, gvk.api_version)
        self._prefix = b'{"kind":"%b","apiVersion":"%b",' % (gvk.kind.encode(), gvk.api_version.encode())
        # Items of built-in lists carry no kind and apiVersion; every stored object begins with the same two, which are cut.
        self._cut = len(self._prefix) if typed_items else 1

    def item(self, entry: Entry) -> bytes:
        return entry.data + b"\n"

    def obj(self, obj: Object) -> bytes:
        return _line(obj)

    def items(self, entries: Iterable[Entry]) -> bytes:
        cut = self._cut
        joined = b",{".join([e.data[cut:] for e in entries])
        return b"{" + joined if joined else b""

    def list(self, revision: int, proceed: str, remaining: int | None, items: bytes) -> tuple[bytes, bytes, bytes]:
        return self._list_head + list_metadata(revision, proceed, remaining) + b',"items":[', items, b"]}\n"

    def frame(self, kind: str, entry: Entry) -> bytes:
        return encode_event(kind, entry.data)

    def bookmark(self, revision: int, initial: bool) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return _line({"type": "BOOKMARK", "object": self._wrap_bookmark(metadata)})

    def _wrap_bookmark(self, metadata: dict[str, Any]) -> Object:
        return {"kind": self.gvk.kind, "apiVersion": self.gvk.api_version, "metadata": metadata}

    def status(self, status: Mapping[str, Any]) -> bytes:
        return _line({"type": "ERROR", "object": status})


def _list_head(kind: str, api_version: str) -> bytes:
    return b'{"kind":"%b","apiVersion":"%b","metadata":' % (kind.encode(), api_version.encode())


class _Derived(JsonView):
    """A view whose items are made from decoded objects, one at a time."""

    def __init__(self, gvk: GVK, list_kind: str, convert: Convert | None, *, typed_items: bool = True) -> None:
        super().__init__(gvk, list_kind, typed_items=typed_items)
        self._convert = convert
        self.source: Source | None = None
        """For custom resources: whose bytes are decoded."""

    def _decoded(self, entry: Entry) -> Object:
        if self.source is not None:
            found: Object = orjson.loads(self.source.bytes(entry))
            return found
        obj = entry.decode()
        return self._convert(obj) if self._convert is not None else obj

    def _make(self, obj: Object) -> Any:
        return obj

    def _bytes(self, entry: Entry) -> bytes:
        return orjson.dumps(self._make(self._decoded(entry)))

    def item(self, entry: Entry) -> bytes:
        return self._bytes(entry) + b"\n"

    def obj(self, obj: Object) -> bytes:
        return _line(self._make(obj))

    def items(self, entries: Iterable[Entry]) -> bytes:
        return b",".join([self._bytes(e) for e in entries])

    def frame(self, kind: str, entry: Entry) -> bytes:
        return encode_event(kind, self._bytes(entry))


class ConvertedView(_Derived):
    """Another version than the stored one."""

    def items(self, entries: Iterable[Entry]) -> bytes:
        found = []
        for entry in entries:
            obj = self._decoded(entry)
            obj.pop("kind", None)
            obj.pop("apiVersion", None)
            found.append(orjson.dumps(obj))
        return b",".join(found)


class Source(Protocol):
    """Where the bytes of one version of an entry come from."""

    def bytes(self, entry: Entry) -> bytes: ...


class VersionedView(JsonView):
    """A version of a custom resource, whose objects at rest may be in any."""

    def __init__(self, gvk: GVK, list_kind: str, source: Source) -> None:
        super().__init__(gvk, list_kind, typed_items=False)
        self._source = source

    def list(self, revision: int, proceed: str, remaining: int | None, items: bytes) -> tuple[bytes, bytes, bytes]:
        """As untyped lists are written: the mark of the next page is there also where there is none."""
        metadata = list_metadata(revision, proceed, remaining)
        if not proceed:
            metadata = b'{"continue":"",' + metadata[1:]
        return self._list_head + metadata + b',"items":[', items, b"]}\n"

    def item(self, entry: Entry) -> bytes:
        return self._source.bytes(entry) + b"\n"

    def items(self, entries: Iterable[Entry]) -> bytes:
        return b",".join([self._source.bytes(e) for e in entries])

    def frame(self, kind: str, entry: Entry) -> bytes:
        return encode_event(kind, self._source.bytes(entry))


class PartialView(_Derived):
    """PartialObjectMetadata: metadata only."""

    def __init__(self, gvk: GVK, convert: Convert | None, version: str) -> None:
        super().__init__(gvk, "", convert)
        self._version = f"{META}/{version}"
        self.key = f"partial:{gvk.group}/{gvk.version}:{version}"
        self._list_head = _list_head("PartialObjectMetadataList", self._version)

    def _make(self, obj: Object) -> Any:
        return {"kind": "PartialObjectMetadata", "apiVersion": self._version, "metadata": obj["metadata"]}

    def _wrap_bookmark(self, metadata: dict[str, Any]) -> Object:
        return {"kind": "PartialObjectMetadata", "apiVersion": self._version, "metadata": metadata}


class TableView(_Derived):
    """A Table: what ``kubectl get`` prints. Cells hold ages, so nothing of it can be kept."""

    cacheable = False

    def __init__(
        self, gvk: GVK, kind: Kind, convert: Convert | None, version: str, include: str, now: Callable[[], float]
    ) -> None:
        super().__init__(gvk, "", convert)
        self._kind, self._include, self._now = kind, include or "Metadata", now
        self._version = f"{META}/{version}"
        self.key = f"table:{gvk.group}/{gvk.version}:{version}:{self._include}"
        self._list_head = _list_head("Table", self._version)

    def _row(self, obj: Object) -> Any:
        row = self._kind.row(obj, self._now())
        if self._include == "Object":
            row["object"] = obj
        elif self._include == "Metadata":
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": self._version, "metadata": obj["metadata"]}
        else:
            row["object"] = None
        return row

    def _make(self, obj: Object) -> Any:
        """A Table of one row."""
        return {
            "kind": "Table",
            "apiVersion": self._version,
            "metadata": {"resourceVersion": obj["metadata"].get("resourceVersion", "")},
            "columnDefinitions": self._kind.columns(),
            "rows": [self._row(obj)],
        }

    def items(self, entries: Iterable[Entry]) -> bytes:
        return b",".join([orjson.dumps(self._row(self._decoded(e))) for e in entries])

    def list(self, revision: int, proceed: str, remaining: int | None, items: bytes) -> tuple[bytes, bytes, bytes]:
        columns = orjson.dumps(self._kind.columns())
        head = self._list_head + list_metadata(revision, proceed, remaining)
        return b'%b,"columnDefinitions":%b,"rows":[' % (head, columns), items, b"]}\n"

    def _wrap_bookmark(self, metadata: dict[str, Any]) -> Object:
        partial = {"kind": "PartialObjectMetadata", "apiVersion": self._version, "metadata": metadata}
        return {
            "kind": "Table",
            "apiVersion": self._version,
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "columnDefinitions": self._kind.columns(),
            "rows": [{"cells": [None] * len(self._kind.columns()), "object": partial}],
        }
