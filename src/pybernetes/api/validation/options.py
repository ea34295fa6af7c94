"""What a pod check lets pass because a stored object already has it (upstream ratchets: old faults may stay)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PodOptions:
    """All off for a new object. ``is_pod`` tells pods from templates."""

    is_pod: bool = False
    lax_deletion_cost: bool = False
    lax_hugepages: bool = False
    lax_selectors: bool = False
    lax_spread_selectors: bool = False
    lax_node_affinity: bool = False
    lax_token_paths: bool = False
    lax_host_sysctls: bool = False
    lax_match_label_keys: bool = False
    lax_init_resize: bool = False
    lax_volume_devices: bool = False
    any_selinux_change_policy: bool = False
    comparing_tolerations: bool = False
    host_network_users: bool = False


NEW_POD = PodOptions(is_pod=True)
NEW_TEMPLATE = PodOptions()
