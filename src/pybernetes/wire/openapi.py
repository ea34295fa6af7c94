"""OpenAPI v2 documents in the binary form that older kubectl and client libraries ask for.

The messages are those of ``openapi.v2.Document`` (gnostic); what has no message of its own (defaults, extensions) is carried as
YAML, which JSON is. Parts of a document may be encoded apart and joined: readers merge them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import orjson

from .protobuf.varint import BYTES, FIXED64, VARINT, delimited, tag, varint

CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

Json = Mapping[str, Any]
Fields = dict[str, tuple[int, str]]
EXTENSIONS = "x-"
"""The pseudo field of everything that begins like this."""


def _numbered(kinds: str, start: int = 1) -> Fields:
    """``name:kind name:kind ...`` numbered in their order."""
    pairs = (pair.partition(":") for pair in kinds.split())
    return {name: (number, kind) for number, (name, _, kind) in enumerate(pairs, start)}


_VALUE = (
    "default:any maximum:double exclusiveMaximum:bool minimum:double exclusiveMinimum:bool maxLength:int minLength:int "
    "pattern:text maxItems:int minItems:int uniqueItems:bool enum:any* multipleOf:double"
)
_PLAIN = f"type:text format:text items:Primitive collectionFormat:text {_VALUE}"
_PARAMETER = f"required:bool in:text description:text name:text {_PLAIN} x-:extensions"
_QUERY = f"required:bool in:text description:text name:text allowEmptyValue:bool {_PLAIN} x-:extensions"
MESSAGES: dict[str, Fields] = {
    "Document": _numbered(
        "swagger:text info:Info host:text basePath:text schemes:text* consumes:text* produces:text* paths:Paths "
        "definitions:Definitions parameters:none responses:none security:Requirement* securityDefinitions:Securities"
    ),
    "Info": _numbered("title:text version:text description:text termsOfService:text"),
    "Item": _numbered(
        "$ref:text get:Operation put:Operation post:Operation delete:Operation options:Operation head:Operation "
        "patch:Operation parameters:parameter* x-:extensions"
    ),
    "Operation": _numbered(
        "tags:text* summary:text description:text externalDocs:none operationId:text produces:text* consumes:text* "
        "parameters:parameter* responses:Responses schemes:text* deprecated:bool security:Requirement* x-:extensions"
    ),
    "Response": _numbered("description:text schema:item headers:none examples:none x-:extensions"),
    "Body": _numbered("description:text name:text in:text required:bool schema:Schema x-:extensions"),
    "Query": _numbered(_QUERY),
    "Other": _numbered(_PARAMETER),
    "Primitive": _numbered(f"{_PLAIN} x-:extensions"),
    "ApiKey": _numbered("type:text name:text in:text description:text x-:extensions"),
    "Schema": _numbered(
        "$ref:text format:text title:text description:text default:any multipleOf:double maximum:double "
        "exclusiveMaximum:bool minimum:double exclusiveMinimum:bool maxLength:int minLength:int pattern:text maxItems:int "
        "minItems:int uniqueItems:bool maxProperties:int minProperties:int required:text* enum:any* "
        "additionalProperties:additional type:texts items:items allOf:Schema* properties:Definitions discriminator:text "
        "readOnly:bool xml:none externalDocs:none example:any x-:extensions"
    ),
}
_LOCATIONS = {"header": (1, "Other"), "formData": (2, "Query"), "query": (3, "Query"), "path": (4, "Other")}


def encode(document: Json) -> bytes:
    """A document, or the ``paths`` and ``definitions`` of a part of one."""
    return _message("Document", document)


def _message(name: str, value: Json) -> bytes:
    fields = MESSAGES[name]
    # In the order of their numbers, as Go writes them.
    known = [(fields[key], item) for key, item in value.items() if key in fields]
    known.sort(key=lambda pair: pair[0][0])
    parts = [_field(number, kind, item) for (number, kind), item in known]
    extensions = fields.get(EXTENSIONS)
    if extensions is not None:
        parts += [
            _bytes(extensions[0], _named(key, _any(item))) for key, item in value.items() if key.startswith(EXTENSIONS)
        ]
    return b"".join(parts)


def _bytes(number: int, data: bytes) -> bytes:
    return delimited(tag(number, BYTES), data)


def _text(number: int, value: Any) -> bytes:
    return _bytes(number, str(value).encode("utf-8", "replace"))


def _any(value: Any) -> bytes:
    return _text(2, orjson.dumps(value).decode() + "\n")


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _bytes(2, value)


def _field(number: int, kind: str, value: Any) -> bytes:
    if kind.endswith("*"):
        return b"".join([_field(number, kind[:-1], item) for item in value or ()])
    if kind in MESSAGES:
        return _bytes(number, _message(kind, value))
    return _SCALARS[kind](number, value)


def _bool(number: int, value: Any) -> bytes:
    return tag(number, VARINT) + b"\x01" if value else b""


def _int(number: int, value: Any) -> bytes:
    return tag(number, VARINT) + varint(int(value))


def _double(number: int, value: Any) -> bytes:
    return tag(number, FIXED64) + struct.pack("<d", float(value))


def _parameter(number: int, value: Json) -> bytes:
    if "$ref" in value:
        return _bytes(number, _bytes(2, _text(1, value["$ref"])))
    if value.get("in") == "body":
        return _bytes(number, _bytes(1, _bytes(1, _message("Body", value))))
    where, message = _LOCATIONS[value.get("in") or "query"]
    return _bytes(number, _bytes(1, _bytes(2, _bytes(where, _message(message, value)))))


def _paths(number: int, value: Json) -> bytes:
    return _bytes(number, b"".join([_bytes(2, _named(k, _message("Item", v))) for k, v in value.items()]))


def _definitions(number: int, value: Json) -> bytes:
    return _bytes(number, b"".join([_bytes(1, _named(k, _message("Schema", v))) for k, v in value.items()]))


def _responses(number: int, value: Json) -> bytes:
    return _bytes(
        number, b"".join([_bytes(1, _named(k, _bytes(1, _message("Response", v)))) for k, v in value.items()])
    )


def _requirement(number: int, value: Json) -> bytes:
    named = [_bytes(1, _named(k, b"".join([_text(1, scope) for scope in v]))) for k, v in value.items()]
    return _bytes(number, b"".join(named))


def _securities(number: int, value: Json) -> bytes:
    return _bytes(number, b"".join([_bytes(1, _named(k, _bytes(2, _message("ApiKey", v)))) for k, v in value.items()]))


def _additional(number: int, value: Any) -> bytes:
    if isinstance(value, bool):
        return _bytes(number, tag(2, VARINT) + (b"\x01" if value else b"\x00"))
    return _bytes(number, _bytes(1, _message("Schema", value)))


def _texts(number: int, value: Any) -> bytes:
    values = value if isinstance(value, list) else [value]
    return _bytes(number, b"".join([_text(1, v) for v in values]))


_SCALARS = {
    "text": _text,
    "bool": _bool,
    "int": _int,
    "double": _double,
    "any": lambda number, value: _bytes(number, _any(value)),
    "extensions": lambda number, value: b"",
    "none": lambda number, value: b"",
    "parameter": _parameter,
    "Paths": _paths,
    "Definitions": _definitions,
    "Responses": _responses,
    "Requirement": _requirement,
    "Securities": _securities,
    "additional": _additional,
    "texts": _texts,
    "item": lambda number, value: _bytes(number, _bytes(1, _message("Schema", value))),
    "items": lambda number, value: _bytes(number, _bytes(1, _message("Schema", value))),
}
