"""``p8s image``: images on the cluster's nodes, without a registry: load archives, list, and build one from a directory."""

from __future__ import annotations

import asyncio
import platform
from pathlib import Path

import click

from pybernetes.cli.up import data_dir_option
from pybernetes.cluster import lifecycle
from pybernetes.cluster.layout import ClusterError, Layout, Settings


@click.group()
def image() -> None:
    """Load and list the nodes' container images."""


def _sockets(layout: Layout) -> dict[str, Path]:
    """The runtime's socket of every node of the running cluster. Raises ClusterError where none runs."""
    if asyncio.run(lifecycle.running(layout)) is None:
        raise ClusterError(f"no cluster is running from {layout.data}", "start one with `p8s up`")
    settings = Settings.load(layout) or Settings()
    return {name: layout.run / name / "containerd.sock" for name in settings.node_names}


@image.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@data_dir_option
def load(files: tuple[str, ...], data_dir: str | None) -> None:
    """Load docker or OCI archives into every node."""
    from pybernetes.kubelet.runtime.images import ImageError
    from pybernetes.kubelet.runtime.images import load as load_files

    async def load_all() -> None:
        for node, socket in sockets.items():
            for name in await load_files(socket, files):
                click.echo(f"  ✓ {name} on {node}")

    sockets = _sockets(Layout.of(data_dir))
    try:
        asyncio.run(load_all())
    except ImageError as failure:
        raise ClusterError(str(failure), "give an archive as `docker save` or `skopeo copy` write it") from failure


@image.command("list")
@data_dir_option
def list_images(data_dir: str | None) -> None:
    """List the images of every node."""
    from pybernetes.kubelet.cri import CRIClient

    async def rows() -> list[tuple[str, str, str]]:
        found = []
        for node, socket in sockets.items():
            runtime = CRIClient(f"unix://{socket}")
            try:
                for entry in await runtime.list_images():
                    size = f"{int(entry.get('size') or 0) / 1e6:.1f} MB"
                    found += [(tag, size, node) for tag in entry.get("repo_tags") or ["<none>"]]
            finally:
                await runtime.close()
        return sorted(found)

    sockets = _sockets(Layout.of(data_dir))
    click.echo(f"{'IMAGE':<56}{'SIZE':<12}NODE")
    for tag, size, node in asyncio.run(rows()):
        click.echo(f"{tag:<56}{size:<12}{node}")


@image.command()
@click.option("--tag", required=True, help="The image's name, such as example/web:1.")
@click.option("--output", required=True, type=click.Path(dir_okay=False), help="The archive to write.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.argument("entrypoint", nargs=-1)
def build(tag: str, output: str, directory: str, entrypoint: tuple[str, ...]) -> None:
    """Make an image archive from a directory's files; no registry, no daemon."""
    from pybernetes.kubelet.runtime import archive

    layer = archive.Layer()
    for child in sorted(Path(directory).iterdir()):
        layer.copy(child, child.name)
    config = {
        "Entrypoint": list(entrypoint),
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    }
    content = archive.build(full_name(tag), [layer.finish()], config, machine=platform.machine())
    Path(output).write_bytes(content)
    click.echo(f"  ✓ {output} holds {full_name(tag)}")


def full_name(tag: str) -> str:
    """A name as container runtimes complete it: ``web`` is ``docker.io/library/web:latest``."""
    name, _, version = tag.rpartition(":") if ":" in tag.rsplit("/", 1)[-1] else (tag, "", "latest")
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return f"{name}:{version}"
