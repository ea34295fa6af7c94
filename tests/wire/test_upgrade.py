"""The HTTP exchange before a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybernetes.wire import channels, remotecommand, upgrade
from pybernetes.wire.errors import ProtocolError
from pybernetes.wire.upgrade import NegotiationError, ResponseHeadDecoder

from .playbook import chunked


def test_rfc_6455s_example_key():
    assert upgrade.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


WS = {
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


def test_websocket_negotiation():
    headers = {**WS, "sec-websocket-protocol": "v5.channel.k8s.io, v4.channel.k8s.io"}
    assert upgrade.is_websocket(headers)
    chosen, answer = upgrade.accept_websocket(headers, remotecommand.WEBSOCKET_PROTOCOLS)
    assert chosen == channels.V5
    assert ("Sec-WebSocket-Protocol", channels.V5) in answer
    chosen, answer = upgrade.accept_websocket(WS, remotecommand.WEBSOCKET_PROTOCOLS)
    assert chosen == "" and not [n for n, _ in answer if n == "Sec-WebSocket-Protocol"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"sec-websocket-protocol": "odd"}, 403),
        ({"sec-websocket-version": "7"}, 400),
        ({"sec-websocket-key": ""}, 400),
    ],
)
def test_websocket_refusals(change, status):
    with pytest.raises(NegotiationError) as refusal:
        upgrade.accept_websocket({**WS, **change}, [channels.V4])
    assert refusal.value.status == status


SPDY = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}


def test_spdy_negotiation():
    headers = {**SPDY, "x-stream-protocol-version": "v9.channel.k8s.io,v4.channel.k8s.io, channel.k8s.io"}
    chosen, answer = upgrade.accept_spdy(headers, remotecommand.SPDY_PROTOCOLS)
    assert chosen == channels.V4
    assert (upgrade.STREAM_PROTOCOL, channels.V4) in answer


def test_spdy_refusals_say_what_would_do():
    with pytest.raises(NegotiationError) as refusal:
        upgrade.accept_spdy({**SPDY, "x-stream-protocol-version": "odd"}, [channels.V4, channels.V1])
    assert refusal.value.status == 403
    assert str(refusal.value) == (
        "unable to upgrade: unable to negotiate protocol: client supports [odd], "
        "server accepts [v4.channel.k8s.io channel.k8s.io]"
    )
    assert len(refusal.value.headers) == 2
    for headers in (SPDY, {**SPDY, "x-stream-protocol-version": " ,"}, {"connection": "close"}):
        with pytest.raises(NegotiationError) as refusal:
            upgrade.accept_spdy(headers, [channels.V4])
        assert refusal.value.status == 400


@given(st.lists(st.integers(0, 500)))
def test_a_response_head_survives_any_cut(cuts):
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" + upgrade.encode_response(
        101, "Switching Protocols", [("Upgrade", "SPDY/3.1"), ("X-A", "1")]
    )
    decoder = ResponseHeadDecoder()
    heads = [head for chunk in chunked(raw, cuts) if (head := decoder.feed(chunk)) is not None]
    (head,) = heads
    assert (head.status, head.get("upgrade"), head.get("x-a")) == (101, "SPDY/3.1", "1")


def test_what_follows_the_head_is_kept():
    decoder = ResponseHeadDecoder()
    assert decoder.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\nrest") is not None
    assert decoder.rest == b"rest"


@given(st.binary(max_size=80))
def test_hostile_heads(raw):
    try:
        ResponseHeadDecoder().feed(raw + b"\r\n\r\n")
    except ProtocolError:
        pass


def test_no_header_can_smuggle_another():
    with pytest.raises(ValueError, match="line break"):
        upgrade.encode_request("GET", "/", [("A", "b\r\nHost: evil")])
