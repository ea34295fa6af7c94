"""Who owns which fields of one kind's objects (managedFields), the same for built-in and custom kinds.

Specified by "Server-Side Apply". Objects that are made alike have owners alike: ``remembering``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ..api.managedfields import ManagedFields
from ..api.managedfields.manager import Converter, ResetFields
from ..api.meta import Object
from ..api.schema import Schema
from .remembering import Memory, field_shape


class OwnedFields(ABC):
    """The part of a ``kinds.Kind`` that settles ownership. ``convert`` finds the fields that are owned in another version."""

    builtin: bool
    convert: Converter | None = None

    def __init__(self, api_version: str) -> None:
        self._api_version = api_version
        self._managed: Memory[list[dict[str, Any]]] = Memory()

    @property
    @abstractmethod
    def schema(self) -> Schema: ...

    @abstractmethod
    def resets(self, subresource: str) -> ResetFields:
        """What this subresource never lets a writer set, by version."""

    def manage(self, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> Object:
        shape = field_shape(new, manager, builtin=self.builtin) if old is None else None
        if shape is None:
            return self._manage(old, new, manager, subresource, now)
        known = self._managed.get(shape)
        if known is None:
            new = self._manage(old, new, manager, subresource, now)
            self._managed.put(shape, new["metadata"].get("managedFields") or [])
        elif known:
            new["metadata"]["managedFields"] = [{**entry, "time": now} for entry in known]
        return new

    def _manage(self, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> Object:
        return ManagedFields.update(
            old,
            new,
            manager=manager,
            api_version=self._api_version,
            schema=self.schema,
            now=now,
            subresource=subresource,
            reset_fields=self.resets(subresource),
            convert=self.convert,
        )

    def apply(
        self, live: Object | None, applied: Object, manager: str, subresource: str, now: str, force: bool
    ) -> Object:
        return ManagedFields.apply(
            live,
            applied,
            manager=manager,
            api_version=self._api_version,
            schema=self.schema,
            now=now,
            force=force,
            subresource=subresource,
            reset_fields=self.resets(subresource),
            convert=self.convert,
        )
