"""What was read at one moment: plain values that the views are made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...api.meta import Object
from .figures import Figures, Interface


@dataclass(frozen=True, slots=True)
class FileSystem:
    """Bytes and inodes. ``used`` of a directory is its own, the rest is its file system's."""

    available: int = 0
    capacity: int = 0
    used: int = 0
    inodes: int = 0
    inodes_free: int = 0
    inodes_used: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class CgroupSample:
    """``nano_cores`` is the rate since an earlier sample, None where there is none."""

    path: str
    at: float
    figures: Figures
    nano_cores: int | None = None


@dataclass(slots=True)
class ContainerSample:
    name: str
    id: str
    image: str
    started_at: float
    cgroup: CgroupSample
    root: FileSystem | None = None
    logs: FileSystem | None = None


@dataclass(slots=True)
class VolumeSample:
    name: str
    usage: FileSystem
    claim: str = ""
    """Of a persistent volume: the claim's name."""
    in_memory: bool = False


@dataclass(slots=True)
class PodSample:
    pod: Object
    started_at: float
    cgroup: CgroupSample | None = None
    sandbox: CgroupSample | None = None
    sandbox_id: str = ""
    sandbox_image: str = ""
    network: tuple[Interface, ...] = ()
    host_network: bool = False
    containers: list[ContainerSample] = field(default_factory=list)
    volumes: list[VolumeSample] = field(default_factory=list)
    hosts: FileSystem | None = None
    """Its ``/etc/hosts``, which containers can write: it counts like what they write elsewhere (CVE-2020-8557)."""


@dataclass(slots=True)
class NodeSample:
    name: str
    at: float
    booted_at: float
    cgroup: CgroupSample
    memory_capacity: int
    cpus: int
    network: tuple[Interface, ...] = ()
    default_interface: str = ""
    processes: int = 0
    max_processes: int = 0
    swap_available: int = 0
    swap_usage: int = 0
    root: FileSystem = field(default_factory=FileSystem)
    images: FileSystem = field(default_factory=FileSystem)
    container_files: FileSystem = field(default_factory=FileSystem)
    system: dict[str, CgroupSample] = field(default_factory=dict)
    """``kubelet``, ``pods`` (and ``runtime`` where it is known)."""
    classes: list[CgroupSample] = field(default_factory=list)
    """The cgroups between the root and the pods."""
    pods: list[PodSample] = field(default_factory=list)
    devices: dict[str, str] = field(default_factory=dict)
    """``major:minor`` -> ``/dev/sda``."""
