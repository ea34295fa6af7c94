"""``/metrics``: the kubelet's own figures, under upstream's names. Pure but for this process's own readings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from ... import KUBERNETES_VERSION, __version__
from ...api.meta import namespace_of
from ..pod.model import RuntimePod
from .exposition import Exposition, Sample, labels
from .machine_files import own_process
from .snapshot import FileSystem, NodeSample

_VOLUME: tuple[tuple[str, str, Callable[[FileSystem], int]], ...] = (
    ("available_bytes", "Number of available bytes in the volume", lambda f: f.available),
    ("capacity_bytes", "Capacity in bytes of the volume", lambda f: f.capacity),
    ("inodes", "Maximum number of inodes in the volume", lambda f: f.inodes),
    ("inodes_free", "Number of free inodes in the volume", lambda f: f.inodes_free),
    ("inodes_used", "Number of used inodes in the volume", lambda f: f.inodes_used),
    ("used_bytes", "Number of used bytes in the volume", lambda f: f.used),
)


def operation_type(method: str) -> str:
    """``RunPodSandbox`` as upstream's metrics spell it: ``run_podsandbox``."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", method).lower().replace("pod_sandbox", "podsandbox")


def own_metrics(
    node: NodeSample,
    runtime: Iterable[RuntimePod],
    operations: Mapping[str, int] = MappingProxyType({}),
    failures: Mapping[str, int] = MappingProxyType({}),
) -> bytes:
    out = Exposition()
    pods = list(runtime)
    states = Counter(c.state for pod in pods for c in pod.containers)
    out.family(
        "kubelet_node_name",
        "gauge",
        "[ALPHA] The node's name. The count is always 1.",
        [(labels({"node": node.name}), 1, None)],
    )
    out.family(
        "kubelet_running_pods",
        "gauge",
        "[BETA] Number of pods that have a running pod sandbox",
        [("", sum(any(s.ready for s in pod.sandboxes) for pod in pods), None)],
    )
    out.family(
        "kubelet_running_containers",
        "gauge",
        "[BETA] Number of containers currently running",
        [(labels({"container_state": state}), count, None) for state, count in sorted(states.items())],
    )
    out.family(
        "kubernetes_build_info",
        "gauge",
        "[BETA] A metric with a constant '1' value labeled by version.",
        [(labels({"git_version": KUBERNETES_VERSION, "implementation": f"pybernetes/{__version__}"}), 1, None)],
    )
    for name, text, reading in _VOLUME:
        out.family(f"kubelet_volume_stats_{name}", "gauge", f"[ALPHA] {text}", _claims(node, reading))
    for name, text, counted in (
        ("kubelet_runtime_operations_total", "Cumulative number of runtime operations by operation type.", operations),
        (
            "kubelet_runtime_operations_errors_total",
            "Cumulative number of runtime operation errors by operation type.",
            failures,
        ),
    ):
        out.family(
            name,
            "counter",
            f"[ALPHA] {text}",
            [(labels({"operation_type": operation_type(m)}), count, None) for m, count in sorted(counted.items())],
        )
    own = own_process()
    out.family(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        [("", own.cpu.usage / 1e9, None)],
    )
    out.family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", [("", own.memory.rss, None)])
    return out.render()


def _claims(node: NodeSample, reading: Callable[[FileSystem], int]) -> Iterator[Sample]:
    for pod in node.pods:
        for volume in pod.volumes:
            if volume.claim:
                text = labels({"namespace": namespace_of(pod.pod), "persistentvolumeclaim": volume.claim})
                yield text, reading(volume.usage), None
