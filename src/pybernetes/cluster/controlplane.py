"""Controllers, scheduler and add-ons in one process over one set of informers: ``p8s controlplane``, started by ``p8s up``."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import click

from ..client.informer import InformerFactory
from ..client.kubeconfig import client_from_kubeconfig
from ..concurrency import RealClock
from ..concurrency.log import configure
from ..controllers.accounts import identities
from ..controllers.manager import ControllerManager
from ..controllers.settings import Settings as ControllerSettings
from ..scheduler.scheduler import Scheduler
from ..scheduler.slimming import Slimmer
from . import certificates
from .addons import Addons
from .layout import Layout, Settings
from .loadbalancers import LoadBalancers
from .machine import Machine
from .simulated import SimulatedNodes, load_stages


@click.command()
@click.option("--data-dir", type=click.Path(file_okay=False), default=None, help="The cluster's data directory.")
def command(data_dir: str | None) -> None:
    """Run controllers, scheduler and add-ons in one process."""
    configure()
    import uvloop

    layout = Layout.of(data_dir)
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(run(layout, Settings.load(layout) or Settings()))


async def run(layout: Layout, settings: Settings) -> None:
    """Runs until SIGTERM."""
    clock = RealClock()
    controllers = client_from_kubeconfig(
        layout.kubeconfigs / certificates.CONTROLLER_MANAGER.file, clock=clock, user_agent="kube-controller-manager"
    )
    scheduling = client_from_kubeconfig(
        layout.kubeconfigs / certificates.SCHEDULER.file, clock=clock, user_agent="kube-scheduler"
    )
    administering = client_from_kubeconfig(layout.admin_kubeconfig, clock=clock, user_agent="pybernetes-addons")
    scheduler_factory = InformerFactory(scheduling, clock, transforms=Slimmer().transforms)
    addon_factory = InformerFactory(administering, clock)
    scheduler = Scheduler(scheduling, scheduler_factory, clock)
    server = f"https://{Machine(layout, settings).advertised}:{settings.api_port}"
    addons = Addons(administering, addon_factory, clock, settings, server, (layout.pki / "ca.crt").read_bytes())
    balancers = LoadBalancers(administering, addon_factory, clock, settings.load_balancer_cidr)
    # The last two, off by default as upstream's, are what `p8s token` and `p8s join` need.
    chosen = ("*", "bootstrap-signer-controller", "token-cleaner-controller")
    manager = ControllerManager(
        controllers,
        clock,
        settings=controller_settings(layout, settings),
        controllers=chosen,
        identities=identities(layout.kubeconfigs / certificates.CONTROLLER_MANAGER.file, controllers, clock),
        guests=administering,
    )
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.TaskGroup() as group:
        group.create_task(scheduler_factory.run())
        group.create_task(addon_factory.run())
        group.create_task(scheduler.run())
        group.create_task(addons.run())
        if settings.nodes:
            group.create_task(balancers.run())
        group.create_task(manager.run())
        if settings.simulated_nodes:
            stages = load_stages(settings.simulated_stages)
            simulated = SimulatedNodes(administering, clock, settings.simulated_nodes, stages=stages)
            group.create_task(simulated.run())


def controller_settings(layout: Layout, settings: Settings) -> ControllerSettings:
    return ControllerSettings(
        cluster_cidr=settings.pod_cidr,
        service_cluster_ip_range=settings.service_cidr,
        allocate_node_cidrs=True,
        root_ca_file=str(layout.pki / "ca.crt"),
        service_account_private_key_file=str(layout.pki / "sa.key"),
        cluster_signing_cert_file=str(layout.pki / "ca.crt"),
        cluster_signing_key_file=str(layout.pki / "ca.key"),
        kubelet_serving_approval=True,
        local_volume_directory=str(layout.data / "volumes"),
    )
