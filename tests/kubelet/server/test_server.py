"""The kubelet's server over real sockets and TLS, with a kubelet and a runtime that are fakes."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from types import SimpleNamespace
from urllib.parse import urlencode

import orjson
import pytest

from pybernetes.api.errors import StatusError
from pybernetes.client import signing
from pybernetes.kubelet.interfaces import ContainerRef, ExecResult
from pybernetes.kubelet.server import KubeletServer, ServerSettings
from pybernetes.kubelet.server.auth import subresources_of, user_of_certificate
from pybernetes.streams.connection import dial
from pybernetes.streams.http_client import Upgraded, exchange, upgrade
from pybernetes.streams.http_server import HttpRequest, HttpResponse
from pybernetes.wire import channels, portforward, spdy
from pybernetes.wire.channels import ChannelConnection, ChannelData, ChannelsEnded
from pybernetes.wire.websocket import MessageReceived, WebSocket
from streams.backend import CLOCK, Command, exec_handler, forward_handler, make_pki, serving

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
    "spec": {"containers": [{"name": "app", "image": "img"}]},
    "status": {"containerStatuses": [{"name": "app", "state": {"running": {}}}]},
}


class Reviews:
    """The API server's answers: token ``good`` is bob, and bob may ``allowed``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.allowed: set[tuple[str, str]] = set()
        self.broken = False

    async def request(self, method, path, body):
        self.asked.append(path.rpartition("/")[2])
        if self.broken:
            raise StatusError(503, "ServiceUnavailable", "down")
        spec = body["spec"]
        if "token" in spec:
            good = spec["token"] == "good"
            return {"status": {"authenticated": good, "user": {"username": "bob", "groups": ["devs"]}}}
        attributes = spec["resourceAttributes"]
        assert attributes["resource"] == "nodes" and attributes["name"] == "node-1"
        allowed = "system:masters" in spec["groups"] or (attributes["verb"], attributes["subresource"]) in self.allowed
        return {"status": {"allowed": allowed}}


class Kubelet:
    """``KubeletApi`` and ``StreamingRuntime`` in one."""

    def __init__(self, runtime_port: int, log_path) -> None:
        self.node_name, self.clock = "node-1", CLOCK
        self.client = Reviews()
        self.runtime = self
        self.base = f"http://127.0.0.1:{runtime_port}"
        self.log_path = log_path
        self.calls: list[tuple] = []
        self.sick = ""

        async def text() -> bytes:
            return b"metric 1\n"

        async def summary(only: bool) -> dict:
            return {"node": {"nodeName": "node-1"}, "only": only}

        self.stats = SimpleNamespace(
            summary=summary, metrics=text, cadvisor_metrics=text, resource_metrics=text, probe_metrics=text
        )

    def pods(self):
        return [POD]

    def find_pod(self, namespace, name, uid=""):
        if (namespace, name) != ("default", "web"):
            raise StatusError(404, "NotFound", "pod does not exist")
        return POD

    async def find_container(self, namespace, name, container="", uid="", *, previous=False):
        self.find_pod(namespace, name)
        if container != "app":
            raise StatusError(404, "NotFound", f'container "{container}" not found in pod "{name}"')
        return ContainerRef("c1", "s1", "app", "running", self.log_path, False, False)

    async def find_sandbox(self, namespace, name, uid=""):
        return "s1"

    def configz(self):
        return {"kind": "KubeletConfiguration"}

    def health(self):
        return {"ping": "", "log": "", "syncloop": self.sick}

    async def exec_sync(self, container_id, command, timeout=0):
        return ExecResult(" ".join(command).encode(), b"", 0 if command[0] == "true" else 3)

    async def exec_url(self, container_id, command, *, tty, stdin, stdout, stderr):
        self.calls.append((container_id, tuple(command), tty, stdin, stdout, stderr))
        flags = {"input": stdin, "output": stdout, "error": stderr, "tty": tty}
        query = [(n, "1") for n, on in flags.items() if on] + [("command", c) for c in command]
        return f"{self.base}/exec/token?{urlencode(query)}"

    async def attach_url(self, container_id, *, tty, stdin, stdout, stderr):
        return await self.exec_url(container_id, [], tty=tty, stdin=stdin, stdout=stdout, stderr=stderr)

    async def port_forward_url(self, pod_sandbox_id, ports=()):
        self.calls.append((pod_sandbox_id, tuple(ports)))
        return f"{self.base}/portforward/token"

    async def container_running(self, container_id):
        return False


