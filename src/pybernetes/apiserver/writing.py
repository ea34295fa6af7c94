"""Create, update and patch as the pipeline runs them: decode, default, managed fields, admission, strategy, checks, commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from ..api.errors import StatusError, bad_request, conflict, forbidden, invalid, invalid_value
from ..api.meta import Object
from ..api.resources import GVR, NAMESPACES
from ..api.times import to_time
from ..hooks.admission import CREATE, UPDATE, AdmissionAttributes
from ..hooks.identity import UserInfo
from .admitting import AdmissionChain, note, roll_back
from .body import decode_object
from .committing import Committer, removable
from .conversions import NEW_EVENTS
from .encoding import Entry
from .metadata import (
    dedup_owner_references,
    ensure_namespace,
    generate_name,
    keep_system_fields,
    new_uid,
    wipe_system_fields,
)
from .options import WriteOptions, check_patch_options, write_options
from .patching import APPLY, Patcher, patch_type
from .registry import Resource
from .request import Request, RequestInfo, Response
from .views import View


class CommitHook(Protocol):
    """What a resource needs done around its commits: allocation of addresses."""

    async def before(
        self, resource: Resource, new: Object, old: Object | None, attributes: AdmissionAttributes
    ) -> None:
        """After admission, before the kind's own preparation: may change ``new``. Raises StatusError to refuse.

        What it reserves it gives back by ``attributes.rollbacks``.
        """
        ...

    async def after(self, resource: Resource, new: Object, old: Object | None) -> None:
        """The write is committed."""
        ...

    async def deleted(self, resource: Resource, obj: Object) -> None:
        """The object is gone."""
        ...


class Writer:
    """Runs writes of one server."""

    def __init__(self, committer: Committer, admission: AdmissionChain) -> None:
        self.committer = committer
        self.admission = admission
        self.clock = committer.clock
        self.rng = committer.rng
        self.hooks: dict[GVR, CommitHook] = {}
        self.allows_creation_of: Callable[[Request, RequestInfo, str], Awaitable[None]] | None = None
        """Authorizes a create that comes as an apply or an update."""

    # -- create -----------------------------------------------------------------------------------------------------

    async def create(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        options = write_options(request, "CreateOptions")
        obj = decode_object(request, resource, options)
        entry = await self._create(request, info, resource, obj, options)
        return Response(201, view.item(await resource.seen(entry)), view.content_type)

    async def _create(
        self,
        request: Request,
        info: RequestInfo,
        resource: Resource,
        obj: Object,
        options: WriteOptions,
        *,
        managed: bool = True,
    ) -> Entry:
        metadata = obj["metadata"]
        kind = resource.kind
        if resource.terminating:
            why = "create not allowed while custom resource definition is terminating"
            raise forbidden(resource.gvr.group, resource.gvr.resource, metadata.get("name") or "", why)
        wipe_system_fields(metadata)
        # What is no number is not looked at, and a dry run never gets to the store, which asks.
        version = str(metadata.pop("resourceVersion", "") or "")
        if version.isdigit() and int(version) and not options.dry_run:
            raise bad_request("resourceVersion should not be set on objects to be created")
        ensure_namespace(metadata, info.namespace, resource.info.namespaced)
        self._warn(request, dedup_owner_references(metadata))
        kind.default(obj)
        if managed:
            obj = kind.manage(None, obj, options.manager, "", to_time(self.clock.now()))
        attributes = self._attributes(CREATE, request, info, resource, obj, None, options)
        try:
            await self.admission.admit(attributes)
            obj = attributes.object or obj
            metadata = obj["metadata"]
            self._warn(request, dedup_owner_references(metadata, after_admission=True))
            generated = self._fill(metadata)
            hook = self.hooks.get(resource.gvr)
            if hook is not None:
                await hook.before(resource, obj, None, attributes)
            kind.prepare_create(obj, user_object(request.user))
            errors = await self._checked(resource, kind.validate_create, obj)
            self._refuse(resource, metadata.get("name") or "", errors)
            request.warnings += kind.warnings(obj, None, "")
            attributes.name = metadata.get("name") or ""
            await self.admission.validate(attributes)
            # Only a name that we chose may be replaced by another where it is taken.
            save = self.committer.create_named if generated else self.committer.create
            entry = await save(resource, obj, dry_run=options.dry_run)
            if hook is not None and not options.dry_run:
                await hook.after(resource, obj, None)
            return entry
        except StatusError as failure:
            await roll_back(attributes, failure)
            raise
        finally:
            note(request, attributes)

    def _fill(self, metadata: dict[str, Any]) -> bool:
        """Sets what the server gives every object; True where the name is one of ours."""
        metadata["creationTimestamp"] = to_time(self.clock.now())
        metadata["uid"] = new_uid(self.rng)
        if metadata.get("name") or not metadata.get("generateName"):
            return False
        metadata["name"] = generate_name(metadata["generateName"], self.rng)
        return True

    @staticmethod
    async def _checked(resource: Resource, check: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
        if resource.kind.slow:
            return await asyncio.to_thread(check, *arguments)
        return check(*arguments)

    def _refuse(self, resource: Resource, name: str, errors: list[Any]) -> None:
        if errors:
            # Upstream names the kind that is stored, and events of the new group are those of the old.
            group = "" if resource.gvr == NEW_EVENTS else resource.gvk.group
            raise invalid(group, resource.gvk.kind, name, errors)

    @staticmethod
    def _warn(request: Request, warning: str) -> None:
        if warning:
            request.warnings.append(warning)

    def _attributes(
        self,
        operation: str,
        request: Request,
        info: RequestInfo,
        resource: Resource,
        obj: Object | None,
        old: Object | None,
        options: WriteOptions,
    ) -> AdmissionAttributes:
        name = info.name or (obj or {}).get("metadata", {}).get("name", "")
        return AdmissionAttributes(
            operation,
            resource.gvr,
            resource.gvk,
            info.subresource,
            info.namespace or (name if resource.gvr == NAMESPACES else ""),
            name,
            obj,
            old,
            request.user,
            options_object(operation, options),
            options.dry_run,
            verb=info.verb,
        )

    # -- update -----------------------------------------------------------------------------------------------------

    async def update(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        options = write_options(request, "UpdateOptions")
        obj = decode_object(request, resource, options)
        metadata = obj["metadata"]
        ensure_namespace(metadata, info.namespace, resource.info.namespaced)
        name = metadata.get("name") or ""
        if name != info.name:
            if not name:
                raise bad_request(
                    f"the name of the object ({info.name} based on URL) was undeterminable: name must be provided"
                )
            raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({info.name})")
        self._warn(request, dedup_owner_references(metadata))
        if resource.cache.get(info.namespace, info.name) is None and resource.kind.allow_create_on_update:
            if not info.subresource and not metadata.get("uid"):
                return await self._create_by_update(request, info, resource, obj, options, view)
        given: list[Object] = [obj]

        async def attempt(old: Object) -> Object:
            # The strategy changes it in place: where another writer was faster, the next attempt decodes anew.
            again = given.pop() if given else decode_object(request, resource, options)
            ensure_namespace(again["metadata"], info.namespace, resource.info.namespaced)
            again["metadata"]["name"] = info.name
            resource.kind.default(again)
            return again

        entry = await self.change(request, info, resource, attempt, options)
        return Response(200, view.item(await resource.seen(entry)), view.content_type)

    async def _create_by_update(
        self, request: Request, info: RequestInfo, resource: Resource, obj: Object, options: WriteOptions, view: View
    ) -> Response:
        if self.allows_creation_of is not None:
            await self.allows_creation_of(request, info, info.name)
        obj["metadata"].pop("resourceVersion", None)
        entry = await self._create(request, info, resource, obj, options)
        return Response(201, view.item(await resource.seen(entry)), view.content_type)

    async def change(
        self,
        request: Request,
        info: RequestInfo,
        resource: Resource,
        make: Callable[[Object], Awaitable[Object]],
        options: WriteOptions,
        *,
        managed: bool = True,
        versioned: bool = True,
    ) -> Entry:
        """An update of any origin: ``make`` gives the wanted object for the stored one, the rest is common.

        ``managed``: the manager owns what changed (an apply has settled this itself). ``versioned``: what the kind says
        of updates without a resourceVersion holds.
        """
        noted = len(request.warnings)
        hook = self.hooks.get(resource.gvr) if not info.subresource else None
        tried: list[tuple[AdmissionAttributes, Object, Object]] = []

        async def attempt(old: Object) -> Object:
            del request.warnings[noted:]
            if tried:
                await roll_back(tried.pop()[0])
            new = await make(old)
            self._check_preconditions(resource, info, new, old, versioned, options.dry_run)
            new, attributes = await self._attempt(request, info, resource, new, old, options, managed, hook)
            tried.append((attributes, new, old))
            return new

        try:
            entry = await self.committer.update(resource, info.namespace, info.name, attempt, dry_run=options.dry_run)
        except StatusError as failure:
            if tried:
                await roll_back(tried.pop()[0], failure)
            raise
        if hook is not None and not options.dry_run:
            _, new, old = tried[-1]
            await hook.after(resource, new, old)
            if removable(new, old):
                await hook.deleted(resource, new)
        return entry

    def _check_preconditions(
        self, resource: Resource, info: RequestInfo, new: Object, old: Object, versioned: bool, dry_run: bool
    ) -> None:
        given, stored = new["metadata"], old["metadata"]
        uid = given.get("uid")
        gvr = resource.gvr
        if uid and uid != stored.get("uid") and info.verb == "update":
            cache = resource.cache
            prefix = cache.prefix.removeprefix("/registry") if dry_run else cache.prefix
            key = prefix + (f"{info.namespace}/" if cache.namespaced else "") + info.name
            raise conflict(
                gvr.group,
                gvr.resource,
                info.name,
                f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition "
                f"failed: UID in precondition: {uid}, UID in object meta: {stored.get('uid')}",
            )
        version = given.get("resourceVersion") or ""
        if not version or version == "0":
            if versioned and not resource.kind.allow_unconditional_update:
                # Upstream prints the zero it compared with.
                error = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
                # Here upstream names the resource where elsewhere it names the kind.
                raise invalid(gvr.group, gvr.resource, info.name, [error])
        elif not str(version).isdigit():
            error = invalid_value("metadata.resourceVersion", version, "must be a resourceVersion that the server gave")
            raise invalid(resource.gvk.group, resource.gvk.kind, info.name, [error])
        elif version != stored["resourceVersion"]:
            raise conflict(gvr.group, gvr.resource, info.name)

    async def _attempt(
        self,
        request: Request,
        info: RequestInfo,
        resource: Resource,
        new: Object,
        old: Object,
        options: WriteOptions,
        managed: bool,
        hook: CommitHook | None,
    ) -> tuple[Object, AdmissionAttributes]:
        kind = resource.kind
        keep_system_fields(new, old)
        now = to_time(self.clock.now())
        if managed:
            new = kind.manage(old, new, options.manager, info.subresource, now)
        attributes = self._attributes(UPDATE, request, info, resource, new, old, options)
        try:
            await self.admission.admit(attributes)
            new = attributes.object or new
            self._warn(request, dedup_owner_references(new["metadata"], after_admission=True))
            # From here on an unconditional update is one of this very state; a lost race begins anew.
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if hook is not None:
                await hook.before(resource, new, old, attributes)
            kind.prepare_update(new, old, info.subresource, now)
            errors = await self._checked(resource, kind.validate_update, new, old, info.subresource)
            self._refuse(resource, info.name, errors)
            request.warnings += kind.warnings(new, old, info.subresource)
            await self.admission.validate(attributes)
        except StatusError as failure:
            await roll_back(attributes, failure)
            raise
        finally:
            note(request, attributes)
        return new, attributes

    # -- patch ------------------------------------------------------------------------------------------------------

    async def patch(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        form = patch_type(request.headers.get("content-type", ""), custom=not resource.kind.builtin)
        options = write_options(request, "PatchOptions")
        check_patch_options(request, form == APPLY, options)
        patcher = Patcher(form, request, info, resource, options, to_time(self.clock.now()))
        if form == APPLY and resource.cache.get(info.namespace, info.name) is None and not info.subresource:
            return await self._create_by_apply(request, info, resource, patcher, options, view)
        entry = await self.change(request, info, resource, patcher.apply, options, managed=form != APPLY)
        return Response(200, view.item(await resource.seen(entry)), view.content_type)

    async def _create_by_apply(
        self,
        request: Request,
        info: RequestInfo,
        resource: Resource,
        patcher: Patcher,
        options: WriteOptions,
        view: View,
    ) -> Response:
        obj = await patcher.apply(None)
        if obj["metadata"].get("uid"):
            raise conflict(
                resource.gvr.group,
                resource.gvr.resource,
                info.name,
                f"uid mismatch: the provided object specified uid {obj['metadata']['uid']}, and no existing object was found",
            )
        if self.allows_creation_of is not None:
            await self.allows_creation_of(request, info, info.name)
        entry = await self._create(request, info, resource, obj, options, managed=False)
        return Response(201, view.item(await resource.seen(entry)), view.content_type)


def user_object(user: UserInfo) -> Mapping[str, Any]:
    """``authentication.k8s.io/v1`` UserInfo."""
    found: dict[str, Any] = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {k: list(v) for k, v in user.extra.items()}
    return found


_OPTION_KINDS = {CREATE: "CreateOptions", UPDATE: "UpdateOptions"}


def options_object(operation: str, options: WriteOptions) -> Mapping[str, Any]:
    found: dict[str, Any] = {"kind": _OPTION_KINDS[operation], "apiVersion": "meta.k8s.io/v1"}
    if options.dry_run:
        found["dryRun"] = ["All"]
    if options.manager:
        found["fieldManager"] = options.manager
    found["fieldValidation"] = options.validation
    return found
