"""Our kubelet beside upstream's: each on a node of its own of one cluster, on the same containerd, measured in turn.

    python bench/node_peer.py [--kubelet /path/to/kubelet] [--image FILE.tar=NAME] [--rounds 15] [--at-once 30] [--full 110]

As root. `p8s up --nodes 2` makes the cluster; then its two node agents are ended and `p8s kubelet` and upstream's kubelet take over the
nodes' containerds, with the same configuration file. What is measured (see ``bench/node.py`` for how):

- one pod from create to Running, and from delete to gone; medians of the rounds, the two kubelets in turn,
- ``--at-once`` pods together, and the kubelet's resident memory with them,
- ``--full`` pods on the node: processor time in an idle minute, memory, and what a restart of the kubelet costs: seconds from
  its start until the node has reported that it is Ready and until all pods are, and how many containers are others than before.

Without ``--kubelet`` only ours is measured. ``--usual-runtime`` gives upstream's node what an installation usually has, runc
and the plugins bridge and portmap, where ours has crun and ptp. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node import NAMESPACE, Watcher, cpu_seconds, many, one, remove, resident

from pybernetes.api.meta import Object, is_condition_true, name_of
from pybernetes.api.resources import NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS
from pybernetes.client.kubeconfig import client_from_kubeconfig
from pybernetes.client.rest import Client
from pybernetes.cluster.cleanup import cgroup_name
from pybernetes.cluster.layout import Layout, Settings
from pybernetes.cluster.machine import Machine

P8S = [sys.executable, "-m", "pybernetes.cli.main"]
OURS, THEIRS = "node-0", "node-1"


def configuration(layout: Layout, settings: Settings, node: str) -> Object:
    """What both kubelets are told, as a KubeletConfiguration."""
    directory = layout.node(node)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(layout.pki / "ca.crt")}, "anonymous": {"enabled": False}},
        "tlsCertFile": str(directory / "kubelet.crt"),
        "tlsPrivateKeyFile": str(directory / "kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup_name(layout.tag)}/{node}",
        "containerRuntimeEndpoint": f"unix://{layout.run / node}/containerd.sock",
        "podLogsDir": str(directory / "logs" / "pods"),
        "clusterDomain": settings.cluster_domain,
        "failSwapOn": False,
        "failCgroupV1": False,
        "maxPods": 250,
        # Upstream's default is five a second and ten at once, which is what a client of a busy API server is allowed.
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "registerNode": True,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }


class Kubelet:
    """One kubelet's process on one of the nodes."""

    def __init__(self, layout: Layout, settings: Settings, node: str, program: list[str]) -> None:
        place = Machine(layout, settings).node(node)
        directory = layout.node(node)
        self.node, self.directory = node, directory
        file = directory / "bench-kubelet.yaml"
        file.write_text(json.dumps(configuration(layout, settings, node)))
        self.argv = [
            "nsenter",
            f"--net={place.netns}",
            f"--mount={place.mount_namespace}",
            *program,
            f"--config={file}",
            f"--kubeconfig={directory / 'kubelet.conf'}",
            f"--root-dir={directory / 'kubelet'}",
            f"--cert-dir={directory / 'kubelet' / 'pki'}",
            f"--hostname-override={node}",
            f"--node-ip={place.address}",
        ]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        with (self.directory / "bench-kubelet.log").open("ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


@contextmanager
def cluster(data: Path, archive: Path | None) -> Iterator[tuple[Layout, Settings]]:
    """A cluster of two nodes whose agents were ended, so that others can have the nodes."""
    where = ["--data-dir", str(data)]
    supervisor = 0
    try:
        subprocess.run([*P8S, "up", *where, "--nodes", "2", "--api-port", "27443"], check=True, capture_output=True)
        if archive is not None:
            subprocess.run([*P8S, "image", "load", *where, str(archive)], check=True, capture_output=True)
        status = subprocess.run([*P8S, "status", *where], check=True, capture_output=True, text=True).stdout
        pids = {
            words[0]: int(words[1]) for words in map(str.split, status.splitlines()) if words[1:] and words[1].isdigit()
        }
        agents = [pid for name, pid in pids.items() if name in (OURS, THEIRS) or name.startswith("agent")]
        supervisor = parent(agents[0])
        os.kill(supervisor, signal.SIGSTOP)  # else it would bring the agents back
        for pid in agents:
            os.kill(pid, signal.SIGKILL)
        layout = Layout.of(data)
        settings = Settings.load(layout)
        assert settings is not None
        yield layout, settings
    finally:
        if supervisor:
            os.kill(supervisor, signal.SIGCONT)
        subprocess.run([*P8S, "down", "--purge", *where], check=False, capture_output=True)


def usual_runtime(layout: Layout, settings: Settings, node: str) -> subprocess.Popen[bytes]:
    """Starts a node's containerd anew with runc and the plugins that most installations have."""
    directory, place = layout.node(node), Machine(layout, settings).node(node)
    config = directory / "containerd" / "config.toml"
    text = config.read_text()
    assert "/crun" in text, "the node has no crun: the two are alike already"
    config.write_text(re.sub(r'BinaryName = ".*"', f'BinaryName = "{shutil.which("runc")}"', text))
    (file,) = (directory / "cni").iterdir()
    conflist = json.loads(file.read_text())
    (ptp,) = conflist["plugins"]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "ipam": ptp["ipam"],
        "mtu": ptp["mtu"],
    }
    conflist["plugins"] = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    file.write_text(json.dumps(conflist))
    running = next(p for p in Path("/proc").glob("[0-9]*/cmdline") if words(p)[1:] == ["--config", str(config)])
    program = words(running)[0]
    process = int(running.parent.name)
    os.kill(process, signal.SIGKILL)
    while running.exists():
        time.sleep(0.01)
    namespaces = [f"--net={place.netns}", f"--mount={place.mount_namespace}"]
    with (directory / "bench-containerd.log").open("wb") as log:
        return subprocess.Popen(["nsenter", *namespaces, program, "--config", str(config)], stdout=log, stderr=log)


