"""Client certificates, and the front proxy that vouches for others by headers.

The TLS handshake has proven that the client has the certificate's key (``apiserver.handshake``). Which authority signed it decides
what it may do, so each authenticator checks against its own. Specified by "X509 client certificates" and "Authenticating Proxy".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from cryptography import x509
from cryptography.x509.oid import NameOID

from ...concurrency import Clock
from ...hooks.identity import Credentials, UserInfo
from .chains import MAX_DEPTH, CertificateError, verify
from .metrics import AuthenticationMetrics
from .serviceaccounts import CREDENTIAL_ID

_UID_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")


@dataclass(frozen=True, slots=True)
class Verified:
    """A certificate that an authority vouches for, as long as all on the way to it are valid."""

    certificate: x509.Certificate
    not_before: float
    not_after: float


class CertificateVerifier:
    """Verifies client certificates against one bundle of authorities, which may be exchanged while in use."""

    MAX_ENTRIES = 4096

    def __init__(self, bundle: bytes, clock: Clock) -> None:
        self._clock = clock
        self._authorities: list[x509.Certificate] = []
        self._known: dict[bytes, Verified] = {}
        self.generation = 0
        self.load(bundle)

    def load(self, bundle: bytes) -> None:
        """Takes another bundle and forgets what the old one vouched for. Raises ValueError for a bundle without one."""
        self._authorities = x509.load_pem_x509_certificates(bundle)
        self._known.clear()
        self.generation += 1

    def verify(self, der: bytes, intermediates: Sequence[bytes] = ()) -> Verified:
        """Raises CertificateError."""
        now = self._clock.now()
        verified = self._known.get(der)
        if verified is not None and verified.not_before <= now <= verified.not_after:
            return verified
        try:
            certificate = x509.load_der_x509_certificate(der)
            others = [x509.load_der_x509_certificate(i) for i in intermediates[:MAX_DEPTH]]
            chain = verify(certificate, others, self._authorities, now)
        except ValueError as failure:
            if isinstance(failure, CertificateError):
                raise
            raise CertificateError(f"x509: malformed certificate: {failure}") from failure
        if len(self._known) >= self.MAX_ENTRIES:
            self._known.pop(next(iter(self._known)))
        begins = max(c.not_valid_before_utc.timestamp() for c in chain)
        ends = min(c.not_valid_after_utc.timestamp() for c in chain)
        verified = self._known[der] = Verified(certificate, begins, ends)
        return verified


@dataclass(slots=True)
class _Known:
    user: UserInfo | None
    not_after: float
    expires: float
    """The certificate itself; those that vouch for it may end earlier."""
    generation: int


class ClientCertificates:
    """The common name is the user, each organization a group."""

    MAX_ENTRIES = 4096

    def __init__(
        self, verifier: CertificateVerifier, clock: Clock, metrics: AuthenticationMetrics | None = None
    ) -> None:
        self._verifier, self._clock = verifier, clock
        self._metrics = metrics or AuthenticationMetrics()
        self._known: dict[bytes, _Known] = {}

    def authenticate_certificate(self, der: bytes, intermediates: Sequence[bytes] = ()) -> UserInfo | None:
        """Raises CertificateError."""
        known, now = self._known.get(der), self._clock.now()
        if known is not None and known.generation == self._verifier.generation and now < known.not_after:
            self._metrics.certificate(known.expires - now)
            return known.user
        verified = self._verifier.verify(der, intermediates)
        user = _user_of(verified.certificate, der)
        if len(self._known) >= self.MAX_ENTRIES:
            self._known.pop(next(iter(self._known)))
        expires = verified.certificate.not_valid_after_utc.timestamp()
        self._known[der] = _Known(user, verified.not_after, expires, self._verifier.generation)
        self._metrics.certificate(expires - now)
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
        certificate = self._verifier.verify(credentials.client_certificate, credentials.intermediates).certificate
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
