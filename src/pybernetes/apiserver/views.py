"""Views: the forms in which one stored object can be sent (JSON as it is, another version, Table, metadata only, protobuf).

A view turns an entry into the bytes of one item, and wraps items into lists and watch frames. Its ``key`` names it in the
caches of encoded bytes, so two views with one key must give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import orjson

from ..api.resources import GVK
from .encoding import Entry


class View(Protocol):
    """How objects of one resource are written for one kind of client."""

    key: str
    content_type: str
    stream_type: str
    """The content type of a watch."""

    def item(self, entry: Entry) -> bytes:
        """One object as the body of a GET."""
        ...

    def obj(self, obj: Mapping[str, Any]) -> bytes:
        """A decoded object of the resource's storage version as a body."""
        ...

    def items(self, entries: Iterable[Entry]) -> bytes:
        """The inside of a list; pieces are joined by ``separator``."""
        ...

    separator: bytes

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


class JsonView:
    """The stored bytes themselves."""

    content_type = "application/json"
    stream_type = "application/json"
    separator = b","

    def __init__(self, gvk: GVK, list_kind: str, *, typed_items: bool = True) -> None:
        self.gvk = gvk
        self.key = f"json:{gvk.group}/{gvk.version}"
        self.list_head = b'{"kind":"%b","apiVersion":"%b","metadata":' % (
            list_kind.encode(),
            gvk.api_version.encode(),
        )
        self._bookmark = {"kind": gvk.kind, "apiVersion": gvk.api_version}
        # Items of built-in lists carry no kind and apiVersion; every stored object begins with the same two, which are cut.
        prefix = b'{"kind":"%b","apiVersion":"%b",' % (gvk.kind.encode(), gvk.api_version.encode())
        self._cut = len(prefix) if typed_items else 1

    def item(self, entry: Entry) -> bytes:
        return entry.data + b"\n"

    def obj(self, obj: Mapping[str, Any]) -> bytes:
        return orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE)

    def items(self, entries: Iterable[Entry]) -> bytes:
        cut = self._cut
        joined = b",{".join([e.data[cut:] for e in entries])
        return b"{" + joined if joined else b""

    def list(self, revision: int, proceed: str, remaining: int | None, items: bytes) -> tuple[bytes, bytes, bytes]:
        return self.list_head + list_metadata(revision, proceed, remaining) + b',"items":[', items, b"]}\n"

    def frame(self, kind: str, entry: Entry) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (kind.encode(), entry.data)

    def bookmark(self, revision: int, initial: bool) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return orjson.dumps(
            {"type": "BOOKMARK", "object": {**self._bookmark, "metadata": metadata}}, option=orjson.OPT_APPEND_NEWLINE
        )

    def status(self, status: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"type": "ERROR", "object": status}, option=orjson.OPT_APPEND_NEWLINE)
