"""How fast a node starts and ends pods: any kubelet behind any API server, measured from outside.

    python bench/node.py --kubeconfig FILE --node ours --node theirs [--image NAME] [--rounds 5] [--at-once 30]

Pods are bound to the node directly, so that no scheduler is part of the figures. Times are taken by this program's own watch: from the
moment before the create is sent to the moment at which phase Running (or the deletion) is seen. Nodes are taken in turn within each
round, so that both see the same machine. Resident memory is read where the kubelet's pid is given (``--pid ours=123``).
Prints a table, and JSON with ``--json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from contextlib import aclosing
from typing import Any

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import NAMESPACES, PODS
from pybernetes.client.kubeconfig import client_from_kubeconfig
from pybernetes.client.rest import Client

NAMESPACE = "bench-node"


def pod(name: str, node: str, image: str) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "100000"],
    }
    spec = {
        "nodeName": node,
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


class Watcher:
    """Sees every pod of the namespace; ``running`` and ``gone`` are moments by pod name."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.running: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        listed = await self._client.list(PODS, NAMESPACE)
        version = listed["metadata"]["resourceVersion"]
        while True:
            stream = self._client.watch(PODS, NAMESPACE, resource_version=version)
            async with aclosing(stream) as events:
                async for event in events:
                    now, obj = time.perf_counter(), event.object
                    version = obj["metadata"]["resourceVersion"]
                    name = obj["metadata"].get("name", "")
                    if event.type == "DELETED":
                        self.gone.setdefault(name, now)
                    elif (obj.get("status") or {}).get("phase") == "Running":
                        self.running.setdefault(name, now)
                    self._changed.set()

    async def until(self, seen: dict[str, float], names: list[str]) -> None:
        while not all(n in seen for n in names):
            self._changed.clear()
            await self._changed.wait()


async def one(client: Client, watcher: Watcher, node: str, name: str, image: str) -> tuple[float, float]:
    begun = time.perf_counter()
    await client.create(PODS, pod(name, node, image))
    await watcher.until(watcher.running, [name])
    started = watcher.running[name] - begun
    begun = time.perf_counter()
    await client.delete(PODS, name, NAMESPACE)
    await watcher.until(watcher.gone, [name])
    return started, watcher.gone[name] - begun


async def many(
    client: Client, watcher: Watcher, node: str, prefix: str, count: int, image: str
) -> tuple[float, float, list[str]]:
    names = [f"{prefix}-{i}" for i in range(count)]
    begun = time.perf_counter()
    await asyncio.gather(*(client.create(PODS, pod(n, node, image)) for n in names))
    await watcher.until(watcher.running, names)
    started = max(watcher.running[n] for n in names) - begun
    return started, begun, names


async def remove(client: Client, watcher: Watcher, names: list[str]) -> float:
    begun = time.perf_counter()
    await asyncio.gather(*(client.delete(PODS, n, NAMESPACE) for n in names))
    await watcher.until(watcher.gone, names)
    return max(watcher.gone[n] for n in names) - begun


def resident(pid: int | None) -> float | None:
    if pid is None:
        return None
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    client = client_from_kubeconfig(arguments.kubeconfig)
    try:
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await asyncio.sleep(2)
    except StatusError as failure:
        if failure.code != 409:
            raise
    pids = dict(p.split("=") for p in arguments.pid)
    watcher = Watcher(client)
    task = asyncio.create_task(watcher.run())
    results: dict[str, Any] = {n: {"start": [], "end": [], "start_many": [], "end_many": []} for n in arguments.node}
    stamp = f"{int(time.time()) % 100000:05d}"
    for node in arguments.node:
        await one(client, watcher, node, f"warm-{node}-{stamp}", arguments.image)
    for index in range(arguments.rounds):
        for node in arguments.node:
            started, ended = await one(client, watcher, node, f"one-{node}-{stamp}-{index}", arguments.image)
            results[node]["start"].append(started)
            results[node]["end"].append(ended)
    for index in range(arguments.many_rounds):
        for node in arguments.node:
            pid = int(pids[node]) if node in pids else None
            prefix = f"many-{node}-{stamp}-{index}"
            started, _, names = await many(client, watcher, node, prefix, arguments.at_once, arguments.image)
            results[node]["start_many"].append(started)
            if pid is not None:
                await asyncio.sleep(5)
                before = cpu_seconds(pid)
                await asyncio.sleep(10)
                results[node]["idle_cpu_percent"] = (cpu_seconds(pid) - before) * 10
                results[node]["resident_mb"] = resident(pid)
            results[node]["end_many"].append(await remove(client, watcher, names))
    task.cancel()
    return results


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def report(results: dict[str, Any], at_once: int) -> None:
    heads = ("node", "start one s", "end one s", f"start {at_once} s", "pods/s", f"end {at_once} s", "MB", "idle %")
    print("".join(f"{h:>13}" for h in heads))
    for node, found in results.items():
        medians = {k: statistics.median(v) if isinstance(v, list) and v else None for k, v in found.items()}
        many = medians["start_many"]
        cells = [
            node,
            _cell(medians["start"], 3),
            _cell(medians["end"], 3),
            _cell(many, 2),
            _cell(at_once / many if many else None, 1),
            _cell(medians["end_many"], 2),
            _cell(found.get("resident_mb"), 0),
            _cell(found.get("idle_cpu_percent"), 1),
        ]
        print("".join(f"{c:>13}" for c in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--node", action="append", required=True)
    parser.add_argument("--pid", action="append", default=[], help="NODE=PID of its kubelet")
    parser.add_argument("--image", default="busybox:1.37.0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many-rounds", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = asyncio.run(measure(arguments))
    if arguments.json:
        json.dump(results, sys.stdout, indent=2)
        print()
    else:
        report(results, arguments.at_once)


if __name__ == "__main__":
    main()
