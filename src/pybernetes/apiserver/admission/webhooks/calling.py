"""Calling a webhook over HTTPS: where it is, whom to trust, how long to wait, and what went wrong in upstream's words.

Connections are kept and reused. The same callers serve conversion webhooks.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from ....api.errors import StatusError
from ....client.kubeconfig import load_certificate
from ....client.transport import ClientRequest, HttpTransport, TransportError
from ....concurrency import Clock
from ...services import Address, ServiceResolver, Unresolvable
from .users import NOBODY, WebhookUser, WebhookUsers

MAX_TRANSPORTS = 200
MAX_ANSWER = 8 << 20


class CallFailed(Exception):
    """The webhook could not be asked, or its answer is no answer."""


def _verification_words(failure: ssl.SSLError, name: str) -> str:
    if not isinstance(failure, ssl.SSLCertVerificationError):
        return f"remote error: tls: {failure.reason or failure}"
    text = failure.verify_message or ""
    if "ostname mismatch" in text or "IP address mismatch" in text:
        why = f"x509: certificate is not valid for {name}"
    elif "expired" in text or "not yet valid" in text:
        why = "x509: certificate has expired or is not yet valid"
    else:
        why = "x509: certificate signed by unknown authority"
    return f"tls: failed to verify certificate: {why}"


def failure_words(failure: BaseException, address: Address, name: str) -> str:
    """What Go's HTTP client would say."""
    cause = failure.__cause__ or failure
    if isinstance(cause, ssl.SSLError):
        return _verification_words(cause, name)
    if isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {address.host}:{address.port}: connect: connection refused"
    if isinstance(cause, OSError) and getattr(cause, "errno", None) in (101, 113):
        return f"dial tcp {address.host}:{address.port}: connect: no route to host"
    if isinstance(failure, TransportError) and failure.sent:
        return "EOF"
    return str(failure)


