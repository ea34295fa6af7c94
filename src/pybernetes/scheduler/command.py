"""``p8s scheduler``: the scheduler by itself, with kube-scheduler's flag names, against any API server of v1.36.

Flags of upstream's that mean nothing here are taken and have no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import click

from ..client.kubeconfig import KubeconfigError, client_from_kubeconfig
from ..client.leases import LeaderElector, LeadershipLost
from ..concurrency import Clock, RealClock, tlsflags
from ..concurrency import flags as flags_of_all
from ..concurrency.flags import DURATION, Component, boolean, ignored, logging_format, version_flag
from ..concurrency.log import configure
from .configuration import Configuration, ConfigurationError, load
from .profiles import ProfileError

LEASE_NAMESPACE, LEASE_NAME = "kube-system", "kube-scheduler"

IGNORED = {
    **flags_of_all.IGNORED,
    "--authorization-webhook-cache-authorized-ttl": "nothing is served that needs it",
    "--authorization-webhook-cache-unauthorized-ttl": "nothing is served that needs it",
    "--requestheader-allowed-names": "nothing is served that needs it",
    "--requestheader-extra-headers-prefix": "nothing is served that needs it",
    "--requestheader-group-headers": "nothing is served that needs it",
    "--requestheader-uid-headers": "nothing is served that needs it",
    "--requestheader-username-headers": "nothing is served that needs it",
    "--master": "the address stands in the kubeconfig",
    "--kube-api-content-type": "JSON is spoken",
    "--leader-elect-resource-lock": "it is a Lease",
    "--authentication-kubeconfig": "tokens for /why are reviewed with --kubeconfig",
    "--authentication-skip-lookup": "nothing is served that needs it",
    "--authentication-token-webhook-cache-ttl": "nothing is served that needs it",
    "--authentication-tolerate-lookup-failure": "nothing is served that needs it",
    "--authorization-always-allow-paths": "health and metrics are open, /why never is",
    "--authorization-kubeconfig": "tokens for /why are reviewed with --kubeconfig",
    "--requestheader-client-ca-file": "nothing is served that needs it",
    "--client-ca-file": "nothing is served that needs it",
    "--cert-dir": "no certificate is made",
    "--pod-max-in-unschedulable-pods-duration": "five minutes",
}
"""Flags that are taken so that a manifest of upstream's works unchanged, and why they have no effect."""
NOT_HERE = frozenset(
    [
        "--allow-metric-labels",
        "--allow-metric-labels-manifest",
        "--disabled-metrics",
        "--emulated-version",
        "--min-compatibility-version",
        "--permit-address-sharing",
        "--permit-port-sharing",
        "--tls-curve-preferences",
        "--tls-sni-cert-key",
        "--unsupported-kube-api-over-localhost",
        "--vmodule",
    ]
)
"""Upstream's others: a manifest that relies on them shall not start as if they worked."""


FLAGS: list[Any] = [
    click.option("--config", "config_file", default="", help="KubeSchedulerConfiguration file; the flags on leader election and the kubeconfig have precedence."),
    click.option("--kubeconfig", default="", help="How to reach the API server."),
    boolean("--leader-elect", default=None, help="Act only while holding the lease [yes]."),
    click.option("--leader-elect-lease-duration", type=DURATION, default=None, help="How long a lease holds [15s]."),
    click.option("--leader-elect-renew-deadline", type=DURATION, default=None, help="Give up when not renewed for so long [10s]."),
    click.option("--leader-elect-retry-period", type=DURATION, default=None, help="Between two tries [2s]."),
    click.option("--leader-elect-resource-name", default=None, help=f"The Lease [{LEASE_NAME}]."),
    click.option("--leader-elect-resource-namespace", default=None, help=f"Its namespace [{LEASE_NAMESPACE}]."),
    click.option("--bind-address", default="127.0.0.1", show_default=True, help="Where health and metrics are served."),
    click.option("--secure-port", type=click.IntRange(0, 65535), default=10259, show_default=True, help="Their port; 0: not served."),
    click.option("--tls-cert-file", default="", help="Certificate for them (PEM) [plain HTTP]."),
    click.option("--tls-private-key-file", default="", help="Its key."),
    *tlsflags.FLAGS,
    click.option("--kube-api-qps", type=float, default=None, help="Calls a second at most, 0: no limit [clientConnection.qps, else no limit]."),
    click.option("--kube-api-burst", type=int, default=None, help="Calls at once before that limit counts [100]."),
    click.option("--write-config-to", default="", help="Write the configuration to a file and end."),
    logging_format(),
    version_flag(),
    click.option("-v", "--v", "verbosity", type=int, default=0, help="Above 3: debug messages."),
]  # fmt: skip