def words(cmdline: Path) -> list[str]:
    try:
        return cmdline.read_text().split("\0")[:-1]
    except OSError:  # it has ended meanwhile
        return []


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def service_account(client: Client) -> None:
    """Until the namespace has the account without which no pod is admitted."""
    while True:
        if (await client.list(SERVICE_ACCOUNTS, NAMESPACE))["items"]:
            return
        await asyncio.sleep(0.02)


async def ready(client: Client, node: str, since: float) -> None:
    """Until the node has said after a moment (seconds since the epoch) that it is ready."""
    while True:
        found = await client.get(NODES, node)
        for condition in found.get("status", {}).get("conditions", ()):
            beat = condition.get("lastHeartbeatTime") or ""
            if condition["type"] == "Ready" and condition["status"] == "True" and beat >= stamp(since):
                return
        await asyncio.sleep(0.02)


def stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


async def containers_of(client: Client, node: str) -> dict[str, tuple[str, int]]:
    """Identity and restarts of the container of each of our pods on a node."""
    listed = await client.list(PODS, NAMESPACE)
    return {
        name_of(pod): (status["containerID"], status["restartCount"])
        for pod in listed["items"]
        if pod["spec"]["nodeName"] == node
        for status in pod["status"]["containerStatuses"]
    }


async def all_ready(client: Client, names: list[str]) -> None:
    while True:
        listed = await client.list(PODS, NAMESPACE)
        if {name_of(p) for p in listed["items"] if is_condition_true(p, "Ready")} >= set(names):
            return
        await asyncio.sleep(0.02)


async def full_node(
    client: Client, watcher: Watcher, kubelet: Kubelet, image: str, count: int, seconds: float
) -> dict[str, float]:
    """A node full of pods: what it costs while nothing happens, and when its kubelet starts anew."""
    started, _, names = await many(client, watcher, kubelet.node, f"full-{kubelet.node}", count, image)
    await all_ready(client, names)
    await asyncio.sleep(10)
    before = cpu_seconds(kubelet.pid)
    await asyncio.sleep(seconds)
    found = {
        f"start {count} s": started,
        f"idle with {count} %": (cpu_seconds(kubelet.pid) - before) / seconds * 100,
        f"MB with {count}": resident(kubelet.pid) or 0.0,
    }
    containers = await containers_of(client, kubelet.node)
    kubelet.stop()
    await asyncio.sleep(1.5)  # heartbeats are told in whole seconds: the next one is later than the last
    moment, begun = time.time(), time.perf_counter()
    kubelet.start()
    await ready(client, kubelet.node, moment)
    found["restart: node Ready s"] = time.perf_counter() - begun
    await all_ready(client, names)
    found["restart: pods Ready s"] = time.perf_counter() - begun
    await asyncio.sleep(10)
    after = await containers_of(client, kubelet.node)
    found["restart: containers restarted"] = sum(after.get(n) != c for n, c in containers.items())
    found[f"end {count} s"] = await remove(client, watcher, names)
    return found


