"""Client certificates, and the front proxy that vouches for others by headers.

The TLS layer has verified the certificate against the union of all authorities; which authority signed it decides what it
may do, so each authenticator checks again against its own. Specified by "X509 client certificates" and "Authenticating Proxy".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...concurrency import Clock
from ...hooks.identity import Credentials, UserInfo
from .jwt import TokenError
from .serviceaccounts import CREDENTIAL_ID

_UID_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
_ALLOWED_USAGES = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


class CertificateError(TokenError):
    """A client certificate that is not accepted."""


def _check_usage(certificate: x509.Certificate) -> None:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not _ALLOWED_USAGES.intersection(usages):
        raise CertificateError("x509: certificate specifies an incompatible key usage")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        # Version 1 roots carry no extensions; Go takes them as roots too.
        return certificate.version is x509.Version.v1


class CertificateVerifier:
    """Verifies leaf certificates against one bundle of authorities, which may be exchanged while in use."""

    MAX_ENTRIES = 4096

    def __init__(self, bundle: bytes, clock: Clock) -> None:
        self._clock = clock
        self._authorities: list[x509.Certificate] = []
        self._known: dict[bytes, x509.Certificate] = {}
        self.generation = 0
        self.load(bundle)

    def load(self, bundle: bytes) -> None:
        """Takes another bundle and forgets what the old one vouched for. Raises ValueError for a bundle without one."""
        self._authorities = x509.load_pem_x509_certificates(bundle)
        self._known.clear()
        self.generation += 1

    def verify(self, der: bytes) -> x509.Certificate:
        """Raises CertificateError."""
        certificate = self._known.get(der)
        if certificate is None:
            try:
                certificate = x509.load_der_x509_certificate(der)
                _check_usage(certificate)
                self._find_authority(certificate)
            except ValueError as failure:
                if isinstance(failure, CertificateError):
                    raise
                raise CertificateError(f"x509: malformed certificate: {failure}") from failure
            if len(self._known) >= self.MAX_ENTRIES:
                self._known.pop(next(iter(self._known)))
            self._known[der] = certificate
        self._check_time(certificate)
        return certificate

    def _find_authority(self, certificate: x509.Certificate) -> x509.Certificate:
        for authority in self._authorities:
            if authority.subject != certificate.issuer or not _is_authority(authority):
                continue
            try:
                certificate.verify_directly_issued_by(authority)
            except (InvalidSignature, ValueError, TypeError):
                continue
            self._check_time(authority)
            return authority
        raise CertificateError("x509: certificate signed by unknown authority")

    def _check_time(self, certificate: x509.Certificate) -> None:
        now = self._clock.now()
        if not certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp():
            raise CertificateError("x509: certificate has expired or is not yet valid")


@dataclass(slots=True)
class _Known:
    user: UserInfo | None
    not_after: float
    generation: int


class ClientCertificates:
    """The common name is the user, each organization a group."""

    MAX_ENTRIES = 4096

    def __init__(self, verifier: CertificateVerifier, clock: Clock) -> None:
        self._verifier, self._clock = verifier, clock
        self._known: dict[bytes, _Known] = {}

    def authenticate_certificate(self, der: bytes) -> UserInfo | None:
        """Raises CertificateError."""
        known = self._known.get(der)
        if known is not None and known.generation == self._verifier.generation and self._clock.now() < known.not_after:
            return known.user
        certificate = self._verifier.verify(der)
        user = _user_of(certificate, der)
        if len(self._known) >= self.MAX_ENTRIES:
            self._known.pop(next(iter(self._known)))
        self._known[der] = _Known(user, certificate.not_valid_after_utc.timestamp(), self._verifier.generation)
        return user


def _user_of(certificate: x509.Certificate, der: bytes) -> UserInfo | None:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[-1].value) if names else ""
    if not name:
        return None
    uids = [str(a.value) for a in certificate.subject.get_attributes_for_oid(_UID_OID)]
    if len(uids) > 1:
        raise CertificateError(f"expected 1 UID, but found multiple: {uids}")
    if uids == [""]:
        raise CertificateError("UID cannot be an empty string")
    groups = tuple(str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    extra = {CREDENTIAL_ID: ("X509SHA256=" + hashlib.sha256(der).hexdigest(),)}
    return UserInfo(name, uids[0] if uids else "", groups, extra)


def header_values(headers: Mapping[str, str], name: str) -> list[str]:
    """The values of a header that may come more than once (see ``Credentials``)."""
    value = headers.get(name)
    return value.split("\n") if value is not None else []


def unescape_key(text: str) -> str:
    """A key of user extra out of a header name: percent-decoded where it can be."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


@dataclass(frozen=True, slots=True)
class RequestHeaderNames:
    """Which headers the front proxy uses, in lower case."""

    usernames: tuple[str, ...] = ("x-remote-user",)
    uids: tuple[str, ...] = ("x-remote-uid",)
    groups: tuple[str, ...] = ("x-remote-group",)
    extra_prefixes: tuple[str, ...] = ("x-remote-extra-",)


class RequestHeaders:
    """``--requestheader-*``: who has a certificate of the front proxy's authority speaks for the user in its headers."""

    def __init__(
        self,
        verifier: CertificateVerifier,
        allowed_names: Sequence[str] | Callable[[], Sequence[str]] = (),
        names: RequestHeaderNames | None = None,
    ) -> None:
        self._verifier, self._allowed, self.names = verifier, allowed_names, names or RequestHeaderNames()

    def applies(self, headers: Mapping[str, str]) -> bool:
        return any(headers.get(n) for n in self.names.usernames)

    def authenticate_headers(self, credentials: Credentials) -> UserInfo | None:
        """Raises CertificateError for headers that come from somebody else."""
        if credentials.client_certificate is None:
            return None
        headers = credentials.headers
        certificate = self._verifier.verify(credentials.client_certificate)
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        allowed = self._allowed() if callable(self._allowed) else self._allowed
        name = str(common[-1].value) if common else ""
        if allowed and name not in allowed:
            raise CertificateError(f"x509: subject with cn={name} is not in the allowed list")
        user = self._first(headers, self.names.usernames)
        if not user:
            return None
        groups = [g for n in self.names.groups for g in header_values(headers, n) if g]
        extra: dict[str, tuple[str, ...]] = {}
        for prefix in self.names.extra_prefixes:
            for header in headers:
                if header.startswith(prefix):
                    key = unescape_key(header[len(prefix) :])
                    extra[key] = (*extra.get(key, ()), *header_values(headers, header))
        return UserInfo(user, self._first(headers, self.names.uids), tuple(groups), extra)

    @staticmethod
    def _first(headers: Mapping[str, str], names: Sequence[str]) -> str:
        return next((v[0] for n in names if (v := header_values(headers, n)) and v[0]), "")
