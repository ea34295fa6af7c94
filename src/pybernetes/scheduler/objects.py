"""The cluster's other objects for plugins, out of shared informers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..api.meta import Object
from ..api.resources import (
    CSI_NODES,
    GVR,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
)
from ..client.informer import Informer, InformerFactory
from .claims import CSI_DRIVERS, CSI_STORAGE_CAPACITIES, VOLUME_ATTACHMENTS

USED: tuple[GVR, ...] = (
    NAMESPACES,
    SERVICES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    POD_DISRUPTION_BUDGETS,
    PERSISTENT_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    STORAGE_CLASSES,
    CSI_NODES,
    CSI_DRIVERS,
    CSI_STORAGE_CAPACITIES,
    VOLUME_ATTACHMENTS,
)
"""What the default plugins read, beside nodes and pods."""


class InformerObjects:
    """``hooks.scheduling.Objects``. A resource that a plugin reads first while scheduling is empty until it is listed."""

    def __init__(self, factory: InformerFactory) -> None:
        self._factory = factory

    def informer(self, gvr: GVR) -> Informer:
        return self._factory.informer(gvr)

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        return self._factory.informer(gvr).get(namespace, name)

    def list(self, gvr: GVR, namespace: str = "") -> Sequence[Object]:
        return self._factory.informer(gvr).list(namespace)

    def subscribe(self, gvr: GVR, listener: Callable[[], None]) -> Callable[[], None]:
        informer = self._factory.informer(gvr)

        def told(kind: str, old: Object | None, new: Object | None) -> None:
            listener()

        # The handler is told at once of what is there already, which is as good as a change.
        informer.add_handler(told)
        return lambda: informer.remove_handler(told)
