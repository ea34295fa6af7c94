"""Deletion in its steps: grace, finalizers, garbage collection policy, gone. Collections one object at a time.

Specified by the "Garbage Collection", "Finalizers" and "Pod Lifecycle" pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..api.errors import (
    FieldError,
    StatusError,
    bad_request,
    conflict,
    invalid,
    invalid_value,
    not_found,
    not_supported,
)
from ..api.meta import Object
from ..api.resources import CUSTOM_RESOURCE_DEFINITIONS, GVK, GVR, NAMESPACES
from ..api.schema import builtin_schema
from ..api.schema.mismatch import json_kind
from ..api.times import parse_time, to_time
from ..hooks.admission import DELETE, AdmissionAttributes
from .admitting import AdmissionChain, note, roll_back
from .body import TYPE_META, parse
from .committing import Committer
from .custom.decide import mark_definition
from .encoding import Entry
from .options import META_GROUP, dry_run_errors, list_options
from .reading import Reader
from .registry import Resource
from .request import Request, RequestInfo, Response
from .routing import is_true
from .views import View
from .watching import Scope
from .writing import CommitHook

ORPHAN_FINALIZER, FOREGROUND_FINALIZER = "orphan", "foregroundDeletion"
_DELETE_OPTIONS = GVK("", "v1", "DeleteOptions")
_POLICIES = ("Foreground", "Background", "Orphan")


@dataclass(slots=True)
class DeleteOptions:
    grace: int | None = None
    uid: str | None = None
    version: str | None = None
    orphan: bool | None = None
    policy: str | None = None
    dry_run: bool = False

    def as_object(self) -> Object:
        found: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.grace is not None:
            found["gracePeriodSeconds"] = self.grace
        if self.policy is not None:
            found["propagationPolicy"] = self.policy
        if self.orphan is not None:
            found["orphanDependents"] = self.orphan
        preconditions = {k: v for k, v in (("uid", self.uid), ("resourceVersion", self.version)) if v is not None}
        if preconditions:
            found["preconditions"] = preconditions
        if self.dry_run:
            found["dryRun"] = ["All"]
        return found


def delete_options(request: Request) -> DeleteOptions:
    """From the body, or from the query where there is no body. Raises StatusError."""
    if request.body:
        value, _ = parse(request.body, request.headers.get("content-type", ""), "DeleteOptions")
    else:
        value = _from_query(request)
    return checked_delete_options(value)


def _from_query(request: Request) -> Object:
    if not request.raw_query:
        return {}
    query = request.query
    value: Object = {}
    if "gracePeriodSeconds" in query:
        text = query["gracePeriodSeconds"][0]
        if not text.lstrip("-").isdigit():
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        value["gracePeriodSeconds"] = int(text)
    if "propagationPolicy" in query:
        value["propagationPolicy"] = query["propagationPolicy"][0]
    if "orphanDependents" in query:
        value["orphanDependents"] = is_true(query["orphanDependents"])
    if "dryRun" in query:
        value["dryRun"] = query["dryRun"]
    return value


def checked_delete_options(value: Any) -> DeleteOptions:
    """Raises StatusError 400 and 422."""
    value = _read(value if value is not None else {})
    grace, policy, orphan = (
        value.get("gracePeriodSeconds"),
        value.get("propagationPolicy"),
        value.get("orphanDependents"),
    )
    preconditions, dry_run = value.get("preconditions") or {}, value.get("dryRun") or []
    errors: list[FieldError] = []
    if orphan is not None and policy is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(invalid_value("propagationPolicy", policy, text))
    if policy is not None and policy not in _POLICIES:
        errors.append(not_supported("propagationPolicy", policy, [*_POLICIES, "nil"]))
    errors += dry_run_errors(dry_run)
    if errors:
        raise invalid(META_GROUP, "DeleteOptions", "", errors)
    if grace is not None and grace < 0:
        grace = 1
    return DeleteOptions(
        grace, preconditions.get("uid"), preconditions.get("resourceVersion"), orphan, policy, bool(dry_run)
    )


def _read(value: Any) -> Object:
    """The options with their types checked. They may come in any group's version, and in none."""
    if isinstance(value, dict):
        kind, version = value.get("kind") or "DeleteOptions", value.get("apiVersion") or "v1"
        if kind != "DeleteOptions":
            raise bad_request(
                f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/apis/meta/internalversion/scheme/register.go:27"'
            )
        return builtin_schema(_DELETE_OPTIONS).read(value)
    why = f"json: cannot unmarshal {json_kind(value)} into {TYPE_META}"
    raise bad_request(f"couldn't get version/kind; json parse error: {why}")


class _DeleteNow(Exception):
    """Inside an update: nothing to wait for."""


