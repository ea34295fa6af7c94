"""One HTTP/1.1 exchange over one connection, for proxies: headers as they came, repeated ones too, the body as it comes.

``client.transport`` is the pooled client of the API; this one keeps no connection and hides nothing, and hands the connection
over when the server switches protocols.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httptools

from ..wire.errors import ProtocolError
from ..wire.upgrade import ResponseHead, ResponseHeadDecoder, encode_request
from .connection import Connection


class BadResponse(ConnectionError):
    """The server's answer is not HTTP, or it was broken off."""


@dataclass(slots=True)
class Upgraded:
    """The server answered 101: the connection belongs to the caller."""

    head: ResponseHead
    connection: Connection


class ClientExchange:
    """The answer to a request: its head, and its body once. ``close`` always."""

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection = connection
        self._method = method
        self._parser: Any = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._head_done = self._complete = False
        self.status = 0
        self.reason = ""
        self.headers: list[tuple[str, str]] = []
        self.on_close: Callable[[bool], None] | None = None
        """Told in place of the connection's end; True where another request may follow on it."""
        self._closed = self._keep_alive = False

    # --- the parser's callbacks

    def on_status(self, status: bytes) -> None:
        self.reason += status.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._keep_alive = bool(self._parser.should_keep_alive())
        self._head_done = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200:
            self._head_done = False
            self.headers.clear()
            self.reason = ""
        else:
            self._complete = True

    # --- for the application

    def header(self, name: str, default: str = "") -> str:
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), default)

    async def read_head(self) -> None:
        while not self._head_done:
            await self._feed()

    async def _feed(self) -> None:
        data = await self._connection.read()
        if not data:
            # Without a length the end of the connection is the end of the body; the parser knows which it was.
            if self._head_done and not self._has_length():
                self._complete = True
                return
            raise BadResponse(errno.ECONNRESET, "unexpected EOF")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as failure:
            raise BadResponse(errno.EPROTO, f"malformed HTTP response: {failure}") from failure

    def _has_length(self) -> bool:
        return bool(self.header("content-length")) or "chunked" in self.header("transfer-encoding").lower()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises BadResponse where it breaks off."""
        if self._method == "HEAD" or self.status in (204, 304):
            return
        while True:
            pending, self._chunks = self._chunks, []
            for chunk in pending:
                yield chunk
            if self._complete:
                if not self._chunks:
                    return
                continue
            await self._feed()

    def body(self) -> Body:
        """The body as an iterator that owns the connection."""
        return Body(self)

    async def read(self, limit: int = 1 << 62) -> bytes:
        """The body, or its first ``limit`` bytes."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) >= limit:
                break
        return bytes(body[:limit])

    @property
    def reusable(self) -> bool:
        """Whether the answer is whole and the server keeps the connection."""
        return self._complete and self._keep_alive and not self._chunks and not self._connection.ended

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self.on_close is not None:
            self.on_close(self.reusable)
        else:
            self._connection.abort()


class Body:
    """``ClientExchange.chunks`` that closes the connection at its end, or by ``aclose`` even where nobody began to read."""

    def __init__(self, answer: ClientExchange) -> None:
        self._answer = answer
        self._chunks = answer.chunks()

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except BaseException:
            self._answer.close()
            raise

    async def aclose(self) -> None:
        self._answer.close()
        await self._chunks.aclose()


async def exchange(
    connection: Connection, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b""
) -> ClientExchange:
    """Sends a request and reads the head of the answer. ``headers`` are complete, Host and length included."""
    await connection.write(encode_request(method, target, headers) + body)
    answer = ClientExchange(connection, method)
    await answer.read_head()
    return answer


async def upgrade(
    connection: Connection, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b""
) -> Upgraded | ClientExchange:
    """Asks for a change of protocol; an answer other than 101 is an exchange like any other."""
    await connection.write(encode_request(method, target, headers) + body)
    decoder = ResponseHeadDecoder()
    head = None
    while head is None:
        data = await connection.read()
        if not data:
            raise BadResponse(errno.ECONNRESET, "unexpected EOF")
        try:
            head = decoder.feed(data)
        except ProtocolError as failure:
            raise BadResponse(errno.EPROTO, str(failure)) from failure
    if head.status == 101:
        connection.unread(decoder.rest)
        return Upgraded(head, connection)
    connection.unread(decoder.raw + decoder.rest)
    refusal = ClientExchange(connection, method)
    await refusal.read_head()
    return refusal
