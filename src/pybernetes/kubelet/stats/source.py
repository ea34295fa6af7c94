"""Reading it all at the moment when somebody asks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...api.meta import Object, name_of, namespace_of, uid_of
from ...api.times import parse_time
from .. import linux
from ..cgroups import ROOT
from ..context import Context
from ..cri import CRIError
from ..node.machine import Machine, meminfo
from ..pod.model import RUNNING, Container, is_static, uses_host_network
from . import machine_files
from .cadvisor import cadvisor_metrics
from .cgroup_reader import CgroupReader
from .disks import DirectoryUsage, file_system
from .exposition import Exposition, labels
from .figures import Figures, interfaces
from .own_metrics import Own, own_metrics
from .resource import resource_metrics
from .snapshot import CgroupSample, ContainerSample, FileSystem, NodeSample, PodSample, VolumeSample
from .summary import summary

if TYPE_CHECKING:
    from ..kubelet import Kubelet

_RATE_OVER = (1.0, 300.0)
"""Seconds between two readings that a CPU rate may be taken over."""
_FIRST_RATE = 0.25
_RUNTIME_KEPT = 10.0
RUNTIME_PATIENCE = 10.0
"""Seconds that the runtime has to say what containers use: eviction waits for it."""


class Stats:
    """Satisfies ``interfaces.StatsSource``."""

    def __init__(self, context: Context, machine: Machine, kubelet: Kubelet) -> None:
        self._context, self._machine, self._kubelet = context, machine, kubelet
        self._clock = context.clock
        self._reader = CgroupReader(ROOT, linux.cgroup_version())
        self._usage = DirectoryUsage(context.clock)
        self._reading = asyncio.Lock()
        self._before: dict[str, tuple[float, int]] = {}
        self._layers: dict[str, FileSystem] = {}
        self._images, self._container_files = FileSystem(), FileSystem()
        self._runtime_read_at = -_RUNTIME_KEPT
        self._probes: Counter[tuple[str, str, str, str, str, str]] = Counter()

    # --- what is served

    async def summary(self, only_cpu_and_memory: bool = False) -> dict[str, Any]:
        if not self._has_rates():
            # The first caller waits a moment for a second reading, instead of somebody reading all day long.
            await self._snapshot(brief=True)
            await self._clock.sleep(_FIRST_RATE)
        node = await self._snapshot(brief=only_cpu_and_memory, disks=not only_cpu_and_memory)
        return summary(node, only_cpu_and_memory=only_cpu_and_memory)

    async def cadvisor_metrics(self) -> bytes:
        node = await self._snapshot()
        version = {
            "cadvisorRevision": "",
            "cadvisorVersion": "",
            "dockerVersion": "",
            "kernelVersion": self._machine.kernel,
            "osVersion": self._machine.os_image,
        }
        return await asyncio.to_thread(cadvisor_metrics, node, version)

    async def resource_metrics(self) -> bytes:
        return resource_metrics(await self._snapshot(brief=True))

    async def metrics(self) -> bytes:
        cri, kubelet = self._context.cri, self._kubelet
        node = await self._snapshot(brief=True, disks=True)
        own = Own(kubelet.cache.pods.values(), cri.operations, cri.failures, meters=self._context.meters)
        own.desired = _by_static(kubelet.pods())
        own.active = _by_static(kubelet.active_pods())
        own.mirrors = own.desired[True]
        return own_metrics(node, own)

    async def probe_metrics(self) -> bytes:
        out = Exposition()
        names = ("container", "namespace", "pod", "pod_uid", "probe_type", "result")
        out.family(
            "prober_probe_total",
            "counter",
            "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.",
            [(labels(dict(zip(names, key, strict=True))), count, None) for key, count in sorted(self._probes.items())],
        )
        return out.render()

    def count_probe(self, kind: str, pod: Object, container: str, result: str) -> None:
        """Told by the prober of every probe."""
        key = (container, namespace_of(pod), name_of(pod), uid_of(pod), kind.capitalize(), result)
        self._probes[key] += 1

    def forget(self, pod: Object) -> None:
        """A pod is gone: so are its counters."""
        uid = uid_of(pod)
        for key in [key for key in self._probes if key[3] == uid]:
            del self._probes[key]

    async def sample(self) -> NodeSample:
        """Everything at this moment, sizes on disk included: what eviction goes by."""
        return await self._snapshot(brief=True, disks=True)

    # --- reading

    async def _snapshot(self, *, brief: bool = False, disks: bool = False) -> NodeSample:
        if disks:
            await self._read_runtime()
        async with self._reading:
            node = await asyncio.to_thread(self._read, self._kubelet.pods(), brief, disks)
        if not brief:
            # A brief reading leaves sandboxes out, and must not forget them.
            alive = {s.path for s in self._all_samples(node)}
            for path in [p for p in self._before if p not in alive]:
                del self._before[path]
        return node

    async def _read_runtime(self) -> None:
        """What only the runtime knows: its image store and the containers' writable layers."""
        now = self._clock.monotonic()
        if now - self._runtime_read_at < _RUNTIME_KEPT:
            return
        # Also where it fails: a shim that hangs holds the runtime's answer, and who asks next must not wait for it as well.
        self._runtime_read_at = now
        cri = self._context.cri
        try:
            stats, store = await asyncio.gather(
                cri.call("ListContainerStats", timeout=RUNTIME_PATIENCE), cri.image_fs_info()
            )
        except CRIError:
            # What was known stays; the runtime's health is told elsewhere.
            return
        self._layers = {
            s["attributes"]["id"]: self._used(s["writable_layer"])
            for s in stats.get("stats", ())
            if s.get("writable_layer")
        }
        images = store.get("image_filesystems", ())
        self._images = self._used(images[0]) if images else FileSystem()
        separate = store.get("container_filesystems", ())
        self._container_files = self._used(separate[0]) if separate else self._images

    def _used(self, usage: Any) -> FileSystem:
        mount = Path((usage.get("fs_id") or {}).get("mountpoint") or "/")
        around = file_system(mount, self._clock.now())
        used, inodes = usage.get("used_bytes") or {}, usage.get("inodes_used") or {}
        return FileSystem(
            around.available,
            around.capacity,
            int(used.get("value", 0)),
            around.inodes,
            around.inodes_free,
            int(inodes.get("value", 0)),
            around.at,
        )

    def _read(self, pods: list[Object], brief: bool, disks: bool) -> NodeSample:
        """In a thread: some thousand small files on a full node."""
        now, settings = self._clock.now(), self._context.settings
        memory = meminfo()
        top = "/" + "/".join(p for p in (settings.cgroup_root.strip("/"), "kubepods") if p)
        whole = self._reader.read("/", brief=brief) or Figures()
        if self._reader.version == 2:
            whole = Figures(whole.cpu, machine_files.whole_memory(memory), whole.io, whole.threads)
        current, maximum = machine_files.processes()
        node = NodeSample(
            settings.node_name,
            now,
            machine_files.boot_time(),
            self._sample("/", whole),
            self._machine.memory,
            self._machine.cpus,
            processes=current,
            max_processes=maximum,
            swap_available=memory.get("SwapFree", 0),
            swap_usage=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
            root=file_system(settings.root_dir, now),
        )
        node.system["kubelet"] = self._sample("kubelet", machine_files.own_process())
        for path in (top, f"{top}/burstable", f"{top}/besteffort"):
            figures = self._reader.read(path, brief=brief)
            if figures is not None:
                node.classes.append(self._sample(path, figures))
        if node.classes and node.classes[0].path == top:
            node.system["pods"] = node.classes[0]
        if not brief:
            node.network = interfaces(machine_files.text("/proc/net/dev"))
            node.default_interface = machine_files.default_interface()
            node.devices = machine_files.block_devices()
        node.pods = [sample for pod in pods if (sample := self._read_pod(pod, brief, disks)) is not None]
        if disks:
            node.images, node.container_files = self._images, self._container_files
            self._usage.forget_others({*self._directories(pods)})
        return node

    def _read_pod(self, pod: Object, brief: bool, disks: bool) -> PodSample | None:
        runtime = self._kubelet.cache.get(uid_of(pod))
        running = [c for c in runtime.containers if c.state == RUNNING]
        sandbox = next((s for s in runtime.sandboxes if s.ready), None)
        if sandbox is None and not running:
            return None
        parent = self._kubelet.cgroups.parent_for(pod)
        started = (pod.get("status") or {}).get("startTime")
        sample = PodSample(
            pod,
            parse_time(started) if started else (sandbox.created_at if sandbox is not None else 0.0),
            host_network=uses_host_network(pod),
        )
        figures = self._reader.read(parent, brief=brief) if parent.endswith(uid_of(pod)) else None
        if figures is not None:
            sample.cgroup = self._sample(parent, figures)
        if sandbox is not None and not brief:
            sample.sandbox_id = sandbox.id
            sample.sandbox_image = self._context.settings.pod_infra_container_image
            path = f"{parent}/{sandbox.id}"
            figures = self._reader.read(path)
            if figures is not None:
                sample.sandbox = self._sample(path, figures)
            process = self._reader.first_process(path)
            if process:
                sample.network = interfaces(machine_files.text(f"/proc/{process}/net/dev"))
        for container in running:
            read = self._read_container(pod, container, parent, brief, disks)
            if read is not None:
                sample.containers.append(read)
        if disks:
            sample.volumes = self._volumes(pod)
            sample.hosts = self._usage.read(self._hosts_file(pod))
        return sample

    def _read_container(
        self, pod: Object, container: Container, parent: str, brief: bool, disks: bool
    ) -> ContainerSample | None:
        path = f"{parent}/{container.id}"
        figures = self._reader.read(path, brief=brief)
        if figures is None:
            return None
        sample = ContainerSample(
            container.name, container.id, container.image, container.started_at, self._sample(path, figures)
        )
        if disks:
            sample.root = self._layers.get(container.id)
            sample.logs = self._usage.read(Path(container.log_path).parent) if container.log_path else None
        return sample

    def _hosts_file(self, pod: Object) -> Path:
        return self._context.settings.pod_dir(uid_of(pod)) / "etc-hosts"

    def _directories(self, pods: list[Object]) -> list[Path]:
        found = [volume for pod in pods for _, volume in self._volume_directories(pod)]
        for pod in pods:
            found.append(self._hosts_file(pod))
            found += [Path(c.log_path).parent for c in self._kubelet.cache.get(uid_of(pod)).containers if c.log_path]
        return found

    def _volume_directories(self, pod: Object) -> list[tuple[str, Path]]:
        """(name, directory) of the volumes that the kubelet made for a pod."""
        root = self._context.settings.pod_dir(uid_of(pod)) / "volumes"
        try:
            return [(v.name, v) for plugin in root.iterdir() if plugin.is_dir() for v in plugin.iterdir()]
        except OSError:
            return []

    def _volumes(self, pod: Object) -> list[VolumeSample]:
        claims = {
            v["name"]: v["persistentVolumeClaim"]["claimName"]
            for v in pod["spec"].get("volumes") or ()
            if "persistentVolumeClaim" in v
        }
        samples = []
        for name, directory in self._volume_directories(pod):
            own = directory.is_mount()
            usage = file_system(directory, self._clock.now()) if own else self._usage.read(directory)
            samples.append(VolumeSample(name, usage, claims.get(name, ""), own))
        return samples

    # --- rates

    def _sample(self, path: str, figures: Figures) -> CgroupSample:
        moment = self._clock.monotonic()
        rate = None
        before = self._before.get(path)
        if before is not None:
            elapsed = moment - before[0]
            if elapsed > 0:
                rate = max(0, int((figures.cpu.usage - before[1]) / elapsed))
            if elapsed < _RATE_OVER[0]:
                # Too soon for a new starting point: the next reading will be measured from the old one.
                return CgroupSample(path, self._clock.now(), figures, rate)
        self._before[path] = moment, figures.cpu.usage
        return CgroupSample(path, self._clock.now(), figures, rate)

    def _has_rates(self) -> bool:
        newest = self._before.get("/")
        return newest is not None and self._clock.monotonic() - newest[0] < _RATE_OVER[1]

    @staticmethod
    def _all_samples(node: NodeSample) -> list[CgroupSample]:
        found = [node.cgroup, *node.classes, *node.system.values()]
        for pod in node.pods:
            found += [s for s in (pod.cgroup, pod.sandbox) if s is not None]
            found += [c.cgroup for c in pod.containers]
        return found


def _by_static(pods: Iterable[Object]) -> dict[bool, int]:
    """How many of them come from the API, and how many from the node itself."""
    found = Counter(is_static(pod) for pod in pods)
    return {static: found[static] for static in (False, True)}
