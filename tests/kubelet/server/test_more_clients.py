"""kubernetes-asyncio, kr8s and @kubernetes/client-node in a real container: exec, attach, port-forward as each library does it.

They speak v4 channels, which go through the API server and the kubelet to containerd as they are.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from .test_real_containers import World, real_world

SCRIPTS = Path(__file__).parents[2] / "clients" / "js"
NODE = shutil.which("node")
STEPS = ["exec", "exit code", "stdin", "attach", "port-forward"]
pytestmark = [pytest.mark.containers, pytest.mark.root, pytest.mark.timeout(300)]


@pytest.mark.filterwarnings("ignore:Kubernetes version")
async def test_python_clients(tmp_path):
    async with real_world(tmp_path) as world:
        await kubernetes_asyncio_client(world)
        await kr8s_client(world)


async def kubernetes_asyncio_client(world: World) -> None:
    from kubernetes_asyncio import client, config
    from kubernetes_asyncio.stream import WsApiClient
    from kubernetes_asyncio.stream.ws_client import ERROR_CHANNEL, STDERR_CHANNEL, STDIN_CHANNEL, STDOUT_CHANNEL

    settings = client.Configuration()
    await config.load_kube_config(str(world.config), client_configuration=settings)
    arguments = {"container": "app", "stderr": True, "stdin": False, "stdout": True, "tty": False}
    async with WsApiClient(settings) as api, asyncio.timeout(60):
        call = client.CoreV1Api(api).connect_get_namespaced_pod_exec
        assert await call("web", "default", command=["echo", "hi"], **arguments) == "hi\n"
        command = ["sh", "-c", "read a; echo got $a; echo bad >&2; exit 7"]
        more = {**arguments, "stdin": True, "_preload_content": False}
        found: dict[int, bytes] = {}
        async with await call("web", "default", command=command, **more) as websocket:
            await websocket.send_bytes(bytes([STDIN_CHANNEL]) + b"x\n")
            async for message in websocket:
                found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    assert (found[STDOUT_CHANNEL], found[STDERR_CHANNEL]) == (b"got x\n", b"bad\n")
    assert WsApiClient.parse_error_data(found[ERROR_CHANNEL]) == 7


async def kr8s_client(world: World) -> None:
    import kr8s.asyncio
    from kr8s.asyncio.objects import Pod

    api = await kr8s.asyncio.api(kubeconfig=str(world.config))
    async with asyncio.timeout(60):
        pod = await Pod.get("web", namespace="default", api=api)
        done = await pod.exec(["echo", "hi"], container="app")
        assert (done.stdout, done.returncode) == (b"hi\n", 0)
        done = await pod.exec(["sh", "-c", "echo bad >&2; exit 7"], container="app", check=False)
        assert (done.stderr, done.returncode) == (b"bad\n", 7)


@pytest.mark.skipif(NODE is None, reason="needs node: apt-get install nodejs npm")
@pytest.mark.skipif(
    not (SCRIPTS / "node_modules").is_dir(),
    reason=f"needs the JavaScript client: cd {SCRIPTS} && npm ci --ignore-scripts",
)
async def test_javascript(tmp_path):
    async with real_world(tmp_path) as world:
        # The client refuses plain HTTP unless it is told to trust whatever it meets.
        text = world.config.read_text().replace("cluster: {", "cluster: {insecure-skip-tls-verify: true, ")
        world.config.write_text(text)
        process = await asyncio.create_subprocess_exec(
            str(NODE), str(SCRIPTS / "streams.mjs"), str(world.config),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"},
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (out.decode().splitlines(), process.returncode) == (STEPS, 0)
