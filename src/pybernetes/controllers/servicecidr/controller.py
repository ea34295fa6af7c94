"""The shell of the ServiceCIDR controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, is_deleting, name_of
from ...api.resources import IP_ADDRESSES, SERVICE_CIDRS
from ..runtime import Controller
from . import decide


class ServiceCIDRController(Controller):
    name = "service-cidr-controller"

    def setup(self) -> None:
        self.ranges = self.informer(SERVICE_CIDRS)
        self.addresses = self.watch(IP_ADDRESSES, self._of_address)
        self.watch(SERVICE_CIDRS, self._of_range)

    def _of_range(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        yield name_of(new or old or {})
        yield from self._deleting()

    def _of_address(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        return self._deleting() if kind != "MODIFIED" else ()

    def _deleting(self) -> list[str]:
        return [name_of(r) for r in self.ranges.list() if is_deleting(r)]

    async def sync(self, key: str) -> float | None:
        found = self.ranges.get_key(key)
        if found is None:
            return None
        now = self.clock.now()
        if not is_deleting(found):
            await self.execute(decide.with_finalizer(SERVICE_CIDRS, found, decide.FINALIZER))
            await self._set_condition(self.ranges.get_key(key) or found, ready=True)
            return None
        if decide.is_held(found, self.ranges.list(), self.addresses.list()):
            await self._set_condition(found, ready=False)
            return None
        left = decide.grace_left(found, now)
        if left > 0:
            return left
        await self.execute(decide.without_finalizer(SERVICE_CIDRS, found, decide.FINALIZER))
        return None

    async def _set_condition(self, found: Object, *, ready: bool) -> None:
        changed = decide.with_condition(found, ready=ready, now=self.clock.now())
        if changed is not None:
            await self.writer.update(SERVICE_CIDRS, changed, "status")
