"""``kill -9`` under load: what was acknowledged is there, and nothing is there by half.

``P8S_KILLS`` says how often: a few times in CI, 200 by hand before a release.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys

import pytest

from pybernetes.concurrency import RealClock
from pybernetes.storage.sqlite import SqliteStore

WRITER = """
import asyncio, sys
from pathlib import Path
from pybernetes.concurrency import RealClock
from pybernetes.storage.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]), RealClock())
    await store.open()
    begin = int(sys.argv[2])

    async def write(lane):
        number = begin
        while True:
            number += 1
            value = b"%d:" % number * 200
            await store.put(f"/registry/a/{lane}", value)
            print(lane, number, flush=True)
            if number % 7 == 0:
                await store.put(f"/registry/b/{lane}-{number}", value, expected=0)
                await store.delete(f"/registry/b/{lane}-{number}")

    async def compact():
        while True:
            await asyncio.sleep(0.05)
            await store.compact(await store.current_revision())

    async with asyncio.TaskGroup() as group:
        group.create_task(compact())
        for lane in range(8):
            group.create_task(write(lane))

asyncio.run(main())
"""


async def check(path, acknowledged):
    store = SqliteStore(path, RealClock())
    await store.open()
    try:
        for lane, number in acknowledged.items():
            found = await store.get(f"/registry/a/{lane}")
            assert found is not None
            stored, whole = int(found.value.split(b":")[0]), found.value
            assert whole == b"%d:" % stored * 200, "half a write"
            assert stored >= number, "an acknowledged write is lost"
            acknowledged[lane] = stored
        await store.put("/registry/c/alive", b"x")
    finally:
        await store.close()


KILLS = int(os.environ.get("P8S_KILLS", "5"))


@pytest.mark.timeout(60 + 10 * KILLS)
def test_kill_loop(tmp_path):
    rng = random.Random(5)
    path, acknowledged = tmp_path / "state.db", {}
    for _ in range(KILLS):
        begin = max(acknowledged.values(), default=0)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(begin)], stdout=subprocess.PIPE, text=True
        )
        lines = rng.randrange(50, 2000)
        for line, _ in zip(writer.stdout, range(lines), strict=False):
            lane, number = line.split()
            acknowledged[lane] = int(number)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        writer.wait()
        for line in rest.splitlines(keepends=True):
            if line.endswith("\n"):
                lane, number = line.split()
                acknowledged[lane] = int(number)
        asyncio.run(check(path, acknowledged))
