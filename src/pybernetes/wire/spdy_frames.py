"""SPDY/3.1 frames: bytes to frame values and back, with the compressed header blocks.

Specified by draft-mbelshe-httpbis-spdy-00 (SPDY/3) and the SPDY/3.1 note; Kubernetes' peers (kubectl, kubelet, containerd,
CRI-O) speak the subset that Go's spdystream implements. ``FrameDecoder`` takes bytes cut anywhere. A DATA frame is not
collected: its payload comes out as it arrives, in pieces of which the last carries ``fin``, so that a 16 MiB frame
costs no 16 MiB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .errors import ProtocolError

Headers = Sequence[tuple[str, str]]
"""Names in lower case; a name may come more than once."""

SYN_STREAM = 1
SYN_REPLY = 2
RST_STREAM = 3
SETTINGS = 4
PING = 6
GOAWAY = 7
HEADERS = 8
WINDOW_UPDATE = 9

FLAG_FIN = 0x01
FLAG_UNIDIRECTIONAL = 0x02

RST_PROTOCOL_ERROR = 1
RST_INVALID_STREAM = 2
RST_REFUSED_STREAM = 3
RST_CANCEL = 5
RST_STREAM_ALREADY_CLOSED = 9

SETTINGS_INITIAL_WINDOW_SIZE = 7

MAX_STREAM_ID = 0x7FFFFFFF
MAX_FRAME_LENGTH = 0xFFFFFF
# Header blocks and settings are small in every real use; more than this is an attack on our memory.
MAX_CONTROL_LENGTH = 1 << 20
MAX_HEADER_BYTES = 1 << 20
MAX_HEADERS = 1000

_VERSION = 3
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200|OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = (word.replace("|", " ").encode() for word in _WORDS.split(" "))
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _TAIL.encode()


DICTIONARY = _dictionary()
"""Both ends start their zlib streams with it; its Adler-32, 0xe3c6a7c2, is on the wire."""


@dataclass(frozen=True, slots=True)
class SynStream:
    stream_id: int
    headers: Headers
    fin: bool = False
    unidirectional: bool = False
    associated_to: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    stream_id: int
    headers: Headers
    fin: bool = False


@dataclass(frozen=True, slots=True)
class HeadersFrame:
    stream_id: int
    headers: Headers
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """A DATA frame, or a piece of one: only the last piece has ``fin``."""

    stream_id: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    """(id, value) pairs; the flags (persist, persisted) mean nothing here and are dropped."""

    values: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Ping:
    id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last_good_stream_id: int
    status: int = 0


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """``stream_id`` 0 is the whole connection (new in 3.1)."""

    stream_id: int
    delta: int


Frame = SynStream | SynReply | HeadersFrame | Data | RstStream | Settings | Ping | GoAway | WindowUpdate


class HeaderCompressor:
    """One direction's zlib stream of header blocks: its state lives as long as the connection."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, zdict=DICTIONARY)

    def compress(self, headers: Headers) -> bytes:
        merged: dict[str, list[str]] = {}
        for name, value in headers:
            merged.setdefault(name.lower(), []).append(value)
        parts = [struct.pack(">I", len(merged))]
        for name, values in merged.items():
            for text in (name.encode("latin-1"), "\0".join(values).encode("latin-1")):
                parts += (struct.pack(">I", len(text)), text)
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecompressor:
    """The other end of a ``HeaderCompressor``. Bounded: a small block that inflates without end is refused."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS, zdict=DICTIONARY)

    def decompress(self, block: bytes) -> Headers:
        try:
            plain = self._inflate.decompress(block, MAX_HEADER_BYTES)
        except zlib.error as failure:
            raise ProtocolError(f"SPDY header block does not inflate: {failure}") from failure
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"SPDY header block is longer than {MAX_HEADER_BYTES} bytes")
        return tuple(_parse_headers(plain))


def _parse_headers(plain: bytes) -> Iterator[tuple[str, str]]:
    fields = _Fields(plain)
    count = fields.number()
    if count > MAX_HEADERS:
        raise ProtocolError(f"SPDY header block with {count} headers")
    seen = set()
    for _ in range(count):
        name = fields.text(fields.number()).decode("latin-1")
        value = fields.text(fields.number()).decode("latin-1")
        if not name or name.lower() in seen:
            raise ProtocolError(f"SPDY header block with an empty or repeated name {name!r}")
        seen.add(name.lower())
        # Upper case is against the specification, but the HTTP proxies between here and there do it.
        for one in value.split("\0"):
            yield name.lower(), one


class _Fields:
    """Reads big-endian numbers and counted texts, raising ProtocolError at a cut."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def number(self) -> int:
        return int.from_bytes(self.text(4), "big")

    def text(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self.data):
            raise ProtocolError("SPDY frame ends inside a field")
        start, self.position = self.position, end
        return self.data[start:end]

    def rest(self) -> bytes:
        return self.data[self.position :]


