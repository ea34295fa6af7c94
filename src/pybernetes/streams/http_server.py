"""A small HTTP/1.1 server whose connections can be taken over: what the kubelet's server runs on.

One task a connection, one request at a time on it; bodies in are whole and bounded, bodies out whole or streamed at the pace of
who reads them. A client that goes away cancels the handler of its request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import httptools

from ..concurrency import Clock, TimerHandle, logger
from ..wire.upgrade import encode_response
from .connection import Connection, RawConnection

log = logger("http")


@dataclass(slots=True)
class HttpRequest:
    """Header names in lower case; the values of one that came more than once are joined by a line feed."""

    method: str
    path: str
    raw_query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client_certificate: bytes | None = None
    """The verified certificate, in DER form."""
    remote_address: str = ""
    keep_alive: bool = True
    upgrading: bool = False
    old_http: bool = False

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.raw_query, keep_blank_values=True)


@dataclass(slots=True)
class HttpResponse:
    """With ``upgrade`` the status is 101 and the connection belongs to it, which is awaited exactly once, whatever happens."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    upgrade: Callable[[RawConnection], Awaitable[None]] | None = None


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    head: int = 1 << 20
    body: int = 16 << 20
    pipelined: int = 16
    idle_seconds: float = 90.0


class HttpServer:
    """Listens in ``async with``-less style: ``run`` serves until cancelled; ``port`` is known when ``started`` is set."""

    def __init__(
        self,
        handler: HttpHandler,
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        limits: HttpLimits | None = None,
    ) -> None:
        self.handler = handler
        self.clock = clock
        self.limits = limits or HttpLimits()
        self.host, self.port = host, port
        self.started = asyncio.Event()
        self._tls = tls
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            server = await asyncio.get_running_loop().create_server(
                lambda: _ServerConnection(self, group), self.host, self.port, ssl=self._tls
            )
            self.port = server.sockets[0].getsockname()[1]
            self.started.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                server.close()


class _ServerConnection(asyncio.Protocol):
    """Parses requests as they come and hands them to its task."""

    def __init__(self, server: HttpServer, group: asyncio.TaskGroup) -> None:
        self._server, self._group = server, group
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._requests: deque[HttpRequest | int] = deque()
        self._arrived: asyncio.Event = asyncio.Event()
        self._writable: asyncio.Event = asyncio.Event()
        self._writable.set()
        self._idle: TimerHandle | None = None
        self._refused = False
        self._behind_upgrade = b""
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head_size = self._body_size = 0
        self._in_head = True

    # --- the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._task = self._group.create_task(self._serve())
        self._restart_idle()

    def connection_lost(self, failure: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > self._server.limits.head:
                self._refuse(431)
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._refused = True
            self._behind_upgrade = data[upgrade.args[0] :]
            if self._transport is not None:
                # What comes now is not HTTP: it waits in the kernel for whoever takes the connection over.
                self._transport.pause_reading()
        except httptools.HttpParserError:
            self._refuse(400)

    def _refuse(self, status: int) -> None:
        if not self._refused:
            self._refused = True
            self._requests.append(status)
            self._arrived.set()

    # --- the parser's callbacks

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}\n{text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > self._server.limits.body:
            self._refuse(413)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refused or self._transport is None:
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        tls = self._transport.get_extra_info("ssl_object")
        peer = self._transport.get_extra_info("peername") or ("", 0)
        self._requests.append(
            HttpRequest(
                self._parser.get_method().decode("latin-1"),
                unquote(path),
                query,
                self._headers,
                b"".join(self._body),
                tls.getpeercert(True) if tls is not None else None,
                f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}",
                self._parser.should_keep_alive(),
                self._parser.should_upgrade(),
                self._parser.get_http_version() == "1.0",
            )
        )
        self._arrived.set()
        self._begin()
        if len(self._requests) >= self._server.limits.pipelined:
            self._transport.pause_reading()

    # --- the connection's task

    def _restart_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._server.clock.call_later(self._server.limits.idle_seconds, self._on_idle)

    def _on_idle(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def _serve(self) -> None:
        transport = self._transport
        assert transport is not None
        try:
            while not transport.is_closing():
                while not self._requests:
                    self._arrived.clear()
                    await self._arrived.wait()
                request = self._requests.popleft()
                if self._idle is not None:
                    self._idle.cancel()
                if isinstance(request, int):
                    self._write_whole(HttpResponse(request, HTTPStatus(request).phrase.encode()), None, False)
                    return
                if not await self._answer(request, transport):
                    return
                self._restart_idle()
                if not self._refused:
                    transport.resume_reading()
        except ConnectionError:
            return
        finally:
            if self._idle is not None:
                self._idle.cancel()
            transport.close()

    async def _answer(self, request: HttpRequest, transport: asyncio.Transport) -> bool:
        """Whether the connection can take another request."""
        try:
            response = await self._server.handler(request)
        except Exception as failure:  # noqa: BLE001 - the boundary of one request: it must not take the server down
            log.error("handler failed", failure=failure, method=request.method, path=request.path)
            response = HttpResponse(500, b"Internal Server Error\n", "text/plain; charset=utf-8")
        if response.upgrade is not None:
            await self._hand_over(response, transport)
            return False
        keep = request.keep_alive and not request.upgrading
        if isinstance(response.body, bytes):
            self._write_whole(response, request, keep)
            await self._drain()
            return keep
        return await self._write_stream(response, response.body, request, keep)

    async def _hand_over(self, response: HttpResponse, transport: asyncio.Transport) -> None:
        assert response.upgrade is not None
        head = encode_response(101, "Switching Protocols", response.headers)
        transport.write(head)
        self._task = None
        connection = Connection.adopt(transport, self._behind_upgrade)
        await response.upgrade(connection)
        connection.close()

    def _head(self, response: HttpResponse, extra: list[tuple[str, str]]) -> bytes:
        headers = list(response.headers)
        if response.content_type:
            headers.append(("Content-Type", response.content_type))
        try:
            reason = HTTPStatus(response.status).phrase
        except ValueError:
            reason = ""
        return encode_response(response.status, reason, headers + extra)

    def _write_whole(self, response: HttpResponse, request: HttpRequest | None, keep: bool) -> None:
        body = cast(bytes, response.body)
        extra = [("Content-Length", str(len(body)))]
        if not keep:
            extra.append(("Connection", "close"))
        if request is not None and request.method == "HEAD":
            body = b""
        assert self._transport is not None
        self._transport.write(self._head(response, extra) + body)

    async def _write_stream(
        self, response: HttpResponse, body: AsyncIterator[bytes], request: HttpRequest, keep: bool
    ) -> bool:
        transport = self._transport
        assert transport is not None
        sized = any(name.lower() == "content-length" for name, _ in response.headers)
        chunked = not sized and not request.old_http
        keep = keep and (sized or chunked)
        extra = [("Transfer-Encoding", "chunked")] if chunked else []
        if not keep:
            extra.append(("Connection", "close"))
        transport.write(self._head(response, extra))
        try:
            if request.method != "HEAD":
                async for chunk in body:
                    if chunk:
                        transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                        await self._drain()
                if chunked:
                    transport.write(b"0\r\n\r\n")
        except ConnectionError:
            # The body broke off: closing without the end mark tells the client that it is not whole.
            transport.abort()
            return False
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        await self._drain()
        return keep

    async def _drain(self) -> None:
        if not self._writable.is_set():
            await self._writable.wait()
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client went away")
