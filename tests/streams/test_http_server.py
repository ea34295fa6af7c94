"""The small HTTP server: framing, limits, clients that go away, connections taken over."""

from __future__ import annotations

import asyncio

import pytest

from pybernetes.streams.connection import DialError, dial
from pybernetes.streams.http_client import BadResponse, Upgraded, exchange, upgrade
from pybernetes.streams.http_server import HttpLimits, HttpRequest, HttpResponse, HttpServer

from .backend import CLOCK, make_pki, serving


async def echo(request: HttpRequest) -> HttpResponse:
    match request.path:
        case "/stream":

            async def body():
                for n in range(3):
                    yield b"part%d" % n

            return HttpResponse(200, body(), "text/plain")
        case "/broken":

            async def broken():
                yield b"some"
                raise ConnectionResetError("gone")

            return HttpResponse(200, broken())
        case "/fail":
            raise RuntimeError("a bug")
        case "/upgrade":

            async def run(client):
                while data := await client.read():
                    await client.write(data.upper())

            return HttpResponse(101, headers=[("Upgrade", "shout"), ("Connection", "Upgrade")], upgrade=run)
    text = f"{request.method} {request.path} {request.raw_query} {request.headers.get('x-a')!r} {request.body!r}"
    return HttpResponse(200, text.encode(), "text/plain")


async def raw(server: HttpServer, payload: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(payload)
    data = await reader.read()
    writer.close()
    return data


async def test_requests_and_answers():
    async with serving(echo) as server:
        answer = await raw(
            server,
            b"POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbody"
            b"GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
    assert b"POST /a b c=d '1\\n2' b'body'" in answer
    assert b"GET /second" in answer
    assert answer.count(b"HTTP/1.1 200 OK") == 2


async def test_streams_are_chunked_and_the_connection_lives_on():
    async with serving(echo) as server:
        connection = await dial("127.0.0.1", server.port, clock=CLOCK)
        answer = await exchange(connection, "GET", "/stream", [("Host", "x")])
        assert answer.header("transfer-encoding") == "chunked"
        assert await answer.read() == b"part0part1part2"
        answer = await exchange(connection, "GET", "/next", [("Host", "x")])
        assert answer.status == 200
        connection.close()


async def test_old_http_gets_the_end_of_the_connection():
    async with serving(echo) as server:
        answer = await raw(server, b"GET /stream HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\npart0part1part2")


async def test_head_has_no_body():
    async with serving(echo) as server:
        answer = await raw(server, b"HEAD /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_body_that_breaks_off_is_seen_to():
    async with serving(echo) as server:
        connection = await dial("127.0.0.1", server.port, clock=CLOCK)
        answer = await exchange(connection, "GET", "/broken", [("Host", "x")])
        with pytest.raises(BadResponse):
            await answer.read()
        answer.close()


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 5000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3000\r\n\r\n" + b"z" * 3000, b"413"),
        (b"GET /fail HTTP/1.1\r\nConnection: close\r\n\r\n", b"500"),
    ],
)
async def test_refusals(payload, status):
    server = HttpServer(echo, clock=CLOCK, limits=HttpLimits(head=4000, body=2000))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run())
        await server.started.wait()
        assert (await raw(server, payload)).startswith(b"HTTP/1.1 " + status)
        task.cancel()


async def test_a_connection_is_handed_over_with_the_bytes_behind_the_request():
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /upgrade HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nearly")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(5) == b"EARLY"
        writer.write(b"late")
        assert await reader.readexactly(4) == b"LATE"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_a_refused_upgrade_is_an_answer():
    async with serving(echo) as server:
        connection = await dial("127.0.0.1", server.port, clock=CLOCK)
        answer = await upgrade(connection, "GET", "/x", [("Host", "x"), ("Connection", "Upgrade"), ("Upgrade", "y")])
        assert not isinstance(answer, Upgraded)
        assert (answer.status, await answer.read()) == (200, b"GET /x  None b''")
        answer.close()


async def test_a_client_that_goes_away_cancels_its_handler():
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(request):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(slow) as server:
        connection = await dial("127.0.0.1", server.port, clock=CLOCK)
        await connection.write(b"GET / HTTP/1.1\r\n\r\n")
        await started.wait()
        connection.abort()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_slow_reader_stops_the_handler():
    produced = 0

    async def endless(request):
        async def body():
            nonlocal produced
            while True:
                produced += 1
                yield bytes(65536)

        return HttpResponse(200, body())

    async with serving(endless) as server:
        connection = await dial("127.0.0.1", server.port, clock=CLOCK)
        await connection.write(b"GET / HTTP/1.1\r\n\r\n")
        before = -1
        # Runs until nothing more can be written: socket buffers and ours are full.
        while before != produced:
            before = produced
            await asyncio.sleep(0.05)
        assert produced < 400
        connection.abort()


async def test_tls_and_the_clients_certificate(tmp_path):
    pki = make_pki(tmp_path)
    seen = []

    async def who(request):
        seen.append(request.client_certificate)
        return HttpResponse(200, b"ok")

    async with serving(who, pki.server) as server:
        connection = await dial("127.0.0.1", server.port, clock=CLOCK, tls=pki.client)
        answer = await exchange(connection, "GET", "/", [("Host", "x")])
        assert await answer.read() == b"ok"
        connection.close()
        import ssl

        with pytest.raises(DialError, match="x509: "):
            await dial("127.0.0.1", server.port, clock=CLOCK, tls=ssl.create_default_context())
    assert seen and seen[0]


async def test_words_of_a_failed_dial():
    async with serving(echo) as server:
        port = server.port
    with pytest.raises(DialError, match=f"dial tcp 127.0.0.1:{port}: connect: connection refused"):
        await dial("127.0.0.1", port, clock=CLOCK)
    with pytest.raises(DialError, match="lookup nowhere.invalid: no such host"):
        await dial("nowhere.invalid", 1, clock=CLOCK)
