"""Config maps, secrets and claims that pods of this node refer to, fetched one by one: a node may read nothing else.

What was fetched is good for a minute (upstream's default node TTL is shorter, its watch longer); an immutable object is good for
as long as anybody asks for it. Requests for one object at one time are made once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..api.errors import StatusError
from ..api.meta import Object
from ..api.resources import CONFIG_MAPS, GVR, SECRETS
from ..client.rest import Client
from ..concurrency import Clock

TTL = 60.0


class ObjectCache:
    """``get`` gives an object, None where it does not exist. Other failures are raised as they come."""

    def __init__(self, client: Client | None, clock: Clock, *, ttl: float = TTL) -> None:
        self._client, self._clock, self._ttl = client, clock, ttl
        self._known: dict[tuple[GVR, str, str], tuple[float, Object | None]] = {}
        self._pending: dict[tuple[GVR, str, str], asyncio.Future[Object | None]] = {}

    async def get(self, gvr: GVR, namespace: str, name: str, *, fresh: bool = False) -> Object | None:
        """``fresh`` asks the server even where what is known is young (a pod that starts sees what is there now)."""
        key = (gvr, namespace, name)
        known = self._known.get(key)
        if known is not None:
            stamp, obj = known
            immutable = obj is not None and bool(obj.get("immutable"))
            if immutable or (not fresh and self._clock.monotonic() - stamp < self._ttl):
                return obj
        pending = self._pending.get(key)
        if pending is not None:
            return await asyncio.shield(pending)
        future: asyncio.Future[Object | None] = asyncio.get_running_loop().create_future()
        self._pending[key] = future
        try:
            obj = await self._fetch(gvr, namespace, name)
        except BaseException as failure:
            future.set_exception(failure if isinstance(failure, Exception) else ConnectionError("interrupted"))
            future.exception()
            raise
        finally:
            del self._pending[key]
        future.set_result(obj)
        self._known[key] = (self._clock.monotonic(), obj)
        return obj

    async def _fetch(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        if self._client is None:
            raise ConnectionError(f"couldn't get {gvr.resource} {namespace}/{name}, no kubeClient defined")
        try:
            return await self._client.get(gvr, name, namespace)
        except StatusError as failure:
            if failure.code == 404:
                return None
            raise

    async def list_bundles(self, gvr: GVR, signer: str) -> list[Object]:
        """The trust bundles of one signer. Not kept: volumes are looked at once a minute."""
        if self._client is None:
            return []
        found = await self._client.list(gvr, field_selector=f"spec.signerName={signer}")
        return list(found.get("items") or ())

    async def config_map(self, namespace: str, name: str, *, fresh: bool = False) -> Object | None:
        return await self.get(CONFIG_MAPS, namespace, name, fresh=fresh)

    async def secret(self, namespace: str, name: str, *, fresh: bool = False) -> Object | None:
        return await self.get(SECRETS, namespace, name, fresh=fresh)

    def prune(self, wanted: Callable[[str], bool]) -> None:
        """Forgets what belongs to namespaces without pods, and what is long out of date."""
        now = self._clock.monotonic()
        for key, (stamp, _) in list(self._known.items()):
            if not wanted(key[1]) or now - stamp > 10 * self._ttl:
                del self._known[key]
