"""``/metrics``: the kubelet's own figures, under upstream's names. Pure but for this process's own readings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ... import KUBERNETES_VERSION, __version__
from ...api.meta import namespace_of
from ..meters import FAMILIES, Family, Meters
from ..pod.model import RuntimePod
from .exposition import Exposition, Sample, labels
from .machine_files import own_descriptors, own_process, own_start_time, own_virtual_memory
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


@dataclass(slots=True)
class Own:
    """What the kubelet knows of itself at the moment of a scrape."""

    runtime: Iterable[RuntimePod] = ()
    operations: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    desired: Mapping[bool, int] = field(default_factory=dict)
    """Pods that the kubelet works on: static ones or not."""
    active: Mapping[bool, int] = field(default_factory=dict)
    mirrors: int = 0
    meters: Meters = field(default_factory=Meters)


def own_metrics(node: NodeSample, own: Own) -> bytes:
    out = Exposition()
    version = {"git_version": KUBERNETES_VERSION, "implementation": f"pybernetes/{__version__}"}
    _one(out, "kubelet_node_name", "[ALPHA] The node's name. The count is always 1.", 1, {"node": node.name})
    _pods(out, own)
    text = "[BETA] A metric with a constant '1' value labeled by version."
    _one(out, "kubernetes_build_info", text, 1, version)
    for name, text, reading in _VOLUME:
        out.family(f"kubelet_volume_stats_{name}", "gauge", f"[ALPHA] {text}", _claims(node, reading))
    for name, text, counted in (
        ("total", "Cumulative number of runtime operations by operation type.", own.operations),
        ("errors_total", "Cumulative number of runtime operation errors by operation type.", own.failures),
    ):
        samples = [(labels({"operation_type": operation_type(m)}), n, None) for m, n in sorted(counted.items())]
        out.family(f"kubelet_runtime_operations_{name}", "counter", f"[ALPHA] {text}", samples)
    _meters(out, own.meters)
    _process(out)
    return out.render()


def _one(out: Exposition, name: str, text: str, value: float | int, names: Mapping[str, str] | None = None) -> None:
    out.family(name, "gauge", text, [(labels(names or {}), value, None)])


def _pods(out: Exposition, own: Own) -> None:
    pods = list(own.runtime)
    states = Counter(c.state for pod in pods for c in pod.containers)
    running = sum(any(s.ready for s in pod.sandboxes) for pod in pods)
    _one(out, "kubelet_running_pods", "[BETA] Number of pods that have a running pod sandbox", running)
    text = "[BETA] Number of containers currently running"
    samples: list[Sample] = [(labels({"container_state": s}), n, None) for s, n in sorted(states.items())]
    out.family("kubelet_running_containers", "gauge", text, samples)
    for name, text, counted in (
        ("kubelet_desired_pods", "The number of pods the kubelet is being instructed to run.", own.desired),
        ("kubelet_active_pods", "The number of pods the kubelet considers active.", own.active),
    ):
        samples = [(labels({"static": "true" if s else ""}), n, None) for s, n in sorted(counted.items())]
        out.family(name, "gauge", f"[ALPHA] {text}", samples)
    text = "[ALPHA] The number of mirror pods the kubelet will try to create (one per admitted static pod)"
    _one(out, "kubelet_mirror_pods", text, own.mirrors)


def _meters(out: Exposition, meters: Meters) -> None:
    for family in FAMILIES.values():
        text = f"[ALPHA] {family.text}"
        if family.bounds:
            out.histogram(family.name, text, _timed(family, meters))
            continue
        samples: list[Sample] = [
            (labels(dict(zip(family.labels, values, strict=True))), number, None)
            for values, number in sorted(meters.counted(family).items())
        ]
        out.family(family.name, "counter", text, samples)


def _timed(family: Family, meters: Meters) -> Iterator[tuple[str, Sample]]:
    """(suffix of the name, sample) of a histogram's lines."""
    for values, buckets, total in meters.timed(family):
        named = dict(zip(family.labels, values, strict=True))
        for edge, number in buckets:
            yield "_bucket", (labels({**named, "le": edge}), number, None)
        yield "_sum", (labels(named), total, None)
        yield "_count", (labels(named), buckets[-1][1], None)


def _process(out: Exposition) -> None:
    process = own_process()
    text = "Total user and system CPU time spent in seconds."
    out.family("process_cpu_seconds_total", "counter", text, [("", process.cpu.usage / 1e9, None)])
    _one(out, "process_resident_memory_bytes", "Resident memory size in bytes.", process.memory.rss)
    _one(out, "process_virtual_memory_bytes", "Virtual memory size in bytes.", own_virtual_memory())
    _one(out, "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", own_start_time())
    used, most = own_descriptors()
    _one(out, "process_open_fds", "Number of open file descriptors.", used)
    _one(out, "process_max_fds", "Maximum number of open file descriptors.", most)


def _claims(node: NodeSample, reading: Callable[[FileSystem], int]) -> Iterator[Sample]:
    for pod in node.pods:
        for volume in pod.volumes:
            if volume.claim:
                text = labels({"namespace": namespace_of(pod.pod), "persistentvolumeclaim": volume.claim})
                yield text, reading(volume.usage), None
