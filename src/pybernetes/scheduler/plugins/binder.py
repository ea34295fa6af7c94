"""DefaultBinder: writes the chosen node through the pod's ``binding`` subresource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...api.errors import StatusError
from ...api.resources import PODS
from ...hooks.scheduling import ClusterEvent, Code, CycleState, Handle, Plugin, PodView, Status
from ..binding import UNCERTAIN


class DefaultBinder(Plugin):
    name = "DefaultBinder"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._handle = handle

    async def bind(self, state: CycleState, pod: PodView, node: str) -> Status | None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        }
        try:
            await self._handle.client.create(PODS, binding, pod.namespace, name=pod.name, subresource="binding")
        except StatusError as failure:
            return Status(Code.ERROR, (failure.message,), self.name)
        except (ConnectionError, TimeoutError) as failure:
            state[UNCERTAIN] = getattr(failure, "sent", True)
            return Status(Code.ERROR, (str(failure) or type(failure).__name__,), self.name)
        return None

    def events(self) -> Iterable[ClusterEvent]:
        return ()
