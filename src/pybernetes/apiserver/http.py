"""The HTTP front: connections in, requests to the server, responses and streams out.

One asyncio protocol a connection around httptools' parser, HTTP/1.1 only (with keep-alive; pipelined requests are answered
in order, a bounded number is read ahead). A client repeats its header block byte for byte on a kept connection, so a
parsed block is kept and a request whose block is the same again is not parsed again. Specified by RFC 9112.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import unquote

import httptools

from ..api.errors import StatusError, bad_request, internal_error, request_entity_too_large
from ..concurrency import Clock, logger
from ..hooks.identity import Credentials
from . import http_limits as limits
from .body import MAX_BODY
from .encoding import chunk
from .express import Express, Pass
from .handshake import peer_certificates
from .http_ends import RawStream, StreamSink, discard, head_of, status_line
from .memory import collect_ended
from .request import Request, Response
from .server import ApiServer, error_response

log = logger("apiserver.http")


class HttpServer:
    """The listening side: accepts connections for one ``ApiServer``."""

    def __init__(self, server: ApiServer, clock: Clock) -> None:
        self.server = server
        self.express: Express | None = getattr(server, "express", None)
        """Another server behind this front may have no short way."""
        self.clock = clock
        self.connections: set[Connection] = set()
        self.group: asyncio.TaskGroup | None = None
        self.port = 0
        self.draining = self.shared = False
        self.ended = 0
        """TLS connections that have ended since their remains were last taken away."""

    async def run(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        unix_path: str | None = None,
        started: asyncio.Event | None = None,
    ) -> None:
        """Serves until cancelled; ``port`` 0 takes a free one (see ``self.port``). Raises OSError where it cannot listen."""
        loop = asyncio.get_running_loop()
        listeners = []
        async with asyncio.TaskGroup() as group:
            self.group = group
            try:
                if host or tls:
                    listener = await loop.create_server(
                        lambda: Connection(self),
                        host or None,
                        port,
                        ssl=tls,
                        backlog=1024,
                        reuse_address=True,
                        reuse_port=self.shared,
                    )
                    listeners.append(listener)
                    self.port = listener.sockets[0].getsockname()[1]
                if unix_path:
                    listeners.append(await loop.create_unix_server(lambda: Connection(self), unix_path))
                if started is not None:
                    started.set()
                await self._sweep()
            finally:
                self.draining = True
                for listener in listeners:
                    listener.close()
                for connection in list(self.connections):
                    connection.shut()

    async def _sweep(self) -> None:
        """Closes connections whose peers do not finish what they began."""
        while True:
            await self.clock.sleep(limits.SWEEP)
            now = self.clock.monotonic()
            for connection in [c for c in self.connections if c.deadline and c.deadline < now]:
                connection.expire()
            if self.ended >= limits.WORTH_COLLECTING:
                self.ended = 0
                collect_ended()


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, front: HttpServer) -> None:
        self._front = front
        self._server = front.server
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parser: Any = httptools.HttpRequestParser(self)
        self._certificates: tuple[bytes, ...] = ()
        self._tls = False
        self._address = ""
        self.deadline = 0.0
        """When the peer must have sent what it owes us; 0 where it owes nothing."""
        self._reset()
        self._ready: deque[Request | StatusError] = deque()
        self._keep_alive: deque[bool] = deque()
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._sink: StreamSink | None = None
        self._raw: RawStream | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused_writing = False
        self._paused_reading = False
        self._closing = False
        self._lost = False
        self._memo_block = b""
        self._memo: tuple[Mapping[str, str], Credentials] | None = None
        self._pass: Pass | None = None
        self._unread = 0
        """What waited in the transport when the peer was last seen to read, while too much waits there."""
        self._last: Request | None = None

    # -- connection -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's classes
        self.transport.set_write_buffer_limits(high=limits.HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else ""
        tls = transport.get_extra_info("ssl_object")
        self._tls = tls is not None
        if tls is not None:
            self._certificates = peer_certificates(tls)
        self._front.connections.add(self)
        self.deadline = self._front.clock.monotonic() + limits.HEAD_TIMEOUT

    def connection_lost(self, failure: Exception | None) -> None:
        self._lost = self._closing = True
        self._front.connections.discard(self)
        self._front.ended += self._tls
        if self._sink is not None:
            self._sink.lost()
        if self._raw is not None:
            self._raw.feed_eof()
        self._writable.set()
        if self._task is not None and self._streaming:
            self._task.cancel()

    def eof_received(self) -> bool:
        if self._raw is not None:
            self._raw.feed_eof()
            return not self._tls
        if self._tls:
            return False  # TLS has no half-closed connections
        if self._busy or self._ready:
            # Half-closed: the peer may still read the answer that it waits for (a watch ends with its reader).
            return self._sink is None and not self._live
        return False

    def pause_writing(self) -> None:
        self._paused_writing = True
        self._writable.clear()
        if self._raw is None and not self._live:
            self._unread = self.transport.get_write_buffer_size()
            self.deadline = self._front.clock.monotonic() + limits.READ_TIMEOUT

    def resume_writing(self) -> None:
        self._paused_writing = False
        self._writable.set()
        if self._unread:
            self._unread = 0
            self.deadline = 0.0 if self._busy else self._front.clock.monotonic() + limits.IDLE_TIMEOUT
        if self._sink is not None:
            self._sink.resume()
        if not self.transport.is_closing():
            self._next()

    async def drain(self) -> None:
        """Returns when the transport takes more. Raises ConnectionResetError."""
        if not self._lost and not self._writable.is_set():
            await self._writable.wait()
        if self._lost:
            raise ConnectionResetError("connection lost")

    def expire(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left < self._unread and not self._closing:
            self._unread, self.deadline = left, self._front.clock.monotonic() + limits.READ_TIMEOUT
            return  # slow, but it reads
        log.debug("closing a connection that owes us data, or does not take ours", address=self._address)
        self._closing = True
        if left or self.transport.is_closing():
            self.transport.abort()  # nobody would take what an orderly end waits for
        else:
            self.close()

    def shut(self) -> None:
        """The server stops: streams end, idle connections close, requests under way get their answers."""
        self._closing = True
        if self._sink is not None:
            self._sink.stop()
        if self._raw is not None or not self._busy:
            self.close()

    @property
    def lost(self) -> bool:
        return self._lost

    @property
    def writing_paused(self) -> bool:
        return self._paused_writing

    def close(self) -> None:
        self._closing = True
        if self._lost:
            return
        if self._lingers:
            # Closed now, with bytes unread, the socket would be reset, and the answer with it.
            self._lingers = False
            self._ready.clear()
            self.deadline = self._front.clock.monotonic() + limits.LINGER
            if self.transport.can_write_eof():
                self.transport.write_eof()
            return
        self.deadline = self._front.clock.monotonic() + limits.READ_TIMEOUT
        self.transport.close()

    # -- parsing ----------------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._partial = False
        self._failure: StatusError | None = None

    def data_received(self, data: bytes) -> None:
        if self._raw is not None:
            self._raw.feed(data)
            return
        if self._closing:
            return
        if self._upgrading:
            self._await_upgrade(data)
            return
        if (
            not self._busy
            and not self._partial
            and not self._ready
            and not self._paused_writing
            and data[:4] == b"GET "
            and data[-4:] == b"\r\n\r\n"
        ):
            end = data.find(b"\r\n")
            if data[end:] == self._memo_block and data[end - 9 : end] == b" HTTP/1.1":
                self._repeat(data[4 : end - 9])
                return
        self._parse(data)

    def _repeat(self, target: bytes) -> None:
        """A request whose header block is the one before's."""
        express = self._front.express
        if express is not None and self._pass is not None:
            pieces = express.answer(target.decode("latin-1"), self._pass)
            if pieces is not None:
                self._deliver(pieces)
                return
            if self._pass.until < self._front.clock.monotonic():
                self._pass = None  # the long way proves the identity again
        assert self._memo is not None
        headers, credentials = self._memo
        raw, _, query = target.decode("latin-1").partition("?")
        path = unquote(raw) if "%" in raw else raw
        self._keep_alive.append(True)
        self.deadline = 0.0  # it owes us nothing while we answer; a watch may take for ever
        self._accept(Request("GET", path, query, headers, b"", credentials, raw_path="" if path is raw else raw))

    def _deliver(self, pieces: tuple[bytes, ...]) -> None:
        """Writes an answer that was ready at once."""
        self.deadline = self._front.clock.monotonic() + limits.IDLE_TIMEOUT
        if len(pieces[-2]) < limits.SMALL:
            self.transport.write(b"".join(pieces))
            return
        self.transport.writelines(pieces)
        if self._paused_writing:
            # A large body, and a slow reader: nothing more is read from it before it has taken this.
            self._busy = True
            group = self._front.group
            assert group is not None
            self._task = group.create_task(self._await_room())

    async def _await_room(self) -> None:
        try:
            await self.drain()
        except ConnectionResetError:
            return
        self._done()

    def _parse(self, data: bytes) -> None:
        begun = not self._partial
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as failure:
            self._refuse(bad_request(f"malformed HTTP: {failure}"))
            return
        if self._failure is not None and self._partial:
            self._refuse(self._failure)  # what is too large already is not waited for
            return
        if begun and not self._partial and len(data) < 8192 and data[:4] == b"GET ":
            self._remember(data)

    def _remember(self, data: bytes) -> None:
        """Keeps the header block of a GET that came in one piece."""
        request = self._last
        end = data.find(b"\r\n")
        if data.find(b"\r\n\r\n") != len(data) - 4 or request is None or self._keep_alive and not self._keep_alive[-1]:
            return
        headers = request.headers
        if "upgrade" in headers or "content-length" in headers or "transfer-encoding" in headers:
            return
        self._memo_block, self._memo = data[end:], (headers, request.credentials)
        self._pass = None

    def on_message_begin(self) -> None:
        self._reset()
        self._partial = True
        self.deadline = self._front.clock.monotonic() + limits.HEAD_TIMEOUT

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        present = self._headers.get(key)
        if present is not None:
            # Lists may be joined by commas (RFC 9110, 5.2), but a group's or a user's name may have one in it.
            text = f"{present}\n{text}" if key.startswith(("impersonate-", "x-remote-")) else f"{present}, {text}"
        self._headers[key] = text
        self._grow(len(name) + len(value))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > limits.MAX_HEAD:
            self._failure = StatusError(431, "", "Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        self._size = 0
        self.deadline = self._front.clock.monotonic() + limits.BODY_TIMEOUT
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > MAX_BODY:
            self._failure = request_entity_too_large(MAX_BODY)
        elif self._headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY:
            self._failure = request_entity_too_large(MAX_BODY)
            self._body.clear()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._partial = False
        if not self._unread:
            self.deadline = 0.0
        if self._failure is not None:
            self._refuse(self._failure)
            return
        method = self._parser.get_method().decode("latin-1")
        raw, _, query = self._url.decode("latin-1").partition("?")
        path = unquote(raw) if "%" in raw else raw
        headers = self._headers
        protocols = headers.get("sec-websocket-protocol")
        credentials = Credentials(
            headers,
            self._certificates[0] if self._certificates else None,
            self._address,
            [p.strip() for p in protocols.split(",")] if protocols else (),
            intermediates=self._certificates[1:],
        )
        request = self._last = Request(method, path, query, headers, b"".join(self._body), credentials)
        if path is not raw:
            request.raw_path = raw
        self._keep_alive.append(self._parser.should_keep_alive())
        self._accept(request)

    def _upgraded(self, rest: bytes) -> None:
        """The parser has stopped at a request that asks for an upgrade: it gets that, or a refusal that ends the connection."""
        self._upgrading = True
        if self._keep_alive:
            self._keep_alive[-1] = False
        self._await_upgrade(rest)

    def _await_upgrade(self, data: bytes) -> None:
        self._pending_raw += data
        if len(self._pending_raw) > limits.HIGH_WATER and not self._paused_reading:
            self._paused_reading = True
            self.transport.pause_reading()

    _lingers = False
    """The peer may still be sending: it is to see the answer before the connection goes."""
    _upgrading = False
    _pending_raw = b""

    def _refuse(self, failure: StatusError) -> None:
        """Answers what could not be read, after what came before it, and closes."""
        self._keep_alive.append(False)
        self._closing = self._lingers = True
        self._ready.append(failure)
        self._next()

    # -- answering --------------------------------------------------------------------------------------------------

    def _accept(self, request: Request) -> None:
        if self._busy or self._ready or self._paused_writing:
            self._ready.append(request)
            if len(self._ready) >= limits.PIPELINE and not self._paused_reading:
                self._paused_reading = True
                self.transport.pause_reading()
            return
        self._begin(request)

    def _begin(self, request: Request) -> None:
        self._busy = True
        group = self._front.group
        assert group is not None
        self._task = group.create_task(self._serve(request))

    def _next(self) -> None:
        while not self._busy and self._ready and not self._lost and not self._paused_writing:
            waiting = self._ready.popleft()
            if isinstance(waiting, StatusError):
                self._respond(Request("GET", ""), error_response(waiting))
            else:
                self._begin(waiting)
        if self._paused_reading and len(self._ready) < limits.PIPELINE // 2 and not self._lost:
            self._paused_reading = False
            self.transport.resume_reading()

    _streaming = False
    _live = False
    """What is being sent goes on until the reader leaves."""

    async def _serve(self, request: Request) -> None:
        try:
            response = await self._server.handle(request)
        except Exception as failure:  # noqa: BLE001 - the boundary: one broken request must not end the server
            log.error("request failed", failure=failure, method=request.method, path=request.path)
            response = error_response(internal_error(f"{type(failure).__name__}"))
        express, memo = self._front.express, self._memo
        if express is not None and self._pass is None and memo is not None and request.headers is memo[0]:
            self._pass = express.admit(request) if response.status == 200 else None
        try:
            await self._answer(request, response)
        except Exception as failure:  # noqa: BLE001 - the same boundary: a body or an upgraded connection broke
            log.error("response failed", failure=failure, method=request.method, path=request.path)
            if not self._lost:
                self.transport.abort()

    async def _answer(self, request: Request, response: Response) -> None:
        if response.upgrade is not None:
            # Also where the client is gone: it may hold a connection of its own, which it closes then.
            await self._hijack(response)
        elif self._lost:
            await discard(response.body)
        elif response.stream is not None:
            self._start_stream(request, response)
        elif isinstance(response.body, bytes | tuple):
            if not self._respond(request, response):
                await self._respond_slowly(request, response)
            self._done()
        else:
            await self._chunks(request, response, response.body)
            self._done()

    def _done(self) -> None:
        self._busy = False
        self._task = None
        self._streaming = False
        if self._ready:
            self._next()
        elif not self._lost and not self._partial and not self._unread:
            self.deadline = self._front.clock.monotonic() + limits.IDLE_TIMEOUT

    def _respond(self, request: Request, response: Response) -> bool:
        """Writes a whole answer at once; False where it is too large for that."""
        body = response.body
        pieces = body if isinstance(body, tuple) else (body,)
        size = sum(len(p) for p in pieces)  # type: ignore[misc,arg-type]
        keep = self._keep()
        head = head_of(response, b"Content-Length: %d\r\n\r\n" % size, keep)
        if request.method == "HEAD":
            self.transport.write(head)
        elif size <= 2 * limits.HIGH_WATER:
            self.transport.write(b"".join((head, *pieces)))  # type: ignore[arg-type]
        else:
            self.transport.write(head)
            self._keep_alive.appendleft(keep)
            return False
        if not keep:
            self.close()
        return True

    def _keep(self) -> bool:
        keep = self._keep_alive.popleft() if self._keep_alive else False
        return keep and not self._closing and not self._front.draining

    async def _respond_slowly(self, request: Request, response: Response) -> None:
        """The body of a large answer, at the pace of its reader."""
        body = response.body
        self._streaming = True
        try:
            for piece in body if isinstance(body, tuple) else (body,):
                view = memoryview(piece)  # type: ignore[arg-type]
                for start in range(0, len(view), limits.SLICE):
                    self.transport.write(view[start : start + limits.SLICE])
                    await self.drain()
        except ConnectionResetError:
            return
        if not self._keep():
            self.close()

    async def _chunks(self, request: Request, response: Response, body: AsyncIterator[bytes]) -> None:
        keep = self._keep()
        self._streaming, self._live = True, response.live
        sized = any(name.lower() == "content-length" for name, _ in response.headers)
        self.transport.write(head_of(response, b"\r\n" if sized else b"Transfer-Encoding: chunked\r\n\r\n", keep))
        try:
            if request.method != "HEAD":
                async for part in body:
                    if part:
                        self.transport.write(part if sized else chunk(part))
                        await self.drain()
        except ConnectionError:
            # The body broke off: no end mark, so that the client sees that it is not whole.
            if not self._lost:
                self.transport.abort()
            return
        finally:
            await discard(body)
        if not self._lost:
            if not sized and request.method != "HEAD":
                self.transport.write(b"0\r\n\r\n")
            if not keep:
                self.close()

    # -- streams ----------------------------------------------------------------------------------------------------

    def _start_stream(self, request: Request, response: Response) -> None:
        assert response.stream is not None
        keep = self._keep()
        self.transport.write(head_of(response, b"Transfer-Encoding: chunked\r\n\r\n", keep))
        self._sink = StreamSink(self, response.stream, keep)
        response.stream.start(self._sink)

    def stream_ended(self, keep: bool) -> None:
        self._sink = None
        if self._lost:
            return
        self.transport.write(b"0\r\n\r\n")
        if keep and not self._closing:
            self._done()
        else:
            self.close()

    # -- upgrades ---------------------------------------------------------------------------------------------------

    async def _hijack(self, response: Response) -> None:
        assert response.upgrade is not None
        lines = [status_line(response.status)]
        lines += [f"{k}: {v}\r\n".encode("latin-1") for k, v in response.headers]
        self.deadline = 0.0
        self._streaming = True
        raw = self._raw = RawStream(self)
        self.transport.write(b"".join(lines) + b"\r\n")
        if self._pending_raw:
            raw.feed(self._pending_raw)
            self._pending_raw = b""
        if self._lost:
            raw.feed_eof()
        elif self._paused_reading:
            self._paused_reading = False
            self.transport.resume_reading()
        try:
            await response.upgrade(raw)
        except (ConnectionError, StatusError) as failure:
            log.debug("upgraded connection ended", error=str(failure))
        finally:
            self.close()
