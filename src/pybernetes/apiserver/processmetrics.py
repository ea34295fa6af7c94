"""The process itself, as every Prometheus client reports it, and what it is a build of. Linux only: read from /proc."""

from __future__ import annotations

import os
import resource as limits
from collections.abc import Iterator
from pathlib import Path

from .. import KUBERNETES_VERSION
from .health import build_info
from .metrics import counter_lines, gauge_lines, head

_ENDLESS = 2**64 - 1
"""What Prometheus clients report where there is no limit."""


def process_lines() -> Iterator[str]:
    times = os.times()
    yield from counter_lines("process_cpu_seconds_total", "CPU time used.", [({}, times.user + times.system)])
    yield from _proc_lines()
    yield from build_lines()


def _proc_lines() -> Iterator[str]:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(os.listdir("/proc/self/fd"))
        stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        boot = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
        received, sent = _network()
    except (OSError, ValueError, IndexError, KeyError, StopIteration):
        return  # not Linux
    gauges = {
        "process_resident_memory_bytes": ("Resident memory.", pages * os.sysconf("SC_PAGE_SIZE")),
        "process_virtual_memory_bytes": ("Virtual memory.", int(stat[20])),
        "process_virtual_memory_max_bytes": ("Limit of virtual memory.", _limit(limits.RLIMIT_AS)),
        "process_open_fds": ("Open file descriptors.", files),
        "process_max_fds": ("Limit of file descriptors.", _limit(limits.RLIMIT_NOFILE)),
    }
    for name, (text, value) in gauges.items():
        yield from gauge_lines(name, text, [({}, value)])
    yield from head("process_start_time_seconds", "gauge", "Start of the process, since the epoch.")
    yield f"process_start_time_seconds {boot + int(stat[19]) / os.sysconf('SC_CLK_TCK')!r}"
    words = "by the network namespace of the process."
    yield from counter_lines("process_network_receive_bytes_total", f"Bytes received {words}", [({}, received)])
    yield from counter_lines("process_network_transmit_bytes_total", f"Bytes sent {words}", [({}, sent)])


def _limit(which: int) -> int:
    found = limits.getrlimit(which)[0]
    return _ENDLESS if found == limits.RLIM_INFINITY else found


def _network() -> tuple[int, int]:
    """Octets in and out, of all IPv4 traffic."""
    rows = [line.split() for line in Path("/proc/self/net/netstat").read_text().splitlines()]
    for names, values in zip(rows, rows[1:], strict=False):
        if names[0] == values[0] == "IpExt:" and not values[1].isalpha():
            found = dict(zip(names[1:], values[1:], strict=False))
            return int(found["InOctets"]), int(found["OutOctets"])
    raise ValueError("no IpExt in /proc/self/net/netstat")


def build_lines() -> Iterator[str]:
    info = build_info()
    labels = {
        "build_date": info["buildDate"], "compiler": info["compiler"], "git_commit": info["gitCommit"],
        "git_tree_state": info["gitTreeState"], "git_version": info["gitVersion"], "go_version": info["goVersion"],
        "major": info["major"], "minor": info["minor"], "platform": info["platform"],
    }  # fmt: skip
    yield from gauge_lines(
        "kubernetes_build_info", "The version that this process is, as /version says.", [(labels, 1)]
    )
    emulation = f"{info['emulationMajor']}.{info['emulationMinor']}"
    least = f"{info['minCompatibilityMajor']}.{info['minCompatibilityMinor']}"
    versions = {"binary": KUBERNETES_VERSION[1:], "component": "kube", "emulation": emulation, "min_compat": least}
    yield from gauge_lines("version_info", "The versions that this process is compatible with.", [(versions, 1)])
