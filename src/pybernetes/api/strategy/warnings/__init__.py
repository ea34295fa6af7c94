"""Warnings: what an accepted write should still hear of, sent in Warning headers. Words and order are upstream's."""

from __future__ import annotations

from .cluster import (
    cron_time_zone_warnings,
    csi_driver_warnings,
    job_spec_warnings,
    name_warnings,
    node_warnings,
    quota_warnings,
    resource_slice_warnings,
    runtime_class_warnings,
    secret_warnings,
    service_account_warnings,
    stateful_set_warnings,
    static_suffix_warnings,
)
from .networking import (
    cidr_warnings,
    endpoint_slice_warnings,
    endpoints_warnings,
    ingress_warnings,
    ip_warnings,
    load_balancer_warnings,
    network_policy_warnings,
    service_warnings,
)
from .pods import pod_create_warnings, template_warnings
from .storage import (
    claim_spec_warnings,
    claim_warnings,
    storage_capacity_warnings,
    storage_class_warnings,
    volume_warnings,
)

__all__ = [
    "cidr_warnings",
    "claim_spec_warnings",
    "claim_warnings",
    "cron_time_zone_warnings",
    "csi_driver_warnings",
    "endpoint_slice_warnings",
    "endpoints_warnings",
    "ingress_warnings",
    "ip_warnings",
    "job_spec_warnings",
    "load_balancer_warnings",
    "name_warnings",
    "network_policy_warnings",
    "node_warnings",
    "pod_create_warnings",
    "quota_warnings",
    "resource_slice_warnings",
    "runtime_class_warnings",
    "secret_warnings",
    "service_account_warnings",
    "service_warnings",
    "stateful_set_warnings",
    "static_suffix_warnings",
    "storage_capacity_warnings",
    "storage_class_warnings",
    "template_warnings",
    "volume_warnings",
]
