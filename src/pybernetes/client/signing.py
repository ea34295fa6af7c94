"""Making and signing X.509 certificates: authorities, leaf certificates, certificate signing requests, and upstream's signers.

Pure: bytes and keys in, bytes out; whoever calls brings the time. Specified by the "Certificates and Certificate Signing
Requests" page. Keys are ECDSA P-256, as kubeadm can make them: a key costs 0.1 ms where an RSA one costs 100.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = CertificateIssuerPrivateKeyTypes

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING_SIGNER = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN_SIGNER = "kubernetes.io/legacy-unknown"

BACKDATE = 5 * 60
"""Seconds by which a certificate starts early, so that a peer whose clock is behind accepts it."""
SHORT = 8 * 3600
"""Certificates asked for less long than this keep their full life in spite of the backdating."""
MIN_DURATION = 10 * 60

_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": x509.ObjectIdentifier("2.16.840.1.113730.4.1"),
}
CLIENT_USAGES = ("digital signature", "key encipherment", "client auth")
SERVER_USAGES = ("digital signature", "key encipherment", "server auth")


class SigningError(ValueError):
    """A request or certificate that cannot be used; the message is upstream's where it has one."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: signs for others."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def pem(self) -> bytes:
        return to_pem(self.certificate)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a leaf certificate says of its holder. Alternative names are host names and IP addresses."""

    common_name: str
    organizations: tuple[str, ...] = ()
    alternative_names: tuple[str, ...] = ()


# -- keys and PEM ----------------------------------------------------------------------------------------------------


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def public_key_to_pem(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_from_pem(pem: bytes) -> PrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise SigningError("the private key is neither ECDSA nor RSA")
    return key


def to_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def load_certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Every certificate of a bundle. Raises ValueError where there is none."""
    return x509.load_pem_x509_certificates(pem)


def load_authority(certificate: bytes, key: bytes) -> Authority:
    return Authority(load_certificate(certificate), key_from_pem(key))


# -- issuing -----------------------------------------------------------------------------------------------------------


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(int(epoch), UTC)


def _name(common_name: str, organizations: Sequence[str] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName | None:
    entries: list[x509.GeneralName] = []
    for name in names:
        try:
            entries.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            entries.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(entries) if entries else None


def _usages(names: Collection[str]) -> tuple[x509.KeyUsage | None, x509.ExtendedKeyUsage | None]:
    """The two usage extensions for the usages' API names. Raises SigningError for a name that is not known."""
    bits: set[str] = set()
    extended: list[x509.ObjectIdentifier] = []
    for name in names:
        if name in _KEY_USAGES:
            bits.add(_KEY_USAGES[name])
        elif name in _EXTENDED_USAGES:
            extended.append(_EXTENDED_USAGES[name])
        else:
            raise SigningError(f"unrecognized usage values: [{name!r}]".replace("'", '"'))
    flags = {bit: bit in bits for bit in set(_KEY_USAGES.values())}
    # X.509 allows these two only beside key agreement; Go drops nothing, our library refuses.
    if "key_agreement" not in bits:
        flags["encipher_only"] = flags["decipher_only"] = False
    usage = x509.KeyUsage(**flags) if bits else None
    return usage, x509.ExtendedKeyUsage(dict.fromkeys(extended)) if extended else None


def new_authority(common_name: str, *, now: float, lifetime: float, key: PrivateKey | None = None) -> Authority:
    """A self-signed authority that starts five minutes ago."""
    key = key or new_key()
    name, public = _name(common_name), key.public_key()
    usage, _ = _usages(("digital signature", "key encipherment", "cert sign"))
    assert usage is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now - BACKDATE))
        .not_valid_after(_moment(now + lifetime))
        .add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def _leaf(
    authority: Authority, subject: x509.Name, public: object, before: float, after: float
) -> x509.CertificateBuilder:
    last = authority.certificate.not_valid_after_utc
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(before))
        .not_valid_after(min(_moment(after), last))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    issuer_key = authority.key.public_key()
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)  # type: ignore[arg-type]
    return builder.add_extension(identifier, critical=False)


def issue(
    authority: Authority,
    subject: Subject,
    usages: Collection[str],
    *,
    now: float,
    lifetime: float,
    key: PrivateKey | None = None,
) -> tuple[bytes, bytes]:
    """(certificate, key) in PEM for a holder whose key we make ourselves, unless it is given."""
    key = key or new_key()
    name = _name(subject.common_name, subject.organizations)
    builder = _leaf(authority, name, key.public_key(), now - BACKDATE, now + lifetime)
    usage, extended = _usages(usages)
    if usage:
        builder = builder.add_extension(usage, critical=True)
    if extended:
        builder = builder.add_extension(extended, critical=False)
    names = _alternative_names(subject.alternative_names)
    if names:
        builder = builder.add_extension(names, critical=False)
    return to_pem(builder.sign(authority.key, hashes.SHA256())), key_to_pem(key)


# -- certificate signing requests --------------------------------------------------------------------------------------


