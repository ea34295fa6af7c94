"""The shell of the EndpointSlice controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, labels_of, name_of, namespace_of, split_key
from ...api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from ...client.events import WARNING
from ..commands import Create
from ..endpoints.selection import selected, services_woken
from ..runtime import API_ERRORS, Controller, is_namespace_terminating
from . import decide


class EndpointSliceController(Controller):
    name = "endpointslice-controller"
    component = "endpoint-slice-controller"

    def setup(self) -> None:
        self.services = self.watch(SERVICES)
        self.pods = self.watch(PODS, lambda kind, old, new: services_woken(self.services.list, old, new))
        self.slices = self.watch(ENDPOINT_SLICES, self._of_slice)
        if "service" not in self.slices.indexes:
            self.slices.add_index("service", service_index)
        self._zones: dict[str, str] = {}
        self._waiting: dict[str, set[str]] = {}
        self.nodes = self.watch(NODES, self._of_node)

    def _of_slice(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        for obj in (old, new):
            if obj is not None and labels_of(obj).get(decide.MANAGED_BY) == decide.MANAGER:
                yield from service_index(obj)

    def _of_node(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        """Keeps the zones by node, and wakes the Services with pods that were left out for want of this node."""
        node = new or old or {}
        if kind == "DELETED":
            self._zones.pop(name_of(node), None)
        else:
            self._zones[name_of(node)] = labels_of(node).get(decide.ZONE_LABEL, "")
        return self._waiting.pop(name_of(node), ())

    async def sync(self, key: str) -> float | None:
        service = self.services.get_key(key)
        if service is None:
            # The slices go by their owner reference.
            return None
        slices = [
            s
            for s in self.slices.by_index("service", key)
            if labels_of(s).get(decide.MANAGED_BY) == decide.MANAGER and "deletionTimestamp" not in s["metadata"]
        ]
        pods = selected(self.pods.list(split_key(key)[0]), service)
        maximum = self.context.settings.endpoint_slice_max_endpoints
        plan = decide.decide(decide.Snapshot(service, pods, slices, self._zones, maximum))
        for command in plan.commands:
            try:
                await self.execute([command])
            except API_ERRORS as failure:
                if isinstance(command, Create) and is_namespace_terminating(failure):
                    return None
                message = f"Error updating Endpoint Slices for Service {key}: {failure}"
                self.event(service, WARNING, "FailedToUpdateEndpointSlices", message)
                raise
        for node in plan.unknown_nodes:
            self._waiting.setdefault(node, set()).add(key)
        return None


def service_index(slice_: Object) -> tuple[str, ...]:
    service = labels_of(slice_).get(decide.SERVICE_NAME)
    return (f"{namespace_of(slice_)}/{service}",) if service else ()
