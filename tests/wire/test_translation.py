"""WebSocket v5 in front, SPDY v4 behind: the exec translator and the port-forward tunnel, as conversations."""

from __future__ import annotations

import os

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybernetes.wire import channels, remotecommand, spdy
from pybernetes.wire.channels import ChannelConnection, ChannelData, ChannelsEnded
from pybernetes.wire.errors import ProtocolError
from pybernetes.wire.remotecommand import ERROR, RESIZE, STDERR, STDIN, STDOUT, StreamOptions
from pybernetes.wire.translation import ExecTranslator, TunnelTranslator
from pybernetes.wire.websocket import MessageReceived, WebSocket, WebSocketClosed

from .playbook import chunked


class Ends:
    """kubectl on one side, the runtime on the other."""

    def __init__(self, options: StreamOptions, backend_protocol: str = channels.V4) -> None:
        self.translator = ExecTranslator(options, backend_protocol=backend_protocol)
        self.kubectl = ChannelConnection(channels.V5, client=True)
        self.runtime = spdy.SpdyConnection(client=False)
        self.ids: dict[str, int] = {}
        for event in self.at_runtime():
            assert isinstance(event, spdy.StreamOpened)
            self.ids[event.headers["streamtype"]] = event.stream_id
            self.runtime.reply(event.stream_id)
        self.to_translator()
        self.greeting = self.translator.client.take_output()
        assert self.kubectl.receive(self.greeting) == []

    def at_runtime(self):
        return self.runtime.receive(self.translator.backend.take_output())

    def at_kubectl(self):
        return self.kubectl.receive(self.translator.client.take_output())

    def to_translator(self) -> None:
        if self.runtime.has_output:
            self.translator.backend_received(self.runtime.take_output())
        if self.kubectl.has_output:
            self.translator.client_received(self.kubectl.take_output())


def test_a_command_with_stdin_and_an_exit_code():
    ends = Ends(StreamOptions(stdin=True, stdout=True, stderr=True))
    assert set(ends.ids) == {"error", "stdin", "stdout", "stderr"}
    assert ends.greeting == b"\x82\x01\x01"
    ends.kubectl.send(STDIN, b"hello")
    ends.kubectl.close_channel(STDIN)
    ends.to_translator()
    assert ends.at_runtime() == [
        spdy.DataReceived(ends.ids["stdin"], b"hello", False),
        spdy.DataReceived(ends.ids["stdin"], b"", True),
    ]
    ends.runtime.send_data(ends.ids["stdout"], b"out")
    ends.runtime.send_data(ends.ids["stderr"], b"err")
    ends.to_translator()
    assert ends.at_kubectl() == [ChannelData(STDOUT, b"out"), ChannelData(STDERR, b"err")]
    status = remotecommand.encode_status(remotecommand.exit_status(7), channels.V4)
    ends.runtime.send_data(ends.ids["error"], status)
    ends.runtime.send_data(ends.ids["stdout"], b"last words", fin=True)
    ends.runtime.send_data(ends.ids["stderr"], b"", fin=True)
    ends.to_translator()
    assert not ends.translator.done
    ends.runtime.reset(ends.ids["error"])
    ends.to_translator()
    assert ends.translator.done
    assert ends.at_kubectl() == [
        ChannelData(STDOUT, b"last words"),
        ChannelData(ERROR, status),
        ChannelsEnded(1000, ""),
    ]


def test_a_terminal_has_no_stderr_and_its_size_goes_through():
    ends = Ends(StreamOptions(stdin=True, stdout=True, stderr=True, tty=True))
    assert set(ends.ids) == {"error", "stdin", "stdout", "resize"}
    ends.kubectl.send(RESIZE, b'{"Width":80,"Height":24}')
    ends.to_translator()
    assert ends.at_runtime() == [spdy.DataReceived(ends.ids["resize"], b'{"Width":80,"Height":24}', False)]


def test_the_end_of_the_connection_ends_all_streams():
    ends = Ends(StreamOptions(stdout=True))
    ends.runtime.send_data(ends.ids["error"], orjson.dumps(remotecommand.SUCCESS))
    ends.to_translator()
    ends.translator.backend_received(b"")
    (status, _) = ends.at_kubectl()
    assert status == ChannelData(ERROR, orjson.dumps(remotecommand.SUCCESS))


