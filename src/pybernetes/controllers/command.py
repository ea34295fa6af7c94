"""``p8s controller-manager``: the controllers by themselves, with kube-controller-manager's flag names.

It works on any conformant API server: ours or another. Flags of upstream's that mean nothing here are taken and have no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl
from dataclasses import fields
from typing import Any

import click

import pybernetes

from ..api.schema.scalars import format_duration
from ..client.kubeconfig import KubeconfigError, client_from_kubeconfig
from ..client.leases import LeadershipLost
from ..concurrency import Clock, RealClock, tlsflags
from ..concurrency import flags as flags_of_all
from ..concurrency.flags import DURATION, Component, boolean, ignored, logging_format, version_flag
from ..concurrency.log import configure
from .registry import UnknownController
from .settings import Settings

CONCURRENCY = {
    "cron-job": "cronjob-controller",
    "daemonset": "daemonset-controller",
    "deployment": "deployment-controller",
    "endpoint": "endpoints-controller",
    "ephemeralvolume": "ephemeral-volume-controller",
    "gc": "garbage-collector-controller",
    "job": "job-controller",
    "namespace": "namespace-controller",
    "rc": "replicationcontroller-controller",
    "replicaset": "replicaset-controller",
    "resource-quota": "resourcequota-controller",
    "service-endpoint": "endpointslice-controller",
    "serviceaccount-token": "serviceaccount-token-controller",
    "statefulset": "statefulset-controller",
    "ttl-after-finished": "ttl-after-finished-controller",
}
"""``--concurrent-<key>-syncs`` -> the controller whose workers it counts."""

IGNORED = {
    **flags_of_all.IGNORED,
    "--authentication-skip-lookup": "nothing is served that needs it",
    "--authentication-token-webhook-cache-ttl": "nothing is served that needs it",
    "--authentication-tolerate-lookup-failure": "nothing is served that needs it",
    "--authorization-always-allow-paths": "health and metrics are open",
    "--authorization-webhook-cache-authorized-ttl": "nothing is served that needs it",
    "--authorization-webhook-cache-unauthorized-ttl": "nothing is served that needs it",
    "--cert-dir": "no certificate is made",
    "--master": "the address stands in the kubeconfig",
    "--requestheader-allowed-names": "nothing is served that needs it",
    "--requestheader-extra-headers-prefix": "nothing is served that needs it",
    "--requestheader-group-headers": "nothing is served that needs it",
    "--requestheader-uid-headers": "nothing is served that needs it",
    "--requestheader-username-headers": "nothing is served that needs it",
    "--kube-api-qps": "calls are limited by the server's fairness, not here",
    "--kube-api-burst": "as --kube-api-qps",
    "--kube-api-content-type": "JSON is spoken",
    "--min-resync-period": "informers need no resync",
    "--controller-start-interval": "controllers start together",
    "--leader-elect-resource-lock": "it is a Lease",
    "--authentication-kubeconfig": "nothing is served that needs it",
    "--authorization-kubeconfig": "nothing is served that needs it",
    "--requestheader-client-ca-file": "nothing is served that needs it",
    "--client-ca-file": "nothing is served that needs it",
    "--cluster-name": "no cloud is known",
    "--cloud-provider": "no cloud is known",
    "--endpoint-updates-batch-period": "changes are merged as they come",
    "--endpointslice-updates-batch-period": "changes are merged as they come",
    "--flex-volume-plugin-dir": "there are no such plugins",
}
"""Flags that are taken so that a manifest of upstream's works unchanged, and why they have no effect."""
NOT_HERE = frozenset(
    [
        "--allow-metric-labels",
        "--allow-metric-labels-manifest",
        "--attach-detach-reconcile-sync-period",
        "--cidr-allocator-type",
        "--cloud-config",
        "--cluster-signing-kube-apiserver-client-cert-file",
        "--cluster-signing-kube-apiserver-client-key-file",
        "--cluster-signing-kubelet-client-cert-file",
        "--cluster-signing-kubelet-client-key-file",
        "--cluster-signing-kubelet-serving-cert-file",
        "--cluster-signing-kubelet-serving-key-file",
        "--cluster-signing-legacy-unknown-cert-file",
        "--cluster-signing-legacy-unknown-key-file",
        "--concurrent-device-taint-eviction-syncs",
        "--concurrent-horizontal-pod-autoscaler-syncs",
        "--concurrent-resourceclaim-syncs",
        "--concurrent-service-syncs",
        "--concurrent-validating-admission-policy-status-syncs",
        "--configure-cloud-routes",
        "--controller-shutdown-timeout",
        "--disable-attach-detach-reconcile-sync",
        "--disable-force-detach-on-timeout",
        "--disabled-metrics",
        "--emulated-version",
        "--enable-dynamic-provisioning",
        "--enable-garbage-collector",
        "--enable-hostpath-provisioner",
        "--enable-leader-migration",
        "--external-cloud-volume-plugin",
        "--horizontal-pod-autoscaler-cpu-initialization-period",
        "--horizontal-pod-autoscaler-downscale-stabilization",
        "--horizontal-pod-autoscaler-initial-readiness-delay",
        "--horizontal-pod-autoscaler-sync-period",
        "--horizontal-pod-autoscaler-tolerance",
        "--leader-migration-config",
        "--min-compatibility-version",
        "--mirroring-concurrent-service-endpoint-syncs",
        "--mirroring-endpointslice-updates-batch-period",
        "--mirroring-max-endpoints-per-subset",
        "--permit-address-sharing",
        "--permit-port-sharing",
        "--pv-recycler-increment-timeout-nfs",
        "--pv-recycler-minimum-timeout-hostpath",
        "--pv-recycler-minimum-timeout-nfs",
        "--pv-recycler-pod-template-filepath-hostpath",
        "--pv-recycler-pod-template-filepath-nfs",
        "--pv-recycler-timeout-increment-hostpath",
        "--pvclaimbinder-sync-period",
        "--route-reconciliation-period",
        "--tls-curve-preferences",
        "--tls-sni-cert-key",
        "--unsupported-kube-api-over-localhost",
        "--vmodule",
    ]
)
"""Upstream's others: a manifest that relies on them shall not start as if they worked."""


