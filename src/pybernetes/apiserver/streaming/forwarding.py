"""Passing a request on to a backend and its answer back, upgrades included: the core of all proxies.

Specified by apimachinery's ``UpgradeAwareHandler`` and Go's ReverseProxy. ``target`` and host come from who resolved the backend.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from ...api.errors import service_unavailable
from ...concurrency import Clock
from ...streams.connection import Connection, RawConnection, dial
from ...streams.http_client import ClientExchange, Upgraded, exchange, upgrade
from ...streams.relay import relay
from ...wire.upgrade import split_list
from ..request import Request, Response
from .context import plain_error

MAX_REFUSAL = 1 << 20

# They belong to one hop (RFC 9110, 7.6.1), or proved the client's identity to us and are nobody else's business.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_OURS = ("authorization", "impersonate-", "x-remote-user", "x-remote-group", "x-remote-uid", "x-remote-extra-")
_BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
_CORS = frozenset(
    (
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
    )
)


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a request goes. ``path`` is decoded; ``tls`` None means plain."""

    host: str
    port: int
    path: str
    raw_query: str = ""
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    dial_timeout: float = 30.0

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        path = quote(self.path or "/", safe="/$&+,:;=@-_.~")
        return f"{path}?{self.raw_query}" if self.raw_query else path

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.target}"

    async def dial(self, clock: Clock) -> Connection:
        """Raises DialError."""
        return await dial(
            self.host,
            self.port,
            clock=clock,
            tls=self.tls,
            server_hostname=self.server_hostname,
            timeout=self.dial_timeout,
        )


def forwarded_headers(request: Request, *, upgrading: bool) -> list[tuple[str, str]]:
    """The client's headers as the backend gets them: Host kept, hop-by-hop and credentials dropped, X-Forwarded-For added."""
    listed = {name.lower() for name in split_list(request.headers.get("connection", ""))}
    headers: list[tuple[str, str]] = [("Host", request.headers.get("host", ""))]
    for name, value in request.headers.items():
        if name in ("host", "content-length", "x-forwarded-for") or name.startswith(_OURS):
            continue
        if name in _HOP_BY_HOP or (name in listed and not upgrading):
            continue
        headers += [(name, part) for part in _values(name, value)]
    if upgrading:
        headers += [("Connection", "Upgrade"), ("Upgrade", request.headers.get("upgrade", ""))]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(len(request.body))))
    chain = [*split_list(request.headers.get("x-forwarded-for", "")), _client_ip(request)]
    if any(chain):
        headers.append(("X-Forwarded-For", ", ".join(filter(None, chain))))
    return headers


def _values(name: str, value: str) -> list[str]:
    if name == "sec-websocket-protocol":
        kept = [p for p in split_list(value) if not p.startswith(_BEARER_PROTOCOL)]
        return [", ".join(kept)] if kept else []
    if name == "x-stream-protocol-version":
        # Older streaming servers read one protocol a header and know nothing of lists.
        return split_list(value)
    return value.split("\n")


def _client_ip(request: Request) -> str:
    address = request.credentials.remote_address
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address


async def forward(
    request: Request, backend: Backend, clock: Clock, *, extra: Sequence[tuple[str, str]] = ()
) -> ClientExchange:
    """One plain request. Raises 503 where the backend does not answer."""
    headers = [*forwarded_headers(request, upgrading=False), *extra, ("Connection", "close")]
    try:
        connection = await backend.dial(clock)
    except ConnectionError as failure:
        raise service_unavailable(f"error trying to reach service: {failure}") from failure
    try:
        return await exchange(connection, request.method, backend.target, headers, request.body)
    except ConnectionError as failure:
        connection.abort()
        raise service_unavailable(f"error trying to reach service: {failure}") from failure
    except BaseException:
        connection.abort()
        raise


def to_response(answer: ClientExchange, headers: Sequence[tuple[str, str]] | None = None) -> Response:
    """The backend's answer as ours, its body passed through as it comes."""
    kept = response_headers(answer.headers if headers is None else headers)
    content_type = next((v for n, v in kept if n.lower() == "content-type"), "")

    return Response(
        status=answer.status,
        body=answer.body(),
        content_type=content_type,
        headers=[(n, v) for n, v in kept if n.lower() != "content-type"],
    )


def response_headers(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    listed = {name.lower() for key, value in headers if key.lower() == "connection" for name in split_list(value)}
    return [(n, v) for n, v in headers if n.lower() not in _HOP_BY_HOP | _CORS and n.lower() not in listed]


async def forward_upgrade(
    request: Request,
    backend: Backend,
    clock: Clock,
    *,
    method: str = "",
    changes: Mapping[str, str | None] | None = None,
) -> Upgraded | Response:
    """Asks the backend for the upgrade that the client asks for; a refusal comes back as the Response to give.

    ``changes`` replaces headers by lower-case name (None drops one). Raises 500 where the backend cannot be reached.
    """
    headers = forwarded_headers(request, upgrading=True)
    if changes:
        headers = [(n, v) for n, v in headers if n.lower() not in changes]
        headers += [(n, part) for n, v in changes.items() if v is not None for part in v.split("\n")]
    try:
        connection = await backend.dial(clock)
    except ConnectionError as failure:
        raise plain_error(f"error dialing backend: {failure}") from failure
    try:
        answer = await upgrade(connection, method or request.method, backend.target, headers, request.body)
        if isinstance(answer, Upgraded):
            return answer
        refusal = await _refusal(answer)
    except ConnectionError as failure:
        connection.abort()
        raise plain_error(f"error sending request: {failure}") from failure
    except BaseException:
        connection.abort()
        raise
    connection.abort()
    return refusal


async def _refusal(answer: ClientExchange) -> Response:
    if answer.status < 400:
        raise plain_error(f"invalid upgrade response: status code {answer.status}")
    body = await answer.read(MAX_REFUSAL)
    kept = [(n, v) for n, v in response_headers(answer.headers) if n.lower() not in ("content-length", "content-type")]
    return Response(answer.status, body, answer.header("content-type"), kept)


def switch(upgraded: Upgraded, clock: Clock) -> Response:
    """101 with the backend's own headers; from then on bytes go both ways untouched."""

    async def run(client: RawConnection) -> None:
        await relay(client, upgraded.connection, clock=clock)

    headers = [(n, v) for n, v in upgraded.head.headers if n.lower() not in ("content-length", "date")]
    return Response(101, content_type="", headers=headers, upgrade=run)
