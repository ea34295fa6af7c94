"""``metadata.managedFields``: decoding, identity of managers, order, the cap on updaters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from ..times import parse_time
from . import fieldset
from .fieldset import FieldSet

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATE_MANAGERS = 10
ANCIENT = "ancient-changes"
MAX_MANAGER_LENGTH = 128


class Identity(NamedTuple):
    """What makes two entries the same manager's. Appliers have one entry whatever version they use."""

    manager: str
    operation: str
    api_version: str
    subresource: str

    @classmethod
    def of(cls, manager: str, operation: str, api_version: str, subresource: str) -> Identity:
        return cls(manager, operation, "" if operation == APPLY else api_version, subresource)

    def rank(self) -> str:
        """Upstream's identifier, by which it breaks ties."""
        fields = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.subresource:
            fields["subresource"] = self.subresource
        return orjson.dumps({k: v for k, v in fields.items() if v}).decode()

    def text(self) -> str:
        """``"kubectl" with subresource "scale" using apps/v1``."""
        text = orjson.dumps(self.manager).decode()
        if self.subresource:
            text += f" with subresource {orjson.dumps(self.subresource).decode()}"
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


@dataclass(slots=True)
class Owned:
    """One manager's fields."""

    fields: FieldSet
    api_version: str
    applied: bool
    time: str | None = None
    entry: dict[str, Any] | None = None
    """The wire form, as long as nothing changed."""


Managers = dict[Identity, Owned]


class EntryError(ValueError):
    """managedFields that cannot be decoded."""


def decode(entries: Iterable[dict[str, Any]] | None, *, trusted: bool) -> Managers:
    """``trusted`` entries are our own of before: their sets are in canonical form. Raises EntryError."""
    managers: Managers = {}
    for index, entry in enumerate(entries or ()):
        operation = entry.get("operation") or ""
        if operation not in (APPLY, UPDATE):
            raise EntryError("operation must be `Apply` or `Update`")
        api_version = entry.get("apiVersion") or ""
        if not api_version:
            raise EntryError("apiVersion must not be empty")
        kind = entry.get("fieldsType") or ""
        if not kind:
            raise EntryError(f"missing fieldsType in managed fields entry {index}")
        if kind != "FieldsV1":
            raise EntryError(f'invalid fieldsType "{kind}" in managed fields entry {index}')
        identity = Identity.of(entry.get("manager") or "", operation, api_version, entry.get("subresource") or "")
        fields = entry.get("fieldsV1")
        if not trusted:
            try:
                fields = fieldset.parse(fields)
            except ValueError as failure:
                raise EntryError(f"error decoding versioned set: {failure}") from failure
        wire = entry if trusted else None
        managers[identity] = Owned(fields or fieldset.EMPTY, api_version, operation == APPLY, entry.get("time"), wire)
    return managers


def encode(managers: Managers) -> list[dict[str, Any]]:
    """Appliers first, then by time, name, version and subresource."""
    rows = []
    for identity, owned in managers.items():
        operation = APPLY if owned.applied else UPDATE
        entry = owned.entry
        if entry is None:
            entry = {"manager": identity.manager} if identity.manager else {}
            entry |= {"operation": operation, "apiVersion": owned.api_version}
            if owned.time is not None:
                entry["time"] = owned.time
            entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned.fields}
            if identity.subresource:
                entry["subresource"] = identity.subresource
        key = (operation, seconds(owned.time), identity.manager, owned.api_version, identity.subresource)
        rows.append((key, entry))
    if len(rows) > 1:
        rows.sort(key=_first)
    return [entry for _, entry in rows]


_first = itemgetter(0)


@lru_cache(maxsize=4096)
def seconds(time: str | None) -> float:
    if not time:
        return 0
    try:
        return parse_time(time) // 1
    except ValueError:
        return 0


def cap_updaters(managers: Managers) -> None:
    """Merges the oldest updaters of a version into ``ancient-changes`` until there are few enough."""
    updaters = [identity for identity, owned in managers.items() if not owned.applied]
    count = len(updaters)
    if count <= MAX_UPDATE_MANAGERS:
        return
    updaters.sort(key=lambda i: (seconds(managers[i].time), i.rank()))
    first_of: dict[str, Identity] = {}
    for identity in updaters:
        if count <= MAX_UPDATE_MANAGERS:
            return
        owned = managers[identity]
        bucket = Identity(ANCIENT, UPDATE, owned.api_version, "")
        first = first_of.get(owned.api_version)
        if first is None:
            first_of[owned.api_version] = identity
            continue
        if bucket not in managers:
            managers[bucket] = managers.pop(first)
        fields = fieldset.ordered(fieldset.union(owned.fields, managers[bucket].fields))
        managers.pop(identity, None)
        managers[bucket] = Owned(fields, owned.api_version, False, owned.time)
        count -= 1


def manager_name(field_manager: str, user_agent: str) -> str:
    """The manager of a request: its fieldManager, or the first word of its User-Agent without the version."""
    if field_manager:
        return field_manager
    name = user_agent.split("/", 1)[0]
    kept = "".join(c for c in name if c.isprintable())
    return kept.encode()[:MAX_MANAGER_LENGTH].decode("utf-8", "ignore")
