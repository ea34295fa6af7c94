"""Latency beside a full store: fills it with pods, then sends a steady mix of single-object calls and lists.

    python bench/api_scale.py KUBECONFIG [--pods 100000] [--rate 1000] [--seconds 20]

Prints the percentiles of each kind of call. The pods stay (in namespaces ``scale-N``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from urllib.parse import urlsplit

from api import POD, Server
from pybernetes.client.transport import ClientRequest, HttpTransport

NAMESPACES = 50
CONNECTIONS = 64


class Mix:
    def __init__(self, server: Server, pods: int) -> None:
        address = urlsplit(server.url)
        self.transport = HttpTransport(
            address.hostname or "",
            address.port or 443,
            tls=server.tls,
            headers={"Authorization": f"Bearer {server.token}"},
        )
        self.server, self.pods = server, pods
        self.rng = random.Random(1)
        self.times: dict[str, list[float]] = {}
        self.failures: dict[str, int] = {}

    async def call(
        self, kind: str, method: str, path: str, body: object = None, content: str = "application/json"
    ) -> None:
        payload = json.dumps(body).encode() if body is not None else b""
        began = time.perf_counter()
        answer = await self.transport.send(ClientRequest(method, path, {"Content-Type": content}, payload))
        await answer.read()
        self.times.setdefault(kind, []).append(time.perf_counter() - began)
        if answer.status >= 400:
            self.failures[kind] = self.failures.get(kind, 0) + 1

    def pod(self, number: int) -> tuple[str, dict]:
        namespace = f"scale-{number % NAMESPACES}"
        obj = json.loads(json.dumps(POD).replace("NAME", f"pod-{number}"))
        obj["spec"]["nodeName"] = f"node-{number % 1000}"
        return f"/api/v1/namespaces/{namespace}/pods", obj

    async def fill(self) -> None:
        for number in range(NAMESPACES):
            await self.call("fill", "POST", "/api/v1/namespaces", {"metadata": {"name": f"scale-{number}"}})
            path = f"/api/v1/namespaces/scale-{number}/serviceaccounts"
            await self.call("fill", "POST", path, {"metadata": {"name": "default"}})
        numbers = iter(range(self.pods))

        async def worker() -> None:
            for number in numbers:
                path, obj = self.pod(number)
                await self.call("fill", "POST", path, obj)

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
        print(
            f"filled: {self.pods / (time.perf_counter() - began):,.0f} creates/s, {self.failures.get('fill', 0)} failed"
        )

    async def one(self, extra: int) -> None:
        rng = self.rng
        number, choice = rng.randrange(self.pods), rng.random()
        path, _ = self.pod(number)
        if choice < 0.5:
            await self.call("get", "GET", f"{path}/pod-{number}")
        elif choice < 0.7:
            patch = {"metadata": {"annotations": {"touched": str(extra)}}}
            await self.call("patch", "PATCH", f"{path}/pod-{number}", patch, "application/merge-patch+json")
        elif choice < 0.8:
            path, obj = self.pod(self.pods + extra)
            await self.call("create", "POST", path, obj)
        elif choice < 0.85:
            await self.call("delete", "DELETE", f"{path}/pod-{number}?gracePeriodSeconds=0")
        elif choice < 0.97:
            await self.call("list of a node", "GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-{number % 1000}")
        else:
            await self.call("page of 500", "GET", "/api/v1/pods?limit=500")

    async def steady(self, rate: int, seconds: float) -> None:
        self.times.clear()
        began, sent = time.perf_counter(), 0
        async with asyncio.TaskGroup() as group:
            while (passed := time.perf_counter() - began) < seconds:
                while sent < passed * rate:
                    group.create_task(self.one(sent))
                    sent += 1
                await asyncio.sleep(0.002)
        for kind, times in sorted(self.times.items()):
            times.sort()
            marks = [times[min(len(times) - 1, int(len(times) * p))] * 1000 for p in (0.5, 0.9, 0.99)]
            print(f"{kind:16} {len(times):7} calls  p50 {marks[0]:7.2f}  p90 {marks[1]:7.2f}  p99 {marks[2]:7.2f} ms")
        print("failed:", {k: v for k, v in self.failures.items() if k != "fill"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kubeconfig")
    parser.add_argument("--pods", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()

    async def run() -> None:
        mix = Mix(Server(arguments.kubeconfig), arguments.pods)
        await mix.fill()
        await mix.steady(arguments.rate, arguments.seconds)

    import uvloop

    uvloop.run(run())


if __name__ == "__main__":
    main()
