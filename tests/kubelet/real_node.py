"""A node with real containers under the real kubelet and API server, and the proof that a pod leaves nothing behind."""

import asyncio
import contextlib
import dataclasses
import subprocess
from contextlib import asynccontextmanager

from pybernetes.api.meta import is_condition_true
from pybernetes.api.resources import NODES, PODS
from pybernetes.concurrency import RealClock
from pybernetes.kubelet import linux
from pybernetes.kubelet.containerd import shims_of
from pybernetes.kubelet.cri import CRIError
from pybernetes.kubelet.kubelet import Kubelet
from pybernetes.kubelet.node.machine import read_machine
from pybernetes.kubelet.settings import KubeletSettings
from pybernetes.testing.cluster import start_cluster

from .builders import container
from .conftest import BUSYBOX, running_node
from .node_in_memory import NodeInMemory


def shell(script: str, name: str = "c", **more):
    return container(name, BUSYBOX, command=["sh", "-c", script], imagePullPolicy="Never", **more)


FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


class RealNode(NodeInMemory):
    def __init__(self, cluster, node, kubelet):
        super().__init__(cluster, node.cri, kubelet)
        self.node = node

    def logs(self, p, name="c", attempt=0) -> str:
        meta = p["metadata"]
        directory = f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
        file = self.kubelet.settings.pod_logs_dir / directory / name / f"{attempt}.log"
        text = file.read_text() if file.exists() else ""
        return "".join(line.split(" ", 3)[3] + "\n" for line in text.splitlines())

    async def until_logged(self, p, wanted: str, *, attempt: int = 0) -> str:
        async with self.clock.timeout(90):
            while wanted not in (text := self.logs(p, attempt=attempt)):
                await self.clock.sleep(0.02)
        return text

    async def execute(self, p, script, name="c"):
        found = await self.kubelet.find_container("default", p["metadata"]["name"], name)
        return await self.node.cri.exec_sync(found.id, ["sh", "-c", script])


@asynccontextmanager
async def kubelet_on(cluster, node, *, boot: str = "", **settings):
    values = {
        "root_dir": node.base / "kubelet",
        "pod_logs_dir": node.base / "logs",
        "container_logs_dir": None,
        "container_runtime_endpoint": node.settings.endpoint,
        "cgroup_root": f"/{node.name}",
        "eviction_hard": {},
    }
    client = cluster.client_as("system:node:node", ("system:nodes",))
    chosen = KubeletSettings("node", **(values | settings))
    machine = read_machine(chosen)
    if boot:
        machine = dataclasses.replace(machine, boot_id=boot)
    kubelet = Kubelet(chosen, client, clock=cluster.clock, machine=machine)
    task = asyncio.get_running_loop().create_task(kubelet.run())
    waiting = asyncio.get_running_loop().create_task(kubelet.ready.wait())
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield kubelet
    finally:
        task.cancel()
        waiting.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
        await kubelet.runtime.close()


async def leftovers(node: RealNode) -> list[str]:
    """What is on the machine of pods that are gone: it should be nothing."""
    base, settings, kubelet = node.node.base, node.node.settings, node.kubelet
    with contextlib.suppress(CRIError):
        # It may meet the kubelet's own removing, as it may in its loop.
        await kubelet.cleaner.containers()
    found = [f"sandbox {s['id']}" for s in await node.node.cri.list_pod_sandboxes()]
    found += [f"container {c['id']}" for c in await node.node.cri.list_containers()]
    found += [f"shim {pid}" for pid in shims_of(str(settings.socket))]
    found += [f"directory {d}" for d in (base / "kubelet/pods").iterdir()]
    found += [f"cgroup of {uid}" for uid in kubelet.cgroups.pod_uids()]
    found += [f"log {d}" for d in (base / "logs").iterdir()]
    inside = (f"{base}/kubelet/", f"{settings.state}/netns/", f"{settings.state}/io.containerd")
    found += [f"mount {m.target}" for m in linux.mounts() if m.target.startswith(inside)]
    namespaces = settings.state / "io.containerd.grpc.v1.cri/netns"
    found += [f"network namespace {n.name}" for n in (namespaces.iterdir() if namespaces.is_dir() else ())]
    addresses = settings.state / "cni/pybernetes"
    taken = [a.name for a in addresses.iterdir() if a.name[0].isdigit()] if addresses.is_dir() else []
    found += [f"address {a}" for a in taken]
    listed = await asyncio.to_thread(subprocess.run, ["ip", "route"], capture_output=True, text=True, check=True)
    found += [f"route {r}" for r in listed.stdout.splitlines() if r.startswith("10.211.77.")]
    return found


async def until_nothing_left(node: RealNode, timeout: float = 90.0) -> None:
    found = []
    try:
        async with node.clock.timeout(timeout):
            while found := await leftovers(node):
                await node.clock.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"left behind: {found}") from None


async def remove_pods(node: RealNode) -> None:
    for p in (await node.client.list(PODS, "default"))["items"]:
        await node.client.delete(PODS, p["metadata"]["name"], "default", grace_period_seconds=1)
    for p in (await node.client.list(PODS, "default"))["items"]:
        await node.until_gone(p["metadata"]["name"], timeout=90)
    await until_nothing_left(node)


@asynccontextmanager
async def real_node(tmp_path, *, disk: int = 0, faulty_cni: bool = False, **settings):
    """``disk``: bytes of a small file system of its own for the kubelet's directories."""
    clock = RealClock()
    if disk:
        (tmp_path / "kubelet").mkdir()
        linux.mount("tmpfs", str(tmp_path / "kubelet"), "tmpfs", 0, f"size={disk}")
    async with start_cluster(nodes=0, clock=clock, schedule=False, controllers=("serviceaccount",)) as cluster:
        async with running_node(tmp_path, faulty_cni=faulty_cni) as node:
            async with kubelet_on(cluster, node, **settings) as kubelet:
                await cluster.wait_for(NODES, "node", lambda n: is_condition_true(n, "Ready"))
                real = RealNode(cluster, node, kubelet)
                yield real
                await remove_pods(real)
            kubelet.cgroups.remove_all()


def ready(p):
    return is_condition_true(p, "Ready")
