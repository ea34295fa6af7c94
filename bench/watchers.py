"""What a watcher costs beside few and many objects: memory and processor time, idle and for each event.

    python bench/watchers.py [--objects 1 100000] [--watchers 2000] [--events 2000]

In one process over the memory store, without sockets: pods with 1,000 values of a label; each watcher selects one of them (or a
node), and is told of events by a sink that only counts. ``idle`` counts the minute's bookmark as well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import orjson

from pybernetes.apiserver.request import Request
from pybernetes.apiserver.server import ApiServer, ServerConfig
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import LOOPBACK, Credentials
from pybernetes.storage.memory import MemoryStore

VALUES = 1000
PATH = "/api/v1/pods"


def pod(number: int, change: int = 0) -> bytes:
    metadata = {
        "name": f"p{number:06}", "namespace": "default", "uid": f"u{number}", "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": f"a{number % VALUES}"}, "annotations": {"n": str(change), "fill": "x" * 1000},
    }  # fmt: skip
    spec = {"nodeName": f"n{number % VALUES}", "containers": [{"name": "c", "image": "i"}]}
    return orjson.dumps({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {}})


class Counting:
    """A sink that has room for ever."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, payload: Any) -> bool:
        self.written += 1
        return True

    def end(self) -> None:
        """Nobody waits for it."""


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def watch(server: ApiServer, query: str) -> tuple[Any, Counting]:
    headers = {"accept": "application/json"}
    query = f"watch=1&resourceVersion={server.hub.revision}&allowWatchBookmarks=true&{query}"
    response = await server.handle(Request("GET", PATH, query, headers, b"", Credentials(headers), user=LOOPBACK))
    assert response.stream is not None, response.whole
    sink = Counting()
    response.stream.start(sink)
    return response.stream, sink


async def measure(objects: int, selector: str, given: argparse.Namespace) -> list[float]:
    clock = RealClock()
    store = MemoryStore(clock)
    for number in range(objects):
        await store.put(f"/registry/pods/default/p{number:06}", pod(number))
    server = ApiServer(store, clock, random.Random(1), ServerConfig(bootstrap=False))
    await server.start()
    before = resident()
    streams = [await watch(server, selector % (n % VALUES)) for n in range(given.watchers)]
    memory = (resident() - before) / given.watchers
    began = time.process_time()
    for dispatcher in server.hub.dispatchers.values():
        dispatcher.bookmark(server.hub.revision)
    await asyncio.sleep(1.0)
    idle = (time.process_time() - began) / given.watchers
    seen = sum(s.written for _, s in streams)
    await store.compact(server.hub.revision)
    began = time.process_time()
    for number in range(given.events):
        at = number % objects
        await store.put(f"/registry/pods/default/p{at:06}", pod(at, number))
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    event = (time.process_time() - began) / given.events
    told = sum(s.written for _, s in streams) - seen
    for stream, _ in streams:
        stream.stop()
    await store.close()
    return [memory, idle * 1e6, event * 1e6, told / given.events]


def _measured(objects: int, selector: str, given: argparse.Namespace) -> list[float]:
    return asyncio.run(measure(objects, selector, given))


def compare(given: argparse.Namespace) -> None:
    print(
        f"{'selector':28} {'objects':>8} {'bytes/watcher':>14} {'idle us/min':>12} {'us/event':>9} {'told/event':>11}"
    )
    for selector in ("fieldSelector=spec.nodeName%%3Dn%d", "labelSelector=app%%3Da%d", "labelSelector=app+in+(a%d,zz)"):
        for objects in given.objects:
            # Each in a process of its own: what one has let go of another would take for free.
            with multiprocessing.get_context("fork").Pool(1) as pool:
                memory, idle, event, told = pool.apply(_measured, (objects, selector, given))
            print(f"{selector[:28]:28} {objects:8} {memory:14.0f} {idle:12.1f} {event:9.1f} {told:11.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 100_000])
    parser.add_argument("--watchers", type=int, default=2000)
    parser.add_argument("--events", type=int, default=2000)
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
