"""The API server as one object: store, caches, registry and pipeline put together, without a socket.

``await server.handle(request)`` is the whole request path after parsing; ``http`` calls it for connections and
``inprocess`` for clients in the same process. ``run`` does the background work.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from email.utils import formatdate
from typing import Any

import orjson

from ..api.errors import StatusError, method_not_allowed, unauthorized
from ..api.meta import Object
from ..api.resources import GVR, PODS, SERVICES, ResourceInfo, builtin_by_gvr, builtin_resources
from ..concurrency import Clock, logger
from ..hooks.admission import AdmissionPlugin
from ..hooks.authorization import Attributes, Authorizer, Decision, Verdict
from ..hooks.identity import ANONYMOUS, LOOPBACK, SYSTEM_MASTERS, Authenticator, UserInfo
from ..storage.contract import Store, StoreError, StoreUnavailable
from .admitting import AdmissionChain
from .aggregation.behind import Behind
from .aggregation.controller import Aggregation
from .aggregation.remotes import Remotes
from .allocation import ServiceAllocator
from .answering import Answerer
from .audit.records import Auditor
from .authn.impersonation import Impersonation, asks_to_impersonate
from .authz.messages import REASON_ERROR, Undecided, forbidden_error
from .bootstrap import Bootstrap
from .cache import Listener, ResourceCache
from .committing import Committer
from .compacting import Compaction
from .conversions import CONVERSIONS
from .custom.controller import Definitions
from .deleting import Deleter
from .discovery import Discovery
from .documents import OpenApi
from .encoding import Entry
from .express import Express
from .fairness.dumps import Dumps
from .fairness.fairness import Fairness
from .fairness.serving import RequestWork, limiter_of, upkeep_of
from .fairness.upkeep import Upkeep
from .health import POST_START_HOOKS, Check, Health, ping, version_document
from .hub import Hub, storage_prefix, unavailable
from .identitymetrics import ERROR, FAILURE, IdentityMetrics
from .kinds import builtin_kind
from .loopback import Loopback
from .metrics import Metrics
from .negotiation import YAML
from .nodeports import NodePorts
from .processmetrics import process_lines
from .reading import Reader
from .registry import Registry, Resource
from .rendering import Renderer, to_yaml
from .repairing import ServiceRepair
from .request import Handler, Request, RequestInfo, Response, page_not_found, quote_warning
from .requestmetrics import Key, RequestMetrics, key_of
from .routing import route
from .serverconfig import ServerConfig
from .services import ServiceResolver
from .writing import Writer

log = logger("apiserver")

NO_RESOURCE = Verdict(Decision.NO_OPINION)


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
        self.chain = AdmissionChain(self.config.admission, clock.monotonic)
        self.reader = Reader(self.hub, rng, least_watch_seconds=self.config.least_watch_seconds)
        self.writer = Writer(self.committer, self.chain)
        self.deleter = Deleter(self.committer, self.chain, self.reader)
        self.objects = CacheReader(self.registry)
        self.loopback = Loopback(self.handle)
        self._allocate_services()
        self.connect_handlers = dict(self.config.connect_handlers)
        self.renderer = Renderer(clock.now)
        self.answerer = Answerer(
            self.registry, self.reader, self.writer, self.deleter, self.renderer, self.connect_handlers
        )
        self.paths: dict[str, Handler] = {}
        """Non-resource paths, exact."""
        self.prefixes: list[tuple[str, Handler]] = []
        """Non-resource paths by beginning, the first that fits."""
        self.ready = asyncio.Event()
        self.post_start: list[Callable[[], Awaitable[None]]] = []
        """Run in order by ``start``, when requests can be answered already."""
        self.auditor: Auditor | None = None
        self._impersonation = Impersonation()
        self.revocations = 0
        """Counts what ended somebody's proof of identity: what was concluded from one before is void."""
        self.background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        """More that runs as long as the server does."""
        self._prefix = b"%016x" % rng.getrandbits(64)
        self._dated, self._date = 0, b""
        self._counter = 0
        self.started = False
        self.stopping = False
        """It was told to stop, and goes on for a while."""
        self._bootstrap = Bootstrap(self.loopback, self.objects, store, clock, self.config)
        self._register_builtin()
        self.metrics = Metrics(self.config.hidden_metrics)
        self.requests = RequestMetrics(clock.monotonic)
        self.identities = IdentityMetrics()
        self.metrics.gauges += [self.requests.lines, self.identities.lines, self.chain.metrics.lines, self.repair.lines]
        self.metrics.gauges.append(process_lines)
        self.metrics.gauges.append(lambda: self.hub.metrics.lines(self.hub))
        self.metrics.asked.append(lambda: self.hub.metrics.size_lines(self.store))
        self._limit_requests()
        self.express = Express(self)
        self.definitions = Definitions(self.registry, self.hub, self.objects, self.loopback, self.deleter, rng)
        self.remotes = Remotes(
            ServiceResolver(self.objects, rng), clock, self.registry.touch, self.config.proxy_certificate
        )
        self.aggregation = Aggregation(self.objects, self.loopback, clock, self.remotes)
        self.metrics.gauges.append(self.aggregation.lines)
        self._serve_paths()
        self.committer.ttl_of = self._ttl_of

    # -- composition ------------------------------------------------------------------------------------------------

    def _register_builtin(self) -> None:
        for info in builtin_resources():
            self.registry.add(self._builtin(info))

    def _builtin(self, info: ResourceInfo) -> Resource:
        handler = self.config.virtual_resources.get(info.gvr)
        kind = builtin_kind(info)
        resource = Resource(info, kind, handler=handler)
        if info.gvr.resource in DEPRECATED:
            resource.warning = kind.strategy.deprecation_warning
        if handler is None and "get" in info.verbs and info.gvr.resource != "componentstatuses":
            stored, resource.conversion = CONVERSIONS.get(info.gvr, (info.gvr, None))
            stored_kind = kind if stored == info.gvr else builtin_kind(builtin_by_gvr()[stored])
            resource.storage = stored
            prefix = storage_prefix(stored)
            # Every kubelet lists and watches the pods of its node.
            indexed = "spec.nodeName" if stored == PODS else ""
            resource.dispatcher = self.hub.add(stored, info.namespaced, prefix, stored_kind.fields, indexed)
        return resource

    def _limit_requests(self) -> None:
        """Who may begin when: by priority and fairness, or by two plain limits."""
        config = self.config
        work = RequestWork(self.registry)
        limits = (config.max_requests_inflight, config.max_mutating_requests_inflight)
        self.limiter = limiter_of(config.fairness, limits, self.objects, self.clock, work.estimate)
        self.fairness = self.limiter if isinstance(self.limiter, Fairness) else None
        self._upkeep: Upkeep | None = None
        if self.fairness is None:
            return
        self.metrics.gauges.append(self.fairness.metrics.lines)
        self.paths |= Dumps(self.fairness.levels, self.clock).paths()
        if config.bootstrap:
            upkeep = self._upkeep = upkeep_of(self.fairness, self.loopback, self.objects, self.clock)
            self.background.append(upkeep.run)

    def _allocate_services(self) -> None:
        """Services get their addresses and ports around their commits."""

        async def create(gvr: GVR, obj: Object) -> None:
            await self.loopback("POST", f"{gvr.path}/{gvr.resource}", obj)

        async def delete(gvr: GVR, name: str) -> None:
            await self.loopback("DELETE", f"{gvr.path}/{gvr.resource}/{name}")

        config = self.config
        ports = NodePorts(self.objects, self.store, self.rng, config.service_node_port_range)
        allocator = ServiceAllocator(self.objects, create, delete, self.rng, config.service_cluster_ip_ranges, ports)
        self.writer.hooks[SERVICES] = self.deleter.hooks[SERVICES] = allocator
        self.repair = ServiceRepair(allocator, self.objects, self.loopback, self.hub, self.rng)

    def _serve_paths(self) -> None:
        """What is served beside resources."""
        behind = Behind(self.remotes, self.objects)
        discovery = Discovery(self.registry, self._address, behind)
        openapi = self.openapi = OpenApi(self.registry, self.definitions.schemas, self.clock, behind)
        self.paths.update(
            {
                "/version": self._version,
                "/version/": self._version,
                "/api": discovery.api,
                "/api/": discovery.api,
                "/apis": discovery.apis,
                "/apis/": discovery.apis,
                "/openapi/v2": openapi.v2,
                "/openapi/v3": openapi.v3,
                "/openapi/v3/": openapi.v3,
                "/": self._index,
                "/metrics": self.metrics.answer,
            }
        )
        self.prefixes += [
            ("/api/", discovery.below),
            ("/apis/", discovery.below),
            ("/openapi/v3/", openapi.v3_document),
        ]
        checks: dict[str, Check] = {"ping": ping, "log": ping, "etcd": self._store_answers}
        hooks: dict[str, Check] = {f"poststarthook/{name}": self._started for name in POST_START_HOOKS}
        readiness = {**checks, "etcd-readiness": self._store_answers, "informer-sync": self._started, **hooks}
        self.health = (
            Health("/healthz", {**checks, **hooks}),
            Health("/livez", {**checks, **hooks}),
            Health("/readyz", {**readiness, "shutdown": self._not_stopping}),
        )
        for health in self.health:
            self.paths[health.path] = health.answer
            self.prefixes.append((health.path + "/", health.answer))

    def _address(self) -> str:
        return f"{self.config.advertise_address or '127.0.0.1'}:{self.config.secure_port}"

    async def _version(self, request: Request) -> Response:
        return Response(200, version_document())

    async def _index(self, request: Request) -> Response:
        groups = [f"/apis/{g}/{v}" for g, versions in self.registry.groups.items() if g for v in versions]
        paths = sorted({*self.paths, "/api/v1", *groups, *(p.rpartition("/")[0] for p in groups)} - {"/"})
        paths = [p for p in paths if not p.endswith("/")]
        return Response(200, orjson.dumps({"paths": paths}, option=orjson.OPT_INDENT_2))

    async def _store_answers(self) -> None:
        try:
            await self.store.current_revision()
        except StoreError as failure:
            raise RuntimeError(str(failure)) from failure

    async def _started(self) -> None:
        if not self.started:
            raise RuntimeError("not finished")

    async def _not_stopping(self) -> None:
        if self.stopping or not self.ready.is_set():
            raise RuntimeError("process is shutting down")

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
        await self.definitions.start()
        self.aggregation.start()
        self.ready.set()
        if self.config.bootstrap:
            await self._bootstrap.ensure()
        if self._upkeep is not None:
            await self._upkeep.once()
        for hook in self.post_start:
            await hook()
        self.started = True

    async def run(self) -> None:
        """Background work until cancelled: compaction, bookmarks, following the store."""
        if not self.ready.is_set():
            await self.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.hub.run())
                group.create_task(self.hub.keep_small())
                group.create_task(self._bookmarks())
                if self.config.compaction_interval:
                    group.create_task(
                        Compaction(self.store, self.hub, self.clock, self.config.compaction_interval).run()
                    )
                group.create_task(self.definitions.run())
                group.create_task(self.aggregation.run())
                if self.config.bootstrap:
                    group.create_task(self.repair.run())
                    if not self.store.single_writer:
                        group.create_task(self._bootstrap.run())
                if self.auditor is not None:
                    group.create_task(self.auditor.run())
                for work in self.background:
                    group.create_task(work())
        finally:
            self.ready.clear()
            self.hub.stop()
            await self.store.close()

    def _ttl_of(self, resource: Resource) -> float:
        return self.config.event_ttl if resource.gvr.resource == "events" else 0.0

    async def _bookmarks(self) -> None:
        while True:
            await self.clock.sleep(60.0)
            for dispatcher in list(self.hub.dispatchers.values()):
                if dispatcher.watching:
                    dispatcher.bookmark(self.hub.revision)

    # -- the request path -------------------------------------------------------------------------------------------

    def next_audit_id(self) -> bytes:
        """Unique among all servers: a random part of this one's own, and a number."""
        self._counter += 1
        return b"%b-%x" % (self._prefix, self._counter)

    def date(self, moment: float) -> bytes:
        """The Date header of a moment, which is now."""
        second = int(moment)
        if second != self._dated:
            self._dated = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    async def handle(self, request: Request) -> Response:
        """Answers a request. Every failure of the client's making becomes a Status; the caller guards against the rest."""
        origins = self.config.origins
        if origins is not None and "origin" in request.headers and origins.allows(request):
            if request.method == "OPTIONS":
                return origins.preflight(request)
            response = await self._measured(request)
            response.headers += origins.headers(request)
            return response
        return await self._measured(request)

    async def _measured(self, request: Request) -> Response:
        audit_id = request.headers.get("audit-id") or self.next_audit_id().decode()
        request.audit["id"] = audit_id
        began = self.clock.monotonic()
        peak = self.requests.inflight["readOnly" if request.method in ("GET", "HEAD") else "mutating"]
        peak.begin(began)
        try:
            response = await self._guarded(request, audit_id)
        finally:
            peak.now -= 1
        if request.info is not None:
            self.requests.observe(request, response, self._key(request, request.info), began)
        return response

    def _key(self, request: Request, info: RequestInfo) -> Key:
        """How metrics name a request."""
        if not info.is_resource:
            return key_of(request, request.path in self.paths)
        resource = self.registry.lookup(info.group, info.version, info.resource)
        if resource is None or (info.subresource and resource.subresource(info.subresource) is None):
            return key_of(request, False)
        if resource.warning:
            self.requests.deprecated(info.group, info.version, info.resource, info.subresource)
        return key_of(request, True)

    async def _guarded(self, request: Request, audit_id: str) -> Response:
        """The answer with the marks that every answer has, recorded where requests are audited."""
        auditor = self.auditor
        received = self.clock.now() if auditor is not None else 0.0
        try:
            response = await self._answer(request, received)
        except (StatusError, StoreUnavailable) as failure:
            response = error_response(failure if isinstance(failure, StatusError) else unavailable(failure))
            if "yaml" in request.headers.get("accept", ""):
                response.body, response.content_type = to_yaml(response.whole), YAML
        except BaseException:
            if auditor is not None:
                auditor.panicked(request)
            raise
        if auditor is not None:
            if response.status == 401 and "record" not in request.audit:
                auditor.failed(request, response, received)
            else:
                auditor.finish(request, response)
        response.headers += [("Audit-Id", audit_id), ("Date", self.date(self.clock.now()).decode())]
        if request.seat is not None and self.fairness is not None:
            response.headers += request.seat.schema.headers
        for warning in request.warnings:
            response.headers.append(("Warning", f"299 - {quote_warning(warning)}"))
        return response

    async def _answer(self, request: Request, received: float) -> Response:
        info = request.info = route(request)
        if request.user is ANONYMOUS:
            request.user = await self._identify(request)
        if self.auditor is not None:
            self.auditor.begin(request, received)
        if asks_to_impersonate(request.headers):
            await self._impersonate(request, info)
        refused = await self.limiter.enter(request, info)
        if refused is not None:
            self.requests.terminated(self._key(request, info), refused.status)
            return refused
        seat = request.seat
        if seat is None:
            return await self._serve(request, info)
        try:
            response = await self._serve(request, info)
        except BaseException:
            self.limiter.leave(seat)
            raise
        if response.live or isinstance(response.body, bytes | tuple):
            self.limiter.leave(seat)
        else:
            response.body = self.limiter.hold(seat, response.body)
        return response

    async def _serve(self, request: Request, info: RequestInfo) -> Response:
        await self.authorize(request, info)
        remote = self.remotes.serving(request) if self.remotes.served else None
        if remote is not None:
            return await self.remotes.answer(remote, request)
        if not info.is_resource or request.path.startswith("//"):
            return await self._non_resource(request)
        return await self.answerer.answer(request, info)

    async def _identify(self, request: Request) -> UserInfo:
        """Raises StatusError 401."""
        began = self.clock.monotonic()
        try:
            user = await self.authenticate(request)
        except StatusError:
            shown = request.credentials.client_certificate or "authorization" in request.headers
            self.identities.refused(ERROR if shown else FAILURE, self.clock.monotonic() - began)
            raise
        self.identities.authenticated(user.name, self.clock.monotonic() - began)
        return user

    async def authenticate(self, request: Request) -> UserInfo:
        """Raises StatusError 401."""
        if not self.config.authenticators:
            return LOOPBACK
        credentials = request.credentials
        credentials.path, credentials.warnings = request.path, request.warnings
        credentials.annotations = request.audit.setdefault("annotations", {})
        for authenticator in self.config.authenticators:
            user = await authenticator.authenticate(credentials)
            if user is not None:
                return user
        raise unauthorized()

    async def _impersonate(self, request: Request, info: RequestInfo) -> None:
        """Raises StatusError 403 where the sender may not be whom it asks to be."""
        if self.config.authorizer is None:
            return
        asked = attributes_of(request, info)
        impersonated = await self._impersonation.impersonate(asked, request.headers, self.config.authorizer)
        if impersonated is not None:
            request.user = impersonated.user
            if self.auditor is not None:
                self.auditor.impersonated(request, impersonated.user, impersonated.constraint)

    async def authorize(self, request: Request, info: RequestInfo) -> None:
        """Raises StatusError 403."""
        authorizer = self.config.authorizer
        if authorizer is None:
            return
        attributes, began = attributes_of(request, info), self.clock.monotonic()
        if info.is_resource and not info.resource and SYSTEM_MASTERS not in request.user.groups:
            # /api/v1/namespaces/a//pods names a resource without letters, and no rule can be meant for that.
            verdict = NO_RESOURCE
        else:
            verdict = await authorizer.authorize(attributes)
        self.identities.decided(verdict, self.clock.monotonic() - began)
        allowed = verdict.decision is Decision.ALLOW
        if self.auditor is not None:
            annotations = request.audit.setdefault("annotations", {})
            if allowed or not verdict.error:
                annotations["authorization.k8s.io/decision"] = "allow" if allowed else "forbid"
            annotations["authorization.k8s.io/reason"] = (
                verdict.reason if allowed or not verdict.error else REASON_ERROR
            )
        if not allowed and verdict.error:
            raise Undecided(request.path, verdict.error)
        if not allowed:
            raise forbidden_error(attributes, verdict.reason)

    async def _non_resource(self, request: Request) -> Response:
        handler = self.paths.get(request.path)
        if handler is None:
            handler = next((h for p, h in self.prefixes if request.path.startswith(p)), None)
        if handler is None:
            return page_not_found()
        if request.method != "GET" and (request.path == "/version" or request.path.startswith(_READ_ONLY)):
            raise method_not_allowed()
        return await handler(request)


