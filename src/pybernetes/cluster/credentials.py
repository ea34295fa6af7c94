"""Which identities a cluster's processes have, and where their kubeconfigs lie."""

from __future__ import annotations

import ipaddress

from ..concurrency import Clock
from . import certificates
from .layout import Layout, Settings
from .machine import Machine, own_addresses


def write_credentials(layout: Layout, settings: Settings, clock: Clock) -> None:
    """Certificates and kubeconfigs that are missing or no longer serve; the rest is left as it is."""
    now = clock.now()
    gateway = Machine(layout, settings).gateway
    names = certificates.server_names(
        node="kubernetes",
        advertise_address=gateway,
        # A machine that joins comes by another of this machine's addresses.
        extra=own_addresses(),
        service_address=str(next(ipaddress.ip_network(settings.service_cidr).hosts())),
        cluster_domain=settings.cluster_domain,
    )
    pki = certificates.ensure_pki(layout.pki, now=now, sans=names)
    local, from_nodes = f"https://127.0.0.1:{settings.api_port}", f"https://{gateway}:{settings.api_port}"
    certificates.ensure_kubeconfig(layout.admin_kubeconfig, pki, certificates.SUPER_ADMIN, local, now=now)
    for identity in (certificates.CONTROLLER_MANAGER, certificates.SCHEDULER):
        certificates.ensure_kubeconfig(layout.kubeconfigs / identity.file, pki, identity, local, now=now)
    for name in settings.node_names:
        directory = layout.node(name)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for identity in (certificates.kubelet_identity(name), certificates.PROXY):
            certificates.ensure_kubeconfig(directory / identity.file, pki, identity, from_nodes, now=now)
        certificate, key = directory / "kubelet.crt", directory / "kubelet.key"
        if not certificate.exists() or not key.exists():
            made = pki.kubelet_serving(name, [Machine(layout, settings).node(name).address], now=now)
            certificates.write_secret(certificate, made[0], 0o644)
            certificates.write_secret(key, made[1])
