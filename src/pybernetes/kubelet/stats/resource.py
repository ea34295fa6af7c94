"""``/metrics/resource``: what metrics-server reads. Names and labels are upstream's. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...api.meta import name_of, namespace_of
from .exposition import Exposition, Sample, labels
from .snapshot import CgroupSample, ContainerSample, NodeSample, PodSample

_SECOND = 1_000_000_000


def resource_metrics(node: NodeSample) -> bytes:
    out = Exposition()
    containers, pods = list(_containers(node)), list(_pods(node))
    own = [("", node.cgroup)]
    out.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        _cpu([(text, c.cgroup) for text, c in containers]),
    )
    out.family(
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
        _working_set([(text, c.cgroup) for text, c in containers]),
    )
    out.family(
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
        ((text, float(c.started_at), None) for text, c in containers),
    )
    out.family(
        "container_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        _swap([(text, c.cgroup) for text, c in containers]),
    )
    out.family(
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        _cpu(own),
    )
    out.family(
        "node_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the node in bytes",
        _working_set(own),
    )
    out.family(
        "node_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
        [("", node.swap_usage, node.at)],
    )
    out.family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        _cpu(pods),
    )
    out.family(
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
        _working_set(pods),
    )
    out.family(
        "pod_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
        _swap(pods),
    )
    out.family(
        "resource_scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        [("", 0, None)],
    )
    return out.render()


def _pod_labels(pod: PodSample) -> dict[str, str]:
    return {"namespace": namespace_of(pod.pod), "pod": name_of(pod.pod)}


def _containers(node: NodeSample) -> Iterator[tuple[str, ContainerSample]]:
    for pod in node.pods:
        for container in pod.containers:
            yield labels({"container": container.name, **_pod_labels(pod)}), container


def _pods(node: NodeSample) -> Iterator[tuple[str, CgroupSample]]:
    for pod in node.pods:
        if pod.cgroup is not None:
            yield labels(_pod_labels(pod)), pod.cgroup


def _cpu(samples: list[tuple[str, CgroupSample]]) -> Iterator[Sample]:
    return ((text, s.figures.cpu.usage / _SECOND, s.at) for text, s in samples)


def _working_set(samples: list[tuple[str, CgroupSample]]) -> Iterator[Sample]:
    return ((text, s.figures.memory.working_set, s.at) for text, s in samples)


def _swap(samples: list[tuple[str, CgroupSample]]) -> Iterator[Sample]:
    return ((text, s.figures.memory.swap, s.at) for text, s in samples)
