"""SPDY/3.1: conversations, frames cut anywhere, and hostile bytes."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybernetes.wire import spdy
from pybernetes.wire.errors import ProtocolError
from pybernetes.wire.spdy import SpdyConnection
from pybernetes.wire.spdy_frames import (
    DICTIONARY,
    MAX_CONTROL_LENGTH,
    Data,
    FrameDecoder,
    FrameEncoder,
    GoAway,
    HeaderCompressor,
    HeadersFrame,
    Ping,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
)

from .playbook import Playbook, chunked


def playbook(client: bool) -> Playbook:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    return Playbook(SpdyConnection(client), encoder.encode, decoder.feed)


def test_the_dictionary_is_the_one_that_everybody_has():
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


def test_server_takes_a_stream_and_echoes():
    headers = (("streamtype", "stdin"), ("port", "80"))
    (
        playbook(client=False)
        .peer(SynStream(1, headers))
        .happens(spdy.StreamOpened(1, dict(headers), False))
        .do(lambda c: c.reply(1))
        .sends(SynReply(1, ()))
        .peer(Data(1, b"hello"), Data(1, b"", True))
        .happens(spdy.DataReceived(1, b"hello", False), spdy.DataReceived(1, b"", True))
        .do(lambda c: c.send_data(1, b"world"))
        .do(lambda c: c.send_data(1, b"", fin=True))
        .sends(Data(1, b"world"), Data(1, b"", True))
        .do(lambda c: c.send_data(1, b"nobody hears this"))
        .peer(Data(1, b"late"))
        .end()
    )


def test_client_opens_streams_with_odd_ids():
    (
        playbook(client=True)
        .do(lambda c: c.open_stream([("streamtype", "error")]))
        .do(lambda c: c.open_stream([("streamtype", "stdin")]))
        .sends(SynStream(1, (("streamtype", "error"),)), SynStream(3, (("streamtype", "stdin"),)))
        .peer(SynReply(1, ()), SynReply(3, ()), SynReply(3, ()))
        .happens(spdy.StreamReplied(1, {}, False), spdy.StreamReplied(3, {}, False))
        .peer(RstStream(3, 5), Data(3, b"late"))
        .happens(spdy.StreamReset(3, 5))
        .do(lambda c: c.reset(1))
        .sends(RstStream(1, 5))
        .end()
    )


def test_pings_are_answered_and_own_pings_recognized():
    (
        playbook(client=False)
        .peer(Ping(7))
        .sends(Ping(7))
        .do(lambda c: c.ping())
        .sends(Ping(2))
        .peer(Ping(2))
        .happens(spdy.PongReceived(2))
        .end()
    )


def test_streams_of_the_wrong_side_or_order_are_refused():
    (
        playbook(client=False)
        .peer(SynStream(4, ()))
        .sends(RstStream(4, 1))
        .peer(SynStream(5, ()))
        .happens(spdy.StreamOpened(5, {}, False))
        .peer(SynStream(3, ()))
        .sends(RstStream(3, 1))
        .peer(Data(99, b"x"))
        .sends(RstStream(99, 2))
        .end()
    )


def test_after_goaway_nothing_new_is_opened():
    book = playbook(client=True).peer(GoAway(0)).happens(spdy.GoneAway(0, 0))
    with pytest.raises(ProtocolError):
        book.connection.open_stream([])
    book.do(lambda c: c.go_away()).sends(GoAway(0)).end()


def test_late_headers_can_end_a_stream():
    (
        playbook(client=False)
        .peer(SynStream(1, ()), HeadersFrame(1, (("a", "b"),)), HeadersFrame(1, (), True))
        .happens(spdy.StreamOpened(1, {}, False), spdy.DataReceived(1, b"", True))
        .end()
    )


def test_windows_do_not_count_until_the_peer_shows_that_they_do():
    book = playbook(client=True).do(lambda c: c.open_stream([])).sends(SynStream(1, ()))
    connection: SpdyConnection = book.connection
    connection.send_data(1, bytes(100_000))
    assert connection.send_window(1) > 1 << 40
    connection.take_output()
    book.peer(WindowUpdate(1, 50_000), WindowUpdate(0, 60_000)).happens(spdy.WindowOpened(1), spdy.WindowOpened(0))
    assert connection.send_window(1) == 65_536 - 100_000 + 50_000
    book.do(lambda c: c.consumed(1, 10)).sends(WindowUpdate(1, 10), WindowUpdate(0, 10)).end()


def test_initial_window_applies_to_open_streams():
    book = playbook(client=True).do(lambda c: c.open_stream([])).sends(SynStream(1, ()))
    book.peer(Settings(((7, 10),))).happens(spdy.WindowOpened(0))
    assert book.connection.send_window(1) == 10
    book.end()


def test_repeated_headers_are_kept_apart_on_the_wire():
    encoder, decoder = FrameEncoder(), FrameDecoder()
    frames = decoder.feed(encoder.encode(SynStream(1, (("A", "1"), ("a", "2"), ("b", "")))))
    assert frames == [SynStream(1, (("a", "1"), ("a", "2"), ("b", "")))]


def test_too_many_streams_are_refused():
    connection = SpdyConnection(client=False)
    encoder = FrameEncoder()
    for n in range(spdy.MAX_STREAMS):
        connection.receive(encoder.encode(SynStream(2 * n + 1, ())))
    assert connection.receive(encoder.encode(SynStream(2 * spdy.MAX_STREAMS + 1, ()))) == []
    assert FrameDecoder().feed(connection.take_output()) == [RstStream(2 * spdy.MAX_STREAMS + 1, 3)]


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">HHI", 0x8002, 1, 0),
        struct.pack(">HHII", 0x8003, 1, 4, 0),
        struct.pack(">HHI", 0x8003, 6, 0),
        struct.pack(">HHI", 0x8003, 4, MAX_CONTROL_LENGTH + 1),
        struct.pack(">HHII", 0x8003, 4, 4, 1 << 31),
        struct.pack(">HHIII", 0x8003, 3, 8, 1, 0),
        struct.pack(">II", 0, 5),
        struct.pack(">HHII", 0x8003, 2, 8, 1) + b"junk",
    ],
)
def test_broken_frames_are_protocol_errors(raw):
    with pytest.raises(ProtocolError):
        SpdyConnection(client=False).receive(raw)


def test_a_header_bomb_is_refused():
    bomb = HeaderCompressor().compress([("a", "x" * (2 << 20))])
    assert len(bomb) < 20_000
    raw = struct.pack(">HHII", 0x8003, 2, 4 + len(bomb), 1) + bomb
    with pytest.raises(ProtocolError, match="longer than"):
        FrameDecoder().feed(raw)


def test_unknown_control_frames_are_skipped():
    assert FrameDecoder().feed(struct.pack(">HHI", 0x8003, 11, 2) + b"xx" + FrameEncoder().encode(Ping(1))) == [Ping(1)]


def test_a_large_data_frame_comes_out_as_it_arrives():
    decoder = FrameDecoder()
    raw = FrameEncoder().encode(Data(1, bytes(1 << 20), True))
    first = decoder.feed(raw[:1008])
    assert first == [Data(1, bytes(1000), False)]
    assert decoder.feed(raw[1008:]) == [Data(1, bytes((1 << 20) - 1000), True)]


names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
header_lists = st.dictionaries(names, st.text("abc/. 1", max_size=20), max_size=5).map(lambda d: tuple(d.items()))
ids = st.integers(1, 0x7FFFFFFF)
frames = st.one_of(
    st.builds(SynStream, ids, header_lists, st.booleans(), st.booleans(), st.integers(0, 9), st.integers(0, 7)),
    st.builds(SynReply, ids, header_lists, st.booleans()),
    st.builds(HeadersFrame, ids, header_lists, st.booleans()),
    st.builds(RstStream, ids, st.integers(1, 11)),
    st.builds(Settings, st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2**32 - 1)), max_size=4).map(tuple)),
    st.builds(Ping, ids),
    st.builds(GoAway, st.integers(0, 0x7FFFFFFF), st.integers(0, 2)),
    st.builds(WindowUpdate, st.integers(0, 0x7FFFFFFF), ids),
    st.builds(Data, ids, st.binary(max_size=50), st.booleans()),
)


def merged(decoded):
    """Pieces of DATA frames put together again."""
    whole: list = []
    open_piece = False
    for frame in decoded:
        if isinstance(frame, Data) and open_piece and isinstance(whole[-1], Data):
            whole[-1] = Data(frame.stream_id, whole[-1].data + frame.data, frame.fin)
        else:
            whole.append(frame)
        open_piece = isinstance(frame, Data)
    return whole


@settings(max_examples=150, deadline=None)
@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 10_000), max_size=12))
def test_frames_survive_any_cut(sent, cuts):
    encoder, decoder = FrameEncoder(), FrameDecoder()
    # An always-present control frame between frames keeps pieces of one DATA frame apart from the next frame.
    raw = b"".join(encoder.encode(frame) + encoder.encode(Ping(1)) for frame in sent)
    received = [frame for chunk in chunked(raw, cuts) for frame in decoder.feed(chunk)]
    assert merged(received) == [frame for one in sent for frame in (one, Ping(1))]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), frames), max_size=8), st.booleans())
def test_hostile_bytes_give_protocol_errors_only(parts, client):
    connection, encoder = SpdyConnection(client), FrameEncoder()
    raw = b"".join(part if isinstance(part, bytes) else encoder.encode(part) for part in parts)
    try:
        for event in connection.receive(raw):
            if isinstance(event, spdy.StreamOpened) and event.stream_id in connection._streams:
                connection.reply(event.stream_id)
    except ProtocolError:
        pass
    connection.take_output()
