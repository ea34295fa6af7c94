"""Port-forward: pairs of streams, one for data and one for an error text, a pair for each connection.

Over SPDY (``portforward.k8s.io``) the streams carry the headers ``streamType``, ``port`` and ``requestID``. Over WebSocket there are
two forms: ``SPDY/3.1+portforward.k8s.io`` tunnels that SPDY connection in binary messages (kubectl 1.31 and newer), and the older
``v4.channel.k8s.io`` has two channels a port, each of which starts with the port as two little-endian bytes.
Specified by apimachinery's ``portforward`` constants and KEP-4006.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .channels import V4, V4_BASE64

PROTOCOL = "portforward.k8s.io"
TUNNEL_PREFIX = "SPDY/3.1+"
TUNNEL_PROTOCOL = TUNNEL_PREFIX + PROTOCOL
WEBSOCKET_PROTOCOLS = ("", V4, V4_BASE64)

DATA = "data"
ERROR = "error"


def tunnelled(protocols: Sequence[str]) -> list[str]:
    """The SPDY subprotocols that a client offers to tunnel, of its WebSocket subprotocols."""
    return [p.removeprefix(TUNNEL_PREFIX) for p in protocols if p.startswith(TUNNEL_PREFIX) and p.endswith(".k8s.io")]


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f'unable to parse "{text}" as a port: strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) < 1:
        raise ValueError(f'port "{text}" must be > 0')
    return int(text)


def ports_from_query(values: Sequence[str]) -> list[int]:
    """The ``port`` parameters of a WebSocket request (each may be a list). Raises ValueError in upstream's words."""
    if not values:
        raise ValueError('query parameter "port" is required')
    ports = []
    for value in values:
        if not value:
            raise ValueError('query parameter "port" cannot be empty')
        ports += [_port(text) for text in value.split(",")]
    return ports


@dataclass(frozen=True, slots=True)
class ForwardStream:
    """What a new SPDY stream is for."""

    stream_id: int
    type: str
    port: int
    request_id: str


def parse_stream(stream_id: int, headers: Mapping[str, str]) -> ForwardStream:
    """Raises ValueError in upstream's words: the stream is to be refused."""
    if not headers.get("port"):
        raise ValueError('"port" header is required')
    port = _port(headers["port"])
    kind = headers.get("streamtype", "")
    if not kind:
        raise ValueError('"streamType" header is required')
    if kind not in (DATA, ERROR):
        raise ValueError(f'invalid stream type "{kind}"')
    # Clients from before requestID open the error stream and then at once the data stream.
    request_id = headers.get("requestid") or str(stream_id - (2 if kind == DATA else 0))
    return ForwardStream(stream_id, kind, port, request_id)


@dataclass(slots=True)
class StreamPair:
    request_id: str
    data: ForwardStream | None = None
    error: ForwardStream | None = None

    @property
    def complete(self) -> bool:
        return self.data is not None and self.error is not None


@dataclass(slots=True)
class StreamPairs:
    """Finds the two streams of each connection, which come in either order and mixed with others'."""

    _waiting: dict[str, StreamPair] = field(default_factory=dict)

    def add(self, stream: ForwardStream) -> StreamPair:
        """The pair that the stream belongs to, forgotten here once it is complete. Raises ValueError."""
        pair = self._waiting.setdefault(stream.request_id, StreamPair(stream.request_id))
        if stream.type == DATA:
            if pair.data is not None:
                raise ValueError(
                    f"error processing stream for request {stream.request_id}: data stream already assigned"
                )
            pair.data = stream
        else:
            if pair.error is not None:
                raise ValueError(
                    f"error processing stream for request {stream.request_id}: error stream already assigned"
                )
            pair.error = stream
        if pair.complete:
            del self._waiting[stream.request_id]
        return pair

    def expire(self, request_id: str) -> StreamPair | None:
        """A pair that stayed a half, None where it was completed."""
        return self._waiting.pop(request_id, None)
