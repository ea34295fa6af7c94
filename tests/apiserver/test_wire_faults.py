"""Hostile connections to the real front: no 500, no exception, and afterwards not a task, connection or descriptor more.

``P8S_WIRE_FUZZ`` is the number of connections of each seed: 40 in CI, thousands for a long run.
"""

import asyncio
import contextlib
import dataclasses
import os
import random
import re
import socket
import struct

import pytest

from pybernetes.apiserver import http_limits
from pybernetes.apiserver.http import HttpServer
from pybernetes.apiserver.streaming import KubeletTLS, StreamingContext
from pybernetes.concurrency import RealClock
from pybernetes.wire import spdy_frames
from pybernetes.wire.errors import ProtocolError
from streams.backend import CLOCK, exec_handler, forward_handler, make_pki, serving
from streams.front import Objects, api_server, node, pod
from streams.test_exec import program

from .conftest import running

ROUNDS = int(os.environ.get("P8S_WIRE_FUZZ", "40"))
PODS = b"/api/v1/namespaces/default/pods"


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@contextlib.asynccontextmanager
async def nothing_left(front):
    """What the body of the statement opens is gone soon after."""
    tasks, files = len(asyncio.all_tasks()), descriptors()
    yield
    for _ in range(2000):
        if not front.connections and len(asyncio.all_tasks()) <= tasks and descriptors() <= files:
            return
        await asyncio.sleep(0.01)
    raise AssertionError((front.connections, asyncio.all_tasks(), tasks, descriptors() - files))


async def dial(front):
    return await asyncio.open_connection("127.0.0.1", front.port)


async def leave(writer, rng):
    """Closes in one of the ways in which clients leave."""
    how = rng.randrange(3)
    with contextlib.suppress(OSError):
        if how == 0:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif how == 1:
            writer.write_eof()
    writer.transport.abort() if how == 2 else writer.close()


async def heard(reader, seconds=0.02):
    """What the server says within a moment."""
    data = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with RealClock().timeout(seconds):
            while part := await reader.read(65536):
                data += part
    return data


def no_server_error(data, caplog):
    statuses = {int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3})", data)}
    assert not [s for s in statuses if s >= 500 and s != 503], data[:400]
    assert not [r for r in caplog.records if r.levelname == "ERROR"], caplog.text


# -- frames of upgraded connections -------------------------------------------------------------------------------------


@pytest.fixture
async def streaming(tmp_path):
    """An API server that translates WebSockets for its kubelet, and hands SPDY on."""
    pki = make_pki(tmp_path)

    async def kubelet(inner):
        answer = forward_handler(inner) if inner.path.startswith("/portForward/") else exec_handler(inner, program)
        serve = answer.upgrade

        async def tough(client):
            try:
                await serve(client)
            except* (ProtocolError, ConnectionError, ValueError, KeyError, OverflowError):
                client.close()

        return answer if serve is None else dataclasses.replace(answer, upgrade=tough)

    async with serving(kubelet, pki.server) as behind:
        context = StreamingContext(Objects(node(port=behind.port), pod()), CLOCK, kubelet=KubeletTLS(pki.client))
        async with api_server(context) as server:
            yield server


def upgrade_head(rng):
    kind = rng.choice(["exec", "attach", "portforward"])
    query = b"?ports=80" if kind == "portforward" else b"?stdin=true&stdout=true&stderr=true&command=cat"
    lines = [b"GET %b/web/%b%b HTTP/1.1" % (PODS, kind.encode(), query), b"Host: x", b"Connection: Upgrade"]
    websocket = rng.random() < 0.6
    if websocket:
        protocols = [
            b"v5.channel.k8s.io",
            b"v4.channel.k8s.io",
            b"base64.channel.k8s.io",
            b"SPDY/3.1+portforward.k8s.io",
        ]
        protocol = protocols[3] if kind == "portforward" else rng.choice(protocols)
        lines += [b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                  b"Sec-WebSocket-Protocol: " + protocol]  # fmt: skip
    else:
        protocol = b"portforward.k8s.io" if kind == "portforward" else rng.choice([b"v4.channel.k8s.io", b"v1", b""])
        lines += [b"Upgrade: SPDY/3.1", b"X-Stream-Protocol-Version: " + protocol]
    return b"\r\n".join(lines) + b"\r\n\r\n", websocket


