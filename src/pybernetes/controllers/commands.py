"""What a decision may ask for. Commands are carried out in order; the first that fails ends the series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..api.meta import Object
from ..api.resources import GVR
from ..client.rest import MERGE_PATCH


@dataclass(frozen=True, slots=True)
class Create:
    gvr: GVR
    obj: Object
    unless_exists: bool = False
    """An object of that name may be there already: then nothing is done."""


@dataclass(frozen=True, slots=True)
class Update:
    """Puts the whole object; its resourceVersion guards against what we have not seen."""

    gvr: GVR
    obj: Object
    subresource: str = ""
    unless_missing: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    gvr: GVR
    namespace: str
    name: str
    patch: Any
    patch_type: str = MERGE_PATCH
    subresource: str = ""
    unless_missing: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes this very object (by its uid); one that is gone already is no failure."""

    gvr: GVR
    obj: Object
    grace_period_seconds: int | None = None
    propagation: str = ""
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Emit:
    """An event about an object."""

    obj: Object
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class CreatePods:
    """Creates pods for their owner, in batches that double as long as they succeed; each gives an event."""

    owner: Object
    pods: Sequence[Object]


@dataclass(frozen=True, slots=True)
class DeletePods:
    """Deletes pods of an owner, all at once; each gives an event."""

    owner: Object
    pods: Sequence[Object]


Command = Create | Update | Patch | Delete | Emit | CreatePods | DeletePods


@dataclass(slots=True)
class Decision:
    """Commands, and when to look again although nothing happens (seconds from now; None: not at all)."""

    commands: list[Command] = field(default_factory=list)
    after: float | None = None

    def again_in(self, seconds: float | None) -> None:
        """Of several such wishes the earliest counts."""
        if seconds is not None and (self.after is None or seconds < self.after):
            self.after = max(0.0, seconds)