async def runtime(request: HttpRequest) -> HttpResponse:
    if request.path.startswith("/portforward/"):
        return forward_handler(request)

    async def cat(command: Command) -> int:
        await command.stdout(b"ran " + await command.read_all() if command.options.stdin else b"ran")
        return 5

    return exec_handler(request, cat)


class World:
    def __init__(self, kubelet: Kubelet, server: KubeletServer, tls: ssl.SSLContext) -> None:
        self.kubelet, self.server, self.tls = kubelet, server, tls

    async def dial(self):
        return await dial("127.0.0.1", self.server.http.port, clock=CLOCK, tls=self.tls)

    async def ask(self, path: str, method: str = "GET", headers=()) -> tuple[int, bytes]:
        answer = await exchange(await self.dial(), method, path, [("Host", "x"), *headers])
        body = await answer.read()
        answer.close()
        return answer.status, body


@asynccontextmanager
async def running(tmp_path, *, certificate: bool, settings: ServerSettings):
    pki = make_pki(tmp_path)
    async with serving(runtime) as behind:
        kubelet = Kubelet(behind.port, tmp_path / "0.log")
        (tmp_path / "0.log").write_text("2026-01-02T03:04:05Z stdout F one\n2026-01-02T03:04:06Z stderr F two\n")
        server = KubeletServer(kubelet, pki.server, settings)
        tls = pki.client if certificate else ssl.create_default_context(cafile=str(pki.ca_file))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.run())
            await server.http.started.wait()
            try:
                yield World(kubelet, server, tls)
            finally:
                task.cancel()


def settings(tmp_path, **more) -> ServerSettings:
    logs = tmp_path / "logs"
    (logs / "sub").mkdir(parents=True)
    (logs / "sys.log").write_text("system")
    (logs / "escape").symlink_to("/etc/passwd")
    return ServerSettings(address="127.0.0.1", port=0, system_log_dir=logs, **more)


@pytest.fixture
async def world(tmp_path):
    async with running(tmp_path, certificate=True, settings=settings(tmp_path)) as found:
        yield found


@pytest.fixture
async def stranger(tmp_path):
    async with running(tmp_path, certificate=False, settings=settings(tmp_path)) as found:
        yield found


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/healthz", 200, b"ok"),
        ("/healthz/ping", 200, b"ok"),
        ("/healthz?verbose", 200, b"[+]log ok\n[+]ping ok\n[+]syncloop ok\nhealthz check passed\n"),
        ("/metrics/cadvisor", 200, b"metric 1\n"),
        ("/metrics/odd", 404, b"404: Page Not Found"),
        ("/stats/summary", 200, b'{"node":{"nodeName":"node-1"},"only":false}'),
        ("/stats/summary?only_cpu_and_memory=true", 200, b'{"node":{"nodeName":"node-1"},"only":true}'),
        ("/configz", 200, b'{"kubeletconfig":{"kind":"KubeletConfiguration"}}'),
        ("/odd", 404, b"404: Page Not Found"),
        ("/checkpoint/default/web/app", 404, b"404: Page Not Found"),
        ("/logs/sys.log", 200, b"system"),
        ("/logs/escape", 404, b"404 page not found\n"),
        ("/logs/../../etc/passwd", 404, b"404 page not found\n"),
        ("/containerLogs/default/web/app", 200, b"one\ntwo\n"),
        ("/containerLogs/default/web/app?tailLines=1&timestamps=1", 200, b"2026-01-02T03:04:06.000000000Z two\n"),
        ("/containerLogs/default/web/app?follow=true&limitBytes=2", 200, b"on"),
        ("/containerLogs/default/web/app?tail=all&tailLines=1", 200, b"one\ntwo\n"),
        ("/containerLogs/default/web/app?tailLines=x", 400, b'{"message": "Unable to decode query."}'),
        ("/containerLogs/default/web/app?tailLines=-1", 422, b'{"message": "Invalid request."}'),
        ("/containerLogs/default/none/app", 404, b"pod does not exist"),
        ("/containerLogs/default/web/x", 404, b'container "x" not found in pod "web"'),
        ("/exec/default/web/app", 400, b"you must specify at least 1 of stdin, stdout, stderr"),
        ("/exec/default/web/app?output=1", 400, b"Upgrade request required"),
        ("/exec/default/none/app?output=1", 404, b"pod does not exist"),
        ("/portForward/default/web/odd-uid", 404, b"pod not found"),
        ("/run/default/web/app", 405, b"405: Method Not Allowed"),
    ],
)
async def test_routes(world, path, status, body):
    assert await world.ask(path) == (status, body)


