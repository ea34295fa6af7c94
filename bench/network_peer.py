"""One change of an endpoint, from the API to the kernel: `p8s proxy` beside upstream's kube-proxy, on the same events.

    python bench/network_peer.py --kube-proxy /path/to/kube-proxy [--services 100 10000] [--mode nftables|iptables] [--changes 40]

As root. An API server of ours and `p8s proxy` run in one network namespace, kube-proxy in another that is linked to it; both watch
the same API server. Each change replaces one endpoint of one Service; each kernel tells when its rules changed. Without
``--kube-proxy`` only ours is measured. ``cpu_ms`` is processor time a change, of the process and the programs it calls.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES
from pybernetes.client.kubeconfig import client_from_kubeconfig
from pybernetes.client.rest import Client
from pybernetes.client.transport import TransportError
from pybernetes.concurrency import RealClock
from pybernetes.proxy.nft.kernel import Monitor
from pybernetes.storage.sqlite import SqliteStore

PORT = 6443
TABLES = {"nftables": ("p8s_services", "kube-proxy"), "iptables": ("nat", "nat")}
P8S = [sys.executable, "-m", "pybernetes.cli.main"]


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as own, Path(f"/run/netns/{namespace}").open() as there:
        assert libc.setns(there.fileno(), 0x40000000) == 0
        try:
            yield
        finally:
            libc.setns(own.fileno(), 0x40000000)


def address(base: int, number: int) -> str:
    return socket.inet_ntoa((base + number).to_bytes(4, "big"))


class Peer:
    """One proxy, the namespace it works in, and what its kernel says."""

    def __init__(self, name: str, namespace: str, table: str) -> None:
        self.name, self.namespace, self.table = name, namespace, table
        with inside(namespace):
            self.monitor = Monitor()
        self.process: subprocess.Popen[bytes] | None = None
        self.times: list[float] = []
        self.started = self.full = 0.0

    def start(self, argv: list[str], log: Path) -> None:
        self.started = time.perf_counter()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.namespace}", *argv], stdout=output, stderr=output
            )

    def cpu(self) -> float:
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))

    def changed(self) -> bool:
        found = self.monitor.foreign_changes(())
        return found is None or self.table in found


def wait(peers: list[Peer], begun: float, seconds: float) -> None:
    """Until every kernel has told of a change of its table."""
    waiting = {p.monitor.fileno(): p for p in peers}
    while waiting and time.perf_counter() - begun < seconds:
        for fd in select.select(list(waiting), [], [], 0.5)[0]:
            peer = waiting[fd]
            if peer.changed():
                peer.times.append(time.perf_counter() - begun)
                del waiting[fd]


def settle(peers: list[Peer], quiet: float) -> None:
    """Until every kernel has told of a change, and then of none for so long."""
    last = {p.name: float("inf") for p in peers}
    while any(time.perf_counter() - t < quiet for t in last.values()):
        for fd in select.select([p.monitor.fileno() for p in peers], [], [], 0.2)[0]:
            peer = next(p for p in peers if p.monitor.fileno() == fd)
            if peer.changed():
                last[peer.name] = peer.full = time.perf_counter()


async def fill(client: Client, stage: Stage, services: int, endpoints: int, already: int) -> None:
    """The first of each by the API; the others are copies that are laid into the store while the server is down."""
    if not already:
        await client.create(SERVICES, service(0), "bench")
        await client.create(ENDPOINT_SLICES, endpoint_slice(0, endpoints), "bench")
    stage.stop([stage.api])
    store = SqliteStore(stage.work / "data" / "state.db", RealClock(), synchronous="OFF")
    await store.open()
    originals = [
        item for item in (await store.list("/registry/")).items if item.key.endswith(("/bench/s0", "/bench/s0-1"))
    ]
    assert len(originals) == 2
    writes = []
    for number in range(max(1, already), services):
        for item in originals:
            obj = json.loads(item.value)
            made = service(number) if item.key.endswith("s0") else endpoint_slice(number, endpoints)
            obj["metadata"] |= made["metadata"] | {"uid": str(uuid.uuid4())}
            if "spec" in made:
                address = made["spec"]["clusterIP"]
                obj["spec"] |= {"clusterIP": address, "clusterIPs": [address]}
            else:
                obj["endpoints"] = made["endpoints"]
            key = item.key.replace("/s0", f"/s{number}")
            writes.append(store.put(key, json.dumps(obj, separators=(",", ":")).encode()))
    for start in range(0, len(writes), 1000):
        await asyncio.gather(*writes[start : start + 1000])
    await store.close()
    stage.start_api()
    await ready(client)


async def ready(client: Client) -> None:
    for _ in range(600):
        try:
            await client.request("GET", "/readyz")
            return
        except (TransportError, StatusError):
            await asyncio.sleep(0.1)
    raise SystemExit("the API server does not become ready")


def service(number: int) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    meta = {"name": f"s{number}", "namespace": "bench"}
    return {"metadata": meta, "spec": {"clusterIP": address(0x0A600000, 256 + number), "ports": ports}}


def endpoint_slice(number: int, endpoints: int, last: str = "") -> dict[str, Any]:
    found = [address(0x0B000000, number * endpoints + i) for i in range(endpoints)]
    if last:
        found[-1] = last
    return {
        "metadata": {
            "name": f"s{number}-1",
            "namespace": "bench",
            "labels": {"kubernetes.io/service-name": f"s{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}, "nodeName": "bench"} for a in found],
    }


async def measure(
    client: Client, peers: list[Peer], services: int, endpoints: int, changes: int
) -> list[dict[str, Any]]:
    settle(peers, 4.0)
    fulls = {p.name: round(p.full - p.started, 1) for p in peers}
    for peer in peers:
        peer.times.clear()
    before = {p.name: p.cpu() for p in peers}
    for step in range(changes):
        patch = {"endpoints": endpoint_slice(5, endpoints, address(0x0C000000, step))["endpoints"]}
        begun = time.perf_counter()
        await client.patch(ENDPOINT_SLICES, "s5-1", patch, "bench")
        await asyncio.to_thread(wait, peers, begun, 60.0)
        # kube-proxy gathers changes for a second; what comes sooner would wait for that.
        await asyncio.sleep(1.2)
        for peer in peers:
            peer.changed()
    return [
        {
            "proxy": p.name,
            "services": services,
            "endpoints": services * endpoints,
            "first_write_s": fulls[p.name],
            "median_ms": round(statistics.median(p.times) * 1000, 1),
            "p99_ms": round(sorted(p.times)[int(len(p.times) * 0.99)] * 1000, 1),
            "cpu_ms": round((p.cpu() - before[p.name]) / changes * 1000, 1),
            "memory_mb": p.memory(),
        }
        for p in peers
    ]


class Stage:
    """The namespaces, the API server and the proxies; all gone afterwards."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.work = options, Path(tempfile.mkdtemp(prefix="p8speer"))
        self.ours, self.theirs = (f"p8speer{os.getpid()}{side}" for side in "ab")
        for name in (self.ours, self.theirs):
            subprocess.run(["ip", "netns", "add", name], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        for command in (
            f"-n {self.ours} link add eth0 type veth peer name eth0 netns {self.theirs}",
            f"-n {self.ours} addr add 172.29.0.1/24 dev eth0",
            f"-n {self.theirs} addr add 172.29.0.2/24 dev eth0",
            f"-n {self.ours} link set eth0 up",
            f"-n {self.theirs} link set eth0 up",
            f"-n {self.ours} route add default via 172.29.0.2",
            f"-n {self.theirs} route add default via 172.29.0.1",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        tokens = self.work / "tokens.csv"
        tokens.write_text("secret,admin,1,system:masters\n")
        self.kubeconfig = self.work / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(kubeconfig()))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start_api()

    def start_api(self) -> None:
        argv = ["apiserver", "--token-auth-file", str(self.work / "tokens.csv"), "--data-dir", str(self.work / "data")]
        argv += ["--cert-dir", str(self.work / "pki"), "--service-cluster-ip-range", "10.96.0.0/14"]
        with (self.work / "api.log").open("ab") as log:
            self.api = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.ours}", *P8S, *argv], stdout=log, stderr=log
            )
        self.processes.append(self.api)

    def peers(self) -> list[Peer]:
        tables = TABLES[self.options.mode]
        found = [Peer("p8s proxy", self.ours, tables[0])]
        flags = [
            "--kubeconfig",
            str(self.kubeconfig),
            "--hostname-override",
            "bench",
            "--proxy-mode",
            self.options.mode,
        ]
        flags += ["--cluster-cidr", "11.0.0.0/8"]
        found[0].start([*P8S, "proxy", *flags], self.work / "p8s.log")
        if self.options.kube_proxy:
            found.append(Peer("kube-proxy", self.theirs, tables[1]))
            # Without the last two it would change a limit of the whole machine.
            more = ["--conntrack-max-per-core=0", "--conntrack-min=0"]
            found[1].start([self.options.kube_proxy, *flags, *more], self.work / "kube-proxy.log")
        self.processes += [p.process for p in found if p.process is not None]
        return found

    def stop(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
            process.wait()
            self.processes.remove(process)

    def close(self) -> None:
        self.stop(list(self.processes))
        for name in (self.ours, self.theirs):
            subprocess.run(["ip", "netns", "delete", name], check=False)
        shutil.rmtree(self.work)


def kubeconfig() -> dict[str, Any]:
    cluster = {"server": f"https://172.29.0.1:{PORT}", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


async def run(stage: Stage, options: argparse.Namespace) -> list[dict[str, Any]]:
    clock, rows, there = RealClock(), [], 0
    with inside(stage.ours):
        client = client_from_kubeconfig(stage.kubeconfig, clock=clock)
        await ready(client)
        await client.create(NAMESPACES, {"metadata": {"name": "bench"}})
        await client.create(NODES, {"metadata": {"name": "bench"}})
        status = {"addresses": [{"type": "InternalIP", "address": "172.29.0.1"}]}
        await client.patch(NODES, "bench", {"status": status}, subresource="status")
        for services in sorted(options.services):
            await fill(client, stage, services, options.endpoints, there)
            there = services
            peers = stage.peers()
            rows += await measure(client, peers, services, options.endpoints, options.changes)
            stage.stop([p.process for p in peers if p.process is not None])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kube-proxy", default="", help="The program to compare with.")
    parser.add_argument("--services", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--changes", type=int, default=40)
    parser.add_argument("--mode", choices=list(TABLES), default="nftables")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    stage = Stage(options)
    try:
        rows = asyncio.run(run(stage, options))
    finally:
        stage.close()
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("  ".join(f"{k:>13}" for k in rows[0]))
    for row in rows:
        print("  ".join(f"{v:>13}" for v in row.values()))


if __name__ == "__main__":
    main()
