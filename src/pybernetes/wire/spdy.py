"""A SPDY/3.1 connection without its socket: calls and received bytes go in, events and bytes to send come out.

Flow control: Kubernetes' SPDY peers never send WINDOW_UPDATE and never wait for one (back-pressure is the TCP window of the
whole connection), so by default neither does this side. A peer that shows by a SETTINGS or WINDOW_UPDATE frame that it
keeps windows has them kept: ``send_window`` says how much may go, and ``consumed`` gives back what was read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .errors import ProtocolError
from .spdy_frames import (
    MAX_STREAM_ID,
    RST_CANCEL,
    RST_INVALID_STREAM,
    RST_PROTOCOL_ERROR,
    RST_REFUSED_STREAM,
    SETTINGS_INITIAL_WINDOW_SIZE,
    Data,
    Frame,
    FrameDecoder,
    FrameEncoder,
    GoAway,
    Headers,
    HeadersFrame,
    Ping,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
    data_header,
)

INITIAL_WINDOW = 64 * 1024
MAX_STREAMS = 1000


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream; answer with ``reply`` or ``reset``."""

    stream_id: int
    headers: dict[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReplied:
    """The peer accepted a stream of ours."""

    stream_id: int
    headers: dict[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class DataReceived:
    """``fin``: the peer will send no more on this stream."""

    stream_id: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class PongReceived:
    ping_id: int


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """More may be sent on this stream (0: on all of them)."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer takes no new streams; those after ``last_good_stream_id`` were not looked at."""

    last_good_stream_id: int
    status: int


Event = StreamOpened | StreamReplied | DataReceived | StreamReset | PongReceived | WindowOpened | GoneAway


@dataclass(slots=True)
class _Stream:
    replied: bool
    local_open: bool
    remote_open: bool
    send_window: int = INITIAL_WINDOW


@dataclass(slots=True)
class SpdyConnection:
    """One end of a connection. ``client`` opens odd streams, the server even ones."""

    client: bool
    _streams: dict[int, _Stream] = field(default_factory=dict)
    _decoder: FrameDecoder = field(default_factory=FrameDecoder)
    _encoder: FrameEncoder = field(default_factory=FrameEncoder)
    _output: list[bytes] = field(default_factory=list)
    _next_id: int = 0
    _next_ping: int = 0
    _last_peer_id: int = 0
    _gone_away: bool = False
    _windows: bool = False
    _initial_window: int = INITIAL_WINDOW
    _connection_window: int = INITIAL_WINDOW

    def __post_init__(self) -> None:
        self._next_id = self._next_ping = 1 if self.client else 2

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    def take_output(self) -> bytes:
        """What is to be written to the socket now; asking empties it."""
        output = self._output[0] if len(self._output) == 1 else b"".join(self._output)
        self._output.clear()
        return output

    # --- what this side does

    def open_stream(self, headers: Iterable[tuple[str, str]], *, fin: bool = False) -> int:
        """The new stream's id. Data may follow at once; the peer's StreamReplied or StreamReset will come."""
        if self._gone_away or self._next_id > MAX_STREAM_ID:
            raise ProtocolError("the SPDY connection takes no new streams")
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = _Stream(False, not fin, True, self._initial_window)
        self._send(SynStream(stream_id, tuple(headers), fin))
        return stream_id

    def reply(self, stream_id: int, headers: Iterable[tuple[str, str]] = (), *, fin: bool = False) -> None:
        """Accepts a stream that the peer opened."""
        stream = self._streams[stream_id]
        stream.replied = True
        self._send(SynReply(stream_id, tuple(headers), fin))
        if fin:
            self._finish_local(stream_id, stream)

    def send_data(self, stream_id: int, data: bytes, *, fin: bool = False) -> None:
        """Nothing happens where the stream is closed already: its reset may have crossed this call."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.local_open:
            return
        # Counted from the start, so that the windows are true when the peer's first WINDOW_UPDATE shows that they matter.
        stream.send_window -= len(data)
        self._connection_window -= len(data)
        self._output += (data_header(stream_id, len(data), fin), data)
        if fin:
            self._finish_local(stream_id, stream)

    def reset(self, stream_id: int, status: int = RST_CANCEL) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._send(RstStream(stream_id, status))

    def ping(self) -> int:
        """Sends a ping; its PongReceived will carry the id that this returns."""
        ping_id, self._next_ping = self._next_ping, (self._next_ping + 2) & MAX_STREAM_ID
        self._send(Ping(ping_id))
        return ping_id

    def go_away(self, status: int = 0) -> None:
        self._send(GoAway(self._last_peer_id, status))

    def send_window(self, stream_id: int) -> int:
        """How many bytes may be sent on a stream now: without end where the peer keeps no windows."""
        if not self._windows:
            return 1 << 62
        stream = self._streams.get(stream_id)
        return max(0, min(stream.send_window, self._connection_window)) if stream is not None else 1 << 62

    def consumed(self, stream_id: int, count: int) -> None:
        """The application has read ``count`` bytes: the peer may send as many again, where it counts."""
        if not self._windows or not count:
            return
        stream = self._streams.get(stream_id)
        if stream is not None and stream.remote_open:
            self._send(WindowUpdate(stream_id, count))
        self._send(WindowUpdate(0, count))

    @property
    def streams(self) -> int:
        """How many streams are open, on either side."""
        return len(self._streams)

    def _send(self, frame: Frame) -> None:
        self._output.append(self._encoder.encode(frame))

    def _finish_local(self, stream_id: int, stream: _Stream) -> None:
        stream.local_open = False
        if not stream.remote_open:
            self._streams.pop(stream_id, None)

    def _finish_remote(self, stream_id: int, stream: _Stream) -> None:
        stream.remote_open = False
        if not stream.local_open:
            self._streams.pop(stream_id, None)

    # --- what the peer does

    def receive(self, data: bytes) -> list[Event]:
        """Raises ProtocolError when the connection as a whole cannot go on."""
        events: list[Event] = []
        for frame in self._decoder.feed(data):
            event = self._on_data(frame) if isinstance(frame, Data) else self._on_control(frame)
            if event is not None:
                events.append(event)
        return events

    def _on_data(self, frame: Data) -> Event | None:
        stream = self._streams.get(frame.stream_id)
        if stream is None or not stream.remote_open:
            self._complain_unless_late(frame.stream_id)
            return None
        if frame.fin:
            self._finish_remote(frame.stream_id, stream)
        return DataReceived(frame.stream_id, frame.data, frame.fin)

    def _complain_unless_late(self, stream_id: int) -> None:
        # Data for a stream that was closed a moment ago is on the way everywhere; only an id never seen is an error.
        ours = (stream_id % 2 == 1) == self.client
        known = stream_id < self._next_id if ours else stream_id <= self._last_peer_id
        if not known:
            self._send(RstStream(stream_id, RST_INVALID_STREAM))

    def _on_control(self, frame: Frame) -> Event | None:
        match frame:
            case SynStream():
                return self._on_syn_stream(frame)
            case SynReply():
                return self._on_reply(frame)
            case HeadersFrame():
                return self._on_headers(frame)
            case RstStream():
                return StreamReset(frame.stream_id, frame.status) if self._streams.pop(frame.stream_id, None) else None
            case Ping():
                if (frame.id % 2 == 1) == self.client:
                    return PongReceived(frame.id)
                self._send(frame)
            case GoAway():
                self._gone_away = True
                return GoneAway(frame.last_good_stream_id, frame.status)
            case Settings():
                return self._on_settings(frame)
            case WindowUpdate():
                return self._on_window_update(frame)
        return None

    def _on_syn_stream(self, frame: SynStream) -> Event | None:
        wrong_side = (frame.stream_id % 2 == 1) == self.client
        if wrong_side or frame.stream_id <= self._last_peer_id:
            self._send(RstStream(frame.stream_id, RST_PROTOCOL_ERROR))
            return None
        self._last_peer_id = frame.stream_id
        if len(self._streams) >= MAX_STREAMS:
            self._send(RstStream(frame.stream_id, RST_REFUSED_STREAM))
            return None
        local_open = not frame.unidirectional
        if local_open or not frame.fin:
            self._streams[frame.stream_id] = _Stream(False, local_open, not frame.fin, self._initial_window)
        return StreamOpened(frame.stream_id, _joined(frame.headers), frame.fin)

    def _on_reply(self, frame: SynReply) -> Event | None:
        stream = self._streams.get(frame.stream_id)
        if stream is None or stream.replied or (frame.stream_id % 2 == 1) != self.client:
            return None
        stream.replied = True
        if frame.fin:
            self._finish_remote(frame.stream_id, stream)
        return StreamReplied(frame.stream_id, _joined(frame.headers), frame.fin)

    def _on_headers(self, frame: HeadersFrame) -> Event | None:
        # Nobody in Kubernetes sends late headers; only the end of stream that they may carry counts.
        stream = self._streams.get(frame.stream_id)
        if stream is None or not frame.fin or not stream.remote_open:
            return None
        self._finish_remote(frame.stream_id, stream)
        return DataReceived(frame.stream_id, b"", True)

    def _on_settings(self, frame: Settings) -> Event | None:
        for key, value in frame.values:
            if key == SETTINGS_INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.send_window += value - self._initial_window
                self._initial_window = value
                self._windows = True
                return WindowOpened(0)
        return None

    def _on_window_update(self, frame: WindowUpdate) -> Event | None:
        self._windows = True
        if frame.stream_id == 0:
            self._connection_window = min(self._connection_window + frame.delta, MAX_STREAM_ID)
            return WindowOpened(0)
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            return None
        stream.send_window = min(stream.send_window + frame.delta, MAX_STREAM_ID)
        return WindowOpened(frame.stream_id)


def _joined(headers: Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
