"""Bodies in: bytes of any accepted content type to one decoded, checked object."""

from __future__ import annotations

from typing import Any

from ..api.errors import StatusError, bad_request, invalid, invalid_value
from ..api.meta import Object
from ..api.resources import GVK, builtin_by_gvk, parse_api_version
from ..api.schema import builtin_schema, duplicate_fields, in_order
from ..api.schema import decode as decode_json
from ..api.schema.mismatch import json_kind
from .negotiation import JSON, YAML, input_format
from .options import IGNORE, STRICT, WriteOptions
from .registry import Resource
from .request import Request

SUMMARY = 30
"""Bytes of a body that an error shows."""
MAX_BODY = 3 * 1024 * 1024
"""Upstream's limit for resource requests (``--max-resource-write-bytes`` does not exist; etcd's limit set it)."""


def parse(body: bytes, content_type: str, kind: str = "") -> tuple[Any, list[str]]:
    """(value, duplicate fields) of a body. Raises StatusError 400 and 415."""
    form = input_format(content_type)
    if form == JSON:
        return parse_json(body, kind)
    if form == YAML:
        return parse_yaml(body, kind)
    return parse_protobuf(body, kind)


def parse_json(body: bytes, kind: str = "") -> tuple[Any, list[str]]:
    try:
        value = decode_json(body)
    except StatusError as failure:
        why = f"couldn't get version/kind; json parse error: {failure.message}"
        raise bad_request(unrecognized(kind, why, body)) from None
    return value, [f'duplicate field "{p}"' for p in duplicate_fields(body, value)]


def parse_yaml(body: bytes, kind: str = "") -> tuple[Any, list[str]]:
    from .yamls import YamlError, load

    try:
        return load(body)
    except YamlError as failure:
        raise bad_request(unrecognized(kind, str(failure), body)) from None


def parse_protobuf(body: bytes, kind: str = "") -> tuple[Any, list[str]]:
    from ..wire.protobuf import ProtobufError, decode

    try:
        return decode(body)[1], []
    except ProtobufError as failure:
        raise bad_request(unrecognized(kind, str(failure), body)) from None


def unrecognized(kind: str, why: str, body: bytes) -> str:
    """Upstream's words for a body that does not decode at all, with the beginning of it."""
    tail = " ..." if len(body) > SUMMARY else ""
    if not body:
        summary = "<empty>"
    elif body[:1] == b"{":
        summary = body[:SUMMARY].decode("utf-8", "replace") + tail
    else:
        summary = body[:SUMMARY].hex() + tail
    return f"the object provided is unrecognized (must be of type {kind}): {why} ({summary})"


def strict_words(problems: list[str]) -> str:
    """Problems in one line; those that the YAML decoder has found come together as it tells them."""
    lines = [p for p in problems if p.startswith("line ")]
    rest = [p for p in problems if not p.startswith("line ")]
    return ", ".join(["yaml: unmarshal errors:" + "".join(f"\n  {line}" for line in lines)] * bool(lines) + rest)


def unknown(paths: list[str]) -> list[str]:
    """Unknown fields in upstream's words."""
    return [f'unknown field "{path}"' for path in paths] if paths else paths


def content_type_of(request: Request) -> str:
    return request.headers.get("content-type", "")


def decode_object(request: Request, resource: Resource, options: WriteOptions, kind: str = "") -> Object:
    """The object of a create or update: type-checked, unknown fields dropped with warnings or refused.

    Raises StatusError.
    """
    obj, duplicates = parse(request.body, content_type_of(request), resource.info.kind)
    found = check_object(obj, duplicates, request, resource, options)
    if "record" in request.audit:
        # As it was sent: names and uids that are given to it later are not what its sender asked for.
        meta = found.get("metadata") or {}
        request.audit["sent"] = {k: meta[k] for k in ("namespace", "name", "uid", "resourceVersion") if meta.get(k)}
    return found


