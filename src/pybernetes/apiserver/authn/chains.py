"""From a client's certificate to an authority: which certificates lead there, and whether each may.

The rules are those of Go's ``crypto/x509`` as kube-apiserver uses it: every certificate on the way is valid now and may sign, no
usage that one of them denies comes back below it, nobody has more authorities below than it allows, nor names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from .jwt import TokenError
from .nameconstraints import is_understood, permits

MAX_DEPTH = 8
_ALLOWED_USAGES = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_UNDERSTOOD = {
    ExtensionOID.KEY_USAGE,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
}


class CertificateError(TokenError):
    """A client certificate that is not accepted."""


def verify(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    now: float,
) -> tuple[x509.Certificate, ...]:
    """The way from a client's certificate to an authority. Raises CertificateError."""
    _check_understood(leaf)
    _check_time(leaf, now)
    chain: tuple[x509.Certificate, ...] | None
    if leaf in authorities:
        chain = (leaf,)
    else:
        chain = next(_chains((leaf,), intermediates, authorities, now), None)
    if chain is None:
        raise CertificateError("x509: certificate signed by unknown authority")
    for certificate in reversed(chain):
        if not _may_be_client(certificate):
            raise CertificateError("x509: certificate specifies an incompatible key usage")
    return chain


def _chains(
    below: tuple[x509.Certificate, ...],
    intermediates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    now: float,
) -> Iterator[tuple[x509.Certificate, ...]]:
    if len(below) > MAX_DEPTH:
        return
    child = below[-1]
    for authority in authorities:
        if _signs(authority, child, len(below) - 1, now) and permits(authority, below):
            yield (*below, authority)
    for candidate in intermediates:
        if candidate not in below and _signs(candidate, child, len(below) - 1, now) and permits(candidate, below):
            yield from _chains((*below, candidate), intermediates, authorities, now)


def _signs(issuer: x509.Certificate, child: x509.Certificate, authorities_below: int, now: float) -> bool:
    if issuer.subject != child.issuer or not _may_sign(issuer, authorities_below):
        return False
    try:
        child.verify_directly_issued_by(issuer)
        _check_time(issuer, now)
        _check_understood(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _may_sign(certificate: x509.Certificate, authorities_below: int) -> bool:
    extensions = certificate.extensions
    try:
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        # Version 1 roots carry no extensions; Go takes them as roots too.
        return certificate.version is x509.Version.v1
    if not basic.ca or (basic.path_length is not None and authorities_below > basic.path_length):
        return False
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _may_be_client(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return not _ALLOWED_USAGES.isdisjoint(usages)


def _check_understood(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if not extension.critical or extension.oid in _UNDERSTOOD:
            continue
        if not isinstance(extension.value, x509.NameConstraints) or not is_understood(extension.value):
            raise CertificateError("x509: unhandled critical extension")


def _check_time(certificate: x509.Certificate, now: float) -> None:
    if not certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp():
        raise CertificateError("x509: certificate has expired or is not yet valid")
