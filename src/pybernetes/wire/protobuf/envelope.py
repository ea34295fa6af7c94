"""Bodies and frames: ``runtime.Unknown`` behind the magic, lists joined from messages, watch events."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson

from ...api.meta import Object
from ...api.resources import GVK, parse_api_version
from ...api.schema.builtin import META, definition_name
from ...api.schema.strict import MAX_DEPTH
from .decoding import decode_message
from .encoding import message_encoder
from .special import text
from .varint import BYTES, ProtobufError, delimited, fields, tag

MAGIC = b"k8s\x00"
_TYPE_META, _RAW = tag(1, BYTES), tag(2, BYTES)
_NO_ENCODING = tag(3, BYTES) + b"\x00" + tag(4, BYTES) + b"\x00"


def is_protobuf(body: bytes) -> bool:
    return body.startswith(MAGIC)


def supports(gvk: GVK) -> bool:
    """Whether a kind has a message (tables and custom resources have none)."""
    return gvk.kind != "Table" and definition_name(gvk) is not None


def _definition(gvk: GVK) -> str:
    name = definition_name(gvk)
    if name is None:
        raise ProtobufError(f"no kind {gvk.kind!r} is registered for version {gvk.api_version!r}")
    return name


def encode_message(gvk: GVK, obj: Object) -> bytes:
    """The object's message, without envelope."""
    return message_encoder(_definition(gvk))(obj)


@lru_cache(maxsize=1024)
def _head(gvk: GVK) -> bytes:
    meta = delimited(tag(1, BYTES), gvk.api_version.encode()) + delimited(tag(2, BYTES), gvk.kind.encode())
    return MAGIC + delimited(_TYPE_META, meta)


def envelope(gvk: GVK, message: bytes) -> bytes:
    """The body that carries a message."""
    return delimited(_head(gvk) + _RAW, message) + _NO_ENCODING


def encode(gvk: GVK, obj: Object) -> bytes:
    """The body of an object. Lists that hold objects of any kind (``v1 List``) carry them as JSON."""
    return envelope(gvk, encode_message(gvk, obj))


def encode_list(gvk: GVK, metadata: dict[str, Any], messages: Iterable[bytes]) -> bytes:
    """The body of a list out of its items' messages; ``gvk`` is the list's."""
    parts = [delimited(b"\x0a", message_encoder(f"{META}.ListMeta")(metadata))]
    parts += [delimited(b"\x12", message) for message in messages]
    return envelope(gvk, b"".join(parts))


def watch_frame(kind: str, body: bytes) -> bytes:
    """One frame of a watch: an event's type, and the body (with its magic) of its object."""
    event = delimited(b"\x0a", kind.encode()) + delimited(b"\x12", delimited(b"\x0a", body))
    return len(event).to_bytes(4, "big") + event


def decode_watch_frame(event: bytes) -> tuple[str, bytes]:
    """(type, body) of an event without its length prefix."""
    kind, body = "", b""
    for number, _, value in fields(event):
        if number == 1:
            kind = text(value)
        elif number == 2 and isinstance(value, bytes):
            for inner, _, raw in fields(value):
                if inner == 1 and isinstance(raw, bytes):
                    body = raw
    return kind, body


def decode(body: bytes) -> tuple[GVK, Object]:
    """(kind, object) of a body. Raises ProtobufError.

    The object has its apiVersion and kind, and the zero values that the sender wrote.
    """
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    meta, raw, content_type = b"", b"", ""
    for number, _, value in fields(body[4:]):
        if number == 4:
            content_type = text(value)
        elif isinstance(value, bytes):
            if number == 1:
                meta = value
            elif number == 2:
                raw = value
    gvk = _kind(meta)
    try:
        if content_type == "application/json":
            obj = orjson.loads(raw)
            if not isinstance(obj, dict):
                raise ProtobufError("json: cannot unmarshal into Go value")
        else:
            obj = decode_message(_definition(gvk), raw)
    except RecursionError as failure:
        raise ProtobufError("proto: exceeded max depth") from failure
    except orjson.JSONDecodeError as failure:
        raise ProtobufError(str(failure)) from failure
    _check_depth(gvk, raw, obj)
    return gvk, {"kind": gvk.kind, "apiVersion": gvk.api_version, **obj}


def _check_depth(gvk: GVK, raw: bytes, obj: Object) -> None:
    """What nests deeper than JSON can be written must not come in: only schemas recurse, and JSON inside messages."""
    if gvk.group == "apiextensions.k8s.io" or raw.count(b"{") + raw.count(b"[") >= MAX_DEPTH:
        try:
            orjson.dumps(obj)
        except TypeError as failure:
            raise ProtobufError("proto: exceeded max depth") from failure


def _kind(meta: bytes) -> GVK:
    api_version = kind = ""
    for number, _, value in fields(meta):
        if number == 1:
            api_version = text(value)
        elif number == 2:
            kind = text(value)
    return GVK(*parse_api_version(api_version), kind)
