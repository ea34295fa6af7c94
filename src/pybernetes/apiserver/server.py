"""The API server as one object: store, caches, registry and pipeline put together, without a socket.

``await server.handle(request)`` is the whole request path after parsing; ``http`` calls it for connections and
``inprocess`` for clients in the same process. ``run`` does the background work.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from ..api.errors import StatusError, forbidden, method_not_allowed, method_not_supported, path_not_found, unauthorized
from ..api.meta import Object
from ..api.resources import GVR, ResourceInfo, builtin_resources
from ..concurrency import Clock, logger
from ..hooks.admission import AdmissionPlugin
from ..hooks.authorization import Attributes, Authorizer, Decision
from ..hooks.identity import ANONYMOUS, LOOPBACK, Authenticator, UserInfo
from ..storage.contract import Store, StoreError
from .admitting import AdmissionChain
from .authn.impersonation import impersonate
from .cache import Listener
from .committing import Committer
from .deleting import Deleter
from .encoding import Entry
from .hub import Hub, storage_prefix
from .kinds import BuiltinKind
from .negotiation import negotiate
from .reading import Reader
from .registry import Registry, Resource
from .request import Handler, Request, RequestInfo, Response
from .routing import route
from .views import View
from .writing import Writer

log = logger("apiserver")


@dataclass(slots=True)
class ServerConfig:
    """What an API server is made of, beside its store."""

    authenticators: Sequence[Authenticator] = ()
    authorizer: Authorizer | None = None
    """None allows everything."""
    admission: Sequence[AdmissionPlugin] = ()
    connect_handlers: Mapping[tuple[str, str], Handler] = field(default_factory=dict)
    """(resource, subresource) -> who answers: exec, log, proxy and their like."""
    virtual_resources: Mapping[GVR, Handler] = field(default_factory=dict)
    """Resources that are answered and never stored (reviews)."""
    service_cluster_ip_ranges: Sequence[str] = ("10.96.0.0/12",)
    service_node_port_range: tuple[int, int] = (30000, 32767)
    advertise_address: str = ""
    secure_port: int = 6443
    event_ttl: float = 3600.0
    compaction_interval: float = 300.0
    bootstrap: bool = True


class ApiServer:
    """One API server."""

    def __init__(self, store: Store, clock: Clock, rng: random.Random, config: ServerConfig | None = None) -> None:
        self.config = config or ServerConfig()
        self.clock = clock
        self.rng = rng
        self.store = store
        self.hub = Hub(store, clock)
        self.registry = Registry()
        self.committer = Committer(self.hub, clock, rng)
        self.chain = AdmissionChain(self.config.admission)
        self.reader = Reader(self.hub, rng)
        self.writer = Writer(self.committer, self.chain)
        self.deleter = Deleter(self.committer, self.chain, self.reader)
        self.objects = CacheReader(self.registry)
        self.connect_handlers = dict(self.config.connect_handlers)
        self.paths: dict[str, Handler] = {}
        """Non-resource paths, exact."""
        self.prefixes: list[tuple[str, Handler]] = []
        """Non-resource paths by beginning, the first that fits."""
        self.ready = asyncio.Event()
        self.post_start: list[Callable[[], Awaitable[None]]] = []
        """Run in order by ``start``, when requests can be answered already."""
        self._prefix = f"{rng.getrandbits(64):016x}"
        self._counter = 0
        self._register_builtin()

    # -- composition ------------------------------------------------------------------------------------------------

    def _register_builtin(self) -> None:
        for info in builtin_resources():
            self.registry.add(self._builtin(info))

    def _builtin(self, info: ResourceInfo) -> Resource:
        handler = self.config.virtual_resources.get(info.gvr)
        kind = BuiltinKind(info)
        resource = Resource(info, kind, handler=handler)
        if handler is None and "get" in info.verbs and info.gvr.resource != "componentstatuses":
            resource.storage = info.gvr
            resource.dispatcher = self.hub.add(info.gvr, info.namespaced, storage_prefix(info.gvr), kind.fields)
        return resource

    def install(
        self,
        *,
        authenticators: Sequence[Authenticator],
        authorizer: Authorizer,
        admission: Sequence[AdmissionPlugin],
        virtual_resources: Mapping[GVR, Handler],
    ) -> None:
        """Puts in what itself reads the server's objects, and so could not be made before it. Before ``start``."""
        self.config.authenticators, self.config.authorizer = authenticators, authorizer
        self.chain.replace(admission)
        for gvr, handler in virtual_resources.items():
            resource = self.registry.by_gvr(gvr)
            assert resource is not None, f"{gvr} is not in the registry"
            resource.handler = handler

    async def start(self) -> None:
        """Opens the store, fills the caches, and runs the ``post_start`` hooks. ``run`` must follow."""
        await self.store.open()
        await self.hub.start()
        self.ready.set()
        for hook in self.post_start:
            await hook()

    async def run(self) -> None:
        """Background work until cancelled: compaction, bookmarks, following the store."""
        if not self.ready.is_set():
            await self.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.hub.run())
                group.create_task(self._bookmarks())
                group.create_task(self._compactions())
        finally:
            self.ready.clear()
            self.hub.stop()
            await self.store.close()

    async def _bookmarks(self) -> None:
        while True:
            await self.clock.sleep(60.0)
            for dispatcher in list(self.hub.dispatchers.values()):
                if dispatcher.watching:
                    dispatcher.bookmark(self.hub.revision)

    async def _compactions(self) -> None:
        """Keeps one interval of history, as upstream does."""
        while True:
            revision = self.hub.revision
            await self.clock.sleep(self.config.compaction_interval)
            try:
                await self.store.compact(revision)
                self.hub.compacted = max(self.hub.compacted, revision)
            except StoreError as failure:
                log.warning("compaction failed", error=str(failure))

    # -- the request path -------------------------------------------------------------------------------------------

    async def handle(self, request: Request) -> Response:
        """Answers a request. Every failure of the client's making becomes a Status; the caller guards against the rest."""
        self._counter += 1
        audit_id = request.headers.get("audit-id") or f"{self._prefix}-{self._counter:x}"
        request.audit["id"] = audit_id
        try:
            response = await self._answer(request)
        except StatusError as failure:
            response = error_response(failure)
        response.headers.append(("Audit-Id", audit_id))
        for warning in request.warnings:
            response.headers.append(("Warning", f"299 - {quote_warning(warning)}"))
        return response

    async def _answer(self, request: Request) -> Response:
        info = request.info = route(request)
        if request.user is ANONYMOUS:
            request.user = await self.authenticate(request)
        if "impersonate-user" in request.headers or "impersonate-uid" in request.headers:
            await self._impersonate(request, info)
        await self.authorize(request.user, info)
        if not info.is_resource:
            return await self._non_resource(request)
        resource = self.registry.lookup(info.group, info.version, info.resource)
        if resource is None:
            raise path_not_found()
        return await self._dispatch(request, info, resource)

    async def authenticate(self, request: Request) -> UserInfo:
        """Raises StatusError 401."""
        if not self.config.authenticators:
            return LOOPBACK
        for authenticator in self.config.authenticators:
            user = await authenticator.authenticate(request.credentials)
            if user is not None:
                return user
        raise unauthorized()

    async def _impersonate(self, request: Request, info: RequestInfo) -> None:
        """Raises StatusError 403 where the sender may not be whom it asks to be."""
        if self.config.authorizer is None:
            return
        asked = attributes_of(request.user, info)
        impersonated = await impersonate(asked, request.headers, self.config.authorizer)
        if impersonated is not None:
            request.user = impersonated.user

    async def authorize(self, user: UserInfo, info: RequestInfo) -> None:
        """Raises StatusError 403."""
        authorizer = self.config.authorizer
        if authorizer is None:
            return
        attributes = attributes_of(user, info)
        verdict = await authorizer.authorize(attributes)
        if verdict.decision is not Decision.ALLOW:
            raise forbidden_request(attributes, verdict.reason)

    async def _non_resource(self, request: Request) -> Response:
        handler = self.paths.get(request.path)
        if handler is None:
            handler = next((h for p, h in self.prefixes if request.path.startswith(p)), None)
        if handler is None:
            raise path_not_found()
        return await handler(request)

    async def _dispatch(self, request: Request, info: RequestInfo, resource: Resource) -> Response:
        if info.namespace and not resource.info.namespaced and resource.gvr.resource != "namespaces":
            raise path_not_found()
        if info.subresource:
            return await self._subresource(request, info, resource)
        if resource.handler is not None:
            return await resource.handler(request)
        verb = info.verb
        if verb not in resource.info.verbs or resource.dispatcher is None:
            raise self._unsupported(info, resource)
        view = self.view_for(request, resource, verb)
        if verb == "get":
            return await self.reader.get(request, info, resource, view)
        if verb == "list":
            return await self.reader.list(request, info, resource, view)
        if verb == "watch":
            return await self.reader.watch(request, info, resource, view)
        info = self._within_namespace(info, resource)
        if verb == "create":
            return await self.writer.create(request, info, resource, view)
        if verb == "update":
            return await self.writer.update(request, info, resource, view)
        if verb == "patch":
            return await self.writer.patch(request, info, resource, view)
        if verb == "delete":
            return await self.deleter.delete(request, info, resource, view)
        return await self.deleter.delete_collection(request, info, resource, view)

    @staticmethod
    def _within_namespace(info: RequestInfo, resource: Resource) -> RequestInfo:
        return info

    @staticmethod
    def _unsupported(info: RequestInfo, resource: Resource) -> StatusError:
        if (
            not info.verb
            or (info.name and info.verb in ("create",))
            or (not info.name and info.verb in ("update", "patch"))
        ):
            return method_not_allowed()
        return method_not_supported(resource.gvr.group, resource.gvr.resource, info.verb)

    async def _subresource(self, request: Request, info: RequestInfo, resource: Resource) -> Response:
        connect = self.connect_handlers.get((info.resource, info.subresource))
        if connect is not None:
            return await connect(request)
        sub = resource.subresource(info.subresource)
        if sub is None:
            raise path_not_found()
        if info.verb not in sub.verbs:
            raise method_not_allowed()
        view = self.view_for(request, resource, info.verb)
        if info.subresource == "status":
            if info.verb == "get":
                return await self.reader.get(request, info, resource, view)
            if info.verb == "update":
                return await self.writer.update(request, info, resource, view)
            return await self.writer.patch(request, info, resource, view)
        raise path_not_found()

    def view_for(self, request: Request, resource: Resource, verb: str) -> View:
        """The form that the client asked for. Raises StatusError 406."""
        negotiate(request.headers.get("accept", ""))
        return resource.json


