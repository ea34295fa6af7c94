"""Latency beside a full store: fills it with pods, then sends a steady mix of single-object calls and lists.

    python bench/api_scale.py KUBECONFIG [--pods 100000] [--rate 1000] [--seconds 20] [--filled] [--pid PID]

Prints the percentiles of each kind of call, counted from when the call was due (so what waits for a connection counts), and how
late the generator itself was: where its own p99 is near a call's, the machine was too small for both. The first two seconds
are not counted. The pods stay (in namespaces ``scale-N``); ``--filled`` says that they are there already. ``--pid`` adds the
server's CPU time and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

from api import POD, Server
from pybernetes.client.transport import ClientRequest, HttpTransport

NAMESPACES = 50
CONNECTIONS = 64
WARMING = 2.0
"""Seconds at the full rate that are not counted: they open 128 TLS connections, and a new server loads what pods need."""
TEMPLATE = json.dumps(
    {**POD, "metadata": {**POD["metadata"], "name": "POD-NAME"}, "spec": {**POD["spec"], "nodeName": "NODE-NAME"}}
)


class Lane:
    """A number of kept connections. Calls wait for one, so a stall of the server makes no handshakes."""

    def __init__(self, server: Server) -> None:
        address = urlsplit(server.url)
        self.transport = HttpTransport(
            address.hostname or "",
            address.port or 443,
            tls=server.tls,
            headers={"Authorization": f"Bearer {server.token}"},
        )
        self.slots = asyncio.Semaphore(CONNECTIONS)


class Mix:
    def __init__(self, server: Server, pods: int) -> None:
        self.reads, self.writes = Lane(server), Lane(server)
        """Apart, as in a cluster: those who read do not wait for a connection that waits for the disk."""
        self.pods = pods
        self.rng = random.Random(1)
        self.times: dict[str, list[float]] = {}
        self.failures: dict[str, int] = {}
        self.counted_from = 0.0

    async def call(
        self,
        kind: str,
        method: str,
        path: str,
        body: bytes = b"",
        content: str = "application/json",
        due: float | None = None,
    ) -> None:
        began = due if due is not None else time.perf_counter()
        lane = self.reads if method == "GET" else self.writes
        async with lane.slots:
            answer = await lane.transport.send(ClientRequest(method, path, {"Content-Type": content}, body))
            await answer.read()
        if began >= self.counted_from:
            self.times.setdefault(kind, []).append(time.perf_counter() - began)
        if answer.status >= 400:
            self.failures[kind] = self.failures.get(kind, 0) + 1

    @staticmethod
    def place(number: int) -> str:
        return f"/api/v1/namespaces/scale-{number % NAMESPACES}/pods"

    @staticmethod
    def pod(number: int) -> bytes:
        return TEMPLATE.replace("POD-NAME", f"pod-{number}").replace("NODE-NAME", f"node-{number % 1000}").encode()

    async def fill(self) -> None:
        for number in range(NAMESPACES):
            await self.call("fill", "POST", "/api/v1/namespaces", b'{"metadata":{"name":"scale-%d"}}' % number)
            path = f"/api/v1/namespaces/scale-{number}/serviceaccounts"
            await self.call("fill", "POST", path, b'{"metadata":{"name":"default"}}')
        numbers = iter(range(self.pods))

        async def worker() -> None:
            for number in numbers:
                await self.call("fill", "POST", self.place(number), self.pod(number))

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
        print(
            f"filled: {self.pods / (time.perf_counter() - began):,.0f} creates/s, {self.failures.get('fill', 0)} failed"
        )

    async def one(self, extra: int, due: float) -> None:
        rng = self.rng
        number, choice = rng.randrange(self.pods), rng.random()
        if due >= self.counted_from:
            self.times.setdefault("(the generator)", []).append(time.perf_counter() - due)
        path = self.place(number)
        if choice < 0.5:
            await self.call("get", "GET", f"{path}/pod-{number}", due=due)
        elif choice < 0.7:
            patch = b'{"metadata":{"annotations":{"touched":"%d"}}}' % extra
            await self.call("patch", "PATCH", f"{path}/pod-{number}", patch, "application/merge-patch+json", due)
        elif choice < 0.8:
            number = self.pods + extra
            await self.call("create", "POST", self.place(number), self.pod(number), due=due)
        elif choice < 0.85:
            await self.call("delete", "DELETE", f"{path}/pod-{number}?gracePeriodSeconds=0", due=due)
        elif choice < 0.97:
            node = f"/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-{number % 1000}"
            await self.call("list of a node", "GET", node, due=due)
        else:
            await self.call("page of 500", "GET", "/api/v1/pods?limit=500", due=due)

    async def steady(self, rate: int, seconds: float) -> None:
        self.times.clear()
        self.counted_from = time.perf_counter() + WARMING
        seconds += WARMING
        began, sent, tag = time.perf_counter(), 0, int(time.time()) % 100_000 * 100_000
        async with asyncio.TaskGroup() as group:
            while (passed := time.perf_counter() - began) < seconds:
                while sent < passed * rate:
                    group.create_task(self.one(tag + sent, began + sent / rate))
                    sent += 1
                await asyncio.sleep(0.002)
        for kind, times in sorted(self.times.items()):
            times.sort()
            marks = [times[min(len(times) - 1, int(len(times) * p))] * 1000 for p in (0.5, 0.9, 0.99, 1)]
            print(f"{kind:16} {len(times):7} calls  p50 {marks[0]:7.2f}  p90 {marks[1]:7.2f}  ", end="")
            print(f"p99 {marks[2]:7.2f}  max {marks[3]:7.2f} ms")
        print("failed (404 for what was deleted before):", {k: v for k, v in self.failures.items() if k != "fill"})


def usage(pid: int) -> tuple[float, float]:
    """(CPU seconds, resident megabytes) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(memory[1]) / 1024 if memory else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kubeconfig")
    parser.add_argument("--pods", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--filled", action="store_true")
    parser.add_argument("--pid", type=int, default=0)
    arguments = parser.parse_args()

    async def run() -> None:
        mix = Mix(Server(arguments.kubeconfig), arguments.pods)
        if not arguments.filled:
            await mix.fill()
        before = usage(arguments.pid)[0] if arguments.pid else 0.0
        await mix.steady(arguments.rate, arguments.seconds)
        if arguments.pid:
            cpu, resident = usage(arguments.pid)
            print(f"the server: {(cpu - before) / (arguments.seconds + WARMING):.0%} of a core, {resident:,.0f} MB")
        print("load average:", *os.getloadavg())

    import uvloop

    uvloop.run(run())


if __name__ == "__main__":
    main()
