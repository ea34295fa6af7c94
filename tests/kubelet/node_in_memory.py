"""A whole kubelet on a virtual clock: the real API server in memory on one side, the fake runtime on the other."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pybernetes.api.resources import EVENTS, NODES, PODS
from pybernetes.client.transport import TransportError
from pybernetes.kubelet import linux
from pybernetes.kubelet.cgroups import Cgroups
from pybernetes.kubelet.kubelet import Kubelet
from pybernetes.kubelet.node.machine import Machine, resources
from pybernetes.kubelet.settings import KubeletSettings
from pybernetes.testing.cluster import Cluster, run_virtually, start_cluster

from .fake_runtime import FakeRuntime


class InlineExecutor(ThreadPoolExecutor):
    """Runs what would go to a thread at once: threads and a clock that jumps do not go together."""

    def submit(self, fn, /, *args, **kwargs):
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as failure:  # noqa: BLE001 - handed on to whoever awaits it
            future.set_exception(failure)
        return future


class CutResponse:
    """An answer whose stream breaks when the wire is cut."""

    def __init__(self, inner, wire: Wire) -> None:
        self._inner, self._wire = inner, wire
        self.status, self.headers = inner.status, inner.headers

    async def read(self) -> bytes:
        return await self._inner.read()

    async def chunks(self):
        loop = asyncio.get_running_loop()
        stream = aiter(self._inner.chunks())
        while True:
            chunk, cut = loop.create_task(anext(stream, None)), loop.create_task(self._wire.down.wait())
            await asyncio.wait((chunk, cut), return_when=asyncio.FIRST_COMPLETED)
            cut.cancel()
            if not chunk.done():
                chunk.cancel()
                raise TransportError("connection cut", sent=True)
            if chunk.result() is None:
                return
            yield chunk.result()

    def close(self) -> None:
        self._inner.close()


class Wire:
    """A transport that can be cut and mended."""

    def __init__(self, inner) -> None:
        self._inner = inner
        self.down = asyncio.Event()

    async def send(self, request):
        if self.down.is_set():
            raise TransportError("connection refused", sent=False)
        return CutResponse(await self._inner.send(request), self)

    def close(self) -> None:
        self._inner.close()


class NodeInMemory:
    def __init__(self, cluster: Cluster, runtime: FakeRuntime, kubelet: Kubelet) -> None:
        self.cluster, self.runtime, self.kubelet = cluster, runtime, kubelet
        self.clock = cluster.clock
        self.client = cluster.client

    def cut(self) -> None:
        """The API server is away for the kubelet."""
        self.kubelet.client.transport.down.set()

    def mend(self) -> None:
        self.kubelet.client.transport.down.clear()

    async def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        meta = {k: v for k, v in pod["metadata"].items() if k in ("name", "namespace", "labels", "annotations")}
        spec = {"automountServiceAccountToken": False, "nodeName": "node", **pod["spec"]}
        return await self.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

    async def pod(self, name: str = "p") -> dict[str, Any]:
        return await self.client.get(PODS, name, "default")

    async def until(self, condition, name: str = "p", *, timeout: float = 600.0) -> dict[str, Any]:
        return await self.cluster.wait_for(PODS, name, condition, "default", timeout=timeout)

    async def until_phase(self, phase: str, name: str = "p", *, timeout: float = 600.0) -> dict[str, Any]:
        return await self.until(lambda p: (p.get("status") or {}).get("phase") == phase, name, timeout=timeout)

    async def until_gone(self, name: str = "p", *, timeout: float = 600.0) -> None:
        await self.cluster.wait_gone(PODS, name, "default", timeout=timeout)

    async def events(self, reason: str = "") -> list[str]:
        listed = (await self.client.list(EVENTS, "default"))["items"]
        return [e["message"] for e in listed if not reason or e["reason"] == reason]


def settings_in(tmp_path: Path, **more: Any) -> KubeletSettings:
    values: dict[str, Any] = {
        "root_dir": tmp_path / "kubelet",
        "pod_logs_dir": tmp_path / "logs",
        "container_logs_dir": None,
        "resolv_conf": tmp_path / "resolv.conf",
        "node_ips": ("192.0.2.10",),
        "eviction_hard": {},
    }
    return KubeletSettings("node", **(values | more))


def machine_for(settings: KubeletSettings, boot: str = "boot-1") -> Machine:
    machine = Machine(4, 8 << 30, ("192.0.2.10",), "node", "amd64", "6.1", "Test", "m", "m", boot)
    machine.capacity, machine.allocatable = resources(machine, settings)
    return machine


@asynccontextmanager
async def running_kubelet(
    cluster: Cluster,
    runtime: FakeRuntime,
    settings: KubeletSettings,
    boot: str = "boot-1",
    *,
    cut: bool = False,
    wait: bool = True,
):
    """``cut``: without an API server; then it is never waited for until it is ready."""
    client = cluster.client_as("system:node:node", ("system:nodes",))
    client.transport = wire = Wire(client.transport)  # type: ignore[assignment]
    if cut:
        wire.down.set()
    kubelet = Kubelet(
        settings,
        client,
        clock=cluster.clock,
        rng=random.Random(1),
        cri=runtime,  # type: ignore[arg-type]
        machine=machine_for(settings, boot),
        threads=InlineExecutor(1),
        cgroups=Cgroups("/test", version=1, per_qos=False, root=settings.root_dir),
    )
    task = asyncio.get_running_loop().create_task(kubelet.run())
    try:
        waiting = asyncio.get_running_loop().create_task(kubelet.ready.wait())
        if wait and not cut:
            await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield kubelet
    finally:
        if task.done():
            # It must never end by itself: what ended it is what the test should show.
            task.result()
        task.cancel()
        waiting.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


def in_memory(
    test, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script=None, *, started: bool = True, **settings: Any
) -> None:
    """Runs ``test(node)`` against a kubelet whose clock jumps; where it is not ``started``, the test starts it."""
    for name in ("make_shared", "mount", "unmount"):
        monkeypatch.setattr(linux, name, lambda *args, **kwargs: None)
    monkeypatch.setattr(linux, "is_mount_point", lambda path: False)
    monkeypatch.setattr(linux, "mounts", lambda: [])

    async def main(clock):
        asyncio.get_running_loop().set_default_executor(InlineExecutor(1))
        async with start_cluster(
            nodes=0, clock=clock, seed=1, schedule=False, controllers=("serviceaccount",)
        ) as cluster:
            runtime = FakeRuntime(clock, script)
            runtime.has_image("app:1", "app:2")
            if not started:
                await test(NodeInMemory(cluster, runtime, None))  # type: ignore[arg-type]
                return
            async with running_kubelet(cluster, runtime, settings_in(tmp_path, **settings)) as kubelet:
                await cluster.wait_for(NODES, "node", lambda n: True)
                await test(NodeInMemory(cluster, runtime, kubelet))

    run_virtually(main)
