"""A byte stream with back-pressure in both directions: what a socket is to everything above.

``Connection`` is an asyncio protocol and not a StreamReader, because relays live from taking whatever has come in one piece, and
because the server's protocol can turn itself into one in mid-connection (``adopt``).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import deque
from typing import Protocol, cast

from ..concurrency import Clock


class RawConnection(Protocol):
    """What relays and translators work on (``apiserver.request.RawConnection`` is the same)."""

    async def read(self) -> bytes:
        """The next bytes, b'' at the peer's end of stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when the transport's buffer is below its high-water mark. What is written first goes out first."""
        ...

    def write_eof(self) -> None: ...

    def close(self) -> None:
        """Ends the connection after what was written has gone out."""
        ...


class DialError(ConnectionError):
    """No connection could be made; the message is worded as Go's net package words it."""


class Connection(asyncio.Protocol):
    """One socket. Reading stops at ``HIGH_WATER`` bytes that nobody has taken; writing waits at the transport's mark."""

    HIGH_WATER = 256 * 1024

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._reading_paused = False
        self._eof = False
        self._lost = False
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Event = asyncio.Event()
        self._writable.set()
        self._closed: asyncio.Event = asyncio.Event()
        self._tls = False

    @classmethod
    def adopt(cls, transport: asyncio.Transport, pending: bytes = b"") -> Connection:
        """Takes a transport over from another protocol, with bytes that were read already."""
        connection = cls()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if pending:
            connection.data_received(pending)
        transport.resume_reading()
        return connection

    # --- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(self.HIGH_WATER)
        self._tls = transport.get_extra_info("sslcontext") is not None

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered >= self.HIGH_WATER and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake()
        # TLS has no half-close; a plain socket stays open for writing.
        return not self._tls

    def connection_lost(self, failure: Exception | None) -> None:
        self._eof = self._lost = True
        self._wake()
        self._writable.set()
        self._closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # --- for the application

    async def read(self) -> bytes:
        """Everything that has come, b'' at the end of stream (orderly or not)."""
        while not self._chunks:
            if self._eof:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    def unread(self, data: bytes) -> None:
        """Puts bytes back: the next ``read`` begins with them."""
        if data:
            self._chunks.appendleft(data)
            self._buffered += len(data)

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError where the connection is gone."""
        if self._lost or self._transport is None or self._transport.is_closing():
            raise ConnectionResetError(errno.ECONNRESET, "the connection is closed")
        if data:
            self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()
            if self._lost:
                raise ConnectionResetError(errno.ECONNRESET, "the connection was lost")

    def write_eof(self) -> None:
        """Half-closes a plain connection; with TLS it does nothing, because TLS cannot say it."""
        if self._transport is not None and not self._tls and not self._transport.is_closing():
            try:
                self._transport.write_eof()
            except OSError:
                # The peer has gone in the meantime; reading will tell.
                return

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once, dropping what has not gone out."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    @property
    def ended(self) -> bool:
        """Whether the peer has closed, or has sent what nobody asked for: no more requests go over it."""
        return self._eof or self._lost or bool(self._chunks)

    @property
    def buffered(self) -> int:
        """Bytes that came and were not taken."""
        return self._buffered


async def dial(
    host: str,
    port: int,
    *,
    clock: Clock,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeout: float = 30.0,
) -> Connection:
    """Raises DialError."""
    where = f"dial tcp {_bracketed(host)}:{port}"
    try:
        async with clock.timeout(timeout):
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection, host, port, ssl=tls, server_hostname=(server_hostname or host) if tls else None
            )
    except TimeoutError as failure:
        raise DialError(f"{where}: i/o timeout") from failure
    except ssl.SSLCertVerificationError as failure:
        raise DialError(f"tls: failed to verify certificate: x509: {failure.verify_message}") from failure
    except ssl.SSLError as failure:
        raise DialError(f"tls: {failure.reason or failure}") from failure
    except socket.gaierror as failure:
        raise DialError(f"dial tcp: lookup {host}: no such host") from failure
    except OSError as failure:
        raise DialError(f"{where}: {_words(failure)}") from failure
    return connection


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


_GO_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ETIMEDOUT: "connection timed out",
    errno.ECONNRESET: "connection reset by peer",
    errno.EACCES: "permission denied",
    errno.EINVAL: "invalid argument",
}


def _words(failure: OSError) -> str:
    if failure.errno is None:
        return str(failure)
    return f"connect: {_GO_WORDS.get(failure.errno) or str(failure.strerror).lower()}"
