"""The cgroups above the runtime's: ``kubepods``, one a QoS class, one a pod. On cgroup v1 a tree a controller, on v2 one tree.

Names and values are upstream's with the cgroupfs driver (``pkg/kubelet/cm``). What a kernel lacks is left out: a controller that is
not mounted cannot be set.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..api.meta import Object, uid_of
from ..api.quantity import quantity_milli, quantity_value
from ..concurrency import logger
from .pod import qos
from .pod.model import all_containers_of
from .pod.resize import Change

log = logger("kubelet.cgroups")

ROOT = Path("/sys/fs/cgroup")
_V1 = (
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "pids",
    "blkio",
    "devices",
    "freezer",
    "hugetlb",
    "net_cls",
    "perf_event",
    "systemd",
)
_V2 = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")
_CLASSES = {qos.GUARANTEED: "", "Burstable": "burstable", qos.BEST_EFFORT: "besteffort"}


class Cgroups:
    """``parent`` is where ``kubepods`` is made (a node that shares its machine has a parent of its own)."""

    def __init__(
        self, parent: str, *, version: int, pids_limit: int = -1, root: Path = ROOT, per_qos: bool = True
    ) -> None:
        self._parent, self._version, self._root = parent.strip("/"), version, root
        self._pids_limit, self._per_qos = pids_limit, per_qos
        self._made: set[str] = set()
        """Pods whose cgroups this process has made or checked."""
        if version == 2:
            self._trees = {"": root}
        else:
            # Controllers may be mounted together under one name and linked from the others.
            found = {name: root / name for name in _V1 if (root / name).is_dir()}
            unique = {os.path.realpath(path): name for name, path in reversed(found.items())}
            self._trees = {name: Path(path) for path, name in unique.items()}
            self._named = found

    def parent_for(self, pod: Object) -> str:
        """The absolute cgroup path that the runtime puts the pod's containers under."""
        if not self._per_qos:
            return "/" + self._parent if self._parent else ""
        parts = [self._parent, "kubepods", _CLASSES[qos.qos_class(pod)], f"pod{uid_of(pod)}"]
        return "/" + "/".join(p for p in parts if p)

    @property
    def _top(self) -> str:
        return "/".join(p for p in (self._parent, "kubepods") if p)

    # -- making ----------------------------------------------------------------------------------------------------

    def ensure_top(self, allocatable: Mapping[str, Any]) -> None:
        """``kubepods`` with the node's allocatable as its limit, and the classes below it."""
        if not self._per_qos:
            return
        self._make(self._top)
        for name in ("burstable", "besteffort"):
            self._make(f"{self._top}/{name}")
        memory = quantity_value(allocatable.get("memory", 0))
        shares = qos.milli_cpu_to_shares(quantity_milli(allocatable.get("cpu", 0)))
        self._apply(self._top, {"cpu_shares": shares, "memory_limit_in_bytes": memory})
        self._apply(f"{self._top}/besteffort", {"cpu_shares": qos.MIN_SHARES})

    def ensure_pod(self, pod: Object, *, growing_only: bool = False) -> None:
        """``growing_only`` leaves limits alone that would become smaller. Raises OSError."""
        if not self._per_qos:
            return
        path = self.parent_for(pod)[1:]
        self._make(path)
        limits = {k: str(v) for k, v in qos.pod_resources(pod, "limits").items()}
        requests = {k: str(v) for k, v in qos.pod_resources(pod, "requests").items()}
        values = qos.linux_resources(requests, _complete_limits(pod, limits))
        if qos.qos_class(pod) == qos.BEST_EFFORT:
            values = {"cpu_shares": qos.MIN_SHARES}
        if growing_only:
            values = {k: v for k, v in values.items() if v == 0 or v >= self._read_limit(path, k)}
        self._apply(path, values | {"pids_limit": self._pids_limit})
        self._made.add(uid_of(pod))

    def _read_limit(self, path: str, key: str) -> int:
        """A limit in force, 0 where there is none (or it is no limit)."""
        names = {
            "cpu_quota": ("cpu.cfs_quota_us", "cpu.max"),
            "memory_limit_in_bytes": ("memory.limit_in_bytes", "memory.max"),
        }
        if key not in names:
            return 0
        file = names[key][self._version == 2]
        tree = self._root if self._version == 2 else self._named.get(file.partition(".")[0])
        if tree is None:
            return 0
        text = (tree / path / file).read_text().split()[0]
        return int(text) if text.isdigit() and int(text) < 1 << 60 else 1 << 62

    async def check_shrinking(self, pod: Object, resized: Sequence[Change]) -> None:
        """Raises OSError where a memory limit is to become smaller than what is in use."""
        for change in resized:
            if not change.memory_shrinks:
                continue
            spec = next(c for c in all_containers_of(pod) if c["name"] == change.name)
            limit = quantity_value(qos.resources_of(spec, "limits").get("memory", 0))
            used = self.container_memory(pod, change.container_id)
            if used is not None and limit and used >= limit:
                text = (
                    f'attempting to set container "{change.name}" memory limit ({limit}) below current usage ({used})'
                )
                raise OSError(errno.EBUSY, f"cannot decrease memory limits: {text}")

    def container_memory(self, pod: Object, container_id: str) -> int | None:
        file = "memory.current" if self._version == 2 else "memory.usage_in_bytes"
        tree = self._root if self._version == 2 else self._named.get("memory")
        if tree is None:
            return None
        path = tree / self.parent_for(pod)[1:] / container_id / file
        return int(path.read_text()) if path.exists() else None

    def exists(self, pod: Object) -> bool:
        return not self._per_qos or uid_of(pod) in self._made

    def set_burstable_shares(self, milli: int) -> None:
        """The burstable class gets what its pods ask for together."""
        if self._per_qos:
            self._apply(f"{self._top}/burstable", {"cpu_shares": qos.milli_cpu_to_shares(milli)})

    def _make(self, path: str) -> None:
        for tree in self._trees.values():
            directory = tree / path
            if directory.is_dir():
                continue
            parts = Path(path).parts
            for depth in range(1, len(parts) + 1):
                step = tree.joinpath(*parts[:depth])
                if not step.is_dir():
                    if self._version == 2:
                        self._delegate(step.parent)
                    step.mkdir(exist_ok=True)
                    _inherit_cpuset(step)

    @staticmethod
    def _delegate(directory: Path) -> None:
        """Hands the controllers on to the children, one by one: an absent one must not cost the others."""
        available = (directory / "cgroup.controllers").read_text().split()
        for name in _V2:
            if name in available:
                _write(directory / "cgroup.subtree_control", f"+{name}")

    def _apply(self, path: str, values: Mapping[str, int]) -> None:
        for file, text in (_files_v2 if self._version == 2 else _files_v1)(values):
            controller = file.partition(".")[0]
            tree = self._root if self._version == 2 else self._named.get(controller)
            if tree is not None:
                _write(tree / path / file, text)

    # -- removing --------------------------------------------------------------------------------------------------

    def remove_pod(self, uid: str) -> None:
        """Removes a pod's cgroups; processes that are still in them are killed. Raises OSError where some do not end."""
        for name in ("", "burstable/", "besteffort/"):
            for tree in self._trees.values():
                directory = tree / self._top / f"{name}pod{uid}"
                if directory.is_dir():
                    remove_tree(directory)
        self._made.discard(uid)

    def remove_all(self) -> None:
        """Removes ``kubepods`` and, where it is the node's own, its parent."""
        for tree in self._trees.values():
            for path in (self._top, self._parent):
                if path and (tree / path).is_dir():
                    remove_tree(tree / path)

    def pod_uids(self) -> set[str]:
        """The pods that have cgroups (also those that nobody knows any more)."""
        found = set()
        for tree in self._trees.values():
            for name in ("", "burstable", "besteffort"):
                directory = tree / self._top / name
                if directory.is_dir():
                    found |= {e.name[3:] for e in os.scandir(directory) if e.is_dir() and e.name.startswith("pod")}
        return found


