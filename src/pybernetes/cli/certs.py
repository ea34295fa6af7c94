"""``p8s certs``: when the cluster's certificates end, and new ones before they do."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

import click

from pybernetes.cli.up import data_dir_option
from pybernetes.cluster import certificates
from pybernetes.cluster.certificates import ExpiryRow, Pki
from pybernetes.cluster.layout import ClusterError, Layout
from pybernetes.concurrency import RealClock

ALL = "all"
DAY = 86400.0


@click.group()
def certs() -> None:
    """Show and renew the cluster's certificates."""


def _kubeconfigs(layout: Layout) -> dict[str, Path]:
    """By the names that the commands know them by."""
    found = {"kubeconfig": layout.admin_kubeconfig}
    found |= {path.name: path for path in sorted(layout.kubeconfigs.glob("*.conf"))}
    found |= {f"{path.parent.name}/{path.name}": path for path in sorted((layout.data / "nodes").glob("*/*.conf"))}
    return {name: path for name, path in found.items() if path.exists()}


def _pki(layout: Layout) -> Pki:
    if not layout.pki.is_dir():
        raise ClusterError(f"{layout.pki} does not exist", "start a cluster with `p8s up`")
    return Pki(layout.pki)


def _residual(seconds: float) -> str:
    """As kubeadm says it: years from two on, then days, hours and so on."""
    if seconds <= 0:
        return "<invalid>"
    for unit, size, least in (("y", 365 * DAY, 2), ("d", DAY, 2), ("h", 3600.0, 1), ("m", 60.0, 1)):
        if seconds >= least * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [titles, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(titles))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _date(timestamp: float) -> str:
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).strftime("%b %d, %Y %H:%M UTC")


@certs.command("check-expiration")
@data_dir_option
def check_expiration(data_dir: str | None) -> None:
    """Show when each certificate ends."""
    layout = Layout.of(data_dir)
    rows = certificates.check_expiration(_pki(layout), _kubeconfigs(layout), now=RealClock().now())

    def cells(row: ExpiryRow) -> tuple[str, ...]:
        shown = (row.name, _date(row.expires), _residual(row.residual_seconds))
        return shown if row.is_authority else (*shown, row.authority)

    leaves, authorities = [r for r in rows if not r.is_authority], [r for r in rows if r.is_authority]
    titles = ("CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY")
    lines = _table(titles, map(cells, leaves))
    lines += ["", *_table(("CERTIFICATE AUTHORITY", "EXPIRES", "RESIDUAL TIME"), map(cells, authorities))]
    click.echo("\n".join(lines))


@certs.command()
@click.argument("names", nargs=-1, required=True)
@data_dir_option
def renew(names: tuple[str, ...], data_dir: str | None) -> None:
    """Renew the named certificates (as check-expiration names them), or all of them."""
    layout = Layout.of(data_dir)
    pki, kubeconfigs, now = _pki(layout), _kubeconfigs(layout), RealClock().now()
    known = [r.name for r in certificates.check_expiration(pki, kubeconfigs, now=now) if not r.is_authority]
    unknown = [n for n in names if n not in known and n != ALL]
    if unknown:
        raise ClusterError(f"no certificate {unknown[0]!r}", f"one of: {', '.join(known)}, {ALL}")
    for name in known if ALL in names else names:
        if name in kubeconfigs:
            certificates.renew_kubeconfig(kubeconfigs[name], pki, now=now)
        else:
            certificates.renew(pki, name, now=now)
        click.echo(f"  ✓ {name} renewed")
    click.echo("The API server takes its own within seconds; restart with `p8s down` and `p8s up` for the others.")
