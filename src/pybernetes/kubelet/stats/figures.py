"""What a cgroup's files say, v1 or v2, in one form. Pure.

Working set is usage less the inactive page cache, as cAdvisor defines it: what cannot be taken back without hurting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Texts = Mapping[str, str]
"""File name (without its controller's directory) -> content; absent files are absent."""

# cgroup v1 says "no limit" by the largest multiple of the page size.
UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Cpu:
    """Nanoseconds since the cgroup was made."""

    usage: int = 0
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0
    quota: int = -1
    """Microseconds a period; -1 is no limit."""
    period: int = 100_000
    shares: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. ``limit`` and ``swap_limit`` 0 mean none."""

    usage: int = 0
    working_set: int = 0
    rss: int = 0
    cache: int = 0
    mapped_file: int = 0
    kernel: int = 0
    swap: int = 0
    max_usage: int = 0
    limit: int = 0
    swap_limit: int = 0
    failures: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    oom_kills: int = 0
    active_file: int = 0
    inactive_file: int = 0


@dataclass(frozen=True, slots=True)
class DeviceIo:
    """One block device, ``major:minor``."""

    device: str
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    cpu: Cpu = field(default_factory=Cpu)
    memory: Memory = field(default_factory=Memory)
    io: tuple[DeviceIo, ...] = ()
    threads: int = 0
    threads_max: int = 0
    processes: int = 0


def pairs(text: str) -> dict[str, int]:
    """``name number`` lines."""
    found = {}
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if number.strip().lstrip("-").isdigit():
            found[name] = int(number)
    return found


def number(texts: Texts, name: str, default: int = 0) -> int:
    """A file of one number; ``max`` and what is absent give the default."""
    text = texts.get(name, "").strip()
    return int(text) if text.lstrip("-").isdigit() else default


def _limit(value: int) -> int:
    return 0 if value <= 0 or value >= UNLIMITED else value


def from_v1(texts: Texts) -> Figures:
    stat = pairs(texts.get("cpu.stat", ""))
    ticks = pairs(texts.get("cpuacct.stat", ""))
    cpu = Cpu(
        number(texts, "cpuacct.usage"),
        ticks.get("user", 0) * 10_000_000,
        ticks.get("system", 0) * 10_000_000,
        stat.get("nr_periods", 0),
        stat.get("nr_throttled", 0),
        stat.get("throttled_time", 0),
        number(texts, "cpu.cfs_quota_us", -1),
        number(texts, "cpu.cfs_period_us", 100_000),
        number(texts, "cpu.shares"),
    )
    memory = pairs(texts.get("memory.stat", ""))
    usage = number(texts, "memory.usage_in_bytes")
    inactive = memory.get("total_inactive_file", 0)
    oom = pairs(texts.get("memory.oom_control", ""))
    return Figures(
        cpu,
        Memory(
            usage=usage,
            working_set=max(0, usage - inactive),
            rss=memory.get("total_rss", 0),
            cache=memory.get("total_cache", 0),
            mapped_file=memory.get("total_mapped_file", 0),
            kernel=number(texts, "memory.kmem.usage_in_bytes"),
            swap=memory.get("total_swap", 0),
            max_usage=number(texts, "memory.max_usage_in_bytes"),
            limit=_limit(number(texts, "memory.limit_in_bytes")),
            swap_limit=_limit(number(texts, "memory.memsw.limit_in_bytes")),
            failures=number(texts, "memory.failcnt"),
            page_faults=memory.get("total_pgfault", 0),
            major_page_faults=memory.get("total_pgmajfault", 0),
            oom_kills=oom.get("oom_kill", 0),
            active_file=memory.get("total_active_file", 0),
            inactive_file=inactive,
        ),
        _io_v1(texts),
        number(texts, "pids.current"),
        number(texts, "pids.max"),
        len(texts.get("cgroup.procs", "").split()),
    )


def _io_v1(texts: Texts) -> tuple[DeviceIo, ...]:
    found: dict[str, dict[str, int]] = {}
    for name, suffix in (
        ("blkio.throttle.io_service_bytes_recursive", "bytes"),
        ("blkio.throttle.io_serviced_recursive", "operations"),
    ):
        for line in texts.get(name, "").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in ("Read", "Write"):
                found.setdefault(words[0], {})[words[1] + suffix] = int(words[2])
    return tuple(
        DeviceIo(
            device,
            values.get("Readbytes", 0),
            values.get("Writebytes", 0),
            values.get("Readoperations", 0),
            values.get("Writeoperations", 0),
        )
        for device, values in found.items()
    )


def from_v2(texts: Texts) -> Figures:
    stat = pairs(texts.get("cpu.stat", ""))
    quota, _, period = texts.get("cpu.max", "max 100000").strip().partition(" ")
    cpu = Cpu(
        stat.get("usage_usec", 0) * 1000,
        stat.get("user_usec", 0) * 1000,
        stat.get("system_usec", 0) * 1000,
        stat.get("nr_periods", 0),
        stat.get("nr_throttled", 0),
        stat.get("throttled_usec", 0) * 1000,
        int(quota) if quota.isdigit() else -1,
        int(period) if period.isdigit() else 100_000,
        _shares_of_weight(number(texts, "cpu.weight", 100)),
    )
    memory = pairs(texts.get("memory.stat", ""))
    events = pairs(texts.get("memory.events", ""))
    usage = number(texts, "memory.current")
    inactive = memory.get("inactive_file", 0)
    limit, swap_limit = _limit(number(texts, "memory.max")), _limit(number(texts, "memory.swap.max"))
    return Figures(
        cpu,
        Memory(
            usage=usage,
            working_set=max(0, usage - inactive),
            rss=memory.get("anon", 0),
            cache=memory.get("file", 0),
            mapped_file=memory.get("file_mapped", 0),
            kernel=memory.get("kernel", memory.get("slab", 0) + memory.get("kernel_stack", 0)),
            swap=number(texts, "memory.swap.current"),
            max_usage=number(texts, "memory.peak"),
            limit=limit,
            # v2 limits swap alone, v1 memory and swap together; cAdvisor gives the sum.
            swap_limit=limit + swap_limit if limit and swap_limit else 0,
            failures=events.get("max", 0),
            page_faults=memory.get("pgfault", 0),
            major_page_faults=memory.get("pgmajfault", 0),
            oom_kills=events.get("oom_kill", 0),
            active_file=memory.get("active_file", 0),
            inactive_file=inactive,
        ),
        _io_v2(texts),
        number(texts, "pids.current"),
        number(texts, "pids.max"),
        len(texts.get("cgroup.procs", "").split()),
    )


def _shares_of_weight(weight: int) -> int:
    """The inverse of the kubelet's conversion of CPU shares to a cgroup v2 weight."""
    return 2 + (weight - 1) * 262142 // 9999 if weight > 0 else 0


def _io_v2(texts: Texts) -> tuple[DeviceIo, ...]:
    found = []
    for line in texts.get("io.stat", "").splitlines():
        device, *words = line.split()
        values = {k: int(v) for k, _, v in (w.partition("=") for w in words) if v.isdigit()}
        found.append(
            DeviceIo(
                device, values.get("rbytes", 0), values.get("wbytes", 0), values.get("rios", 0), values.get("wios", 0)
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Interface:
    """Counters of one network interface, since it was made."""

    name: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


_NOT_COUNTED = ("lo", "veth", "docker", "nerdctl")


def interfaces(text: str, *, all_of_them: bool = False) -> tuple[Interface, ...]:
    """Of /proc/<pid>/net/dev; without the loopback and the host's ends of pods' links, as cAdvisor."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        name, values = name.strip(), rest.split()
        if len(values) < 16 or (not all_of_them and name.startswith(_NOT_COUNTED)):
            continue
        n = [int(v) for v in values]
        found.append(Interface(name, n[0], n[1], n[2], n[3], n[8], n[9], n[10], n[11]))
    return tuple(found)