class CacheReader:
    """``hooks.reading.ObjectReader`` over the watch caches."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def _entry(self, gvr: GVR, namespace: str, name: str) -> Entry | None:
        resource = self._registry.by_gvr(gvr)
        return resource.cache.get(namespace, name) if resource is not None and resource.dispatcher else None

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        entry = self._entry(gvr, namespace, name)
        return entry.object if entry is not None else None

    def list(self, gvr: GVR, namespace: str = "") -> Sequence[Object]:
        resource = self._registry.by_gvr(gvr)
        if resource is None or resource.dispatcher is None:
            return []
        return [e.object for e in resource.cache.select(namespace)]

    def subscribe(self, gvr: GVR, listener: Listener) -> Callable[[], None]:
        resource = self._registry.by_gvr(gvr)
        if resource is None or resource.dispatcher is None:
            return _nothing_to_end  # what is not served never changes
        return resource.cache.subscribe(listener)


def _nothing_to_end() -> None:
    """Ends a subscription that never began."""


def attributes_of(user: UserInfo, info: RequestInfo) -> Attributes:
    """The question that a request puts to the authorizer."""
    if not info.is_resource:
        return Attributes(user, info.verb, path=info.path)
    return Attributes(
        user, info.verb, info.group, info.version, info.resource, info.subresource, info.namespace, info.name, info.path
    )  # fmt: skip


def error_response(failure: StatusError) -> Response:
    """The Status body of a failure."""
    body = orjson.dumps(failure.to_status(), option=orjson.OPT_APPEND_NEWLINE)
    response = Response(failure.code, body)
    if failure.retry_after is not None:
        response.headers.append(("Retry-After", str(failure.retry_after)))
    response.headers += failure.headers.items()
    return response


def forbidden_request(attributes: Attributes, reason: str) -> StatusError:
    """403 in upstream's words for what the user may not do."""
    user = orjson.dumps(attributes.user.name).decode()
    if not attributes.resource:
        path = orjson.dumps(attributes.path).decode()
        why = f"User {user} cannot {attributes.verb} path {path}"
        tail = f": {reason}" if reason else ""
        failure = forbidden("", "", "", why + tail)
        failure.details = {}
        return failure
    target = f"{attributes.resource}/{attributes.subresource}" if attributes.subresource else attributes.resource
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    why = f'User {user} cannot {attributes.verb} resource "{target}" in API group "{attributes.group}" {where}'
    return forbidden(attributes.group, attributes.resource, attributes.name, f"{why}: {reason}" if reason else why)


def quote_warning(text: str) -> str:
    """The quoted text of a Warning header: control characters dropped, bounded."""
    clean = "".join(c for c in text if c.isprintable())[:4096]
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
