"""The schema engine: one for built-in and custom resources.

``builtin_schema(gvk)`` and ``compile_structural(schema)`` give a ``Schema``; everything that has to know the shape of an
object (decoding, strict field validation, defaults, patches, server-side apply, OpenAPI) asks it. Wire objects stay plain
dicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from .. import errors
from ..errors import FieldError
from ..meta import Object
from ..resources import GVK
from . import mismatch, reading, structural
from .builtin import OBJECT_META, definition_name, node_of
from .node import Field, Node, StructType
from .strict import decode, duplicate_fields, in_order, strict_decode

__all__ = [
    "Field",
    "Node",
    "Schema",
    "StructType",
    "builtin_schema",
    "compile_structural",
    "decode",
    "duplicate_fields",
    "in_order",
    "strict_decode",
    "warm_up",
]

_TOO_DEEP = "json: exceeded max depth"


class Schema:
    """The compiled schema of one kind in one version. Immutable and safe to share."""

    __slots__ = ("_definition", "builtin", "definition", "gvk", "root", "validator")

    def __init__(self, root: Node, gvk: GVK | None = None, definition: str = "") -> None:
        self.root = root
        self.gvk = gvk
        self.builtin = bool(definition)
        self.definition = definition
        """Name of the OpenAPI definition of a built-in kind."""
        self.validator: Any = None

    def at(self, path: Iterable[str | int]) -> Node | None:
        """The node at a path (strings are keys, integers go into lists); None where the schema knows nothing."""
        return self.root.at(path)

    def decode_errors(self, obj: Any) -> str | None:
        """Upstream's words for the first wrong type, None for an object that decodes.

        Custom resources have no Go type: only their root and metadata are checked, the rest is ``validate``'s.
        """
        try:
            if self.builtin:
                if self._reads(obj):
                    return None
                return mismatch.decode_error(self.root, obj)
            if not isinstance(obj, dict):
                return mismatch.cannot_unmarshal(mismatch.json_kind(obj), "map[string]interface {}", "", ())
            node = node_of("io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata")
            failure = mismatch.decode_error(node, {k: obj[k] for k in ("apiVersion", "kind") if k in obj})
            if "metadata" in obj and obj["metadata"] is not None:
                failure = failure or mismatch.decode_error(node_of(OBJECT_META), obj["metadata"])
            return failure or self._embedded_error(obj)
        except RecursionError:
            return _TOO_DEEP

    def _embedded_error(self, obj: Any) -> str | None:
        from .embedded import coercion_error

        return coercion_error(self.root, obj, "")

    def _reads(self, obj: Any) -> bool:
        try:
            reading.value_reader(self.root)(obj)
        except reading.Mismatch:
            return False
        return True

    def read(self, obj: Any) -> Object:
        """Type check and ``prune`` of a built-in object in one pass, as a new object.

        Raises a 400 with upstream's words (``json: cannot unmarshal ...``); custom resources are pruned in place.
        """
        try:
            if not self.builtin:
                if failure := self.decode_errors(obj):
                    raise errors.bad_request(failure)
                self.prune(obj)
                return obj  # type: ignore[no-any-return]
            return reading.value_reader(self.root)(obj)  # type: ignore[no-any-return]
        except reading.Mismatch:
            raise errors.bad_request(mismatch.decode_error(self.root, obj) or "json: cannot unmarshal") from None
        except RecursionError:
            raise errors.bad_request(_TOO_DEEP) from None

    def read_noting(self, obj: Any) -> tuple[Object, list[str]]:
        """``read`` and ``unknown_fields`` in one pass over what has no unknown fields."""
        reading.Seen.unknown = False
        new = self.read(obj)
        return new, self.unknown_fields(obj) if reading.Seen.unknown or not self.builtin else []

    def unknown_fields(self, obj: Any) -> list[str]:
        """Paths that strict field validation reports as ``unknown field "spec.foo"``."""
        try:
            if self.builtin:
                return mismatch.unknown_fields(self.root, obj)
            return structural.unknown_fields(self.root, obj)
        except RecursionError:
            raise errors.bad_request(_TOO_DEEP) from None

    def prune(self, obj: Object) -> None:
        """Drops unknown fields in place; built-in objects come out as Go's round trip leaves them."""
        if self.builtin:
            new = self.read(obj)
            obj.clear()
            obj.update(new)
            return
        try:
            structural.prune(self.root, obj)
        except RecursionError:
            raise errors.bad_request(_TOO_DEEP) from None

    def coerce_fitting(self, obj: Object) -> bool:
        """Does what ``prune`` does to a custom resource that has nothing to drop; False where there is something."""
        try:
            metadata = obj.get("metadata")
            if metadata is not None and mismatch.unknown_fields(node_of(OBJECT_META), metadata):
                return False
            return structural.fits(self.root, obj) and structural.coerce_embedded(self.root, obj)
        except RecursionError:
            raise errors.bad_request(_TOO_DEEP) from None

    def default(self, obj: Object) -> None:
        """Structural defaults of a CRD, in place. (Defaults of built-in kinds are code of the API server.)"""
        if not self.builtin:
            structural.apply_defaults(self.root, obj)

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """OpenAPI validation of a custom resource; with ``old``, what did not change is not held against the update."""
        if self.builtin:
            return []
        from .validation import validate

        return validate(self.root, obj, old)


@cache
def builtin_schema(gvk: GVK) -> Schema:
    """The schema of a built-in kind. Raises KeyError for kinds that v1.36 does not have."""
    name = definition_name(gvk)
    if name is None:
        raise KeyError(str(gvk))
    return Schema(node_of(name), gvk, name)


def warm_up(schema: Schema) -> None:
    """Compiles what a custom resource's schema compiles when it is first needed: its checks and its rules."""
    from ..cel.rules import compile_rules
    from .validation import validate

    validate(schema.root, {})
    structural.has_defaults(schema.root)
    compile_rules(schema.root)


def compile_structural(openapi_v3: Mapping[str, Any], gvk: GVK | None = None) -> Schema:
    """The schema of a custom resource out of ``spec.versions[].schema.openAPIV3Schema``."""
    return Schema(structural.compile_root(openapi_v3), gvk)
