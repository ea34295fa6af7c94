"""Updating ownership after a write, and merging what is applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from .. import errors
from ..errors import StatusError
from ..meta import Object, annotations_of, metadata, name_of, namespace_of
from ..schema import Schema
from ..schema.node import LIST, MAP, STRUCT, Node
from ..schema.reading import zero_of
from ..times import to_time
from . import entries, fieldset, typed
from .entries import APPLY, UPDATE, EntryError, Identity, Managers, Owned
from .fieldset import EMPTY, FieldSet, Path
from .typed import Comparison

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MAX_ANNOTATIONS = 256 * 1024
_BEFORE_FIRST_APPLY = "before-first-apply"
_STRIPPED = fieldset.make(
    "apiVersion",
    "kind",
    "metadata",
    *(
        ("metadata", name)
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)
"""Fields that nobody owns."""

Converter = Callable[[Object, str], "tuple[Object, Schema] | None"]
"""(object, apiVersion) -> the object in that version with its schema, None where the version is gone."""
ResetFields = Mapping[str, FieldSet]
"""By apiVersion: fields that a request through this (sub)resource cannot change and so does not own."""


def without_managed_fields(obj: Object) -> Object:
    """A shallow copy without ``metadata.managedFields``."""
    meta = obj.get("metadata")
    if not meta or "managedFields" not in meta:
        return obj
    return {**obj, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}


def _with_managed_fields(obj: Object, managed: list[dict[str, Any]]) -> Object:
    meta = {k: v for k, v in (obj.get("metadata") or {}).items() if k != "managedFields"}
    if managed:
        meta["managedFields"] = managed
    return {**obj, "metadata": meta}


def is_reset(managed: Any) -> bool:
    """Whether a request asks to forget all managers: an empty list, or one empty entry."""
    return isinstance(managed, list) and (not managed or managed == [{}])


def keep_timestamps(new: Object, old: Object) -> Object:
    """``old``'s managedFields where nothing but their times differs, so that the write can be skipped."""
    mine, before = metadata(new).get("managedFields"), metadata(old).get("managedFields")
    if mine is None or before is None or mine == before or len(mine) != len(before):
        return new
    plain = [{k: v for k, v in entry.items() if k != "time"} for entry in mine]
    if plain != [{k: v for k, v in entry.items() if k != "time"} for entry in before]:
        return new
    if without_managed_fields(new) != without_managed_fields(old):
        return new
    return _with_managed_fields(new, before)


class _Conflict(Exception):
    """Fields of other managers that an apply without force would change."""

    def __init__(self, conflicts: dict[Identity, FieldSet]) -> None:
        super().__init__("conflict")
        self.conflicts = conflicts


class ManagedFields:
    """The two operations. All arguments are values; nothing is mutated."""

    @staticmethod
    def update(
        old: Object | None,
        new: Object,
        *,
        manager: str,
        api_version: str,
        schema: Schema,
        now: float | str,
        operation: str = UPDATE,
        subresource: str = "",
        reset_fields: ResetFields | None = None,
        convert: Converter | None = None,
    ) -> Object:
        """``new`` with the managedFields that follow from writing it over ``old`` (None for a create).

        managedFields in ``new`` that differ from the live ones are a request to change them, except through a
        subresource. What cannot be decoded is ignored in favour of the live ones.
        """
        live = old if old is not None else _empty(schema, new)
        job = _Job(schema, api_version, reset_fields or {}, convert)
        before, sent = metadata(live).get("managedFields"), metadata(new).get("managedFields")
        mine = job.compare(live, new, api_version) or Comparison()
        if before and (sent is None or subresource or sent == before) and job.nothing(mine, before):
            return new if sent is before else _with_managed_fields(new, before)
        managers = _live_or_new(live, new, subresource)
        if old is not None and not managers:
            return _with_managed_fields(new, [])
        me = Identity.of(manager or "unknown", operation, api_version, subresource)
        managers = job.update(live, new, managers, me, now, mine)
        return _with_managed_fields(new, entries.encode(managers))

    @staticmethod
    def apply(
        live: Object | None,
        applied: Object,
        *,
        manager: str,
        api_version: str,
        schema: Schema,
        now: float | str,
        force: bool = False,
        subresource: str = "",
        reset_fields: ResetFields | None = None,
        convert: Converter | None = None,
    ) -> Object:
        """The live object (None: there is none yet) merged with an applied configuration.

        The caller decodes and defaults the result. Gives ``live`` itself where neither the object nor its managers
        changed. Raises 409 with the conflicts, 400 for a configuration that does not fit.
        """
        _check_applied(applied, api_version, schema)
        start = live if live is not None else _empty(schema, applied)
        try:
            managers = entries.decode(metadata(start).get("managedFields"), trusted=True)
        except EntryError as failure:
            raise errors.bad_request(f"failed to decode managed fields: {failure}") from failure
        job = _Job(schema, api_version, reset_fields or {}, convert)
        bare = without_managed_fields(start)
        if not managers and live is not None:
            me = Identity.of(_BEFORE_FIRST_APPLY, UPDATE, api_version, subresource)
            nothing = _empty(schema, applied)
            mine = job.compare(nothing, bare, api_version) or Comparison()
            managers = job.update(nothing, bare, managers, me, now, mine)
        me = Identity.of(manager, APPLY, api_version, subresource)
        merged, managers = _apply_with_last_applied(job, bare, applied, managers, me, _time_text(now), force)
        if merged is not None and manager == "kubectl" and annotations_of(merged).get(LAST_APPLIED):
            merged = _with_last_applied(merged, applied)
        encoded = entries.encode(managers)
        if merged is None and live is not None and encoded == metadata(live).get("managedFields"):
            return live
        return _with_managed_fields(merged if merged is not None else bare, encoded)