def test_a_backend_lost_in_mid_command_is_an_error():
    ends = Ends(StreamOptions(stdout=True))
    ends.translator.backend_received(b"")
    (status, _) = ends.at_kubectl()
    assert orjson.loads(status.data)["reason"] == "InternalError"


def test_before_v4_text_becomes_a_status():
    ends = Ends(StreamOptions(stdout=True), remotecommand.V2)
    ends.runtime.send_data(ends.ids["error"], b"it failed", fin=True)
    ends.runtime.send_data(ends.ids["stdout"], b"", fin=True)
    ends.to_translator()
    status = orjson.loads(ends.at_kubectl()[0].data)
    assert status["status"] == "Failure"
    assert "it failed" in status["message"]


@pytest.mark.parametrize("how", ["eof", "close"])
def test_a_client_that_goes_away_resets_everything(how):
    ends = Ends(StreamOptions(stdin=True, stdout=True))
    if how == "close":
        ends.kubectl.close()
        ends.to_translator()
    else:
        ends.translator.client_received(b"")
    assert ends.translator.done
    events = ends.at_runtime()
    assert {e.stream_id for e in events if isinstance(e, spdy.StreamReset)} == set(ends.ids.values())
    assert isinstance(events[-1], spdy.GoneAway)


def test_streams_that_the_backend_opens_are_refused():
    ends = Ends(StreamOptions(stdout=True))
    odd = ends.runtime.open_stream([("streamtype", "odd")])
    ends.runtime.send_data(odd, b"x")
    ends.to_translator()
    assert spdy.StreamReset(odd, 3) in ends.at_runtime()


def test_close_of_a_channel_that_is_not_there():
    ends = Ends(StreamOptions(stdout=True))
    ends.kubectl.close_channel(9)
    with pytest.raises(ProtocolError):
        ends.to_translator()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([STDIN, STDOUT, STDERR]), st.binary(min_size=1, max_size=200)), max_size=10),
    st.lists(st.integers(0, 5000), max_size=10),
)
def test_bytes_arrive_unchanged_however_they_are_cut(script, cuts):
    ends = Ends(StreamOptions(stdin=True, stdout=True, stderr=True))
    names = {STDOUT: "stdout", STDERR: "stderr"}
    for kind, data in script:
        if kind == STDIN:
            ends.kubectl.send(STDIN, data)
        else:
            ends.runtime.send_data(ends.ids[names[kind]], data)
    for part in chunked(ends.kubectl.take_output(), cuts):
        ends.translator.client_received(part)
    for part in chunked(ends.runtime.take_output(), cuts):
        ends.translator.backend_received(part)
    stdin = b"".join(e.data for e in ends.at_runtime() if e.stream_id == ends.ids["stdin"])
    assert stdin == b"".join(d for k, d in script if k == STDIN)
    received = ends.at_kubectl()
    for kind in (STDOUT, STDERR):
        assert b"".join(e.data for e in received if e.channel == kind) == b"".join(d for k, d in script if k == kind)


def test_the_tunnel_carries_bytes_in_messages():
    tunnel, client = TunnelTranslator(), WebSocket(client=True)
    payload = os.urandom(100_000)
    client.send(payload)
    for part in chunked(client.take_output(), [1, 3, 50_000]):
        tunnel.client_received(part)
    assert tunnel.backend.take_output() == payload
    tunnel.backend_received(b"back")
    assert client.receive(tunnel.client.take_output()) == [MessageReceived(b"back", False, True)]
    tunnel.backend_received(b"")
    assert tunnel.done
    assert client.receive(tunnel.client.take_output()) == [WebSocketClosed(1000, "")]


def test_the_tunnel_takes_no_text():
    tunnel, client = TunnelTranslator(), WebSocket(client=True)
    client.send_text("hi")
    with pytest.raises(ProtocolError):
        tunnel.client_received(client.take_output())


def test_the_tunnel_ends_with_its_client():
    tunnel, client = TunnelTranslator(), WebSocket(client=True)
    client.close()
    tunnel.client_received(client.take_output())
    assert tunnel.done
