"""How answers begin, and what a connection becomes after its request: a stream's sink, or raw bytes both ways."""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Protocol

from .request import Frames, Response, Stream

_REASONS = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_CONSTANT = b"Cache-Control: no-cache, private\r\n"


def status_line(status: int) -> bytes:
    return _REASONS.get(status) or b"HTTP/1.1 %d Status\r\n" % status


def head_of(response: Response, framing: bytes, keep: bool) -> bytes:
    """The head of an answer; ``framing`` says how long its body is, and ends the head."""
    lines = [status_line(response.status)]
    if not any(name == "Cache-Control" for name, _ in response.headers):
        lines.append(_CONSTANT)
    if response.content_type:
        lines.append(b"Content-Type: %b\r\n" % response.content_type.encode("latin-1"))
    for name, value in response.headers:
        lines.append(f"{name}: {value}\r\n".encode("utf-8", "replace"))
    if not keep:
        lines.append(b"Connection: close\r\n")
    lines.append(framing)
    return b"".join(lines)


async def discard(body: object) -> None:
    """Has an iterator let go of what it holds, also where nobody began to read it."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()


class FrontConnection(Protocol):
    """The part of ``http.Connection`` that its ends use."""

    transport: asyncio.Transport

    @property
    def lost(self) -> bool: ...

    @property
    def writing_paused(self) -> bool: ...

    def stream_ended(self, keep: bool) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


class StreamSink:
    """A watch's way into a connection."""

    __slots__ = ("_connection", "_keep", "_stream")

    def __init__(self, connection: FrontConnection, stream: Stream, keep: bool) -> None:
        self._connection = connection
        self._stream = stream
        self._keep = keep

    def write(self, payload: Frames) -> bool:
        connection = self._connection
        connection.transport.write(payload.chunked)
        return not connection.writing_paused

    def end(self) -> None:
        self._connection.stream_ended(self._keep)

    def resume(self) -> None:
        self._stream.resume()

    def lost(self) -> None:
        self._stream.stop()

    def stop(self) -> None:
        """The server stops: the stream ends properly."""
        self._stream.stop()
        self._keep = False
        self.end()


class RawStream:
    """A hijacked connection (``RawConnection``)."""

    HIGH_WATER = 1 << 20

    def __init__(self, connection: FrontConnection) -> None:
        self._connection = connection
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._eof = False
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False

    def feed(self, data: bytes) -> None:
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size > self.HIGH_WATER and not self._paused:
            self._paused = True
            self._connection.transport.pause_reading()
        self._wake()

    def feed_eof(self) -> None:
        self._eof = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> bytes:
        while not self._parts:
            if self._eof:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._connection.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        if not self._connection.lost:
            self._connection.transport.write(data)
        await self._connection.drain()

    def write_eof(self) -> None:
        if self._connection.transport.can_write_eof():
            try:
                self._connection.transport.write_eof()
            except OSError:
                # The peer has gone in the meantime; reading will tell.
                return

    def close(self) -> None:
        self._connection.close()