def _empty(schema: Schema, like: Object) -> Object:
    """The object before it was created: what Go makes of no JSON at all."""
    if schema.builtin:
        zero: Object = zero_of(schema.root)
        return zero
    return {"apiVersion": like.get("apiVersion"), "kind": like.get("kind")}


def _live_or_new(live: Object, new: Object, subresource: str) -> Managers:
    """The managers to start from, as far as the request may set them itself."""
    before, sent = metadata(live).get("managedFields"), metadata(new).get("managedFields")
    if not subresource and sent != before and sent is not None:
        if is_reset(sent):
            return {}
        try:
            managers = entries.decode(sent, trusted=False)
        except EntryError:
            managers = {}
        if managers:
            return managers
    try:
        return entries.decode(before, trusted=True)
    except EntryError:
        return {}


def _time_text(now: float | str) -> str:
    """``now`` is a moment of a clock, or already its text."""
    return now if isinstance(now, str) else _second_text(int(now // 1))


@lru_cache(maxsize=256)
def _second_text(second: int) -> str:
    return to_time(second)


class _Job:
    """One operation on one object."""

    __slots__ = ("_convert", "api_version", "reset", "schema")

    def __init__(self, schema: Schema, api_version: str, reset: ResetFields, convert: Converter | None) -> None:
        self.schema = schema
        self.api_version = api_version
        self.reset = reset
        self._convert = convert

    def convert(self, obj: Object, api_version: str) -> tuple[Object, Schema] | None:
        if api_version == self.api_version:
            return obj, self.schema
        if self._convert is None:
            # without a converter all versions are taken to have the same shape
            return {**obj, "apiVersion": api_version}, self.schema
        return self._convert(obj, api_version)

    def compare(self, old: Object, new: Object, api_version: str) -> Comparison | None:
        """None where the version is gone."""
        left, right = self.convert(old, api_version), self.convert(new, api_version)
        if left is None or right is None:
            return None
        result = typed.compare(right[1].root, without_managed_fields(left[0]), without_managed_fields(right[0]))
        reset = self.reset.get(api_version)
        if reset:
            result.added = fieldset.recursive_difference(result.added, reset)
            result.modified = fieldset.recursive_difference(result.modified, reset)
            result.removed = fieldset.recursive_difference(result.removed, reset)
        return result

    def nothing(self, mine: Comparison, managed: list[dict[str, Any]]) -> bool:
        """Whether a write changes no field that anyone could own."""
        if mine.added or mine.modified or mine.removed:
            return False
        return self._convert is None or all(e.get("apiVersion") == self.api_version for e in managed)

    def update(
        self, old: Object, new: Object, managers: Managers, me: Identity, now: float | str, mine: Comparison
    ) -> Managers:
        original = managers.get(me)
        managers = self._reconcile(old, managers)
        previous = managers.pop(me, None)
        managers, _ = self._take(old, new, managers, None, mine)
        changed = fieldset.difference(mine.added, _STRIPPED)
        in_order = not mine.modified
        if not in_order:
            changed = fieldset.union(fieldset.difference(mine.modified, _STRIPPED), changed)
        kept = fieldset.difference(previous.fields, mine.removed) if previous is not None else EMPTY
        if changed:
            fields = fieldset.union(changed, kept)
            if original is not None and fields == original.fields:
                fields = original.fields
            elif kept or not in_order:
                fields = fieldset.ordered(fields)
            managers[me] = Owned(fields, self.api_version, False, _time_text(now))
        elif previous is not None and kept:
            same = kept is previous.fields
            managers[me] = previous if same else Owned(kept, previous.api_version, previous.applied, previous.time)
        if len(managers) > entries.MAX_UPDATE_MANAGERS:
            entries.cap_updaters(managers)
        return managers

    def _reconcile(self, live: Object, managers: Managers) -> Managers:
        """Follows changes of a CRD's list and map types; built-in schemas do not change under a running server."""
        if self.schema.builtin:
            return dict(managers)
        kept: Managers = {}
        for identity, owned in managers.items():
            version = self.convert(live, owned.api_version)
            if version is None:
                continue
            fields = reconcile(version[1].root, owned.fields)
            same = fields is owned.fields
            kept[identity] = owned if same else Owned(fields, owned.api_version, owned.applied, owned.time)
        return kept

    def _take(
        self, old: Object, new: Object, managers: Managers, me: Identity | None, mine: Comparison
    ) -> tuple[Managers, dict[Identity, FieldSet]]:
        """Takes what changed away from everyone but ``me``; also gives what conflicted."""
        comparisons: dict[str, Comparison | None] = {self.api_version: mine}
        conflicts: dict[Identity, FieldSet] = {}
        kept: Managers = {}
        for identity, owned in managers.items():
            if owned.api_version not in comparisons:
                comparisons[owned.api_version] = self.compare(old, new, owned.api_version)
            comparison = comparisons[owned.api_version]
            if identity == me:
                kept[identity] = owned
                continue
            if comparison is None:
                continue
            fields = owned.fields
            touched = fieldset.union(comparison.modified, comparison.added)
            if touched:
                conflict = fieldset.intersection(fields, touched)
                if conflict:
                    conflicts[identity] = conflict
                    fields = fieldset.difference(fields, conflict)
            if comparison.removed:
                fields = fieldset.difference(fields, comparison.removed)
            if fields is not owned.fields:
                owned = Owned(fields, owned.api_version, owned.applied, owned.time)
            if fields:
                kept[identity] = owned
        return kept, conflicts

    def apply(
        self, live: Object, applied: Object, managers: Managers, me: Identity, now: str, *, force: bool
    ) -> tuple[Object | None, Managers]:
        """The merged object, None where it is as before. Raises _Conflict."""
        root = self.schema.root
        managers = self._reconcile(live, managers)
        merged = typed.merge(root, live, applied)
        claimed = typed.to_field_set(root, applied)
        reset = self.reset.get(self.api_version)
        if reset:
            claimed = fieldset.recursive_difference(claimed, reset)
        last = managers.get(me)
        managers[me] = Owned(fieldset.ordered(claimed), self.api_version, True, last.time if last else None)
        if last is not None and last.fields:
            merged = self._prune(merged, managers, me, last)
        mine = self.compare(live, merged, self.api_version) or Comparison()
        managers, conflicts = self._take(live, merged, managers, me, mine)
        if conflicts and not force:
            raise _Conflict(conflicts)
        own = fieldset.difference(managers[me].fields, _STRIPPED)
        changed = merged != live
        if own:
            time = now if changed else (last.time if last else None)
            managers[me] = Owned(own, self.api_version, True, time)
        else:
            del managers[me]
        return (merged if changed else None), managers

    def _prune(self, merged: Object, managers: Managers, me: Identity, last: Owned) -> Object:
        """Removes what ``me`` applied before, does not apply now, and nobody else owns."""
        version = self.convert(merged, last.api_version)
        if version is None:
            return merged
        obj, schema = version
        root = schema.root
        named_last = typed.with_named_fields(root, last.fields)
        pruned = typed.remove(root, obj, named_last) or {}
        by_version: dict[str, FieldSet] = {}
        for owned in managers.values():
            by_version[owned.api_version] = fieldset.union(by_version.get(owned.api_version, EMPTY), owned.fields)
        order = sorted(by_version, key=lambda v: v != last.api_version)
        for api_version in order:
            pruned = self._add_back(obj, pruned, api_version, by_version[api_version])
        pruned_set = typed.with_named_fields(root, typed.to_field_set(root, pruned))
        merged_set = typed.with_named_fields(root, typed.to_field_set(root, obj))
        gone = fieldset.intersection(fieldset.difference(merged_set, pruned_set), named_last)
        result = typed.remove(root, obj, gone) or {}
        back = self.convert(result, self.api_version)
        return back[0] if back is not None else result

    def _add_back(self, merged: Object, pruned: Object, api_version: str, owned: FieldSet) -> Object:
        left, right = self.convert(merged, api_version), self.convert(pruned, api_version)
        if left is None or right is None:
            return pruned
        root = left[1].root
        merged_set = typed.with_named_fields(root, typed.to_field_set(root, left[0]))
        pruned_set = typed.with_named_fields(root, typed.to_field_set(root, right[0]))
        keep = fieldset.union(pruned_set, typed.with_named_fields(root, owned))
        return typed.remove(root, left[0], fieldset.difference(merged_set, keep)) or {}


# -- apply's surroundings --------------------------------------------------------------------------------------------


def _check_applied(applied: Object, api_version: str, schema: Schema) -> None:
    sent = applied.get("apiVersion")
    if sent != api_version:
        raise errors.bad_request(f"invalid object type: {sent or ''}, Kind={applied.get('kind') or ''}")
    meta = applied.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise errors.bad_request("metadata.managedFields must be nil")
    found: list[str] = []
    try:
        typed.check(schema.root, applied, "", found)
    except RecursionError:
        raise errors.bad_request("json: exceeded max depth") from None
    if found:
        text = found[0] if len(found) == 1 else "errors:\n" + "\n".join("  " + f for f in found)
        named = applied if isinstance(meta, dict) else {}
        where = f"{namespace_of(named)}/{name_of(named)}; {sent}, Kind={applied.get('kind')}"
        raise errors.bad_request(f"failed to create typed patch object ({where}): {text}")


def _apply_with_last_applied(
    job: _Job, live: Object, applied: Object, managers: Managers, me: Identity, now: str, force: bool
) -> tuple[Object | None, Managers]:
    """kubectl may take over, without force, what its own client-side apply wrote."""
    try:
        return job.apply(live, applied, dict(managers), me, now, force=force)
    except _Conflict as failure:
        conflicts = failure.conflicts
    if me.manager == "kubectl":
        allowed = _last_applied_fields(job, live)
        left = {i: _without(f, allowed) for i, f in conflicts.items()}
        conflicts = {i: f for i, f in left.items() if f}
        if not conflicts:
            return job.apply(live, applied, dict(managers), me, now, force=True)
    raise conflict_error(conflicts)


def _without(fields: FieldSet, allowed: FieldSet) -> FieldSet:
    return fieldset.difference(fields, allowed)


def _last_applied_fields(job: _Job, live: Object) -> FieldSet:
    """The fields of the last-applied annotation that are still as it says."""
    text = annotations_of(live).get(LAST_APPLIED)
    if not text:
        return EMPTY
    try:
        last = orjson.loads(text)
    except orjson.JSONDecodeError:
        return EMPTY
    if not isinstance(last, dict) or last.get("apiVersion") != job.api_version:
        return EMPTY
    root = job.schema.root
    comparison = typed.compare(root, last, live)
    fields = typed.to_field_set(root, last)
    for changed in (comparison.modified, comparison.added, comparison.removed):
        fields = fieldset.difference(fields, changed)
    return fields


def _with_last_applied(merged: Object, applied: Object) -> Object:
    """Keeps the annotation of client-side apply in step with what kubectl applies."""
    meta = dict(applied.get("metadata") or {})
    given = {k: v for k, v in (meta.get("annotations") or {}).items() if k != LAST_APPLIED}
    meta.pop("annotations", None)
    if given:
        meta["annotations"] = given
    text = orjson.dumps({**applied, "metadata": meta}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    annotations = {**annotations_of(merged), LAST_APPLIED: text}
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > _MAX_ANNOTATIONS:
        del annotations[LAST_APPLIED]
    return {**merged, "metadata": {**metadata(merged), "annotations": annotations}}


def conflict_error(conflicts: dict[Identity, FieldSet]) -> StatusError:
    """409 in upstream's words: one conflict in a line, several by manager."""
    rows: list[tuple[Identity, Path]] = []
    for identity in sorted(conflicts, key=Identity.rank):
        rows += [(identity, path) for path in fieldset.iterate(conflicts[identity])]
    causes = [(f"conflict with {identity.text()}", fieldset.path_text(path)) for identity, path in rows]
    if len(rows) == 1:
        return errors.apply_conflict(causes, f"Apply failed with 1 conflict: {causes[0][0]}: {causes[0][1]}")
    lines: list[str] = []
    for identity in sorted(conflicts, key=Identity.rank):
        lines.append(f"conflicts with {identity.text()}:")
        lines += [f"- {fieldset.path_text(path)}" for owner, path in rows if owner == identity]
    return errors.apply_conflict(causes, f"Apply failed with {len(rows)} conflicts: " + "\n".join(lines))


def reconcile(node: Node, fields: FieldSet) -> FieldSet:
    """Sets written under an older schema: what has become atomic is owned as a whole."""
    out: FieldSet | None = None
    for key, below in fields.items():
        if key == fieldset.SELF or not below:
            continue
        child = node.child(key[2:]) if key[:2] == "f:" else node.items
        if child is None:
            continue
        if child.kind in (LIST, STRUCT, MAP) and child.atomic:
            new: FieldSet = EMPTY
        else:
            new = reconcile(child, below)
        if new is not below:
            out = dict(fields) if out is None else out
            out[key] = new
    return fields if out is None else out
