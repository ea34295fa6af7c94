"""Puts an API server together: store, authentication, authorization, admission, reviews, streaming.

``compose`` is what ``p8s apiserver`` and the test clusters share; they differ only in ``Options``.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ..api.errors import method_not_allowed
from ..api.resources import GVK
from ..concurrency import Clock
from ..hooks.admission import CONNECT, AdmissionAttributes, AdmissionContext
from ..storage.contract import Store
from ..storage.encryption import EncryptingStore
from . import admission, authn, authz
from .admission import configuration
from .aggregation.trust import TrustPublisher, trust
from .audit.options import AuditOptions, auditor_of
from .authn import tracking
from .authn.certificates import CertificateVerifier, RequestHeaderNames
from .authn.issuer import (
    CACHE_CONTROL,
    JWKS_CONTENT_TYPE,
    JWKS_PATH,
    OPENID_CONFIGURATION_PATH,
    OpenIdDiscovery,
    TokenIssuer,
)
from .authz.bootstrap import kubeadm_objects, reconcile
from .equivalents import RegistryKnowledge
from .policystatus import PolicyStatus
from .reloading import FileWatcher
from .reloadmetrics import server_identity
from .request import Handler, Request, Response
from .reviews import Reviews
from .server import ApiServer, ServerConfig
from .streaming import HANDLERS, KubeletTLS, StreamingContext, StreamingHandler


@dataclass(slots=True)
class Options:
    """What the flags of ``p8s apiserver`` say, in parts that know what to do with them."""

    server: ServerConfig = field(default_factory=ServerConfig)
    authentication: authn.AuthenticationOptions = field(default_factory=authn.AuthenticationOptions)
    authorization: authz.AuthorizationOptions = field(default_factory=authz.AuthorizationOptions)
    enable_admission: Sequence[str] = ("NodeRestriction",)
    disable_admission: Sequence[str] = ()
    admission_settings: dict[str, Any] = field(default_factory=dict)
    admission_file: str = ""
    """``--admission-control-config-file``."""
    signing_key: bytes = b""
    """PEM; without it no ServiceAccount tokens are issued."""
    max_token_seconds: int = 0
    jwks_uri: str = ""
    """Where others find the keys of tokens, if not here."""
    extend_tokens: bool = True
    """Whether the tokens that pods are given outlive their time, with a warning."""
    kubelet: KubeletTLS = field(default_factory=KubeletTLS)
    audit: AuditOptions = field(default_factory=AuditOptions)
    encryption_file: str = ""
    """``--encryption-provider-config``."""
    client_ca_file: str = ""
    request_header_ca_file: str = ""
    """Where the two authorities were read: their files are looked at again."""


def compose(store: Store, clock: Clock, rng: random.Random, options: Options) -> ApiServer:
    """A server that is ready to ``start``. Raises ValueError or OSError for options that cannot be used."""
    encrypting = _encrypting(store, options, clock)
    server = ApiServer(encrypting or store, clock, rng, options.server)
    files = FileWatcher(clock)
    server.background.append(files.run)
    if encrypting is not None:
        _follow_encryption(server, encrypting, files, options.encryption_file)
        server.background.append(partial(encrypting.run, clock))
        if encrypting.has_plugins:
            for health in server.health:
                health.checks["kms-providers"] = encrypting.well
    server.auditor = auditor_of(options.audit, clock, rng)
    server.metrics.gauges.append(server.auditor.metrics if server.auditor is not None else _no_audit)
    request = server.loopback
    identity = server_identity(socket.gethostname())
    authentication = authn.build(options.authentication, server.objects, clock, request, identity, rng)
    _follow_identities(server, authentication, files, options)
    authorization = authz.build(options.authorization, server.objects, clock, rng, identity)
    _follow_authorization(server, authorization, files, options.authorization.config_file)
    authorizer = authorization.authorizer
    issuer = _issuer(server, options, clock)
    knowledge = RegistryKnowledge(server.registry)
    settings = {"rng": rng, "equivalents": knowledge.equivalents, "complete": knowledge.complete}
    settings |= {"resource_of_kind": knowledge.resource_of_kind, "schema_of": knowledge.schema_of}
    settings["metrics"] = server.chain.metrics
    enabled = admission.enabled_names(options.enable_admission, options.disable_admission)
    settings |= configuration.settings_of(options.admission_file, enabled)
    settings |= options.admission_settings
    context = AdmissionContext(server.objects, request, authorizer, clock, settings)
    plugins = admission.build_chain(
        context,
        options.enable_admission,
        options.disable_admission,
        rbac=authorization.rbac,
        extra=[admission.DeviceAccess(context)],
    )
    reviews = Reviews(authentication, authorization, clock, issuer)
    server.install(
        authenticators=[authentication.authenticator],
        authorizer=authorizer,
        admission=plugins,
        virtual_resources=reviews.resources(),
    )

    async def admit(attributes: AdmissionAttributes) -> None:
        await server.chain.admit(attributes)
        await server.chain.validate(attributes)

    reviews.admission = admit
    server.connect_handlers.update(reviews.subresources())
    streaming = StreamingContext(server.objects, clock, authorizer, options.kubelet, rng=rng)
    server.connect_handlers.update({key: _streaming(server, h, streaming) for key, h in HANDLERS.items()})
    _openid(server, options, clock)

    server.background.append(PolicyStatus(server.objects, request, server.registry, clock).run)
    publisher = TrustPublisher(request, server.objects, clock, lambda: _trust(options))
    server.background.append(publisher.run)

    async def bootstrap() -> None:
        await reconcile(request, kubeadm_objects())
        await publisher.ensure()
        await tracking.ensure(request, server.objects, clock.now())
        authorization.prepare()

    server.post_start.append(bootstrap)
    return server


def _follow_identities(
    server: ApiServer, authentication: authn.AuthenticationStack, files: FileWatcher, options: Options
) -> None:
    """Authorities are read again when their files change; what rests on a lost identity is void at once."""

    def revoked() -> None:
        server.revocations += 1

    def taking(verifier: CertificateVerifier) -> Callable[[bytes], None]:
        def take(bundle: bytes) -> None:
            verifier.load(bundle)
            revoked()

        return take

    authentication.tokens.revoked = revoked
    server.metrics.gauges.append(authentication.metrics.lines)
    if authentication.issuers is not None:
        server.background.append(authentication.issuers.run)
        server.metrics.gauges.append(authentication.issuers.lines)
    if authentication.reload is not None:
        files.add(options.authentication.config_file, authentication.reload)
    for file, verifier in (
        (options.client_ca_file, authentication.client_verifier),
        (options.request_header_ca_file, authentication.front_proxy_verifier),
    ):
        if file and verifier is not None:
            files.add(file, taking(verifier))


def _follow_authorization(
    server: ApiServer, authorization: authz.AuthorizationStack, files: FileWatcher, file: str
) -> None:
    server.metrics.gauges.append(authorization.metrics.lines)
    if authorization.reload is not None:
        files.add(file, authorization.reload)


def _trust(options: Options) -> dict[str, str]:
    """What other servers should believe, as the authorities' files are now."""
    authentication = options.authentication

    def now(file: str, read: bytes) -> bytes:
        try:
            return Path(file).read_bytes() if file else read
        except OSError:
            return read

    names = authentication.request_header_names or RequestHeaderNames()
    return trust(
        now(options.client_ca_file, authentication.client_ca),
        now(options.request_header_ca_file, authentication.request_header_ca),
        authentication.request_header_allowed_names,
        names.usernames,
        names.groups,
        names.extra_prefixes,
    )