class FrameDecoder:
    """``feed`` takes bytes as they come and gives the frames that they complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._headers = HeaderDecompressor()
        self._data_left = 0
        self._data_stream = 0
        self._data_fin = False

    def feed(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        self._buffer += data
        position = 0
        buffer = self._buffer
        try:
            while True:
                if self._data_left:
                    piece = bytes(buffer[position : position + self._data_left])
                    if not piece:
                        break
                    position += len(piece)
                    self._data_left -= len(piece)
                    frames.append(Data(self._data_stream, piece, self._data_fin and not self._data_left))
                    continue
                if len(buffer) - position < 8:
                    break
                word, length = struct.unpack_from(">II", buffer, position)
                flags, length = length >> 24, length & MAX_FRAME_LENGTH
                if not word & 0x80000000:
                    position += 8
                    self._begin_data(word, flags, length, frames)
                    continue
                if length > MAX_CONTROL_LENGTH:
                    raise ProtocolError(f"SPDY control frame of {length} bytes")
                if len(buffer) - position < 8 + length:
                    break
                payload = bytes(buffer[position + 8 : position + 8 + length])
                position += 8 + length
                frame = self._control(word, flags, payload)
                if frame is not None:
                    frames.append(frame)
        finally:
            del buffer[:position]
        return frames

    def _begin_data(self, stream_id: int, flags: int, length: int, frames: list[Frame]) -> None:
        if stream_id == 0:
            raise ProtocolError("SPDY DATA frame for stream 0")
        self._data_stream, self._data_fin, self._data_left = stream_id, bool(flags & FLAG_FIN), length
        if not length:
            frames.append(Data(stream_id, b"", self._data_fin))

    def _control(self, word: int, flags: int, payload: bytes) -> Frame | None:
        version, kind = word >> 16 & 0x7FFF, word & 0xFFFF
        if version != _VERSION:
            raise ProtocolError(f"SPDY control frame of version {version}")
        fields = _Fields(payload)
        if kind in (SYN_STREAM, SYN_REPLY, HEADERS):
            return self._with_headers(kind, flags, fields)
        if kind == SETTINGS:
            return _settings(fields)
        if kind == PING:
            return Ping(fields.number())
        first, second = (fields.number(), fields.number()) if kind in (RST_STREAM, GOAWAY, WINDOW_UPDATE) else (0, 0)
        if kind == RST_STREAM:
            if first == 0 or second == 0:
                raise ProtocolError("SPDY RST_STREAM with stream or status 0")
            return RstStream(first & MAX_STREAM_ID, second)
        if kind == GOAWAY:
            return GoAway(first & MAX_STREAM_ID, second)
        if kind == WINDOW_UPDATE:
            if not second & MAX_STREAM_ID:
                raise ProtocolError("SPDY WINDOW_UPDATE of 0")
            return WindowUpdate(first & MAX_STREAM_ID, second & MAX_STREAM_ID)
        # CREDENTIAL and unknown types are skipped, as the specification asks.
        return None

    def _with_headers(self, kind: int, flags: int, fields: _Fields) -> Frame:
        stream_id = fields.number() & MAX_STREAM_ID
        if stream_id == 0:
            raise ProtocolError("SPDY frame opens stream 0")
        fin = bool(flags & FLAG_FIN)
        if kind != SYN_STREAM:
            headers = self._headers.decompress(fields.rest())
            return SynReply(stream_id, headers, fin) if kind == SYN_REPLY else HeadersFrame(stream_id, headers, fin)
        associated = fields.number() & MAX_STREAM_ID
        priority = fields.text(2)[0] >> 5
        headers = self._headers.decompress(fields.rest())
        return SynStream(stream_id, headers, fin, bool(flags & FLAG_UNIDIRECTIONAL), associated, priority)


def _settings(fields: _Fields) -> Settings:
    count = fields.number()
    if count > (len(fields.data) - 4) // 8:
        raise ProtocolError(f"SPDY SETTINGS frame too short for {count} settings")
    return Settings(tuple((fields.number() & 0xFFFFFF, fields.number()) for _ in range(count)))


class FrameEncoder:
    """Frame values to bytes; header blocks must be sent in the order in which they were encoded."""

    def __init__(self) -> None:
        self._headers = HeaderCompressor()

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data():
                return data_header(frame.stream_id, len(frame.data), frame.fin) + frame.data
            case SynStream():
                flags = (FLAG_FIN if frame.fin else 0) | (FLAG_UNIDIRECTIONAL if frame.unidirectional else 0)
                head = struct.pack(">IIBB", frame.stream_id, frame.associated_to, frame.priority << 5, 0)
                return _frame(SYN_STREAM, flags, head + self._headers.compress(frame.headers))
            case SynReply() | HeadersFrame():
                kind = SYN_REPLY if isinstance(frame, SynReply) else HEADERS
                block = self._headers.compress(frame.headers)
                return _frame(kind, FLAG_FIN if frame.fin else 0, struct.pack(">I", frame.stream_id) + block)
            case RstStream():
                return _frame(RST_STREAM, 0, struct.pack(">II", frame.stream_id, frame.status))
            case Settings():
                values = b"".join(struct.pack(">II", key, value) for key, value in frame.values)
                return _frame(SETTINGS, 0, struct.pack(">I", len(frame.values)) + values)
            case Ping():
                return _frame(PING, 0, struct.pack(">I", frame.id))
            case GoAway():
                return _frame(GOAWAY, 0, struct.pack(">II", frame.last_good_stream_id, frame.status))
            case WindowUpdate():
                return _frame(WINDOW_UPDATE, 0, struct.pack(">II", frame.stream_id, frame.delta))


def data_header(stream_id: int, length: int, fin: bool) -> bytes:
    """The eight bytes before ``length`` bytes of payload."""
    if length > MAX_FRAME_LENGTH:
        raise ValueError(f"a SPDY DATA frame holds at most {MAX_FRAME_LENGTH} bytes")
    return struct.pack(">II", stream_id, (FLAG_FIN << 24 if fin else 0) | length)


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | _VERSION, kind, flags << 24 | len(payload)) + payload