class _Pending(Exception):
    """Inside an update: the object is being deleted already, and nothing changes."""


class Deleter:
    """Runs deletions of one server."""

    def __init__(self, committer: Committer, admission: AdmissionChain, reader: Reader) -> None:
        self.committer = committer
        self.admission = admission
        self.reader = reader
        self.clock = committer.clock
        self.hooks: dict[GVR, CommitHook] = {}

    async def delete(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        options = delete_options(request)
        obj, deleted = await self.remove(request, info, resource, info.name, options)
        status = 202 if not deleted and options.orphan is False else 200
        if deleted and not resource.kind.returns_deleted:
            return Response(status, success(resource, obj))
        return Response(status, view.obj(obj), view.content_type)

    async def remove(
        self,
        request: Request,
        info: RequestInfo,
        resource: Resource,
        name: str,
        options: DeleteOptions,
        *,
        admit: bool = True,
    ) -> tuple[Object, bool]:
        """(last state, whether it is gone). Raises StatusError. ``admit``: an eviction has passed admission already."""
        gvr = resource.gvr
        namespace = info.namespace or (name if gvr == NAMESPACES else "")
        attributes = AdmissionAttributes(
            DELETE, gvr, resource.gvk, info.subresource, namespace, name, None, None, request.user,
            options.as_object(), options.dry_run,
        )  # fmt: skip
        try:
            if admit:
                await self.admission.admit(attributes)
            await self.committer.hub.consistent()
            entry = resource.cache.get(info.namespace, name)
            if entry is None:
                raise not_found(gvr.group, gvr.resource, name)
            return await self._remove(resource, entry, options, attributes if admit else None)
        except StatusError as failure:
            await roll_back(attributes, failure)
            raise
        finally:
            note(request, attributes)

    async def _remove(
        self, resource: Resource, entry: Entry, options: DeleteOptions, attributes: AdmissionAttributes | None
    ) -> tuple[Object, bool]:
        last: dict[str, Any] = {}

        async def attempt(old: Object) -> Object:
            self.check_preconditions(resource, old, options)
            if attributes is not None:
                attributes.old_object = old
                await self.admission.validate(attributes)
            new = self._mark(resource, {**old, "metadata": dict(old["metadata"])}, options)
            last["new"] = new
            return new

        try:
            marked = await self.committer.update(
                resource, entry.namespace, entry.name, attempt, dry_run=options.dry_run, removes=False
            )
        except _Pending:
            return await self.committer.from_entry(resource, self._newest(resource, entry)), False
        except _DeleteNow:
            return await self._gone(resource, entry, options, last), True
        obj = await self.committer.from_entry(resource, marked)
        metadata = obj["metadata"]
        held = resource.gvr == NAMESPACES or metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
        if held:
            return obj, False
        return await self._gone(resource, marked, options, last), True

    @staticmethod
    def _newest(resource: Resource, entry: Entry) -> Entry:
        return resource.cache.get(entry.namespace, entry.name) or entry

    async def _gone(self, resource: Resource, entry: Entry, options: DeleteOptions, last: dict[str, Any]) -> Object:
        while True:
            current = resource.cache.get(entry.namespace, entry.name)
            if current is None:
                # Another one finished what we began.
                return last.get("new") or await self.committer.from_entry(resource, entry)
            obj = await self.committer.from_entry(resource, current)
            if options.version is None or current.revision != entry.revision:
                self.check_preconditions(resource, obj, DeleteOptions(uid=options.uid))
            if options.dry_run:
                return obj
            try:
                await self.committer.delete(resource, current)
            except StatusError as failure:
                if failure.reason == "Conflict":
                    continue
                raise
            hook = self.hooks.get(resource.gvr)
            if hook is not None:
                await hook.deleted(resource, obj)
            return obj

    def check_preconditions(self, resource: Resource, obj: Object, options: DeleteOptions) -> None:
        """Raises StatusError Conflict."""
        metadata, gvk = obj["metadata"], resource.gvk
        if options.uid is not None and options.uid != metadata.get("uid"):
            raise conflict(
                gvk.group,
                gvk.kind,
                metadata["name"],
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata.get('uid')}). "
                "The object might have been deleted and then recreated",
            )
        if options.version is not None and options.version != metadata.get("resourceVersion"):
            raise conflict(
                gvk.group,
                gvk.kind,
                metadata["name"],
                f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in "
                f"record ({metadata.get('resourceVersion')}). The object might have been modified",
            )

    def _mark(self, resource: Resource, obj: Object, options: DeleteOptions) -> Object:
        """The object as this deletion leaves it; _DeleteNow where nothing holds it, _Pending where nothing changes."""
        metadata = obj["metadata"]
        if resource.gvr == NAMESPACES:
            return self._mark_namespace(resource, obj, options)
        if resource.gvr == CUSTOM_RESOURCE_DEFINITIONS and metadata.get("deletionTimestamp") is None:
            return mark_definition(obj, to_time(self.clock.now()))
        graceful = self._begin_grace(resource, obj, options)
        finalizers = self._finalizers(resource, metadata, options)
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        if graceful:
            return obj
        if not finalizers:
            raise _DeleteNow
        if metadata.get("deletionTimestamp") is None:
            if metadata.get("generation"):
                metadata["generation"] += 1
            metadata["deletionTimestamp"] = to_time(self.clock.now())
        metadata["deletionGracePeriodSeconds"] = 0
        return obj

    def _mark_namespace(self, resource: Resource, obj: Object, options: DeleteOptions) -> Object:
        """The first deletion makes a namespace Terminating; it goes by another when nothing finalizes it any more."""
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp") is not None:
            if (obj.get("spec") or {}).get("finalizers") or metadata.get("finalizers"):
                raise _Pending
            raise _DeleteNow
        metadata["deletionTimestamp"] = to_time(self.clock.now())
        finalizers = self._finalizers(resource, metadata, options)
        if finalizers:
            metadata["finalizers"] = finalizers
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        return obj

    def _begin_grace(self, resource: Resource, obj: Object, options: DeleteOptions) -> bool:
        metadata, now = obj["metadata"], self.clock.now()
        deadline = metadata.get("deletionTimestamp")
        if deadline is None:
            graceful, grace = resource.kind.graceful_deletion(obj, options.as_object())
            if not graceful:
                return False
            metadata["deletionTimestamp"] = to_time(now + grace)
            metadata["deletionGracePeriodSeconds"] = grace
            if metadata.get("generation"):
                metadata["generation"] += 1
            return True
        granted = metadata.get("deletionGracePeriodSeconds")
        if not granted:
            return False
        # A deletion that is under way can only be made shorter.
        if options.grace is None or options.grace >= granted:
            raise _Pending
        grace, due = options.grace, parse_time(deadline) - granted + options.grace
        if due < now:
            due, grace = now, 1 if grace else 0
        metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"] = to_time(due), grace
        return True

    def _finalizers(self, resource: Resource, metadata: dict[str, Any], options: DeleteOptions) -> list[str]:
        """The object's finalizers with those of the garbage collector as the options (or its kind) want them."""
        current: list[str] = metadata.get("finalizers") or []
        default = resource.kind.garbage_collection
        orphan = foreground = False
        if default != "Unsupported":
            if options.orphan is not None:
                orphan = options.orphan
            elif options.policy is not None:
                orphan, foreground = options.policy == "Orphan", options.policy == "Foreground"
            elif ORPHAN_FINALIZER in current or FOREGROUND_FINALIZER in current:
                orphan, foreground = ORPHAN_FINALIZER in current, FOREGROUND_FINALIZER in current
            else:
                orphan = default == "Orphan"
        kept = [f for f in current if f not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
        wanted = kept + [ORPHAN_FINALIZER] * orphan + [FOREGROUND_FINALIZER] * foreground
        return current if set(wanted) == set(current) else wanted

    # -- collections ------------------------------------------------------------------------------------------------

    async def delete_collection(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        options = self.reader.checked(resource, list_options(request))
        wanted = delete_options(request)
        await self.committer.hub.consistent()
        scope = Scope(info.namespace, "", options.labels, options.fields)
        entries = list(resource.cache.select(info.namespace))
        if resource.versioning is not None and resource.versioning.asks:
            entries = await resource.versioning.convert(entries)
        entries = [e for e in entries if scope.matches(e)]
        if options.limit:
            entries = entries[: options.limit]
        for entry in entries:
            try:
                await self.remove(request, _within(info, entry), resource, entry.name, wanted)
            except StatusError as failure:
                if failure.code != 404:
                    raise
        revision = self.committer.hub.revision
        return Response(200, view.list(revision, "", None, view.items(entries)), view.content_type)


def _within(info: RequestInfo, entry: Entry) -> RequestInfo:
    return RequestInfo(
        True, info.verb, info.path, info.group, info.version, info.resource, "", entry.namespace, entry.name, info.parts
    )


def success(resource: Resource, obj: Object) -> bytes:
    """The Status that answers a deletion of an object that is gone."""
    import orjson

    metadata = obj["metadata"]
    details = {
        "name": metadata["name"],
        "group": resource.gvr.group,
        "kind": resource.gvr.resource,
        "uid": metadata.get("uid"),
    }
    return orjson.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {k: v for k, v in details.items() if v},
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