def client_context(bundle: bytes, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
    """Trusts the bundle, or the system's authorities where there is none. Raises CallFailed for a bundle that is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    # A bundle may hold the server's own certificate and not its authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if bundle:
        try:
            context.load_verify_locations(cadata=bundle.decode("latin-1"))
        except (ssl.SSLError, ValueError) as failure:
            raise CallFailed("unable to load root certificates: unable to parse bytes as PEM block") from failure
    else:
        context.load_default_certs()
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


class _Target(NamedTuple):
    """Where a call goes: the name that the certificate must have, the path with its query, and the address behind it."""

    name: str
    port: int
    path: str
    url: str
    address: Address


class WebhookCaller:
    """Posts JSON to the target of a ``clientConfig`` and gives the decoded answer."""

    def __init__(self, resolver: ServiceResolver, clock: Clock, users: WebhookUsers | None = None) -> None:
        """``users`` say as whom a webhook is called; without them nobody calls."""
        self._resolver, self._clock, self._users = resolver, clock, users
        self._transports: dict[tuple[str, int, Address, str], HttpTransport] = {}
        self._contexts: dict[tuple[str, bytes], ssl.SSLContext] = {}

    async def call(self, config: Mapping[str, Any], body: Any, timeout: float) -> Any:
        """Raises CallFailed."""
        target = self._target(config, timeout)
        transport = self._transport(target, config.get("caBundle") or "")
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "kube-apiserver-admission",
        }
        user = self._user(target)
        if user.authorization:
            headers["Authorization"] = user.authorization
        request = ClientRequest("POST", target.path, headers, orjson.dumps(body))
        try:
            async with self._clock.timeout(timeout):
                status, answer = await self._send(transport, request)
        except TimeoutError as failure:
            raise CallFailed(f'Post "{target.url}": context deadline exceeded') from failure
        except TransportError as failure:
            words = failure_words(failure, target.address, target.name)
            raise CallFailed(f'Post "{target.url}": {words}') from failure
        return _decoded(status, answer)

    def _target(self, config: Mapping[str, Any], timeout: float) -> _Target:
        service = config.get("service")
        if service is None:
            parts = urlsplit(config.get("url") or "")
            if parts.scheme != "https" or not parts.hostname:
                raise CallFailed(f"invalid webhook URL {config.get('url')!r}")
            query = f"{parts.query}&" if parts.query else ""
            path = f"{parts.path or '/'}?{query}timeout={_seconds(timeout)}"
            port = parts.port or 443
            return _Target(parts.hostname, port, path, f"https://{parts.netloc}{path}", Address(parts.hostname, port))
        port, namespace = service.get("port") or 443, service.get("namespace") or ""
        name = f"{service.get('name')}.{namespace}.svc"
        path = f"/{(service.get('path') or '').lstrip('/')}?timeout={_seconds(timeout)}"
        url = f"https://{name}:{port}{path}"
        try:
            address = self._resolver.resolve(namespace, service.get("name") or "", port)
        except Unresolvable as failure:
            raise CallFailed(f'Post "{url}": {failure}') from failure
        return _Target(name, port, path, url, address)

    @staticmethod
    async def _send(transport: HttpTransport, request: ClientRequest) -> tuple[int, bytes]:
        for last in (False, True):
            try:
                response = await transport.send(request)
            except TransportError as failure:
                # A kept connection that the webhook has closed meanwhile; webhooks must bear to be called twice.
                if failure.sent and not last:
                    continue
                raise
            try:
                parts, size = [], 0
                async for chunk in response.chunks():
                    size += len(chunk)
                    if size > MAX_ANSWER:
                        raise CallFailed("the answer is too large")
                    parts.append(chunk)
                return response.status, b"".join(parts)
            finally:
                response.close()
        raise AssertionError("unreachable")

    def _transport(self, target: _Target, bundle: str) -> HttpTransport:
        key = (target.name, target.port, target.address, bundle)
        known = self._transports.get(key)
        if known is not None:
            return known
        if len(self._transports) >= MAX_TRANSPORTS:
            self._transports.pop(next(iter(self._transports))).close()
        transport = HttpTransport(
            target.name,
            target.port,
            tls=self._context(bundle, self._user(target)),
            server_hostname=target.name,
            address=(target.address.host, target.address.port),
        )
        self._transports[key] = transport
        return transport

    def _user(self, target: _Target) -> WebhookUser:
        return self._users.for_host(target.name, target.port) if self._users is not None else NOBODY

    def _context(self, bundle: str, user: WebhookUser) -> ssl.SSLContext:
        known = self._contexts.get((bundle, user.certificate))
        if known is None:
            try:
                decoded = base64.b64decode(bundle, validate=True)
            except binascii.Error as failure:
                raise CallFailed("unable to load root certificates: illegal base64 data") from failure
            if len(self._contexts) >= MAX_TRANSPORTS:
                self._contexts.clear()
            known = client_context(decoded)
            if user.certificate:
                load_certificate(known, user.certificate, user.key)
            self._contexts[bundle, user.certificate] = known
        return known

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()


def _seconds(timeout: float) -> str:
    whole = int(timeout)
    return f"{whole if whole == timeout else whole + 1}s"


def _decoded(status: int, answer: bytes) -> Any:
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError as failure:
        if status < 400:
            text = answer[:1024].decode("utf-8", "replace")
            raise CallFailed(f"couldn't get version/kind; json parse error: {failure}; body: {text!r}") from failure
        value = None
    if status >= 400:
        if isinstance(value, dict) and value.get("kind") == "Status":
            raise CallFailed(StatusError.from_status(value, status).message)
        words = answer[:1024].decode("utf-8", "replace").strip() or "unknown"
        if status == 404:
            raise CallFailed("the server could not find the requested resource")
        quoted = orjson.dumps(words).decode()
        raise CallFailed(f"an error on the server ({quoted}) has prevented the request from succeeding")
    return value
