"""The ``Request`` that travels down the pipeline and the ``Response`` that comes back.

socket -> http (parse) -> route -> authn -> audit -> authz -> decode, default -> managed fields -> mutating admission ->
strategy -> validate -> validating admission -> Store -> watch cache. Each step is a plain function over these values.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..hooks.identity import ANONYMOUS, Credentials, UserInfo


class RawConnection(Protocol):
    """A hijacked client connection after a 101: raw bytes both ways, with back-pressure."""

    async def read(self) -> bytes:
        """The next bytes, b'' at the peer's end of stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when the transport's buffer is below its high-water mark."""
        ...

    def write_eof(self) -> None: ...

    def close(self) -> None: ...


Upgrade = Callable[[RawConnection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a path means. Specified by ``apiserver/pkg/endpoints/request.RequestInfo``."""

    is_resource: bool
    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    parts: tuple[str, ...] = ()
    """The path's segments from the resource on (proxy subresources use the rest)."""


@dataclass(slots=True)
class Request:
    """One HTTP request. Header names are in lower case; ``query`` keeps every value of a key."""

    method: str
    path: str
    raw_query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    credentials: Credentials = field(default_factory=lambda: Credentials({}))
    info: RequestInfo | None = None
    user: UserInfo = ANONYMOUS
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, Any] = field(default_factory=dict)
    """Annotations and ids of the request's audit record; the request id is under ``id``."""
    raw_path: str = ""
    """As it was sent, where that is not ``path``."""
    seat: Any = None
    """Its place among the requests under way (``fairness``)."""
    waited: float = 0.0
    """Seconds that it spent in a queue or that webhooks took."""
    _query: dict[str, list[str]] | None = None

    @property
    def query(self) -> dict[str, list[str]]:
        if self._query is None:
            from urllib.parse import parse_qs

            self._query = parse_qs(self.raw_query, keep_blank_values=True)
        return self._query

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default


class Frames(Protocol):
    """Part of a stream, shared by all who get it."""

    frames: list[bytes]

    @property
    def raw(self) -> bytes: ...

    @property
    def chunked(self) -> bytes:
        """As one HTTP chunk."""
        ...


class Sink(Protocol):
    """Where a stream goes: an HTTP connection or a caller in this process."""

    def write(self, payload: Frames) -> bool:
        """False where no more should be written until ``Stream.resume`` is called."""
        ...

    def end(self) -> None:
        """The stream is complete."""
        ...


class Stream(Protocol):
    """A body that is pushed by whoever makes it, at the pace of the one who takes it."""

    def start(self, sink: Sink) -> None: ...

    def resume(self) -> None: ...

    def stop(self) -> None:
        """The sink is gone."""
        ...


@dataclass(slots=True)
class Response:
    """``body`` is whole (in one piece or several), or an iterator of chunks, or nothing where ``upgrade`` takes the
    connection over or a ``stream`` (a watch) writes to it from now on."""

    status: int = 200
    body: bytes | tuple[bytes, ...] | AsyncIterator[bytes] = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)
    upgrade: Upgrade | None = None
    stream: Stream | None = None
    live: bool = False
    """The chunks of the body come as things happen: they are sent as they are, at once."""

    @property
    def whole(self) -> bytes:
        """The body of a response that does not stream."""
        if isinstance(self.body, bytes):
            return self.body
        return b"".join(self.body) if isinstance(self.body, tuple) else b""


def page_not_found() -> Response:
    """What a path answers that belongs to nothing: Go's own page, which is no Status."""
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8", [("X-Content-Type-Options", "nosniff")])


Handler = Callable[[Request], Awaitable[Response]]


def quote_warning(text: str) -> str:
    """The quoted text of a Warning header: control characters dropped, bounded."""
    clean = "".join(c for c in text if c.isprintable())[:4096]
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
