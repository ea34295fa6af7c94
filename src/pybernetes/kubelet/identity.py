"""Who the kubelet is to others: from a bootstrap token to a client certificate that renews itself, and the same for serving.

``--bootstrap-kubeconfig``, ``--rotate-certificates`` and ``--rotate-server-certificates`` of ``p8s kubelet``. Specified by "TLS
bootstrapping".
"""

from __future__ import annotations

import random
import ssl
from pathlib import Path

from ..client import kubeconfig
from ..client.rest import Client
from ..client.transport import HttpTransport
from ..concurrency import Clock, logger
from .certificates import CertificateFiles, CertificateManager, Wanted, client_certificate, serving_certificate

log = logger("kubelet.identity")


def client_files(directory: Path) -> CertificateFiles:
    return CertificateFiles(directory, "kubelet-client")


def serving_files(directory: Path) -> CertificateFiles:
    return CertificateFiles(directory, "kubelet-server")


async def bootstrap(
    node: str, target: Path, bootstrap_file: str, directory: Path, clock: Clock, rng: random.Random
) -> None:
    """Sees to it that there is a kubeconfig with a client certificate that is good now; else asks for one with the
    bootstrap kubeconfig's token. Raises KubeconfigError."""
    files = client_files(directory)
    validity = files.validity()
    if target.exists() and (validity is None or clock.now() < validity[1]):
        return  # as it was given, or as it was written here
    log.info("asking for a client certificate with the bootstrap token", node=node)
    client = kubeconfig.client_from_kubeconfig(bootstrap_file, clock=clock, user_agent="kubelet")
    try:
        await CertificateManager(client, clock, files, lambda: client_certificate(node), rng=rng).ensure()
    finally:
        client.transport.close()
    kubeconfig.write(target, _with_certificate(kubeconfig.load(bootstrap_file), files.current.absolute()))


def _with_certificate(document: dict[str, object], certificate: Path) -> dict[str, object]:
    """The kubeconfig with its user exchanged for the owner of a certificate."""
    chosen = document.get("current-context") or ""
    contexts: list[dict[str, object]] = document.get("contexts") or []  # type: ignore[assignment]
    context = next(c["context"] for c in contexts if c.get("name") == chosen)
    entry = {"client-certificate": str(certificate), "client-key": str(certificate)}
    return {
        **document,
        "contexts": [{"name": chosen, "context": {**context, "user": "default-auth"}}],  # type: ignore[dict-item]
        "users": [{"name": "default-auth", "user": entry}],
    }


def client_manager(client: Client, node: str, directory: Path, clock: Clock, rng: random.Random) -> CertificateManager:
    """Renews the certificate that ``client`` shows; connections are made anew with it."""

    def changed(file: Path) -> None:
        if isinstance(client.transport, HttpTransport):
            client.transport.take_certificate(file)

    return CertificateManager(
        client, clock, client_files(directory), lambda: client_certificate(node), rng=rng, changed=changed
    )


def serving_manager(
    client: Client,
    node: str,
    names: tuple[str, ...],
    directory: Path,
    context: ssl.SSLContext,
    clock: Clock,
    rng: random.Random,
) -> CertificateManager:
    """Renews the certificate that the kubelet's server shows. The current one is loaded here where there is one."""

    def wanted() -> Wanted:
        return serving_certificate(node, names)

    files = serving_files(directory)
    if files.validity() is not None:
        context.load_cert_chain(files.current)
    return CertificateManager(client, clock, files, wanted, rng=rng, changed=context.load_cert_chain)
