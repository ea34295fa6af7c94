"""How a client reaches an API server: over HTTP/1.1 (``HttpTransport``), or by a call in the same process.

The HTTP one is ours and small: an asyncio protocol around httptools' parser with a pool of kept-alive connections, because
controllers send thousands of small requests a second and the general clients cost several times as much a request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httptools


class TransportError(ConnectionError):
    """The server could not be reached, or the connection broke. ``sent`` tells whether it may have acted."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


@dataclass(slots=True)
class ClientRequest:
    """``target`` is path and query, percent-encoded."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class ClientResponse(Protocol):
    """Header names are in lower case. Either ``read`` or ``chunks`` is used, once; ``close`` always."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes: ...

    def chunks(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None: ...


class Transport(Protocol):
    async def send(self, request: ClientRequest) -> ClientResponse:
        """Returns when the head of the answer is there. Raises TransportError."""
        ...

    def close(self) -> None: ...


class _Connection(asyncio.Protocol):
    """One connection; one exchange at a time."""

    # A slow reader of a watch stops the socket here instead of buffering without bound.
    HIGH_WATER = 1 << 20

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self._parser: Any = None
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.keep_alive = True
        self.complete = False
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._failure: Exception | None = None
        self._head: asyncio.Future[None] | None = None
        self._more: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, failure: Exception | None) -> None:
        self.closed = True
        if not self.complete:
            self._failure = failure or ConnectionResetError("connection closed by the server")
            self._wake()

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as failure:
            self._failure = failure
            self.abort()
            self._wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.keep_alive = self._parser.should_keep_alive()
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > self.HIGH_WATER and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        self.complete = True
        self._parser = None if not self.keep_alive else self._parser
        self._wake()

    def _wake(self) -> None:
        for waiter in (self._head, self._more):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    async def exchange(self, payload: bytes) -> None:
        self._begin()
        self._parser = httptools.HttpResponseParser(self)
        assert self.transport is not None
        self._head = asyncio.get_running_loop().create_future()
        self.transport.write(payload)
        await self._head
        if self._failure is not None:
            raise TransportError(f"no answer: {self._failure}", sent=True) from self._failure

    async def next_chunk(self) -> bytes:
        """The next piece of the body, b'' at its end."""
        while not self._chunks:
            if self.complete:
                return b""
            if self._failure is not None:
                raise TransportError(f"answer broken off: {self._failure}", sent=True) from self._failure
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return data

    def abort(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class _HttpResponse:
    def __init__(self, connection: _Connection, release: Callable[[_Connection], None]) -> None:
        self._connection = connection
        self._release: Callable[[_Connection], None] | None = release
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers

    async def read(self) -> bytes:
        parts = []
        async for chunk in self.chunks():
            parts.append(chunk)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._connection.next_chunk():
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release(self._connection)


class HttpTransport:
    """HTTP/1.1 to one server, with TLS where ``tls`` is given. Connections are made as needed and kept."""

    MAX_IDLE = 64

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        headers: Mapping[str, str] | None = None,
        unix_path: str | None = None,
        token: Callable[[], str] | None = None,
        address: tuple[str, int] | None = None,
    ) -> None:
        """``address`` is where to connect, where the name in ``host`` does not lead there (a Service's endpoint)."""
        self._host, self._port, self._tls = *(address or (host, port)), tls
        self._server_hostname = server_hostname or host
        self.authority = f"{host}:{port}"
        self._unix_path = unix_path
        self._token = token
        self._idle: list[_Connection] = []
        bracketed = f"[{host}]" if ":" in host else host
        lines = [f"Host: {bracketed}:{port}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        self._fixed = "\r\n".join(lines)
        self._open: set[_Connection] = set()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            if self._unix_path is not None:
                _, connection = await loop.create_unix_connection(_Connection, self._unix_path)
            else:
                _, connection = await loop.create_connection(
                    _Connection,
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._server_hostname if self._tls else None,
                )
        except (OSError, ssl.SSLError) as failure:
            raise TransportError(f"dial tcp {self._host}:{self._port}: {failure}", sent=False) from failure
        self._open.add(connection)
        return connection

    def _payload(self, request: ClientRequest) -> bytes:
        lines = [f"{request.method} {request.target} HTTP/1.1", self._fixed]
        lines += [f"{k}: {v}" for k, v in request.headers.items()]
        if self._token is not None and "Authorization" not in request.headers:
            lines.append(f"Authorization: Bearer {self._token()}")
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(request.body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body

    async def send(self, request: ClientRequest) -> ClientResponse:
        payload = self._payload(request)
        while True:
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else await self._connect()
            if connection.closed:
                self._open.discard(connection)
                continue
            try:
                await connection.exchange(payload)
            except TransportError:
                self._discard(connection)
                # A kept-alive connection that the server closed meanwhile says nothing about this request; only what is
                # safe to repeat is sent again.
                if reused and request.method in ("GET", "HEAD"):
                    continue
                raise
            except BaseException:
                self._discard(connection)
                raise
            return _HttpResponse(connection, self._release)

    def _discard(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.abort()

    def _release(self, connection: _Connection) -> None:
        if connection.complete and connection.keep_alive and not connection.closed and len(self._idle) < self.MAX_IDLE:
            self._idle.append(connection)
        else:
            self._discard(connection)

    def take_certificate(self, file: str | Path) -> None:
        """Shows another client certificate from now on (PEM, with its key): every connection is made anew."""
        if self._tls is not None:
            self._tls.load_cert_chain(file)
        self.close()

    def close(self) -> None:
        for connection in list(self._open):
            connection.abort()
        self._open.clear()
        self._idle.clear()
