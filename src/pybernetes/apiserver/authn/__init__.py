"""Authentication: certificates, tokens, the front proxy, anonymous; impersonation; issuing of ServiceAccount tokens.

``build`` puts the configured ones together in upstream's order. Specified by the "Authenticating" page.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...concurrency import Clock
    from ...hooks.admission import Requester
    from ...hooks.reading import ObjectReader
    from .certificates import CertificateVerifier, RequestHeaderNames
    from .jwt import Signer, VerificationKey
    from .tokens import TokenCache
    from .union import Authentication

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(slots=True)
class AuthenticationOptions:
    """What the flags of ``p8s apiserver`` say. Bundles and keys are PEM."""

    client_ca: bytes = b""
    request_header_ca: bytes = b""
    request_header_allowed_names: Sequence[str] = ()
    request_header_names: RequestHeaderNames | None = None
    token_file: str = ""
    bootstrap_tokens: bool = True
    service_account_issuers: Sequence[str] = (DEFAULT_ISSUER,)
    service_account_keys: Sequence[VerificationKey] = ()
    api_audiences: Sequence[str] = ()
    """Empty: the first issuer."""
    anonymous: bool = True
    anonymous_paths: Collection[str] = ()
    extra_tokens: Sequence[object] = field(default_factory=tuple)
    """More TokenAuthenticators, asked last (a webhook, OIDC)."""

    @property
    def audiences(self) -> tuple[str, ...]:
        return tuple(self.api_audiences or self.service_account_issuers[:1])


@dataclass(slots=True)
class AuthenticationStack:
    """The authenticator, and the parts that others need: TokenReview asks ``tokens``; reloads go to the verifiers."""

    authenticator: Authentication
    tokens: TokenCache
    client_verifier: CertificateVerifier | None
    front_proxy_verifier: CertificateVerifier | None
    audiences: tuple[str, ...]


def build(
    options: AuthenticationOptions, reader: ObjectReader, clock: Clock, request: Requester | None = None
) -> AuthenticationStack:
    """Raises ValueError or OSError for files that cannot be used."""
    from .certificates import CertificateVerifier, ClientCertificates, RequestHeaders
    from .serviceaccounts import BoundTokens, LegacyTokens
    from .tokens import AudienceAgnostic, BootstrapTokens, StaticTokens, TokenCache, TokenUnion
    from .union import Authentication

    audiences = options.audiences
    kinds: list[object] = []
    if options.token_file:
        kinds.append(AudienceAgnostic(StaticTokens.from_file(options.token_file), audiences))
    keys = options.service_account_keys
    if keys:
        kinds.append(LegacyTokens(keys, audiences, reader, clock, request))
        kinds.append(BoundTokens(options.service_account_issuers, keys, audiences, reader, clock))
    if options.bootstrap_tokens:
        kinds.append(AudienceAgnostic(BootstrapTokens(reader, clock), audiences))
    kinds.extend(options.extra_tokens)
    tokens = TokenCache(TokenUnion(kinds), reader, clock, audiences)  # type: ignore[arg-type]
    client = CertificateVerifier(options.client_ca, clock) if options.client_ca else None
    proxy = CertificateVerifier(options.request_header_ca, clock) if options.request_header_ca else None
    headers = None
    if proxy is not None:
        headers = RequestHeaders(proxy, options.request_header_allowed_names, options.request_header_names)
    authenticator = Authentication(
        clock,
        request_headers=headers,
        certificates=ClientCertificates(client, clock) if client is not None else None,
        tokens=tokens,
        api_audiences=audiences,
        anonymous=options.anonymous,
        anonymous_paths=options.anonymous_paths,
    )
    return AuthenticationStack(authenticator, tokens, client, proxy, audiences)


def load_signer(pem: bytes) -> Signer:
    """The key of ``--service-account-signing-key-file``."""
    from .jwt import Signer

    return Signer.from_pem(pem)
