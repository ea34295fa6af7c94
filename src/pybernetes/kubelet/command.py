"""``p8s kubelet``: a kubelet by itself, with upstream's flag names, over a container runtime that runs already."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..client.kubeconfig import KubeconfigError, client_from_kubeconfig
from ..concurrency import RealClock, tlsflags
from ..concurrency.flags import boolean
from ..concurrency.log import configure
from . import identity
from .configuration import ConfigurationError, duration, load
from .settings import KubeletSettings

if TYPE_CHECKING:
    from .certificates import CertificateManager
    from .server import KubeletServer


def _pairs(context: click.Context, parameter: click.Parameter, value: str) -> dict[str, str]:
    found = {}
    for part in filter(None, value.split(",")):
        separator = "<" if "<" in part else "="
        key, _, text = part.partition(separator)
        found[key.strip()] = text.strip()
    return found


def _split(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(v.strip() for v in value.split(",") if v.strip())


def _taints(context: click.Context, parameter: click.Parameter, value: str) -> tuple[dict[str, str], ...]:
    found = []
    for part in filter(None, value.split(",")):
        left, _, effect = part.rpartition(":")
        key, _, text = left.partition("=")
        found.append({"key": key, "effect": effect, **({"value": text} if text else {})})
    return tuple(found)


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> float | None:
    if not value:
        return None
    try:
        return duration(value)
    except ConfigurationError as failure:
        raise click.BadParameter(str(failure)) from failure


FLAGS: list[Any] = [
    click.option("--config", "config_file", default="", help="KubeletConfiguration file; flags have precedence."),
    click.option("--kubeconfig", default="", help="How to reach the API server; without it only static pods run."),
    click.option("--bootstrap-kubeconfig", default="", help="Asks with this one (a token) for what --kubeconfig shall have."),
    click.option("--cert-dir", default="", help="Where certificates are kept that the kubelet asks for [ROOT-DIR/pki]."),
    boolean("--rotate-certificates", default=False, help="Renew the client certificate before it ends."),
    boolean("--rotate-server-certificates", default=False, help="Ask for the serving certificate, and renew it."),
    click.option("--hostname-override", default="", help="The node's name [the host's]."),
    click.option("--node-ip", default="", callback=_split, help="Addresses of the node."),
    click.option("--node-labels", default="", callback=_pairs, help="Labels to register with: k=v,..."),
    click.option("--register-with-taints", default="", callback=_taints, help="Taints to register with: k=v:effect,..."),
    boolean("--register-node", default=None, help="Make the Node object."),
    click.option("--root-dir", default="", help="Where pods' volumes live [/var/lib/kubelet]."),
    click.option("--pod-logs-dir", default="", help="Where container logs are written [/var/log/pods]."),
    click.option("--container-runtime-endpoint", default="", help="The runtime's CRI socket."),
    click.option("--image-service-endpoint", default="", help="The image service's socket [the runtime's]."),
    click.option("--pod-manifest-path", default="", help="Directory of static pods."),
    click.option("--cluster-dns", default="", callback=_split, help="Addresses of the cluster's DNS."),
    click.option("--cluster-domain", default="", help="The cluster's domain [cluster.local]."),
    click.option("--resolv-conf", default="", help="The node's resolver configuration [/etc/resolv.conf]."),
    click.option("--max-pods", type=int, default=None, help="Most pods on the node [110]."),
    click.option("--cgroup-root", default="", help="Parent of the kubepods cgroup [/]."),
    click.option("--system-reserved", default="", callback=_pairs, help="Resources kept for the system."),
    click.option("--kube-reserved", default="", callback=_pairs, help="Resources kept for Kubernetes."),
    click.option("--eviction-hard", default="", callback=_pairs, help="Thresholds: memory.available<100Mi,..."),
    click.option("--eviction-soft", default="", callback=_pairs, help="Thresholds with a grace period."),
    boolean("--seccomp-default", default=None, help="RuntimeDefault where no profile is named."),
    click.option("--allowed-unsafe-sysctls", default="", callback=_split, help="Sysctls to allow beside the safe ones."),
    click.option("--sync-frequency", default="", callback=_seconds, help="Between looks at volumes' content [1m]."),
    click.option("--node-status-update-frequency", default="", callback=_seconds, help="Between looks at the node [10s]."),
    click.option("--provider-id", default="", help="The machine's id at its provider."),
    click.option("--pod-infra-container-image", default="", help="Taken for compatibility: the runtime's setting counts."),
    click.option("--address", default="0.0.0.0", show_default=True, help="Where the HTTPS server listens."),
    click.option("--port", type=click.IntRange(0, 65535), default=None, help="Its port [10250]."),
    boolean("--anonymous-auth", default=False, help="Serve requests without credentials."),
    click.option("--client-ca-file", default="", help="Authorities whose client certificates are accepted (PEM)."),
    click.option("--tls-cert-file", default="", help="Serving certificate (PEM); without it no server is started."),
    click.option("--tls-private-key-file", default="", help="Its key."),
    *tlsflags.FLAGS,
    click.option("--v", "verbosity", type=int, default=0, help="Above 3: debug messages."),
]  # fmt: skip

_DIRECT = (
    "node_labels",
    "register_with_taints",
    "register_node",
    "container_runtime_endpoint",
    "image_service_endpoint",
    "cluster_dns",
    "cluster_domain",
    "max_pods",
    "cgroup_root",
    "system_reserved",
    "kube_reserved",
    "eviction_hard",
    "eviction_soft",
    "seccomp_default",
    "allowed_unsafe_sysctls",
    "sync_frequency",
    "node_status_update_frequency",
    "provider_id",
    "port",
    "hostname_override",
)
_PATHS = {
    "root_dir": "root_dir",
    "pod_logs_dir": "pod_logs_dir",
    "pod_manifest_path": "static_pod_path",
    "resolv_conf": "resolv_conf",
}


def settings_from(flags: dict[str, Any]) -> KubeletSettings:
    """Defaults, then the configuration file, then flags. Raises ConfigurationError."""
    values: dict[str, Any] = load(flags["config_file"]) if flags.get("config_file") else {}
    for name in _DIRECT:
        if flags.get(name) not in (None, "", (), {}):
            values[name] = flags[name]
    for flag, name in _PATHS.items():
        if flags.get(flag):
            values[name] = Path(flags[flag])
    if flags.get("node_ip"):
        values["node_ips"] = flags["node_ip"]
    name = flags.get("hostname_override") or socket.gethostname().lower()
    return KubeletSettings(name, **values)


def serving_tls(certificate: str, key: str, client_ca: str) -> ssl.SSLContext | None:
    """None where there is no certificate."""
    if not certificate:
        return None
    context = serving_context(client_ca)
    context.load_cert_chain(certificate, key or None)
    return context


def serving_context(client_ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cafile=client_ca)
    return context


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def kubelet(**flags: Any) -> None:
    """Run a node's kubelet."""
    configure("debug" if flags["verbosity"] > 3 else "info")
    import uvloop

    try:
        settings = settings_from(flags)
    except ConfigurationError as failure:
        raise click.ClickException(str(failure)) from failure
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(run(settings, flags))


