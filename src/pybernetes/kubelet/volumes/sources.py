"""Volumes that are directories: emptyDir, hostPath, local and hostPath PersistentVolumes. All of it blocks: run in a thread."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...api.meta import Object
from ...api.quantity import quantity_value
from .. import linux
from .payload import VolumeError


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume that can be given to containers. ``managed`` ones are the kubelet's to own and to relabel."""

    path: Path
    read_only: bool = False
    managed: bool = False
    image: str = ""
    """An image volume that the runtime mounts itself."""


def mount_tmpfs(target: Path, size: int, *, mode: int | None = None) -> None:
    """A tmpfs without swap where the kernel can do that (6.3), so that secrets never reach a disk."""
    if linux.is_mount_point(target):
        return
    options = [f"size={size}"] if size > 0 else []
    if mode is not None:
        options.append(f"mode={mode:o}")
    for extra in (["noswap"], []):
        try:
            linux.mount("tmpfs", str(target), "tmpfs", 0, ",".join(options + extra))
            return
        except OSError as failure:
            if failure.errno != errno.EINVAL or not extra:
                raise


def empty_dir(target: Path, source: Mapping[str, Any], memory_limit: int) -> Mounted:
    """``memory_limit``: the most that a memory-backed volume may take (what the pod itself may use).

    Called once for a volume: from then on it is the pod's, with the mode that the pod gives it.
    """
    target.mkdir(parents=True, exist_ok=True)
    medium = source.get("medium") or ""
    if medium == "Memory":
        limit = quantity_value(source.get("sizeLimit") or 0)
        sizes = [s for s in (limit, memory_limit) if s > 0]
        mount_tmpfs(target, min(sizes, default=0), mode=0o777)
    elif medium.startswith("HugePages"):
        if not linux.is_mount_point(target):
            page = medium.partition("-")[2]
            linux.mount("nodev", str(target), "hugetlbfs", 0, f"pagesize={page}" if page else "")
    elif medium:
        raise VolumeError(f'unknown storage medium "{medium}"')
    target.chmod(0o777)
    return Mounted(target, managed=True)


_HOST_PATH_CHECKS = {
    "Directory": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


def host_path(source: Mapping[str, Any], *, read_only: bool = False) -> Mounted:
    path = Path(source.get("path") or "")
    kind = source.get("type") or ""
    if kind == "DirectoryOrCreate":
        if not path.exists():
            path.mkdir(parents=True, mode=0o755)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not path.exists():
            path.touch(mode=0o644)
        kind = "File"
    if kind:
        check, name = _HOST_PATH_CHECKS[kind]
        try:
            fits = check(path.stat().st_mode)
        except FileNotFoundError:
            fits = False
        if not fits:
            raise VolumeError(f"hostPath type check failed: {path} is not a {name}")
    return Mounted(path, read_only)


def persistent_volume(pv: Object, target: Path, *, read_only: bool) -> Mounted:
    """A PersistentVolume of a kind that needs no driver: hostPath in place, local by a bind mount in the pod's directory."""
    spec = pv.get("spec") or {}
    if spec.get("hostPath"):
        return host_path(spec["hostPath"], read_only=read_only)
    if not spec.get("local"):
        kinds = ", ".join(k for k in ("csi", "nfs", "iscsi", "fc") if spec.get(k)) or "of this kind"
        raise VolumeError(
            f"PersistentVolume {pv['metadata']['name']}: volumes {kinds} are not supported by this kubelet"
        )
    source = Path(spec["local"].get("path") or "")
    if not source.exists():
        raise VolumeError(f'path "{source}" does not exist')
    if not source.is_dir():
        return Mounted(source, read_only, managed=True)
    target.mkdir(parents=True, exist_ok=True, mode=0o750)
    if not linux.is_mount_point(target):
        linux.mount(os.path.realpath(source), str(target), flags=linux.MS_BIND | linux.MS_REC)
    return Mounted(target, read_only, managed=True)
