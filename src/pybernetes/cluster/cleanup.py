"""Ending everything that belongs to a cluster's nodes, whoever started it: what ``p8s down`` does after the agents stopped.

A process belongs to a node when it lives in the node's network or mount namespace, or in one of the cluster's cgroups.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from ..concurrency import Clock

CGROUP_ROOT = Path("/sys/fs/cgroup")


def cgroup_name(tag: str) -> str:
    """The cgroup, in every hierarchy, under which all of a cluster's pods are."""
    return f"pybernetes-{tag}"


def cgroup_directories(tag: str) -> list[Path]:
    """The cluster's cgroup in each hierarchy (one under v2), where it exists."""
    name = cgroup_name(tag)
    candidates = [CGROUP_ROOT / name, *(d / name for d in CGROUP_ROOT.glob("*") if d.is_dir())]
    return [c for c in candidates if c.is_dir() and not c.is_symlink()]


def _cgroup_processes(tag: str) -> Iterator[int]:
    for top in cgroup_directories(tag):
        for directory, _, _ in os.walk(top):
            try:
                text = Path(directory, "cgroup.procs").read_text()
            except OSError:
                continue  # removed while we walked
            yield from (int(line) for line in text.split())


def _namespace_processes(inodes: set[int]) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        for kind in ("net", "mnt"):
            try:
                if (entry / "ns" / kind).stat().st_ino in inodes:
                    yield int(entry.name)
                    break
            except OSError:
                break  # ended while we looked


def processes_of(tag: str, namespaces: list[Path]) -> set[int]:
    inodes = {path.stat().st_ino for path in namespaces if path.exists()}
    return {*_cgroup_processes(tag), *_namespace_processes(inodes)}


async def end_processes(find: Callable[[], set[int]], clock: Clock, grace: float) -> None:
    """SIGTERM to what ``find`` gives, SIGKILL to what is left after ``grace`` seconds, until nothing is found."""
    deadline = clock.monotonic() + grace
    told: set[int] = set()
    while pids := find():
        late = clock.monotonic() >= deadline
        for pid in pids:
            if late or pid not in told:
                _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
                told.add(pid)
        await clock.sleep(0.05)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # ended between looking and telling


def remove_cgroups(tag: str) -> None:
    """Removes the cluster's empty cgroups, leaves first."""
    for top in cgroup_directories(tag):
        for directory, _, _ in os.walk(top, topdown=False):
            os.rmdir(directory)
