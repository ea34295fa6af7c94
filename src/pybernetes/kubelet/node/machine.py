"""Facts about this machine: read once at the start, from /proc, /sys and /etc."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...api.pod_resources import is_native
from ...api.quantity import BINARY_SI, canonical_quantity, format_quantity, parse_quantity, quantity_value
from ..runtime.archive import go_architecture
from ..settings import KubeletSettings


@dataclass(slots=True)
class Machine:
    """``memory`` in bytes. ``capacity`` and ``allocatable`` are as the Node shows them."""

    cpus: int
    memory: int
    addresses: tuple[str, ...]
    hostname: str
    architecture: str = ""
    kernel: str = ""
    os_image: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    huge_pages: tuple[str, ...] = ()
    huge_page_totals: Mapping[str, int] = field(default_factory=dict)
    huge_page_controller: bool = False
    capacity: dict[str, str] = field(default_factory=dict)
    allocatable: dict[str, str] = field(default_factory=dict)


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes (counts as they are)."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        found[name] = int(words[0]) * (1024 if len(words) > 1 else 1)
    return found


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return "Linux"


def default_addresses() -> tuple[str, ...]:
    """The address by which this machine reaches others (no packet is sent), else the first that is not the loopback."""
    found = []
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
            except OSError:
                continue
            address = probe.getsockname()[0]
            if not address.startswith(("127.", "fe80")) and address != "::1":
                found.append(address)
    return tuple(found[:1]) or ("127.0.0.1",)


def _huge_pages() -> tuple[tuple[str, ...], dict[str, int]]:
    sizes, totals = [], {}
    root = Path("/sys/kernel/mm/hugepages")
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        kilobytes = int(entry.name.removeprefix("hugepages-").removesuffix("kB"))
        shown = format_quantity(kilobytes * 1024, BINARY_SI)
        sizes.append(shown.replace("i", "") + "B")
        totals[f"hugepages-{shown}"] = int(_text(f"{entry}/nr_hugepages") or 0) * kilobytes * 1024
    return tuple(sizes), totals


def read_machine(settings: KubeletSettings) -> Machine:
    memory = meminfo()["MemTotal"]
    sizes, totals = _huge_pages()
    machine = Machine(
        # What this process may use: a kubelet that was given two CPUs cannot give four.
        cpus=len(os.sched_getaffinity(0)),
        memory=memory,
        addresses=settings.node_ips or default_addresses(),
        hostname=settings.hostname_override or socket.gethostname().lower(),
        architecture=go_architecture(platform.machine()),
        kernel=platform.release(),
        os_image=_os_image(),
        machine_id=_text("/etc/machine-id") or _text("/var/lib/dbus/machine-id"),
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or _text("/etc/machine-id"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        huge_pages=sizes,
        huge_page_totals=totals,
        huge_page_controller=Path("/sys/fs/cgroup/hugetlb").is_dir(),
    )
    machine.capacity, machine.allocatable = resources(machine, settings)
    return machine


def _disk(directory: Path) -> int:
    while not directory.exists():
        directory = directory.parent
    status = os.statvfs(directory)
    return status.f_blocks * status.f_frsize


def resources(machine: Machine, settings: KubeletSettings) -> tuple[dict[str, str], dict[str, str]]:
    """(capacity, allocatable): allocatable is less what is reserved, and less what hard eviction keeps free."""
    disk = _disk(settings.root_dir)
    pods = settings.max_pods
    if settings.pods_per_core:
        pods = min(pods, settings.pods_per_core * machine.cpus)
    capacity = {
        "cpu": str(machine.cpus),
        "ephemeral-storage": f"{disk // 1024}Ki",
        **{k: format_quantity(v, BINARY_SI) for k, v in machine.huge_page_totals.items()},
        "memory": f"{machine.memory // 1024}Ki",
        "pods": str(pods),
    }
    kept = _eviction_reserve(settings, disk, machine.memory)
    allocatable = dict(capacity)
    for name in ("cpu", "memory", "ephemeral-storage"):
        reserved = sum(
            (parse_quantity(r[name]) for r in (settings.system_reserved, settings.kube_reserved) if name in r),
            start=Decimal(kept.get(name, 0)),
        )
        left = max(Decimal(0), parse_quantity(capacity[name]) - reserved)
        if name == "memory":
            left = max(Decimal(0), left - sum(machine.huge_page_totals.values()))
            allocatable[name] = f"{int(left) // 1024}Ki"
        else:
            allocatable[name] = format_quantity(left)
    # As the API server will write them: what differs in spelling alone would be reported anew each time.
    return {k: canonical_quantity(v) for k, v in capacity.items()}, {
        k: canonical_quantity(v) for k, v in allocatable.items()
    }


def _eviction_reserve(settings: KubeletSettings, disk: int, memory: int) -> dict[str, int]:
    found = {}
    for signal, name, total in (
        ("memory.available", "memory", memory),
        ("nodefs.available", "ephemeral-storage", disk),
    ):
        value = settings.eviction_hard.get(signal)
        if value:
            found[name] = amount_of(value, total)
    return found


def amount_of(threshold: str, total: int) -> int:
    """A threshold in bytes: a quantity, or a percentage of the whole."""
    if threshold.endswith("%"):
        return int(total * float(threshold[:-1]) / 100)
    return quantity_value(threshold)


def family(addresses: Sequence[str]) -> str:
    return "IPv6" if addresses and ":" in addresses[0] else "IPv4"


def with_extended(machine: Machine, status: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """(capacity, allocatable) with the extended resources that somebody has advertised in the node's capacity.

    Specified by "Advertise Extended Resources for a Node": all of such a capacity is allocatable.
    """
    extended = {name: amount for name, amount in (status.get("capacity") or {}).items() if not is_native(name)}
    return {**extended, **machine.capacity}, {**extended, **machine.allocatable}
