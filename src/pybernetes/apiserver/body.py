"""Bodies in: bytes of any accepted content type to one decoded, checked object."""

from __future__ import annotations

from typing import Any

from ..api.errors import StatusError, bad_request
from ..api.meta import Object
from ..api.resources import GVK, parse_api_version
from ..api.schema import builtin_schema, duplicate_fields
from ..api.schema import decode as decode_json
from .negotiation import JSON, YAML, input_format
from .options import IGNORE, STRICT, WriteOptions
from .registry import Resource
from .request import Request

MAX_BODY = 3 * 1024 * 1024
"""Upstream's limit for resource requests (``--max-resource-write-bytes`` does not exist; etcd's limit set it)."""


def parse(body: bytes, content_type: str, kind: str = "") -> tuple[Any, list[str]]:
    """(value, duplicate fields) of a body. Raises StatusError 400 and 415."""
    form = input_format(content_type)
    if form == JSON:
        return parse_json(body, kind)
    if form == YAML:
        return parse_yaml(body)
    return parse_protobuf(body)


def parse_json(body: bytes, kind: str = "") -> tuple[Any, list[str]]:
    try:
        value = decode_json(body)
    except StatusError as failure:
        raise bad_request(unrecognized(kind, failure.message, body)) from None
    return value, [f'duplicate field "{p}"' for p in duplicate_fields(body, value)]


def parse_yaml(body: bytes) -> tuple[Any, list[str]]:
    import yaml

    try:
        return yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), []
    except (yaml.YAMLError, ValueError, RecursionError) as failure:
        raise bad_request(f"error converting YAML to JSON: yaml: {failure}") from None


def parse_protobuf(body: bytes) -> tuple[Any, list[str]]:
    from ..wire.protobuf import ProtobufError, decode

    try:
        return decode(body)[1], []
    except ProtobufError as failure:
        raise bad_request(str(failure)) from None


def unrecognized(kind: str, why: str, body: bytes) -> str:
    """Upstream's words for a body that does not decode at all."""
    if len(body) > 64:
        summary = body[:32].decode("utf-8", "replace") + " ..."
    else:
        summary = body.decode("utf-8", "replace")
    return f"the object provided is unrecognized (must be of type {kind}): {why} ({summary})"


def unknown(paths: list[str]) -> list[str]:
    """Unknown fields in upstream's words."""
    return [f'unknown field "{path}"' for path in paths] if paths else paths


def decode_object(request: Request, resource: Resource, options: WriteOptions, kind: str = "") -> Object:
    """The object of a create or update: type-checked, unknown fields dropped with warnings or refused.

    Raises StatusError.
    """
    obj, duplicates = parse(request.body, request.headers.get("content-type", ""), resource.info.kind)
    return check_object(obj, duplicates, request, resource, options)


def check_object(
    obj: Any, duplicates: list[str], request: Request, resource: Resource, options: WriteOptions
) -> Object:
    gvk = resource.gvk
    if not isinstance(obj, dict):
        text = type(obj).__name__
        raise bad_request(
            f"the object provided is unrecognized (must be of type {gvk.kind}): couldn't get version/kind; "
            f"json parse error: json: cannot unmarshal {text} into Go value of type struct "
            '{ APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        )
    api_version, kind = obj.get("apiVersion") or gvk.api_version, obj.get("kind") or gvk.kind
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise bad_request("couldn't get version/kind; json parse error: kind and apiVersion must be strings")
    if kind != gvk.kind:
        group, version = parse_api_version(api_version)
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {gvk.kind}: '
            f"converting ({group}.{kind}) to ({gvk.group}.{gvk.kind}): unknown conversion"
        )
    if api_version != gvk.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({gvk.api_version})"
        )
    result, strangers = resource.kind.decode_noting(obj)
    if options.validation != IGNORE and (duplicates or strangers):
        problems = duplicates + unknown(strangers)
        if options.validation == STRICT:
            listed = ", ".join(problems)
            raise bad_request(
                f'{kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: strict decoding error: {listed}'
            )
        request.warnings += problems
    result["apiVersion"], result["kind"] = api_version, kind
    if not isinstance(result.get("metadata"), dict):
        result["metadata"] = {}
    return result


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
