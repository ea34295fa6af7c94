"""The servers behind this one: who serves which group version, and passing requests on to them.

A request goes to an endpoint of the APIService's Service over TLS, with the front proxy's certificate and the user in
``X-Remote-*`` headers; the server behind believes them because of the certificate. Specified by "Configure the Aggregation Layer".
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from ...api.errors import StatusError
from ...api.meta import Object, is_condition_true, name_of
from ...concurrency import Clock, logger
from ...hooks.identity import SYSTEM_MASTERS, UserInfo
from ...streams.http_client import Upgraded
from ...wire.upgrade import is_upgrade
from ..admission.webhooks.calling import CallFailed, client_context
from ..request import Request, Response
from ..services import ServiceResolver, Unresolvable
from ..streaming.forwarding import Backend, forward_upgrade, forwarded_headers, switch, to_response
from .connections import Connections
from .decide import group_version, reference

log = logger("apiserver.aggregation")

AGGREGATOR = UserInfo("system:kube-aggregator", groups=(SYSTEM_MASTERS,))
FETCH_SECONDS = 5.0
MAX_DOCUMENT = 64 << 20


class Unreachable(Exception):
    """A server behind did not answer as it should; the message says what it did."""


@dataclass(slots=True, eq=False)
class Remote:
    """One APIService with a Service."""

    name: str
    group: str
    version: str
    target: tuple[str, str, int]
    spec: Mapping[str, Any]
    available: bool
    tls: ssl.SSLContext | None = None
    problem: str = ""
    """Why no connection can be made at all."""
    discovery: dict[str, Any] | None = None
    """What it serves, as ``apidiscovery.k8s.io`` tells it; None before it was asked."""
    openapi: dict[str, str] = field(default_factory=dict)
    """Its OpenAPI v3 documents: path to URL."""
    openapi_v2: tuple[dict[str, Any], dict[str, Any]] = field(default_factory=lambda: ({}, {}))

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


class Remotes:
    """All of them, by group version, and how they are reached."""

    def __init__(
        self,
        resolver: ServiceResolver,
        clock: Clock,
        changed: Callable[[], None],
        certificate: tuple[str, str] | None = None,
    ) -> None:
        """``changed`` is called when discovery and OpenAPI must be made anew; ``certificate`` is the front proxy's."""
        self._resolver, self._clock, self._changed = resolver, clock, changed
        self._certificate = certificate
        self._connections = Connections(clock)
        self.served: dict[tuple[str, str], Remote] = {}

    # -- who serves what --------------------------------------------------------------------------------------------

    def take(self, service: Object) -> Remote | None:
        """Notes an APIService as it is now; the remote where it has one."""
        key, target = group_version(service), reference(service)
        if target is None:
            self._forget(key)
            return None
        known, spec = self.served.get(key), service.get("spec") or {}
        if known is not None and known.spec == spec:
            available = is_condition_true(service, "Available")
            if known.available != available:
                known.available = available
                self._changed()
            return known
        remote = Remote(name_of(service), *key, target, spec, is_condition_true(service, "Available"))
        if known is not None:
            remote.discovery, remote.openapi, remote.openapi_v2 = known.discovery, known.openapi, known.openapi_v2
        try:
            remote.tls = self._context(spec)
        except CallFailed as failure:
            remote.problem = str(failure)
        if known is not None:
            self._connections.drop(known.tls)
        self.served[key] = remote
        self._changed()
        return remote

    def drop(self, service: Object) -> None:
        """The APIService is gone."""
        known = self.served.get(group_version(service))
        if known is not None and known.name == name_of(service):
            self._forget(group_version(service))

    def _forget(self, key: tuple[str, str]) -> None:
        gone = self.served.pop(key, None)
        if gone is not None:
            self._connections.drop(gone.tls)
            self._changed()

    def note_documents(self, remote: Remote, **documents: Any) -> None:
        """Takes what was fetched; who has asked before sees it at once."""
        before = [getattr(remote, name) for name in documents]
        for name, value in documents.items():
            setattr(remote, name, value)
        if before != list(documents.values()):
            self._changed()

    def _context(self, spec: Mapping[str, Any]) -> ssl.SSLContext:
        try:
            bundle = base64.b64decode(spec.get("caBundle") or "", validate=True)
        except binascii.Error as failure:
            raise CallFailed("unable to load root certificates: illegal base64 data") from failure
        context = client_context(bundle, self._certificate)
        if spec.get("insecureSkipTLSVerify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def serving(self, request: Request) -> Remote | None:
        """Who serves a request that this server does not."""
        parts = request.path.split("/", 4)
        if len(parts) < 4 or parts[1] != "apis":
            return None
        return self.served.get((parts[2], parts[3]))

    # -- passing on -------------------------------------------------------------------------------------------------

    async def answer(self, remote: Remote, request: Request) -> Response:
        """Passes a request on. Every failure is a plain text, as upstream."""
        if not remote.available:
            return plain(503, "service unavailable")
        if remote.problem:
            return plain(500, remote.problem)
        try:
            backend = self._backend(remote, request.path, request.raw_query)
        except Unresolvable as failure:
            log.warning("error resolving", service=remote.name, error=str(failure))
            return plain(503, "service unavailable")
        identity = identity_headers(request.user)
        if is_upgrade(request.headers):
            return await self._upgrade(request, backend, identity)
        headers = [*forwarded_headers(request, upgrading=False), *identity]
        try:
            answer = await self._connections.exchange(backend, request.method, headers, request.body)
        except ConnectionError as failure:
            return plain(503, str(failure))
        response = to_response(answer)
        info = request.info
        response.live = info is not None and info.verb == "watch"
        return response

    async def _upgrade(self, request: Request, backend: Backend, identity: list[tuple[str, str]]) -> Response:
        changes: dict[str, str | None] = {}
        for name, value in identity:
            known = changes.get(name)
            changes[name] = value if known is None else f"{known}\n{value}"
        try:
            upgraded = await forward_upgrade(request, backend, self._clock, changes=changes)
        except StatusError as failure:
            return plain(503, failure.message)
        return switch(upgraded, self._clock) if isinstance(upgraded, Upgraded) else upgraded

    def _backend(self, remote: Remote, path: str, query: str = "") -> Backend:
        namespace, name, port = remote.target
        address = self._resolver.resolve(namespace, name, port)
        return Backend(address.host, address.port, path, query, remote.tls, f"{name}.{namespace}.svc")

    # -- asking for ourselves ---------------------------------------------------------------------------------------

    async def fetch(self, remote: Remote, path: str, accept: str) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of a GET as the aggregator itself. Raises Unreachable."""
        if remote.problem:
            raise Unreachable(remote.problem)
        try:
            path, _, query = path.partition("?")
            backend = self._backend(remote, path, query)
        except Unresolvable as failure:
            raise Unreachable(str(failure)) from failure
        headers = [
            ("Host", f"{backend.server_hostname}:{remote.target[2]}"),
            ("Accept", accept),
            ("User-Agent", "kube-aggregator"),
            *identity_headers(AGGREGATOR),
        ]
        try:
            async with self._clock.timeout(FETCH_SECONDS):
                answer = await self._connections.exchange(backend, "GET", headers)
                try:
                    body = await answer.read(MAX_DOCUMENT)
                finally:
                    answer.close()
        except TimeoutError as failure:
            words = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            raise Unreachable(
                f'failing or missing response from {backend.url}: Get "{backend.url}": {words}'
            ) from failure
        except ConnectionError as failure:
            words = f'Get "{backend.url}": {failure}'
            raise Unreachable(f"failing or missing response from {backend.url}: {words}") from failure
        if not 200 <= answer.status < 300:
            words = f"bad status from {backend.url}: {answer.status}"
            raise Unreachable(f"failing or missing response from {backend.url}: {words}")
        return answer.status, {n.lower(): v for n, v in answer.headers}, body

    async def document(
        self, remote: Remote, path: str, accept: str = "application/json"
    ) -> tuple[Any, Mapping[str, str]]:
        """A JSON document and the headers that it came with. Raises Unreachable."""
        _, headers, body = await self.fetch(remote, path, accept)
        try:
            return orjson.loads(body), headers
        except orjson.JSONDecodeError as failure:
            raise Unreachable(f"{path} is not JSON: {failure}") from failure


def identity_headers(user: UserInfo) -> list[tuple[str, str]]:
    """Who asks, for a server that believes us."""
    found = [("X-Remote-User", user.name)]
    if user.uid:
        found.append(("X-Remote-Uid", user.uid))
    found += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        # Keys may have any character; those that no header name can have are percent-encoded.
        name = "X-Remote-Extra-" + quote(key, safe="!#$&'*+-.^_`|~")
        found += [(name, value) for value in values]
    return found


def plain(status: int, text: str) -> Response:
    """Go's ``http.Error``."""
    headers = [("X-Content-Type-Options", "nosniff")]
    return Response(status, text.encode() + b"\n", "text/plain; charset=utf-8", headers)
