"""``p8s encryption``: secrets encrypted in the store, and their keys exchanged while the cluster runs."""

from __future__ import annotations

import asyncio

import click

from pybernetes.api.errors import StatusError
from pybernetes.cli.up import data_dir_option
from pybernetes.cluster import encryption as configuration
from pybernetes.cluster.layout import ClusterError, Layout
from pybernetes.concurrency import RealClock

REWRITE_PATH = "/storage/rewrite"
NOT_FOUND = 404


@click.group()
def encryption() -> None:
    """Keep secrets encrypted in the store, and exchange the keys."""


@encryption.command()
@data_dir_option
@click.option(
    "--provider",
    type=click.Choice(configuration.PROVIDERS),
    default="secretbox",
    show_default=True,
    help="How what is stored is encrypted.",
)
@click.option("--resource", "resources", multiple=True, default=("secrets",), show_default=True, help="As in `*.apps`.")
def init(data_dir: str | None, provider: str, resources: tuple[str, ...]) -> None:
    """Make a configuration with a new key. The next `p8s up` uses it."""
    layout = Layout.of(data_dir)
    if layout.encryption_file.exists():
        raise ClusterError(f"{layout.encryption_file} exists already", "`p8s encryption rotate` exchanges its keys")
    if not layout.data.is_dir():
        raise ClusterError(f"{layout.data} does not exist", "start a cluster with `p8s up`")
    configuration.write(layout.encryption_file, configuration.new_document(provider, resources))
    click.echo(f"Wrote {layout.encryption_file}. Keep a copy: without it the data cannot be read.")
    click.echo("Restart with `p8s down` and `p8s up`, then `p8s encryption rewrite` encrypts what is stored already.")


@encryption.command()
@data_dir_option
def rewrite(data_dir: str | None) -> None:
    """Write everything stored anew with the keys that write now."""
    click.echo(f"Rewrote {_rewrite(Layout.of(data_dir))} objects.")


@encryption.command()
@data_dir_option
def rotate(data_dir: str | None) -> None:
    """Exchange the keys: a new one, everything rewritten with it, the old ones dropped."""
    layout = Layout.of(data_dir)
    file = layout.encryption_file
    both = configuration.with_new_keys(configuration.read(file))
    # Whatever fails from here on, the file reads what is stored: the old keys go last.
    configuration.write(file, both)
    count = _rewrite(layout)
    configuration.write(file, configuration.with_newest_keys_only(both))
    click.echo(f"Rewrote {count} objects with a new key and dropped the old ones.")


def _rewrite(layout: Layout) -> int:
    from pybernetes.client.kubeconfig import client_from_kubeconfig

    async def ask() -> int:
        client = client_from_kubeconfig(layout.admin_kubeconfig, clock=RealClock())
        try:
            answer = await client.request("POST", REWRITE_PATH, timeout=None)
        except StatusError as failure:
            if failure.code != NOT_FOUND:
                raise
            raise ClusterError("the API server encrypts nothing", "restart it with `p8s down` and `p8s up`") from None
        finally:
            client.transport.close()
        return int(answer["rewritten"])

    return asyncio.run(ask())
