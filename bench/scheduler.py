"""Schedulers at work: upstream's scheduler performance workloads, one or more API servers and schedulers in one run.

    python bench/scheduler.py --side ours ours.kubeconfig "p8s scheduler --kubeconfig {kubeconfig} ..." \\
        [--side peer peer.kubeconfig "kube-scheduler --kubeconfig {kubeconfig} ..."] \\
        [--workload basic --workload spreading] [--nodes 5000] [--scale 1.0] [--json FILE]

A side is an API server (reached over TLS with a bearer token of ``system:masters``) and the command of a scheduler, which is
started and stopped for every workload. Nodes, namespaces and pods are made through the API and removed again. Pods that a
workload begins with are made with their node; the measured ones are made first, then the scheduler starts, and what counts is
the time from the first to the last bind (``--live`` makes them while it runs). Sides take turns at every workload; only
ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from api import Server
from pybernetes.client.transport import ClientRequest, HttpTransport

CONNECTIONS = 32
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
NAMESPACES = ("sched-0", "sched-1")
CHURN_SECONDS = 0.2


# -- workloads -----------------------------------------------------------------------------------------------------


def template(cpu: str = "100m", labels: dict | None = None, **spec: object) -> dict:
    resources = {"requests": {"cpu": cpu, "memory": "500Mi"}}
    container = {"name": "pause", "image": "registry.k8s.io/pause:3.10", "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": labels or {}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{**container, "resources": resources}],
            **spec,
        },
    }


def near(color: str, key: str) -> dict:
    return {"labelSelector": {"matchLabels": {"color": color}}, "topologyKey": key, "namespaces": list(NAMESPACES)}


REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
PLAIN = template()
IN_ZONE = template(
    affinity={
        "nodeAffinity": {
            REQUIRED: {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]}]}
                ]
            }
        }
    }
)
APART = template(labels={"color": "green"}, affinity={"podAntiAffinity": {REQUIRED: [near("green", HOST)]}})
TOGETHER = template(labels={"color": "blue"}, affinity={"podAffinity": {REQUIRED: [near("blue", ZONE)]}})
RATHER_TOGETHER = template(
    labels={"color": "red"},
    affinity={"podAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": near("red", HOST)}]}},
)
SPREAD = template(
    labels={"color": "blue"},
    topologySpreadConstraints=[
        {
            "maxSkew": 5,
            "topologyKey": ZONE,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"color": "blue"}},
        }
    ],
)
LOW = template("900m")
HIGH = template("3000m", priorityClassName="bench-high")
IMPOSSIBLE = template("9", priorityClassName="bench-high")


@dataclass(frozen=True)
class Workload:
    """Counts are those of upstream's suite at 5,000 nodes, in thousandths of the number of nodes."""

    name: str
    pod: dict
    before: float
    measured: float
    threshold: int = 0
    """Pods a second that upstream's suite asks of its scheduler."""
    first: dict = field(default_factory=lambda: PLAIN)
    churn: dict | None = None
    zones: tuple[str, ...] = ("zone1",)


WORKLOADS = {
    "pending": Workload("5 pending pods a node (PEERS row: 5,000 on 1,000)", PLAIN, 0, 5.0),
    "basic": Workload("SchedulingBasic", PLAIN, 0.2, 2.0, 270),
    "node-affinity": Workload("SchedulingNodeAffinity", IN_ZONE, 1.0, 2.0, 220),
    "anti-affinity": Workload("SchedulingPodAntiAffinity", APART, 0.2, 0.4, 60, first=APART),
    "affinity": Workload("SchedulingPodAffinity", TOGETHER, 1.0, 1.0, 35, first=TOGETHER),
    "spreading": Workload("TopologySpreading", SPREAD, 1.0, 1.0, 85, zones=("moon-1", "moon-2", "moon-3")),
    "preferred-affinity": Workload(
        "SchedulingPreferredPodAffinity", RATHER_TOGETHER, 1.0, 1.0, 90, first=RATHER_TOGETHER
    ),
    "unschedulable": Workload("Unschedulable", PLAIN, 0.02, 2.0, 140, churn=IMPOSSIBLE),
    "preemption": Workload("PreemptionAsync", PLAIN, 4.0, 1.0, 160, first=LOW, churn=HIGH),
}


# -- sides ---------------------------------------------------------------------------------------------------------


