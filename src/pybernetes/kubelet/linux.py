"""Linux as the kubelet uses it: mounts by system call, the mount table, namespaces of cgroups. Nothing here keeps state."""

from __future__ import annotations

import ctypes
import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, *names: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *names[:1])


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError."""
    encoded = [os.fsencode(x) if x else None for x in (source, target, kind)]
    _check(_libc().mount(*encoded, ctypes.c_ulong(flags), os.fsencode(data) if data else None), target)


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2). Raises OSError."""
    _check(_libc().umount2(os.fsencode(target), flags), target)


class Mount(NamedTuple):
    """One line of ``/proc/self/mountinfo``."""

    target: str
    root: str
    kind: str
    source: str
    options: str
    shared: bool


_ESCAPE = re.compile(r"\\([0-7]{3})")


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda m: chr(int(m[1], 8)), text) if "\\" in text else text


def parse_mounts(text: str) -> list[Mount]:
    found = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        first, last = head.split(" "), tail.split(" ")
        shared = any(f.startswith("shared:") for f in first[6:])
        found.append(Mount(_plain(first[4]), _plain(first[3]), last[0], _plain(last[1]), first[5], shared))
    return found


def mounts() -> list[Mount]:
    return parse_mounts(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def is_mount_point(path: str | Path) -> bool:
    real = os.path.realpath(path)
    return any(m.target == real for m in mounts())


def unmount_below(path: str | Path) -> None:
    """Detaches everything mounted at or under ``path``, innermost first."""
    root = os.path.realpath(path)
    targets = [m.target for m in mounts() if m.target == root or m.target.startswith(root + "/")]
    for target in reversed(targets):
        unmount(target, MNT_DETACH)


def make_shared(path: str | Path) -> None:
    """Makes ``path`` a mount point whose mounts travel between mount namespaces (where it is none already)."""
    real = os.path.realpath(path)
    found = next((m for m in reversed(mounts()) if m.target == real), None)
    if found is None:
        mount(real, real, flags=MS_BIND)
    if found is None or not found.shared:
        mount("", real, flags=MS_SHARED)


def cgroup_version() -> int:
    """2 where the unified hierarchy is all there is."""
    return 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1


def hybrid_cgroup2_mounts() -> list[str]:
    """Where a cgroup2 hierarchy is mounted beside cgroup v1 ones (crun refuses to start there)."""
    table = mounts()
    if not any(m.kind == "cgroup" for m in table):
        return []
    return [m.target for m in table if m.kind == "cgroup2"]
