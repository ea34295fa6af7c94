"""The node's own figures, from /proc."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from .figures import Cpu, Figures, Memory

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def boot_time() -> float:
    for line in text("/proc/stat").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def default_interface() -> str:
    for line in text("/proc/net/route").splitlines()[1:]:
        words = line.split()
        if len(words) > 2 and words[1] == "00000000":
            return words[0]
    return ""


def processes() -> tuple[int, int]:
    """(how many there are, how many there may be)."""
    words = text("/proc/loadavg").split()
    current = int(words[3].partition("/")[2]) if len(words) > 3 else 0
    limits = [
        int(t) for name in ("pid_max", "threads-max") if (t := text(f"/proc/sys/kernel/{name}").strip()).isdigit()
    ]
    return current, min(limits, default=0)


def block_devices() -> dict[str, str]:
    """``major:minor`` -> ``/dev/name``."""
    found = {}
    for line in text("/proc/partitions").splitlines()[2:]:
        words = line.split()
        if len(words) == 4:
            found[f"{words[0]}:{words[1]}"] = f"/dev/{words[3]}"
    return found


def whole_memory(meminfo: dict[str, int]) -> Memory:
    """The machine's memory as a cgroup would have it (cgroup v2 has no such figures at its root)."""
    usage = meminfo.get("MemTotal", 0) - meminfo.get("MemFree", 0)
    inactive = meminfo.get("Inactive(file)", 0)
    return Memory(
        usage=usage,
        working_set=max(0, usage - inactive),
        rss=meminfo.get("AnonPages", 0),
        cache=meminfo.get("Cached", 0),
        mapped_file=meminfo.get("Mapped", 0),
        swap=meminfo.get("SwapTotal", 0) - meminfo.get("SwapFree", 0),
        active_file=meminfo.get("Active(file)", 0),
        inactive_file=inactive,
    )


def own_process() -> Figures:
    """This process, as if it had a cgroup to itself."""
    fields = text("/proc/self/stat").rpartition(")")[2].split()
    resident = text("/proc/self/statm").split()
    if len(fields) < 18 or len(resident) < 2:
        return Figures()
    user, system, rss = int(fields[11]) * _TICK, int(fields[12]) * _TICK, int(resident[1]) * _PAGE
    memory = Memory(usage=rss, working_set=rss, rss=rss, page_faults=int(fields[7]), major_page_faults=int(fields[9]))
    return Figures(Cpu(user + system, user, system), memory, threads=int(fields[17]), processes=1)


def own_virtual_memory() -> int:
    return int((text("/proc/self/statm").split() or ["0"])[0]) * _PAGE


def own_start_time() -> float:
    """Since the epoch, in seconds."""
    fields = text("/proc/self/stat").rpartition(")")[2].split()
    return boot_time() + int(fields[19]) / os.sysconf("SC_CLK_TCK") if len(fields) > 19 else 0.0


def own_descriptors() -> tuple[int, int]:
    """(open, most)"""
    return len(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
