"""The settings of all controllers, under the names of upstream's flags. Defaults are upstream's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds. Empty paths mean: not given."""

    concurrent_syncs: Mapping[str, int] = field(default_factory=dict)
    """Workers by controller name, where they differ from the controller's default."""
    cluster_cidr: str = ""
    service_cluster_ip_range: str = ""
    allocate_node_cidrs: bool = False
    node_cidr_mask_size_ipv4: int = 24
    node_cidr_mask_size_ipv6: int = 64
    root_ca_file: str = ""
    service_account_private_key_file: str = ""
    cluster_signing_cert_file: str = ""
    cluster_signing_key_file: str = ""
    cluster_signing_duration: float = 365 * 24 * 3600.0
    kubelet_serving_approval: bool = False
    """Approve the serving certificates that nodes ask for themselves (upstream leaves that to the administrator)."""
    node_monitor_period: float = 5.0
    node_monitor_grace_period: float = 50.0
    node_startup_grace_period: float = 60.0
    node_eviction_rate: float = 0.1
    secondary_node_eviction_rate: float = 0.01
    large_cluster_size_threshold: int = 50
    unhealthy_zone_threshold: float = 0.55
    terminated_pod_gc_threshold: int = 12500
    pod_gc_period: float = 20.0
    resource_quota_sync_period: float = 300.0
    namespace_sync_period: float = 300.0
    legacy_service_account_token_clean_up_period: float = 365 * 24 * 3600.0
    local_volume_directory: str = "/var/lib/pybernetes/volumes"
    """Where the built-in provisioner of the StorageClass ``standard`` makes directories on the nodes."""
    provision_default_storage_class: bool = True
    endpoint_slice_max_endpoints: int = 100

    def workers(self, controller: Any) -> int:
        return self.concurrent_syncs.get(controller.name, controller.workers)
