"""``p8s dns``: a cluster DNS server on its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import click

from ..client.kubeconfig import KubeconfigError, client_from_kubeconfig
from ..concurrency import RealClock
from ..concurrency.log import configure


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kubeconfig", required=True, help="How to reach the API server.")
@click.option("--bind-address", default="0.0.0.0", show_default=True, help="Where to listen, by UDP and TCP.")
@click.option("--port", type=int, default=53, show_default=True, help="The port to listen on.")
@click.option("--cluster-domain", default="cluster.local", show_default=True, help="The domain of the cluster's names.")
@click.option(
    "--resolv-conf", default="/etc/resolv.conf", show_default=True, help="Whose name servers others' names go to."
)
@click.option(
    "--metrics-port", type=int, default=9153, show_default=True, help="Where /metrics is served; 0 for nowhere."
)
@click.option("-v", "--v", "verbosity", type=int, default=0, help="How much to log.")
def dns(
    kubeconfig: str,
    bind_address: str,
    port: int,
    cluster_domain: str,
    resolv_conf: str,
    metrics_port: int,
    verbosity: int,
) -> None:
    """Run a cluster DNS server."""
    configure("debug" if verbosity > 3 else "info")
    import uvloop

    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(run(kubeconfig, bind_address, port, cluster_domain, Path(resolv_conf), metrics_port))


async def run(kubeconfig: str, host: str, port: int, domain: str, resolv_conf: Path, metrics_port: int) -> None:
    """Runs until SIGTERM or SIGINT."""
    from ..client.informer import InformerFactory
    from .cluster_dns import ClusterDns

    clock = RealClock()
    try:
        client = client_from_kubeconfig(kubeconfig, clock=clock, user_agent="pybernetes-dns")
    except (KubeconfigError, OSError) as failure:
        raise click.ClickException(str(failure)) from failure
    factory = InformerFactory(client, clock)
    server = ClusterDns(
        client, factory, clock, host=host, port=port, domain=domain, resolv_conf=resolv_conf, metrics_port=metrics_port
    )
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with asyncio.TaskGroup() as group:
        group.create_task(factory.run())
        group.create_task(server.run())
