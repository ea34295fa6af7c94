"""All ways of proving who one is, in upstream's order: front proxy, client certificate, bearer token, token in a WebSocket
protocol, and at last anonymous.

A credential that is known costs a dictionary look-up. Where some are given and none holds, the answer is 401, never anonymous.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

from ...api.errors import unauthorized
from ...concurrency import Clock, logger
from ...hooks.identity import ANONYMOUS, AUTHENTICATED, Credentials, UserInfo
from .certificates import ClientCertificates, RequestHeaders
from .jwt import TokenError
from .tokens import Audiences, TokenCache, TokenResult

log = logger("apiserver.authn")

WEBSOCKET_BEARER = "base64url.bearer.authorization.k8s.io."


def with_authenticated_group(user: UserInfo) -> UserInfo:
    """Everybody who proved an identity is in ``system:authenticated``, unless it is the anonymous one."""
    if AUTHENTICATED in user.groups or user.name == ANONYMOUS.name or "system:unauthenticated" in user.groups:
        return user
    return UserInfo(user.name, user.uid, (*user.groups, AUTHENTICATED), user.extra)


def bearer_token(header: str) -> str:
    """The token of an Authorization header, nothing where it holds none."""
    parts = header.strip().split(" ", 2)
    return parts[1] if len(parts) >= 2 and parts[0].lower() == "bearer" else ""


EXTRA_SPACE = "the provided Authorization header contains extra space before the bearer token, and is ignored"


def has_extra_space(header: str) -> bool:
    parts = header.strip().split(" ", 2)
    return len(parts) == 3 and not parts[1] and parts[0].lower() == "bearer"


class Authentication:
    """The authenticator of the request pipeline."""

    def __init__(
        self,
        clock: Clock,
        *,
        request_headers: RequestHeaders | None = None,
        certificates: ClientCertificates | None = None,
        tokens: TokenCache | None = None,
        api_audiences: Audiences = (),
        anonymous: bool = True,
        anonymous_paths: Collection[str] = (),
    ) -> None:
        self._clock = clock
        self._request_headers, self._certificates, self._tokens = request_headers, certificates, tokens
        self._audiences = api_audiences
        self._anonymous, self._anonymous_paths = anonymous, frozenset(anonymous_paths)
        self._complete: dict[int, tuple[UserInfo, UserInfo]] = {}

    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        """Raises StatusError 401 where nothing that is given holds, and where nothing is given but anonymous is not allowed."""
        failures: list[str] = []
        headers = credentials.headers
        certificate = credentials.client_certificate
        try:
            if certificate is not None:
                user = self._by_certificate(credentials, certificate, failures)
                if user is not None:
                    return self._completed(user)
            authorization = headers.get("authorization")
            if authorization is not None and self._tokens is not None:
                token = bearer_token(authorization)
                if not token and has_extra_space(authorization) and credentials.warnings is not None:
                    credentials.warnings.append(EXTRA_SPACE)
                user = await self._by_token(token, credentials, failures)
                if user is not None:
                    return user
            if credentials.websocket_protocols and self._tokens is not None:
                token = _websocket_token(credentials.websocket_protocols)
                user = await self._by_token(token, credentials, failures)
                if user is not None:
                    return user
        except TokenError as failure:
            failures.append(str(failure))
        if failures:
            log.info("unable to authenticate the request", failures="; ".join(failures), path=credentials.path)
            raise unauthorized()
        if self._anonymous and (not self._anonymous_paths or credentials.path in self._anonymous_paths):
            return ANONYMOUS
        raise unauthorized()

    def _by_certificate(self, credentials: Credentials, certificate: bytes, failures: list[str]) -> UserInfo | None:
        if self._request_headers is not None and self._request_headers.applies(credentials.headers):
            try:
                user = self._request_headers.authenticate_headers(credentials)
            except TokenError as failure:
                failures.append(str(failure))
            else:
                if user is not None:
                    return user
        if self._certificates is None:
            return None
        try:
            return self._certificates.authenticate_certificate(certificate, credentials.intermediates)
        except TokenError as failure:
            failures.append(str(failure))
            return None

    async def _by_token(self, token: str, credentials: Credentials, failures: list[str]) -> UserInfo | None:
        if not token or self._tokens is None:
            return None
        result = self._tokens.get(token)
        if result is None:
            try:
                result = await self._tokens.authenticate_token(token, self._audiences)
            except TokenError as failure:
                failures.append(str(failure))
                return None
            if result is None:
                failures.append("invalid bearer token")
                return None
        self._note(result, credentials)
        return self._completed(result.user)

    def _note(self, result: TokenResult, credentials: Credentials) -> None:
        if result.warnings and credentials.warnings is not None:
            credentials.warnings.extend(result.warnings)
        if credentials.annotations is None:
            return
        if result.annotations:
            credentials.annotations.update(result.annotations)
        if result.warn_after is not None:
            late = int(self._clock.now()) - int(result.warn_after)
            if late > 0:
                words = f"subject: {result.user.name}, seconds after warning threshold: {late}"
                credentials.annotations["authentication.k8s.io/stale-token"] = words

    def _completed(self, user: UserInfo) -> UserInfo:
        """With the group of all; one value for one value, so that authorization can cache by identity."""
        known = self._complete.get(id(user))
        if known is not None and known[0] is user:
            return known[1]
        if len(self._complete) >= 10_000:
            self._complete.clear()
        complete = with_authenticated_group(user)
        self._complete[id(user)] = (user, complete)
        return complete


def _websocket_token(protocols: Collection[str]) -> str:
    """The bearer token that a browser hides among the WebSocket protocols. Raises TokenError."""
    tokens = [p for p in protocols if p.startswith(WEBSOCKET_BEARER)]
    if not tokens:
        return ""
    if len(tokens) > 1:
        raise TokenError("multiple base64.bearer.authorization tokens specified")
    encoded = tokens[0][len(WEBSOCKET_BEARER) :]
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as failure:
        raise TokenError("invalid base64.bearer.authorization token encoding") from failure
    try:
        token = raw.decode()
    except UnicodeDecodeError as failure:
        raise TokenError("invalid base64.bearer.authorization token") from failure
    if token and len(protocols) == len(tokens):
        raise TokenError("missing additional subprotocol")
    return token