def _complete_limits(pod: Object, limits: Mapping[str, str]) -> dict[str, str]:
    """Only what every container limits limits the pod."""
    if qos.pod_level(pod):
        return dict(limits)
    containers = pod["spec"].get("containers") or ()
    return {k: v for k, v in limits.items() if all(qos.resources_of(c, "limits").get(k) for c in containers)}


def _files_v1(values: Mapping[str, int]) -> list[tuple[str, str]]:
    names = {
        "cpu_shares": "cpu.shares",
        "cpu_period": "cpu.cfs_period_us",
        "cpu_quota": "cpu.cfs_quota_us",
        "memory_limit_in_bytes": "memory.limit_in_bytes",
        "pids_limit": "pids.max",
    }
    found = []
    for key, file in names.items():
        value = values.get(key)
        if value is None or (key == "pids_limit" and value <= 0):
            continue
        if key in ("cpu_quota", "memory_limit_in_bytes") and value == 0:
            value = -1
        found.append((file, str(value)))
    return found


def _files_v2(values: Mapping[str, int]) -> list[tuple[str, str]]:
    found = []
    if "cpu_shares" in values:
        found.append(("cpu.weight", str(qos.shares_to_weight(values["cpu_shares"]))))
    if "cpu_quota" in values:
        quota = values["cpu_quota"]
        found.append(("cpu.max", f"{quota if quota > 0 else 'max'} {values.get('cpu_period', qos.QUOTA_PERIOD)}"))
    if "memory_limit_in_bytes" in values:
        found.append(("memory.max", str(values["memory_limit_in_bytes"] or "max")))
    if values.get("pids_limit", 0) > 0:
        found.append(("pids.max", str(values["pids_limit"])))
    return found


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except FileNotFoundError:
        return
    except OSError as failure:
        if failure.errno not in (errno.EBUSY, errno.EINVAL, errno.ENOENT, errno.EACCES, errno.EPERM):
            raise
        log.debug("cgroup file not written", file=str(file), value=text, error=failure.strerror)


def _inherit_cpuset(directory: Path) -> None:
    """A new cpuset of cgroup v1 is empty, and nothing can run in it."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = directory / name
        if file.exists() and (directory / "cpuset.cpu_exclusive").exists() and not file.read_text().strip():
            _write(file, (directory.parent / name).read_text().strip())


def remove_tree(directory: Path) -> None:
    """Removes a cgroup and all below it, killing what is still inside."""
    for path, _, _ in os.walk(directory, topdown=False):
        for _ in range(5):
            try:
                os.rmdir(path)
                break
            except FileNotFoundError:
                break
            except OSError as failure:
                if failure.errno != errno.EBUSY:
                    raise
                _kill_inside(Path(path))
        else:
            raise OSError(errno.EBUSY, "cgroup still in use", path)


def _kill_inside(directory: Path) -> None:
    try:
        pids = [int(p) for p in (directory / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([descriptor], [], [], 1.0)
        finally:
            os.close(descriptor)
