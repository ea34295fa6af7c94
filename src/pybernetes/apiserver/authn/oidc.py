"""Tokens of other issuers (OpenID Connect): discovery, their keys, and the users whom their claims stand for.

Specified by AuthenticationConfiguration's ``jwt``, OpenID Connect Discovery 1.0 and ``plugin/pkg/authenticator/token/oidc``. An issuer is
asked in the background, every ten seconds until it answers: it may run in this cluster. Of its keys nothing is kept for ever: a token
that none of the known ones has signed makes them be fetched again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from ...concurrency import Clock, logger
from ..metrics import Histograms, gauge_lines
from ..reloadmetrics import ReloadMetrics, hash_of
from .claims import user_of
from .jwt import ParsedToken, TokenError, audiences_of, parse
from .tokens import Audiences, TokenResult
from .webkeys import ALGORITHMS, WebKey, check_algorithm, parse_key_set, signed_by

log = logger("apiserver.authn")

WELL_KNOWN = "/.well-known/openid-configuration"
RETRY = 10.0
REMEMBERED = 10.0
"""Seconds for which a token is taken for granted: as long as upstream does, so that a key that is withdrawn ends its tokens."""
PATIENCE = 60.0
"""Seconds after which a new configuration whose issuers do not answer counts as failed; they are asked on."""
NOT_BEFORE_LEEWAY = 300.0
TIMEOUT = 30.0
MAX_DOCUMENT = 4 << 20
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Fetch = Callable[[str, str], Awaitable[bytes]]
"""The body at a URL; the second is the PEM bundle that vouches for its server, or nothing for the system's. Raises FetchError."""


class FetchError(Exception):
    """A document that could not be fetched."""


class JwtMetrics:
    """What is counted of other issuers, by upstream's names."""

    def __init__(self, identity: str) -> None:
        self._server = hash_of(identity.encode())
        self._latency = Histograms(
            "apiserver_authentication_jwt_authenticator_latency_seconds", "Time to authenticate a token.", BUCKETS
        )
        self._fetched: dict[tuple[str, str], float] = {}
        self._sets: dict[str, str] = {}

    def authenticated(self, issuer: str, good: bool, seconds: float) -> None:
        labels = (("result", "success" if good else "failure"), ("jwt_issuer_hash", hash_of(issuer.encode())))
        self._latency.observe(labels, seconds)

    def fetched(self, issuer: str, now: float, keys: bytes | None) -> None:
        self._fetched[hash_of(issuer.encode()), "failure" if keys is None else "success"] = now
        if keys is not None:
            self._sets[hash_of(issuer.encode())] = hash_of(keys)

    def forget(self, issuer: str) -> None:
        name = hash_of(issuer.encode())
        self._sets.pop(name, None)
        for result in ("success", "failure"):
            self._fetched.pop((name, result), None)

    def lines(self) -> Iterator[str]:
        yield from self._latency.lines()
        prefix = "apiserver_authentication_jwt_authenticator_jwks_fetch_last"
        yield f"# HELP {prefix}_timestamp_seconds When an issuer's keys were last fetched."
        yield f"# TYPE {prefix}_timestamp_seconds gauge"
        for (issuer, result), moment in self._fetched.items():
            labels = f'result="{result}",jwt_issuer_hash="{issuer}",apiserver_id_hash="{self._server}"'
            yield f"{prefix}_timestamp_seconds{{{labels}}} {moment!r}"
        yield from gauge_lines(
            f"{prefix}_key_set_info",
            "An issuer's keys, by their hash.",
            [({"jwt_issuer_hash": i, "apiserver_id_hash": self._server, "hash": h}, 1) for i, h in self._sets.items()],
        )


