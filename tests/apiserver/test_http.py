"""The HTTP front over a real socket."""

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from pybernetes.apiserver.http import HttpServer
from pybernetes.client.rest import Client
from pybernetes.client.transport import HttpTransport
from pybernetes.concurrency import RealClock

from .conftest import running

POD = b'{"metadata":{"name":"a","namespace":"default"},"spec":{"containers":[{"name":"x","image":"y"}]}}'


@asynccontextmanager
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