DEPRECATED = ("endpoints", "componentstatuses")
"""Of the built-in resources; named here so that no other kind's strategy need be loaded to ask."""
_READ_ONLY = ("/version/", "/api", "/openapi/")
"""Documents that know GET only; health and metrics answer any method, as Go's plain handlers do."""


class CacheReader:
    """``hooks.reading.ObjectReader`` over the watch caches. The decoded objects read last are kept."""

    KEPT = 4096

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kept: deque[Entry] = deque()

    def _cache(self, gvr: GVR) -> ResourceCache | None:
        resource = self._registry.by_gvr(gvr)
        return resource.cache if resource is not None and resource.dispatcher else None

    def _object(self, entry: Entry) -> Object:
        if not entry.decoded:
            self._kept.append(entry)
            if len(self._kept) > self.KEPT:
                self._kept.popleft().release()
        return entry.object

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        cache = self._cache(gvr)
        entry = cache.get(namespace, name) if cache is not None else None
        return self._object(entry) if entry is not None else None

    def each(self, gvr: GVR, namespace: str = "") -> Iterator[Object]:
        cache = self._cache(gvr)
        return (e.peek() for e in cache.select(namespace)) if cache is not None else iter(())

    def list(self, gvr: GVR, namespace: str = "") -> Sequence[Object]:
        cache = self._cache(gvr)
        return [self._object(e) for e in cache.select(namespace)] if cache is not None else []

    def subscribe(self, gvr: GVR, listener: Listener) -> Callable[[], None]:
        resource = self._registry.by_gvr(gvr)
        if resource is None or resource.dispatcher is None:
            return _nothing_to_end  # what is not served never changes
        return resource.cache.subscribe(listener)


