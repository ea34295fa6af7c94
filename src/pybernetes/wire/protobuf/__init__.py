"""``application/vnd.kubernetes.protobuf``: built-in kinds in the binary form that Go clients ask for.

A body is the magic ``k8s\\x00`` and a ``runtime.Unknown`` that carries apiVersion, kind and the object's message. On a
watch each frame has a four-byte length and a ``WatchEvent`` whose object is again such a body. Field numbers and types
come from ``api/data/gotypes.json.gz``; a type's encoder is compiled when it is first used.

``decode`` gives the object as the message has it: run it through ``Schema.read`` as a JSON body is, which drops the
zero values that Go writes for unset fields. ``encode`` wants an object that went through there.

Objects at rest can be kept as messages: ``encode_message`` once an object, then ``envelope`` for a GET,
``encode_list`` for a LIST and ``watch_frame`` for every watcher only join bytes.
"""

from __future__ import annotations

from .envelope import (
    MAGIC,
    decode,
    decode_watch_frame,
    encode,
    encode_list,
    encode_message,
    envelope,
    is_protobuf,
    supports,
    watch_frame,
)
from .varint import ProtobufError

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
WATCH_CONTENT_TYPE = "application/vnd.kubernetes.protobuf;stream=watch"

__all__ = [
    "CONTENT_TYPE",
    "MAGIC",
    "WATCH_CONTENT_TYPE",
    "ProtobufError",
    "decode",
    "decode_watch_frame",
    "encode",
    "encode_list",
    "encode_message",
    "envelope",
    "is_protobuf",
    "supports",
    "watch_frame",
]