def new_request(key: PrivateKey, subject: Subject) -> bytes:
    """A certificate signing request in PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(subject.common_name, subject.organizations))
    names = _alternative_names(subject.alternative_names)
    if names:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def parse_request(pem: bytes) -> x509.CertificateSigningRequest:
    """Raises SigningError."""
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        raise SigningError("PEM block type must be CERTIFICATE REQUEST")
    try:
        return x509.load_pem_x509_csr(pem)
    except (ValueError, TypeError) as failure:
        raise SigningError(f"malformed certificate request: {failure}") from failure


def common_name(name: x509.Name) -> str:
    """The last CN, as Go's pkix.Name takes it."""
    attributes = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[-1].value) if attributes else ""


def organizations(name: x509.Name) -> list[str]:
    return [str(a.value) for a in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _request_names(request: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    try:
        return request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def host_names(request: x509.CertificateSigningRequest) -> list[str]:
    """The DNS names that it asks for."""
    names = _request_names(request)
    return names.get_values_for_type(x509.DNSName) if names else []


def _check_node(request: x509.CertificateSigningRequest, usages: Collection[str], purpose: str) -> None:
    required = {"digital signature", "key encipherment", purpose}
    if set(usages) not in (required, required - {"key encipherment"}):
        raise SigningError(f"usages did not match [{' '.join(sorted(required))}]")
    if not common_name(request.subject).startswith("system:node:"):
        raise SigningError("subject common name does not begin with system:node:")


def check_kubelet_serving(request: x509.CertificateSigningRequest, usages: Collection[str]) -> None:
    """Raises SigningError unless the request is what a kubelet's serving certificate may be."""
    names = _request_names(request)
    if organizations(request.subject) != ["system:nodes"]:
        raise SigningError("subject organization is not system:nodes")
    hosts = names and (names.get_values_for_type(x509.DNSName) or names.get_values_for_type(x509.IPAddress))
    if not hosts:
        raise SigningError("DNS or IP subjectAltName is required")
    assert names is not None
    if names.get_values_for_type(x509.RFC822Name):
        raise SigningError("Email subjectAltNames are not allowed")
    if names.get_values_for_type(x509.UniformResourceIdentifier):
        raise SigningError("URI subjectAltNames are not allowed")
    _check_node(request, usages, "server auth")


def check_kubelet_client(request: x509.CertificateSigningRequest, usages: Collection[str]) -> None:
    """Raises SigningError unless the request is what a kubelet's client certificate may be."""
    if organizations(request.subject) != ["system:nodes"]:
        raise SigningError("subject organization is not system:nodes")
    names = _request_names(request)
    if names is not None:
        if names.get_values_for_type(x509.DNSName):
            raise SigningError("DNS subjectAltNames are not allowed")
        if names.get_values_for_type(x509.RFC822Name):
            raise SigningError("Email subjectAltNames are not allowed")
        if names.get_values_for_type(x509.IPAddress):
            raise SigningError("IP subjectAltNames are not allowed")
        if names.get_values_for_type(x509.UniformResourceIdentifier):
            raise SigningError("URI subjectAltNames are not allowed")
    _check_node(request, usages, "client auth")


def check_client(usages: Sequence[str]) -> None:
    """Raises SigningError unless the usages are those of a client certificate."""
    for usage in usages:
        if usage not in CLIENT_USAGES:
            raise SigningError(f"invalid usage for client certificate: {usage}")
    if "client auth" not in usages:
        raise SigningError("missing required usage for client certificate: client auth")


def check_for_signer(request: x509.CertificateSigningRequest, usages: Sequence[str], signer: str) -> bool:
    """Whether we sign for this signer name. Raises SigningError where we do, but not this request."""
    if signer == KUBELET_SERVING_SIGNER:
        check_kubelet_serving(request, usages)
    elif signer == KUBELET_CLIENT_SIGNER:
        check_kubelet_client(request, usages)
    elif signer == CLIENT_SIGNER:
        check_client(usages)
    elif signer != LEGACY_UNKNOWN_SIGNER:
        return False
    return True


def duration_of(requested: int | None, maximum: float) -> float:
    """Seconds a signed certificate lives: what is asked, between ten minutes and the signer's maximum."""
    if requested is None or requested > maximum:
        return maximum
    return max(float(requested), float(MIN_DURATION))


def sign_request(
    authority: Authority,
    request: x509.CertificateSigningRequest,
    usages: Collection[str],
    *,
    now: float,
    duration: float,
) -> bytes:
    """The certificate (PEM) for a request: its subject and alternative names, our validity and usages.

    Raises SigningError where the request does not prove that its sender has the key.
    """
    if not request.is_signature_valid:
        raise SigningError("unable to verify certificate request signature")
    moment, last = _moment(now), authority.certificate.not_valid_after_utc
    if moment >= last:
        raise SigningError("refusing to sign a certificate that expired in the past")
    after = now + duration if duration < SHORT else now + duration - BACKDATE
    builder = _leaf(authority, request.subject, request.public_key(), now - BACKDATE, after)
    usage, extended = _usages(usages)
    if usage:
        builder = builder.add_extension(usage, critical=True)
    if extended:
        builder = builder.add_extension(extended, critical=False)
    names = _request_names(request)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return to_pem(builder.sign(authority.key, hashes.SHA256()))


def remaining(certificate: x509.Certificate, now: float) -> timedelta:
    """How long it is still valid (negative where it is not)."""
    return certificate.not_valid_after_utc - _moment(now)
