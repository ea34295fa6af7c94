"""A machine that joined asks for its node's next certificates before the present ones end, as its kubelet's own command would.

What a start reads (``kubelet.conf``, ``proxy.conf``, ``kubelet.crt``) is written anew with each; beside it ``pki/`` has them under
upstream's names. The first machine makes its own nodes' certificates at every start (``credentials``), and asks nobody.
"""

from __future__ import annotations

import base64
import random
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..client import kubeconfig, signing
from ..client.rest import Client
from ..client.transport import HttpTransport
from ..concurrency import Clock
from ..kubelet.certificates import CertificateFiles, CertificateManager, client_certificate, serving_certificate
from ..kubelet.identity import client_files, serving_files
from .certificates import PROXY, kubelet_identity, write_secret

CERTIFICATE, KEY = "client-certificate-data", "client-key-data"


def renewals(
    directory: Path,
    node: str,
    address: str,
    clients: Sequence[Client],
    context: ssl.SSLContext,
    clock: Clock,
    rng: random.Random,
) -> list[CertificateManager]:
    """The managers of both certificates. The first of ``clients`` asks; all show the new one. ``context`` serves."""
    kubeconfigs = [directory / f for f in (kubelet_identity(node).file, PROXY.file) if (directory / f).exists()]
    shown, served = client_files(directory / "pki"), serving_files(directory / "pki")

    def take_client(file: Path) -> None:
        for path in kubeconfigs:
            _write_user(path, file.read_bytes())
        for client in clients:
            if isinstance(client.transport, HttpTransport):
                client.transport.take_certificate(file)

    def take_serving(file: Path) -> None:
        certificate, key = _halves(file.read_bytes())
        write_secret(directory / "kubelet.crt", certificate, 0o644)
        write_secret(directory / "kubelet.key", key)
        context.load_cert_chain(file)

    user = _user(kubeconfig.load(kubeconfigs[0]))
    _begin(shown, base64.b64decode(user[CERTIFICATE]), base64.b64decode(user[KEY]), clock, take_client)
    own = [(directory / name).read_bytes() for name in ("kubelet.crt", "kubelet.key")]
    _begin(served, own[0], own[1], clock, take_serving)
    names = (node, address)
    return [
        CertificateManager(clients[0], clock, shown, lambda: client_certificate(node), rng=rng, changed=take_client),
        CertificateManager(
            clients[0], clock, served, lambda: serving_certificate(node, names), rng=rng, changed=take_serving
        ),
    ]


def _begin(files: CertificateFiles, certificate: bytes, key: bytes, clock: Clock, take: Any) -> None:
    """Starts from what joining has left; or finishes what was broken off between a new certificate and its use."""
    validity = files.validity()
    ends = signing.load_certificate(certificate).not_valid_after_utc.timestamp()
    if validity is None or validity[1] < ends:
        files.store(certificate, key, clock.now())
    elif validity[1] > ends:
        take(files.current)


def _user(document: dict[str, Any]) -> dict[str, str]:
    return next(entry["user"] for entry in document.get("users") or () if (entry.get("user") or {}).get(CERTIFICATE))


def _write_user(path: Path, pem: bytes) -> None:
    document = kubeconfig.load(path)
    user, (certificate, key) = _user(document), _halves(pem)
    user[CERTIFICATE], user[KEY] = base64.b64encode(certificate).decode(), base64.b64encode(key).decode()
    kubeconfig.write(path, document)


def _halves(pem: bytes) -> tuple[bytes, bytes]:
    """Certificate and key, which upstream keeps in one file."""
    at = pem.index(b"-----BEGIN", pem.index(b"-----END CERTIFICATE"))
    return pem[:at], pem[at:]
