"""Metadata of the built-in kinds: as of any object, and finalizers are qualified or of the few standard ones."""

from __future__ import annotations

from ..errors import invalid_value
from .errors import Errors, Obj, at, invalid_each
from .formats import qualified_name_problems
from .meta import NameRule, validate_object_meta, validate_object_meta_update

_STANDARD = ("kubernetes", "orphan", "foregroundDeletion")


def _standard(finalizer: str, path: str) -> Errors:
    if "/" in finalizer or finalizer in _STANDARD:
        return []
    return [invalid_value(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified")]


def finalizer_name(finalizer: str, path: str) -> Errors:
    """An entry of a namespace's spec.finalizers."""
    return invalid_each(path, finalizer, qualified_name_problems(finalizer)) + _standard(finalizer, path)


def _finalizers(metadata: Obj, path: str) -> Errors:
    where = at(path, "finalizers")
    return [e for i, f in enumerate(metadata.get("finalizers") or ()) for e in _standard(f, f"{where}[{i}]")]


def validate_meta(metadata: Obj, namespaced: bool, rule: NameRule, path: str = "metadata") -> Errors:
    return validate_object_meta(metadata, namespaced, rule, path) + _finalizers(metadata, path)


def validate_meta_update(new: Obj, old: Obj) -> Errors:
    """As upstream, whose kinds check metadata again after the common checks (which drop repeated messages)."""
    metadata = new.get("metadata") or {}
    return validate_object_meta_update(metadata, old.get("metadata") or {}) + _finalizers(metadata, "metadata")
