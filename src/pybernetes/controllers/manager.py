"""The manager: runs the chosen controllers over one set of informers, while it holds the lease."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ..client.informer import InformerFactory
from ..client.leases import LeaderElector
from ..client.rest import Client
from ..client.sharing import sharing_transforms
from ..concurrency import Clock, logger
from . import registry
from .accounts import ACCOUNTS
from .metrics import Metrics
from .runtime import Controller, ControllerContext
from .settings import Settings

log = logger("controllers.manager")

LEASE_NAMESPACE, LEASE_NAME = "kube-system", "kube-controller-manager"


class ControllerManager:
    """``informers`` are those of a process that has some already, and runs them. ``identities`` gives the client of a
    ServiceAccount in kube-system: each controller acts as its own then, while informers read for all of them. ``guests`` is
    what controllers of other packages act with; without it they have the manager's own rights.

    ``run`` works until cancelled. It raises LeadershipLost where the lease is lost: the process should end then, for only
    a fresh start is sure to act on nothing that it believed before."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        settings: Settings | None = None,
        controllers: Sequence[str] = ("*",),
        identity: str = "",
        leader_elect: bool = False,
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        lease: tuple[str, str] = (LEASE_NAMESPACE, LEASE_NAME),
        informers: InformerFactory | None = None,
        identities: Callable[[str], Client] | None = None,
        guests: Client | None = None,
        metrics: Metrics | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.client, self.clock = client, clock
        self.settings = settings or Settings()
        self.metrics = metrics or Metrics()
        self._rng = rng or random.Random()
        self._entries = registry.known()
        self.names = registry.choose(controllers, self._entries)
        self.controllers: list[Controller] = []
        self._leader_elect, self._shared, self._identities = leader_elect, informers, identities
        self._guests = guests
        self._elector = LeaderElector(
            client,
            clock,
            namespace=lease[0],
            name=lease[1],
            identity=identity or f"manager_{self._rng.getrandbits(64):016x}",
            lease_duration=lease_duration,
            renew_deadline=renew_deadline,
            retry_period=retry_period,
            rng=self._rng,
        )

    @property
    def leading(self) -> bool:
        return self._elector.leading or (not self._leader_elect and bool(self.controllers))

    async def run(self) -> None:
        if self._leader_elect:
            await self._elector.run(self._lead)
        else:
            await self._lead()

    async def _lead(self) -> None:
        # Pods are kept slim: tens of thousands of them are most of what a manager holds.
        transforms = sharing_transforms(slim_pods=True)
        informers = self._shared or InformerFactory(self.client, self.clock, self._rng, transforms=transforms)
        context = ControllerContext(
            self.client, informers, self.clock, self.settings, self._rng, queue_metrics=self.metrics.queue
        )
        clients: dict[str, Client] = {}
        self.controllers = [
            registry.build(name, self._entries[name], self._context_of(name, context, clients)) for name in self.names
        ]
        self.metrics.leading.labels(LEASE_NAME).set(1)
        log.info("controllers start", count=len(self.controllers))
        try:
            async with asyncio.TaskGroup() as group:
                if self._shared is None:
                    group.create_task(informers.run())
                for controller in self.controllers:
                    group.create_task(self._run_one(controller))
        finally:
            self.controllers = []
            self.metrics.leading.labels(LEASE_NAME).set(0)

    def _context_of(self, name: str, context: ControllerContext, clients: dict[str, Client]) -> ControllerContext:
        if self._guests is not None and name not in registry.BUILT_IN:
            return replace(context, client=self._guests)
        account = ACCOUNTS.get(name)
        if self._identities is None or account is None:
            return context
        if account not in clients:
            clients[account] = self._identities(account)
        return replace(context, client=clients[account])

    async def _run_one(self, controller: Controller) -> None:
        self.metrics.started.labels(controller.name).set(1)
        try:
            await controller.run()
        finally:
            self.metrics.started.labels(controller.name).set(0)

    @property
    def idle(self) -> bool:
        """Whether all controllers have synced their informers and have nothing to do now (tests wait for this)."""
        return bool(self.controllers) and all(c.started and c.queue.idle for c in self.controllers)

    def health(self) -> dict[str, bool]:
        """By controller: whether it has begun to work. A manager that waits for the lease is healthy and has none."""
        return {c.name: c.started for c in self.controllers}

    def metrics_text(self) -> bytes:
        return self.metrics.text()

    def find(self, names: Iterable[str]) -> list[Controller]:
        wanted = set(names)
        return [c for c in self.controllers if c.name in wanted]