def _nothing_to_end() -> None:
    """Ends a subscription that never began."""


def error_response(failure: StatusError) -> Response:
    """The Status body of a failure."""
    if isinstance(failure, Undecided):
        headers = [("X-Content-Type-Options", "nosniff")]
        return Response(failure.code, f"{failure.message}\n".encode(), "text/plain; charset=utf-8", headers)
    body = orjson.dumps(failure.to_status(), option=orjson.OPT_APPEND_NEWLINE)
    response = Response(failure.code, body)
    if failure.retry_after is not None:
        response.headers.append(("Retry-After", str(failure.retry_after)))
    response.headers += failure.headers.items()
    return response


_SELECTING_VERBS = frozenset({"list", "watch", "deletecollection"})


def attributes_of(request: Request, info: RequestInfo) -> Attributes:
    """The question that a request puts to the authorizer."""
    user = request.user
    if not info.is_resource:
        return Attributes(user, info.verb, path=info.path)
    fields = labels = ""
    if request.raw_query and info.verb in _SELECTING_VERBS:
        fields, labels = request.param("fieldSelector"), request.param("labelSelector")
    return Attributes(
        user, info.verb, info.group, info.version, info.resource, info.subresource, info.namespace, info.name, info.path,
        fields, labels,
    )  # fmt: skip
