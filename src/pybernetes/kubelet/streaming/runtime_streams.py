"""The upgrade of one request, towards a URL that the runtime gave for it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ...concurrency import Clock
from ...streams.connection import Connection, RawConnection, dial
from ...streams.http_client import ClientExchange, Upgraded, upgrade
from ...streams.http_server import HttpRequest, HttpResponse
from ...streams.relay import IDLE_TIMEOUT, Translator, relay, translate
from ...wire.channels import V5
from ...wire.portforward import TUNNEL_PREFIX, tunnelled
from ...wire.remotecommand import SPDY_PROTOCOLS, StreamOptions
from ...wire.translation import ExecTranslator, TunnelTranslator
from ...wire.upgrade import (
    SPDY31,
    STREAM_PROTOCOL,
    NegotiationError,
    accept_websocket,
    is_upgrade,
    is_websocket,
    split_list,
    websocket_protocols,
)

MAX_REFUSAL = 1 << 20

# Of the client's headers these alone mean something to the runtime; its identity does not.
_PASSED = ("upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol")


def text_response(status: int, message: str) -> HttpResponse:
    return HttpResponse(status, message.encode(), "text/plain; charset=utf-8")


async def serve_command(
    request: HttpRequest,
    url: str,
    options: StreamOptions,
    *,
    clock: Clock,
    idle_timeout: float = IDLE_TIMEOUT,
) -> HttpResponse:
    """exec and attach. ``url`` is the runtime's, good for one connection."""
    if is_websocket(request.headers) and V5 in websocket_protocols(request.headers):
        return await _translated(
            request,
            url,
            list(SPDY_PROTOCOLS),
            lambda spoken: V5,
            lambda spoken: ExecTranslator(options, backend_protocol=spoken),
            clock=clock,
            idle_timeout=idle_timeout,
        )
    return await _passed_on(request, url, clock=clock, idle_timeout=idle_timeout)


async def serve_port_forward(
    request: HttpRequest, url: str, *, clock: Clock, idle_timeout: float = IDLE_TIMEOUT
) -> HttpResponse:
    offered = tunnelled(websocket_protocols(request.headers)) if is_websocket(request.headers) else []
    if offered:
        return await _translated(
            request,
            url,
            offered,
            lambda spoken: TUNNEL_PREFIX + spoken,
            lambda spoken: TunnelTranslator(),
            clock=clock,
            idle_timeout=idle_timeout,
        )
    return await _passed_on(request, url, clock=clock, idle_timeout=idle_timeout)


def _headers(request: HttpRequest) -> list[tuple[str, str]]:
    headers = [(name, request.headers[name]) for name in _PASSED if request.headers.get(name)]
    # Older streaming servers read one protocol a header and know nothing of lists.
    headers += [(STREAM_PROTOCOL, p) for p in split_list(request.headers.get(STREAM_PROTOCOL.lower(), ""))]
    return headers


async def _ask(
    url: str, method: str, headers: list[tuple[str, str]], clock: Clock
) -> tuple[Connection, Upgraded | ClientExchange]:
    """Raises ConnectionError in upstream's words."""
    parts = urlsplit(url)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        connection = await dial(parts.hostname or "", parts.port or 80, clock=clock)
    except ConnectionError as failure:
        raise ConnectionError(f"error dialing backend: {failure}") from failure
    complete = [("Host", parts.netloc), ("Connection", "Upgrade"), *headers, ("Content-Length", "0")]
    try:
        return connection, await upgrade(connection, method, target, complete)
    except BaseException:
        connection.abort()
        raise


async def _passed_on(request: HttpRequest, url: str, *, clock: Clock, idle_timeout: float) -> HttpResponse:
    if not is_upgrade(request.headers):
        return text_response(400, "Upgrade request required")
    try:
        connection, answer = await _ask(url, request.method, _headers(request), clock)
    except ConnectionError as failure:
        return text_response(500, str(failure))
    if isinstance(answer, ClientExchange):
        return await _refusal(answer)

    async def run(client: RawConnection) -> None:
        await relay(client, connection, clock=clock, idle_timeout=idle_timeout)

    return HttpResponse(101, headers=_kept(answer.head.headers), upgrade=run)


async def _translated(
    request: HttpRequest,
    url: str,
    offered: list[str],
    client_protocol: Callable[[str], str],
    translator: Callable[[str], Translator],
    *,
    clock: Clock,
    idle_timeout: float,
) -> HttpResponse:
    headers = [("Upgrade", SPDY31), *((STREAM_PROTOCOL, protocol) for protocol in offered)]
    try:
        connection, answer = await _ask(url, "POST", headers, clock)
    except ConnectionError as failure:
        return text_response(500, str(failure))
    if isinstance(answer, ClientExchange):
        return await _refusal(answer)
    spoken = answer.head.get(STREAM_PROTOCOL) or offered[-1]
    try:
        _, accepted = accept_websocket(request.headers, [client_protocol(spoken)])
    except NegotiationError as refusal:
        connection.abort()
        return HttpResponse(refusal.status, f"{refusal}\n".encode(), "text/plain; charset=utf-8", refusal.headers)

    async def run(client: RawConnection) -> None:
        await translate(client, connection, translator(spoken), clock=clock, idle_timeout=idle_timeout)

    return HttpResponse(101, headers=accepted, upgrade=run)


async def _refusal(answer: ClientExchange) -> HttpResponse:
    try:
        if answer.status < 400:
            return text_response(500, f"invalid upgrade response: status code {answer.status}")
        body = await answer.read(MAX_REFUSAL)
        return HttpResponse(answer.status, body, answer.header("content-type"))
    except ConnectionError as failure:
        return text_response(500, str(failure))
    finally:
        answer.close()


def _kept(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in ("content-length", "date")]
