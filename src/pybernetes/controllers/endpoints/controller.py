"""The shell of the Endpoints controller."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ...api.meta import Object, key_of, split_key
from ...api.resources import ENDPOINTS, PODS, SERVICES
from ...client.events import WARNING
from ..commands import Create
from ..runtime import API_ERRORS, Controller, is_namespace_terminating
from . import decide
from .selection import selected, services_woken


class EndpointsController(Controller):
    name = "endpoints-controller"
    component = "endpoint-controller"

    def setup(self) -> None:
        self.services = self.watch(SERVICES)
        self.pods = self.watch(PODS, lambda kind, old, new: services_woken(self.services.list, old, new))
        self.endpoints = self.watch(ENDPOINTS, self._of_endpoints)

    def _of_endpoints(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        """Those of Services, changed or taken away by somebody else. Without a Service they are what a person wrote."""
        key = key_of(new or old or {})
        if self.services.get_key(key) is not None:
            yield key

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._clear_leftovers,)

    async def _clear_leftovers(self) -> None:
        """At the start: endpoints of Services that went while nobody looked."""
        for obj in self.endpoints.list():
            if not decide.is_leader_record(obj):
                self.queue.add(key_of(obj))

    async def sync(self, key: str) -> float | None:
        service, existing = self.services.get_key(key), self.endpoints.get_key(key)
        pods: list[Object] = []
        if service is not None:
            pods = selected(self.pods.list(split_key(key)[0]), service)
        for command in decide.decide(service, pods, existing):
            try:
                await self.execute([command])
            except API_ERRORS as failure:
                creating = isinstance(command, Create)
                if creating and is_namespace_terminating(failure):
                    return None
                if service is not None:
                    self._complain(key, service, failure, creating)
                raise
        return None

    def _complain(self, key: str, service: Object, failure: Exception, creating: bool) -> None:
        about = {"kind": "Endpoints", "apiVersion": "v1", "metadata": service["metadata"]}
        if creating:
            message = f"Failed to create endpoint for service {key}: {failure}"
            self.event(about, WARNING, "FailedToCreateEndpoint", message)
        else:
            self.event(about, WARNING, "FailedToUpdateEndpoint", f"Failed to update endpoint {key}: {failure}")
