"""``/metrics/cadvisor``: the names and labels that dashboards and alerts are written against. Pure.

A row is one cgroup: the node, the classes, the pods, the sandboxes and the containers, told apart by labels: containers have
``container`` and ``image``, sandboxes have ``image`` alone (and the pod's network), pods and what is above have neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ...api.meta import name_of, namespace_of
from .exposition import Exposition, Sample, labels
from .figures import DeviceIo, Figures, Interface
from .snapshot import CgroupSample, NodeSample, PodSample

_SECOND = 1_000_000_000


@dataclass(slots=True)
class _Row:
    names: dict[str, str]
    sample: CgroupSample
    started_at: float
    network: tuple[Interface, ...] = ()
    _plain: str = ""

    @property
    def text(self) -> str:
        if not self._plain:
            self._plain = labels(self.names)
        return self._plain

    def with_labels(self, **more: str) -> str:
        return labels(dict(sorted({**self.names, **more}.items())))


def _names(
    path: str, *, container: str = "", image: str = "", name: str = "", pod: PodSample | None = None
) -> dict[str, str]:
    return {
        "container": container,
        "id": path or "/",
        "image": image,
        "name": name,
        "namespace": namespace_of(pod.pod) if pod is not None else "",
        "pod": name_of(pod.pod) if pod is not None else "",
    }


def _rows(node: NodeSample) -> Iterator[_Row]:
    yield _Row(_names("/"), node.cgroup, node.booted_at, node.network)
    for sample in node.classes:
        yield _Row(_names(sample.path), sample, node.booted_at)
    for pod in node.pods:
        if pod.cgroup is not None:
            yield _Row(_names(pod.cgroup.path, pod=pod), pod.cgroup, pod.started_at)
        if pod.sandbox is not None:
            names = _names(pod.sandbox.path, image=pod.sandbox_image, name=pod.sandbox_id, pod=pod)
            yield _Row(names, pod.sandbox, pod.started_at, () if pod.host_network else pod.network)
        for container in pod.containers:
            names = _names(
                container.cgroup.path, container=container.name, image=container.image, name=container.id, pod=pod
            )
            yield _Row(names, container.cgroup, container.started_at)


Reading = Callable[[Figures], float | int]

_COUNTERS: tuple[tuple[str, str, Reading], ...] = (
    (
        "container_cpu_user_seconds_total",
        "Cumulative user cpu time consumed in seconds.",
        lambda f: f.cpu.user / _SECOND,
    ),
    (
        "container_cpu_system_seconds_total",
        "Cumulative system cpu time consumed in seconds.",
        lambda f: f.cpu.system / _SECOND,
    ),
    ("container_memory_failcnt", "Number of memory usage hits limits", lambda f: f.memory.failures),
    (
        "container_oom_events_total",
        "Count of out of memory events observed for the container",
        lambda f: f.memory.oom_kills,
    ),
)
_LIMITED: tuple[tuple[str, str, Reading], ...] = (
    ("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", lambda f: f.cpu.periods),
    (
        "container_cpu_cfs_throttled_periods_total",
        "Number of throttled period intervals.",
        lambda f: f.cpu.throttled_periods,
    ),
    (
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        lambda f: f.cpu.throttled / _SECOND,
    ),
)
_GAUGES: tuple[tuple[str, str, Reading], ...] = (
    ("container_memory_cache", "Number of bytes of page cache memory.", lambda f: f.memory.cache),
    ("container_memory_kernel_usage", "Size of kernel memory allocated in bytes.", lambda f: f.memory.kernel),
    ("container_memory_mapped_file", "Size of memory mapped files in bytes.", lambda f: f.memory.mapped_file),
    ("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", lambda f: f.memory.max_usage),
    ("container_memory_rss", "Size of RSS in bytes.", lambda f: f.memory.rss),
    ("container_memory_swap", "Container swap usage in bytes.", lambda f: f.memory.swap),
    ("container_memory_total_active_file_bytes", "Current total active file in bytes.", lambda f: f.memory.active_file),
    (
        "container_memory_total_inactive_file_bytes",
        "Current total inactive file in bytes.",
        lambda f: f.memory.inactive_file,
    ),
    (
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        lambda f: f.memory.usage,
    ),
    ("container_memory_working_set_bytes", "Current working set in bytes.", lambda f: f.memory.working_set),
    ("container_processes", "Number of processes running inside the container.", lambda f: f.processes),
    ("container_spec_cpu_period", "CPU period of the container.", lambda f: f.cpu.period),
    ("container_spec_cpu_shares", "CPU share of the container.", lambda f: f.cpu.shares),
    ("container_spec_memory_limit_bytes", "Memory limit for the container.", lambda f: f.memory.limit),
    ("container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container.", lambda f: 0),
    ("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.", lambda f: f.memory.swap_limit),
    ("container_threads", "Number of threads running inside the container", lambda f: f.threads),
    (
        "container_threads_max",
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        lambda f: f.threads_max,
    ),
)
_NETWORK: tuple[tuple[str, str, Callable[[Interface], int]], ...] = (
    ("receive_bytes", "Cumulative count of bytes received", lambda i: i.rx_bytes),
    ("receive_errors", "Cumulative count of errors encountered while receiving", lambda i: i.rx_errors),
    ("receive_packets_dropped", "Cumulative count of packets dropped while receiving", lambda i: i.rx_dropped),
    ("receive_packets", "Cumulative count of packets received", lambda i: i.rx_packets),
    ("transmit_bytes", "Cumulative count of bytes transmitted", lambda i: i.tx_bytes),
    ("transmit_errors", "Cumulative count of errors encountered while transmitting", lambda i: i.tx_errors),
    ("transmit_packets_dropped", "Cumulative count of packets dropped while transmitting", lambda i: i.tx_dropped),
    ("transmit_packets", "Cumulative count of packets transmitted", lambda i: i.tx_packets),
)
_DISK: tuple[tuple[str, str, Callable[[DeviceIo], int]], ...] = (
    ("container_fs_reads_bytes_total", "Cumulative count of bytes read", lambda d: d.read_bytes),
    ("container_fs_reads_total", "Cumulative count of reads completed", lambda d: d.reads),
    ("container_fs_writes_bytes_total", "Cumulative count of bytes written", lambda d: d.written_bytes),
    ("container_fs_writes_total", "Cumulative count of writes completed", lambda d: d.writes),
)


def cadvisor_metrics(node: NodeSample, version: dict[str, str]) -> bytes:
    rows = list(_rows(node))
    out = Exposition()
    out.family(
        "cadvisor_version_info",
        "gauge",
        "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
        [(labels(version), 1, None)],
    )
    out.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed in seconds.",
        ((row.with_labels(cpu="total"), row.sample.figures.cpu.usage / _SECOND, row.sample.at) for row in rows),
    )
    for name, text, reading in _COUNTERS:
        out.family(name, "counter", text, _each(rows, reading))
    limited = [row for row in rows if row.sample.figures.cpu.quota > 0]
    for name, text, reading in _LIMITED:
        out.family(name, "counter", text, _each(limited, reading))
    for name, text, reading in _GAUGES:
        out.family(name, "gauge", text, _each(rows, reading))
    out.family(
        "container_spec_cpu_quota", "gauge", "CPU quota of the container.", _each(limited, lambda f: f.cpu.quota)
    )
    _events(out, rows)
    _devices(out, rows, node)
    _network(out, rows)
    _machine(out, node)
    return out.render()


def _each(rows: Iterable[_Row], reading: Reading) -> Iterator[Sample]:
    return ((row.text, reading(row.sample.figures), row.sample.at) for row in rows)


def _events(out: Exposition, rows: list[_Row]) -> None:
    def failures() -> Iterator[Sample]:
        for row in rows:
            memory = row.sample.figures.memory
            for kind, count in (("pgfault", memory.page_faults), ("pgmajfault", memory.major_page_faults)):
                yield row.with_labels(failure_type=kind, scope="container"), count, row.sample.at
                yield row.with_labels(failure_type=kind, scope="hierarchy"), count, row.sample.at

    out.family(
        "container_memory_failures_total", "counter", "Cumulative count of memory allocation failures.", failures()
    )
    out.family(
        "container_last_seen",
        "gauge",
        "Last time a container was seen by the exporter",
        ((row.text, float(int(row.sample.at)), row.sample.at) for row in rows),
    )
    out.family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds.",
        ((row.text, float(int(row.started_at)), None) for row in rows),
    )


def _devices(out: Exposition, rows: list[_Row], node: NodeSample) -> None:
    for name, text, count in _DISK:
        out.family(
            name,
            "counter",
            text,
            (
                (row.with_labels(device=node.devices.get(io.device, "")), count(io), row.sample.at)
                for row in rows
                for io in row.sample.figures.io
            ),
        )

    def operations() -> Iterator[Sample]:
        for row in rows:
            for io in row.sample.figures.io:
                major, _, minor = io.device.partition(":")
                for operation, value in (("Read", io.read_bytes), ("Write", io.written_bytes)):
                    text = row.with_labels(
                        device=node.devices.get(io.device, ""), major=major, minor=minor, operation=operation
                    )
                    yield text, value, row.sample.at

    out.family("container_blkio_device_usage_total", "counter", "Blkio Device bytes usage", operations())
    whole = rows[0].with_labels(device="/")
    root = node.root
    for name, text, value in (
        ("container_fs_inodes_free", "Number of available Inodes", root.inodes_free),
        ("container_fs_inodes_total", "Number of Inodes", root.inodes),
        (
            "container_fs_limit_bytes",
            "Number of bytes that can be consumed by the container on this filesystem.",
            root.capacity,
        ),
        (
            "container_fs_usage_bytes",
            "Number of bytes that are consumed by the container on this filesystem.",
            root.used,
        ),
    ):
        out.family(name, "gauge", text, [(whole, value, root.at)])


def _network(out: Exposition, rows: list[_Row]) -> None:
    for name, text, count in _NETWORK:
        out.family(
            f"container_network_{name}_total",
            "counter",
            text,
            (
                (row.with_labels(interface=interface.name), count(interface), row.sample.at)
                for row in rows
                for interface in row.network
            ),
        )


def _machine(out: Exposition, node: NodeSample) -> None:
    out.family(
        "container_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
        [("", 0, None)],
    )
    out.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.", [("", node.cpus, node.at)])
    out.family(
        "machine_memory_bytes",
        "gauge",
        "Amount of memory installed on the machine.",
        [("", node.memory_capacity, node.at)],
    )
    out.family(
        "machine_swap_bytes",
        "gauge",
        "Amount of swap memory available on the machine.",
        [("", node.swap_available + node.swap_usage, node.at)],
    )
