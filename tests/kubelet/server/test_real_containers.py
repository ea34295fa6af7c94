"""kubectl -> API server's handlers -> our kubelet server -> containerd -> a container: nothing in between is fake.

``P8S_STREAM_MIB`` sets how much goes through exec and port-forward (8 by default; 1024 is what a release is tried with).
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import pty
import shutil
import struct
import termios
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.apiserver.streaming import KubeletTLS, StreamingContext
from pybernetes.kubelet import cgroups
from pybernetes.kubelet.interfaces import ContainerRef
from pybernetes.kubelet.server import KubeletServer, ServerSettings
from streams.backend import CLOCK, make_pki
from streams.front import Objects, api_server, kubeconfig, node, pod

from ..conftest import BUSYBOX, running_node

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.containers,
    pytest.mark.root,
    pytest.mark.kubectl,
    pytest.mark.skipif(KUBECTL is None, reason="no kubectl on the PATH"),
    pytest.mark.timeout(600),
]
MIB = int(os.environ.get("P8S_STREAM_MIB", "8"))


class Allowing:
    async def request(self, method, path, body):
        return {"status": {"allowed": True}}


class Kubelet:
    """``KubeletApi`` over one pod of a real runtime."""

    def __init__(self, cri, sandbox: str, containers: dict[str, str], logs: Path) -> None:
        self.node_name, self.clock, self.client, self.runtime = "node-1", CLOCK, Allowing(), cri
        self.sandbox, self.containers, self.logs = sandbox, containers, logs
        self.stats = SimpleNamespace()

    def pods(self):
        return [pod(containers=tuple(self.containers))]

    def find_pod(self, namespace, name, uid=""):
        if name != "web":
            raise StatusError(404, "NotFound", "pod does not exist")
        return self.pods()[0]

    async def find_container(self, namespace, name, container="", uid="", *, previous=False):
        self.find_pod(namespace, name)
        return ContainerRef(
            self.containers[container], self.sandbox, container, "running", self.logs / f"{container}.log", False, True
        )

    async def find_sandbox(self, namespace, name, uid=""):
        return self.sandbox

    def configz(self):
        return {}

    def health(self):
        return {}


SCRIPTS = {
    "app": "echo started; while true; do sleep 3600; done",
    "filter": "while read line; do echo got $line; done; echo ended",
}


async def start_pod(cri, logs: Path, cgroup: str) -> tuple[str, dict[str, str]]:
    config = {
        "metadata": {"name": "web", "uid": "uid-web", "namespace": "default", "attempt": 0},
        "log_directory": str(logs),
        "linux": {"cgroup_parent": cgroup},
    }
    sandbox = await cri.run_pod_sandbox(config)
    containers = {}
    for name, script in SCRIPTS.items():
        containers[name] = await cri.create_container(
            sandbox,
            {
                "metadata": {"name": name},
                "image": {"image": BUSYBOX},
                "command": ["sh", "-c", script],
                "log_path": f"{name}.log",
                "stdin": True,
                "stdin_once": True,
                "linux": {},
            },
            config,
        )
        await cri.start_container(containers[name])
    return sandbox, containers


class World:
    def __init__(self, directory: Path, server, kubelet: Kubelet) -> None:
        self.directory, self.kubelet = directory, kubelet
        self.config = kubeconfig(directory, server)
        self.environment = {**os.environ, "HOME": str(directory)}

    def command(self, *arguments: str) -> list[str]:
        return [str(KUBECTL), "--kubeconfig", str(self.config), *arguments]

    async def kubectl(self, *arguments: str, stdin=None) -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        out, err = await process.communicate(stdin)
        return process.returncode, out, err


@asynccontextmanager
async def real_world(base: Path):
    pki = make_pki(base)
    logs = base / "logs"
    logs.mkdir()
    async with running_node(base) as machine:
        sandbox, containers = await start_pod(machine.cri, logs, f"/{machine.name}")
        kubelet = Kubelet(machine.cri, sandbox, containers, logs)
        server = KubeletServer(kubelet, pki.server, ServerSettings(address="127.0.0.1", port=0))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.run())
            await server.http.started.wait()
            objects = Objects(
                node(port=server.http.port, features=("ExtendWebSocketsToKubelet",)), pod(containers=tuple(SCRIPTS))
            )
            context = StreamingContext(objects, CLOCK, kubelet=KubeletTLS(pki.client))
            async with api_server(context) as front:
                try:
                    yield World(base, front, kubelet)
                finally:
                    task.cancel()
                    await machine.cri.stop_pod_sandbox(sandbox)
                    await machine.cri.remove_pod_sandbox(sandbox)
                    for controller in cgroups.ROOT.iterdir():
                        cgroups.remove_tree(controller / machine.name)
                    cgroups.remove_tree(cgroups.ROOT / machine.name)


@pytest.fixture(params=["websocket", "spdy"])
def protocol(request, monkeypatch):
    value = "true" if request.param == "websocket" else "false"
    monkeypatch.setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", value)
    monkeypatch.setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", value)
    return request.param


async def test_exec_logs_attach_copy_and_forward(tmp_path, protocol):
    async with real_world(tmp_path) as world:
        await commands(world)
        await terminal(world)
        await logs(world)
        await attach(world)
        await copy(world)
        await large(world)
        await forward(world)


@pytest.mark.filterwarnings("ignore:Kubernetes version")
async def test_python_clients(tmp_path):
    """The two generations that kubectl does not speak: v4 channels for exec, and v4 channels for port-forward."""
    async with real_world(tmp_path) as world:
        await asyncio.to_thread(official_client, world)
        await kr8s_client(world)


def official_client(world: World) -> None:
    from kubernetes import client
    from kubernetes import config as configuration
    from kubernetes.stream import portforward, stream

    api = client.CoreV1Api(configuration.new_client_from_config(str(world.config)))
    arguments = {"container": "app", "stdin": False, "stdout": True, "stderr": True, "tty": False}

    def exec_(*command: str, **more):
        call = client.CoreV1Api(configuration.new_client_from_config(str(world.config)))
        return stream(
            call.connect_get_namespaced_pod_exec, "web", "default", command=list(command), **{**arguments, **more}
        )

    assert exec_("echo", "hi") == "hi\n"
    session = exec_("sh", "-c", "read a; echo got $a; exit 5", stdin=True, _preload_content=False)
    session.write_stdin("x\n")
    session.run_forever(timeout=20)
    assert (session.read_stdout(), session.returncode) == ("got x\n", 5)
    exec_("sh", "-c", "busybox nc -ll -p 8081 -e cat </dev/null >/dev/null 2>&1 &")
    exec_("sh", "-c", "until busybox grep -qs ':1F91 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done")
    forwarded = portforward(api.connect_get_namespaced_pod_portforward, "web", "default", ports="8081")
    connection = forwarded.socket(8081)
    connection.setblocking(True)
    connection.sendall(b"echo me")
    assert connection.recv(7) == b"echo me"
    connection.close()


async def kr8s_client(world: World) -> None:
    import kr8s.asyncio
    from kr8s.asyncio.objects import Pod

    api = await kr8s.asyncio.api(kubeconfig=str(world.config))
    found = await Pod.get("web", namespace="default", api=api)
    async with found.portforward(remote_port=8081) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"echo me")
        assert await reader.readexactly(7) == b"echo me"
        writer.close()


async def commands(world: World) -> None:
    exec_ = ("exec", "-c", "app", "web", "--")
    assert await world.kubectl(*exec_, "echo", "hi") == (0, b"hi\n", b"")
    code, out, err = await world.kubectl(*exec_, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (code, out) == (7, b"out\n")
    assert err == b"err\ncommand terminated with exit code 7\n"
    piped = ("exec", "-i", "-c", "app", "web", "--")
    assert await world.kubectl(*piped, "cat", stdin=b"x\n" * 10) == (0, b"x\n" * 10, b"")
    assert (await world.kubectl(*piped, "sh", "-c", "read a; echo $a", stdin=b"one\ntwo\n" * 1000))[:2] == (
        0,
        b"one\n",
    )
    code, _, err = await world.kubectl(*exec_, "nonexistent")
    assert code != 0 and b"nonexistent" in err


async def terminal(world: World) -> None:
    """A shell in a pseudo-terminal: its size at the start, and after the window has changed."""
    control, terminal_side = pty.openpty()
    fcntl.ioctl(terminal_side, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *world.command("exec", "-it", "-c", "app", "web", "--", "sh"),
        stdin=terminal_side,
        stdout=terminal_side,
        stderr=terminal_side,
        env=world.environment,
        start_new_session=True,
    )
    os.close(terminal_side)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(control), "rb", buffering=0)
    )

    async def until(text: bytes, command: bytes) -> None:
        # The shell may ask before the size has arrived: it is asked again until it says so.
        seen = b""
        async with asyncio.timeout(20):
            while text not in seen:
                os.write(control, command)
                try:
                    async with asyncio.timeout(0.5):
                        while text not in seen:
                            seen += await reader.read(4096)
                except TimeoutError:
                    continue

    await until(b"31 97", b"busybox stty size\n")
    fcntl.ioctl(control, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 111, 0, 0))
    process.send_signal(28)
    await until(b"40 111", b"busybox stty size\n")
    os.write(control, b"exit 3\n")
    assert await process.wait() == 3
    os.close(control)


async def logs(world: World) -> None:
    assert await world.kubectl("logs", "web", "-c", "app") == (0, b"started\n", b"")
    code, out, _ = await world.kubectl("logs", "web", "-c", "app", "--timestamps", "--tail=1")
    assert code == 0 and out.endswith(b"Z started\n") or b" started\n" in out


async def attach(world: World) -> None:
    code, out, err = await world.kubectl("attach", "-i", "web", "-c", "filter", stdin=b"a\nb\n")
    assert b"got a\ngot b\n" in out, (code, out, err)
    async with asyncio.timeout(10):
        code, out, _ = await world.kubectl("logs", "-f", "web", "-c", "filter")
    assert (code, out) == (0, b"got a\ngot b\nended\n")


async def copy(world: World) -> None:
    await world.kubectl("exec", "-c", "app", "web", "--", "busybox", "ln", "-sf", "busybox", "/bin/tar")
    source = world.directory / "source"
    source.mkdir()
    (source / "a").write_bytes(os.urandom(300_000))
    (source / "b").write_text("text")
    code, _, err = await world.kubectl("cp", "-c", "app", str(source), "default/web:/tmp/there")
    assert code == 0, err
    back = world.directory / "back"
    code, _, err = await world.kubectl("cp", "-c", "app", "default/web:/tmp/there", str(back))
    assert code == 0, err
    assert (back / "a").read_bytes() == (source / "a").read_bytes()
    assert (back / "b").read_text() == "text"


def payload() -> bytes:
    block = os.urandom(1 << 20)
    return b"".join(bytes([n % 256]) + block[1:] for n in range(MIB))


async def large(world: World) -> None:
    data = payload()
    digest = hashlib.sha256(data).hexdigest()
    code, out, err = await world.kubectl("exec", "-i", "-c", "app", "web", "--", "busybox", "sha256sum", stdin=data)
    assert (code, out.decode().split()[0]) == (0, digest), err
    code, out, err = await world.kubectl("exec", "-i", "-c", "app", "web", "--", "cat", stdin=data)
    assert (code, hashlib.sha256(out).hexdigest()) == (0, digest), err


async def forward(world: World) -> None:
    await world.kubectl(
        "exec", "-c", "app", "web", "--", "sh", "-c", "busybox nc -ll -p 8080 -e cat </dev/null >/dev/null 2>&1 &"
    )
    listening = (
        "exec",
        "-c",
        "app",
        "web",
        "--",
        "sh",
        "-c",
        "until busybox grep -qs ':1F90 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done",
    )
    assert (await world.kubectl(*listening))[0] == 0
    process = await asyncio.create_subprocess_exec(
        *world.command("port-forward", "pod/web", ":8080"), stdout=asyncio.subprocess.PIPE, env=world.environment
    )
    line = (await process.stdout.readline()).decode()
    local = int(line.split("127.0.0.1:")[1].split(" ")[0])

    async def echoed(data: bytes) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", local)

        async def send() -> None:
            for start in range(0, len(data), 65536):
                writer.write(data[start : start + 65536])
                await writer.drain()
            writer.write_eof()

        digest, size = hashlib.sha256(), 0
        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            while size < len(data) and (chunk := await reader.read(65536)):
                digest.update(chunk)
                size += len(chunk)
        writer.close()
        return digest.digest() == hashlib.sha256(data).digest()

    async with asyncio.timeout(300):
        assert await echoed(payload())
        assert all(await asyncio.gather(*(echoed(os.urandom(200_000)) for _ in range(5))))
    process.terminate()
    await process.wait()
