"""``p8s join`` and ``p8s token``."""

from __future__ import annotations

import asyncio
import re
import socket

import click

from pybernetes.cluster.layout import ClusterError, Layout
from pybernetes.concurrency import RealClock

from .up import data_dir_option, tick

_TTL = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@click.command()
@click.argument("server")
@click.option("--token", required=True, help="From `p8s token create` on the first machine.")
@click.option(
    "--discovery-token-ca-cert-hash",
    "hashes",
    multiple=True,
    help="What the cluster's authority must have: sha256:...",
)
@click.option(
    "--discovery-token-unsafe-skip-ca-verification", "unsafe", is_flag=True, help="Trust whoever knows the token."
)
@click.option("--node-name", default="", help="This machine's name in the cluster [the host's].")
@click.option("--node-ip", default="", help="Its address [the one towards the server].")
@data_dir_option
def join(
    server: str, token: str, hashes: tuple[str, ...], unsafe: bool, node_name: str, node_ip: str, data_dir: str | None
) -> None:
    """Make this machine a node of the cluster at SERVER, an https URL."""
    if not hashes and not unsafe:
        raise ClusterError(
            "--discovery-token-ca-cert-hash is missing",
            "`p8s token create` prints it; --discovery-token-unsafe-skip-ca-verification does without",
        )
    name = (node_name or socket.gethostname()).lower()
    asyncio.run(_join(Layout.of(data_dir), server.rstrip("/"), token, hashes, name, node_ip))
    click.echo(f"This machine is node {name}. `p8s down --purge` takes it out again.")


async def _join(layout: Layout, server: str, token: str, hashes: tuple[str, ...], name: str, address: str) -> None:
    from pybernetes.cluster import joining, lifecycle
    from pybernetes.cluster.layout import Settings
    from pybernetes.cluster.preflight import check_all

    clock = RealClock()
    layout.check_version()
    if Settings.load(layout) is not None:
        raise ClusterError(f"{layout.data} belongs to a cluster already", "`p8s down --purge` first, or --data-dir")
    address = address or joining.own_address(server)
    check_all(layout, Settings(nodes=0, joined_node=name, joined_address=address, joined_server=server))
    await joining.enrol(layout, server, token, hashes, name, address, clock)
    tick("the cluster knows this machine: certificates are there")
    await lifecycle.up(layout, {}, clock, tick)


@click.group()
def token() -> None:
    """Tokens with which other machines join."""


@token.command()
@click.option("--ttl", default="24h", show_default=True, help="How long it is good for; 0 for ever.")
@click.option("--description", default="", help="For people.")
@click.option("--server", default="", help="The URL to print [this machine's address].")
@data_dir_option
def create(ttl: str, description: str, server: str, data_dir: str | None) -> None:
    """Make a token and print the command for the other machine."""
    click.echo(asyncio.run(_create(Layout.of(data_dir), _seconds(ttl), description, server)))


def _seconds(text: str) -> float | None:
    match = _TTL.fullmatch(text)
    if text == "0":
        return None
    if not text or match is None:
        raise ClusterError(f"--ttl {text!r} is no duration", "write it like 24h or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


async def _create(layout: Layout, ttl: float | None, description: str, server: str) -> str:
    from pybernetes.api.resources import SECRETS
    from pybernetes.client.kubeconfig import client_from_kubeconfig
    from pybernetes.cluster import tokens
    from pybernetes.cluster.layout import Settings
    from pybernetes.cluster.machine import default_address

    clock = RealClock()
    settings = _settings(layout, Settings)
    client = client_from_kubeconfig(layout.admin_kubeconfig, clock=clock)
    made = tokens.new_token()
    secret = tokens.token_secret(made, expires=clock.now() + ttl if ttl is not None else None, description=description)
    await client.create(SECRETS, secret, "kube-system")
    client.transport.close()
    server = server or f"https://{default_address() or '127.0.0.1'}:{settings.api_port}"
    return tokens.join_command(server, made, (layout.pki / "ca.crt").read_bytes())


def _settings(layout: Layout, kind):  # type: ignore[no-untyped-def]
    settings = kind.load(layout)
    if settings is None or settings.joined_node:
        raise ClusterError(f"no control plane in {layout.data}", "run this where `p8s up` was run")
    return settings


@token.command("list")
@data_dir_option
def list_(data_dir: str | None) -> None:
    """Show tokens: who joins with them, and until when."""
    click.echo(asyncio.run(_list(Layout.of(data_dir))))


async def _list(layout: Layout) -> str:
    from pybernetes.api.resources import SECRETS
    from pybernetes.client.kubeconfig import client_from_kubeconfig
    from pybernetes.cluster import tokens
    from pybernetes.cluster.layout import Settings

    _settings(layout, Settings)
    client = client_from_kubeconfig(layout.admin_kubeconfig, clock=RealClock())
    found = await client.list(SECRETS, "kube-system", field_selector=f"type={tokens.TYPE}")
    client.transport.close()
    lines = [f"{'TOKEN':<26}{'EXPIRES':<24}DESCRIPTION"]
    for secret in found["items"]:
        data = tokens.read_secret(secret)
        text = f"{data.get('token-id', '?')}.{data.get('token-secret', '?')}"
        lines.append(f"{text:<26}{data.get('expiration', 'never'):<24}{data.get('description', '')}".rstrip())
    return "\n".join(lines)


@token.command()
@click.argument("identity")
@data_dir_option
def delete(identity: str, data_dir: str | None) -> None:
    """Delete a token, named whole or by the part before the dot."""
    asyncio.run(_delete(Layout.of(data_dir), identity.partition(".")[0]))
    click.echo(f"bootstrap token {identity.partition('.')[0]!r} deleted")


async def _delete(layout: Layout, identity: str) -> None:
    from pybernetes.api.errors import StatusError
    from pybernetes.api.resources import SECRETS
    from pybernetes.client.kubeconfig import client_from_kubeconfig
    from pybernetes.cluster.layout import Settings

    _settings(layout, Settings)
    client = client_from_kubeconfig(layout.admin_kubeconfig, clock=RealClock())
    try:
        await client.delete(SECRETS, f"bootstrap-token-{identity}", "kube-system")
    except StatusError as failure:
        raise ClusterError(f"no such token: {failure}", "`p8s token list` shows them") from failure
    finally:
        client.transport.close()
