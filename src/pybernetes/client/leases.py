"""Leader election by a Lease: at most one holder acts. Semantics of client-go's ``tools/leaderelection``.

A candidate trusts only what it saw itself: another's lease is over when it has not changed for ``lease_duration`` of *our*
monotonic clock, so clocks of different machines need not agree.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object
from ..api.resources import LEASES
from ..api.times import to_micro_time
from ..concurrency import Clock, logger
from .rest import Client
from .transport import TransportError

log = logger("client.leases")


class LeadershipLost(Exception):
    """The lease could not be renewed in time: what was led must stop at once."""


class LeaderElector:
    """Waits for the lease, runs ``lead`` while it is held, and gives it up at the end."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        identity: str,
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        rng: random.Random | None = None,
    ) -> None:
        self._client, self._clock = client, clock
        self._namespace, self._name, self.identity = namespace, name, identity
        self._lease_duration, self._renew_deadline, self._retry_period = lease_duration, renew_deadline, retry_period
        self._rng = rng or random.Random()
        self._observed: Object | None = None
        self._observed_at = 0.0
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Returns when ``lead`` returns. Raises LeadershipLost, with ``lead`` cancelled, where the lease is lost."""
        while not await self._try():
            await self._clock.sleep(self._retry_period * (1.0 + 1.2 * self._rng.random()))
        self.leading = True
        log.info("became leader", lease=self._name, identity=self.identity)
        work = asyncio.get_running_loop().create_task(self._lead(lead))
        try:
            await self._renew(work)
        finally:
            self.leading = False
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._release()
        work.result()

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> None:
        await lead()

    async def _renew(self, work: asyncio.Task[None]) -> None:
        renewed = self._clock.monotonic()
        while not work.done():
            try:
                async with self._clock.timeout(self._retry_period):
                    await asyncio.wait([work])
            except TimeoutError:
                pass
            if work.done():
                return
            remaining = self._renew_deadline - (self._clock.monotonic() - renewed)
            try:
                async with self._clock.timeout(max(0.01, remaining)):
                    if await self._try():
                        renewed = self._clock.monotonic()
                        continue
            except TimeoutError:
                pass
            if self._clock.monotonic() - renewed >= self._renew_deadline:
                raise LeadershipLost(f"{self.identity} failed to renew lease {self._namespace}/{self._name}")

    async def _try(self) -> bool:
        """Takes or renews the lease; False where another holds it or the server does not answer."""
        try:
            return await self._acquire_or_renew()
        except (StatusError, TransportError, TimeoutError) as failure:
            log.warning("lease not taken", lease=self._name, error=str(failure))
            return False

    async def _acquire_or_renew(self) -> bool:
        now = to_micro_time(self._clock.now())
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except StatusError as failure:
            if failure.code != 404:
                raise
            self._note(await self._client.create(LEASES, self._fresh(now), self._namespace))
            return True
        if (
            self._observed is None
            or lease["metadata"]["resourceVersion"] != self._observed["metadata"]["resourceVersion"]
        ):
            self._note(lease)
        spec: dict[str, Any] = dict(lease.get("spec") or {})
        holder = spec.get("holderIdentity")
        fresh = self._clock.monotonic() - self._observed_at < float(
            spec.get("leaseDurationSeconds") or self._lease_duration
        )
        if holder and holder != self.identity and fresh:
            return False
        if holder != self.identity:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = now
        spec.update(holderIdentity=self.identity, leaseDurationSeconds=int(self._lease_duration), renewTime=now)
        self._note(await self._client.update(LEASES, {**lease, "spec": spec}))
        return True

    def _fresh(self, now: str) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self._lease_duration),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    def _note(self, lease: Object) -> None:
        self._observed = lease
        self._observed_at = self._clock.monotonic()

    async def _release(self) -> None:
        if self._observed is None or (self._observed.get("spec") or {}).get("holderIdentity") != self.identity:
            return
        spec = {**self._observed["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            async with self._clock.timeout(2.0):
                await self._client.update(LEASES, {**self._observed, "spec": spec})
        except (StatusError, TransportError, TimeoutError) as failure:
            log.info("lease not released", lease=self._name, error=str(failure))
