"""Joining two connections: raw bytes both ways, or through a translator.

Back-pressure is the sockets' own: nothing is read from one side while the other does not take it. When one side ends, what it
sent is written out to the other, which is then closed; the other's late bytes are read and thrown away for a moment before,
because a socket closed with unread bytes resets, and a reset can overtake the last data (a command's exit status).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from ..concurrency import Clock
from ..wire.errors import ProtocolError
from .connection import RawConnection

LINGER_SECONDS = 1.0
PING_SECONDS = 5.0
IDLE_TIMEOUT = 4 * 3600.0
"""The kubelet's ``streamingConnectionIdleTimeout``, which the API server uses too."""


class Translator(Protocol):
    """A codec between two connections (``wire.translation``). ``done`` when both sides may be closed."""

    @property
    def done(self) -> bool: ...

    @property
    def client(self) -> Codec: ...

    @property
    def backend(self) -> Codec: ...

    def client_received(self, data: bytes) -> None:
        """b'' is the end of stream, here and below. Raises ProtocolError."""
        ...

    def backend_received(self, data: bytes) -> None: ...

    def ping(self) -> None:
        """Called every ``PING_SECONDS``: keeps middle boxes from forgetting a silent connection."""
        ...


class Codec(Protocol):
    """One side's codec, as far as its output goes."""

    @property
    def has_output(self) -> bool: ...

    def take_output(self) -> bytes: ...


class _Idle:
    """Ends both connections when nothing has moved for long."""

    def __init__(self, clock: Clock, limit: float) -> None:
        self._clock, self._limit = clock, limit
        self._last = clock.monotonic()

    def touch(self) -> None:
        self._last = self._clock.monotonic()

    async def wait(self) -> None:
        while (left := self._last + self._limit - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)


async def _first_ends(*activities: Coroutine[Any, Any, None]) -> None:
    """Runs all until one of them returns; the others are cancelled."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(activity) for activity in activities]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def relay(
    client: RawConnection, backend: RawConnection, *, clock: Clock, idle_timeout: float = IDLE_TIMEOUT
) -> None:
    """Copies bytes both ways until one side ends; both connections are closed then."""
    idle = _Idle(clock, idle_timeout)

    async def copy(source: RawConnection, sink: RawConnection) -> None:
        try:
            while data := await source.read():
                idle.touch()
                await sink.write(data)
        except ConnectionError:
            return

    try:
        await _first_ends(copy(client, backend), copy(backend, client), idle.wait())
        await _linger(client, clock)
    finally:
        backend.close()
        client.close()


async def _linger(client: RawConnection, clock: Clock) -> None:
    try:
        client.write_eof()
        async with clock.timeout(LINGER_SECONDS):
            while await client.read():
                pass
    except (TimeoutError, ConnectionError):
        return


class _Side:
    """One side of a translation: its socket and its codec.

    A codec's output is taken and its writing started in one step, so that two tasks never change the order of frames.
    """

    def __init__(self, connection: RawConnection, codec: Codec) -> None:
        self.connection, self._codec = connection, codec
        self._waiting = asyncio.Event()

    async def flush(self) -> None:
        if self._codec.has_output:
            await self.connection.write(self._codec.take_output())

    def answer(self) -> None:
        """Has what the codec answers by itself (pongs) sent, without waiting for it."""
        if self._codec.has_output:
            self._waiting.set()

    async def send_answers(self) -> None:
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            await self.flush()


async def translate(
    client_connection: RawConnection,
    backend_connection: RawConnection,
    translator: Translator,
    *,
    clock: Clock,
    idle_timeout: float = IDLE_TIMEOUT,
) -> None:
    """Runs a translator between two connections until it is done or one side is lost; both are closed then."""
    idle = _Idle(clock, idle_timeout)
    client = _Side(client_connection, translator.client)
    backend = _Side(backend_connection, translator.backend)

    async def pump(source: _Side, sink: _Side, received: Callable[[bytes], None]) -> None:
        # Waits for the sink only: a reader that waited for its own source to take an answer could wait for ever.
        while not translator.done:
            try:
                data = await source.connection.read()
            except ConnectionError:
                data = b""
            idle.touch()
            received(data)
            source.answer()
            await sink.flush()
            if not data:
                return

    async def ping() -> None:
        while True:
            await clock.sleep(PING_SECONDS)
            translator.ping()
            client.answer()
            backend.answer()

    try:
        await backend.flush()
        await client.flush()
        await _guarded(
            _first_ends(
                pump(client, backend, translator.client_received),
                pump(backend, client, translator.backend_received),
                client.send_answers(),
                backend.send_answers(),
                ping(),
                idle.wait(),
            )
        )
        await _guarded(_say_goodbye(client, backend, clock))
    finally:
        backend_connection.close()
        client_connection.close()


async def _say_goodbye(client: _Side, backend: _Side, clock: Clock) -> None:
    try:
        async with clock.timeout(LINGER_SECONDS):
            await backend.flush()
    except (TimeoutError, ConnectionError):
        pass
    await client.flush()
    await _linger(client.connection, clock)


async def _guarded(activity: Awaitable[Any]) -> None:
    """A broken peer ends its own connections and nothing else."""
    try:
        await activity
    except* (ConnectionError, ProtocolError):
        pass
