"""The entry point of ``p8s``.

Errors that a person can mend end as one line, ``error: what is wrong; how to mend it``, and exit code 1.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence

import click

import pybernetes

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("pybernetes.cli.up:up", "Start a cluster on this machine."),
    "join": ("pybernetes.cli.join:join", "Make this machine a node of a cluster elsewhere."),
    "token": ("pybernetes.cli.join:token", "Make, list and delete tokens for `p8s join`."),
    "down": ("pybernetes.cli.up:down", "Stop the cluster; --purge removes its data too."),
    "status": ("pybernetes.cli.up:status", "Show the cluster's processes and nodes."),
    "kubeconfig": ("pybernetes.cli.up:kubeconfig", "Print the administrator's kubeconfig, or its path."),
    "logs": ("pybernetes.cli.up:logs", "Show a component's log."),
    "why": ("pybernetes.cli.why:why", "Why is a pod where it is, or nowhere, and what would change that?"),
    "image": ("pybernetes.cli.image:image", "Load and list the nodes' container images."),
    "apiserver": ("pybernetes.apiserver.command:apiserver", "Run an API server (kube-apiserver's flags)."),
    "controller-manager": (
        "pybernetes.controllers.command:controller_manager",
        "Run the controllers (kube-controller-manager's flags).",
    ),
    "scheduler": ("pybernetes.scheduler.command:scheduler", "Run a scheduler (kube-scheduler's flags)."),
    "kubelet": ("pybernetes.kubelet.command:kubelet", "Run a node's kubelet (kubelet's flags)."),
    "proxy": ("pybernetes.proxy.command:proxy", "Run a node's service proxy (kube-proxy's flags)."),
    "dns": ("pybernetes.dns.command:dns", "Run a cluster DNS server."),
    "controlplane": ("pybernetes.cluster.controlplane:command", "Run controllers and scheduler in one process."),
    "agent": ("pybernetes.cluster.agent:command", "Run a node: runtime, kubelet, proxy and DNS in one process."),
    "certs": ("pybernetes.cli.certs:certs", "Show and renew the cluster's certificates."),
    "encryption": (
        "pybernetes.cli.encryption:encryption",
        "Keep secrets encrypted in the store, and exchange the keys.",
    ),
    "snapshot": ("pybernetes.cli.snapshot:snapshot", "Save and restore everything that the API server keeps."),
    "version": ("pybernetes.cli.main:version", "Print the versions."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help, and imports a command's module when it is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        target = COMMANDS.get(name)
        if target is None:
            return None
        module, _, attribute = target[0].partition(":")
        gc.disable()  # importing makes tens of thousands of objects and no garbage
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        finally:
            gc.enable()
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Pybernetes: Kubernetes v1.36 in Python."""


@click.command()
def version() -> None:
    """Print the versions."""
    click.echo(f"p8s {pybernetes.__version__} (Kubernetes {pybernetes.KUBERNETES_VERSION})")


def _end_with_parent() -> None:
    """Asks the kernel for SIGTERM when the supervisor that started this process dies."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> None:
    if os.environ.pop("P8S_SUPERVISED", ""):
        _end_with_parent()
    try:
        cli.main(args=list(arguments) if arguments is not None else None, prog_name="p8s", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except Exception as failure:
        line = _one_line(failure)
        if line is None:
            raise
        click.echo(f"error: {line}", err=True)
        sys.exit(1)


def _one_line(failure: Exception) -> str | None:
    """The line for a failure that is a person's to mend; None for one of ours, which deserves its traceback."""
    while isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]  # a component's own failure, handed up by its task group
    from pybernetes.cluster.layout import ClusterError

    if isinstance(failure, ClusterError):
        return f"{failure}; {failure.remedy}" if failure.remedy else str(failure)
    from pybernetes.api.errors import StatusError

    if isinstance(failure, StatusError):
        return failure.message
    if type(failure).__name__ in ("KubeconfigError", "TransportError", "ContainerdError"):
        return str(failure)
    return None


if __name__ == "__main__":
    main()
