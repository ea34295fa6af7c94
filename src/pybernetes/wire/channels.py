"""Numbered channels inside a WebSocket: Kubernetes' ``*.channel.k8s.io`` subprotocols.

The first byte of a binary message is the channel (in the base64 forms a digit, and the rest is base64 in a text message). v5
adds the half-close: a message of the byte 255 and the channel that ends. Specified by apimachinery's ``wsstream``.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from .errors import ProtocolError
from .websocket import NORMAL_CLOSURE, MessageReceived, WebSocket, WebSocketClosed, WebSocketPong

V1 = "channel.k8s.io"
V1_BASE64 = "base64.channel.k8s.io"
V4 = "v4.channel.k8s.io"
V4_BASE64 = "v4.base64.channel.k8s.io"
V5 = "v5.channel.k8s.io"

CLOSE_SIGNAL = 255
# A base64 message must be whole before it can be decoded: upstream's limit of a message.
MAX_BASE64_MESSAGE = 32 << 20


@dataclass(frozen=True, slots=True)
class ChannelData:
    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The peer will send no more on this channel (v5 only)."""

    channel: int


@dataclass(frozen=True, slots=True)
class ChannelsEnded:
    """The peer closed the WebSocket."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChannelsPong:
    payload: bytes


ChannelEvent = ChannelData | ChannelClosed | ChannelsEnded | ChannelsPong


class ChannelConnection:
    """One end of a WebSocket that carries channels, in the form that ``protocol`` names ('' is v1)."""

    def __init__(self, protocol: str, *, client: bool) -> None:
        self.protocol = protocol
        self.half_close = protocol == V5
        self._base64 = protocol in (V1_BASE64, V4_BASE64)
        self._socket = WebSocket(client=client)
        self._channel: int | None = None
        self._message = bytearray()

    @property
    def has_output(self) -> bool:
        return self._socket.has_output

    def take_output(self) -> bytes:
        return self._socket.take_output()

    @property
    def open(self) -> bool:
        return self._socket.open

    def send(self, channel: int, data: bytes) -> None:
        if self._base64:
            self._socket.send_text(f"{channel}{base64.b64encode(data).decode()}")
        else:
            self._socket.send(bytes((channel,)) + data)

    def close_channel(self, channel: int) -> None:
        """Ends this end's half of a channel, where the protocol can say it."""
        if self.half_close:
            self._socket.send(bytes((CLOSE_SIGNAL, channel)))

    def ping(self, payload: bytes = b"") -> None:
        self._socket.ping(payload)

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        self._socket.close(code, reason)

    def receive(self, data: bytes) -> list[ChannelEvent]:
        """Raises ProtocolError."""
        events: list[ChannelEvent] = []
        for event in self._socket.receive(data):
            match event:
                case MessageReceived():
                    received = self._on_base64(event) if self._base64 else self._on_binary(event)
                    if received is not None:
                        events.append(received)
                case WebSocketPong(payload):
                    events.append(ChannelsPong(payload))
                case WebSocketClosed(code, reason):
                    events.append(ChannelsEnded(code, reason))
        return events

    def _on_binary(self, event: MessageReceived) -> ChannelEvent | None:
        data = event.data
        if self._channel is None:
            if not data:
                return None
            self._channel, data = data[0], data[1:]
        channel = self._channel
        if event.final:
            self._channel = None
        if channel == CLOSE_SIGNAL and self.half_close:
            return self._on_close_signal(data, event.final)
        return ChannelData(channel, data) if data else None

    def _on_close_signal(self, data: bytes, final: bool) -> ChannelEvent | None:
        self._message += data
        if len(self._message) > 1 or (final and not self._message):
            raise ProtocolError("a stream close signal must name a single channel")
        if not final:
            return None
        channel = self._message[0]
        self._message.clear()
        return ChannelClosed(channel)

    def _on_base64(self, event: MessageReceived) -> ChannelEvent | None:
        self._message += event.data
        if len(self._message) > MAX_BASE64_MESSAGE:
            raise ProtocolError(f"a message of more than {MAX_BASE64_MESSAGE} bytes")
        if not event.final:
            return None
        message = bytes(self._message)
        self._message.clear()
        if not message:
            return None
        channel = message[0] - ord("0")
        try:
            data = base64.b64decode(message[1:], validate=True)
        except binascii.Error as failure:
            raise ProtocolError(f"a message that is not base64: {failure}") from failure
        return ChannelData(channel, data) if data and channel >= 0 else None
