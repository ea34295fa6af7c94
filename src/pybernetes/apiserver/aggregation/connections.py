"""Connections to servers behind, kept for the next request: a handshake with certificates on both sides costs milliseconds.

Only what is safe to repeat goes over a kept connection, because its server may have closed it in the meantime and then the request
is sent again over a new one. A write always gets a new connection, and leaves it behind for reads.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...concurrency import Clock
from ...streams.connection import Connection
from ...streams.http_client import ClientExchange, exchange
from ..streaming.forwarding import Backend

MAX_IDLE = 32
"""Of one server."""
IDLE_SECONDS = 30.0
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
Key = tuple[str, int, ssl.SSLContext | None, str | None]


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: Connection
    since: float


class Connections:
    """The pool of one API server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: dict[Key, list[_Idle]] = {}

    async def exchange(
        self, backend: Backend, method: str, headers: list[tuple[str, str]], body: bytes = b""
    ) -> ClientExchange:
        """Raises ConnectionError. The answer's ``close`` keeps the connection where it can be used again."""
        key: Key = (backend.host, backend.port, backend.tls, backend.server_hostname)
        if method in _REPEATABLE:
            while (kept := self._take(key)) is not None:
                try:
                    return await self._on(key, kept, backend, method, headers, body)
                except ConnectionError:
                    continue
        return await self._on(key, await backend.dial(self._clock), backend, method, headers, body)

    async def _on(
        self,
        key: Key,
        connection: Connection,
        backend: Backend,
        method: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
    ) -> ClientExchange:
        try:
            answer = await exchange(connection, method, backend.target, headers, body)
        except BaseException:
            connection.abort()
            raise
        answer.on_close = self._keeper(key, connection)
        return answer

    def _keeper(self, key: Key, connection: Connection) -> Callable[[bool], None]:
        def keep(reusable: bool) -> None:
            idle = self._idle.setdefault(key, [])
            if reusable and len(idle) < MAX_IDLE:
                idle.append(_Idle(connection, self._clock.monotonic()))
            else:
                connection.abort()

        return keep

    def _take(self, key: Key) -> Connection | None:
        idle, now = self._idle.get(key), self._clock.monotonic()
        while idle:
            found = idle.pop()
            if now - found.since < IDLE_SECONDS and not found.connection.ended:
                return found.connection
            found.connection.abort()
        self._idle.pop(key, None)
        return None

    def drop(self, tls: ssl.SSLContext | None) -> None:
        """Nobody asks with this context any more."""
        for key in [k for k in self._idle if k[2] is tls]:
            for found in self._idle.pop(key):
                found.connection.abort()
