"""The HTTP/1.1 exchange that turns a connection into a stream: heads, protocol negotiation, the WebSocket handshake.

Specified by RFC 9110 (7.8), RFC 6455 (4) and apimachinery's ``httpstream``. Works on heads only; a body belongs to who reads on.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .errors import ProtocolError

SPDY31 = "SPDY/3.1"
STREAM_PROTOCOL = "X-Stream-Protocol-Version"
ACCEPTED_STREAM_PROTOCOLS = "X-Accepted-Stream-Protocol-Versions"
MAX_HEAD = 1 << 20

_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class NegotiationError(Exception):
    """An upgrade that is refused: the status, the text of its body, and headers for the answer."""

    def __init__(self, status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)


def split_list(value: str) -> list[str]:
    """The members of a list header: separated by commas, and by line feeds where the header came more than once."""
    return [part.strip() for part in value.replace("\n", ",").split(",") if part.strip()]


def is_upgrade(headers: Mapping[str, str]) -> bool:
    """Headers by lower-case name."""
    return "upgrade" in headers.get("connection", "").lower()


def is_websocket(headers: Mapping[str, str]) -> bool:
    return is_upgrade(headers) and headers.get("upgrade", "").lower() == "websocket"


def is_spdy(headers: Mapping[str, str]) -> bool:
    return is_upgrade(headers) and SPDY31.lower() in headers.get("upgrade", "").lower()


def websocket_protocols(headers: Mapping[str, str]) -> list[str]:
    return split_list(headers.get("sec-websocket-protocol", ""))


def accept_key(key: str) -> str:
    digest = hashlib.sha1(key.encode("latin-1") + _WEBSOCKET_GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def accept_websocket(headers: Mapping[str, str], supported: Iterable[str]) -> tuple[str, list[tuple[str, str]]]:
    """(subprotocol, headers of the 101). '' among ``supported`` means that a client may name none.

    Raises NegotiationError.
    """
    if headers.get("sec-websocket-version", "") not in ("13", "8"):
        raise NegotiationError(400, "missing or bad WebSocket Version", [("Sec-WebSocket-Version", "13")])
    key = headers.get("sec-websocket-key", "")
    if not key:
        raise NegotiationError(400, "unable to upgrade websocket connection: missing Sec-WebSocket-Key")
    allowed = list(supported)
    offered = websocket_protocols(headers)
    chosen = next((p for p in (offered or [""]) if p in allowed), None)
    if chosen is None:
        raise NegotiationError(
            403,
            "unable to upgrade websocket connection: requested protocol(s) are not supported: "
            f"{_go_list(offered)}; supports {_go_list(allowed)}",
        )
    answer = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(key))]
    if chosen:
        answer.append(("Sec-WebSocket-Protocol", chosen))
    return chosen, answer


def accept_spdy(headers: Mapping[str, str], supported: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
    """(subprotocol, headers of the 101). Raises NegotiationError in upstream's words."""
    if not is_spdy(headers):
        raise NegotiationError(400, "unable to upgrade: missing upgrade headers in request")
    name = STREAM_PROTOCOL.lower()
    if name not in headers:
        raise NegotiationError(
            400,
            f"unable to upgrade: header {STREAM_PROTOCOL} does not exist in request with {len(headers)} headers",
        )
    offered = split_list(headers[name])
    if not offered:
        raise NegotiationError(
            400, f"unable to upgrade: header {STREAM_PROTOCOL} contains [{headers[name]}], but no valid protocols"
        )
    chosen = next((p for p in offered if p in supported), None)
    if chosen is None:
        raise NegotiationError(
            403,
            "unable to upgrade: unable to negotiate protocol: "
            f"client supports {_go_list(offered)}, server accepts {_go_list(supported)}",
            [(ACCEPTED_STREAM_PROTOCOLS, p) for p in supported],
        )
    return chosen, [("Upgrade", SPDY31), ("Connection", "Upgrade"), (STREAM_PROTOCOL, chosen)]


def _go_list(values: Iterable[str]) -> str:
    return "[" + " ".join(values) + "]"


def encode_request(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return _head(lines)


def encode_response(status: int, reason: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return _head(lines)


def _head(lines: Sequence[str]) -> bytes:
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break inside a header")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


@dataclass(slots=True)
class ResponseHead:
    """Names as they came; ``get`` looks them up whatever their case."""

    status: int
    reason: str
    headers: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), default)


class ResponseHeadDecoder:
    """Collects a response's head out of bytes cut anywhere; ``rest`` is what came after it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.head: ResponseHead | None = None
        self.raw = b""
        """The head as it came."""
        self.rest = b""

    def feed(self, data: bytes) -> ResponseHead | None:
        """The head once it is whole. 1xx other than 101 is skipped. Raises ProtocolError."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD:
                    raise ProtocolError("header size limit exceeded")
                return None
            self.raw = bytes(self._buffer[: end + 4])
            head = _parse_head(self.raw[:end])
            del self._buffer[: end + 4]
            if 100 <= head.status < 200 and head.status != 101:
                continue
            self.head, self.rest = head, bytes(self._buffer)
            return head


def _parse_head(text: bytes) -> ResponseHead:
    first, *lines = text.decode("latin-1").split("\r\n")
    version, _, tail = first.partition(" ")
    code, _, reason = tail.partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise ProtocolError(f"malformed HTTP response {first[:80]!r}")
    head = ResponseHead(int(code), reason)
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ProtocolError(f"malformed HTTP header {line[:80]!r}")
        head.headers.append((name, value.strip()))
    return head
