"""How long until one can work: an API server, a cluster in a test process, a cluster with containers; and what they weigh.

    python bench/startup.py [--containers] [--runs N]

Prints a table and, as its last line, the same as JSON. ``--containers`` needs root; it starts and ends a cluster of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

P8S = [sys.executable, "-m", "pybernetes.cli.main"]
IN_PROCESS = """
import asyncio, time
from pybernetes.testing import start_cluster
async def main():
    for _ in range(2):
        started = time.perf_counter()
        async with start_cluster():
            print(time.perf_counter() - started)
asyncio.run(main())
"""


def in_process() -> tuple[float, float]:
    """(first in a process, second in it): seconds from the call to a Ready node."""
    printed = subprocess.run([sys.executable, "-c", IN_PROCESS], check=True, capture_output=True, text=True).stdout
    first, second = map(float, printed.split())
    return first, second


def help_time() -> float:
    started = time.perf_counter()
    subprocess.run([*P8S, "--help"], check=True, capture_output=True)
    return time.perf_counter() - started


def with_containers() -> dict[str, float]:
    """Seconds to a Ready node, and resident megabytes by process when idle for three seconds."""
    with tempfile.TemporaryDirectory() as directory:
        where = ["--data-dir", f"{directory}/data"]
        try:
            started = time.perf_counter()
            subprocess.run([*P8S, "up", *where, "--api-port", "26443"], check=True, capture_output=True)
            found = {"p8s up to a Ready node, s": time.perf_counter() - started}
            time.sleep(3)
            status = subprocess.run([*P8S, "status", *where], check=True, capture_output=True, text=True).stdout
            for line in status.splitlines()[1:]:
                name, pid = line.split()[:2]
                memory = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                found[f"{name}, idle, MB"] = int(memory[1]) / 1024 if memory else 0.0
            return found
        finally:
            subprocess.run([*P8S, "down", "--purge", *where], check=True, capture_output=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    samples: dict[str, list[float]] = {}
    for _ in range(asked.runs):
        first, second = in_process()
        samples.setdefault("cluster in a test process, first, s", []).append(first)
        samples.setdefault("cluster in a test process, next, s", []).append(second)
        samples.setdefault("p8s --help, s", []).append(help_time())
        for name, value in (with_containers() if asked.containers else {}).items():
            samples.setdefault(name, []).append(value)
    print(f"{'':<40}{'median':>10}{'min':>10}{'max':>10}")
    for name, values in samples.items():
        print(f"{name:<40}{statistics.median(values):>10.3f}{min(values):>10.3f}{max(values):>10.3f}")
    print(json.dumps({name: statistics.median(values) for name, values in samples.items()}))


if __name__ == "__main__":
    asyncio.run(main())