def with_flags(command: Any) -> Any:
    for option in ignored(IGNORED):
        command = option(command)
    for option in reversed(FLAGS):
        command = option(command)
    return command


class _Scheduler(Component):
    upstream = NOT_HERE


@click.command(name="scheduler", cls=_Scheduler)
@with_flags
def scheduler(verbosity: int, logging_format: str, **flags: Any) -> None:
    """Run a scheduler (kube-scheduler's flags)."""
    configure("debug" if verbosity > 3 else "info", logging_format)
    import uvloop

    try:
        config = load(flags["config_file"]) if flags["config_file"] else Configuration.default()
        if flags["write_config_to"]:
            write_config(config, flags["write_config_to"])
            return
        with contextlib.suppress(asyncio.CancelledError):
            uvloop.run(serve(config, flags, RealClock(), random.SystemRandom()))
    except LeadershipLost as failure:
        # A fresh process is sure to act on nothing that this one believed.
        raise click.ClickException(f"leaderelection lost: {failure}") from failure
    except (KubeconfigError, ConfigurationError, ProfileError, ValueError, OSError) as failure:
        raise click.ClickException(str(failure)) from failure


def write_config(config: Configuration, path: str) -> None:
    import yaml

    from .configuration import API_VERSION, KIND

    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "parallelism": config.parallelism,
        "percentageOfNodesToScore": config.percentage_of_nodes_to_score or 0,
        "podInitialBackoffSeconds": int(config.initial_backoff),
        "podMaxBackoffSeconds": int(config.maximum_backoff),
        "leaderElection": dict(config.leader_election),
        "clientConnection": dict(config.client_connection),
        "profiles": [dict(p) for p in config.profiles],
    }
    with open(path, "w") as file:
        yaml.safe_dump(document, file, sort_keys=False)


def election(config: Configuration, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Leader election by the flags, then the configuration, then the defaults."""
    given = config.leader_election

    def value(flag: str, key: str, default: Any) -> Any:
        found = flags[flag] if flags[flag] is not None else given.get(key, default)
        return DURATION.convert(found, None, None) if isinstance(default, float) else found

    return {
        "enabled": bool(value("leader_elect", "leaderElect", True)),
        "lease_duration": value("leader_elect_lease_duration", "leaseDuration", 15.0),
        "renew_deadline": value("leader_elect_renew_deadline", "renewDeadline", 10.0),
        "retry_period": value("leader_elect_retry_period", "retryPeriod", 2.0),
        "name": value("leader_elect_resource_name", "resourceName", LEASE_NAME),
        "namespace": value("leader_elect_resource_namespace", "resourceNamespace", LEASE_NAMESPACE),
    }


async def serve(config: Configuration, flags: Mapping[str, Any], clock: Clock, rng: random.Random) -> None:
    """Runs until SIGTERM or SIGINT. Raises LeadershipLost."""
    from .running import Running

    kubeconfig = flags["kubeconfig"] or config.client_connection.get("kubeconfig") or ""
    if not kubeconfig:
        raise ConfigurationError("--kubeconfig (or clientConnection.kubeconfig) is needed to reach the API server")
    client = client_from_kubeconfig(kubeconfig, clock=clock, user_agent="kube-scheduler")
    qps = flags["kube_api_qps"] if flags["kube_api_qps"] is not None else config.client_connection.get("qps")
    burst = flags["kube_api_burst"] or config.client_connection.get("burst") or 100
    running = Running(client, clock, config, rng, qps=float(qps or 0), burst=int(burst))
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    chosen = election(config, flags)
    async with asyncio.TaskGroup() as group:
        if flags["secure_port"]:
            group.create_task(running.serve(flags["bind_address"], flags["secure_port"], _tls(flags)))
        if not chosen.pop("enabled"):
            await running.lead()
            return
        identity = f"{socket.gethostname()}_{os.getpid()}_{rng.getrandbits(32):08x}"
        await LeaderElector(client, clock, identity=identity, rng=rng, **chosen).run(running.lead)


def _tls(flags: Mapping[str, Any]) -> ssl.SSLContext | None:
    if not flags["tls_cert_file"]:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tlsflags.restrict(context, flags)
    context.load_cert_chain(flags["tls_cert_file"], flags["tls_private_key_file"] or None)
    return context