class Side:
    """One API server with its scheduler."""

    def __init__(self, name: str, kubeconfig: str, command: str, zones: dict[str, tuple[str, ...]]) -> None:
        """``zones`` are those of the nodes that were made, by server: sides may share one."""
        self.name = name
        self.server = Server(kubeconfig)
        self.command = shlex.split(command.replace("{kubeconfig}", kubeconfig))
        address = urlsplit(self.server.url)
        self._transport = HttpTransport(
            address.hostname or "",
            address.port or 443,
            tls=self.server.tls,
            headers={"Authorization": f"Bearer {self.server.token}"},
        )
        self._zones = zones
        self.told: set[str] = set()
        """Seconds in which the API server says that pods were bound: what the times seen here are to be held to."""

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        allow: tuple[int, ...] = (),
        content: str = "application/json",
    ) -> dict:
        payload = orjson.dumps(body) if body is not None else b""
        answer = await self._transport.send(ClientRequest(method, path, {"Content-Type": content}, payload))
        told = await answer.read()
        if answer.status >= 400 and answer.status not in allow:
            raise SystemExit(f"{self.name}: {method} {path}: {answer.status} {told[:300]!r}")
        return orjson.loads(told)

    async def each(self, numbers: Iterator[int] | range, call: Callable[[int], object]) -> None:
        left = iter(numbers)

        async def worker() -> None:
            for number in left:
                await call(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(worker())

    @contextlib.contextmanager
    def scheduler(self) -> Iterator[subprocess.Popen]:
        process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # -- a cluster of nodes that nobody runs -----------------------------------------------------------------------

    async def prepare(self, nodes: int, zones: tuple[str, ...]) -> None:
        for namespace in NAMESPACES:
            await self.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, allow=(409,))
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
            await self.call("POST", path, {"metadata": {"name": "default"}}, allow=(409,))
        high = {"metadata": {"name": "bench-high"}, "value": 10}
        await self.call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", high, allow=(409,))
        known = self._zones.get(self.server.url)
        if known is None:
            await self._make_nodes(nodes, zones)
        elif known != zones:
            await self.each(range(nodes), lambda number: self._move(number, zones))
        self._zones[self.server.url] = zones

    async def _move(self, number: int, zones: tuple[str, ...]) -> None:
        patch = {"metadata": {"labels": {ZONE: zones[number % len(zones)]}}}
        path = f"/api/v1/nodes/bench-{number}"
        await self.call("PATCH", path, patch, content="application/merge-patch+json")

    async def _make_nodes(self, nodes: int, zones: tuple[str, ...]) -> None:
        async def make(number: int) -> None:
            name = f"bench-{number}"
            capacity = {"pods": "110", "cpu": "4", "memory": "32Gi"}
            node = {
                "metadata": {"name": name, "labels": {HOST: name, ZONE: zones[number % len(zones)]}},
                "status": {
                    "capacity": capacity,
                    "allocatable": capacity,
                    "conditions": [{"type": "Ready", "status": "True", "reason": "Bench"}],
                },
            }
            made = await self.call("POST", "/api/v1/nodes", node)
            # Admission taints new nodes until a controller has seen them ready; here is none.
            if made["spec"].pop("taints", None):
                await self.call("PUT", f"/api/v1/nodes/{name}", made)

        await self.each(range(nodes), make)

    async def pods(self, prefix: str, pod: dict, count: int, namespace: str, nodes: int = 0) -> None:
        """With ``nodes`` they are placed already, one node after the other."""
        path = f"/api/v1/namespaces/{namespace}/pods"

        async def make(number: int) -> None:
            spec = {**pod["spec"], "nodeName": f"bench-{number % nodes}"} if nodes else pod["spec"]
            meta = {**pod["metadata"], "name": f"{prefix}-{number}"}
            await self.call("POST", path, {**pod, "metadata": meta, "spec": spec})

        await self.each(range(count), make)

    async def clean_pods(self) -> None:
        for namespace in NAMESPACES:
            await self.call("DELETE", f"/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0", allow=(404,))

    async def clean(self) -> None:
        await self.clean_pods()
        found = await self.call("GET", "/api/v1/nodes?resourceVersion=0")
        names = [n["metadata"]["name"] for n in found["items"] if n["metadata"]["name"].startswith("bench-")]
        await self.each(range(len(names)), lambda at: self.call("DELETE", f"/api/v1/nodes/{names[at]}"))

    async def binds(self, prefix: str, count: int, started: asyncio.Event) -> list[float]:
        """The times at which pods with this prefix were first seen with a node."""
        listed = await self.call("GET", "/api/v1/pods?limit=1")
        version = listed["metadata"]["resourceVersion"]
        path = f"/api/v1/namespaces/{NAMESPACES[1]}/pods?watch=true&resourceVersion={version}"
        answer = await self._transport.send(ClientRequest("GET", path, {}, b""))
        started.set()
        times: dict[str, float] = {}
        rest = b""
        async for chunk in answer.chunks():
            now = time.perf_counter()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if b'"nodeName"' not in line:
                    continue
                pod = orjson.loads(line)["object"]
                if pod["metadata"]["name"].startswith(prefix) and pod["spec"].get("nodeName"):
                    times.setdefault(pod["metadata"]["name"], now)
                    self.told.update(
                        c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "PodScheduled"
                    )
            if len(times) >= count:
                break
        answer.close()
        return sorted(times.values())


