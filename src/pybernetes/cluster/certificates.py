"""The cluster's PKI on disk: authorities, the service account key, serving and client certificates, expiry and renewal.

Files and names are kubeadm's (the "PKI certificates and requirements" page), so that its users find what they know.
Everything is made once and kept: a second ``ensure_pki`` only adds what is missing and renews what no longer serves
(expired, signed by another authority, or without a host name that is now needed).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ..client import kubeconfig, signing
from ..client.signing import Authority, Subject
from .layout import ClusterError

DAY = 86400.0
YEAR = 365 * DAY
AUTHORITY_LIFETIME = 10 * YEAR
CERTIFICATE_LIFETIME = YEAR

CA, FRONT_PROXY_CA = "ca", "front-proxy-ca"
AUTHORITIES = {CA: "kubernetes", FRONT_PROXY_CA: "front-proxy-ca"}
NODES_GROUP = "system:nodes"

SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class CertificateSpec:
    """One leaf certificate: its file's base name, who signs it, who it is for."""

    name: str
    authority: str
    subject: Subject
    usages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """A client that finds its certificate in a kubeconfig of this file name."""

    file: str
    subject: Subject


ADMIN = Identity("admin.conf", Subject("kubernetes-admin", ("kubeadm:cluster-admins",)))
SUPER_ADMIN = Identity("super-admin.conf", Subject("kubernetes-super-admin", ("system:masters",)))
CONTROLLER_MANAGER = Identity("controller-manager.conf", Subject("system:kube-controller-manager"))
SCHEDULER = Identity("scheduler.conf", Subject("system:kube-scheduler"))
PROXY = Identity("proxy.conf", Subject("system:kube-proxy"))
CONTROL_PLANE_IDENTITIES = (ADMIN, SUPER_ADMIN, CONTROLLER_MANAGER, SCHEDULER)


def kubelet_identity(node: str) -> Identity:
    return Identity("kubelet.conf", Subject(f"system:node:{node}", (NODES_GROUP,)))


@dataclass(frozen=True, slots=True)
class ExpiryRow:
    """A line of ``p8s certs check-expiration``."""

    name: str
    expires: float
    authority: str
    residual_seconds: float
    is_authority: bool


