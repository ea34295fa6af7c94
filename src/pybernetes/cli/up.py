"""``p8s up``, ``down``, ``status``, ``kubeconfig`` and ``logs``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from pybernetes.cluster import lifecycle
from pybernetes.cluster.layout import DEFAULT_DATA_DIR, ClusterError, Layout
from pybernetes.concurrency import RealClock

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False),
    default=None,
    help=f"Where the cluster keeps its data [{DEFAULT_DATA_DIR}].",
)


def tick(line: str) -> None:
    click.echo(f"  ✓ {line}")


@click.command()
@click.option("--nodes", type=click.IntRange(0, 100), default=None, help="Nodes with real containers [1].")
@click.option("--simulated-nodes", type=click.IntRange(0, 10_000), default=None, help="Nodes without containers [0].")
@click.option(
    "--simulated-stages",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    default=None,
    help="How their pods behave (YAML) [they run].",
)
@data_dir_option
@click.option("--api-port", type=click.IntRange(1, 65535), default=None, help="Port of the API server [6443].")
@click.option(
    "--network", type=click.Choice(["vxlan", "routes", "none"]), default=None, help="How nodes' pods meet [vxlan]."
)
@click.option(
    "--proxy-mode", type=click.Choice(["nftables", "iptables"]), default=None, help="Service proxy [nftables]."
)
@click.option("--foreground", is_flag=True, help="Stay, and stop the cluster on Ctrl-C.")
def up(data_dir: str | None, foreground: bool, **wanted: Any) -> None:
    """Start a cluster on this machine."""
    layout = Layout.of(data_dir)
    clock = RealClock()
    started = clock.monotonic()
    result = asyncio.run(_up(layout, wanted, foreground))
    if result is None:
        return
    if result.was_running:
        click.echo(f"A cluster is already running from {layout.data}.")
        return
    click.echo(f"Cluster is up in {clock.monotonic() - started:.1f} s. Use it with:")
    click.echo(f"  export KUBECONFIG={layout.admin_kubeconfig}")


async def _up(layout: Layout, wanted: dict[str, Any], foreground: bool) -> lifecycle.Running | None:
    clock = RealClock()
    if not foreground or await lifecycle.running(layout) is not None:
        return await lifecycle.up(layout, wanted, clock, tick)
    result = await lifecycle.up(layout, wanted, clock, tick)
    click.echo(f"Cluster is up; KUBECONFIG={layout.admin_kubeconfig}. Ctrl-C stops it.")
    try:
        while await lifecycle.running(result.layout) is not None:
            await clock.sleep(1.0)
    finally:
        await asyncio.shield(lifecycle.down(layout, clock, purge=False, progress=tick))
    return None


@click.command()
@data_dir_option
@click.option("--purge", is_flag=True, help="Remove the cluster's data too.")
def down(data_dir: str | None, purge: bool) -> None:
    """Stop the cluster; nothing stays on the machine but its data."""
    layout = Layout.of(data_dir)
    was_running = asyncio.run(lifecycle.down(layout, RealClock(), purge=purge, progress=tick))
    click.echo("Cluster is down." if was_running else f"No cluster was running from {layout.data}.")


@click.command()
@data_dir_option
def status(data_dir: str | None) -> None:
    """Show the cluster's processes and nodes."""
    layout = Layout.of(data_dir)
    state = asyncio.run(lifecycle.running(layout))
    if state is None:
        click.echo(f"No cluster is running from {layout.data}.")
        sys.exit(3)
    click.echo(f"{'COMPONENT':<16}{'PID':<10}{'RESTARTS':<10}{'UPTIME':<10}LAST EXIT")
    for row in state["components"]:
        last = "" if row["lastExit"] is None else row["lastExit"]
        click.echo(f"{row['name']:<16}{row['pid'] or '-':<10}{row['restarts']:<10}{row['uptime']:<10}{last}".rstrip())


@click.command()
@data_dir_option
@click.option("--path", "path_only", is_flag=True, help="Print the file's path only.")
def kubeconfig(data_dir: str | None, path_only: bool) -> None:
    """Print the administrator's kubeconfig, or its path."""
    file = _existing(Layout.of(data_dir).admin_kubeconfig)
    click.echo(str(file) if path_only else file.read_text(), nl=path_only)


def _existing(file: Path) -> Path:
    if not file.exists():
        raise ClusterError(f"{file} does not exist", "start a cluster with `p8s up`")
    return file


@click.command()
@click.argument("component")
@data_dir_option
@click.option("--tail", type=int, default=None, help="Only the last so many lines.")
def logs(component: str, data_dir: str | None, tail: int | None) -> None:
    """Show a component's log (see `p8s status` for the names)."""
    layout = Layout.of(data_dir)
    file = layout.logs / f"{component}.log"
    if not file.exists() or Path(component).name != component:
        known = sorted(p.stem for p in layout.logs.glob("*.log"))
        raise ClusterError(f"no log of {component!r}", f"one of: {', '.join(known)}" if known else "start a cluster")
    lines = file.read_text(errors="replace").splitlines()
    for line in lines[-tail:] if tail else lines:
        click.echo(line)
