"""``p8s apiserver``: an API server by itself, with kube-apiserver's flag names.

Without ``--etcd-servers`` it keeps its objects in SQLite under ``--data-dir``; certificates and keys that are not given are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..concurrency import Clock, PooledRandom, RealClock, logger, tlsflags
from ..concurrency.flags import DURATION, Component, boolean
from ..concurrency.log import configure
from ..storage.contract import Store
from . import auditflags, oidcflags, operatorflags
from .authn import AuthenticationOptions
from .authn.certificates import RequestHeaderNames
from .authn.jwt import VerificationKey, load_verification_keys
from .authz import AuthorizationOptions
from .bootstrap import usable_address
from .composition import Options, compose
from .crossorigin import CrossOrigin
from .handshake import ServingTLS
from .http import HttpServer
from .memory import settle_memory
from .reloading import FileWatcher
from .server import ApiServer, ServerConfig
from .streaming import KubeletTLS
from .streaming.kubelets import PREFERRED_ADDRESS_TYPES

log = logger("apiserver")


def _split(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(v.strip() for v in value.split(",") if v.strip())


def _privileged(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    if not value:
        raise click.BadParameter(
            "privileged pods are kept out by Pod Security (labels of namespaces, --admission-control-config-file)"
        )
    return value


FLAGS: list[Any] = [
    click.option("--secure-port", type=click.IntRange(0, 65535), default=6443, show_default=True, help="Port for HTTPS."),
    click.option("--bind-address", default="0.0.0.0", show_default=True, help="Address to listen on."),
    click.option("--advertise-address", default="", help="Address that members of the cluster use [the bind address]."),
    click.option("--cert-dir", type=click.Path(file_okay=False), default="", help="Where generated certificates go."),
    click.option("--data-dir", type=click.Path(file_okay=False), default="", help="Where the embedded store is kept."),
    click.option("--client-ca-file", default="", help="Authorities whose client certificates are accepted (PEM)."),
    click.option("--tls-cert-file", default="", help="Serving certificate (PEM)."),
    click.option("--tls-private-key-file", default="", help="Key of the serving certificate (PEM)."),
    *tlsflags.FLAGS,
    click.option("--token-auth-file", default="", help="CSV of static tokens: token,user,uid,\"group,...\"."),
    click.option("--authentication-config", default="", help="Issuers of tokens, and who is anonymous (AuthenticationConfiguration)."),
    *oidcflags.FLAGS,
    click.option("--authentication-token-webhook-config-file", default="", help="Kubeconfig of a service that knows more tokens."),
    click.option("--authentication-token-webhook-version", default="v1beta1", show_default=True, help="Of the TokenReview sent to it."),
    click.option("--authentication-token-webhook-cache-ttl", type=DURATION, default="2m0s", show_default=True, help="How long its answers are remembered."),
    click.option("--authorization-config", default="", help="Chain of authorizers (AuthorizationConfiguration), instead of the flags below."),
    click.option("--authorization-mode", default="AlwaysAllow", callback=_split, help="Node,RBAC,ABAC,Webhook,AlwaysAllow,AlwaysDeny."),
    click.option("--authorization-policy-file", default="", help="ABAC policy file."),
    click.option("--authorization-webhook-config-file", default="", help="Kubeconfig of the authorization webhook."),
    click.option("--authorization-webhook-version", default="v1beta1", show_default=True, help="Of the SubjectAccessReview sent to it."),
    click.option("--authorization-webhook-cache-authorized-ttl", type=DURATION, default="5m0s", show_default=True, help="How long its yes is remembered."),
    click.option("--authorization-webhook-cache-unauthorized-ttl", type=DURATION, default="30s", show_default=True, help="How long its no is remembered."),
    boolean("--enable-bootstrap-token-auth", default=False, help="Accept the tokens that new nodes join with (bootstrap.kubernetes.io/token)."),
    boolean("--anonymous-auth", default=True, help="Accept requests without credentials."),
    click.option("--enable-admission-plugins", default="NodeRestriction", callback=_split, help="Beside the defaults."),
    click.option("--disable-admission-plugins", default="", callback=_split, help="Of the defaults."),
    boolean("--allow-privileged", default=True, callback=_privileged, help="Always so: Pod Security says who may make privileged pods."),
    click.option("--admission-control-config-file", default="", help="Settings of admission plugins (AdmissionConfiguration)."),
    click.option("--default-not-ready-toleration-seconds", type=int, default=300, show_default=True, help="Added to pods by DefaultTolerationSeconds."),
    click.option("--default-unreachable-toleration-seconds", type=int, default=300, show_default=True, help="The same for unreachable nodes."),
    click.option("--service-cluster-ip-range", default="10.96.0.0/12", callback=_split, help="Networks of Services."),
    click.option("--service-node-port-range", default="30000-32767", show_default=True, help="Ports of NodePort Services."),
    click.option("--service-account-issuer", multiple=True, help="Issuer of ServiceAccount tokens; the first signs."),
    click.option("--service-account-key-file", multiple=True, help="Keys that verify ServiceAccount tokens (PEM)."),
    click.option("--service-account-signing-key-file", default="", help="Key that signs ServiceAccount tokens (PEM)."),
    click.option("--service-account-max-token-expiration", type=DURATION, default="0s", help="The longest life of a ServiceAccount token that is asked for [any]."),
    boolean("--service-account-extend-token-expiration", default=True, help="Tokens in pods outlive their time by up to a year, with a warning."),
    click.option("--api-audiences", default="", callback=_split, help="Audiences of the API [the issuer]."),
    click.option("--requestheader-client-ca-file", default="", help="Authority of the front proxy (PEM)."),
    click.option("--requestheader-allowed-names", default="", callback=_split, help="Common names of the front proxy."),
    click.option("--requestheader-username-headers", default="X-Remote-User", callback=_split, help="Headers with the user."),
    click.option("--requestheader-group-headers", default="X-Remote-Group", callback=_split, help="Headers with groups."),
    click.option("--requestheader-extra-headers-prefix", default="X-Remote-Extra-", callback=_split, help="Prefixes of extras."),
    click.option("--proxy-client-cert-file", default="", help="Certificate shown to aggregated servers and webhooks."),
    click.option("--proxy-client-key-file", default="", help="Its key."),
    click.option("--kubelet-client-certificate", default="", help="Certificate shown to kubelets (PEM)."),
    click.option("--kubelet-client-key", default="", help="Its key."),
    click.option("--kubelet-certificate-authority", default="", help="Authority of kubelets' certificates [not verified]."),
    click.option("--kubelet-preferred-address-types", default=",".join(PREFERRED_ADDRESS_TYPES), show_default=True, callback=_split, help="Which of a node's addresses its kubelet is asked at."),
    *auditflags.FLAGS,
    click.option("--encryption-provider-config", default="", help="Which resources are kept encrypted, with which keys."),
    boolean("--enable-priority-and-fairness", default=True, help="Queue requests by priority."),
    click.option("--max-requests-inflight", type=click.IntRange(0), default=400, show_default=True, help="Reads at a time; with the next one, the seats that priority levels share."),
    click.option("--max-mutating-requests-inflight", type=click.IntRange(0), default=200, show_default=True, help="Writes at a time."),
    click.option("--event-ttl", type=DURATION, default="1h0m0s", show_default=True, help="How long events are kept."),
    click.option("--etcd-servers", default="", callback=_split, help="etcd's URLs, instead of the embedded store."),
    click.option("--etcd-cafile", default="", help="Authority of etcd's certificates (PEM)."),
    click.option("--etcd-certfile", default="", help="Certificate shown to etcd (PEM)."),
    click.option("--etcd-keyfile", default="", help="Its key."),
    *operatorflags.FLAGS,
    click.option("-v", "--v", "verbosity", type=int, default=0, help="Above 3: debug messages."),
]  # fmt: skip


def with_flags(command: Any) -> Any:
    for flag in reversed(FLAGS):
        command = flag(command)
    return command


class _ApiServer(Component):
    upstream = operatorflags.NOT_HERE


@click.command(cls=_ApiServer)
@with_flags
def apiserver(verbosity: int, logging_format: str, **flags: Any) -> None:
    """Run an API server (kube-apiserver's flags)."""
    configure("debug" if verbosity > 3 else "info", logging_format)
    gc.disable()  # until ``settle_memory``: what a start makes, stays
    sys.setswitchinterval(SWITCHING)
    import uvloop

    flags["given"] = _given(click.get_current_context())
    try:
        with contextlib.suppress(asyncio.CancelledError):
            uvloop.run(serve(flags, RealClock(), PooledRandom()))
    except (ValueError, OSError) as failure:
        raise click.ClickException(str(failure)) from failure


def _given(context: click.Context) -> frozenset[str]:
    """The flags that stand on the command line, whatever their values."""
    source = click.core.ParameterSource.COMMANDLINE
    return frozenset(name for name in context.params if context.get_parameter_source(name) is source)


def _refuse_together(flags: dict[str, Any]) -> None:
    """Raises ValueError where flags say the same thing twice."""
    given = flags.get("given", frozenset())
    older = [n for n in given if n == "authorization_mode" or n.startswith("authorization_webhook_")]
    if flags["authorization_config"] and older:
        raise ValueError(
            "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined"
        )


def options_of(flags: dict[str, Any]) -> Options:
    """Raises ValueError or OSError for flags that cannot be used."""
    _refuse_together(flags)
    low, _, high = flags["service_node_port_range"].partition("-")
    signing = _read(flags["service_account_signing_key_file"]) or _made_signing_key(flags)
    keys: list[VerificationKey] = []
    for text in [_read(file) for file in flags["service_account_key_file"]] or ([signing] if signing else []):
        keys += load_verification_keys(text)
    return Options(
        server=ServerConfig(
            service_cluster_ip_ranges=flags["service_cluster_ip_range"],
            service_node_port_range=(int(low), int(high or low)),
            advertise_address=flags["advertise_address"] or advertised(flags["bind_address"]),
            secure_port=flags["secure_port"],
            event_ttl=flags["event_ttl"],
            compaction_interval=flags["etcd_compaction_interval"],
            least_watch_seconds=flags["min_request_timeout"],
            external_hostname=flags["external_hostname"],
            service_node_port=flags["kubernetes_service_node_port"],
            endpoints=flags["endpoint_reconciler_type"] != operatorflags.NONE,
            origins=CrossOrigin(flags["cors_allowed_origins"]) if flags["cors_allowed_origins"] else None,
            hidden_metrics=frozenset(flags["disabled_metrics"]),
            fairness=flags["enable_priority_and_fairness"],
            max_requests_inflight=flags["max_requests_inflight"],
            max_mutating_requests_inflight=flags["max_mutating_requests_inflight"],
            proxy_certificate=_pair(flags["proxy_client_cert_file"], flags["proxy_client_key_file"]),
        ),
        authentication=AuthenticationOptions(
            client_ca=_read(flags["client_ca_file"]),
            request_header_ca=_read(flags["requestheader_client_ca_file"]),
            request_header_allowed_names=flags["requestheader_allowed_names"],
            request_header_names=RequestHeaderNames(
                usernames=_lower(flags["requestheader_username_headers"]),
                uids=_lower(flags["requestheader_uid_headers"]),
                groups=_lower(flags["requestheader_group_headers"]),
                extra_prefixes=_lower(flags["requestheader_extra_headers_prefix"]),
            ),
            token_file=flags["token_auth_file"],
            service_account_issuers=flags["service_account_issuer"]
            or ("https://kubernetes.default.svc.cluster.local",),
            service_account_keys=keys,
            api_audiences=flags["api_audiences"],
            bootstrap_tokens=flags["enable_bootstrap_token_auth"],
            anonymous=_anonymous(flags),
            anonymous_given="anonymous_auth" in flags.get("given", ()),
            config_file=flags["authentication_config"],
            jwt=oidcflags.settings_of(flags),
            token_webhook=flags["authentication_token_webhook_config_file"],
            token_webhook_version=flags["authentication_token_webhook_version"],
            token_webhook_ttl=flags["authentication_token_webhook_cache_ttl"],
            jwt_algorithms=oidcflags.algorithms_of(flags),
        ),
        authorization=AuthorizationOptions(
            modes=flags["authorization_mode"],
            policy_file=flags["authorization_policy_file"],
            webhook_kubeconfig=flags["authorization_webhook_config_file"],
            webhook_version=flags["authorization_webhook_version"],
            allowed_ttl=flags["authorization_webhook_cache_authorized_ttl"],
            refused_ttl=flags["authorization_webhook_cache_unauthorized_ttl"],
            config_file=flags["authorization_config"],
        ),
        enable_admission=flags["enable_admission_plugins"],
        disable_admission=flags["disable_admission_plugins"],
        admission_file=flags["admission_control_config_file"],
        admission_settings={
            name: flags[name.replace("-", "_")]
            for name in ("default-not-ready-toleration-seconds", "default-unreachable-toleration-seconds")
        },
        signing_key=signing,
        jwks_uri=flags["service_account_jwks_uri"],
        max_token_seconds=_longest_token(flags),
        extend_tokens=flags["service_account_extend_token_expiration"],
        kubelet=_kubelet_tls(flags),
        encryption_file=flags["encryption_provider_config"],
        client_ca_file=flags["client_ca_file"],
        request_header_ca_file=flags["requestheader_client_ca_file"],
        audit=auditflags.options_of(flags),
    )


def _longest_token(flags: dict[str, Any]) -> int:
    seconds = int(flags["service_account_max_token_expiration"])
    if seconds and not 3600 <= seconds <= 1 << 32:
        raise ValueError("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds")
    return seconds


def _anonymous(flags: dict[str, Any]) -> bool:
    """Where everybody may do everything, nobodies are let in only if that is what somebody wants."""
    open_to_all = not flags["authorization_config"] and "AlwaysAllow" in flags["authorization_mode"]
    if flags["anonymous_auth"] and open_to_all and "anonymous_auth" not in flags.get("given", ()):
        log.warning("anonymous requests are not allowed with the AlwaysAllow authorizer; use a different authorizer")
        return False
    return bool(flags["anonymous_auth"])


def advertised(bind: str) -> str:
    """The bind address where others can reach it, else that of the interface with the default route."""
    if usable_address(bind):
        return bind
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only makes the kernel choose a source address
            found: str = probe.getsockname()[0]
        except OSError:
            return bind
    return found


def _read(file: str) -> bytes:
    return Path(file).read_bytes() if file else b""


def _pair(certificate: str, key: str) -> tuple[str, str] | None:
    return (certificate, key) if certificate else None


def _made_signing_key(flags: dict[str, Any]) -> bytes:
    """A key of this server's own for ServiceAccount tokens, where it stands alone and was given none."""
    if flags["etcd_servers"] or flags["service_account_key_file"]:
        return b""  # what others must be able to verify is for the operator to hand out
    from ..client import signing

    directory = Path(flags["cert_dir"] or flags["data_dir"] or "pybernetes-data")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / "service-account.key"
    if not file.exists():
        file.touch(0o600)
        file.write_bytes(signing.key_to_pem(signing.new_key()))
    return file.read_bytes()


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n.lower() for n in names)


