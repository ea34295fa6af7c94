"""When an answer that goes on for a while is over: streams, upgraded connections, bodies in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from .request import RawConnection, Response, Sink, Stream

Ended = Callable[[int], None]
"""Told how many bytes a body in pieces had; 0 for what is no such body."""


def goes_on(response: Response) -> bool:
    """Whether it is not all there yet."""
    return response.stream is not None or response.upgrade is not None or not isinstance(response.body, bytes | tuple)


def when_ended(response: Response, callback: Ended) -> None:
    """Has the response call back, once, when it is over, however it ends."""
    ended = _Once(callback)
    if response.stream is not None:
        response.stream = _EndOfStream(response.stream, ended)
    elif response.upgrade is not None:
        upgrade = response.upgrade

        async def upgraded(connection: RawConnection) -> None:
            try:
                await upgrade(connection)
            finally:
                ended()

        response.upgrade = upgraded
    elif not isinstance(response.body, bytes | tuple):
        response.body = _EndOfBody(response.body, ended)


class _Once:
    """Calls once."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Ended) -> None:
        self._callback: Ended | None = callback

    def __call__(self, size: int = 0) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(size)


class _EndOfSink:
    """A sink that tells of its end; writing goes to the real one without a detour."""

    __slots__ = ("_sink", "ended", "write")

    def __init__(self, sink: Sink, ended: _Once) -> None:
        self._sink, self.ended = sink, ended
        self.write = sink.write

    def end(self) -> None:
        self.ended()
        self._sink.end()


class _EndOfStream:
    __slots__ = ("_ended", "_stream", "resume")

    def __init__(self, stream: Stream, ended: _Once) -> None:
        self._stream, self._ended = stream, ended
        self.resume = stream.resume

    def start(self, sink: Sink) -> None:
        self._stream.start(_EndOfSink(sink, self._ended))

    def stop(self) -> None:
        self._stream.stop()
        self._ended()


class _EndOfBody:
    """Also where nobody began to read it."""

    __slots__ = ("_body", "_ended", "_size")

    def __init__(self, body: AsyncIterator[bytes], ended: _Once) -> None:
        self._body, self._ended, self._size = body, ended, 0

    def __aiter__(self) -> _EndOfBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            part = await anext(self._body)
        except BaseException:
            self._ended(self._size)
            raise
        self._size += len(part)
        return part

    async def aclose(self) -> None:
        self._ended(self._size)
        close: Any = getattr(self._body, "aclose", None)
        if close is not None:
            await close()