async def test_the_servers_own_metrics(world):
    await world.ask("/pods")
    await world.ask("/odd")
    status, body = await world.ask("/metrics")
    assert status == 200 and body.startswith(b"metric 1\n")
    line = 'kubelet_http_requests_total{long_running="false",method="GET",path="%s",server_type="readwrite"} 1\n'
    assert (line % "pods").encode() in body
    assert (line % "other").encode() in body


async def test_pods(world):
    status, body = await world.ask("/pods")
    assert (status, orjson.loads(body)["items"]) == (200, [POD])
    status, body = await world.ask("/runningpods/")
    assert orjson.loads(body)["items"][0]["spec"]["containers"][0]["name"] == "app"


async def test_a_directory_of_logs_is_listed(world):
    status, body = await world.ask("/logs/")
    assert status == 200
    assert b'<a href="sub/">sub/</a>' in body


async def test_run(world):
    assert await world.ask("/run/default/web/app?cmd=true+x", "POST") == (200, b"true x")
    assert await world.ask("/run/default/web/u1/app?cmd=false", "POST") == (500, b"command terminated with exit code 3")


async def test_sick(world):
    world.kubelet.sick = "pleg was last seen active 5m ago"
    status, body = await world.ask("/healthz")
    assert status == 500
    assert b"[-]syncloop failed: reason withheld\nhealthz check failed\n" in body


async def test_who_is_asked_for(stranger):
    reviews = stranger.kubelet.client
    assert await stranger.ask("/pods") == (401, b"Unauthorized")
    assert await stranger.ask("/pods", headers=[("Authorization", "Bearer bad")]) == (401, b"Unauthorized")
    good = [("Authorization", "Bearer good")]
    assert await stranger.ask("/pods", headers=good) == (
        403,
        b"Forbidden (user=bob, verb=get, resource=nodes, subresource(s)=[pods proxy])\n",
    )
    reviews.allowed.add(("get", "stats"))
    asked = len(reviews.asked)
    for _ in range(3):
        assert (await stranger.ask("/stats/summary", headers=good))[0] == 200
    # The token was known by then, and the permission is asked for once.
    assert reviews.asked[asked:] == ["subjectaccessreviews"]
    reviews.broken = True
    assert (await stranger.ask("/metrics", headers=good))[0] == 500


async def test_the_certificates_user(world):
    assert (await world.ask("/pods"))[0] == 200
    assert world.kubelet.client.asked == ["subjectaccessreviews"]


def test_names_in_a_certificate():
    authority = signing.new_authority("ca", now=CLOCK.now(), lifetime=60)
    subject = signing.Subject("alice", ("devs", "ops"))
    pem, _ = signing.issue(authority, subject, signing.CLIENT_USAGES, now=CLOCK.now(), lifetime=60)
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    user = user_of_certificate(der)
    assert user.name == "alice"
    assert set(user.groups) == {"devs", "ops", "system:authenticated"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/pods", ["pods", "proxy"]),
        ("/runningpods/", ["pods", "proxy"]),
        ("/healthz/ping", ["healthz", "proxy"]),
        ("/configz", ["configz", "proxy"]),
        ("/stats/summary", ["stats"]),
        ("/metrics/cadvisor", ["metrics"]),
        ("/logs/x", ["log"]),
        ("/podsecurity", ["proxy"]),
        ("/exec/a/b/c", ["proxy"]),
    ],
)
def test_subresources(path, expected):
    assert subresources_of(path) == expected


