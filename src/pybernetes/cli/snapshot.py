"""``p8s snapshot``: everything that the API server keeps, in one file, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from pybernetes.cli.up import data_dir_option
from pybernetes.cluster.layout import ClusterError, Layout
from pybernetes.concurrency import RealClock
from pybernetes.storage import snapshot as snapshots
from pybernetes.storage.contract import Store, StoreError

STATE = "state.db"


def _etcd_options(command: Any) -> Any:
    for option in (
        click.option("--etcd-keyfile", default="", help="Its key."),
        click.option("--etcd-certfile", default="", help="Certificate shown to etcd (PEM)."),
        click.option("--etcd-cafile", default="", help="Authority of etcd's certificates (PEM)."),
        click.option("--etcd-servers", default="", help="etcd's URLs, where the objects are in etcd."),
    ):
        command = option(command)
    return command


@click.group()
def snapshot() -> None:
    """Save and restore everything that the API server keeps."""


@snapshot.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@data_dir_option
@_etcd_options
def save(file: Path, data_dir: str | None, etcd_servers: str, **etcd: str) -> None:
    """Write a snapshot to FILE, while the API server works."""
    try:
        if etcd_servers:
            found = asyncio.run(_with_etcd(etcd_servers, etcd, lambda store: snapshots.save(store, file)))
        else:
            found = snapshots.save_file(_state(data_dir), file)
    except StoreError as failure:
        raise ClusterError(str(failure)) from failure
    click.echo(f"Saved {found.objects} objects at revision {found.revision} to {file}.")


@snapshot.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@data_dir_option
@_etcd_options
def restore(file: Path, data_dir: str | None, etcd_servers: str, **etcd: str) -> None:
    """Put FILE in the place of what the API server keeps. It must not be running."""
    try:
        if etcd_servers:
            found = asyncio.run(_with_etcd(etcd_servers, etcd, lambda store: snapshots.restore(file, store)))
        else:
            found = snapshots.restore_file(file, _state(data_dir))
    except StoreError as failure:
        raise ClusterError(str(failure)) from failure
    click.echo(f"Restored {found.objects} objects of revision {found.revision}.")


def _state(data_dir: str | None) -> Path:
    """The state file of a cluster's data directory, or of an API server's own."""
    if data_dir is not None and (Path(data_dir) / STATE).exists():
        return Path(data_dir) / STATE
    return Layout.of(data_dir).store / STATE


async def _with_etcd(
    servers: str, etcd: dict[str, str], work: Callable[[Store], Awaitable[snapshots.Snapshot]]
) -> snapshots.Snapshot:
    from pybernetes.storage.etcd import EtcdStore

    store = EtcdStore(
        servers.split(","),
        RealClock(),
        ca=etcd["etcd_cafile"],
        certificate=etcd["etcd_certfile"],
        key=etcd["etcd_keyfile"],
    )
    await store.open()
    try:
        return await work(store)
    finally:
        await store.close()
