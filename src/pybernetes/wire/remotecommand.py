"""exec and attach: the streams' names and numbers, which protocols there are, and how a command's end is told.

SPDY carries ``channel.k8s.io`` (v1) to v4, one stream each for error, stdin, stdout, stderr and resize; WebSocket carries v1, v4
and v5 as numbered channels. v1 to v3 write an error as text and nothing on success; v4 and v5 write a Status.
Specified by apimachinery's ``remotecommand`` constants and KEP-4006.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .channels import V1, V1_BASE64, V4, V4_BASE64, V5
from .errors import ProtocolError

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
STREAM_NAMES = ("stdin", "stdout", "stderr", "error", "resize")
STREAM_TYPE_HEADER = "streamtype"

V2 = "v2.channel.k8s.io"
V3 = "v3.channel.k8s.io"
SPDY_PROTOCOLS = (V4, V3, V2, V1)
WEBSOCKET_PROTOCOLS = ("", V1, V1_BASE64, V4, V4_BASE64, V5)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Which streams a client wants. A terminal has no stderr of its own."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    def wanted(self, protocol: str) -> tuple[int, ...]:
        """The streams that a SPDY client opens, in the order in which client-go opens them."""
        chosen = [ERROR]
        chosen += [n for n, on in ((STDIN, self.stdin), (STDOUT, self.stdout)) if on]
        if self.stderr and not self.tty:
            chosen.append(STDERR)
        if self.tty and supports_resize(protocol):
            chosen.append(RESIZE)
        return tuple(chosen)

    def query(self) -> list[tuple[str, str]]:
        """As the kubelet's and the runtime's URLs spell them."""
        flags = (("input", self.stdin), ("output", self.stdout), ("error", self.stderr), ("tty", self.tty))
        return [(name, "1") for name, on in flags if on]


NO_STREAMS = "you must specify at least 1 of stdin, stdout, stderr"


def options_from_query(query: Mapping[str, Sequence[str]]) -> StreamOptions:
    """Reads ``StreamOptions.query``. Raises ValueError with upstream's words where no stream is asked for."""

    def on(name: str) -> bool:
        return (query.get(name) or [""])[0] == "1"

    tty = on("tty")
    options = StreamOptions(on("input"), on("output"), on("error") and not tty, tty)
    if not (options.stdin or options.stdout or options.stderr):
        raise ValueError(NO_STREAMS)
    return options


def supports_resize(protocol: str) -> bool:
    return protocol in (V3, V4, V4_BASE64, V5)


def writes_status(protocol: str) -> bool:
    """Whether the error stream carries a Status and not text."""
    return protocol in (V4, V4_BASE64, V5)


SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}


def exit_status(code: int) -> dict[str, Any]:
    """The Status of a command that ended: 0 is success."""
    if code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal_error_status(message: str) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def encode_status(status: Mapping[str, Any], protocol: str) -> bytes:
    """What goes on the error stream: b'' means that the stream is closed with nothing on it."""
    if writes_status(protocol):
        return orjson.dumps(status)
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()


def decode_status(payload: bytes, protocol: str) -> dict[str, Any]:
    """The other direction of ``encode_status``, with text turned into a Status. Raises ProtocolError."""
    if not writes_status(protocol):
        if not payload:
            return SUCCESS
        return internal_error_status(f"error executing remote command: {payload.decode('utf-8', 'replace')}")
    try:
        status = orjson.loads(payload)
    except orjson.JSONDecodeError as failure:
        raise ProtocolError(f"error stream protocol error: {failure} in {payload[:200]!r}") from failure
    if not isinstance(status, dict) or status.get("status") not in ("Success", "Failure"):
        raise ProtocolError("error stream protocol error: unknown error")
    return status


def exit_code(status: Mapping[str, Any]) -> int | None:
    """The command's exit code; None where it did not end by itself."""
    if status.get("status") == "Success":
        return 0
    causes: Iterable[Mapping[str, Any]] = (status.get("details") or {}).get("causes") or ()
    for cause in causes:
        message = str(cause.get("message", ""))
        if cause.get("reason") == "ExitCode" and message.isdigit():
            return int(message)
    return None


@dataclass(frozen=True, slots=True)
class TerminalSize:
    width: int
    height: int

    def encode(self) -> bytes:
        return orjson.dumps({"Width": self.width, "Height": self.height})


class ResizeDecoder:
    """Terminal sizes out of the resize stream: JSON objects one after the other, cut anywhere."""

    MAX_PENDING = 4096

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[TerminalSize]:
        """Raises ProtocolError."""
        sizes = []
        *whole, self._pending = (self._pending + data).split(b"}")
        for text in whole:
            try:
                value = orjson.loads(text + b"}")
                size = TerminalSize(int(value["Width"]), int(value["Height"]))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as failure:
                raise ProtocolError(f"not a terminal size: {text[:80]!r}") from failure
            sizes.append(size)
        if len(self._pending) > self.MAX_PENDING:
            raise ProtocolError("a terminal size that does not end")
        return sizes
