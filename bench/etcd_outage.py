"""What the loss of an etcd member costs: the longest request, and the requests that failed.

    python bench/etcd_outage.py [--how kill|hang] [--who leader|follower] [--seconds 25]

Three members on loopback with an election timeout of 500 ms, and an API server in this process whose first endpoint is the one
that is lost two seconds after the start (a follower: one that the server is at). Nine clients create, get and list.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from pybernetes.api.errors import StatusError
from pybernetes.apiserver.server import ApiServer
from pybernetes.concurrency import RealClock
from pybernetes.storage.contract import StoreUnavailable
from pybernetes.storage.etcd import EtcdStore

SIZE = 3
PATH = "/api/v1/namespaces/default/configmaps"


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def members(directory: Path) -> tuple[list[str], list[subprocess.Popen[bytes]]]:
    ports = free_ports(2 * SIZE)
    clients, peers = ([f"http://127.0.0.1:{p}" for p in part] for part in (ports[:SIZE], ports[SIZE:]))
    initial = ",".join(f"m{i}={url}" for i, url in enumerate(peers))
    commands = [
        ["etcd", "--name", f"m{i}", "--data-dir", str(directory / f"m{i}"), "--listen-client-urls", clients[i],
         "--advertise-client-urls", clients[i], "--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
         "--initial-cluster", initial, "--heartbeat-interval", "50", "--election-timeout", "500"]
        for i in range(SIZE)
    ]  # fmt: skip
    return clients, [subprocess.Popen(c, stderr=subprocess.DEVNULL) for c in commands]


def leads(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/v3/maintenance/status", data=b"{}", timeout=5) as answer:
        status = json.load(answer)
    return bool(status["header"]["member_id"] == status["leader"])


async def elected(urls: list[str]) -> list[int]:
    """Returns when there is a leader: the members' numbers, the leader first."""
    while True:
        store = EtcdStore(urls, RealClock())
        try:
            await store.open()
            await store.close()
            return sorted(range(SIZE), key=lambda i: not leads(urls[i]))
        except StoreUnavailable:
            await asyncio.sleep(0.2)


class Load:
    """Nine clients, and what they met."""

    def __init__(self, server: ApiServer, began: float) -> None:
        self.server, self.began = server, began
        self.longest = {"POST": 0.0, "GET": 0.0, "LIST": 0.0}
        self.requests = dict.fromkeys(self.longest, 0)
        self.failed: list[str] = []

    async def work(self, kind: str, worker: int, end: float) -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            began = time.monotonic()
            try:
                if kind == "POST":
                    await self.server.loopback("POST", PATH, {"metadata": {"name": f"c{worker}-{number}"}})
                else:
                    await self.server.loopback("GET", PATH + ("/kept" if kind == "GET" else ""))
            except StatusError as failure:
                self.failed.append(f"{kind} after {began - self.began:.1f} s: {failure.code} {failure.message}")
            self.requests[kind] += 1
            self.longest[kind] = max(self.longest[kind], time.monotonic() - began)
            await asyncio.sleep(0.01)


async def measure(given: argparse.Namespace, directory: Path) -> None:
    urls, processes = members(directory)
    try:
        order = await elected(urls)
        if given.who == "follower":
            order = [*order[1:], order[0]]
        server = ApiServer(EtcdStore([urls[i] for i in order], RealClock()), RealClock(), random.Random(1))
        await server.start()
        running = asyncio.create_task(server.run())
        await server.loopback("POST", PATH, {"metadata": {"name": "kept"}})
        began = time.monotonic()
        load, end = Load(server, began), began + given.seconds
        clients = [asyncio.create_task(load.work(kind, n, end)) for kind in load.longest for n in range(3)]
        await asyncio.sleep(2.0)
        processes[order[0]].send_signal(signal.SIGKILL if given.how == "kill" else signal.SIGSTOP)
        await asyncio.gather(*clients)
        for kind, number in load.requests.items():
            print(f"{given.how} {given.who}: {kind:5} {number:6} requests, the longest took {load.longest[kind]:.2f} s")
        print(f"{len(load.failed)} failed", *load.failed[:5], sep="\n  ")
        running.cancel()
        await asyncio.wait([running])
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--how", choices=["kill", "hang"], default="hang")
    parser.add_argument("--who", choices=["leader", "follower"], default="leader")
    parser.add_argument("--seconds", type=float, default=25.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(given, Path(directory)))


if __name__ == "__main__":
    main()
