"""``p8s scheduler``: the scheduler by itself, with kube-scheduler's flag names, against any API server of v1.36."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

import click

from ..client.informer import InformerFactory
from ..client.kubeconfig import client_from_kubeconfig
from ..client.leases import LeaderElector
from ..concurrency import Clock, RealClock
from ..concurrency.log import configure
from .scheduler import DEFAULT_SCHEDULER, Scheduler

LEASE_NAMESPACE, LEASE_NAME = "kube-system", "kube-scheduler"


@click.command()
@click.option(
    "--kubeconfig", required=True, type=click.Path(exists=True, dir_okay=False), help="How to reach the API server."
)
@click.option(
    "--leader-elect/--no-leader-elect", default=True, show_default=True, help="Act only while holding the lease."
)
@click.option("--v", "verbosity", type=int, default=0, help="Above 3: debug messages.")
def scheduler(kubeconfig: str, leader_elect: bool, verbosity: int) -> None:
    """Run a scheduler (kube-scheduler's flags)."""
    configure("debug" if verbosity > 3 else "info")
    import uvloop

    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(serve(kubeconfig, leader_elect, RealClock()))


async def serve(kubeconfig: str, leader_elect: bool, clock: Clock) -> None:
    """Runs until SIGTERM or SIGINT. Raises LeadershipLost where the lease is lost."""
    client = client_from_kubeconfig(kubeconfig, clock=clock, user_agent="kube-scheduler")
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)

    async def lead() -> None:
        factory = InformerFactory(client, clock)
        placing = Scheduler(client, factory, clock, name=DEFAULT_SCHEDULER)
        async with asyncio.TaskGroup() as group:
            group.create_task(factory.run())
            group.create_task(placing.run())

    if not leader_elect:
        await lead()
        return
    elector = LeaderElector(client, clock, namespace=LEASE_NAMESPACE, name=LEASE_NAME, identity=socket.gethostname())
    await elector.run(lead)
