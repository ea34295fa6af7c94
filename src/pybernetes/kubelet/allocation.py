"""Granting resizes: the shell around ``pod.resize``, which remembers what every pod has been given and what is in force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..api.meta import Object, uid_of
from ..client.events import NORMAL, WARNING
from .context import Context
from .pod import resize
from .pod.model import RUNNING, Container, RuntimePod, container_spec
from .pod.resize import Allocation, Change, Resources


@dataclass(slots=True)
class _Grant:
    allocation: Allocation
    generation: int = 0
    pending: Object | None = None
    progress: Object | None = None
    actuated: dict[str, Resources] = field(default_factory=dict)


class Allocations:
    """``grant`` gives the pod as it may run now; conditions and amounts in force are for the status."""

    def __init__(self, context: Context, node: Callable[[], Object], others: Callable[[str], Sequence[Object]]) -> None:
        self._context, self._node, self._others = context, node, others
        self._grants: dict[str, _Grant] = {}

    def effective(self, pod: Object) -> Object:
        """The pod with the resources that it has been given."""
        grant = self._grants.get(uid_of(pod))
        if grant is None or resize.same_allocation(grant.allocation, resize.allocation_of(pod)):
            return pod
        return resize.with_allocation(pod, grant.allocation)

    def grant(self, pod: Object, runtime: RuntimePod) -> Object:
        uid = uid_of(pod)
        grant = self._grants.get(uid)
        if grant is None:
            grant = self._grants[uid] = _Grant(resize.recovered(pod))
        self._recover_actuated(pod, runtime, grant)
        wanted = resize.allocation_of(pod)
        if resize.same_allocation(grant.allocation, wanted):
            grant.pending = None
            return pod
        generation = pod["metadata"].get("generation") or 0
        refused = resize.judge(pod, self._node(), self._others(uid))
        if refused is None:
            grant.allocation, grant.pending = wanted, None
            grant.progress, grant.generation = resize.in_progress(generation), generation
            text = f"Pod resize started: {resize.summary(pod, generation)}"
            self._context.tell(pod, NORMAL, "ResizeStarted", text)
            return pod
        condition = resize.pending(*refused, generation)
        if condition != grant.pending:
            grant.pending = condition
            text = f"Pod resize {refused[0]}: {resize.summary(pod, generation, refused[1])}"
            self._context.tell(pod, WARNING, f"Resize{refused[0]}", text)
        return resize.with_allocation(pod, grant.allocation)

    def _recover_actuated(self, pod: Object, runtime: RuntimePod, grant: _Grant) -> None:
        """Containers that an earlier kubelet started: what is in force is what it last reported."""
        for container in runtime.running():
            if container.id not in grant.actuated:
                reported = _reported(pod, container)
                grant.actuated[container.id] = reported or grant.allocation.get(container.name, {})
        if len(grant.actuated) > 2 * len(runtime.containers) + 8:
            known = {c.id for c in runtime.containers}
            grant.actuated = {k: v for k, v in grant.actuated.items() if k in known}

    # -- in force --------------------------------------------------------------------------------------------------

    def changes(self, pod: Object, runtime: RuntimePod) -> list[Change]:
        """What is still to be put in force; notes it as being in progress."""
        grant = self._grants[uid_of(pod)]
        found = resize.changes(pod, runtime, grant.actuated)
        if found and grant.progress is None:
            grant.generation = pod["metadata"].get("generation") or 0
            grant.progress = resize.in_progress(grant.generation)
        return found

    def started(self, pod: Object, name: str, identity: str) -> None:
        """A container was made with the resources of ``pod``."""
        spec = container_spec(pod, name) or {}
        self._grants[uid_of(pod)].actuated[identity] = spec.get("resources") or {}

    def updated(self, pod: Object, runtime: RuntimePod, name: str) -> None:
        newest = runtime.find(name)
        if newest is not None:
            self.started(pod, name, newest.id)

    def settled(self, pod: Object, runtime: RuntimePod, error: str) -> None:
        """After a sync: the resize is over, goes on, or has failed for now."""
        grant = self._grants[uid_of(pod)]
        if grant.progress is None:
            return
        if error:
            condition = resize.in_progress(grant.generation, error)
            if condition != grant.progress:
                grant.progress = condition
                text = f"Pod resize error: {resize.summary(pod, grant.generation, error)}"
                self._context.tell(pod, WARNING, "ResizeError", text)
        elif not resize.changes(pod, runtime, grant.actuated):
            grant.progress = None
            text = f"Pod resize completed: {resize.summary(pod, grant.generation)}"
            self._context.tell(pod, NORMAL, "ResizeCompleted", text)

    def actuated(self, uid: str) -> dict[str, Resources]:
        grant = self._grants.get(uid)
        return grant.actuated if grant is not None else {}

    def conditions(self, uid: str) -> list[Object]:
        grant = self._grants.get(uid)
        return [c for c in (grant.pending, grant.progress) if c is not None] if grant is not None else []

    def deferred(self) -> list[str]:
        """Pods whose resize may be granted when another pod gives way."""
        return [u for u, g in self._grants.items() if g.pending and g.pending.get("reason") == resize.DEFERRED]

    def forget(self, uid: str) -> None:
        self._grants.pop(uid, None)


def _reported(pod: Object, container: Container) -> Resources | None:
    for key in ("containerStatuses", "initContainerStatuses"):
        for entry in (pod.get("status") or {}).get(key) or ():
            if entry.get("containerID") == container.full_id and container.state == RUNNING:
                found: Resources | None = entry.get("resources")
                return found
    return None