def _kubelet_tls(flags: dict[str, Any]) -> KubeletTLS:
    contexts = []
    for verify in (True, False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if verify and flags["kubelet_certificate_authority"]:
            context.load_verify_locations(flags["kubelet_certificate_authority"])
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if flags["kubelet_client_certificate"]:
            context.load_cert_chain(flags["kubelet_client_certificate"], flags["kubelet_client_key"] or None)
        contexts.append(context)
    return KubeletTLS(contexts[0], contexts[1], flags["kubelet_preferred_address_types"])


def store_of(flags: dict[str, Any], clock: Clock) -> Store:
    if flags["etcd_servers"]:
        from ..storage.etcd import EtcdStore  # type: ignore[import-not-found]

        return EtcdStore(
            flags["etcd_servers"], clock, ca=flags["etcd_cafile"], certificate=flags["etcd_certfile"],
            key=flags["etcd_keyfile"],
        )  # fmt: skip
    from ..storage.sqlite import SqliteStore

    directory = Path(flags["data_dir"] or "pybernetes-data")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteStore(directory / "state.db", clock)


def server_tls(flags: dict[str, Any], clock: Clock) -> ServingTLS:
    """A self-signed certificate is made where none was given."""
    certificate, key = flags["tls_cert_file"], flags["tls_private_key_file"]
    if not certificate:
        certificate, key = _self_signed(flags, clock)
    return ServingTLS(certificate, key, partial(tlsflags.restrict, flags=flags))


def _follow_certificates(flags: dict[str, Any], clock: Clock, tls: ServingTLS) -> FileWatcher:
    files = FileWatcher(clock)
    for file in (flags["tls_cert_file"], flags["tls_private_key_file"]):
        if file:
            # Between the change of the one and of the other they do not match: that is refused, and the second change taken.
            files.add(file, lambda _: tls.load())
    return files


def _self_signed(flags: dict[str, Any], clock: Clock) -> tuple[str, str]:
    from ..client import signing

    directory = Path(flags["cert_dir"] or flags["data_dir"] or "pybernetes-data")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = directory / "apiserver.crt", directory / "apiserver.key"
    if not certificate.exists() or not key.exists():
        names = ("localhost", "127.0.0.1", flags["advertise_address"] or "127.0.0.1")
        authority = signing.new_authority("pybernetes-self-signed", now=clock.now(), lifetime=10 * 365 * 86400.0)
        subject = signing.Subject("kube-apiserver", (), tuple(dict.fromkeys(names)))
        made = signing.issue(authority, subject, signing.SERVER_USAGES, now=clock.now(), lifetime=365 * 86400.0)
        certificate.write_bytes(made[0])
        key.touch(0o600)
        key.write_bytes(made[1])
    return str(certificate), str(key)


async def serve(flags: dict[str, Any], clock: Clock, rng: random.Random) -> None:
    """Runs until SIGTERM or SIGINT. Raises OSError where the port is taken."""
    server = compose(store_of(flags, clock), clock, rng, options_of(flags))
    tls = server_tls(flags, clock)
    server.background.append(_follow_certificates(flags, clock, tls).run)
    task = asyncio.current_task()
    assert task is not None
    stop = _stopper(server, clock, flags["shutdown_delay_duration"], task.cancel)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.start()
    front = HttpServer(server, clock)
    front.shared = flags["permit_port_sharing"]
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.run())
        # Not before clients find the port open: a pass over everything takes as long as twenty requests.
        clock.call_later(SETTLING, settle_memory)
        try:
            await front.run(flags["bind_address"], flags["secure_port"], tls=tls.context)
        finally:
            running.cancel()  # after the last answer: its audit record is written too


def _stopper(server: ApiServer, clock: Clock, delay: float, stop: Callable[[], object]) -> Callable[[], None]:
    """What a signal does: at once, or after a while in which load balancers see that it is not ready; the second time at once."""
    told = False

    def tell() -> None:
        nonlocal told
        if told or not delay:
            stop()
            return
        told = server.stopping = True
        clock.call_later(delay, stop)

    return tell


SETTLING = 1.0
SWITCHING = 0.0005
"""Seconds after which a busy event loop lets the thread that writes to disk go on: it takes the interpreter's lock several
times a transaction, and by default waits up to 5 ms for it each time."""
