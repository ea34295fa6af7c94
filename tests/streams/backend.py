"""A container runtime's streaming server and a kubelet's face, fake but true on the wire: SPDY v1 to v4, as containerd speaks it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pybernetes.client import signing
from pybernetes.concurrency import RealClock
from pybernetes.streams.connection import RawConnection
from pybernetes.streams.http_server import HttpHandler, HttpRequest, HttpResponse, HttpServer
from pybernetes.wire import portforward, remotecommand, spdy, upgrade
from pybernetes.wire.remotecommand import ERROR, RESIZE, STDERR, STDIN, STDOUT, STREAM_NAMES

CLOCK = RealClock()


@dataclass
class Command:
    """What a fake command works with."""

    arguments: list[str]
    options: remotecommand.StreamOptions
    stdin: asyncio.Queue[bytes]
    """b'' is the end."""
    sizes: list[remotecommand.TerminalSize] = field(default_factory=list)
    stdout: Callable[[bytes], Awaitable[None]] | None = None
    stderr: Callable[[bytes], Awaitable[None]] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_all(self) -> bytes:
        data = bytearray()
        while chunk := await self.stdin.get():
            data += chunk
        return bytes(data)


Program = Callable[[Command], Awaitable[int]]


class ExecSession:
    """The server's end of one exec or attach over SPDY."""

    def __init__(self, client: RawConnection, protocol: str, command: Command, program: Program) -> None:
        self.client, self.protocol, self.command, self.program = client, protocol, command, program
        self.spdy = spdy.SpdyConnection(client=False)
        self.ids: dict[int, int] = {}
        self.resize = remotecommand.ResizeDecoder()
        self.ready = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            await self.ready.wait()
            self.command.stdout = lambda data: self._send(STDOUT, data)
            self.command.stderr = lambda data: self._send(STDERR, data)
            code = await self.program(self.command)
            for kind in (STDOUT, STDERR):
                await self._send(kind, b"", fin=True)
            await self._send(ERROR, remotecommand.encode_status(remotecommand.exit_status(code), self.protocol))
            # As Go's server: what is open is reset, then the connection closed.
            for stream_id in self.ids.values():
                self.spdy.reset(stream_id)
            self.spdy.go_away()
            await self.client.write(self.spdy.take_output())
            reading.cancel()

    async def _send(self, kind: int, data: bytes, fin: bool = False) -> None:
        if kind in self.ids:
            self.spdy.send_data(self.ids[kind], data, fin=fin)
            await self.client.write(self.spdy.take_output())

    async def _read(self) -> None:
        expected = len(self.command.options.wanted(self.protocol))
        while data := await self.client.read():
            for event in self.spdy.receive(data):
                match event:
                    case spdy.StreamOpened(stream_id, headers):
                        self.ids[STREAM_NAMES.index(headers["streamtype"])] = stream_id
                        self.spdy.reply(stream_id)
                        if len(self.ids) == expected:
                            self.ready.set()
                    case spdy.DataReceived(stream_id, payload, fin):
                        if stream_id == self.ids.get(STDIN):
                            if payload:
                                await self.command.stdin.put(payload)
                            if fin:
                                await self.command.stdin.put(b"")
                        elif stream_id == self.ids.get(RESIZE):
                            self.command.sizes += self.resize.feed(payload)
            if self.spdy.has_output:
                await self.client.write(self.spdy.take_output())
        self.ready.set()  # who has left opens nothing more
        await self.command.stdin.put(b"")


