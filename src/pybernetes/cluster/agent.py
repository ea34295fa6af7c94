"""A node in one process: container runtime, kubelet and its server, service proxy, pod network and DNS (``p8s agent``).

The process first moves into its node's namespaces, while it still has a single thread, and only then imports the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from .layout import Layout, Settings
from .machine import Machine, NodeNetwork, enter

if TYPE_CHECKING:
    from ..client.rest import Client
    from ..concurrency import Clock
    from ..proxy.policies import PolicyProxy


class Component(Protocol):
    """What runs until it is cancelled."""

    async def run(self) -> Any: ...


@click.command()
@click.option("--data-dir", type=click.Path(file_okay=False), default=None, help="The cluster's data directory.")
@click.option("--node", required=True, help="Which of the cluster's nodes to be.")
def command(data_dir: str | None, node: str) -> None:
    """Run a node: runtime, kubelet, proxy and DNS in one process."""
    layout = Layout.of(data_dir)
    settings = Settings.load(layout) or Settings()
    if node not in settings.node_names:
        raise click.ClickException(f"this cluster has no node {node!r}: {', '.join(settings.node_names)}")
    place = Machine(layout, settings).node(node)
    enter(place.netns, place.mount_namespace)
    # gRPC would else take a lock and log a line at every child process; none of our children uses gRPC.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    from ..concurrency.log import configure

    configure()
    import uvloop

    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(run(layout, settings, place))
    sys.exit(0)


async def run(layout: Layout, settings: Settings, place: NodeNetwork) -> None:
    """Runs until SIGTERM; containers go on then."""
    from ..client.kubeconfig import client_from_kubeconfig
    from ..concurrency import RealClock
    from ..kubelet.containerd import Containerd
    from ..kubelet.cri import CRIClient
    from ..kubelet.kubelet import Kubelet
    from ..kubelet.runtime.images import ensure_pause
    from ..kubelet.server.server import KubeletServer
    from .node_settings import containerd_settings, kubelet_server_tls, kubelet_settings

    clock, rng = RealClock(), random.Random()
    directory = layout.node(place.name)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    runtime_settings = containerd_settings(layout, place)
    containerd = Containerd(runtime_settings, clock)
    policies, proxy_client, components = _network(layout, settings, place, clock, rng, runtime_settings.cni_conf_dir)
    async with asyncio.TaskGroup() as group:
        group.create_task(containerd.run())
        for component in components:
            group.create_task(component.run())
        await containerd.ready.wait()
        runtime = CRIClient(runtime_settings.endpoint)
        await ensure_pause(runtime, runtime_settings.socket, clock)
        kubelet_client = client_from_kubeconfig(directory / "kubelet.conf", clock=clock, user_agent="kubelet")
        kubelet = Kubelet(
            kubelet_settings(layout, settings, place, runtime_settings),
            kubelet_client,
            clock=clock,
            rng=rng,
            cri=runtime,
        )
        kubelet.context.protect = policies.isolate
        group.create_task(kubelet.run())
        tls = kubelet_server_tls(layout, place)
        group.create_task(KubeletServer(kubelet, tls).run())
        if settings.joined_node:
            from .renewal import renewals

            clients = (kubelet_client, proxy_client)
            for manager in renewals(directory, place.name, place.address, clients, tls, clock, rng):
                group.create_task(manager.run())


def _network(
    layout: Layout, settings: Settings, place: NodeNetwork, clock: Clock, rng: random.Random, cni_conf_dir: Path
) -> tuple[PolicyProxy, Client, list[Component]]:
    """The network's components; with them the one of the policies, which the kubelet asks for protection, and their client."""
    from ..client.informer import InformerFactory
    from ..client.kubeconfig import client_from_kubeconfig
    from ..dns.cluster_dns import ClusterDns
    from ..proxy.podnetwork import PodNetwork
    from ..proxy.policies import PolicyProxy
    from ..proxy.proxier import ProxyOptions, ServiceProxy
    from .addons import DNS_PORT
    from .pod_addresses import PodAddresses

    directory = layout.node(place.name)
    proxy_client = client_from_kubeconfig(directory / "proxy.conf", clock=clock, user_agent="kube-proxy")
    factory = InformerFactory(proxy_client, clock, rng)
    dns = ClusterDns(
        proxy_client,
        factory,
        clock,
        host=place.address,
        port=DNS_PORT,
        domain=settings.cluster_domain,
        rng=rng,
        metrics_port=9153,
    )
    options = ProxyOptions(
        service_cidr=settings.service_cidr,
        mode=settings.proxy_mode,
        masquerade_outbound=settings.network != "none",
    )
    proxy = ServiceProxy(
        proxy_client, factory, clock, node_name=place.name, cluster_cidr=settings.pod_cidr, options=options
    )
    policies = PolicyProxy(proxy_client, factory, clock, node_name=place.name)
    network = PodNetwork(factory, clock, node_name=place.name, mode=settings.network)
    addresses = PodAddresses(
        factory,
        node_name=place.name,
        address=place.address,
        directory=cni_conf_dir,
        state=directory / "addresses",
        network=settings.network,
    )
    components: list[Component] = [factory, dns, proxy, policies, network]
    return policies, proxy_client, components if settings.network == "none" else [*components, addresses]