class Issuer:
    """One entry of ``jwt``."""

    def __init__(
        self, settings: Mapping[str, Any], clock: Clock, fetch: Fetch, metrics: JwtMetrics, algorithms: Sequence[str]
    ) -> None:
        self.settings, self._clock, self._fetch, self._metrics = settings, clock, fetch, metrics
        self._algorithms = algorithms
        self.url: str = settings["issuer"]["url"]
        self._authority: str = settings["issuer"].get("certificateAuthority") or ""
        self._keys_url = ""
        self._keys: tuple[WebKey, ...] = ()
        self._fetching: asyncio.Future[None] | None = None

    @property
    def ready(self) -> bool:
        return bool(self._keys_url)

    async def discover(self) -> bool:
        """Whether the issuer is known now."""
        url = self.settings["issuer"].get("discoveryURL") or self.url.removesuffix("/") + WELL_KNOWN
        try:
            document = orjson.loads(await self._fetch(url, self._authority))
            if not isinstance(document, dict):
                raise FetchError("oidc: failed to decode provider discovery object")
            if document.get("issuer") != self.url:
                words = "oidc: issuer did not match the issuer returned by provider"
                raise FetchError(f'{words}, expected "{self.url}" got "{document.get("issuer")}"')
            keys_url = document.get("jwks_uri")
            if not isinstance(keys_url, str) or urlsplit(keys_url).scheme != "https":
                raise FetchError("provider did not return JWKS URL")
        except (FetchError, ValueError) as failure:
            log.error("oidc authenticator: initializing plugin", issuer=self.url, error=str(failure))
            return False
        self._keys_url = keys_url
        return True

    async def authenticate(self, token: ParsedToken) -> TokenResult:
        """Raises TokenError."""
        began, good = self._clock.monotonic(), False
        try:
            result = await self._authenticated(token)
            good = True
            return result
        finally:
            self._metrics.authenticated(self.url, good, self._clock.monotonic() - began)

    async def _authenticated(self, token: ParsedToken) -> TokenResult:
        if not self.ready:
            raise TokenError("oidc: authenticator not initialized")
        expires = self._check(token.claims)
        algorithm = check_algorithm(token, self._algorithms)
        if not signed_by(token, algorithm, self._keys):
            await self._refresh()
            if not signed_by(token, algorithm, self._keys):
                raise TokenError("oidc: verify token: failed to verify signature: failed to verify id token signature")
        user = user_of(token.claims, self.settings)
        return TokenResult(user, expires=min(expires, self._clock.now() + REMEMBERED))

    def _check(self, claims: Mapping[str, Any]) -> float:
        """When the token ends. Raises TokenError where it is not for this server now."""
        wanted, audiences = self.settings["issuer"]["audiences"], audiences_of(claims)
        if not set(wanted).intersection(audiences):
            listed = " ".join(f'"{a}"' for a in audiences)
            expected = (
                f'"{wanted[0]}"' if len(wanted) == 1 else "in [" + " ".join(f'"{a}"' for a in sorted(wanted)) + "]"
            )
            raise TokenError(f"oidc: verify token: oidc: expected audience {expected} got [{listed}]")
        now = self._clock.now()
        expires, begins = _moment(claims, "exp"), _moment(claims, "nbf")
        if expires is None or expires < now:
            raise TokenError("oidc: verify token: oidc: token is expired")
        if begins is not None and now + NOT_BEFORE_LEEWAY < begins:
            raise TokenError("oidc: verify token: oidc: current time before the nbf (not before) time")
        return expires

    async def _refresh(self) -> None:
        """Fetches the keys; who comes while they are being fetched waits for the same answer. Raises TokenError."""
        if self._fetching is not None:
            await asyncio.shield(self._fetching)
            return
        waiting = self._fetching = asyncio.get_running_loop().create_future()
        data: bytes | None = None
        try:
            data = await self._fetch(self._keys_url, self._authority)
            self._keys = parse_key_set(data)
        except (FetchError, ValueError) as failure:
            data = None
            words = "oidc: verify token: failed to verify signature: fetching keys oidc: get keys failed"
            raise TokenError(f"{words}: {failure}") from failure
        finally:
            self._metrics.fetched(self.url, self._clock.now(), data)
            self._fetching = None
            waiting.set_result(None)


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"oidc: verify token: oidc: failed to unmarshal claims: {name} is not a number")
    return float(value)


