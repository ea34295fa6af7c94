"""The contract of a kind's strategy and its common behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import FieldError
from ..resources import GVR, ResourceInfo

Obj = dict[str, Any]

BACKGROUND, ORPHAN, UNSUPPORTED = "Background", "Orphan", "Unsupported"


def semantically_equal(a: Any, b: Any) -> bool:
    """Equality as the API means it: null, an empty list and an absent field are one, and so are ``""`` and absent."""
    if a is b or a == b:
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        return all(semantically_equal(a.get(k), b.get(k)) for k in a.keys() | b.keys())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(semantically_equal(x, y) for x, y in zip(a, b, strict=True))
    unset: tuple[Any, ...] = (None, [], "")
    return a in unset and b in unset


def section(obj: Obj, field: str) -> Obj:
    """The struct under ``field``, made where it is missing."""
    value = obj.get(field)
    if value is None:
        value = obj[field] = {}
    return value  # type: ignore[no-any-return]


def keep(new: Obj, old: Mapping[str, Any], field: str) -> None:
    """Puts the stored value of a field back into the new object."""
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)


def set_generation(obj: Obj, generation: int) -> None:
    metadata = section(obj, "metadata")
    if generation:
        metadata["generation"] = generation
    else:
        metadata.pop("generation", None)


def generation_of(obj: Mapping[str, Any]) -> int:
    return (obj.get("metadata") or {}).get("generation") or 0


_STATUS_METADATA = (
    "deletionTimestamp",
    "generation",
    "selfLink",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
)


def reset_metadata_for_status(new: Obj, old: Mapping[str, Any]) -> None:
    """What a status update may not change in metadata, where the kind protects it."""
    metadata = section(new, "metadata")
    for field in _STATUS_METADATA:
        keep(metadata, old.get("metadata") or {}, field)


class Strategy:
    """What a kind does to an object before it is stored. One instance a resource, without state.

    ``prepare_*`` change ``new`` in place and never ``old``; they may share parts of ``old`` with ``new``. On create the
    caller has set metadata.uid, creationTimestamp and name before. Defaults are applied before and still hold after.
    """

    allow_create_on_update = False
    allow_unconditional_update = True
    default_garbage_collection_policy = BACKGROUND
    tracks_generation = False
    """metadata.generation starts at 1 and grows whenever what ``generation_fields`` name changes."""
    generation_fields: tuple[str, ...] = ("spec",)
    has_status = False
    """The main endpoint leaves ``status`` alone: cleared on create, kept on update."""
    deprecation_warning = ""
    """A warning for every request on the resource: its API version is on its way out."""
    protects_metadata_in_status = False
    """A status update changes nothing in metadata."""

    def __init__(self, info: ResourceInfo) -> None:
        self.info = info
        self.subresources: dict[str, Strategy] = {}
        if self.has_status and "status" in info.subresources:
            self.subresources["status"] = StatusStrategy(self)

    @property
    def gvr(self) -> GVR:
        return self.info.gvr

    def empty_status(self, obj: Obj) -> Obj:
        """The status of a new object."""
        return {}

    def subresource(self, name: str) -> Strategy:
        """The strategy of updates through a subresource (status, ephemeralcontainers, resize, finalize, approval)."""
        return self.subresources[name] if name else self

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        """``user`` is the requester in the shape of ``authentication.k8s.io/v1 UserInfo``."""
        if self.has_status:
            obj["status"] = self.empty_status(obj)
        if self.tracks_generation:
            section(obj, "metadata")["generation"] = 1

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        """``now`` is the request's time as ``metav1.Time`` text."""
        if self.has_status:
            keep(new, old, "status")
        before = generation_of(old)
        if self.tracks_generation and self.changed(new, old):
            before += 1
        set_generation(new, before)

    def changed(self, new: Obj, old: Obj) -> bool:
        """Whether the update changes what generation counts."""
        return not all(semantically_equal(new.get(f), old.get(f)) for f in self.generation_fields)

    def prepare_for_status_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        self.subresource("status").prepare_for_update(new, old, now=now)

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        """What a kind adds to a status update, after the rest of the object has been put back."""

    def graceful_deletion(self, obj: Obj, options: Mapping[str, Any] | None) -> tuple[bool, int]:
        """(whether the object stays until its owner confirms, for how many seconds)."""
        return False, 0

    def warnings_on_create(self, obj: Obj) -> list[str]:
        return []

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return []

    def status_warnings(self, obj: Obj, old: Obj) -> list[str]:
        return []

    def validate_create(self, obj: Obj) -> list[FieldError]:
        from ..validation import validate_create

        return validate_create(self.info, obj)

    def validate_update(self, new: Obj, old: Obj) -> list[FieldError]:
        from ..validation import validate_update

        return validate_update(self.info, new, old)

    def validate_status_update(self, new: Obj, old: Obj) -> list[FieldError]:
        return self.subresource("status").validate_update(new, old)

    def scale_of(self, obj: Obj) -> Obj:
        """The ``autoscaling/v1 Scale`` of an object. Only resources with a scale subresource have one."""
        raise LookupError(f"{self.gvr} has no scale")

    def apply_scale(self, obj: Obj, scale: Obj) -> None:
        """Writes ``spec.replicas`` of a Scale into the object."""
        raise LookupError(f"{self.gvr} has no scale")


class SubresourceStrategy(Strategy):
    """Updates through a subresource of ``parent``."""

    name = ""

    def __init__(self, parent: Strategy) -> None:
        self.parent = parent
        super().__init__(parent.info)

    def validate_update(self, new: Obj, old: Obj) -> list[FieldError]:
        from ..validation import validate_update

        return validate_update(self.info, new, old, self.name)


class StatusStrategy(SubresourceStrategy):
    """Updates through ``/status``: everything but status (and, for most kinds, metadata) is put back."""

    name = "status"

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        for field in old.keys() | new.keys():
            if field not in ("metadata", "status", "apiVersion", "kind"):
                keep(new, old, field)
        if self.parent.protects_metadata_in_status:
            reset_metadata_for_status(new, old)
        set_generation(new, generation_of(old))
        if new.get("status") is None:
            new["status"] = {}
        self.parent.prepare_status(new, old, now)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.parent.status_warnings(obj, old)


StrategyFactory = Callable[[ResourceInfo], Strategy]
