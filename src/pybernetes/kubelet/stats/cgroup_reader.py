"""Reading a cgroup's files, wherever this machine mounts them. A cgroup that is gone reads as nothing."""

from __future__ import annotations

from pathlib import Path

from . import figures
from .figures import Figures

_V1_FILES = {
    "cpuacct": ("cpuacct.usage", "cpuacct.stat"),
    "cpu": ("cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"),
    "memory": (
        "memory.stat",
        "memory.usage_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.kmem.usage_in_bytes",
        "memory.failcnt",
        "memory.oom_control",
    ),
    "pids": ("pids.current", "pids.max", "cgroup.procs"),
    "blkio": ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"),
}
_V2_FILES = (
    "cpu.stat",
    "cpu.max",
    "cpu.weight",
    "memory.current",
    "memory.stat",
    "memory.max",
    "memory.swap.current",
    "memory.swap.max",
    "memory.peak",
    "memory.events",
    "pids.current",
    "pids.max",
    "io.stat",
    "cgroup.procs",
)
# What ``only_cpu_and_memory`` needs, and nothing else.
_BRIEF_V1 = {"cpuacct": ("cpuacct.usage",), "memory": ("memory.stat", "memory.usage_in_bytes", "memory.limit_in_bytes")}
_BRIEF_V2 = ("cpu.stat", "memory.current", "memory.stat", "memory.max", "memory.swap.current")


class CgroupReader:
    def __init__(self, root: Path, version: int) -> None:
        self._root, self.version = root, version

    def read(self, path: str, *, brief: bool = False) -> Figures | None:
        """``path`` is absolute in the hierarchy. None where there is no such cgroup."""
        relative = path.strip("/")
        texts: dict[str, str] = {}
        if self.version == 2:
            directory = self._root / relative
            for name in _BRIEF_V2 if brief else _V2_FILES:
                _read(directory / name, name, texts)
            return figures.from_v2(texts) if texts else None
        for controller, names in (_BRIEF_V1 if brief else _V1_FILES).items():
            directory = self._root / controller / relative
            for name in names:
                _read(directory / name, name, texts)
        return figures.from_v1(texts) if texts else None

    def first_process(self, path: str) -> int:
        """A process of the cgroup, 0 where there is none."""
        base = self._root if self.version == 2 else self._root / "pids"
        texts: dict[str, str] = {}
        _read(base / path.strip("/") / "cgroup.procs", "procs", texts)
        words = texts.get("procs", "").split()
        return int(words[0]) if words else 0


def _read(file: Path, name: str, texts: dict[str, str]) -> None:
    try:
        with open(file, encoding="ascii", errors="replace") as opened:
            texts[name] = opened.read()
    except OSError:
        return
