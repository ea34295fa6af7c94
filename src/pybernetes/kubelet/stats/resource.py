"""``/metrics/resource``: what metrics-server reads. Names and labels are upstream's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...api.meta import name_of, namespace_of
from .exposition import Exposition, Sample, labels
from .snapshot import CgroupSample, ContainerSample, NodeSample, PodSample

_SECOND = 1_000_000_000


_SWAP_TEXT = "Reported only on non-windows systems"


def resource_metrics(node: NodeSample) -> bytes:
    containers, pods = list(_containers(node)), list(_pods(node))
    of_containers = [(text, c.cgroup) for text, c in containers]
    own = [("", node.cgroup)]
    starts = ((text, float(c.started_at), None) for text, c in containers)
    swap: list[Sample] = [("", node.swap_usage, node.at)]
    families: tuple[tuple[str, str, str, Iterable[Sample]], ...] = (
        ("container_cpu_usage_seconds_total", "counter", _cpu_text("container"), _cpu(of_containers)),
        ("container_memory_working_set_bytes", "gauge", _memory_text("container"), _working_set(of_containers)),
        (
            "container_start_time_seconds",
            "gauge",
            "[STABLE] Start time of the container since unix epoch in seconds",
            starts,
        ),
        ("container_swap_usage_bytes", "gauge", _swap_text("container"), _swap(of_containers)),
        ("node_cpu_usage_seconds_total", "counter", _cpu_text("node"), _cpu(own)),
        ("node_memory_working_set_bytes", "gauge", _memory_text("node"), _working_set(own)),
        ("node_swap_usage_bytes", "gauge", f"[ALPHA] Current swap usage of the node in bytes. {_SWAP_TEXT}", swap),
        ("pod_cpu_usage_seconds_total", "counter", _cpu_text("pod"), _cpu(pods)),
        ("pod_memory_working_set_bytes", "gauge", _memory_text("pod"), _working_set(pods)),
        ("pod_swap_usage_bytes", "gauge", _swap_text("pod"), _swap(pods)),
        (
            "resource_scrape_error",
            "gauge",
            "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
            [("", 0, None)],
        ),
    )
    out = Exposition()
    for name, kind, text, samples in families:
        out.family(name, kind, text, samples)
    return out.render()


def _cpu_text(whose: str) -> str:
    return f"[STABLE] Cumulative cpu time consumed by the {whose} in core-seconds"


def _memory_text(whose: str) -> str:
    return f"[STABLE] Current working set of the {whose} in bytes"


def _swap_text(whose: str) -> str:
    return f"[ALPHA] Current amount of the {whose} swap usage in bytes. {_SWAP_TEXT}"


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