class ForwardSession:
    """The server's end of a port-forward over SPDY: each pair of streams becomes a TCP connection on the loopback."""

    def __init__(
        self, client: RawConnection, dial: Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
    ):
        self.client, self.dial = client, dial
        self.spdy = spdy.SpdyConnection(client=False)
        self.pairs = portforward.StreamPairs()
        self.writers: dict[int, asyncio.StreamWriter] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while data := await self.client.read():
                for event in self.spdy.receive(data):
                    match event:
                        case spdy.StreamOpened(stream_id, headers):
                            self.spdy.reply(stream_id)
                            pair = self.pairs.add(portforward.parse_stream(stream_id, headers))
                            if pair.complete:
                                await self._open(pair, group)
                        case spdy.DataReceived(stream_id, payload, fin) if stream_id in self.writers:
                            writer = self.writers[stream_id]
                            writer.write(payload)
                            await writer.drain()
                            if fin:
                                writer.write_eof()
                await self._flush()
            for writer in self.writers.values():
                writer.close()

    async def _flush(self) -> None:
        if self.spdy.has_output:
            await self.client.write(self.spdy.take_output())

    async def _open(self, pair: portforward.StreamPair, group: asyncio.TaskGroup) -> None:
        assert pair.data is not None and pair.error is not None
        try:
            reader, writer = await self.dial(pair.data.port)
        except OSError as failure:
            self.spdy.send_data(pair.error.stream_id, f"error forwarding port: {failure}".encode(), fin=True)
            self.spdy.reset(pair.data.stream_id)
            return
        self.writers[pair.data.stream_id] = writer
        group.create_task(self._copy(reader, pair))

    async def _copy(self, reader: asyncio.StreamReader, pair: portforward.StreamPair) -> None:
        assert pair.data is not None and pair.error is not None
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.spdy.send_data(pair.data.stream_id, data)
                await self._flush()
            self.spdy.send_data(pair.data.stream_id, b"", fin=True)
            self.spdy.send_data(pair.error.stream_id, b"", fin=True)
            await self._flush()


def exec_handler(request: HttpRequest, program: Program, seen: list[Command] | None = None) -> HttpResponse:
    try:
        options = remotecommand.options_from_query(request.query)
        protocol, headers = upgrade.accept_spdy(request.headers, remotecommand.SPDY_PROTOCOLS)
    except upgrade.NegotiationError as refusal:
        return HttpResponse(refusal.status, f"{refusal}\n".encode(), "text/plain", refusal.headers)
    command = Command(request.query.get("command", []), options, asyncio.Queue(maxsize=4))
    if seen is not None:
        seen.append(command)

    async def run(client: RawConnection) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                await ExecSession(client, protocol, command, program).run()
            except* ConnectionError:
                pass

    return HttpResponse(101, headers=headers, upgrade=run)


def forward_handler(request: HttpRequest) -> HttpResponse:
    try:
        _, headers = upgrade.accept_spdy(request.headers, [portforward.PROTOCOL])
    except upgrade.NegotiationError as refusal:
        return HttpResponse(refusal.status, f"{refusal}\n".encode(), "text/plain", refusal.headers)

    async def run(client: RawConnection) -> None:
        await ForwardSession(client, lambda port: asyncio.open_connection("127.0.0.1", port)).run()

    return HttpResponse(101, headers=headers, upgrade=run)


@contextlib.asynccontextmanager
async def serving(handler: HttpHandler, tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpServer]:
    server = HttpServer(handler, clock=CLOCK, tls=tls)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run())
        await server.started.wait()
        try:
            yield server
        finally:
            task.cancel()


@dataclass(frozen=True)
class TestPki:
    """A CA, a server's certificate for the loopback and a client's."""

    __test__ = False
    server: ssl.SSLContext
    client: ssl.SSLContext
    ca_file: Path
    directory: Path


def make_pki(directory: Path) -> TestPki:
    now = CLOCK.now()
    authority = signing.new_authority("test-ca", now=now, lifetime=3600)
    ca_file = directory / "ca.crt"
    ca_file.write_bytes(authority.pem)

    def pair(name: str, subject: signing.Subject, usages: tuple[str, ...]) -> tuple[Path, Path]:
        certificate, key = signing.issue(authority, subject, usages=usages, now=now, lifetime=3600)
        files = directory / f"{name}.crt", directory / f"{name}.key"
        files[0].write_bytes(certificate)
        files[1].write_bytes(key)
        return files

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(
        *pair("server", signing.Subject("node", ("system:nodes",), ("127.0.0.1", "localhost")), signing.SERVER_USAGES)
    )
    server.load_verify_locations(ca_file)
    server.verify_mode = ssl.CERT_OPTIONAL
    client = ssl.create_default_context(cafile=str(ca_file))
    client.load_cert_chain(
        *pair("client", signing.Subject("kube-apiserver", ("system:masters",)), signing.CLIENT_USAGES)
    )
    return TestPki(server, client, ca_file, directory)