for _flag in reversed(FLAGS):
    kubelet = _flag(kubelet)


async def run(settings: KubeletSettings, flags: dict[str, Any]) -> None:
    """Runs until SIGTERM or SIGINT; containers go on running."""
    from .kubelet import Kubelet
    from .node.machine import default_addresses
    from .server import KubeletServer, ServerSettings

    clock, rng = RealClock(), random.SystemRandom()
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    directory = Path(flags["cert_dir"] or settings.root_dir / "pki")
    try:
        path = flags["kubeconfig"]
        if path and flags["bootstrap_kubeconfig"]:
            await identity.bootstrap(
                settings.node_name, Path(path), flags["bootstrap_kubeconfig"], directory, clock, rng
            )
        client = client_from_kubeconfig(path, clock=clock, user_agent="kubelet") if path else None
        tls = serving_tls(flags["tls_cert_file"], flags["tls_private_key_file"], flags["client_ca_file"])
        if tls is None and client is not None and flags["rotate_server_certificates"]:
            tls = serving_context(flags["client_ca_file"])
            names = tuple(dict.fromkeys((settings.node_name, *(settings.node_ips or default_addresses()))))
            serving = identity.serving_manager(client, settings.node_name, names, directory, tls, clock, rng)
        else:
            serving = None
    except (KubeconfigError, OSError) as failure:
        raise click.ClickException(str(failure)) from failure
    node = Kubelet(settings, client, clock=clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(node.run())
        if client is not None and flags["rotate_certificates"]:
            group.create_task(identity.client_manager(client, settings.node_name, directory, clock, rng).run())
        if tls is not None:
            tlsflags.restrict(tls, flags)
            options = ServerSettings(flags["address"], settings.port, anonymous_auth=flags["anonymous_auth"])
            group.create_task(_serve(KubeletServer(node, tls, options), serving))


async def _serve(server: KubeletServer, serving: CertificateManager | None) -> None:
    """Not before there is a certificate to show."""
    if serving is None:
        await server.run()
        return
    await serving.ensure()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run())
        group.create_task(serving.run())
