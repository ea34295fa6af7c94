"""Authentication: certificates, tokens, the front proxy, anonymous; impersonation; issuing of ServiceAccount tokens.

``build`` puts the configured ones together in upstream's order. Specified by the "Authenticating" page.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...concurrency import Clock
    from ...hooks.admission import Requester
    from ...hooks.reading import ObjectReader
    from .certificates import CertificateVerifier, RequestHeaderNames
    from .configuration import Anonymous, Configuration
    from .jwt import Signer, VerificationKey
    from .metrics import AuthenticationMetrics
    from .oidc import Issuers
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
    anonymous_given: bool = False
    """Whether the flag stands on the command line: then the file must not say it too."""
    anonymous_paths: Collection[str] = ()
    config_file: str = ""
    """``--authentication-config``."""
    jwt: Sequence[Mapping[str, Any]] = ()
    """The issuers that ``--oidc-*`` name, in the file's form."""
    jwt_algorithms: Sequence[str] = ()
    """Empty: all."""
    token_webhook: str = ""
    """Kubeconfig of the service that knows more tokens."""
    token_webhook_version: str = "v1beta1"
    token_webhook_ttl: float = 120.0
    extra_tokens: Sequence[object] = field(default_factory=tuple)
    """More TokenAuthenticators, asked last."""

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
    metrics: AuthenticationMetrics
    issuers: Issuers | None = None
    reload: Callable[[bytes], None] | None = None
    """Takes the configuration file's new content. Raises ValueError for one that cannot be used."""


def build(
    options: AuthenticationOptions,
    reader: ObjectReader,
    clock: Clock,
    request: Requester | None = None,
    identity: str = "",
    rng: random.Random | None = None,
) -> AuthenticationStack:
    """Raises ValueError or OSError for files that cannot be used."""
    from .certificates import CertificateVerifier, ClientCertificates, RequestHeaders
    from .metrics import AuthenticationMetrics
    from .serviceaccounts import BoundTokens, LegacyTokens
    from .tokens import AudienceAgnostic, BootstrapTokens, StaticTokens, TokenCache, TokenUnion
    from .union import Authentication

    metrics = AuthenticationMetrics()
    audiences = options.audiences
    issuers, anonymous, reload = _configured(options, clock, identity)
    kinds: list[object] = []
    if options.token_file:
        kinds.append(AudienceAgnostic(StaticTokens.from_file(options.token_file), audiences))
    keys = options.service_account_keys
    if keys:
        kinds.append(LegacyTokens(keys, audiences, reader, clock, request, metrics))
        kinds.append(BoundTokens(options.service_account_issuers, keys, audiences, reader, clock, metrics))
    if options.bootstrap_tokens:
        kinds.append(AudienceAgnostic(BootstrapTokens(reader, clock), audiences))
    if issuers is not None:
        kinds.append(AudienceAgnostic(issuers, audiences))
    if options.token_webhook:
        from .webhook import webhook_tokens

        version, ttl = options.token_webhook_version, options.token_webhook_ttl
        kinds.append(webhook_tokens(options.token_webhook, version, ttl, audiences, clock, rng or random.Random()))
    kinds.extend(options.extra_tokens)
    tokens = TokenCache(TokenUnion(kinds), reader, clock, audiences, metrics)  # type: ignore[arg-type]
    client = CertificateVerifier(options.client_ca, clock) if options.client_ca else None
    proxy = CertificateVerifier(options.request_header_ca, clock) if options.request_header_ca else None
    headers = None
    if proxy is not None:
        headers = RequestHeaders(proxy, options.request_header_allowed_names, options.request_header_names)
    authenticator = Authentication(
        clock,
        request_headers=headers,
        certificates=ClientCertificates(client, clock, metrics) if client is not None else None,
        tokens=tokens,
        api_audiences=audiences,
        anonymous=anonymous.enabled,
        anonymous_paths=anonymous.paths,
    )
    if issuers is not None:
        issuers.exchanged = tokens.clear
    return AuthenticationStack(authenticator, tokens, client, proxy, audiences, metrics, issuers, reload)


def _configured(
    options: AuthenticationOptions, clock: Clock, identity: str
) -> tuple[Issuers | None, Anonymous, Callable[[bytes], None] | None]:
    """What the file says, or else the flags. Raises ValueError or OSError."""
    from . import configuration
    from .configuration import Anonymous

    anonymous = Anonymous(options.anonymous, tuple(options.anonymous_paths))
    if not options.config_file and not options.jwt:
        return None, anonymous, None
    from ..reloadmetrics import ReloadMetrics
    from .oidc import ALGORITHMS, Issuers, fetching

    fetch = fetching(clock)
    if not options.config_file:
        configuration.refuse(configuration.problems_of(options.jwt, ()))
        return Issuers(options.jwt, clock, fetch, identity, options.jwt_algorithms or ALGORITHMS), anonymous, None
    content = _content(options.config_file)
    found = configuration.parse(content, options.config_file, options.service_account_issuers)
    if found.anonymous is not None:
        if options.anonymous_given:
            words = "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file"
            raise ValueError(f"anonymous: Forbidden: {words}")
        anonymous = found.anonymous
    issuers = Issuers(found.issuers, clock, fetch, identity)
    issuers.reloads = ReloadMetrics("authentication", identity, content)
    return issuers, anonymous, _reload(options, issuers, found, content, clock)


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as failure:
        raise ValueError(f'failed to load authentication configuration from file "{file}": {failure}') from failure


def _reload(
    options: AuthenticationOptions, issuers: Issuers, first: Configuration, content: bytes, clock: Clock
) -> Callable[[bytes], None]:
    from . import configuration

    known = [content]

    def take(data: bytes) -> None:
        if data == known[0]:
            return
        known[0] = data
        assert issuers.reloads is not None
        try:
            found = configuration.parse(data, options.config_file, options.service_account_issuers)
            if found.anonymous != first.anonymous:
                configuration.refuse([configuration.CHANGED])
        except ValueError:
            issuers.reloads.failure(clock.now())
            raise
        issuers.replace(found.issuers, data)

    return take


def load_signer(pem: bytes) -> Signer:
    """The key of ``--service-account-signing-key-file``."""
    from .jwt import Signer

    return Signer.from_pem(pem)