def websocket_frame(rng):
    """One frame, seldom a right one."""
    opcode = rng.choice([0, 1, 2, 2, 2, 8, 9, 10, 3, 15])
    payload = rng.choice([b"", bytes([rng.randrange(8)]) + rng.randbytes(rng.randrange(300)), b"\xff\x00", b"\xff\xff",
                          struct.pack(">H", rng.choice([1000, 1005, 999, 5000])) + b"bye", rng.randbytes(200)])  # fmt: skip
    first = opcode | rng.choice([0x80, 0x80, 0x80, 0x00]) | rng.choice([0, 0, 0, 0, 0x40, 0x70])
    masked = rng.random() < 0.9
    length = len(payload) if rng.random() < 0.9 else rng.choice([125, 126, 127, 65535, 2**31, 2**63 - 1, 2**64 - 1])
    head = bytes([first])
    if length < 126:
        head += bytes([length | masked << 7])
    elif length < 65536:
        head += bytes([126 | masked << 7]) + struct.pack(">H", length)
    else:
        head += bytes([127 | masked << 7]) + struct.pack(">Q", length)
    mask = rng.randbytes(4) if masked else b""
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if masked else payload
    return head + mask + body


def spdy_frame(rng, compressor):
    kind = rng.randrange(9)
    stream = rng.choice([1, 3, 5, 7, 2, 0, 2**31 - 1])
    if kind < 3:
        headers = ((b"streamtype", rng.choice([b"stdin", b"stdout", b"error", b"resize", b"data", b"?"])),
                   (b"port", rng.choice([b"80", b"0", b"x"])), (b"requestid", b"1"))  # fmt: skip
        block = compressor(headers) if rng.random() < 0.8 else rng.randbytes(40)
        payload = struct.pack(">IIH", stream, 0, 0) + block
        return struct.pack(">HHI", 0x8003, 1, len(payload) | rng.choice([0, 1]) << 24) + payload
    if kind < 5:
        data = rng.randbytes(rng.randrange(200))
        size = len(data) if rng.random() < 0.9 else rng.choice([0, 2**24 - 1])
        return struct.pack(">II", stream, size | rng.choice([0, 1]) << 24) + data
    control = rng.choice([2, 3, 4, 6, 7, 8, 9, 99])
    payload = rng.choice([struct.pack(">II", stream, rng.choice([0, 1, 2**31 - 1])), struct.pack(">I", stream), b"",
                          rng.randbytes(30), struct.pack(">III", 1, 7, 2**31)])  # fmt: skip
    return struct.pack(">HHI", rng.choice([0x8003, 0x8003, 0x8003, 0x8002]), control, len(payload)) + payload


def noise(rng, websocket):
    """A run of frames, whole or cut."""
    if websocket:
        data = b"".join(websocket_frame(rng) for _ in range(rng.randrange(1, 12)))
    else:
        encoder = spdy_frames.HeaderCompressor()
        pairs = lambda headers: encoder.compress(tuple((k.decode(), v.decode()) for k, v in headers))  # noqa: E731
        data = b"".join(spdy_frame(rng, pairs) for _ in range(rng.randrange(1, 12)))
    if rng.random() < 0.2:
        data = rng.randbytes(rng.randrange(400))
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data


async def attack(front, rng):
    reader, writer = await dial(front)
    head, websocket = upgrade_head(rng)
    early = noise(rng, websocket) if rng.random() < 0.2 else b""
    writer.write(head + early)
    said = b""
    with contextlib.suppress(ConnectionError):
        said = await reader.read(4096)
    for _ in range(rng.randrange(4)):
        writer.write(noise(rng, websocket))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
    said += await heard(reader)
    await leave(writer, rng)
    return said


