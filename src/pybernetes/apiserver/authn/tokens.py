"""Bearer tokens: what a token authenticator is, static token files, bootstrap tokens, and the cache over them all.

Specified by the "Authenticating" page and "Authenticating with Bootstrap Tokens".
"""

from __future__ import annotations

import base64
import binascii
import csv
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...api.meta import Object, is_deleting, metadata, name_of, namespace_of, uid_of
from ...api.resources import GVR, NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from ...api.times import parse_time
from ...concurrency import Clock, logger
from ...hooks.identity import UserInfo
from ...hooks.reading import ObjectReader
from .jwt import TokenError
from .metrics import HIT, MISS, AuthenticationMetrics

log = logger("apiserver.authn")

Audiences = tuple[str, ...]
ObjectKey = tuple[GVR, str, str]


@dataclass(frozen=True, slots=True)
class TokenResult:
    """Whose token it is, and what the answer rests on: ``dependencies`` are the objects whose change ends it."""

    user: UserInfo
    audiences: Audiences = ()
    expires: float | None = None
    dependencies: tuple[ObjectKey, ...] = ()
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    warn_after: float | None = None
    cacheable: bool = True


class TokenAuthenticator(Protocol):
    """One kind of token."""

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        """None where the token is not of this kind. Raises TokenError where it is but fails."""
        ...


def intersect(left: Sequence[str], right: Sequence[str]) -> Audiences:
    return tuple(a for a in left if a in right)


class AudienceAgnostic:
    """Tokens that know nothing of audiences are good for the API server's own."""

    def __init__(self, inner: TokenAuthenticator, api_audiences: Audiences) -> None:
        self._inner, self._api_audiences = inner, api_audiences

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        agreed = intersect(audiences, self._api_audiences)
        if not agreed and audiences and self._api_audiences:
            return None
        result = await self._inner.authenticate_token(token, audiences)
        if result is None:
            return None
        return TokenResult(result.user, agreed, result.expires, result.dependencies)


class StaticTokens:
    """``--token-auth-file``: lines of token, user name, uid and optionally a quoted list of groups."""

    def __init__(self, users: Mapping[str, UserInfo]) -> None:
        self._users = users

    @classmethod
    def from_file(cls, path: str | Path) -> StaticTokens:
        """Raises ValueError in upstream's words for a line that is too short."""
        users: dict[str, UserInfo] = {}
        with Path(path).open(newline="") as file:
            for number, row in enumerate((r for r in csv.reader(file, skipinitialspace=True) if r), 1):
                if len(row) < 3:
                    raise ValueError(
                        f"token file '{path}' must have at least 3 columns (token, user name, user uid), found {len(row)}"
                    )
                if not row[0]:
                    log.warning("empty token in the token file", file=str(path), record=number)
                    continue
                if row[0] in users:
                    log.warning("duplicate token in the token file", file=str(path), record=number)
                groups = tuple(row[3].split(",")) if len(row) >= 4 else ()
                users[row[0]] = UserInfo(row[1], row[2], groups)
        return cls(users)

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        user = self._users.get(token)
        return TokenResult(user) if user is not None else None


_BOOTSTRAP_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_BOOTSTRAP_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
BOOTSTRAP_GROUP = "system:bootstrappers"
BOOTSTRAP_SECRET_TYPE = "bootstrap.kubernetes.io/token"


