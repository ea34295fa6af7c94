"""What runs on the streams: options, statuses, sizes, port-forward pairs, watch lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybernetes.wire import channels, portforward, remotecommand, watch
from pybernetes.wire.errors import ProtocolError
from pybernetes.wire.remotecommand import (
    ERROR,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    ResizeDecoder,
    StreamOptions,
    TerminalSize,
)

from .playbook import chunked


def test_streams_that_a_client_opens():
    options = StreamOptions(stdin=True, stdout=True, stderr=False, tty=True)
    assert options.wanted(channels.V4) == (ERROR, STDIN, STDOUT, RESIZE)
    assert options.wanted(remotecommand.V2) == (ERROR, STDIN, STDOUT)
    assert StreamOptions(stderr=True).wanted(channels.V4) == (ERROR, STDERR)


def test_options_travel_in_the_query():
    options = StreamOptions(stdin=True, stdout=True, tty=True)
    assert options.query() == [("input", "1"), ("output", "1"), ("tty", "1")]
    assert remotecommand.options_from_query({k: [v] for k, v in options.query()}) == options
    with_stderr = remotecommand.options_from_query({"tty": ["1"], "error": ["1"], "output": ["1"]})
    assert not with_stderr.stderr
    with pytest.raises(ValueError, match="you must specify at least 1 of stdin, stdout, stderr"):
        remotecommand.options_from_query({"tty": ["1"]})


@pytest.mark.parametrize("code", [0, 1, 42, 255])
@pytest.mark.parametrize("protocol", [channels.V4, channels.V5])
def test_exit_codes_travel(code, protocol):
    payload = remotecommand.encode_status(remotecommand.exit_status(code), protocol)
    assert remotecommand.exit_code(remotecommand.decode_status(payload, protocol)) == code


def test_before_v4_success_is_silence_and_failure_is_text():
    assert remotecommand.encode_status(remotecommand.SUCCESS, channels.V1) == b""
    payload = remotecommand.encode_status(remotecommand.exit_status(3), remotecommand.V2)
    assert b"exit code 3" in payload
    status = remotecommand.decode_status(payload, remotecommand.V2)
    assert remotecommand.exit_code(status) is None
    assert remotecommand.exit_code(remotecommand.decode_status(b"", channels.V1)) == 0


@pytest.mark.parametrize("payload", [b"", b"x", b"[]", b'{"status":"Odd"}'])
def test_a_bad_status_is_a_protocol_error(payload):
    with pytest.raises(ProtocolError):
        remotecommand.decode_status(payload, channels.V4)


@given(
    st.lists(st.builds(TerminalSize, st.integers(0, 65535), st.integers(0, 65535)), max_size=5),
    st.lists(st.integers(0, 500)),
)
def test_sizes_survive_any_cut(sizes, cuts):
    decoder = ResizeDecoder()
    raw = b"\n".join(size.encode() for size in sizes)
    assert [size for chunk in chunked(raw, cuts) for size in decoder.feed(chunk)] == sizes


@pytest.mark.parametrize("raw", [b"x}", b"{}", b'{"Width":"a","Height":1}', b"{" * 5000])
def test_bad_sizes_are_protocol_errors(raw):
    with pytest.raises(ProtocolError):
        ResizeDecoder().feed(raw)


def test_pairs_meet_whatever_their_order():
    pairs = portforward.StreamPairs()
    error = portforward.parse_stream(1, {"port": "80", "streamtype": "error", "requestid": "0"})
    data = portforward.parse_stream(5, {"port": "80", "streamtype": "data", "requestid": "0"})
    other = portforward.parse_stream(3, {"port": "81", "streamtype": "data", "requestid": "1"})
    assert not pairs.add(data).complete
    assert not pairs.add(other).complete
    assert pairs.add(error).complete
    assert pairs.expire("0") is None
    assert pairs.expire("1").data == other
    pairs.add(data)
    with pytest.raises(ValueError, match="data stream already assigned"):
        pairs.add(data)


def test_old_clients_send_no_request_id():
    pairs = portforward.StreamPairs()
    assert not pairs.add(portforward.parse_stream(7, {"port": "80", "streamtype": "error"})).complete
    assert pairs.add(portforward.parse_stream(9, {"port": "80", "streamtype": "data"})).complete


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, '"port" header is required'),
        ({"port": "x", "streamtype": "data"}, 'unable to parse "x" as a port'),
        ({"port": "70000", "streamtype": "data"}, 'unable to parse "70000" as a port'),
        ({"port": "0", "streamtype": "data"}, 'port "0" must be > 0'),
        ({"port": "1"}, '"streamType" header is required'),
        ({"port": "1", "streamtype": "odd"}, 'invalid stream type "odd"'),
    ],
)
def test_bad_forward_streams(headers, message):
    with pytest.raises(ValueError, match=message):
        portforward.parse_stream(1, headers)


def test_ports_in_the_query():
    assert portforward.ports_from_query(["80,443", "22"]) == [80, 443, 22]
    for bad in ([], [""], ["x"], ["80,"]):
        with pytest.raises(ValueError, match="port"):
            portforward.ports_from_query(bad)


def test_tunnel_protocols():
    assert portforward.tunnelled(["SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"]) == ["portforward.k8s.io"]


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=5), st.lists(st.integers(0, 500)))
def test_watch_lines_survive_any_cut(objects, cuts):
    raw = b"".join(watch.encode_event("ADDED", o) for o in objects)
    decoder = watch.LineDecoder()
    lines = [line for chunk in chunked(raw, cuts) for line in decoder.feed(chunk)]
    assert lines == [b'{"type":"ADDED","object":%b}' % o for o in objects]
