"""The settings of one node of ``p8s up``: where its runtime and kubelet keep their things."""

from __future__ import annotations

import ssl

from ..kubelet.containerd import ContainerdSettings
from ..kubelet.runtime.images import PAUSE_IMAGE
from ..kubelet.settings import KubeletSettings
from .addons import AGENT_LABEL, dns_address
from .cleanup import cgroup_name
from .layout import Layout, Settings
from .machine import NodeNetwork


def containerd_settings(layout: Layout, place: NodeNetwork) -> ContainerdSettings:
    directory = layout.node(place.name)
    return ContainerdSettings(
        root=directory / "containerd",
        state=layout.run / place.name,
        cni_conf_dir=directory / "cni",
        sandbox_image=PAUSE_IMAGE,
        shared_directories=[directory / "kubelet"],
        registry_config_path=layout.registry_hosts,
    )


def kubelet_settings(
    layout: Layout, settings: Settings, place: NodeNetwork, runtime: ContainerdSettings
) -> KubeletSettings:
    directory = layout.node(place.name)
    return KubeletSettings(
        node_name=place.name,
        # The label kubernetes.io/hostname tells nodes apart; the machine's own name would be the same for all.
        hostname_override=place.name,
        root_dir=directory / "kubelet",
        pod_logs_dir=directory / "logs" / "pods",
        container_logs_dir=directory / "logs" / "containers",
        container_runtime_endpoint=runtime.endpoint,
        node_ips=(place.address,),
        node_labels={AGENT_LABEL: "true"},
        cluster_dns=(dns_address(settings),),
        cluster_domain=settings.cluster_domain,
        cgroup_root=f"/{cgroup_name(layout.tag)}/{place.name}",
        pod_infra_container_image=PAUSE_IMAGE,
    )


def kubelet_server_tls(layout: Layout, place: NodeNetwork) -> ssl.SSLContext:
    """Shows the node's serving certificate; client certificates of the cluster's authority are asked for, tokens do too."""
    directory = layout.node(place.name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "kubelet.crt", directory / "kubelet.key")
    context.load_verify_locations(layout.pki / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