async def test_without_debugging_handlers(tmp_path):
    chosen = settings(tmp_path, enable_debugging_handlers=False)
    async with running(tmp_path, certificate=True, settings=chosen) as world:
        assert await world.ask("/exec/default/web/app?output=1") == (405, b"Debug endpoints are disabled.\n")
        assert await world.ask("/configz") == (404, b"404: Page Not Found")
        assert (await world.ask("/metrics"))[0] == 200


WEBSOCKET = [
    ("Host", "x"),
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]


async def test_exec_by_websocket_v5_is_translated(world):
    target = "/exec/default/web/app?input=1&output=1&command=cat"
    answer = await upgrade(await world.dial(), "GET", target, [*WEBSOCKET, ("Sec-WebSocket-Protocol", channels.V5)])
    assert isinstance(answer, Upgraded)
    client = ChannelConnection(channels.V5, client=True)
    client.send(0, b"input")
    client.close_channel(0)
    await answer.connection.write(client.take_output())
    events = []
    while not events or not isinstance(events[-1], ChannelsEnded):
        events += client.receive(await answer.connection.read())
    answer.connection.close()
    assert events[0] == ChannelData(1, b"ran input")
    assert orjson.loads(events[1].data)["details"]["causes"][0]["message"] == "5"
    assert world.kubelet.calls == [("c1", ("cat",), False, True, True, False)]


async def test_exec_by_spdy_passes_as_it_is(world):
    headers = [
        ("Host", "x"),
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "v4.channel.k8s.io, channel.k8s.io"),
    ]
    answer = await upgrade(await world.dial(), "POST", "/exec/default/web/app?output=1&command=x", headers)
    assert isinstance(answer, Upgraded)
    assert answer.head.get("x-stream-protocol-version") == channels.V4
    client = spdy.SpdyConnection(client=True)
    for kind in ("error", "stdout"):
        client.open_stream([("streamtype", kind)])
    await answer.connection.write(client.take_output())
    received = b""
    while data := await answer.connection.read():
        received += b"".join(e.data for e in client.receive(data) if isinstance(e, spdy.DataReceived))
    assert received.startswith(b"ran")
    assert b'"NonZeroExitCode"' in received


async def test_port_forward_by_a_tunnel(world):
    async def shout(reader, writer):
        writer.write((await reader.read()).upper())
        writer.close()

    target = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = str(target.sockets[0].getsockname()[1])
    headers = [*WEBSOCKET, ("Sec-WebSocket-Protocol", portforward.TUNNEL_PROTOCOL)]
    answer = await upgrade(await world.dial(), "GET", "/portForward/default/web", headers)
    assert isinstance(answer, Upgraded)
    assert answer.head.get("sec-websocket-protocol") == portforward.TUNNEL_PROTOCOL
    inner, outer = spdy.SpdyConnection(client=True), WebSocket(client=True)
    common = [("port", port), ("requestid", "0")]
    inner.open_stream([("streamtype", "error"), *common])
    data_id = inner.open_stream([("streamtype", "data"), *common])
    inner.send_data(data_id, b"hello", fin=True)
    outer.send(inner.take_output())
    await answer.connection.write(outer.take_output())
    received, ended = b"", False
    while not ended:
        for message in outer.receive(await answer.connection.read()):
            assert isinstance(message, MessageReceived)
            for event in inner.receive(message.data):
                if isinstance(event, spdy.DataReceived) and event.stream_id == data_id:
                    received += event.data
                    ended = event.fin
    assert received == b"HELLO"
    answer.connection.close()
    target.close()


async def test_a_runtime_that_is_gone(world):
    world.kubelet.base = "http://127.0.0.1:1"
    headers = [*WEBSOCKET, ("Sec-WebSocket-Protocol", channels.V5)]
    answer = await upgrade(await world.dial(), "GET", "/exec/default/web/app?output=1", headers)
    assert not isinstance(answer, Upgraded)
    assert (answer.status, await answer.read()) == (
        500,
        b"error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused",
    )
    answer.close()


async def test_protocols_that_nobody_speaks(world):
    headers = [*WEBSOCKET[:2], ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v9.channel.k8s.io")]
    answer = await upgrade(await world.dial(), "POST", "/exec/default/web/app?output=1", headers)
    assert not isinstance(answer, Upgraded)
    assert answer.status == 403
    assert b"client supports [v9.channel.k8s.io]" in await answer.read()
    answer.close()
