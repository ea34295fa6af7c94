"""Objects as bytes: the stored form, the form with its resourceVersion, and the entry that keeps both index and bytes.

An object rests in the store as JSON that begins with kind, apiVersion and metadata and has no resourceVersion (the store
knows it). The served form is made once, by splicing the revision in behind ``"metadata":{``; GET, LIST and every watcher
share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ..api.meta import Object

_METADATA = b'"metadata":{'
_SPLICED = b'"metadata":{"resourceVersion":"'
NO_LABELS: Mapping[str, str] = {}
NO_FIELDS: Mapping[str, str] = {}


def encode_for_store(obj: Mapping[str, Any]) -> bytes:
    """The stored form. ``metadata`` may hold a resourceVersion, which is left out, and must hold something else."""
    metadata = obj["metadata"]
    if "resourceVersion" in metadata:
        metadata = {k: v for k, v in metadata.items() if k != "resourceVersion"}
    ordered = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": metadata}
    for key, value in obj.items():
        if key not in ordered:
            ordered[key] = value
    return orjson.dumps(ordered)


def with_revision(stored: bytes, revision: int) -> bytes:
    """The served form of a stored object."""
    at = stored.index(_METADATA) + len(_METADATA)
    return b'%b"resourceVersion":"%d",%b' % (stored[:at], revision, stored[at:])


def at_revision(served: bytes, revision: int) -> bytes:
    """A served object with another resourceVersion (what a deletion sends)."""
    start = served.index(_SPLICED) + len(_SPLICED)
    return b"%b%d%b" % (served[:start], revision, served[served.index(b'"', start) :])


class Entry:
    """One object in one state: its served bytes and, beside them, what selection needs. Never changed."""

    __slots__ = ("_object", "data", "fields", "labels", "name", "namespace", "revision", "versions")

    def __init__(
        self,
        namespace: str,
        name: str,
        revision: int,
        data: bytes,
        labels: Mapping[str, str],
        fields: Mapping[str, str],
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.data = data
        self.labels = labels
        self.fields = fields
        self.versions: dict[str, Entry] | None = None
        """Of a custom resource: the entry in other versions than the stored one, once made."""
        self._object: Object | None = None

    @property
    def decoded(self) -> bool:
        return self._object is not None

    @property
    def object(self) -> Object:
        """The decoded object, shared: never mutate. Kept once asked for."""
        if self._object is None:
            self._object = orjson.loads(self.data)
        return self._object

    def peek(self) -> Object:
        """The decoded object, shared as ``object`` is, and not kept for it."""
        if self._object is not None:
            return self._object
        result: Object = orjson.loads(self.data)
        return result

    def release(self) -> None:
        """Forgets the decoded object."""
        self._object = None

    def decode(self) -> Object:
        """A decoded object of the caller's own."""
        result: Object = orjson.loads(self.data)
        return result

    def field(self, name: str) -> str:
        """The text of a selectable field."""
        if name == "metadata.name":
            return self.name
        if name == "metadata.namespace":
            return self.namespace
        return self.fields.get(name, "")

    def tombstone(self, revision: int) -> Entry:
        """The last state as a deletion at ``revision`` sends it."""
        data = at_revision(self.data, revision)
        return Entry(self.namespace, self.name, revision, data, self.labels, self.fields)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked HTTP body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
