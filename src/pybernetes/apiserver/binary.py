"""The protobuf views, which public Go clients ask for by default: whole objects, and metadata only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ..api.meta import Object
from ..api.resources import GVK
from ..wire import protobuf
from ..wire.protobuf.encoding import message_encoder
from ..wire.protobuf.varint import delimited
from .encoding import Entry
from .views import META, Convert, Source, list_metadata

_ITEM, _METADATA = b"\x12", b"\x0a"
_LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
STATUS = GVK("", "v1", "Status")


class ProtobufView:
    """A kind in the binary form."""

    content_type = protobuf.CONTENT_TYPE
    stream_type = protobuf.WATCH_CONTENT_TYPE
    cacheable = True
    streams = False

    def __init__(self, gvk: GVK, list_kind: str, convert: Convert | None) -> None:
        self.key = f"protobuf:{gvk.group}/{gvk.version}"
        self._gvk = gvk
        self._list_gvk = gvk._replace(kind=list_kind)
        self._convert = convert
        self.source: Source | None = None
        """For custom resources: whose bytes are decoded."""

    def _decoded(self, entry: Entry) -> Object:
        if self.source is not None:
            found: Object = orjson.loads(self.source.bytes(entry))
            return found
        obj = entry.decode()
        return self._convert(obj) if self._convert is not None else obj

    def _make(self, obj: Object) -> Object:
        return obj

    def _message(self, entry: Entry) -> bytes:
        return protobuf.encode_message(self._gvk, self._make(self._decoded(entry)))

    def item(self, entry: Entry) -> bytes:
        return protobuf.envelope(self._gvk, self._message(entry))

    def obj(self, obj: Object) -> bytes:
        return protobuf.encode(self._gvk, self._make(obj))

    def items(self, entries: Iterable[Entry]) -> bytes:
        return b"".join([delimited(_ITEM, self._message(e)) for e in entries])

    def list(self, revision: int, proceed: str, remaining: int | None, items: bytes) -> tuple[bytes, bytes, bytes]:
        metadata = message_encoder(_LIST_META)(orjson.loads(list_metadata(revision, proceed, remaining)))
        return protobuf.envelope(self._list_gvk, delimited(_METADATA, metadata) + items), b"", b""

    def frame(self, kind: str, entry: Entry) -> bytes:
        return protobuf.watch_frame(kind, self.item(entry))

    def bookmark(self, revision: int, initial: bool) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        message = protobuf.encode_message(self._gvk, {"metadata": metadata})
        return protobuf.watch_frame("BOOKMARK", protobuf.envelope(self._gvk, message))

    def status(self, status: Mapping[str, Any]) -> bytes:
        return protobuf.watch_frame("ERROR", protobuf.encode(STATUS, dict(status)))


class PartialProtobufView(ProtobufView):
    """PartialObjectMetadata in the binary form."""

    def __init__(self, gvk: GVK, convert: Convert | None, version: str) -> None:
        partial = GVK(META, version, "PartialObjectMetadata")
        super().__init__(partial, "PartialObjectMetadataList", convert)
        self.key = f"partial-protobuf:{gvk.group}/{gvk.version}:{version}"

    def _make(self, obj: Object) -> Object:
        return {"metadata": obj["metadata"]}
