"""What the request pipeline asks of the objects of one version of a custom resource.

Decoding, pruning, defaults, checks and ownership come from the version's schema, the rest is the same for all custom
resources. Specified by "Custom Resources" and upstream's ``registry/customresource``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...api import tables
from ...api.cel.rules import has_rules, validate_rules
from ...api.errors import FieldError, bad_request, invalid_value
from ...api.managedfields import fieldset
from ...api.managedfields.manager import ResetFields
from ...api.meta import Object
from ...api.schema import Schema
from ...api.schema.validation import validate_part
from ...api.strategy.base import set_generation
from ...api.strategy.scale import make_scale
from ...api.validation.errors import Errors
from ...api.validation.meta import (
    path_segment_name,
    subdomain_name,
    validate_object_meta,
    validate_object_meta_update,
)
from ..kinds import Fields
from ..owning import OwnedFields
from . import paths
from .definition import Definition, Version
from .finalizers import finalizer_warnings

_BLOCKING = ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")  # fmt: skip
_UNCHECKED = FieldError(
    "<nil>",
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)
_MAX_INT32 = 2**31 - 1


class CustomKind(OwnedFields):
    """One version of a custom resource (``kinds.Kind``)."""

    builtin = False
    returns_deleted = False
    allow_create_on_update = False
    allow_unconditional_update = False
    garbage_collection = "Background"

    def __init__(self, definition: Definition, version: Version) -> None:
        super().__init__(version.api_version)
        self.definition = definition
        self.version = version
        self._selectable = frozenset(p.removeprefix(".") for p in version.selectable)
        self._reset: dict[str, dict[str, fieldset.FieldSet]] = {
            "": {version.api_version: fieldset.make("status")} if version.status else {},
            "status": {version.api_version: fieldset.make("metadata", "spec")},
        }

    @property
    def slow(self) -> bool:
        return self.version.heavy

    @property
    def schema(self) -> Schema:
        return self.version.schema

    @property
    def fields(self) -> Fields | None:
        return selectable_fields(self.definition.versions)

    def check_field(self, field: str) -> None:
        known = field == "metadata.name" or (field == "metadata.namespace" and self.definition.namespaced)
        if not known and field not in self._selectable:
            raise bad_request(f"field label not supported: {field}")

    # -- decoding ---------------------------------------------------------------------------------------------------

    def decode(self, obj: Object) -> Object:
        return self.schema.read(obj)

    def decode_noting(self, obj: Object) -> tuple[Object, list[str]]:
        if failure := self.schema.decode_errors(obj):
            raise bad_request(failure)
        if self.schema.coerce_fitting(obj):
            return obj, []
        strangers = self.schema.unknown_fields(obj)
        self.schema.prune(obj)
        return obj, strangers

    def default(self, obj: Object) -> None:
        self.schema.default(obj)

    # -- ownership --------------------------------------------------------------------------------------------------

    def resets(self, subresource: str) -> ResetFields:
        return self._reset.get(subresource, {})

    def convert(self, obj: Object, api_version: str) -> tuple[Object, Schema] | None:
        """For fields that are owned in another version: the same fields there (a webhook is not asked about them)."""
        group, _, name = api_version.partition("/")
        version = self.definition.by_name.get(name)
        if version is None or group != self.definition.group:
            return None
        return {**obj, "apiVersion": api_version}, version.schema

    # -- strategy ---------------------------------------------------------------------------------------------------

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None:
        if self.version.status:
            obj.pop("status", None)
            self._default_status(obj)
        set_generation(obj, 1)

    def _default_status(self, obj: Object) -> None:
        """An object without status is read from the store with the default one."""
        status = self.schema.root.fields.get("status")
        if status is not None and status.node.default is not None and "status" not in obj:
            self.schema.default(obj)

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None:
        if subresource == "status":
            self._only_status(new, old)
            return
        if self.version.status:
            if "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
                self._default_status(new)
        changed = {k: v for k, v in new.items() if k != "metadata"} != {k: v for k, v in old.items() if k != "metadata"}
        set_generation(new, (old["metadata"].get("generation") or 0) + changed)

    @staticmethod
    def _only_status(new: Object, old: Object) -> None:
        """Everything but the status, and who owns what, stays."""
        has_status, status = "status" in new, new.get("status")
        managed = new["metadata"].get("managedFields")
        new.clear()
        new.update(old)
        new["metadata"] = {k: v for k, v in old["metadata"].items() if k != "managedFields"}
        if managed:
            new["metadata"]["managedFields"] = managed
        if has_status:
            new["status"] = status
        else:
            new.pop("status", None)

    def graceful_deletion(self, obj: Object, options: Mapping[str, Any]) -> tuple[bool, int]:
        return False, 0

    def warnings(self, new: Object, old: Object | None, subresource: str) -> list[str]:
        return finalizer_warnings(new, old)

    # -- checks -----------------------------------------------------------------------------------------------------

    def validate_create(self, obj: Object) -> list[FieldError]:
        metadata, namespaced = obj["metadata"], self.definition.namespaced
        found = self._type_errors(obj)
        if not found:
            found = validate_object_meta(metadata, namespaced, subdomain_name) + self.schema.validate(obj)
            found += self._scale_errors(obj, status_only=False)
            found += self._rule_errors(obj, None, found)
        return found or validate_object_meta(metadata, namespaced, path_segment_name)

    def validate_update(self, new: Object, old: Object, subresource: str) -> list[FieldError]:
        metadata = new["metadata"]
        found = validate_object_meta(metadata, self.definition.namespaced, path_segment_name)
        wrong = self._type_errors(new)
        if wrong:
            return found + wrong
        found += validate_object_meta_update(metadata, old["metadata"])
        if subresource == "status":
            if "status" in new:
                found += validate_part(self.schema.root, new, old, "status")
        else:
            found += self.schema.validate(new, old)
        found += self._scale_errors(new, status_only=subresource == "status")
        return found + self._rule_errors(new, old, found)

    def _type_errors(self, obj: Object) -> Errors:
        found = []
        kind, api_version = self.definition.kind, self.version.api_version
        if obj.get("kind") != kind:
            found.append(invalid_value("kind", obj.get("kind") or "", f"must be {kind}"))
        if obj.get("apiVersion") != api_version:
            found.append(invalid_value("apiVersion", obj.get("apiVersion") or "", f"must be {api_version}"))
        return found

    def _rule_errors(self, obj: Object, old: Object | None, found: Errors) -> Errors:
        if not has_rules(self.schema.root):
            return []
        if any(e.reason in _BLOCKING for e in found):
            return [_UNCHECKED]
        return validate_rules(self.schema.root, obj, old)[0]

    # -- scale ------------------------------------------------------------------------------------------------------

    def _scale_errors(self, obj: Object, *, status_only: bool) -> Errors:
        scale = self.version.scale
        if scale is None:
            return []
        found: Errors = []
        for field in ("statusReplicasPath",) if status_only else ("specReplicasPath", "statusReplicasPath"):
            found += _replicas_errors(obj, scale.get(field) or "")
        where = scale.get("labelSelectorPath")
        if where:
            try:
                paths.text(obj, where)
            except paths.WrongType as failure:
                found.append(invalid_value(where, "", str(failure)))
        return found

    def scale_of(self, obj: Object) -> Object:
        scale = self.version.scale or {}
        wanted = scale.get("specReplicasPath") or ""
        try:
            replicas = paths.integer(obj, wanted)
            current = paths.integer(obj, scale.get("statusReplicasPath") or "") or 0
            where = scale.get("labelSelectorPath") or ""
            selector = paths.text(obj, where) or "" if where else ""
        except paths.WrongType as failure:
            raise bad_request(str(failure)) from None
        found = make_scale(obj, replicas or 0, current, selector)
        found["spec"] = {} if replicas is None else {"replicas": replicas}
        return found

    @property
    def replicas_path(self) -> str:
        return (self.version.scale or {}).get("specReplicasPath") or ""

    def apply_scale(self, obj: Object, scale: Object) -> None:
        where = (self.version.scale or {}).get("specReplicasPath") or ""
        try:
            paths.put(obj, where, (scale.get("spec") or {}).get("replicas") or 0)
        except paths.WrongType as failure:
            raise bad_request(str(failure)) from None

    # -- tables -----------------------------------------------------------------------------------------------------

    def columns(self) -> list[dict[str, Any]]:
        return tables.columns_for_crd(self.version.raw)

    def row(self, obj: Object, now: float) -> dict[str, Any]:
        return {"cells": tables.row_cells_for_crd(self.version.raw, obj, now)}


def _replicas_errors(obj: Object, where: str) -> Errors:
    try:
        value = paths.integer(obj, where) or 0
    except paths.WrongType as failure:
        return [invalid_value(where, 0, str(failure))]
    if value < 0:
        return [invalid_value(where, value, "should be a non-negative integer")]
    if value > _MAX_INT32:
        return [invalid_value(where, value, f"should be less than or equal to {_MAX_INT32}")]
    return []


def selectable_fields(versions: list[Version]) -> Fields | None:
    """Reads the fields that any version lets select by."""
    found = {p.removeprefix("."): p for v in versions for p in v.selectable}
    if not found:
        return None

    def read(obj: Object) -> Mapping[str, str]:
        return {name: paths.printed(obj, where) for name, where in found.items()}

    return read


def coerced(schema: Schema, obj: Object) -> None:
    """An object that was stored under an older schema as the newer one has it, in place."""
    schema.prune(obj)
    schema.default(obj)
