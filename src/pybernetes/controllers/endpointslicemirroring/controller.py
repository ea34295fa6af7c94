"""The shell of the mirroring controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, labels_of
from ...api.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from ..endpointslice.controller import service_index
from ..runtime import API_ERRORS, Controller, is_namespace_terminating
from . import decide


class EndpointSliceMirroringController(Controller):
    name = "endpointslice-mirroring-controller"
    component = "endpoint-slice-mirroring-controller"

    def setup(self) -> None:
        self.services = self.watch(SERVICES)
        self.endpoints = self.watch(ENDPOINTS)
        self.slices = self.watch(ENDPOINT_SLICES, self._of_slice)
        if "service" not in self.slices.indexes:
            self.slices.add_index("service", service_index)

    def _of_slice(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        for obj in (old, new):
            if obj is not None and _is_ours(obj):
                yield from service_index(obj)

    async def sync(self, key: str) -> float | None:
        slices = [s for s in self.slices.by_index("service", key) if _is_ours(s)]
        commands = decide.decide(self.endpoints.get_key(key), self.services.get_key(key), slices)
        try:
            await self.execute(commands)
        except API_ERRORS as failure:
            if not is_namespace_terminating(failure):
                raise
        return None


def _is_ours(slice_: Object) -> bool:
    return labels_of(slice_).get(decide.MANAGED_BY) == decide.MANAGER and "deletionTimestamp" not in slice_["metadata"]
