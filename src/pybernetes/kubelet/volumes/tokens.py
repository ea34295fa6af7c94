"""Service account tokens for pods: asked for once, renewed when four fifths of their life (or a day) are over."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ...api.meta import Object, name_of, namespace_of, uid_of
from ...api.resources import SERVICE_ACCOUNTS
from ...api.times import parse_time
from ...client.rest import Client
from ...concurrency import Clock
from .payload import VolumeError

_MAX_AGE, _JITTER = 24 * 3600.0, 10.0


@dataclass(slots=True)
class _Token:
    text: str
    expires: float
    renew: float


class TokenManager:
    def __init__(self, client: Client | None, clock: Clock, rng: random.Random) -> None:
        self._client, self._clock, self._rng = client, clock, rng
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    async def get(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's service account, bound to the pod. A failing renewal leaves the old one in use."""
        key = (uid_of(pod), audience, seconds)
        known = self._tokens.get(key)
        now = self._clock.now()
        if known is not None and now < known.renew:
            return known.text
        try:
            fresh = await self._request(pod, audience, seconds)
        except Exception:
            if known is not None and now < known.expires:
                return known.text
            raise
        self._tokens[key] = fresh
        return fresh.text

    async def _request(self, pod: Object, audience: str, seconds: int) -> _Token:
        if self._client is None:
            raise VolumeError("cannot use TokenManager when kubelet is in standalone mode")
        account = pod["spec"].get("serviceAccountName") or "default"
        reference = {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {},
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": reference,
            },
        }
        answer = await self._client.create(
            SERVICE_ACCOUNTS, request, namespace_of(pod), name=account, subresource="token"
        )
        expires = parse_time(answer["status"]["expirationTimestamp"])
        life = float((answer.get("spec") or {}).get("expirationSeconds") or seconds)
        begun = expires - life
        renew = min(begun + 0.8 * life, begun + _MAX_AGE) - self._rng.random() * _JITTER
        return _Token(answer["status"]["token"], expires, renew)

    def forget(self, uid: str) -> None:
        for key in [k for k in self._tokens if k[0] == uid]:
            del self._tokens[key]