def _split(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(v.strip() for v in value.split(",") if v.strip())


FLAGS: list[Any] = [
    click.option("--kubeconfig", required=True, type=click.Path(dir_okay=False), help="How to reach the API server."),
    click.option("--controllers", default="*", callback=_split, help="Which run: *, NAME, -NAME, with commas."),
    boolean("--leader-elect", default=True, help="Run only while holding the lease."),
    click.option("--leader-elect-lease-duration", type=DURATION, default="15s", show_default=True, help="How long a lease holds."),
    click.option("--leader-elect-renew-deadline", type=DURATION, default="10s", show_default=True, help="Give up when not renewed for so long."),
    click.option("--leader-elect-retry-period", type=DURATION, default="2s", show_default=True, help="Between two tries."),
    click.option("--leader-elect-resource-name", default="kube-controller-manager", show_default=True, help="The Lease."),
    click.option("--leader-elect-resource-namespace", default="kube-system", show_default=True, help="Its namespace."),
    click.option("--bind-address", default="127.0.0.1", show_default=True, help="Where health and metrics are served."),
    click.option("--secure-port", type=click.IntRange(0, 65535), default=10257, show_default=True, help="Their port; 0: not served."),
    click.option("--tls-cert-file", default="", help="Certificate for them (PEM) [plain HTTP]."),
    click.option("--tls-private-key-file", default="", help="Its key."),
    *tlsflags.FLAGS,
    boolean("--allocate-node-cidrs", default=False, help="Give nodes their pod networks."),
    click.option("--cluster-cidr", default="", help="The network of all pods; two with a comma for dual stack."),
    click.option("--service-cluster-ip-range", default="", help="Networks of Services, kept out of the pods'."),
    click.option("--node-cidr-mask-size", type=int, default=0, help="Size of a node's IPv4 network [24]."),
    click.option("--node-cidr-mask-size-ipv4", type=int, default=0, help="The same."),
    click.option("--node-cidr-mask-size-ipv6", type=int, default=64, show_default=True, help="Size of a node's IPv6 network."),
    click.option("--root-ca-file", default="", help="The authority that pods shall trust (PEM)."),
    click.option("--service-account-private-key-file", default="", help="Signs long-lived ServiceAccount tokens (PEM)."),
    click.option("--legacy-service-account-token-clean-up-period", type=DURATION, default="8760h", show_default=True, help="Unused for so long, a legacy token is marked invalid, and after as long again deleted."),
    boolean("--use-service-account-credentials", default=False, help="Each controller acts as its own ServiceAccount."),
    click.option("--cluster-signing-cert-file", default="", help="Authority that signs certificates (PEM)."),
    click.option("--cluster-signing-key-file", default="", help="Its key."),
    click.option("--cluster-signing-duration", type=DURATION, default="8760h", show_default=True, help="The longest life of a certificate."),
    click.option("--node-monitor-period", type=DURATION, default="5s", show_default=True, help="Between two looks at the nodes."),
    click.option("--node-monitor-grace-period", type=DURATION, default="50s", show_default=True, help="Silence after which a node is Unknown."),
    click.option("--node-startup-grace-period", type=DURATION, default="60s", show_default=True, help="The same for a node that never spoke."),
    click.option("--node-eviction-rate", type=float, default=0.1, show_default=True, help="Nodes a second emptied in a healthy zone."),
    click.option("--secondary-node-eviction-rate", type=float, default=0.01, show_default=True, help="In a broken one."),
    click.option("--large-cluster-size-threshold", type=int, default=50, show_default=True, help="Zones up to this size are not emptied when broken."),
    click.option("--unhealthy-zone-threshold", type=float, default=0.55, show_default=True, help="Share of silent nodes that makes a zone broken."),
    click.option("--terminated-pod-gc-threshold", type=int, default=12500, show_default=True, help="Finished pods that are kept."),
    click.option("--resource-quota-sync-period", type=DURATION, default="5m0s", show_default=True, help="Between two counts of everything."),
    click.option("--namespace-sync-period", type=DURATION, default="5m0s", show_default=True, help="Taken; namespaces are woken by events."),
    click.option("--max-endpoints-per-slice", type=click.IntRange(1, 1000), default=100, show_default=True, help="Endpoints in one EndpointSlice."),
    click.option("--local-volume-directory", default="/var/lib/pybernetes/volumes", show_default=True, help="Volumes of the StorageClass standard (ours)."),
    boolean("--default-storage-class", "provision_default_storage_class", default=True, help="Make the StorageClass standard (ours)."),
    logging_format(),
    version_flag(),
    click.option("-v", "--v", "verbosity", type=int, default=0, help="Above 3: debug messages."),
]  # fmt: skip


def with_flags(command: Any) -> Any:
    for key, controller in CONCURRENCY.items():
        option = click.option(
            f"--concurrent-{key}-syncs", type=click.IntRange(1), default=None, help=f"Workers of {controller}."
        )
        command = option(command)
    for option in ignored(IGNORED):
        command = option(command)
    for option in reversed(FLAGS):
        command = option(command)
    return command


class _ControllerManager(Component):
    upstream = NOT_HERE


@click.command(name="controller-manager", cls=_ControllerManager)
@with_flags
def controller_manager(verbosity: int, logging_format: str, **flags: Any) -> None:
    """Run the controllers (kube-controller-manager's flags)."""
    configure("debug" if verbosity > 3 else "info", logging_format)
    import uvloop

    try:
        with contextlib.suppress(asyncio.CancelledError):
            uvloop.run(serve(flags, RealClock(), random.SystemRandom()))
    except LeadershipLost as failure:
        # A fresh process is sure to act on nothing that this one believed.
        raise click.ClickException(f"leaderelection lost: {failure}") from failure
    except (KubeconfigError, UnknownController, ValueError, OSError) as failure:
        raise click.ClickException(str(failure)) from failure


def settings_of(flags: dict[str, Any]) -> Settings:
    period = flags["legacy_service_account_token_clean_up_period"]
    if period <= 0:
        raise ValueError(f"invalid CleanUpPeriod: {format_duration(round(period * 1e9))}")
    known = {f.name for f in fields(Settings)}
    values = {k: v for k, v in flags.items() if k in known}
    syncs = {c: flags.get(f"concurrent_{k.replace('-', '_')}_syncs") for k, c in CONCURRENCY.items()}
    values["concurrent_syncs"] = {c: n for c, n in syncs.items() if n}
    values["node_cidr_mask_size_ipv4"] = flags["node_cidr_mask_size_ipv4"] or flags["node_cidr_mask_size"] or 24
    values["endpoint_slice_max_endpoints"] = flags["max_endpoints_per_slice"]
    return Settings(**values)


async def serve(flags: dict[str, Any], clock: Clock, rng: random.Random) -> None:
    """Runs until SIGTERM or SIGINT. Raises LeadershipLost."""
    from ..client.metering import MeteredTransport, RestMetrics
    from .accounts import identities
    from .manager import ControllerManager
    from .metrics import Metrics
    from .serving import HealthServer

    client = client_from_kubeconfig(flags["kubeconfig"], clock=clock, user_agent="kube-controller-manager")
    metrics = Metrics()
    rest = RestMetrics(metrics.registry)
    client.transport = MeteredTransport(client.transport, rest, clock.monotonic)
    accounts = (
        identities(flags["kubeconfig"], client, clock, rest) if flags["use_service_account_credentials"] else None
    )
    manager = ControllerManager(
        client,
        clock,
        settings=settings_of(flags),
        controllers=flags["controllers"],
        identity=f"{socket.gethostname()}_{os.getpid()}_{rng.getrandbits(32):08x}",
        leader_elect=flags["leader_elect"],
        lease_duration=flags["leader_elect_lease_duration"],
        renew_deadline=flags["leader_elect_renew_deadline"],
        retry_period=flags["leader_elect_retry_period"],
        lease=(flags["leader_elect_resource_namespace"], flags["leader_elect_resource_name"]),
        identities=accounts,
        metrics=metrics,
        rng=rng,
    )
    version = {"major": "1", "minor": "36", "gitVersion": f"v{pybernetes.KUBERNETES_VERSION.lstrip('v')}"}
    health = HealthServer(manager, clock, version=version)
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with asyncio.TaskGroup() as group:
            if flags["secure_port"]:
                group.create_task(health.run(flags["bind_address"], flags["secure_port"], _tls(flags)))
            group.create_task(manager.run())
    except* LeadershipLost as lost:
        raise lost.exceptions[0] from None
    except* OSError as failures:
        raise failures.exceptions[0] from None


def _tls(flags: dict[str, Any]) -> ssl.SSLContext | None:
    if not flags["tls_cert_file"]:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tlsflags.restrict(context, flags)
    context.load_cert_chain(flags["tls_cert_file"], flags["tls_private_key_file"] or None)
    return context