@pytest.mark.timeout(120 + 3 * ROUNDS)
@pytest.mark.parametrize("seed", range(2))
async def test_frames_of_noise_leave_nothing(streaming, caplog, seed):
    rng = random.Random(seed)
    await attack(streaming, random.Random(seed))  # loads what streaming needs
    upgraded = 0
    async with nothing_left(streaming):
        for _ in range(ROUNDS // 8):
            for said in await asyncio.gather(*(attack(streaming, random.Random(rng.random())) for _ in range(8))):
                no_server_error(said, caplog)
                upgraded += said.startswith(b"HTTP/1.1 101")
    assert upgraded > ROUNDS // 4


async def test_a_client_that_never_reads_holds_no_command(streaming):
    """It floods its command with input whose echo it does not take, and goes without a word."""
    async with nothing_left(streaming):
        reader, writer = await dial(streaming)
        query = b"?stdin=true&stdout=true&command=cat"
        writer.write(
            b"GET %b/web/exec%b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
            % (PODS, query)
        )
        assert (await reader.read(12)).endswith(b"101")
        reader._transport.pause_reading()
        frame = bytes([0x82, 0xFF]) + struct.pack(">Q", 32769) + bytes(4) + b"\x00" + bytes(32768)
        with contextlib.suppress(TimeoutError):
            async with RealClock().timeout(1.0):
                while True:
                    writer.write(frame)
                    await writer.drain()
        connection = next(iter(streaming.connections))
        assert connection.transport.get_write_buffer_size() < 2 << 20
        writer.transport.abort()


# -- HTTP ---------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def listening():
    async with running() as server:
        front, started = HttpServer(server, RealClock()), asyncio.Event()
        task = asyncio.get_running_loop().create_task(front.run(started=started))
        await started.wait()
        try:
            yield front
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def front():
    async with listening() as found:
        yield found


GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


def request_of(rng):
    """A request that is right, broken, or none."""
    path = rng.choice(
        [PODS, PODS + b"?watch=1&timeoutSeconds=1", b"/version", b"/%ff%00", b"*", b"//", b"/a b", b"x:1"]
    )
    method = rng.choice([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PRI", b"GE\x00T", b"get"])
    version = rng.choice([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
    lines = [method + b" " + path + b" " + version, b"Host: x"]
    body = rng.choice([b"", b"{}", b'{"metadata":{"name":"a"}}', rng.randbytes(50)])
    lines += rng.sample(
        [
            b"Content-Length: %d" % rng.choice([len(body), 5, 0, 10**20]), b"Content-Length: -1", b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked", b"Expect: 100-continue", b"Connection: close", b"Connection: Upgrade",
            b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", b"X: " + b"y" * rng.choice([1, 9000]),
            b"No colon", b": empty", b"A\x00: b", b" folded: x", b"Content-Encoding: gzip", b"Content-Type: \xff\xfe",
        ],
        rng.randrange(4),
    )  # fmt: skip
    chunks = b"".join(
        rng.choice([b"5\r\nhello\r\n", b"0\r\n\r\n", b"zz\r\n", b"ffffffffffffffff\r\n"]) for _ in range(2)
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + rng.choice([body, chunks, b""])


@pytest.mark.timeout(120 + 3 * ROUNDS)
@pytest.mark.parametrize("seed", range(2))
async def test_broken_requests_leave_nothing(front, caplog, seed):
    async def one(rng):
        reader, writer = await dial(front)
        for _ in range(rng.randrange(1, 5)):
            data = request_of(rng)
            while data:
                size = rng.choice([1, 7, 4096, len(data)])
                writer.write(data[:size])
                data = data[size:]
                if rng.random() < 0.02:
                    break
        said = await heard(reader, 0.03)
        await leave(writer, rng)
        return said

    rng = random.Random(seed)
    async with nothing_left(front):
        for _ in range(ROUNDS // 8):
            for said in await asyncio.gather(*(one(random.Random(rng.random())) for _ in range(8))):
                no_server_error(said, caplog)
    reader, writer = await dial(front)
    writer.write(GET % b"/version")
    assert b"200 OK" in await reader.read(100)
    writer.close()


@pytest.mark.parametrize(
    "opening",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x80\x03\x00\x01" * 50,
    ],
    ids=["http2", "tls", "spdy"],
)
async def test_other_protocols_are_refused_at_once(front, caplog, opening):
    """HTTP/2 is not served: none of its abuses (rapid reset, header tables, stalled windows) gets further than this."""
    async with nothing_left(front):
        reader, writer = await dial(front)
        writer.write(opening)
        assert (await reader.read()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 505"))
        writer.close()
    no_server_error(b"", caplog)


async def test_heads_and_bodies_without_end_are_cut(front):
    async with nothing_left(front):
        for begin, more, status in (
            (b"GET / HTTP/1.1\r\n", b"X: " + b"y" * 60000 + b"\r\n", b"431"),
            (b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % PODS, b"10000\r\n" + bytes(65536) + b"\r\n", b"413"),
            (b"GET /" + b"a" * 100, b"a" * 65536, b"431"),
        ):  # fmt: skip
            reader, writer = await dial(front)
            writer.write(begin)
            answer = asyncio.create_task(reader.read(12))
            for _ in range(200):
                writer.write(more)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                if answer.done():
                    break
            assert (await answer).endswith(status)
            writer.transport.abort()


@pytest.fixture
def hurried(monkeypatch):
    """Minutes become moments."""
    for name in ("HEAD_TIMEOUT", "IDLE_TIMEOUT", "BODY_TIMEOUT", "READ_TIMEOUT"):
        monkeypatch.setattr(http_limits, name, 0.3)
    monkeypatch.setattr(http_limits, "SWEEP", 0.05)


SLOW = {
    "nothing at all": b"",
    "a head": b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    "a body": b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" % PODS,
    "a chunk": b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" % PODS,
    "a second request": GET % b"/version",
}


@pytest.mark.parametrize("begin", SLOW.values(), ids=SLOW)
async def test_who_does_not_finish_is_left(hurried, begin):
    """Slow loris: a byte now and then does not keep a connection."""
    async with listening() as front, nothing_left(front):
        reader, writer = await dial(front)
        writer.write(begin)
        if begin.endswith(b"version HTTP/1.1\r\nHost: x\r\n\r\n"):
            assert b"200 OK" in await reader.read(15)
        ended = asyncio.create_task(reader.read())
        async with RealClock().timeout(10):
            while not ended.done():
                if len(begin) > 40 and b"version" not in begin:
                    writer.write(b"x")
                await asyncio.sleep(0.02)
        writer.close()


@pytest.mark.parametrize("what", ["watch", "pipelined", "repeated", "large"])
async def test_who_does_not_read_is_dropped_and_nothing_is_buffered_for_him(hurried, what):
    """A stuck watcher, and clients that ask and ask and take no answer."""
    async with listening() as front, nothing_left(front):
        loopback = front.server.loopback
        path = "/api/v1/namespaces/default/configmaps"
        for number in range(8):
            await loopback("POST", path, {"metadata": {"name": f"c{number}"}, "data": {"x": "y" * 500_000}})
        reader, writer = await dial(front)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader._transport.pause_reading()
        target = path.encode() + {"watch": b"?watch=1", "large": b""}.get(what, b"/c1")
        head = GET % target
        writer.write(head * (64 if what == "pipelined" else 1))
        async with RealClock().timeout(20):
            while not front.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            (connection,) = front.connections
            largest = turn = 0
            while front.connections:
                turn += 1
                if what == "repeated" and turn < 200:
                    writer.write(head)
                if what == "watch" and turn < 40:
                    patch = {"data": {"n": str(turn)}}
                    await loopback("PATCH", f"{path}/c1", patch, content_type="application/merge-patch+json")
                largest = max(largest, connection.transport.get_write_buffer_size())
                await asyncio.sleep(0.01)
        assert 0 < largest < 6 << 20
        writer.transport.abort()
