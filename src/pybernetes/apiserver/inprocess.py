"""A client transport that calls an API server in the same process: no socket, no parsing, the same bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from urllib.parse import unquote

from ..client.transport import ClientRequest, ClientResponse, TransportError
from ..hooks.identity import ANONYMOUS, Credentials, UserInfo
from .request import Frames, Request, Response, Stream
from .server import ApiServer


class InProcessTransport:
    """Requests go to ``server.handle`` as ``user`` (ANONYMOUS: as their headers prove)."""

    def __init__(self, server: ApiServer, user: UserInfo = ANONYMOUS, headers: Mapping[str, str] | None = None) -> None:
        self._server = server
        self._user = user
        self._headers = {k.lower(): v for k, v in (headers or {}).items()}
        self._open: set[_Answer] = set()

    async def send(self, request: ClientRequest) -> ClientResponse:
        if not self._server.ready.is_set():
            raise TransportError("the API server is not running", sent=False)
        path, _, query = request.target.partition("?")
        headers = {**self._headers, **{k.lower(): v for k, v in request.headers.items()}}
        response = await self._server.handle(
            Request(
                request.method,
                unquote(path),
                query,
                headers,
                request.body,
                Credentials(headers, remote_address="127.0.0.1"),
                user=self._user,
            )
        )
        if response.upgrade is not None:
            raise TransportError("an upgraded connection cannot be used in process", sent=True)
        answer = _Answer(response, self._open)
        self._open.add(answer)
        return answer

    def close(self) -> None:
        for answer in list(self._open):
            answer.close()


class _Queue:
    """The sink of a stream: holds frames until the reader takes them, and stops the stream where it holds too many."""

    HIGH_WATER = 1024

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._frames: deque[Frames] = deque()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._full = False
        stream.start(self)

    def write(self, payload: Frames) -> bool:
        self._frames.append(payload)
        self._wake()
        self._full = len(self._frames) >= self.HIGH_WATER
        return not self._full

    def end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> bytes:
        while not self._frames:
            if self._full:
                self._full = False
                self._stream.resume()
                continue
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._frames.popleft().raw

    def close(self) -> None:
        self._ended = True
        self._stream.stop()
        self._wake()


class _Answer:
    """A ``ClientResponse``."""

    def __init__(self, response: Response, registry: set[_Answer]) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {
            "content-type": response.content_type,
            **{k.lower(): v for k, v in response.headers},
        }
        self._response = response
        self._registry = registry
        self._queue = _Queue(response.stream) if response.stream is not None else None

    async def read(self) -> bytes:
        return b"".join([part async for part in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            if self._queue is not None:
                while part := await self._queue.next():
                    yield part
            elif isinstance(self._response.body, bytes | tuple):
                yield self._response.whole
            else:
                async for part in self._response.body:
                    yield part
        finally:
            self.close()

    def close(self) -> None:
        self._registry.discard(self)
        if self._queue is not None:
            self._queue.close()
