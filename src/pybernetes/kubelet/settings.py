"""The kubelet's settings: upstream's KubeletConfiguration as far as it means something here, with its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class KubeletSettings:
    """Times are seconds. Names are upstream's where upstream has one."""

    node_name: str
    root_dir: Path = Path("/var/lib/kubelet")
    pod_logs_dir: Path = Path("/var/log/pods")
    container_logs_dir: Path | None = Path("/var/log/containers")
    """Where log collectors look for links by container; None makes none."""
    container_runtime_endpoint: str = "unix:///run/containerd/containerd.sock"
    image_service_endpoint: str = ""
    node_ips: tuple[str, ...] = ()
    hostname_override: str = ""
    provider_id: str = ""
    register_node: bool = True
    node_labels: Mapping[str, str] = field(default_factory=dict)
    register_with_taints: tuple[Mapping[str, str], ...] = ()
    register_schedulable: bool = True
    port: int = 10250

    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    hosts_file: Path = Path("/etc/hosts")

    static_pod_path: Path | None = None
    file_check_frequency: float = 20.0
    max_pods: int = 110
    pods_per_core: int = 0
    pod_pids_limit: int = -1
    pod_infra_container_image: str = ""

    cgroup_root: str = "/"
    cgroups_per_qos: bool = True
    cpu_cfs_quota: bool = True
    cpu_cfs_quota_period: float = 0.1
    system_reserved: Mapping[str, str] = field(default_factory=dict)
    kube_reserved: Mapping[str, str] = field(default_factory=dict)
    enforce_node_allocatable: tuple[str, ...] = ("pods",)
    seccomp_default: bool = False
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    fail_swap_on: bool = False

    sync_frequency: float = 60.0
    node_status_update_frequency: float = 10.0
    node_status_report_frequency: float = 300.0
    node_lease_duration_seconds: int = 40
    node_status_max_images: int = 50

    serialize_image_pulls: bool = True
    max_parallel_image_pulls: int = 0
    image_gc_high_threshold: int = 85
    image_gc_low_threshold: int = 80
    image_minimum_gc_age: float = 120.0
    image_maximum_gc_age: float = 0.0
    container_log_max_size: int = 10 << 20
    container_log_max_files: int = 5
    max_crash_backoff: float = 300.0

    eviction_hard: Mapping[str, str] = field(
        default_factory=lambda: {
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "15%",
            "imagefs.inodesFree": "5%",
        }
    )
    eviction_soft: Mapping[str, str] = field(default_factory=dict)
    eviction_soft_grace_period: Mapping[str, float] = field(default_factory=dict)
    eviction_max_pod_grace_period: int = 0
    eviction_minimum_reclaim: Mapping[str, str] = field(default_factory=dict)
    eviction_pressure_transition_period: float = 300.0
    shutdown_grace_period: float = 0.0
    shutdown_grace_period_critical_pods: float = 0.0
    shutdown_grace_period_by_pod_priority: tuple[Mapping[str, int], ...] = ()
    """``priority`` and ``shutdownGracePeriodSeconds`` of each class, in place of the two before."""

    @property
    def pods_dir(self) -> Path:
        return self.root_dir / "pods"

    def pod_dir(self, uid: str) -> Path:
        return self.pods_dir / uid
