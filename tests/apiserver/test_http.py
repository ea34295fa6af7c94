"""The HTTP front over a real socket."""

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from pybernetes.apiserver.http import HttpServer
from pybernetes.apiserver.request import Response
from pybernetes.client.rest import Client
from pybernetes.client.transport import HttpTransport
from pybernetes.concurrency import RealClock

from .conftest import running

POD = b'{"metadata":{"name":"a","namespace":"default"},"spec":{"containers":[{"name":"x","image":"y"}]}}'


@asynccontextmanager
async def listening(config=None):
    async with running(config) as server:
        front, started = HttpServer(server, RealClock()), asyncio.Event()
        task = asyncio.get_running_loop().create_task(front.run(started=started))
        await started.wait()
        try:
            yield front
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert not front.connections or all(c.transport.is_closing() for c in front.connections)


@pytest.fixture
async def front():
    async with listening() as found:
        yield found


async def exchange(front, payload, *, eof=False):
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(payload)
    if eof:
        writer.write_eof()
    data = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return data


async def test_pipelined_requests_are_answered_in_order(front):
    body = POD
    payload = (
        b"POST /api/v1/namespaces/default/pods HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        + b"GET /api/v1/namespaces/default/pods/a HTTP/1.1\r\nHost: x\r\n\r\n"
        + b"GET /api/v1/namespaces/default/pods/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    data = await exchange(front, payload)
    assert re.findall(rb"HTTP/1.1 \d+ [A-Za-z ]+", data) == [
        b"HTTP/1.1 201 Created",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 404 Not Found",
    ]


async def test_garbage_is_refused(front):
    data = await exchange(front, b"\x16\x03\x01 nonsense\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 400 ")


async def test_oversized_body_is_refused(front):
    size = 4 << 20
    data = await exchange(
        front,
        b"POST /api/v1/namespaces/d/pods HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * 1000,
        eof=True,
    )
    assert data == b"" or b" 413 " in data


async def test_watch_ends_by_its_timeout(front):
    client = Client(HttpTransport("127.0.0.1", front.port))
    status, headers, body = await client.request_raw(
        "GET", "/api/v1/pods", query={"watch": "1", "timeoutSeconds": "1", "allowWatchBookmarks": "true"}
    )
    assert status == 200 and b'"BOOKMARK"' in body
    client.transport.close()


async def test_connection_is_reused_for_the_same_headers(front):
    client = Client(HttpTransport("127.0.0.1", front.port))
    for _ in range(5):
        assert (await client.request("GET", "/api/v1/pods"))["kind"] == "PodList"
    assert len(front.connections) == 1
    client.transport.close()


@pytest.mark.parametrize("path", ["/healthz", "/apis", "/version", "/openapi/v3", "/metrics"])
async def test_no_accept_header_ends_the_server(front, path):
    """Paths with forms of their own take headers that resources refuse, also on a connection that is kept."""
    accept = "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    for _ in range(3):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 OK")
        await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
    writer.close()
    assert b"200 OK" in await exchange(front, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


class Scripted:
    """A server of one answer."""

    def __init__(self, response):
        self.response = response

    async def handle(self, request):
        return self.response


@asynccontextmanager
async def answering(response):
    front, started = HttpServer(Scripted(response), RealClock()), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(front.run(started=started))
        await started.wait()
        try:
            yield front
        finally:
            task.cancel()


class Body:
    """A body that says when it was let go of."""

    def __init__(self, *parts):
        self.parts, self.closed = list(parts), asyncio.Event()

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.parts:
            raise StopAsyncIteration
        part = self.parts.pop(0)
        if isinstance(part, Exception):
            raise part
        return part

    async def aclose(self):
        self.closed.set()


GET = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"


async def test_a_body_of_known_length_is_not_chunked():
    body = Body(b"abc", b"def")
    async with answering(Response(200, body, "text/plain", [("Content-Length", "6")])) as front:
        answer = await exchange(front, GET)
    assert answer.endswith(b"\r\n\r\nabcdef")
    assert b"chunked" not in answer
    assert body.closed.is_set()


async def test_head_of_a_streamed_body_has_none():
    async with answering(Response(200, Body(b"abc"), "text/plain")) as front:
        answer = await exchange(front, GET.replace(b"GET", b"HEAD"))
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("failure", [ConnectionAbortedError("backend"), RuntimeError("a bug")])
async def test_a_body_that_breaks_off_breaks_only_its_connection(failure):
    body = Body(b"abc", failure)
    async with answering(Response(200, body)) as front:
        with pytest.raises(ConnectionError):
            assert not (await exchange(front, GET)).endswith(b"0\r\n\r\n")
            raise ConnectionError
        assert body.closed.is_set()
        front.server.response = Response(200, b"still here")
        assert (await exchange(front, GET)).endswith(b"still here")


async def test_bytes_behind_an_upgrade_request_belong_to_the_stream():
    async def shout(raw):
        while data := await raw.read():
            await raw.write(data.upper())

    async with answering(Response(101, upgrade=shout)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(UPGRADE + b"early ")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"late")
        assert await asyncio.wait_for(reader.readexactly(10), 5) == b"EARLY LATE"
        writer.close()


async def test_two_writers_of_a_stream_both_go_on_after_a_pause():
    done = asyncio.Event()

    async def flood(raw):
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(raw.write(bytes(4 << 20)))
        done.set()

    async with answering(Response(101, upgrade=flood)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        assert len(await asyncio.wait_for(reader.readexactly(8 << 20), 10)) == 8 << 20
        await asyncio.wait_for(done.wait(), 5)
        writer.close()


async def test_a_refused_upgrade_ends_the_connection():
    async with answering(Response(400, b"no")) as front:
        answer = await exchange(front, UPGRADE + b"not http")
    assert answer.endswith(b"no")
    assert b"Connection: close" in answer