def check_object(
    obj: Any, duplicates: list[str], request: Request, resource: Resource, options: WriteOptions
) -> Object:
    gvk = resource.gvk
    if obj is None:
        obj = {}
    if not isinstance(obj, dict):
        why = f"couldn't get version/kind; json parse error: json: cannot unmarshal {json_kind(obj)} into {TYPE_META}"
        raise bad_request(unrecognized(gvk.kind, why, request.body))
    if not resource.kind.builtin and not obj.get("kind"):
        why = f"Object 'Kind' is missing in '{request.body.decode('utf-8', 'replace')}'"
        raise bad_request(unrecognized(gvk.kind, why, request.body))
    api_version, kind = obj.get("apiVersion") or gvk.api_version, obj.get("kind") or gvk.kind
    if not resource.kind.builtin:
        api_version = obj.get("apiVersion") or ""
        if kind != gvk.kind and isinstance(kind, str) and api_version == gvk.api_version:
            metadata = obj.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else ""
            raise invalid(gvk.group, kind, str(name or ""), [invalid_value("kind", kind, f"must be {gvk.kind}")])
    if api_version != gvk.api_version or kind != gvk.kind:
        raise bad_request(_other_kind(obj, api_version, kind, resource, request.body))
    try:
        result, strangers = resource.kind.decode_noting(obj)
    except StatusError as failure:
        raise bad_request(cannot_be_handled(kind, gvk.version, gvk.kind, failure.message)) from None
    if options.validation != IGNORE and (duplicates or strangers):
        problems = duplicates + unknown(strangers)
        if duplicates and strangers and resource.kind.builtin and input_format(content_type_of(request)) == JSON:
            # Typed objects are read in one go; custom ones are read first and pruned after.
            problems = in_order(request.body, strangers)
        if options.validation == STRICT:
            listed = strict_words(problems)
            raise bad_request(cannot_be_handled(kind, gvk.version, gvk.kind, f"strict decoding error: {listed}"))
        request.warnings += problems
    result["apiVersion"], result["kind"] = api_version, kind
    if not isinstance(result.get("metadata"), dict):
        result["metadata"] = {}
    return result


TYPE_META = (
    'Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)


def cannot_be_handled(kind: str, version: str, wanted: str, why: str) -> str:
    return f'{kind} in version "{version}" cannot be handled as a {wanted}: {why}'


def _other_kind(obj: Object, api_version: Any, kind: Any, resource: Resource, body: bytes) -> str:
    """What is wrong with a body of another kind or version."""
    gvk = resource.gvk
    for field, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str):
            where = f"Go struct field .{field} of type string"
            why = f"couldn't get version/kind; json parse error: json: cannot unmarshal {json_kind(value)} into {where}"
            return unrecognized(gvk.kind, why, body)
    group, version = parse_api_version(api_version)
    if GVK(group, version, kind) not in builtin_by_gvk() and resource.kind.builtin:
        why = (
            f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
        )
        return cannot_be_handled(kind, version, gvk.kind, why)
    if kind == gvk.kind or not resource.kind.builtin:
        return (
            f"the API version in the data ({api_version}) does not match the expected API version ({gvk.api_version})"
        )
    package = gvk.group.partition(".")[0] or "core"
    why = f"converting ({version}.{kind}) to ({package}.{gvk.kind}): unknown conversion"
    return cannot_be_handled(kind, version, gvk.kind, why)


def decode_fields(value: Any, gvk: GVK) -> Object:
    """A body of a kind that is not stored (Scale, Binding), checked against its schema. Raises StatusError 400."""
    if not isinstance(value, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {gvk.kind})")
    kind, api_version = value.get("kind") or gvk.kind, value.get("apiVersion") or gvk.api_version
    if kind != gvk.kind:
        raise bad_request(f"{kind} cannot be handled as a {gvk.kind}")
    if api_version != gvk.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({gvk.api_version})"
        )
    result: Object = builtin_schema(gvk).read(value)
    return result
