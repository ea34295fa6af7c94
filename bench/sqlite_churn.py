"""The embedded store under churn: how large its file and log become, and what compaction costs the writers.

``python bench/sqlite_churn.py --objects 2000 --bytes 2000 --seconds 60 --interval 10`` rewrites the same objects as fast as
32 writers can, with the API server's own compaction at a shorter interval than its five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from pathlib import Path

from pybernetes.apiserver.compacting import Compaction
from pybernetes.concurrency import RealClock
from pybernetes.storage.sqlite import SqliteStore

WRITERS = 32


class Position:
    """What compaction asks of the hub."""

    def __init__(self) -> None:
        self.revision = self.compacted = 0


async def churn(path: Path, given: argparse.Namespace) -> None:
    clock, position, rng = RealClock(), Position(), random.Random(1)
    store = SqliteStore(path, clock)
    await store.open()
    latencies: list[float] = []
    end = time.monotonic() + given.seconds

    async def write() -> None:
        while time.monotonic() < end:
            began = time.monotonic()
            value = os.urandom(given.bytes)
            position.revision = await store.put(f"/registry/a/{rng.randrange(given.objects):06}", value)
            latencies.append(time.monotonic() - began)

    async def report() -> None:
        largest = [0, 0]
        while time.monotonic() < end:
            began, done = time.monotonic(), len(latencies)
            await asyncio.sleep(min(5.0, max(0.1, end - began)))
            wal = path.with_name(path.name + "-wal").stat().st_size
            sizes = [path.stat().st_size, wal]
            largest = [max(pair) for pair in zip(largest, sizes, strict=True)]
            part = sorted(latencies[done:]) or [0.0]
            rate, p99 = len(part) / (time.monotonic() - began), part[int(len(part) * 0.99)]
            print(f"{rate:8.0f} writes/s  p99 {p99 * 1000:6.1f} ms  file {sizes[0] >> 20:5} MB  log {wal >> 20:3} MB")
        held = given.objects * given.bytes >> 20
        written = sum(1 for _ in latencies) * given.bytes >> 20
        print(f"held {held} MB, written {written} MB; largest file {largest[0] >> 20} MB, log {largest[1] >> 20} MB")

    compaction = asyncio.create_task(Compaction(store, position, clock, given.interval).run())  # type: ignore[arg-type]
    try:
        await asyncio.gather(report(), *(write() for _ in range(WRITERS)))
    finally:
        compaction.cancel()
        await asyncio.wait([compaction])
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--bytes", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interval", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(churn(Path(directory) / "state.db", given))


if __name__ == "__main__":
    main()