async def measure(kubelets: list[Kubelet], client: Client, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    image, at_once = arguments.image, arguments.at_once
    await service_account(client)
    await asyncio.sleep(1.5)  # heartbeats are told in whole seconds: those that come are later than the agents'
    for kubelet in kubelets:
        moment, begun = time.time(), time.perf_counter()
        kubelet.start()
        await ready(client, kubelet.node, moment)
        print(f"# {kubelet.node} Ready after {time.perf_counter() - begun:.2f} s", file=sys.stderr)
    watcher = Watcher(client)
    task = asyncio.create_task(watcher.run())
    singles: dict[str, list[tuple[float, float]]] = {k.node: [] for k in kubelets}
    rates: dict[str, list[float]] = {k.node: [] for k in kubelets}
    found: dict[str, dict[str, Any]] = {k.node: {} for k in kubelets}
    for index in range(arguments.rounds + 1):
        for kubelet in kubelets:
            times = await one(client, watcher, kubelet.node, f"one-{kubelet.node}-{index}", image)
            if index:  # the first warms up
                singles[kubelet.node].append(times)
    for index in range(arguments.many_rounds):
        for kubelet in kubelets:
            before = cpu_seconds(kubelet.pid)
            took, _, names = await many(client, watcher, kubelet.node, f"many-{kubelet.node}-{index}", at_once, image)
            rates[kubelet.node].append(at_once / took)
            found[kubelet.node]["kubelet's CPU a pod, ms"] = (cpu_seconds(kubelet.pid) - before) * 1000 / at_once
            await asyncio.sleep(5)
            found[kubelet.node][f"MB with {at_once}"] = resident(kubelet.pid)
            await remove(client, watcher, names)
    for kubelet in kubelets:
        starts, ends = zip(*singles[kubelet.node], strict=True)
        row = found[kubelet.node]
        row["one to Running s"], row["one to gone s"] = statistics.median(starts), statistics.median(ends)
        row[f"{at_once} at once pods/s"] = statistics.median(rates[kubelet.node])
        if arguments.full:
            row |= await full_node(client, watcher, kubelet, image, arguments.full, arguments.idle)
    task.cancel()
    return found


def report(found: dict[str, dict[str, Any]]) -> None:
    ours, theirs = found[OURS], found.get(THEIRS, {})
    print(f"{'':<32}{'ours':>10}{'upstream':>10}{'ratio':>8}")
    for name, value in ours.items():
        peer = theirs.get(name)
        ratio = f"{value / peer:.2f}" if peer else "-"
        print(f"{name:<32}{value:>10.3f}{'-' if peer is None else f'{peer:.3f}':>10}{ratio:>8}")
    print(json.dumps({"ours": ours, "upstream": theirs, "load": os.getloadavg()[0]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubelet", help="upstream's program")
    parser.add_argument("--usual-runtime", action="store_true", help="runc, bridge and portmap for upstream's")
    parser.add_argument("--archive", type=Path, help="an image to load (docker save)")
    parser.add_argument("--image", default="busybox:1.37.0", help="the name of an image that has sleep")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--many-rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=30)
    parser.add_argument("--full", type=int, default=110, help="0 leaves the full node out")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds")
    arguments = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended before its time")
    )  # what was started is taken away then too
    with (
        tempfile.TemporaryDirectory(prefix="p8s-bench-") as directory,
        cluster(Path(directory) / "data", arguments.archive) as (layout, settings),
    ):
        kubelets = [Kubelet(layout, settings, OURS, [*P8S, "kubelet"])]
        containerd = usual_runtime(layout, settings, THEIRS) if arguments.usual_runtime else None
        if arguments.kubelet:
            kubelets.append(Kubelet(layout, settings, THEIRS, [arguments.kubelet]))
        client = client_from_kubeconfig(layout.admin_kubeconfig)
        try:
            found = asyncio.run(measure(kubelets, client, arguments))
        finally:
            for kubelet in kubelets:
                kubelet.stop()
            if containerd is not None:
                containerd.terminate()
                containerd.wait()
        report(found)


if __name__ == "__main__":
    main()
