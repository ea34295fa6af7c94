"""How fast the controllers of a cluster work: any cluster, ours or a peer's.

    python bench/controllers.py --kubeconfig FILE [--pid PID ...] [--json OUT] [scenario ...]

Scenarios (all by default):
  deployment   one Deployment of 1,000 replicas: until all pods are there, and how many pods a second
  deployments  1,000 Deployments of 5 at once: until all 5,000 pods are there and every status says so
  scale-down   the Deployment of 1,000 to 0
  namespace    a namespace with 20,000 ConfigMaps: from the deletion until it is gone
  idle         CPU of the processes given by --pid over 20 s, in percent of a core

No nodes are needed: pods stay Pending. Compare only figures of one run on one machine, with client limits lifted
(kube-controller-manager --kube-api-qps=5000 --kube-api-burst=5000).
"""

import argparse
import asyncio
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS
from pybernetes.client.informer import Informer
from pybernetes.client.kubeconfig import client_from_kubeconfig
from pybernetes.concurrency import RealClock

NAMESPACE = "bench-controllers"
TICKS = os.sysconf("SC_CLK_TCK")


def deployment(name, replicas):
    labels = {"app": name}
    spec = {
        "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": {"cpu": "10m"}}}],
        # Nobody schedules them: what is measured is the controllers alone.
        "schedulerName": "nobody",
    }
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }  # fmt: skip


class Bench:
    def __init__(self, client, pids):
        self.client, self.pids, self.clock = client, pids, RealClock()
        self.results = {}

    async def until(self, done, limit=300.0):
        """Seconds until ``done()``."""
        started = time.monotonic()
        while not done():
            if time.monotonic() - started > limit:
                raise TimeoutError(f"not done after {limit} s")
            await asyncio.sleep(0.01)
        return time.monotonic() - started

    async def fresh_namespace(self, name):
        try:
            await self.client.delete(NAMESPACES, name)
        except StatusError as failure:
            if failure.code != 404:
                raise
        while True:
            try:
                namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                await self.client.create(NAMESPACES, namespace)
                break
            except StatusError as failure:
                if failure.code not in (403, 409):
                    raise
                await asyncio.sleep(0.2)
        while True:
            try:
                await self.client.get(SERVICE_ACCOUNTS, "default", name)
                return
            except StatusError:
                await asyncio.sleep(0.05)

    async def in_parallel(self, jobs, workers=16):
        pending = iter(jobs)

        async def worker():
            for job in pending:
                await job()

        await asyncio.gather(*(worker() for _ in range(workers)))

    def cpu(self):
        return (
            sum(sum(map(int, Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[11:13])) for p in self.pids)
            / TICKS
        )

    def memory(self):
        kib = 0
        for pid in self.pids:
            kib += next(
                int(x.split()[1]) for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS")
            )
        return kib / 1024

    def note(self, name, **figures):
        if self.pids:
            figures["rss_mb"] = round(self.memory())
        self.results[name] = figures
        print(f"{name:14}" + "  ".join(f"{k}={v}" for k, v in figures.items()), flush=True)

    async def deployment(self, pods, replicas=1000):
        await self.client.create(DEPLOYMENTS, deployment("big", replicas))
        seconds = await self.until(lambda: len(pods.list(NAMESPACE)) >= replicas)
        self.note("deployment", seconds=round(seconds, 2), pods_per_second=round(replicas / seconds))

    async def scale_down(self, pods):
        await self.client.patch(DEPLOYMENTS, "big", {"spec": {"replicas": 0}}, NAMESPACE)
        seconds = await self.until(lambda: not pods.list(NAMESPACE))
        self.note("scale-down", seconds=round(seconds, 2))

    async def deployments(self, pods, count=1000, replicas=5):
        found = Informer(self.client, DEPLOYMENTS, clock=self.clock, namespace=NAMESPACE)
        task = asyncio.get_running_loop().create_task(found.run())
        await found.wait_synced()
        started = time.monotonic()
        await self.in_parallel(
            partial(self.client.create, DEPLOYMENTS, deployment(f"small-{n}", replicas)) for n in range(count)
        )
        created = time.monotonic() - started

        def settled():
            mine = [d for d in found.list() if d["metadata"]["name"].startswith("small-")]
            return len(mine) == count and all((d.get("status") or {}).get("replicas") == replicas for d in mine)

        await self.until(settled)
        seconds = time.monotonic() - started
        self.note(
            "deployments", seconds=round(seconds, 2), created_after=round(created, 2),
            pods_per_second=round(count * replicas / seconds),
        )  # fmt: skip
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def namespace(self, count=20_000):
        name = f"{NAMESPACE}-full"
        await self.fresh_namespace(name)
        objects = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{n}", "namespace": name}, "data": {"k": "v"}}
            for n in range(count)
        ]  # fmt: skip
        await self.in_parallel((lambda o=o: self.client.create(CONFIG_MAPS, o)) for o in objects)
        found = Informer(self.client, NAMESPACES, clock=self.clock)
        task = asyncio.get_running_loop().create_task(found.run())
        await found.wait_synced()
        await self.client.delete(NAMESPACES, name)
        seconds = await self.until(lambda: found.get("", name) is None)
        self.note("namespace", seconds=round(seconds, 2), objects=count)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def idle(self):
        await asyncio.sleep(5)
        before = self.cpu()
        await asyncio.sleep(20)
        self.note("idle", cpu_percent=round((self.cpu() - before) / 20 * 100, 2))

    async def run(self, scenarios):
        await self.fresh_namespace(NAMESPACE)
        pods = Informer(self.client, PODS, clock=self.clock, namespace=NAMESPACE)
        task = asyncio.get_running_loop().create_task(pods.run())
        await pods.wait_synced()
        for name in scenarios:
            method = getattr(self, name.replace("-", "_"))
            await (method(pods) if name in ("deployment", "deployments", "scale-down") else method())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--pid", type=int, action="append", default=[])
    parser.add_argument("--json")
    parser.add_argument("scenarios", nargs="*", default=[])
    options = parser.parse_args()
    scenarios = options.scenarios or ["deployment", "scale-down", "deployments", "namespace"]
    if not options.scenarios and options.pid:
        scenarios.append("idle")
    bench = Bench(client_from_kubeconfig(options.kubeconfig, user_agent="bench"), options.pid)
    asyncio.run(bench.run(scenarios))
    if options.json:
        Path(options.json).write_text(json.dumps(bench.results, indent=1))


if __name__ == "__main__":
    sys.exit(main())
