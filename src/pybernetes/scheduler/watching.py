"""From informers to the model and the queue: what each change of the cluster means to the scheduler."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..api.meta import Object, is_deleting, key_of, labels_of, metadata, name_of, uid_of
from ..api.resources import CSI_NODES, GVR, NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from ..client.informer import ADDED, DELETED
from ..hooks.scheduling import Action, Resource
from .changes import is_over, matters_to_waiting, node_changes, node_of, nominated_node, pod_changes
from .claims import CSI_DRIVERS, CSI_STORAGE_CAPACITIES, VOLUME_ATTACHMENTS
from .profiles import DEFAULT_SCHEDULER
from .queue import Change

if TYPE_CHECKING:
    from .scheduler import Scheduler

_WATCHED: dict[GVR, Resource] = {
    PERSISTENT_VOLUMES: Resource.PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIMS: Resource.PERSISTENT_VOLUME_CLAIM,
    STORAGE_CLASSES: Resource.STORAGE_CLASS,
    CSI_NODES: Resource.CSI_NODE,
    CSI_DRIVERS: Resource.CSI_DRIVER,
    CSI_STORAGE_CAPACITIES: Resource.CSI_STORAGE_CAPACITY,
    VOLUME_ATTACHMENTS: Resource.VOLUME_ATTACHMENT,
}


class Watching:
    """Handlers of the scheduler's informers."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def start(self) -> None:
        """Takes in what is there already, nodes first, and every change from now on."""
        objects = self._scheduler.objects
        objects.informer(NAMESPACES).add_handler(self._on_namespace)
        self._scheduler.nodes.add_handler(self._on_node)
        self._scheduler.pods.add_handler(self._on_pod)
        for gvr, resource in _WATCHED.items():
            objects.informer(gvr).add_handler(partial(self._on_other, resource))

    # -- everything but pods ---------------------------------------------------------------------------------------

    def _on_namespace(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        self._scheduler.model.set_namespace(name_of(new), None if kind == DELETED else labels_of(new))

    def _on_node(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        model, queue = self._scheduler.model, self._scheduler.queue
        if kind == DELETED:
            model.remove_node(name_of(new))
            queue.move(Change(Resource.NODE, Action.DELETE, new, None), "NodeDelete")
            return
        model.put_node(new)
        if kind == ADDED or old is None:
            queue.move(Change(Resource.NODE, Action.ADD, None, new), "NodeAdd")
            return
        for change in node_changes(old, new):
            queue.move(change, f"Node{_label(change.action)}")

    def _on_other(self, resource: Resource, kind: str, old: Object | None, new: Object | None) -> None:
        if kind == DELETED:
            change = Change(resource, Action.DELETE, new, None)
        else:
            change = Change(resource, Action.ADD if kind == ADDED else Action.UPDATE, old, new)
        self._scheduler.queue.move(change, f"{resource.name}{kind.title()}")

    # -- pods ------------------------------------------------------------------------------------------------------

    def _responsible(self, pod: Object) -> str:
        """The profile that is to place the pod; empty where that is somebody else's business."""
        name = (pod.get("spec") or {}).get("schedulerName") or DEFAULT_SCHEDULER
        return name if name in self._scheduler.profiles else ""

    def _on_pod(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        if old is not None and uid_of(old) != uid_of(new):
            # Deleted and made again between two looks.
            self._gone(old)
            old = None
        if kind == DELETED or is_over(new):
            self._gone(new)
        elif node_of(new):
            self._placed(old, new)
        elif self._responsible(new):
            self._waits(old, new)

    def _gone(self, pod: Object) -> None:
        scheduler, key = self._scheduler, key_of(pod)
        scheduler.queue.delete(key)
        scheduler.statuses.forget(key)
        nominations = scheduler.model.table.nominations
        freed = nominations.remove(uid_of(pod) or key) is not None
        binding = scheduler.bindings.get(key)
        if binding is not None and not node_of(pod):
            # Its binding will fail, and give the room back.
            binding.gone = True
            if binding.waiting is not None:
                binding.waiting.reject("", "pod deleted")
            return
        scheduler.bindings.pop(key, None)
        if scheduler.model.displace(key) is not None or freed:
            scheduler.queue.move(Change(Resource.POD, Action.DELETE, _somewhere(pod), None), "AssignedPodDelete")

    def _placed(self, old: Object | None, new: Object) -> None:
        scheduler, key, model = self._scheduler, key_of(new), self._scheduler.model
        binding = scheduler.bindings.get(key)
        known = model.pods.get(key)
        first = known is None or binding is not None
        if (
            known is not None
            and known.uid == uid_of(new)
            and model.node_of(key) == node_of(new)
            and self._same(known.object, new)
        ):
            known.object = new
        else:
            model.place(model.info(new), node_of(new))
        model.table.nominations.remove(uid_of(new))
        if binding is not None:
            del scheduler.bindings[key]
        queued = scheduler.queue.get(key)
        if queued is not None and (binding is None or binding.node != node_of(new)):
            scheduler.queue.delete(key)
        if first:
            scheduler.queue.move(Change(Resource.POD, Action.ADD, None, new), "AssignedPodAdd")
        elif old is not None:
            for change in pod_changes(old, new):
                scheduler.queue.move(change, f"AssignedPod{_label(change.action)}")

    @staticmethod
    def _same(old: Object, new: Object) -> bool:
        """Whether a pod takes and means the same as before: nothing to be counted anew."""
        before, after = old.get("spec") or {}, new.get("spec") or {}
        return (
            before.get("containers") == after.get("containers")
            and before.get("initContainers") == after.get("initContainers")
            and before.get("resources") == after.get("resources")
            and metadata(old).get("labels") == metadata(new).get("labels")
            and is_deleting(old) == is_deleting(new)
            and not (new.get("status") or {}).get("resize")
            and _resources_in_use(old) == _resources_in_use(new)
        )

    def _waits(self, old: Object | None, new: Object) -> None:
        scheduler, key = self._scheduler, key_of(new)
        binding = scheduler.bindings.get(key)
        if binding is not None:
            if is_deleting(new) and binding.waiting is not None:
                binding.waiting.reject("", "pod deleted")
            return
        if is_deleting(new):
            self._gone(new)
            return
        info = scheduler.model.info(new)
        self._nominate(old, new)
        queued = scheduler.queue.get(key)
        if queued is None or queued.info.uid != info.uid:
            if queued is not None:
                scheduler.queue.delete(key)
            scheduler.queue.add(info, self._responsible(new))
        elif old is not None and matters_to_waiting(old, new):
            scheduler.queue.update(queued.info, info, pod_changes(old, new))
        else:
            scheduler.queue.update(queued.info, info, ())

    def _nominate(self, old: Object | None, new: Object) -> None:
        """The API's word counts where it changed; else what was decided here and is on its way there."""
        nominations = self._scheduler.model.table.nominations
        told = nominated_node(new)
        before = nominated_node(old) if old is not None else ""
        if told == before and old is not None:
            return
        current = nominations.node_of(uid_of(new))
        if told != current:
            nominations.put(self._scheduler.model.info(new), told)
        if before and old is not None:
            self._scheduler.queue.move(
                Change(Resource.POD, Action.DELETE, _somewhere(old), None),
                "AssignedPodDelete",
                lambda other: other.priority <= ((old.get("spec") or {}).get("priority") or 0),
            )


def _somewhere(pod: Object) -> Object:
    """A pod that goes frees its room, also where it was only nominated or assumed: hints look for a node."""
    if node_of(pod):
        return pod
    return {**pod, "spec": {**(pod.get("spec") or {}), "nodeName": nominated_node(pod) or "-"}}


def _resources_in_use(pod: Object) -> list[object]:
    status = pod.get("status") or {}
    return [s.get("resources") for s in status.get("containerStatuses") or () if s.get("resources")]


def _label(action: Action) -> str:
    return "".join(part.title() for part in (action.name or "Update").split("_"))
