"""``p8s proxy``: the service proxy of one node on its own, with kube-proxy's flags where they mean the same."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from pathlib import Path
from typing import Any

import click
import yaml

from ..client.kubeconfig import KubeconfigError, client_from_kubeconfig
from ..concurrency import RealClock
from ..concurrency.flags import boolean
from ..concurrency.log import configure
from .modes import MODES

FLAGS = (
    click.option("--config", "config_file", default="", help="KubeProxyConfiguration file; flags have precedence."),
    click.option("--kubeconfig", default="", help="How to reach the API server."),
    click.option("--hostname-override", default="", help="The node's name [the host's]."),
    click.option("--proxy-mode", default="", help="How rules are written: nftables [the default] or iptables."),
    click.option("--cluster-cidr", default="", help="Where all pods' addresses are [10.244.0.0/16]."),
    click.option("--healthz-bind-address", default="", help="Where /healthz and /livez are served [0.0.0.0:10256]."),
    click.option(
        "--metrics-bind-address", default="", help="Where /metrics and /proxyMode are served [127.0.0.1:10249]."
    ),
    click.option("--service-cluster-ip-range", default="", help="Addresses of Services: unused ones are dropped."),
    boolean("--network-policies", default=True, help="Enforce NetworkPolicies too."),
    click.option("--pod-network", default="none", help="How nodes' pods are joined: vxlan, routes or none."),
    boolean("--cleanup", default=False, help="Remove all rules, links and routes of this program, and end."),
    click.option("-v", "--v", "verbosity", type=int, default=0, help="How much to log."),
)
_FROM_FILE = {
    "hostname_override": "hostnameOverride",
    "proxy_mode": "mode",
    "cluster_cidr": "clusterCIDR",
    "healthz_bind_address": "healthzBindAddress",
    "metrics_bind_address": "metricsBindAddress",
}


def merged(flags: dict[str, Any]) -> dict[str, Any]:
    """Flags over the configuration file over defaults. Raises click.ClickException."""
    document: dict[str, Any] = {}
    if flags["config_file"]:
        try:
            document = yaml.safe_load(Path(flags["config_file"]).read_text()) or {}
        except (OSError, yaml.YAMLError) as failure:
            raise click.ClickException(f"cannot read {flags['config_file']}: {failure}") from failure
        if not isinstance(document, dict) or document.get("kind") != "KubeProxyConfiguration":
            raise click.ClickException(f"{flags['config_file']} holds no KubeProxyConfiguration")
    values = dict(flags)
    for flag, key in _FROM_FILE.items():
        values[flag] = values[flag] or document.get(key) or ""
    connection = document.get("clientConnection") or {}
    values["kubeconfig"] = values["kubeconfig"] or connection.get("kubeconfig") or ""
    values["hostname_override"] = values["hostname_override"] or socket.gethostname().lower()
    values["proxy_mode"] = values["proxy_mode"] or "nftables"
    if values["proxy_mode"] not in MODES:
        raise click.ClickException(f"--proxy-mode {values['proxy_mode']}: choose one of {', '.join(MODES)}")
    return values


def endpoint(text: str, host: str, port: int) -> tuple[str, int]:
    """``host:port``, ``host`` or ``:port``; "" is the default, a port of 0 none."""
    if not text:
        return host, port
    name, separator, number = text.rpartition(":")
    try:
        return (name or host, int(number)) if separator else (text, port)
    except ValueError:
        raise click.ClickException(f"{text!r} is no address and port") from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def proxy(**flags: Any) -> None:
    """Run a node's service proxy."""
    configure("debug" if flags["verbosity"] > 3 else "info")
    with contextlib.suppress(asyncio.CancelledError):
        if flags["cleanup"]:
            asyncio.run(cleanup())
            return
        import uvloop

        uvloop.run(run(merged(flags)))


for _flag in reversed(FLAGS):
    proxy = _flag(proxy)


async def cleanup() -> None:
    """Takes away all that this package may have put into the network namespace; what is not ours stays."""
    from . import podnetwork
    from .iptables.backend import remove_leftovers
    from .nft.kernel import Netfilter
    from .nft.writer import TableWriter
    from .policy_table import policy_table
    from .service_table import TableOptions, service_table

    netfilter = Netfilter()
    for table in (service_table(TableOptions("10.244.0.0/16")), policy_table()):
        TableWriter(netfilter, table).remove()
    netfilter.close()
    remove_leftovers()
    await podnetwork.remove()


async def run(values: dict[str, Any]) -> None:
    """Runs until SIGTERM or SIGINT; the rules stay."""
    from ..client.informer import InformerFactory
    from .backend import RulesError
    from .podnetwork import PodNetwork
    from .policies import PolicyProxy
    from .proxier import ProxyOptions, ServiceProxy

    clock = RealClock()
    if not values["kubeconfig"]:
        raise click.ClickException("--kubeconfig is needed")
    try:
        client = client_from_kubeconfig(values["kubeconfig"], clock=clock, user_agent="kube-proxy")
    except (KubeconfigError, OSError) as failure:
        raise click.ClickException(str(failure)) from failure
    healthz = endpoint(values["healthz_bind_address"], "0.0.0.0", 10256)
    metrics = endpoint(values["metrics_bind_address"], "127.0.0.1", 10249)
    options = ProxyOptions(
        service_cidr=values["service_cluster_ip_range"],
        mode=values["proxy_mode"],
        masquerade_outbound=values["pod_network"] != "none",
        healthz_host=healthz[0],
        healthz_port=healthz[1],
        metrics_host=metrics[0],
        metrics_port=metrics[1],
    )
    name, cluster_cidr = values["hostname_override"], values["cluster_cidr"] or "10.244.0.0/16"
    factory = InformerFactory(client, clock)
    try:
        components: list[Any] = [PodNetwork(factory, clock, node_name=name, mode=values["pod_network"])]
        components.append(
            ServiceProxy(client, factory, clock, node_name=name, cluster_cidr=cluster_cidr, options=options)
        )
        if values["network_policies"]:
            components.append(PolicyProxy(client, factory, clock, node_name=name))
    except (ValueError, OSError, RulesError) as failure:
        raise click.ClickException(str(failure)) from failure
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with asyncio.TaskGroup() as group:
        for component in (factory, *components):
            group.create_task(component.run())