class PkiError(ClusterError):
    """The files cannot be used as they are; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Pki:
    """The files of one cluster under one directory, and what is signed with them."""

    directory: Path

    def certificate_file(self, name: str) -> Path:
        return self.directory / f"{name}.crt"

    def key_file(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def authority(self, name: str = CA) -> Authority:
        try:
            return signing.load_authority(self.certificate_file(name).read_bytes(), self.key_file(name).read_bytes())
        except (OSError, ValueError) as failure:
            raise PkiError(f"cannot use the certificate authority {self.directory / name}: {failure}") from failure

    def ca_certificate(self, name: str = CA) -> bytes:
        return self.certificate_file(name).read_bytes()

    def client(self, subject: Subject, *, now: float, lifetime: float = CERTIFICATE_LIFETIME) -> tuple[bytes, bytes]:
        """(certificate, key) for a client of the API server, kept nowhere."""
        return signing.issue(self.authority(), subject, signing.CLIENT_USAGES, now=now, lifetime=lifetime)

    def kubelet_serving(
        self, node: str, addresses: Sequence[str], *, now: float, lifetime: float = CERTIFICATE_LIFETIME
    ) -> tuple[bytes, bytes]:
        """(certificate, key) for a kubelet's own server, signed by the cluster's authority."""
        subject = Subject(f"system:node:{node}", (NODES_GROUP,), tuple(dict.fromkeys((node, *addresses))))
        return signing.issue(self.authority(), subject, signing.SERVER_USAGES, now=now, lifetime=lifetime)

    def kubeconfig(
        self, identity: Identity, server: str, *, now: float, lifetime: float = CERTIFICATE_LIFETIME
    ) -> dict[str, Any]:
        """A kubeconfig document with a fresh client certificate."""
        certificate, key = self.client(identity.subject, now=now, lifetime=lifetime)
        user = identity.subject.common_name
        return kubeconfig.document_for(
            server,
            self.ca_certificate(),
            user=user,
            certificate=certificate,
            key=key,
            cluster="kubernetes",
            context=f"{user}@kubernetes",
        )


def write_secret(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _write_pair(pki: Pki, name: str, certificate: bytes, key: bytes) -> None:
    # The key first: a certificate without its key would be taken for a whole pair.
    write_secret(pki.key_file(name), key)
    write_secret(pki.certificate_file(name), certificate, 0o600)


def certificate_specs(sans: Iterable[str]) -> tuple[CertificateSpec, ...]:
    """The leaf certificates that a control plane needs besides those in kubeconfigs."""
    names = tuple(dict.fromkeys(sans))
    return (
        CertificateSpec("apiserver", CA, Subject("kube-apiserver", (), names), signing.SERVER_USAGES),
        CertificateSpec(
            "apiserver-kubelet-client",
            CA,
            Subject("kube-apiserver-kubelet-client", ("kubeadm:cluster-admins",)),
            signing.CLIENT_USAGES,
        ),
        CertificateSpec("front-proxy-client", FRONT_PROXY_CA, Subject("front-proxy-client"), signing.CLIENT_USAGES),
    )


def server_names(
    *, node: str, advertise_address: str, service_address: str, cluster_domain: str, extra: Iterable[str] = ()
) -> list[str]:
    """The names under which clients may reach the API server."""
    names = [node, *SERVICE_NAMES, f"kubernetes.default.svc.{cluster_domain}", service_address, advertise_address]
    return list(dict.fromkeys(n for n in (*names, "localhost", "127.0.0.1", "::1", *extra) if n))


def ensure_pki(
    directory: str | Path,
    *,
    now: float,
    sans: Iterable[str],
    lifetime: float = CERTIFICATE_LIFETIME,
    authority_lifetime: float = AUTHORITY_LIFETIME,
) -> Pki:
    """Makes what is missing or no longer serves, and nothing else. Raises PkiError where an authority lost its key."""
    pki = Pki(Path(directory))
    pki.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authorities: dict[str, Authority | None] = {}
    for name, common_name in AUTHORITIES.items():
        certificate, key = pki.certificate_file(name).exists(), pki.key_file(name).exists()
        if not certificate and not key:
            made = signing.new_authority(common_name, now=now, lifetime=authority_lifetime)
            _write_pair(pki, name, made.pem, signing.key_to_pem(made.key))
            authorities[name] = made
        elif certificate:
            # Without its key an authority is external, as kubeadm allows: then the leaves must be there and valid.
            authorities[name] = pki.authority(name) if key else None
        else:
            raise PkiError(f"{pki.key_file(name)} is there but {pki.certificate_file(name)} is missing")
    _ensure_service_account_key(pki)
    for spec in certificate_specs(sans):
        problem = _problem(pki, spec, now)
        if problem:
            authority = authorities[spec.authority]
            if authority is None:
                raise PkiError(f"{pki.certificate_file(spec.name)} {problem}, and {spec.authority}.key is not here")
            _write_pair(
                pki, spec.name, *signing.issue(authority, spec.subject, spec.usages, now=now, lifetime=lifetime)
            )
    return pki


def _ensure_service_account_key(pki: Pki) -> None:
    private, public = pki.key_file("sa"), pki.directory / "sa.pub"
    if not private.exists():
        write_secret(private, signing.key_to_pem(signing.new_key()))
        public.unlink(missing_ok=True)
    if not public.exists():
        write_secret(public, signing.public_key_to_pem(signing.key_from_pem(private.read_bytes())))


def _problem(pki: Pki, spec: CertificateSpec, now: float) -> str:
    """Why the certificate on disk does not serve, or nothing where it does."""
    file = pki.certificate_file(spec.name)
    if not file.exists() or not pki.key_file(spec.name).exists():
        return "is missing"
    try:
        certificate = signing.load_certificate(file.read_bytes())
        issuer = signing.load_certificate(pki.ca_certificate(spec.authority))
    except ValueError as failure:
        return f"is not a certificate: {failure}"
    if signing.remaining(certificate, now).total_seconds() <= 0:
        return "has expired"
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return f"is not signed by {spec.authority}.crt"
    present = set(_names_of(certificate))
    missing = [n for n in spec.subject.alternative_names if n not in present]
    return f"does not have the name {missing[0]}" if missing else ""


def _names_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *(str(a) for a in names.get_values_for_type(x509.IPAddress))]


# -- kubeconfigs -------------------------------------------------------------------------------------------------------


def ensure_kubeconfig(
    path: str | Path, pki: Pki, identity: Identity, server: str, *, now: float, lifetime: float = CERTIFICATE_LIFETIME
) -> Path:
    """Writes the kubeconfig of an identity unless one is there that still serves for this server."""
    target = Path(path)
    if target.is_dir():
        target = target / identity.file
    if not _serves(target, pki, identity, server, now):
        kubeconfig.write(target, pki.kubeconfig(identity, server, now=now, lifetime=lifetime))
    return target


def _embedded_certificate(document: dict[str, Any]) -> x509.Certificate | None:
    import base64

    for entry in document.get("users") or []:
        data = (entry.get("user") or {}).get("client-certificate-data")
        if data:
            return signing.load_certificate(base64.b64decode(data))
    return None


def _serves(path: Path, pki: Pki, identity: Identity, server: str, now: float) -> bool:
    if not path.exists():
        return False
    try:
        document = kubeconfig.load(path)
        certificate = _embedded_certificate(document)
        issuer = signing.load_certificate(pki.ca_certificate())
        if certificate is None:
            return False
        certificate.verify_directly_issued_by(issuer)
    except (kubeconfig.KubeconfigError, ValueError, TypeError, InvalidSignature):
        return False
    return (
        document["clusters"][0]["cluster"].get("server") == server
        and signing.common_name(certificate.subject) == identity.subject.common_name
        and sorted(signing.organizations(certificate.subject)) == sorted(identity.subject.organizations)
        and signing.remaining(certificate, now).total_seconds() > 0
    )


# -- expiry and renewal ------------------------------------------------------------------------------------------------


def _row(name: str, certificate: x509.Certificate, authority: str, now: float, is_authority: bool = False) -> ExpiryRow:
    return ExpiryRow(
        name,
        certificate.not_valid_after_utc.timestamp(),
        authority,
        signing.remaining(certificate, now).total_seconds(),
        is_authority,
    )


def check_expiration(pki: Pki, kubeconfigs: Mapping[str, Path], *, now: float) -> list[ExpiryRow]:
    """Leaves first, kubeconfigs among them, then the authorities: as kubeadm prints them. What is absent is left out."""
    rows = []
    for spec in certificate_specs(()):
        file = pki.certificate_file(spec.name)
        if file.exists():
            rows.append(_row(spec.name, signing.load_certificate(file.read_bytes()), spec.authority, now))
    for name, path in kubeconfigs.items():
        certificate = _embedded_certificate(kubeconfig.load(path)) if path.exists() else None
        if certificate is not None:
            rows.append(_row(name, certificate, CA, now))
    rows.sort(key=lambda r: r.name)
    for name in AUTHORITIES:
        if pki.certificate_file(name).exists():
            rows.append(_row(name, signing.load_certificate(pki.ca_certificate(name)), "", now, True))
    return rows


def renew(pki: Pki, name: str, *, now: float, lifetime: float = CERTIFICATE_LIFETIME) -> None:
    """A new certificate and key in the place of the old, for the same subject and names. Raises PkiError."""
    spec = next((s for s in certificate_specs(()) if s.name == name), None)
    file = pki.certificate_file(name)
    if spec is None or not file.exists():
        raise PkiError(f"there is no certificate {name!r} to renew in {pki.directory}")
    old = signing.load_certificate(file.read_bytes())
    subject = Subject(
        signing.common_name(old.subject), tuple(signing.organizations(old.subject)), tuple(_names_of(old))
    )
    pair = signing.issue(pki.authority(spec.authority), subject, spec.usages, now=now, lifetime=lifetime)
    _write_pair(pki, name, *pair)


def renew_kubeconfig(path: Path, pki: Pki, *, now: float, lifetime: float = CERTIFICATE_LIFETIME) -> None:
    """A new client certificate in a kubeconfig, for the same user and groups. Raises PkiError."""
    import base64

    document = kubeconfig.load(path)
    old = _embedded_certificate(document)
    if old is None:
        raise PkiError(f"{path} holds no client certificate")
    subject = Subject(signing.common_name(old.subject), tuple(signing.organizations(old.subject)))
    certificate, key = pki.client(subject, now=now, lifetime=lifetime)
    for entry in document.get("users") or []:
        user = entry.get("user") or {}
        if user.get("client-certificate-data"):
            user["client-certificate-data"] = base64.b64encode(certificate).decode()
            user["client-key-data"] = base64.b64encode(key).decode()
    kubeconfig.write(path, document)
