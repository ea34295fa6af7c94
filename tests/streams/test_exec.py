"""exec, attach and port-forward through the API server's handlers, kubelets of both generations, by hand and by kubectl."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from urllib.parse import urlencode

import orjson
import pytest

from pybernetes.apiserver.streaming import KubeletTLS, StreamingContext
from pybernetes.hooks.authorization import Decision, Verdict
from pybernetes.streams.connection import dial
from pybernetes.streams.http_client import Upgraded, upgrade
from pybernetes.streams.http_server import HttpRequest, HttpResponse
from pybernetes.streams.relay import translate
from pybernetes.wire import channels, portforward, remotecommand
from pybernetes.wire.channels import ChannelConnection, ChannelData, ChannelsEnded
from pybernetes.wire.remotecommand import ERROR, STDERR, STDIN, STDOUT
from pybernetes.wire.translation import ExecTranslator, TunnelTranslator
from pybernetes.wire.upgrade import STREAM_PROTOCOL, accept_websocket, is_websocket

from .backend import CLOCK, Command, exec_handler, forward_handler, make_pki, serving
from .front import Objects, api_server, kubeconfig, node, pod

KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="no kubectl on the PATH")


async def program(command: Command) -> int:
    """A few commands that need no container."""
    assert command.stdout is not None and command.stderr is not None
    match command.arguments:
        case ["cat"]:
            try:
                while data := await command.stdin.get():
                    await command.stdout(data)
            finally:
                command.ended.set()
            return 0
        case ["exit", code]:
            await command.stderr(b"leaving\n")
            return int(code)
        case ["sha"]:
            digest = hashlib.sha256()
            while data := await command.stdin.get():
                digest.update(data)
            await command.stdout(digest.hexdigest().encode() + b"\n")
            return 0
        case ["yes", size]:
            block = bytes(range(256)) * 256
            for _ in range(int(size) // len(block)):
                await command.stdout(block)
            return 0
        case ["head"]:
            await command.stdin.get()
            await command.stdout(b"enough\n")
            return 0
    await command.stdout(b"hello\n")
    return 0


class Kubelet:
    """Old: SPDY only. New: translates WebSockets too, as 1.36 does."""

    def __init__(self, new: bool) -> None:
        self.new = new
        self.requests: list[HttpRequest] = []
        self.commands: list[Command] = []
        self.runtime_port = 0

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if request.path.startswith("/portForward/"):
            return await self._forward(request)
        if not request.path.startswith(("/exec/", "/attach/")):
            return HttpResponse(404, b"not found")
        if self.new and is_websocket(request.headers):
            return await self._translate(request, [channels.V5], "/exec/")
        return exec_handler(request, program, self.commands)

    async def _forward(self, request: HttpRequest) -> HttpResponse:
        if self.new and is_websocket(request.headers):
            return await self._translate(request, [portforward.TUNNEL_PROTOCOL], "/portForward/")
        return forward_handler(request)

    async def _translate(self, request: HttpRequest, protocols: list[str], path: str) -> HttpResponse:
        _, headers = accept_websocket(request.headers, protocols)
        connection = await dial("127.0.0.1", self.runtime_port, clock=CLOCK)
        tunnel = path == "/portForward/"
        offered = portforward.PROTOCOL if tunnel else channels.V4
        answer = await upgrade(
            connection,
            "POST",
            f"{path}x?{request.raw_query}",
            [("Host", "x"), ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), (STREAM_PROTOCOL, offered)],
        )
        assert isinstance(answer, Upgraded)
        options = None if tunnel else remotecommand.options_from_query(request.query)
        translator = TunnelTranslator() if options is None else ExecTranslator(options)
        return HttpResponse(101, headers=headers, upgrade=lambda c: translate(c, connection, translator, clock=CLOCK))


class World:
    def __init__(self, context: StreamingContext, kubelet: Kubelet, server, directory) -> None:
        self.context, self.kubelet, self.server, self.directory = context, kubelet, server, directory

    def add(self, obj) -> None:
        self.context.reader.objects.update(Objects(obj).objects)

    async def kubectl(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            "--kubeconfig",
            str(kubeconfig(self.directory, self.server)),
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(self.directory)},
        )
        out, err = await process.communicate(stdin)
        return process.returncode or 0, out, err

    async def open(self, path: str, protocol: str, query: list[tuple[str, str]]):
        """A WebSocket client of the API server; the answer where it is refused."""
        connection = await dial("127.0.0.1", self.server.port, clock=CLOCK)
        answer = await upgrade(
            connection,
            "GET",
            f"{path}?{urlencode(query)}",
            [
                ("Host", "x"),
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Protocol", protocol),
                ("Authorization", "Bearer secret"),
            ],
        )
        if not isinstance(answer, Upgraded):
            status = answer.status, orjson.loads(await answer.read())
            answer.close()
            return status
        assert answer.head.get("sec-websocket-protocol") == protocol
        return connection, ChannelConnection(protocol, client=True)


@pytest.fixture(params=["old", "new"])
async def world(request, tmp_path):
    kubelet = Kubelet(request.param == "new")
    pki = make_pki(tmp_path)

    async def runtime(inner: HttpRequest) -> HttpResponse:
        if inner.path.startswith("/portForward/"):
            return forward_handler(inner)
        return exec_handler(inner, program, kubelet.commands)

    async with serving(kubelet, pki.server) as front, serving(runtime) as behind:
        kubelet.runtime_port = behind.port
        features = ("ExtendWebSocketsToKubelet",) if kubelet.new else ()
        objects = Objects(node(port=front.port, features=features), pod())
        context = StreamingContext(objects, CLOCK, kubelet=KubeletTLS(pki.client))
        async with api_server(context) as server:
            yield World(context, kubelet, server, tmp_path)


EXEC = "/api/v1/namespaces/default/pods/web/exec"
OPTIONS = [("stdin", "true"), ("stdout", "true"), ("stderr", "true")]


async def conversation(connection, client: ChannelConnection) -> dict[int, bytes]:
    """Everything that the server says until it closes."""
    received: dict[int, bytearray] = {}
    while True:
        data = await connection.read()
        assert data, "the server closed without a close frame"
        for event in client.receive(data):
            match event:
                case ChannelData(channel, payload):
                    received.setdefault(channel, bytearray()).extend(payload)
                case ChannelsEnded(code):
                    assert code == 1000
                    await connection.write(client.take_output())
                    connection.close()
                    return {channel: bytes(body) for channel, body in received.items()}


async def test_half_close_lets_a_filter_end(world):
    connection, client = await world.open(EXEC, channels.V5, [*OPTIONS, ("command", "cat")])
    client.send(STDIN, b"some ")
    client.send(STDIN, b"input")
    client.close_channel(STDIN)
    await connection.write(client.take_output())
    received = await conversation(connection, client)
    assert received[STDOUT] == b"some input"
    assert orjson.loads(received[ERROR])["status"] == "Success"
    sent = world.kubelet.requests[0]
    assert sent.path == "/exec/default/web/app"
    assert sent.query == {"input": ["1"], "output": ["1"], "error": ["1"], "command": ["cat"]}
    assert "authorization" not in sent.headers
    assert sent.client_certificate


async def test_exit_codes(world):
    connection, client = await world.open(EXEC, channels.V5, [*OPTIONS, ("command", "exit"), ("command", "42")])
    received = await conversation(connection, client)
    assert received[STDERR] == b"leaving\n"
    assert remotecommand.exit_code(orjson.loads(received[ERROR])) == 42


async def test_a_slow_reader_holds_the_command_back(world):
    connection, client = await world.open(
        EXEC, channels.V5, [("stdout", "true"), ("command", "yes"), ("command", str(64 << 20))]
    )
    # Nobody reads: what is in flight must stay bounded by buffers, and arrive whole later.
    await asyncio.sleep(0.3)
    total = 0
    while True:
        data = await connection.read()
        events = client.receive(data)
        total += sum(len(e.data) for e in events if isinstance(e, ChannelData) and e.channel == STDOUT)
        if any(isinstance(e, ChannelsEnded) for e in events):
            break
    assert total == 64 << 20
    connection.close()


async def test_a_command_that_ends_early_loses_nothing(world):
    connection, client = await world.open(EXEC, channels.V5, [*OPTIONS, ("command", "head")])

    async def flood():
        try:
            while True:
                client.send(STDIN, bytes(16384))
                await connection.write(client.take_output())
                await asyncio.sleep(0)
        except ConnectionError:
            return

    async with asyncio.TaskGroup() as group:
        flooding = group.create_task(flood())
        received = await conversation(connection, client)
        flooding.cancel()
    assert received[STDOUT] == b"enough\n"
    assert orjson.loads(received[ERROR])["status"] == "Success"


@pytest.mark.parametrize(
    ("objects", "query", "code", "message"),
    [
        ([], [("container", "x")], 400, "container x is not valid for pod web"),
        (
            [pod(containers=("a", "b"), initContainers=[{"name": "i"}])],
            [],
            400,
            "a container name must be specified for pod web, choose one of: [i a b]",
        ),
        ([pod(containers=())], [], 400, "a container name must be specified for pod web"),
        ([pod(node="")], [], 400, "pod web does not have a host assigned"),
        ([pod(node="gone")], [], 404, 'nodes "gone" not found'),
        (
            [node(host="")],
            [],
            503,
            "node node-1 has no kubelet to ask: no preferred addresses found; known addresses: []",
        ),
        (
            [node() | {"metadata": {"name": "node-1", "labels": {"pybernetes.io/simulated": "true"}}}],
            [],
            503,
            "node node-1 is simulated: its pods run no containers, so there are no logs and nothing to exec into",
        ),
        (
            [node(port=1)],
            [],
            500,
            "error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused",
        ),
    ],
)
async def test_refusals_in_upstreams_words(world, objects, query, code, message):
    for obj in objects:
        world.add(obj)
    status, body = await world.open(EXEC, channels.V5, [*OPTIONS, *query])
    assert (status, body["message"]) == (code, message)


async def test_no_pod_and_no_upgrade(world):
    status, body = await world.open(EXEC.replace("web", "none"), channels.V5, OPTIONS)
    assert (status, body["message"]) == (404, 'pods "none" not found')
    code, _, err = await world.kubectl("get", "--raw", EXEC + "?stdout=1")
    assert code == 1
    assert b"Upgrade request required" in err


async def test_get_needs_the_right_to_create(world):
    class Readers:
        async def authorize(self, attributes):
            assert attributes.verb == "create"
            assert attributes.subresource == "exec"
            return Verdict(Decision.NO_OPINION, "only get")

    world.context.authorizer = Readers()
    status, body = await world.open(EXEC, channels.V5, OPTIONS)
    assert (status, body["message"]) == (403, 'pods "web" is forbidden: only get')


async def test_a_client_that_vanishes_ends_the_command(world):
    connection, client = await world.open(EXEC, channels.V5, [*OPTIONS, ("command", "cat")])
    client.send(STDIN, b"x")
    await connection.write(client.take_output())
    await connection.read()
    connection.abort()
    async with asyncio.timeout(5):
        await world.kubelet.commands[0].ended.wait()


async def test_clients_that_vanish_leave_nothing_behind(world):
    async def once(number: int) -> None:
        opened = await world.open(EXEC, channels.V5, [*OPTIONS, ("command", "cat" if number % 2 else "sha")])
        connection, client = opened
        if number % 3:
            client.send(STDIN, bytes(number * 1000))
            await connection.write(client.take_output())
        if number % 5 == 0:
            await connection.read()
        connection.abort()

    before = len(asyncio.all_tasks()), sockets()
    await asyncio.gather(*(once(number) for number in range(40)))
    async with asyncio.timeout(10):
        # The relays see the end of their connections at their own pace. What an earlier test left may end meanwhile too.
        while len(asyncio.all_tasks()) > before[0] or sockets() > before[1]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def sockets() -> int:
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except FileNotFoundError:
            continue
    return count


@needs_kubectl
@pytest.mark.kubectl
@pytest.mark.parametrize("spdy", [False, True], ids=["websocket", "spdy"])
class TestKubectl:
    @pytest.fixture(autouse=True)
    def protocol(self, spdy, monkeypatch):
        value = "false" if spdy else "true"
        monkeypatch.setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", value)
        monkeypatch.setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", value)

    async def test_output_and_exit_code(self, world):
        assert await world.kubectl("exec", "web", "--", "hello") == (0, b"hello\n", b"")
        code, _, err = await world.kubectl("exec", "web", "--", "exit", "3")
        assert code == 3
        assert b"leaving" in err and b"command terminated with exit code 3" in err

    async def test_a_pipe_is_closed_when_it_ends(self, world):
        payload = os.urandom(3_000_000)
        code, out, err = await world.kubectl("exec", "-i", "web", "--", "sha", stdin=payload)
        assert (code, out.decode().strip(), err) == (0, hashlib.sha256(payload).hexdigest(), b"")
        code, out, _ = await world.kubectl("exec", "-i", "web", "--", "cat", stdin=payload)
        assert (code, out) == (0, payload)

    async def test_attach(self, world):
        code, out, _ = await world.kubectl("attach", "web", "-c", "app")
        assert (code, out) == (0, b"hello\n")
        assert world.kubelet.requests[-1].path == "/attach/default/web/app"

    async def test_port_forward(self, world):
        async def shout(reader, writer):
            # Answers only when the client has half-closed: the end of stream has to travel too.
            writer.write((await reader.read()).upper())
            writer.write_eof()

        target = await asyncio.start_server(shout, "127.0.0.1", 0)
        port = target.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            "--kubeconfig",
            str(kubeconfig(world.directory, world.server)),
            "port-forward",
            "pod/web",
            f":{port}",
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(world.directory)},
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        local = int(line.split("127.0.0.1:")[1].split(" ")[0])

        async def talk(text: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(text)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

        payload = b"abc" * 500_000
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(talk(payload + str(n).encode()) for n in range(4)))
        assert answers == [payload.upper() + str(n).encode() for n in range(4)]
        process.terminate()
        await process.wait()
        target.close()
