"""WebSocket channels v1, v4 and v5, binary and base64: conversations, cuts, hostile bytes."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybernetes.wire import channels, websocket
from pybernetes.wire.channels import ChannelClosed, ChannelConnection, ChannelData, ChannelsEnded, ChannelsPong
from pybernetes.wire.errors import ProtocolError

from .playbook import chunked

PROTOCOLS = ["", channels.V1, channels.V1_BASE64, channels.V4, channels.V4_BASE64, channels.V5]


def ends(protocol):
    return ChannelConnection(protocol, client=True), ChannelConnection(protocol, client=False)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_data_goes_both_ways(protocol):
    client, server = ends(protocol)
    client.send(0, b"in\x00\xff")
    assert server.receive(client.take_output()) == [ChannelData(0, b"in\x00\xff")]
    server.send(1, b"out")
    server.send(3, b"{}")
    assert client.receive(server.take_output()) == [ChannelData(1, b"out"), ChannelData(3, b"{}")]


def test_base64_is_text_with_a_digit():
    server = ChannelConnection(channels.V4_BASE64, client=False)
    server.send(1, b"hi")
    assert server.take_output() == b"\x81\x051aGk="


def test_an_empty_write_is_a_message_of_the_channel_alone():
    server = ChannelConnection(channels.V5, client=False)
    server.send(1, b"")
    assert server.take_output() == b"\x82\x01\x01"


def test_half_close_in_v5():
    client, server = ends(channels.V5)
    client.send(0, b"x")
    client.close_channel(0)
    assert server.receive(client.take_output()) == [ChannelData(0, b"x"), ChannelClosed(0)]


def test_half_close_says_nothing_before_v5():
    client, server = ends(channels.V4)
    client.close_channel(0)
    assert client.take_output() == b""
    assert server.open


def test_in_v4_channel_255_is_a_channel():
    client, server = ends(channels.V4)
    client.send(255, b"\x00")
    assert server.receive(client.take_output()) == [ChannelData(255, b"\x00")]


@pytest.mark.parametrize("payload", [b"\xff", b"\xff\x00\x01"])
def test_a_close_signal_names_one_channel(payload):
    peer = websocket.WebSocket(client=True)
    peer.send(payload)
    with pytest.raises(ProtocolError):
        ChannelConnection(channels.V5, client=False).receive(peer.take_output())


def test_pings_and_the_end():
    client, server = ends(channels.V5)
    client.ping(b"abc")
    assert server.receive(client.take_output()) == []
    assert client.receive(server.take_output()) == [ChannelsPong(b"abc")]
    server.close(1000, "done")
    assert client.receive(server.take_output()) == [ChannelsEnded(1000, "done")]
    assert server.receive(client.take_output()) == [ChannelsEnded(1000, "done")]
    server.send(1, b"too late")
    assert server.take_output() == b""
    assert not server.open


def test_base64_that_is_none():
    peer = websocket.WebSocket(client=True)
    peer.send_text("0***")
    with pytest.raises(ProtocolError):
        ChannelConnection(channels.V1_BASE64, client=False).receive(peer.take_output())


def test_a_broken_frame_is_answered_with_a_close():
    server = ChannelConnection(channels.V5, client=False)
    with pytest.raises(ProtocolError):
        server.receive(b"\xf2\x80\x00\x00\x00\x00")
    assert server.take_output()[:1] == b"\x88"


def test_a_large_message_comes_in_pieces():
    client, server = ends(channels.V5)
    payload = os.urandom(200_000)
    client.send(0, payload)
    raw = client.take_output()
    events = server.receive(raw[:70_000])
    assert events and len(events[0].data) > 60_000
    events += server.receive(raw[70_000:])
    assert b"".join(e.data for e in events) == payload
    assert {e.channel for e in events} == {0}


steps = st.lists(st.tuples(st.integers(0, 4), st.binary(min_size=1, max_size=300)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PROTOCOLS), steps, st.lists(st.integers(0, 5000), max_size=10), st.booleans())
def test_channels_survive_any_cut(protocol, sent, cuts, from_client):
    client, server = ends(protocol)
    sender, receiver = (client, server) if from_client else (server, client)
    for channel, data in sent:
        sender.send(channel, data)
    got: list[tuple[int, bytes]] = []
    for chunk in chunked(sender.take_output(), cuts):
        for event in receiver.receive(chunk):
            assert isinstance(event, ChannelData)
            if got and got[-1][0] == event.channel:
                got[-1] = (event.channel, got[-1][1] + event.data)
            else:
                got.append((event.channel, event.data))
    expected: list[tuple[int, bytes]] = []
    for channel, data in sent:
        if expected and expected[-1][0] == channel:
            expected[-1] = (channel, expected[-1][1] + data)
        else:
            expected.append((channel, data))
    assert got == expected


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PROTOCOLS), st.lists(st.binary(max_size=40), max_size=4), st.booleans())
def test_hostile_bytes_give_protocol_errors_only(protocol, chunks, valid_first):
    client, server = ends(protocol)
    if valid_first:
        client.send(0, b"x")
        server.receive(client.take_output())
    for chunk in chunks:
        try:
            server.receive(chunk)
        except ProtocolError:
            break
    server.take_output()
