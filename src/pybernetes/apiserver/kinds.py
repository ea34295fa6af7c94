"""What the pipeline must know of a kind, behind one face for built-in and custom resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..api.errors import FieldError
from ..api.meta import Object
from ..api.resources import ResourceInfo
from ..api.schema import Schema, builtin_schema

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


class Kind(Protocol):
    """Decoding, defaults, rules and views of one resource in one version."""

    builtin: bool
    returns_deleted: bool
    allow_create_on_update: bool
    allow_unconditional_update: bool
    garbage_collection: str
    """Background, Orphan or Unsupported: what a deletion without a policy means."""

    @property
    def schema(self) -> Schema: ...

    def decode(self, obj: Object) -> Object:
        """Types checked, unknown fields dropped. Raises StatusError 400."""
        ...

    def decode_errors(self, obj: Object) -> str | None: ...

    def unknown_fields(self, obj: Object) -> list[str]: ...

    def default(self, obj: Object) -> None: ...

    def manage(self, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> None:
        """Settles who owns the fields that a write (no apply) set."""
        ...

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None: ...

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None: ...

    def validate_create(self, obj: Object) -> list[FieldError]: ...

    def validate_update(self, new: Object, old: Object, subresource: str) -> list[FieldError]: ...

    def warnings(self, new: Object, old: Object | None) -> list[str]: ...

    def graceful_deletion(self, obj: Object, options: Mapping[str, Any]) -> tuple[bool, int]: ...


class BuiltinKind:
    """A built-in kind. The parts are made when they are first needed: most processes use few kinds."""

    builtin = True

    def __init__(self, info: ResourceInfo) -> None:
        self.info = info
        self.returns_deleted = info.gvr.resource in RETURNS_DELETED
        self._schema: Schema | None = None
        self.allow_create_on_update = False
        self.allow_unconditional_update = True
        self.garbage_collection = "Background"

    @property
    def schema(self) -> Schema:
        if self._schema is None:
            self._schema = builtin_schema(self.info.gvk)
        return self._schema

    def decode(self, obj: Object) -> Object:
        return self.schema.read(obj)

    def decode_errors(self, obj: Object) -> str | None:
        return self.schema.decode_errors(obj)

    def unknown_fields(self, obj: Object) -> list[str]:
        return self.schema.unknown_fields(obj)

    def default(self, obj: Object) -> None:
        return None

    def manage(self, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> None:
        return None

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None:
        return None

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None:
        if subresource == "status":
            status, metadata = new.get("status"), new["metadata"]
            new.clear()
            new.update(old)
            new["metadata"] = {**old["metadata"], **{k: metadata[k] for k in ("managedFields",) if k in metadata}}
            new["metadata"].pop("resourceVersion", None)
            if status is not None:
                new["status"] = status
        elif "status" in self.info.subresources and "status" in old:
            new["status"] = old["status"]

    def validate_create(self, obj: Object) -> list[FieldError]:
        return []

    def validate_update(self, new: Object, old: Object, subresource: str) -> list[FieldError]:
        return []

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return []

    def graceful_deletion(self, obj: Object, options: Mapping[str, Any]) -> tuple[bool, int]:
        return False, 0