def _no_audit() -> Iterator[str]:
    from .audit.records import event_lines

    return event_lines(0, 0)


REWRITE_PATH = "/storage/rewrite"
"""POST: everything stored is written anew with the keys that write now."""


def _encrypting(store: Store, options: Options, clock: Clock) -> EncryptingStore | None:
    if not options.encryption_file:
        return None
    from ..storage import encryption

    return encryption.EncryptingStore(store, encryption.load(options.encryption_file, clock))


def _follow_encryption(server: ApiServer, store: EncryptingStore, files: FileWatcher, file: str) -> None:
    from ..storage.encryption import parse_text

    def classify(key: str) -> tuple[str, str] | None:
        end = key.find("/", 1)
        while end >= 0:
            dispatcher = server.hub.dispatchers.get(key[: end + 1])
            if dispatcher is not None:
                return dispatcher.cache.gvr.group, dispatcher.cache.gvr.resource
            end = key.find("/", end + 1)
        return None

    async def rewrite(request: Request) -> Response:
        if request.method != "POST":
            raise method_not_allowed()
        files.look()
        written = await store.rewrite(list(server.hub.dispatchers))
        return Response(200, orjson.dumps({"rewritten": written}))

    store.classify = classify
    files.add(file, lambda data: store.configure(parse_text(data, file, server.clock)))
    server.paths[REWRITE_PATH] = rewrite


def _issuer(server: ApiServer, options: Options, clock: Clock) -> TokenIssuer | None:
    if not options.signing_key:
        return None
    authentication = options.authentication
    return TokenIssuer(
        authn.load_signer(options.signing_key),
        authentication.service_account_issuers[0],
        authentication.audiences,
        server.objects,
        clock,
        max_seconds=options.max_token_seconds,
        extend_expiration=options.extend_tokens,
    )


def _openid(server: ApiServer, options: Options, clock: Clock) -> None:
    authentication = options.authentication
    address = f"{options.server.external_hostname or options.server.advertise_address}:{options.server.secure_port}"
    try:
        discovery = OpenIdDiscovery(
            authentication.service_account_issuers[0],
            list(authentication.service_account_keys),
            jwks_uri=options.jwks_uri,
            address=address,
        )
    except ValueError:
        return  # an issuer that is no https URL has no discovery documents, as upstream
    server.paths[OPENID_CONFIGURATION_PATH] = _document(discovery.configuration, "application/json")
    server.paths[JWKS_PATH] = _document(discovery.keys, JWKS_CONTENT_TYPE)


def _document(body: bytes, content_type: str) -> Handler:
    async def answer(request: Request) -> Response:
        return Response(200, body, content_type, [("Cache-Control", CACHE_CONTROL)])

    return answer


def _streaming(server: ApiServer, handler: StreamingHandler, context: StreamingContext) -> Handler:
    """Admission sees a CONNECT before the stream begins."""

    async def handle(request: Request) -> Response:
        from .streaming.options import connect_options

        info = request.info
        assert info is not None
        resource = server.registry.lookup(info.group, info.version, info.resource)
        assert resource is not None
        options = connect_options(request)
        if options is not None:
            kind = GVK("", "v1", options["kind"])
            attributes = AdmissionAttributes(
                CONNECT, resource.gvr, kind, info.subresource, info.namespace, info.name, options, None, request.user
            )
            await server.chain.admit(attributes)
            await server.chain.validate(attributes)
        return await handler(request, context)

    return handle
