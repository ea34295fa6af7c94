"""Bearer tokens that another service knows: asked by TokenReview (``--authentication-token-webhook-*``).

Specified by "Webhook Token Authentication" and ``plugin/pkg/authenticator/token/webhook``.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

from ...concurrency import Clock, logger
from ...hooks.identity import UserInfo
from ..outcalls import FAILURES, Outcall, outcall_of
from .jwt import TokenError
from .tokens import Audiences, TokenResult, intersect

log = logger("apiserver.authn")

VERSIONS = ("v1", "v1beta1")
MAX_ENTRIES = 8192


class WebhookTokens:
    """Answers are remembered for ``ttl`` seconds, a no like a yes; failures are not."""

    def __init__(self, service: Outcall, clock: Clock, api_audiences: Audiences, *, version: str, ttl: float) -> None:
        self._service, self._clock, self._api_audiences = service, clock, api_audiences
        self._version, self._ttl = version, ttl
        # By a hash: tokens lie in memory no longer than they are used.
        self._known: dict[tuple[bytes, Audiences], tuple[float, TokenResult | str | None]] = {}

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        """None where the service does not know the token. Raises TokenError where it says why, or cannot be asked."""
        key = (hashlib.sha256(token.encode()).digest(), audiences)
        known = self._known.get(key)
        if known is None or known[0] <= self._clock.monotonic():
            known = (self._clock.monotonic() + self._ttl, await self._ask(token, audiences))
            self._remember(key, known)
        answer = known[1]
        if isinstance(answer, str):
            raise TokenError(answer)
        return answer

    def _remember(self, key: tuple[bytes, Audiences], entry: tuple[float, TokenResult | str | None]) -> None:
        if self._ttl <= 0:
            return
        while len(self._known) >= MAX_ENTRIES:
            self._known.pop(next(iter(self._known)))
        self._known.pop(key, None)
        self._known[key] = entry

    async def _ask(self, token: str, audiences: Audiences) -> TokenResult | str | None:
        spec: dict[str, Any] = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        head = {"apiVersion": f"authentication.k8s.io/{self._version}", "kind": "TokenReview"}
        try:
            status = await self._service.post({**head, "spec": spec}, _status_of)
        except FAILURES as failure:
            log.error("failed to make webhook authenticator request", error=str(failure))
            raise TokenError(self._service.words(failure)) from failure
        return self._result(status, audiences)

    def _result(self, status: Mapping[str, Any], audiences: Audiences) -> TokenResult | str | None:
        agreed: Audiences = ()
        if audiences:
            # A service that says nothing of audiences means the API server's own.
            agreed = intersect(audiences, tuple(status.get("audiences") or self._api_audiences))
            if not agreed:
                return None
        if not status.get("authenticated"):
            return str(status["error"]) if status.get("error") else None
        user = status.get("user") or {}
        extra = {str(k): tuple(v or ()) for k, v in (user.get("extra") or {}).items()}
        made = UserInfo(user.get("username") or "", user.get("uid") or "", tuple(user.get("groups") or ()), extra)
        return TokenResult(made, agreed, self._clock.now() + self._ttl, cacheable=self._ttl > 0)


def _status_of(answer: Any) -> dict[str, Any]:
    """Raises ValueError."""
    if not isinstance(answer, dict) or answer.get("kind") != "TokenReview":
        raise ValueError("the answer is not a TokenReview")
    if str(answer.get("apiVersion")).partition("/")[0] != "authentication.k8s.io":
        raise ValueError("the answer is not a TokenReview of authentication.k8s.io")
    status = answer.get("status") or {}
    user = (status.get("user") or {}) if isinstance(status, dict) else None
    if not isinstance(user, dict) or not isinstance(status.get("authenticated", False), bool):
        raise ValueError("the answer's status is not one of a TokenReview")
    extra = user.get("extra") or {}
    texts = [user.get("username") or "", user.get("uid") or "", status.get("error") or ""]
    lists = [
        user.get("groups") or [],
        status.get("audiences") or [],
        *(extra.values() if isinstance(extra, dict) else [5]),
    ]
    for values in lists:
        if not isinstance(values or [], list):
            raise ValueError("the answer's user is not one of a TokenReview")
        texts += values or []
    if not all(isinstance(t, str) for t in texts):
        raise ValueError("the answer's user is not one of a TokenReview")
    return status


def webhook_tokens(
    kubeconfig: str, version: str, ttl: float, api_audiences: Audiences, clock: Clock, rng: random.Random
) -> WebhookTokens:
    """Raises ValueError or OSError."""
    if version not in VERSIONS:
        supported = ", ".join(f'"{v}"' for v in VERSIONS)
        raise ValueError(f'unsupported authentication webhook version "{version}", supported versions are {supported}')
    return WebhookTokens(outcall_of(kubeconfig, clock, rng), clock, api_audiences, version=version, ttl=ttl)
