"""What the pipeline must know of a kind, behind one face for built-in and custom resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..api.errors import FieldError
from ..api.meta import Object
from ..api.resources import ResourceInfo


class Kind(Protocol):
    """Decoding, defaults, rules and views of one resource in one version."""

    builtin: bool

    def decode(self, obj: Object) -> Object:
        """Types checked, unknown fields dropped. Raises StatusError 400."""
        ...

    def unknown_fields(self, obj: Object) -> list[str]: ...

    def default(self, obj: Object) -> None: ...

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None: ...

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None: ...

    def validate_create(self, obj: Object) -> list[FieldError]: ...

    def validate_update(self, new: Object, old: Object, subresource: str) -> list[FieldError]: ...

    def warnings(self, new: Object, old: Object | None) -> list[str]: ...


class PlainKind:
    """A kind of which nothing is known but its discovery entry: everything goes."""

    builtin = True

    def __init__(self, info: ResourceInfo) -> None:
        self.info = info

    def decode(self, obj: Object) -> Object:
        return obj

    def unknown_fields(self, obj: Object) -> list[str]:
        return []

    def default(self, obj: Object) -> None:
        return None

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None:
        return None

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None:
        if subresource == "status":
            status = new.get("status")
            metadata = new["metadata"]
            new.clear()
            new.update(old)
            new["metadata"] = {**old["metadata"], **{k: metadata[k] for k in ("managedFields",) if k in metadata}}
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
