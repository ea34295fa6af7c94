"""Acting as a ServiceAccount: a transport that sends every request with a token of it, asked for by somebody who may.

So one process can give each of its parts an identity, and rights, of its own (``--use-service-account-credentials``).
Specified by "ServiceAccount token" (TokenRequest).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ..api.errors import StatusError
from ..api.resources import SERVICE_ACCOUNTS
from ..concurrency import Clock
from .rest import Client, path_for
from .transport import ClientRequest, ClientResponse, Transport

LIFETIME = 3600
"""Seconds that a token is asked for, as upstream's client builder does."""
RENEW_AT = 0.8
"""Share of a token's life after which another one is asked for."""


class ServiceAccountTransport:
    """``inner`` must send no credentials of its own; ``root`` may make accounts and tokens."""

    def __init__(self, inner: Transport, root: Client, clock: Clock, namespace: str, name: str) -> None:
        self._inner, self._root, self._clock = inner, root, clock
        self._namespace, self._name = namespace, name
        self._token, self._renew = "", 0.0
        self._asking = asyncio.Lock()

    async def send(self, request: ClientRequest) -> ClientResponse:
        """Raises what the inner transport raises, and StatusError where no token is to be had."""
        used = await self._fresh("")
        response = await self._inner.send(self._signed(request, used))
        if response.status != 401:
            return response
        # The account was made anew, or the keys changed: another token, once.
        response.close()
        return await self._inner.send(self._signed(request, await self._fresh(used)))

    @staticmethod
    def _signed(request: ClientRequest, token: str) -> ClientRequest:
        return replace(request, headers={**request.headers, "Authorization": f"Bearer {token}"})

    async def _fresh(self, refused: str) -> str:
        async with self._asking:
            if not self._token or self._token == refused or self._clock.monotonic() >= self._renew:
                try:
                    await self._ask()
                except StatusError as failure:
                    if failure.reason != "NotFound":
                        raise
                    await self._make()
                    await self._ask()
        return self._token

    async def _ask(self) -> None:
        path = path_for(SERVICE_ACCOUNTS, self._namespace, self._name, "token")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": LIFETIME},
        }
        began = self._clock.monotonic()
        answer = await self._root.request("POST", path, body)
        self._token = answer["status"]["token"]
        self._renew = began + LIFETIME * RENEW_AT

    async def _make(self) -> None:
        account = {"metadata": {"name": self._name, "namespace": self._namespace}}
        try:
            await self._root.create(SERVICE_ACCOUNTS, account)
        except StatusError as failure:
            if failure.reason != "AlreadyExists":
                raise

    def close(self) -> None:
        self._inner.close()
