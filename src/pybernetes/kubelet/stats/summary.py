"""A snapshot as ``/stats/summary`` gives it (``kubelet/pkg/apis/stats/v1alpha1``). Pure."""

from __future__ import annotations

from typing import Any

from ...api.meta import name_of, namespace_of, uid_of
from ...api.times import to_time
from .figures import Interface
from .snapshot import CgroupSample, ContainerSample, FileSystem, NodeSample, PodSample, VolumeSample


def summary(node: NodeSample, *, only_cpu_and_memory: bool = False) -> dict[str, Any]:
    pods = [_pod(pod, node, brief=only_cpu_and_memory) for pod in node.pods]
    return {"node": _node(node, brief=only_cpu_and_memory), "pods": pods}


def _node(node: NodeSample, *, brief: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "nodeName": node.name,
        "systemContainers": [
            {
                "name": name,
                "startTime": to_time(node.booted_at),
                "cpu": _cpu(sample),
                "memory": _memory(sample, node.memory_capacity),
            }
            for name, sample in node.system.items()
        ],
        "startTime": to_time(node.booted_at),
        "cpu": _cpu(node.cgroup),
        "memory": _memory(node.cgroup, node.memory_capacity),
    }
    if brief:
        return shown
    time = to_time(node.at)
    shown["network"] = _network(node.network, node.default_interface, time)
    shown["fs"] = _files(node.root)
    shown["runtime"] = {"imageFs": _files(node.images), "containerFs": _files(node.container_files)}
    shown["rlimit"] = {"time": time, "maxpid": node.max_processes, "curproc": node.processes}
    shown["swap"] = {"time": time, "swapAvailableBytes": node.swap_available, "swapUsageBytes": node.swap_usage}
    return shown


def _pod(pod: PodSample, node: NodeSample, *, brief: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "podRef": {"name": name_of(pod.pod), "namespace": namespace_of(pod.pod), "uid": uid_of(pod.pod)},
        "startTime": to_time(pod.started_at),
        "containers": [_container(container, brief=brief) for container in pod.containers],
    }
    if pod.cgroup is not None:
        shown["cpu"] = _cpu(pod.cgroup)
        shown["memory"] = _memory(pod.cgroup, 0)
    if brief:
        return shown
    time = to_time(node.at)
    if pod.network and not pod.host_network:
        default = next((i.name for i in pod.network if i.name == "eth0"), pod.network[0].name)
        shown["network"] = _network(pod.network, default, time)
    shown["volume"] = [_volume(volume, pod) for volume in pod.volumes]
    shown["ephemeral-storage"] = _files(_ephemeral(pod, node))
    if pod.cgroup is not None:
        shown["process_stats"] = {"process_count": pod.cgroup.figures.threads}
        shown["swap"] = {"time": time, "swapUsageBytes": pod.cgroup.figures.memory.swap}
    return shown


def _container(container: ContainerSample, *, brief: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": container.name,
        "startTime": to_time(container.started_at),
        "cpu": _cpu(container.cgroup),
        "memory": _memory(container.cgroup, 0),
    }
    if brief:
        return shown
    if container.root is not None:
        shown["rootfs"] = _files(container.root)
    if container.logs is not None:
        shown["logs"] = _files(container.logs)
    shown["swap"] = {"time": to_time(container.cgroup.at), "swapUsageBytes": container.cgroup.figures.memory.swap}
    return shown


def _cpu(sample: CgroupSample) -> dict[str, Any]:
    shown: dict[str, Any] = {"time": to_time(sample.at)}
    if sample.nano_cores is not None:
        shown["usageNanoCores"] = sample.nano_cores
    shown["usageCoreNanoSeconds"] = sample.figures.cpu.usage
    return shown


def _memory(sample: CgroupSample, capacity: int) -> dict[str, Any]:
    memory = sample.figures.memory
    shown: dict[str, Any] = {"time": to_time(sample.at)}
    # What is available is told only where there is a limit to it.
    limit = capacity or memory.limit
    if limit:
        shown["availableBytes"] = max(0, limit - memory.working_set)
    shown |= {
        "usageBytes": memory.usage,
        "workingSetBytes": memory.working_set,
        "rssBytes": memory.rss,
        "pageFaults": memory.page_faults,
        "majorPageFaults": memory.major_page_faults,
    }
    return shown


def _network(interfaces: tuple[Interface, ...], default: str, time: str) -> dict[str, Any]:
    listed = [
        {
            "name": i.name,
            "rxBytes": i.rx_bytes,
            "rxErrors": i.rx_errors,
            "txBytes": i.tx_bytes,
            "txErrors": i.tx_errors,
        }
        for i in interfaces
    ]
    chosen = next((i for i in listed if i["name"] == default), {})
    return {"time": time, **chosen, "interfaces": listed}


def _files(files: FileSystem) -> dict[str, Any]:
    return {
        "time": to_time(files.at),
        "availableBytes": files.available,
        "capacityBytes": files.capacity,
        "usedBytes": files.used,
        "inodesFree": files.inodes_free,
        "inodes": files.inodes,
        "inodesUsed": files.inodes_used,
    }


def _volume(volume: VolumeSample, pod: PodSample) -> dict[str, Any]:
    shown = {**_files(volume.usage), "name": volume.name}
    if volume.claim:
        shown["pvcRef"] = {"name": volume.claim, "namespace": namespace_of(pod.pod)}
    return shown


def _ephemeral(pod: PodSample, node: NodeSample) -> FileSystem:
    """The pod's share of the node's file system: what its containers wrote, their logs, and its volumes on disk."""
    parts = [f for c in pod.containers for f in (c.root, c.logs) if f is not None]
    parts += [v.usage for v in pod.volumes if not v.in_memory and not v.claim]
    parts += [pod.hosts] if pod.hosts is not None else []
    root = node.root
    return FileSystem(
        root.available,
        root.capacity,
        sum(p.used for p in parts),
        root.inodes,
        root.inodes_free,
        sum(p.inodes_used for p in parts),
        node.at,
    )
