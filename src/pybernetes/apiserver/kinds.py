"""What the pipeline must know of a kind, behind one face for built-in and custom resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..api import tables
from ..api.defaults import apply_defaults
from ..api.errors import FieldError, bad_request
from ..api.fields import METADATA_FIELDS, check_field, field_value, supported_fields
from ..api.managedfields import ManagedFields
from ..api.meta import Object
from ..api.resources import ResourceInfo
from ..api.schema import Schema, builtin_schema
from ..api.selectors import SelectorError
from ..api.strategy import Strategy, strategy_for

RETURNS_DELETED = frozenset(
    [
        "pods",
        "services",
        "serviceaccounts",
        "namespaces",
        "persistentvolumes",
        "persistentvolumeclaims",
        "podtemplates",
        "resourcequotas",
        "csidrivers",
        "csinodes",
        "storageclasses",
        "volumeattachments",
        "volumeattributesclasses",
        "resourceclaims",
        "resourceclaimtemplates",
        "resourceslices",
        "deviceclasses",
        "devicetaintrules",
    ]
)
"""Resources whose deletion answers with the last state in place of a Status."""

Fields = Callable[[Object], Mapping[str, str]]


class Kind(Protocol):
    """Decoding, defaults, rules and views of one resource in one version."""

    builtin: bool
    returns_deleted: bool

    @property
    def allow_create_on_update(self) -> bool: ...

    @property
    def allow_unconditional_update(self) -> bool: ...

    @property
    def garbage_collection(self) -> str:
        """Background, Orphan or Unsupported: what a deletion without a policy means."""
        ...

    @property
    def schema(self) -> Schema: ...

    @property
    def fields(self) -> Fields | None:
        """Reads the selectable fields beside name and namespace."""
        ...

    def check_field(self, field: str) -> None:
        """Raises StatusError 400 where the field cannot be selected by."""
        ...

    def decode(self, obj: Object) -> Object:
        """Types checked, unknown fields dropped. Raises StatusError 400."""
        ...

    def decode_errors(self, obj: Object) -> str | None: ...

    def unknown_fields(self, obj: Object) -> list[str]: ...

    def default(self, obj: Object) -> None: ...

    def manage(self, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> Object:
        """Settles who owns the fields that a write (no apply) set."""
        ...

    def apply(
        self, live: Object | None, applied: Object, manager: str, subresource: str, now: str, force: bool
    ) -> Object:
        """Server-side apply. Raises StatusError 409."""
        ...

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None: ...

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None: ...

    def validate_create(self, obj: Object) -> list[FieldError]: ...

    def validate_update(self, new: Object, old: Object, subresource: str) -> list[FieldError]: ...

    def warnings(self, new: Object, old: Object | None, subresource: str) -> list[str]: ...

    def graceful_deletion(self, obj: Object, options: Mapping[str, Any]) -> tuple[bool, int]: ...

    def columns(self) -> list[dict[str, Any]]:
        """The column definitions of a Table."""
        ...

    def row(self, obj: Object, now: float) -> dict[str, Any]:
        """A Table's row without its object."""
        ...

    def scale_of(self, obj: Object) -> Object: ...

    def apply_scale(self, obj: Object, scale: Object) -> None: ...


class BuiltinKind:
    """A built-in kind. The parts are made when they are first needed: most processes use few kinds."""

    builtin = True

    def __init__(self, info: ResourceInfo) -> None:
        self.info = info
        self.returns_deleted = info.gvr.resource in RETURNS_DELETED
        self._schema: Schema | None = None
        self._strategy: Strategy | None = None

    @property
    def schema(self) -> Schema:
        if self._schema is None:
            self._schema = builtin_schema(self.info.gvk)
        return self._schema

    @property
    def strategy(self) -> Strategy:
        if self._strategy is None:
            self._strategy = strategy_for(self.info.gvr)
        return self._strategy

    @property
    def allow_create_on_update(self) -> bool:
        return self.strategy.allow_create_on_update

    @property
    def allow_unconditional_update(self) -> bool:
        return self.strategy.allow_unconditional_update

    @property
    def garbage_collection(self) -> str:
        return self.strategy.default_garbage_collection_policy

    @property
    def fields(self) -> Fields | None:
        gvr = self.info.gvr
        names = tuple(supported_fields(gvr) - METADATA_FIELDS)
        if not names:
            return None

        def read(obj: Object) -> Mapping[str, str]:
            return {name: value for name in names if (value := field_value(gvr, obj, name))}

        return read

    def check_field(self, field: str) -> None:
        try:
            check_field(self.info.gvr, field)
        except SelectorError as failure:
            raise bad_request(str(failure)) from None

    def decode(self, obj: Object) -> Object:
        return self.schema.read(obj)

    def decode_errors(self, obj: Object) -> str | None:
        return self.schema.decode_errors(obj)

    def unknown_fields(self, obj: Object) -> list[str]:
        return self.schema.unknown_fields(obj)

    def default(self, obj: Object) -> None:
        apply_defaults(self.info.gvk, obj)

    def manage(self, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> Object:
        return ManagedFields.update(
            old,
            new,
            manager=manager,
            api_version=self.info.gvk.api_version,
            schema=self.schema,
            now=now,
            subresource=subresource,
        )

    def apply(
        self, live: Object | None, applied: Object, manager: str, subresource: str, now: str, force: bool
    ) -> Object:
        return ManagedFields.apply(
            live,
            applied,
            manager=manager,
            api_version=self.info.gvk.api_version,
            schema=self.schema,
            now=now,
            force=force,
            subresource=subresource,
        )

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None:
        self.strategy.prepare_for_create(obj, user=user)

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None:
        self._for(subresource).prepare_for_update(new, old, now=now)

    def _for(self, subresource: str) -> Strategy:
        """The strategy of a subresource; scale and binding change the object as its main endpoint does."""
        return self.strategy.subresources.get(subresource) or self.strategy

    def validate_create(self, obj: Object) -> list[FieldError]:
        return self.strategy.validate_create(obj)

    def validate_update(self, new: Object, old: Object, subresource: str) -> list[FieldError]:
        return self._for(subresource).validate_update(new, old)

    def warnings(self, new: Object, old: Object | None, subresource: str) -> list[str]:
        if old is None:
            return self.strategy.warnings_on_create(new)
        return self._for(subresource).warnings_on_update(new, old)

    def graceful_deletion(self, obj: Object, options: Mapping[str, Any]) -> tuple[bool, int]:
        return self.strategy.graceful_deletion(obj, options)

    def columns(self) -> list[dict[str, Any]]:
        return tables.columns(self.info.gvk)

    def row(self, obj: Object, now: float) -> dict[str, Any]:
        row: dict[str, Any] = {"cells": tables.row_cells(self.info.gvk, obj, now)}
        conditions = tables.row_conditions(self.info.gvk, obj)
        if conditions:
            row["conditions"] = conditions
        return row

    def scale_of(self, obj: Object) -> Object:
        return self.strategy.scale_of(obj)

    def apply_scale(self, obj: Object, scale: Object) -> None:
        self.strategy.apply_scale(obj, scale)
