"""The kubelet's certificates: asked for by CertificateSigningRequests, kept in files, asked for again long before they end.

A new node has a bootstrap token only; with that it asks for its first client certificate. Specified by "TLS bootstrapping" and
``client-go/util/certificate``: files in the directory are named as there (``kubelet-client-current.pem`` is a link to the newest,
certificate and key in one), and a certificate is exchanged when 70 to 90 percent of its life have gone.
"""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..api.errors import StatusError
from ..api.meta import Object, name_of
from ..api.resources import CERTIFICATE_SIGNING_REQUESTS
from ..client import signing
from ..client.rest import Client
from ..client.transport import TransportError
from ..concurrency import Clock, logger

log = logger("kubelet.certificates")

POLL = 2.0
"""Seconds between two looks whether a request has been answered."""
PATIENCE = 15 * 60.0
"""Seconds that one request is waited for."""
FIRST_RETRY, LAST_RETRY = 2.0, 128.0
EARLIEST, JITTER = 0.7, 0.2
"""A certificate is exchanged after EARLIEST of its life, and up to JITTER later: not all nodes at once."""


class Refused(Exception):
    """The request was denied, failed, or nobody answered it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask for."""

    signer: str
    usages: tuple[str, ...]
    subject: signing.Subject


def client_certificate(node: str) -> Wanted:
    """With this one the kubelet speaks to the API server."""
    subject = signing.Subject(f"system:node:{node}", ("system:nodes",))
    return Wanted(signing.KUBELET_CLIENT_SIGNER, ("digital signature", "client auth"), subject)


def serving_certificate(node: str, names: tuple[str, ...]) -> Wanted:
    """This one the kubelet shows. ``names`` are the host names and addresses of the node."""
    subject = signing.Subject(f"system:node:{node}", ("system:nodes",), names)
    return Wanted(signing.KUBELET_SERVING_SIGNER, ("digital signature", "server auth"), subject)


class CertificateFiles:
    """``<directory>/<pair>-current.pem`` and what it was before."""

    def __init__(self, directory: Path, pair: str) -> None:
        self._directory, self._pair = directory, pair

    @property
    def current(self) -> Path:
        return self._directory / f"{self._pair}-current.pem"

    def validity(self) -> tuple[float, float] | None:
        """Since when and until when the current one is good; None where there is none that can be read."""
        try:
            pem = self.current.read_bytes()
            signing.key_from_pem(pem)
            certificate = signing.load_certificate(pem)
        except (OSError, ValueError):
            return None
        return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()

    def store(self, certificate: bytes, key: bytes, now: float) -> None:
        """Whole or not at all: a link is exchanged when the file behind it is complete. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d-%H-%M-%S")
        file = self._directory / f"{self._pair}-{stamp}.pem"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.write(certificate + key)
            target.flush()
            os.fsync(target.fileno())
        link = self._directory / f".{self._pair}-updated.pem"
        link.unlink(missing_ok=True)
        link.symlink_to(file.name)
        os.replace(link, self.current)


class CertificateManager:
    """Keeps one certificate good. ``wanted`` is asked each time, for addresses change; None: not yet known."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        files: CertificateFiles,
        wanted: Callable[[], Wanted | None],
        *,
        rng: random.Random,
        changed: Callable[[Path], None] = lambda file: None,
    ) -> None:
        """``changed`` is told the file of a new certificate, which ``client`` may need to know of."""
        self._client, self._clock, self._files, self._wanted = client, clock, files, wanted
        self._rng, self._changed = rng, changed

    def due(self) -> float:
        """When to ask for another one: at once where there is none, or it has ended."""
        validity = self._files.validity()
        if validity is None:
            return 0.0
        begins, ends = validity
        return begins + (ends - begins) * (EARLIEST + JITTER * self._rng.random())

    async def ensure(self) -> None:
        """Returns when there is a certificate that is good now."""
        validity = self._files.validity()
        if validity is None or not validity[0] <= self._clock.now() < validity[1]:
            await self._persist()

    async def run(self) -> None:
        """Exchanges the certificate whenever it is due, until cancelled."""
        while True:
            due = self.due()
            log.info("certificate rotation deadline", file=str(self._files.current), seconds=due - self._clock.now())
            await self._clock.sleep(max(0.0, due - self._clock.now()))
            await self._persist()

    async def _persist(self) -> None:
        """Asks until it is given one."""
        delay = FIRST_RETRY
        while True:
            wanted = self._wanted()
            if wanted is not None:
                try:
                    await self._exchange(wanted)
                    return
                except (Refused, StatusError, TransportError, TimeoutError) as failure:
                    log.warning("no certificate yet", signer=wanted.signer, error=str(failure))
            await self._clock.sleep(delay)
            delay = min(delay * 2, LAST_RETRY)

    async def _exchange(self, wanted: Wanted) -> None:
        key = signing.new_key()
        request = signing.new_request(key, wanted.subject)
        body: Object = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": "csr-"},
            "spec": {
                "request": base64.b64encode(request).decode(),
                "signerName": wanted.signer,
                "usages": list(wanted.usages),
            },
        }
        made = await self._client.create(CERTIFICATE_SIGNING_REQUESTS, body)
        certificate = await self._await_certificate(name_of(made))
        self._files.store(certificate, signing.key_to_pem(key), self._clock.now())
        self._changed(self._files.current)

    async def _await_certificate(self, name: str) -> bytes:
        until = self._clock.monotonic() + PATIENCE
        while self._clock.monotonic() < until:
            found = await self._client.get(CERTIFICATE_SIGNING_REQUESTS, name)
            status = found.get("status") or {}
            for condition in status.get("conditions") or ():
                if condition.get("type") in ("Denied", "Failed"):
                    what = "denied" if condition["type"] == "Denied" else "failed"
                    reason, message = condition.get("reason"), condition.get("message")
                    raise Refused(f"certificate signing request {name} was {what}: {reason}: {message}")
            if status.get("certificate"):
                return base64.b64decode(status["certificate"])
            await self._clock.sleep(POLL)
        raise Refused(f"certificate signing request {name} was not answered")