# -- measuring -----------------------------------------------------------------------------------------------------


def usage(pid: int) -> tuple[float, float]:
    """(processor seconds, resident MB)"""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def churn(side: Side, pod: dict | None) -> None:
    number = 0
    while pod is not None:
        await side.pods(f"churn{number}", pod, 1, NAMESPACES[0])
        number += 1
        await asyncio.sleep(CHURN_SECONDS)


async def measure(side: Side, workload: Workload, nodes: int, scale: float, live: bool, limit: float) -> dict:
    before, measured = int(workload.before * nodes * scale), max(1, int(workload.measured * nodes * scale))
    await side.prepare(nodes, workload.zones)
    await side.pods("first", workload.first, before, NAMESPACES[0], nodes)
    if not live:
        await side.pods("measured", workload.pod, measured, NAMESPACES[1])
    watching = asyncio.Event()
    side.told.clear()
    async with asyncio.TaskGroup() as group:
        seen = group.create_task(side.binds("measured", measured, watching))
        await watching.wait()
        with side.scheduler() as process:
            background = group.create_task(churn(side, workload.churn))
            if live:
                await asyncio.sleep(5)
                await side.pods("measured", workload.pod, measured, NAMESPACES[1])
            done, _ = await asyncio.wait([seen], timeout=limit)
            background.cancel()
            if not done:
                seen.cancel()
            seconds, memory = usage(process.pid)
    times = seen.result() if done else []
    await side.clean_pods()
    span = times[-1] - times[0] if times else float("nan")
    return {
        "side": side.name,
        "pods": measured,
        "seconds": span,
        "rate": (measured - 1) / span if times else 0.0,
        "scheduler_cpu_ms": 1000 * seconds / measured,
        "scheduler_rss_mb": memory,
        "seconds_told": len(side.told),
    }


def show(workload: Workload, results: list[dict], nodes: int) -> None:
    print(
        f"\n{workload.name}: {results[0]['pods']:,} pods on {nodes:,} nodes"
        + (f" (upstream's suite asks for {workload.threshold}/s)" if workload.threshold else "")
    )
    for result in results:
        ratio = f"{result['rate'] / results[-1]['rate']:5.2f}x" if len(results) > 1 and results[-1]["rate"] else ""
        print(
            f"  {result['side']:12} {result['rate']:8,.0f} pods/s {result['seconds']:7.1f} s {ratio:7} "
            f"{result['scheduler_cpu_ms']:6.2f} ms of processor a pod, {result['scheduler_rss_mb']:5.0f} MB, "
            f"bound within {result['seconds_told']} seconds of the server's clock"
        )


async def run(arguments: argparse.Namespace) -> None:
    zones: dict[str, tuple[str, ...]] = {}
    sides = [Side(*given, zones) for given in arguments.side]
    found = []
    for side in sides:
        await side.clean()
    for name in arguments.workload or list(WORKLOADS):
        workload = WORKLOADS[name]
        results = []
        for side in sides:
            results.append(
                await measure(side, workload, arguments.nodes, arguments.scale, arguments.live, arguments.limit)
            )
        show(workload, results, arguments.nodes)
        found.append({"workload": name, "nodes": arguments.nodes, "threshold": workload.threshold, "results": results})
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(found, indent=2))
    for side in sides:
        await side.clean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", nargs=3, action="append", required=True, metavar=("NAME", "KUBECONFIG", "COMMAND"))
    parser.add_argument("--workload", action="append", choices=sorted(WORKLOADS))
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of pods")
    parser.add_argument("--live", action="store_true", help="make the measured pods while the scheduler runs")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a workload is given up")
    parser.add_argument("--json")
    arguments = parser.parse_args()

    import uvloop

    uvloop.run(run(arguments))


if __name__ == "__main__":
    main()