class Issuers:
    """All issuers that are believed. New ones take the place of the old when all of them have answered."""

    def __init__(
        self,
        settings: Sequence[Mapping[str, Any]],
        clock: Clock,
        fetch: Fetch,
        identity: str = "",
        algorithms: Sequence[str] = ALGORITHMS,
    ) -> None:
        self._clock, self._fetch, self._algorithms = clock, fetch, algorithms
        self.metrics = JwtMetrics(identity)
        self.reloads: ReloadMetrics | None = None
        self._current = self._made(settings)
        self._pending: tuple[list[Issuer], bytes, float] | None = None
        self._told = False
        self._changed = asyncio.Event()
        self.exchanged: Callable[[], None] = _nobody_listens
        """Called when other issuers are believed: what was concluded from the old ones is void."""

    def _made(self, settings: Sequence[Mapping[str, Any]]) -> list[Issuer]:
        return [Issuer(s, self._clock, self._fetch, self.metrics, self._algorithms) for s in settings]

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        if not self._current:
            return None
        parsed = parse(token)
        if parsed is None:
            return None
        name = parsed.claims.get("iss")
        for issuer in self._current:
            if issuer.url == name:
                return await issuer.authenticate(parsed)
        return None

    def replace(self, settings: Sequence[Mapping[str, Any]], content: bytes) -> None:
        """Begins to ask other issuers, in the place of these as soon as they answer."""
        self._pending, self._told = (self._made(settings), content, self._clock.monotonic()), False
        self._changed.set()

    async def run(self) -> None:
        """Asks issuers until cancelled."""
        while True:
            self._changed.clear()
            await self._ask(self._current)
            pending = self._pending
            if pending is not None:
                await self._ask(pending[0])
                if pending is self._pending:
                    self._settle(*pending)
            waiting = [*self._current, *(self._pending[0] if self._pending else ())]
            try:
                async with self._clock.timeout(RETRY if not all(i.ready for i in waiting) else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    @staticmethod
    async def _ask(issuers: Sequence[Issuer]) -> None:
        for issuer in issuers:
            if not issuer.ready:
                await issuer.discover()

    def _settle(self, issuers: list[Issuer], content: bytes, since: float) -> None:
        if all(i.ready for i in issuers):
            for gone in {i.url for i in self._current} - {i.url for i in issuers}:
                self.metrics.forget(gone)
            self._current, self._pending = issuers, None
            self.exchanged()
            if self.reloads is not None:
                self.reloads.success(self._clock.now(), content)
            log.info("reloaded authentication config")
        elif not self._told and self._clock.monotonic() - since >= PATIENCE:
            self._told = True
            if self.reloads is not None:
                self.reloads.failure(self._clock.now())

    def lines(self) -> Iterator[str]:
        yield from self.metrics.lines()
        if self.reloads is not None:
            yield from self.reloads.lines()


def _nobody_listens() -> None:
    """Nobody has concluded anything from a token."""


def fetching(clock: Clock) -> Fetch:
    """By HTTPS."""

    async def fetch(url: str, authority: str) -> bytes:
        from ...client.kubeconfig import tls_context
        from ...client.transport import ClientRequest, HttpTransport, TransportError

        parts = urlsplit(url)
        host = parts.hostname or ""
        tls = tls_context(authority.encode() or None, None, None)
        transport = HttpTransport(host, parts.port or 443, tls=tls)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Accept": "application/json", "User-Agent": "kube-apiserver"}
        try:
            async with clock.timeout(TIMEOUT):
                response = await transport.send(ClientRequest("GET", target, headers))
                body = await _whole(response)
        except (TransportError, TimeoutError, OSError) as failure:
            raise FetchError(f'Get "{url}": {str(failure) or "context deadline exceeded"}') from failure
        finally:
            transport.close()
        if response.status != 200:
            raise FetchError(f"{response.status}: {body[:200].decode(errors='replace')}")
        return body

    return fetch


async def _whole(response: Any) -> bytes:
    """Raises FetchError for what is no document of keys by its size."""
    parts, size = [], 0
    async for part in response.chunks():
        size += len(part)
        if size > MAX_DOCUMENT:
            raise FetchError("the document is too large")
        parts.append(part)
    return b"".join(parts)
