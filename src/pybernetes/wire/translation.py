"""Between the two generations of streams: WebSocket on the client's side, SPDY on the backend's.

kubectl 1.31 and newer speaks WebSocket (v5 channels, or SPDY tunnelled for port-forward); container runtimes' streaming servers
speak SPDY, and no v5. Kubelets from 1.36 on translate, API servers do it for older kubelets. Specified by KEP-4006.
"""

from __future__ import annotations

from .channels import V4, V5, ChannelClosed, ChannelConnection, ChannelData, ChannelsEnded
from .errors import ProtocolError
from .remotecommand import (
    ERROR,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    STREAM_NAMES,
    STREAM_TYPE_HEADER,
    SUCCESS,
    StreamOptions,
    decode_status,
    encode_status,
    internal_error_status,
    writes_status,
)
from .spdy import DataReceived, GoneAway, SpdyConnection, StreamOpened, StreamReplied, StreamReset
from .spdy_frames import RST_REFUSED_STREAM
from .websocket import INTERNAL_ERROR, MessageReceived, WebSocket, WebSocketClosed

MAX_STATUS = 1 << 20


class ExecTranslator:
    """exec and attach: v5 channels to SPDY streams. Data is passed on as it comes; nothing is kept but the final status."""

    def __init__(self, options: StreamOptions, *, protocol: str = V5, backend_protocol: str = V4) -> None:
        self.client = ChannelConnection(protocol, client=False)
        self.backend = SpdyConnection(client=True)
        self._protocol, self._backend_protocol = protocol, backend_protocol
        self._ids: dict[int, int] = {}
        self._kinds: dict[int, int] = {}
        self._reading: set[int] = set()
        self._status = bytearray()
        self.done = False
        for kind in options.wanted(backend_protocol):
            stream_id = self.backend.open_stream([(STREAM_TYPE_HEADER, STREAM_NAMES[kind])])
            self._ids[kind], self._kinds[stream_id] = stream_id, kind
            if kind in (STDOUT, STDERR, ERROR):
                self._reading.add(kind)
        self._greeting: int | None = STDOUT if options.stdout else STDERR if options.stderr else ERROR

    def _greet(self) -> None:
        """An empty message tells the client that the server is ready, as it always has.

        It waits for the backend's first answer: kubectl before 1.33 may not have its streams yet when the 101 arrives.
        """
        if self._greeting is not None:
            self.client.send(self._greeting, b"")
            self._greeting = None

    def ping(self) -> None:
        if not self.done:
            self.backend.ping()

    def client_received(self, data: bytes) -> None:
        if not data:
            self._abandon()
            return
        for event in self.client.receive(data):
            match event:
                case ChannelData(channel, payload) if channel in (STDIN, RESIZE) and channel in self._ids:
                    self.backend.send_data(self._ids[channel], payload)
                case ChannelClosed(channel):
                    if channel > RESIZE:
                        raise ProtocolError(f"close of a channel {channel} that is not there")
                    if channel == STDIN and STDIN in self._ids:
                        self.backend.send_data(self._ids[STDIN], b"", fin=True)
                case ChannelsEnded():
                    self._abandon()

    def _abandon(self) -> None:
        """The client is gone: so are the streams, and with them the command's standard input."""
        for stream_id in self._kinds:
            self.backend.reset(stream_id)
        self.backend.go_away()
        self.done = True

    def backend_received(self, data: bytes) -> None:
        if self.done:
            return
        if not data:
            for kind in tuple(self._reading):
                self._ended(kind)
            return
        for event in self.backend.receive(data):
            match event:
                case StreamReplied():
                    self._greet()
                case DataReceived(stream_id, payload, fin) if stream_id in self._kinds:
                    self._from_stream(self._kinds[stream_id], payload)
                    if fin:
                        self._ended(self._kinds[stream_id])
                case StreamReset(stream_id) if stream_id in self._kinds:
                    # Go's servers end their streams this way too, after the last byte.
                    self._ended(self._kinds[stream_id])
                case StreamOpened(stream_id):
                    self.backend.reset(stream_id, RST_REFUSED_STREAM)
                case GoneAway() if not self.backend.streams:
                    self._finish()

    def _from_stream(self, kind: int, payload: bytes) -> None:
        if kind in (STDOUT, STDERR) and payload:
            self.client.send(kind, payload)
        elif kind == ERROR and len(self._status) < MAX_STATUS:
            self._status += payload

    def _ended(self, kind: int) -> None:
        self._reading.discard(kind)
        if not self._reading:
            self._finish()

    def _finish(self) -> None:
        """The backend has said everything: the status goes last."""
        if self.done:
            return
        self.done = True
        self.client.send(ERROR, self._final_status())
        self.client.close()
        self.backend.go_away()

    def _final_status(self) -> bytes:
        if not self._status:
            # Before v4 silence is success; since then it means that the backend went away in mid-command.
            lost = internal_error_status("the connection to the container runtime ended without a status")
            return encode_status(lost if writes_status(self._backend_protocol) else SUCCESS, self._protocol)
        if writes_status(self._backend_protocol) and writes_status(self._protocol):
            return bytes(self._status)
        return encode_status(decode_status(bytes(self._status), self._backend_protocol), self._protocol)

    def fail(self, message: str) -> None:
        """Ends the client's side with an error of this side's own."""
        if not self.done:
            self.done = True
            self.client.send(ERROR, encode_status(internal_error_status(message), self._protocol))
            self.client.close()


class RawOutput:
    """Bytes on their way out of a side that has no framing of its own."""

    def __init__(self) -> None:
        self._output: list[bytes] = []

    def send(self, data: bytes) -> None:
        self._output.append(data)

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    def take_output(self) -> bytes:
        output = self._output[0] if len(self._output) == 1 else b"".join(self._output)
        self._output.clear()
        return output


class TunnelTranslator:
    """Port-forward: the SPDY connection's bytes taken out of, and put into, binary messages."""

    def __init__(self) -> None:
        self.client = WebSocket(client=False)
        self.backend = RawOutput()
        self.done = False

    def ping(self) -> None:
        if not self.done:
            self.client.ping()

    def client_received(self, data: bytes) -> None:
        if not data:
            self.done = True
            return
        for event in self.client.receive(data):
            match event:
                case MessageReceived(payload, text):
                    if text:
                        self.client.close(INTERNAL_ERROR, "invalid message type received")
                        raise ProtocolError("invalid message type received")
                    self.backend.send(payload)
                case WebSocketClosed():
                    self.done = True

    def backend_received(self, data: bytes) -> None:
        if self.done:
            return
        if data:
            self.client.send(data)
        else:
            self.client.close()
            self.done = True
