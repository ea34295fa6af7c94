"""The four patches as one step: from the stored object to the wanted one.

JSON patch, merge patch and strategic merge patch change what is there; an apply merges by field ownership and settles the
managed fields itself.
"""

from __future__ import annotations

from typing import Any

import orjson

from ..api import patch as patches
from ..api.errors import (
    FieldError,
    StatusError,
    bad_request,
    go_quote,
    invalid,
    invalid_value,
    not_found,
    unsupported_media_type,
)
from ..api.meta import Object
from ..api.schema import decode, duplicate_fields
from ..api.schema.mismatch import json_kind
from .body import parse_yaml, strict_words, unknown
from .options import IGNORE, STRICT, WriteOptions
from .registry import Resource
from .request import Request, RequestInfo

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
APPLY_CBOR = "application/apply-patch+cbor"
_ALL = (JSON_PATCH, MERGE, STRATEGIC, APPLY)


def patch_type(content_type: str, *, custom: bool) -> str:
    """Raises StatusError 415. Custom resources know no strategic merge patch."""
    media = content_type.partition(";")[0].strip().lower()
    allowed = tuple(t for t in _ALL if not (custom and t == STRATEGIC))
    if media not in allowed:
        if custom:
            listed = ", ".join(allowed)
            raise unsupported_media_type(
                f"the body of the request was in an unknown format - accepted media types include: {listed}"
            )
        failure = unsupported_media_type("415: Unsupported Media Type")
        failure.details = {}
        raise failure
    return media


