"""An API server that is killed again and again under a scheduler that is a process of its own: every pod placed, once."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import NODES, PODS, SERVICE_ACCOUNTS
from pybernetes.client import kubeconfig
from pybernetes.client.kubeconfig import client_from_kubeconfig

P8S = (sys.executable, "-m", "pybernetes.cli.main")
FAILURES = (StatusError, ConnectionError, TimeoutError)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Killed:
    """An API server with its store on disk."""

    def __init__(self, directory):
        self.directory, self.port = directory, free_port()
        (directory / "tokens").write_text('token,admin,admin,"system:masters"\n')
        (directory / "certs").mkdir()
        self.kubeconfig = directory / "kubeconfig"
        document = kubeconfig.document_for(f"https://127.0.0.1:{self.port}", b"", user="admin", token="token")
        document["clusters"][0]["cluster"] = {
            "server": f"https://127.0.0.1:{self.port}",
            "insecure-skip-tls-verify": True,
        }
        kubeconfig.write(self.kubeconfig, document)
        self.client = client_from_kubeconfig(self.kubeconfig)
        self.process = None

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *P8S, "apiserver", "--bind-address", "127.0.0.1", "--secure-port", str(self.port),
            "--cert-dir", str(self.directory / "certs"), "--data-dir", str(self.directory / "store"),
            "--token-auth-file", str(self.directory / "tokens"), "--authorization-mode", "RBAC",
            "--disable-admission-plugins", "TaintNodesByCondition",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await self.until(self._ready)

    async def _ready(self):
        await self.client.request("GET", "/readyz", accept="*/*")
        return True

    async def kill(self):
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def until(self, condition, seconds=60):
        """Polls, for what happens in other processes."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    if await condition():
                        return
                except FAILURES:
                    pass
                await asyncio.sleep(0.05)

    async def places(self):
        items = (await self.client.list(PODS))["items"]
        return {p["metadata"]["name"]: p["spec"].get("nodeName", "") for p in items}


@asynccontextmanager
async def running(directory):
    server = Killed(directory)
    await server.start()
    scheduler = await asyncio.create_subprocess_exec(
        *P8S, "scheduler", "--kubeconfig", str(server.kubeconfig), "--leader-elect=false", "--secure-port", "0",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield server
        assert scheduler.returncode is None
    finally:
        scheduler.kill()
        await scheduler.wait()
        await server.kill()


async def make_nodes(client, count):
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
    for at in range(count):
        capacity = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        status = {"capacity": capacity, "allocatable": capacity}
        await client.create(NODES, {"metadata": {"name": f"n{at}"}, "status": status})


async def make_pods(client, numbers):
    for at in numbers:
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "400m"}}}
        spec = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0, "containers": [container]}
        await client.create(PODS, {"metadata": {"name": f"p{at}", "namespace": "default"}, "spec": spec})


@pytest.mark.timeout(240)
async def test_every_pod_is_placed_once_and_none_is_lost(tmp_path):
    async with running(tmp_path) as server:
        await make_nodes(server.client, 12)
        for at in (0, 75):
            await make_pods(server.client, range(at, at + 75))
            # The last ones are still being placed.
            before = await server.places()
            await server.kill()
            await server.start()
            after = await server.places()
            assert before.keys() <= after.keys()
            # What was told to have been placed stays there.
            assert {n: w for n, w in before.items() if w} == {n: after[n] for n, w in before.items() if w}

        async def full():
            return sum(map(bool, (await server.places()).values())) >= 120

        await server.until(full)
        places = await server.places()
        counts = Counter(w for w in places.values() if w)
        assert len(places) == 150 and set(counts.values()) == {10}, counts
        for name in [n for n, w in places.items() if w][:30]:
            await server.client.delete(PODS, name, "default", grace_period_seconds=0)

        async def rest():
            return all((await server.places()).values())

        await server.until(rest)
        assert set(Counter((await server.places()).values()).values()) == {10}