def secret_data(secret: Object, key: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


class BootstrapTokens:
    """Secrets ``bootstrap-token-<id>`` in kube-system: with them a new node asks for its first certificate."""

    def __init__(self, reader: ObjectReader, clock: Clock) -> None:
        self._reader, self._clock = reader, clock

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        match = _BOOTSTRAP_TOKEN.fullmatch(token)
        if match is None:
            return None
        token_id, token_secret = match.groups()
        name = f"bootstrap-token-{token_id}"
        secret = self._reader.get(SECRETS, "kube-system", name)
        if secret is None or is_deleting(secret) or secret.get("type") != BOOTSTRAP_SECRET_TYPE:
            return None
        if not hmac.compare_digest(secret_data(secret, "token-secret").encode(), token_secret.encode()):
            return None
        if secret_data(secret, "token-id") != token_id:
            return None
        if secret_data(secret, "usage-bootstrap-authentication") != "true":
            return None
        expires = self._expiry(secret)
        if expires is not None and expires < self._clock.now():
            return None
        groups = _bootstrap_groups(secret_data(secret, "auth-extra-groups"))
        if groups is None:
            log.warning("a bootstrap token's secret names an invalid group", secret=name)
            return None
        user = UserInfo(f"system:bootstrap:{token_id}", groups=groups)
        return TokenResult(user, (), expires, ((SECRETS, "kube-system", name),))

    @staticmethod
    def _expiry(secret: Object) -> float | None:
        text = secret_data(secret, "expiration")
        if not text:
            return None
        try:
            return parse_time(text)
        except ValueError:
            # Upstream takes a time that it cannot read for one that has passed.
            return 0.0


def _bootstrap_groups(text: str) -> tuple[str, ...] | None:
    extra = [g for g in text.split(",") if g] if text else []
    if any(_BOOTSTRAP_GROUP.fullmatch(g) is None for g in extra):
        return None
    return tuple(sorted({BOOTSTRAP_GROUP, *extra}))


class TokenUnion:
    """The first kind that knows the token decides; failures of the others are told only where none does."""

    def __init__(self, authenticators: Sequence[TokenAuthenticator]) -> None:
        self._authenticators = tuple(authenticators)

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        failures: list[str] = []
        for authenticator in self._authenticators:
            try:
                result = await authenticator.authenticate_token(token, audiences)
            except TokenError as failure:
                failures.append(str(failure))
                continue
            if result is not None:
                return result
        if failures:
            unique = list(dict.fromkeys(failures))
            raise TokenError(unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]")
        return None


@dataclass(slots=True)
class _Entry:
    result: TokenResult
    valid_until: float


class TokenCache:
    """Remembers good tokens until they expire or an object on which they rest changes.

    Failures are not remembered: they are cheap to find except for a forged signature, and those cost the forger too.
    """

    MAX_ENTRIES = 10_000
    MAX_AGE = 3600.0

    def __init__(
        self,
        inner: TokenAuthenticator,
        reader: ObjectReader,
        clock: Clock,
        audiences: Audiences,
        metrics: AuthenticationMetrics | None = None,
    ) -> None:
        self._metrics = metrics or AuthenticationMetrics()
        self._inner, self._clock, self._audiences = inner, clock, audiences
        self._entries: dict[str, _Entry] = {}
        self._by_object: dict[ObjectKey, set[str]] = {}
        self.revoked: Callable[[], None] = _nobody_listens
        """Called after tokens were forgotten because an object on which they rest has changed."""
        for gvr in (SERVICE_ACCOUNTS, SECRETS, PODS, NODES):
            reader.subscribe(gvr, self._listener(gvr))

    def get(self, token: str) -> TokenResult | None:
        """What is known without any work."""
        entry = self._entries.get(token)
        if entry is None:
            return None
        if self._clock.now() >= entry.valid_until:
            self._drop(token)
            return None
        self._metrics.looked_up(HIT)
        return entry.result

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        if audiences != self._audiences:
            return await self._inner.authenticate_token(token, audiences)
        known = self.get(token)
        if known is not None:
            return known
        result = await self._fetch(token, audiences)
        if result is not None and result.cacheable:
            self._remember(token, result)
        return result

    async def _fetch(self, token: str, audiences: Audiences) -> TokenResult | None:
        began, result = self._clock.monotonic(), None
        self._metrics.fetching += 1
        try:
            result = await self._inner.authenticate_token(token, audiences)
            return result
        finally:
            self._metrics.fetching -= 1
            self._metrics.fetched(good=result is not None)
            self._metrics.looked_up(MISS, self._clock.monotonic() - began)

    def clear(self) -> None:
        """Forgets all tokens: others are believed now."""
        self._entries.clear()
        self._by_object.clear()
        self.revoked()

    def _remember(self, token: str, result: TokenResult) -> None:
        while len(self._entries) >= self.MAX_ENTRIES:
            self._drop(next(iter(self._entries)))
        until = self._clock.now() + self.MAX_AGE
        if result.expires is not None:
            until = min(until, result.expires)
        self._entries[token] = _Entry(result, until)
        for key in result.dependencies:
            self._by_object.setdefault(key, set()).add(token)

    def _drop(self, token: str) -> None:
        entry = self._entries.pop(token, None)
        if entry is None:
            return
        for key in entry.result.dependencies:
            tokens = self._by_object.get(key)
            if tokens is not None:
                tokens.discard(token)
                if not tokens:
                    del self._by_object[key]

    def _listener(self, gvr: GVR) -> Any:
        def changed(kind: str, old: Object | None, new: Object | None) -> None:
            obj = new or old
            if obj is None or not self._by_object:
                return
            key = (gvr, namespace_of(obj), name_of(obj))
            tokens = self._by_object.get(key)
            if tokens is None:
                return
            if kind == "MODIFIED" and gvr != SECRETS and old is not None and new is not None:
                # A pod's status changes all the time and says nothing of its tokens.
                if uid_of(old) == uid_of(new) and _deletion(old) == _deletion(new):
                    return
            for token in list(tokens):
                self._drop(token)
            self.revoked()

        return changed


def _nobody_listens() -> None:
    """Nobody has concluded anything from a token."""


def _deletion(obj: Object) -> Any:
    return metadata(obj).get("deletionTimestamp")