class Patcher:
    """One patch request; ``apply`` is called again where another writer was faster."""

    def __init__(
        self, form: str, request: Request, info: RequestInfo, resource: Resource, options: WriteOptions, now: str
    ) -> None:
        self.form = form
        self._request, self._info, self._resource, self._options, self._now = request, info, resource, options, now
        self._duplicates: list[str] = []
        self._patch = self._decode(request.body)

    def _decode(self, body: bytes) -> Any:
        if self.form == APPLY:
            value, self._duplicates = parse_yaml(body)
            if not isinstance(value, dict):
                raise bad_request(
                    f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {not_a_map(value)}"
                )
            return value
        try:
            value = decode(body)
        except StatusError as failure:
            raise bad_request(f"error decoding patch: {failure.message}") from None
        if self._options.validation != IGNORE and isinstance(value, dict):
            self._duplicates = [f'duplicate field "{p}"' for p in duplicate_fields(body, value)]
        elif self._options.validation != IGNORE and isinstance(value, list):
            self._duplicates = [f'json patch duplicate field "{p}"' for p in duplicate_fields(body, value)]
        return value

    async def apply(self, old: Object | None) -> Object:
        """The wanted object. Raises StatusError."""
        if self.form == APPLY:
            return self._apply(old)
        if old is None:
            raise not_found(self._resource.gvr.group, self._resource.gvr.resource, self._info.name)
        if self.form == JSON_PATCH:
            new = patches.json_patch(old, self._patch)
        elif not isinstance(self._patch, dict):
            prefix = "error decoding patch: " if self.form == MERGE else ""
            raise bad_request(prefix + not_a_map(self._patch))
        elif self.form == MERGE:
            new = patches.merge_patch(old, self._patch)
        else:
            new = patches.strategic_merge_patch(old, self._patch, self._resource.kind.schema)
        return self._checked(new, old)

    def _checked(self, new: Any, old: Object) -> Object:
        """The patched object, decoded as a body would be: wrong types are the patch's fault (422), unknown fields warn."""
        kind = self._resource.kind
        if not isinstance(new, dict):
            raise self._invalid(new, "the patched object is no object")
        if not kind.builtin:
            self._check_custom(new)
        try:
            result, strangers = kind.decode_noting(new)
        except StatusError as failure:
            raise self._invalid(new, failure.message) from None
        if self._options.validation != IGNORE and (strangers or self._duplicates):
            problems = self._duplicates + unknown(sorted(strangers))
            if self._options.validation == STRICT:
                raise self._invalid(new, "strict decoding error: " + ", ".join(problems))
            self._request.warnings += problems
        for field in ("apiVersion", "kind"):
            if new.get(field) != old[field]:
                raise self._invalid(new, f"{field} cannot be changed by a patch")
        result["apiVersion"], result["kind"] = old["apiVersion"], old["kind"]
        metadata = result.setdefault("metadata", {})
        if metadata.get("name") != self._info.name:
            raise bad_request(
                f"the name of the object ({metadata.get('name') or ''}) does not match the name on the URL "
                f"({self._info.name})"
            )
        if self._resource.info.namespaced and metadata.get("namespace") != self._info.namespace:
            raise bad_request(
                f"the namespace of the object ({metadata.get('namespace') or ''}) does not match the namespace on the "
                f"request ({self._info.namespace})"
            )
        kind.default(result)
        return result

    def _check_custom(self, new: Object) -> None:
        """What must be said of a custom object before its schema drops anything of it."""
        gvk, kind = self._resource.gvk, self._resource.kind
        for field, wanted in (("kind", gvk.kind), ("apiVersion", gvk.api_version)):
            given = new.get(field)
            if isinstance(given, str) and given != wanted:
                error = invalid_value(field, given, f"must be {wanted}")
                raise invalid(gvk.group, str(new.get("kind") or ""), self._info.name, [error])
        if self._options.validation == STRICT and (strangers := kind.schema.unknown_fields(new)):
            raise self._invalid(new, "strict decoding error: " + ", ".join(self._duplicates + unknown(strangers)))

    def _invalid(self, value: Any, why: str) -> StatusError:
        return invalid_patch(value, why)

    def _apply(self, old: Object | None) -> Object:
        """Server-side apply: ``old`` is None for an object that does not exist yet."""
        kind, resource, patch = self._resource.kind, self._resource, self._patch
        self._check_identity(patch)
        # Unknown fields are found when the patch is merged: there they are no matter of strictness.
        problems = self._duplicates if self._options.validation != IGNORE else []
        if problems and self._options.validation == STRICT:
            raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {strict_words(problems)}")
        self._request.warnings += problems
        new = kind.apply(
            old, patch, self._options.manager, self._info.subresource, self._now, bool(self._options.force)
        )
        if new is old:
            return new
        result: Object = kind.decode(new)
        result["apiVersion"], result["kind"] = resource.gvk.api_version, resource.gvk.kind
        metadata = result.setdefault("metadata", {})
        metadata["name"] = self._info.name
        if resource.info.namespaced:
            metadata["namespace"] = self._info.namespace
        kind.default(result)
        return result

    def _check_identity(self, patch: Object) -> None:
        gvk = self._resource.gvk
        metadata = patch.get("metadata")
        given = patch.get("apiVersion"), patch.get("kind")
        if given != (gvk.api_version, gvk.kind):
            version = str(given[0] or "/")
            raise bad_request(
                f"invalid object type: {version if '/' in version else '/' + version}, Kind={given[1] or ''}"
            )
        if isinstance(metadata, dict):
            name, namespace = metadata.get("name"), metadata.get("namespace")
            if name and name != self._info.name:
                raise bad_request(
                    f"the name of the object ({name}) does not match the name on the URL ({self._info.name})"
                )
            if namespace and self._info.namespace and namespace != self._info.namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            if metadata.get("managedFields"):
                raise bad_request("metadata.managedFields must be nil")


def invalid_patch(value: Any, why: str) -> StatusError:
    """422 for what a patch made."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    error = FieldError("patch", "FieldValueInvalid", f"Invalid value: {go_quote(text)}: {why}")
    failure = invalid("", "", "", [error])
    return StatusError(422, "Invalid", f' "" is invalid: {error}', failure.details)


def not_a_map(value: Any) -> str:
    """Go's words for JSON that is no object."""
    return f"json: cannot unmarshal {json_kind(value)} into Go value of type map[string]interface {{}}"


def patch_plain(obj: Object, form: str, patch: Any) -> Object:
    """A patch of an object that is made up for its subresource (Scale). An apply counts as a merge."""
    if form == JSON_PATCH:
        return patches.json_patch(obj, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: the patch is not an object")
    return patches.merge_patch(obj, patch)
