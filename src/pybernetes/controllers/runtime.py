"""The shell that every controller runs in: informers wake keys, workers sync them, writes go through one place.

A controller names its informers in ``setup`` and says which keys an event wakes; ``sync(key)`` brings the world of one key
nearer to what it should be and may run any number of times. Writes go through ``Writer``, which shows their answers to the
informers at once: the next ``sync`` of the key decides on a copy that has them, so nothing is made or deleted twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..api.errors import StatusError
from ..api.meta import Object, controller_of, key_of, name_of, namespace_of, uid_of
from ..api.resources import GVR, PODS, builtin_by_gvr
from ..client.events import NORMAL, WARNING, EventRecorder
from ..client.informer import Informer, InformerFactory
from ..client.rest import MERGE_PATCH, Client
from ..client.transport import TransportError
from ..concurrency import Clock, QueueMetrics, WorkQueue, logger, run_workers
from .commands import Command, Create, CreatePods, Decision, Delete, DeletePods, Emit, Patch, Update
from .settings import Settings

API_ERRORS = (StatusError, TransportError, TimeoutError)
"""What a call may fail with although nothing is wrong with us."""
Keys = Callable[[str, Object | None, Object | None], Iterable[str]]
"""(type, old, new) of an event -> the keys that it wakes."""
SLOW_START_INITIAL_BATCH = 1
_PARALLEL_WRITES = 32
# The subresources whose answer is the object itself.
_SELF_ANSWERING = ("", "status", "finalize", "approval", "resize", "ephemeralcontainers")

log = logger("controllers.runtime")


def is_status(failure: BaseException, *reasons: str) -> bool:
    return isinstance(failure, StatusError) and failure.reason in reasons


def is_namespace_terminating(failure: BaseException) -> bool:
    """Whether a create failed because its namespace goes away: there is nothing to repair then."""
    causes = (failure.details or {}).get("causes") or [] if isinstance(failure, StatusError) else []
    return any(c.get("reason") == "NamespaceTerminating" for c in causes)


def is_ambiguous(failure: BaseException) -> bool:
    """Whether a call may have been carried out although it failed."""
    if isinstance(failure, TransportError):
        return failure.sent
    return isinstance(failure, TimeoutError) or is_status(failure, "Timeout")


class Writer:
    """Writes to the API server and shows the answers to the shared informers."""

    def __init__(self, client: Client, informers: InformerFactory) -> None:
        self.client, self._informers = client, informers

    def _observe(self, gvr: GVR, obj: Object, subresource: str = "") -> Object:
        if subresource in _SELF_ANSWERING and obj.get("kind") != "Status":
            self._informers.observe(gvr, obj)
        return obj

    async def create(self, gvr: GVR, obj: Object) -> Object:
        return self._observe(gvr, await self.client.create(gvr, obj))

    async def update(self, gvr: GVR, obj: Object, subresource: str = "") -> Object:
        return self._observe(gvr, await self.client.update(gvr, obj, subresource=subresource), subresource)

    async def patch(
        self,
        gvr: GVR,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        patch_type: str = MERGE_PATCH,
        subresource: str = "",
    ) -> Object:
        answer = await self.client.patch(gvr, name, patch, namespace, patch_type=patch_type, subresource=subresource)
        return self._observe(gvr, answer, subresource)

    async def delete(
        self,
        gvr: GVR,
        obj: Object,
        *,
        grace_period_seconds: int | None = None,
        propagation: str = "",
        resource_version: str = "",
    ) -> bool:
        """Deletes this very object; False where it is gone already (or another has taken its name)."""
        try:
            answer = await self.client.delete(
                gvr,
                name_of(obj),
                namespace_of(obj),
                grace_period_seconds=grace_period_seconds,
                propagation_policy=propagation,
                uid=uid_of(obj),
                resource_version=resource_version,
            )
        except StatusError as failure:
            gone = failure.reason == "NotFound" or (failure.reason == "Conflict" and "UID" in failure.message)
            if not gone:
                raise
            self._informers.observe_delete(gvr, obj)
            return False
        self._observe(gvr, answer)
        self._informers.observe_delete(gvr, obj)
        return True


async def in_parallel(jobs: Sequence[Callable[[], Awaitable[Any]]]) -> list[Exception]:
    """Runs the jobs, a bounded number at a time, and gives the API failures among them."""
    failures: list[Exception] = []
    pending = iter(jobs)

    async def worker() -> None:
        for job in pending:
            try:
                await job()
            except API_ERRORS as failure:
                failures.append(failure)

    if len(jobs) == 1:
        await worker()
        return failures
    async with asyncio.TaskGroup() as group:
        for _ in range(min(len(jobs), _PARALLEL_WRITES)):
            group.create_task(worker())
    return failures


async def slow_start(jobs: Sequence[Callable[[], Awaitable[Any]]]) -> Exception | None:
    """Runs the jobs in batches of 1, 2, 4, ...; stops after the first batch with a failure, and gives that.

    So a thousand creates that a quota refuses cost one refusal, not a thousand.
    """
    done, size = 0, SLOW_START_INITIAL_BATCH
    while done < len(jobs):
        batch = jobs[done : done + size]
        failures = await in_parallel(batch)
        if failures:
            return failures[0]
        done += len(batch)
        size *= 2
    return None


@dataclass(slots=True)
class ControllerContext:
    """What a controller gets from the manager. ``extra`` is a place for objects that several controllers share."""

    client: Client
    informers: InformerFactory
    clock: Clock
    settings: Settings = field(default_factory=Settings)
    rng: random.Random = field(default_factory=random.Random)
    queue_metrics: Callable[[str], QueueMetrics | None] = lambda name: None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def writer(self) -> Writer:
        return Writer(self.client, self.informers)


class Controller:
    """One control loop. A user's package adds one by an entry point in the group ``pybernetes.controllers`` that names a
    factory ``(ControllerContext) -> Controller``."""

    name: ClassVar[str] = ""
    workers: ClassVar[int] = 5
    component: ClassVar[str] = ""
    """The source of its events, where that is not the controller's name."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.clock, self.client, self.writer = context.clock, context.client, context.writer
        self.queue: WorkQueue[str] = WorkQueue(context.clock, metrics=context.queue_metrics(self.name))
        self.recorder = EventRecorder(context.client, context.clock, self.component or self.name)
        self.log = logger(f"controllers.{self.name.removesuffix('-controller')}")
        self._informers: list[Informer] = []
        self._doubts: set[str] = set()
        """Namespaces in which a pod may have been made that we know nothing of."""
        self.started = False
        self.setup()

    # -- what a controller says of itself --------------------------------------------------------------------------

    def setup(self) -> None:
        """Names the informers and handlers. Nothing runs yet."""
        raise NotImplementedError

    async def sync(self, key: str) -> float | None:
        """Brings one key nearer to its desired state; the seconds after which to look again, or None."""
        raise NotImplementedError

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        """Further loops of this controller, started when its informers are synced."""
        return ()

    # -- informers -------------------------------------------------------------------------------------------------

    def informer(self, gvr: GVR) -> Informer:
        """The shared informer of a resource; the controller waits for its first list.

        Its objects have no managedFields, and pods are slim (``client.sharing.slim_pod``): change them by patch.
        """
        informer = self.context.informers.informer(gvr)
        if informer not in self._informers:
            self._informers.append(informer)
        return informer

    def watch(self, gvr: GVR, keys: Keys | None = None) -> Informer:
        """As ``informer``, and its events wake keys: those that ``keys`` gives, or the object's own."""
        informer = self.informer(gvr)
        queue = self.queue

        def own(kind: str, old: Object | None, new: Object | None) -> None:
            queue.add(key_of(new or old or {}))

        def given(kind: str, old: Object | None, new: Object | None) -> None:
            for key in keys(kind, old, new):  # type: ignore[misc]
                queue.add(key)

        informer.add_handler(own if keys is None else given)
        return informer

    def watch_owned(
        self, gvr: GVR, owner_kind: str, orphans: Callable[[Object], Iterable[str]] | None = None
    ) -> Informer:
        """Events of controlled objects wake their controller; those of objects without one wake what ``orphans`` says."""

        def keys(kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
            found = []
            references = [controller_of(o) for o in (old, new) if o is not None]
            for reference in references:
                if reference is not None and reference.get("kind") == owner_kind:
                    found.append(f"{namespace_of(new or old or {})}/{reference['name']}")
            if orphans is not None and new is not None and references[-1] is None:
                found.extend(orphans(new))
            return found

        return self.watch(gvr, keys)

    def by_owner(self, gvr: GVR) -> Informer:
        """The informer with an index ``owner``: the uid of an object's controller, or ``orphan/<namespace>``."""
        informer = self.informer(gvr)
        if "owner" not in informer.indexes:
            informer.add_index("owner", _owner_index)
        return informer

    # -- writing ---------------------------------------------------------------------------------------------------

    def event(self, obj: Object, kind: str, reason: str, message: str) -> None:
        self.recorder.event(obj, kind, reason, message)

    async def apply(self, decision: Decision) -> float | None:
        await self.execute(decision.commands)
        return decision.after

    async def execute(self, commands: Iterable[Command]) -> None:
        """Carries the commands out in order. Raises the first failure."""
        for command in commands:
            await self._execute(command)

    async def _execute(self, command: Command) -> None:
        match command:
            case Create():
                try:
                    await self.writer.create(command.gvr, command.obj)
                except StatusError as failure:
                    if not (command.unless_exists and failure.reason == "AlreadyExists"):
                        raise
            case Update():
                try:
                    await self.writer.update(command.gvr, command.obj, command.subresource)
                except StatusError as failure:
                    if not (command.unless_missing and failure.reason == "NotFound"):
                        raise
            case Patch():
                await self._patch(command)
            case Delete():
                await self.writer.delete(
                    command.gvr,
                    command.obj,
                    grace_period_seconds=command.grace_period_seconds,
                    propagation=command.propagation,
                    resource_version=command.resource_version,
                )
            case Emit():
                self.event(command.obj, command.type, command.reason, command.message)
            case CreatePods():
                await self.create_pods(command.owner, command.pods)
            case DeletePods():
                await self.delete_pods(command.owner, command.pods)

    async def _patch(self, command: Patch) -> None:
        try:
            await self.writer.patch(
                command.gvr,
                command.name,
                command.patch,
                command.namespace,
                patch_type=command.patch_type,
                subresource=command.subresource,
            )
        except StatusError as failure:
            if not (command.unless_missing and failure.reason == "NotFound"):
                raise

    async def create_pod(self, owner: Object, pod: Object) -> Object | None:
        """One pod with its event; None where the namespace is being terminated."""
        try:
            made = await self.writer.create(PODS, pod)
        except API_ERRORS as failure:
            if is_namespace_terminating(failure):
                return None
            if is_ambiguous(failure):
                self._doubts.add(namespace_of(owner))
            self.event(owner, WARNING, "FailedCreate", f"Error creating: {failure}")
            raise
        self.event(owner, NORMAL, "SuccessfulCreate", f"Created pod: {name_of(made)}")
        return made

    async def delete_pod(self, owner: Object, pod: Object) -> None:
        try:
            if not await self.writer.delete(PODS, pod):
                return
        except API_ERRORS as failure:
            self.event(owner, WARNING, "FailedDelete", f"Error deleting: {failure}")
            raise
        self.event(owner, NORMAL, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    async def create_pods(self, owner: Object, pods: Sequence[Object]) -> None:
        failure = await slow_start([bound(self.create_pod, owner, pod) for pod in pods])
        if failure is not None:
            raise failure

    async def delete_pods(self, owner: Object, pods: Sequence[Object]) -> None:
        failures = await in_parallel([bound(self.delete_pod, owner, pod) for pod in pods])
        if failures:
            raise failures[0]

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Waits for the informers, then syncs keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.recorder.run())
            for informer in self._informers:
                await informer.wait_synced()
            self.started = True
            for loop in self.background():
                group.create_task(loop())
            await run_workers(self.queue, self.context.settings.workers(self), self._work, self.failed)

    async def _work(self, key: str) -> float | None:
        if self._doubts:
            await self._clear_doubts(key.rpartition(":")[2].partition("/")[0])
        return await self.sync(key)

    async def _clear_doubts(self, namespace: str) -> None:
        """Pods have no names that we choose: one that was made although its answer got lost would be made again. So before
        anything more is decided in the namespace, the server is asked what there is."""
        if namespace not in self._doubts:
            return
        listed = await self.client.list(PODS, namespace)
        for pod in listed.get("items") or []:
            self.context.informers.observe(PODS, {"apiVersion": "v1", "kind": "Pod", **pod})
        self._doubts.discard(namespace)

    def failed(self, key: str, failure: Exception) -> None:
        """Told of every failed sync; the key comes back by itself."""
        if is_status(failure, "Conflict", "NotFound"):
            # Somebody wrote, or deleted, in between: the next look sees it. Nothing to report.
            self.log.debug("overtaken", key=key, error=str(failure))
        elif isinstance(failure, API_ERRORS):
            self.log.warning("sync failed", key=key, error=str(failure))
        else:
            self.log.error("sync failed", failure=failure, key=key)


def bound(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Callable[[], Awaitable[Any]]:
    return lambda: function(*arguments)


def _owner_index(obj: Object) -> tuple[str, ...]:
    reference = controller_of(obj)
    return (reference["uid"],) if reference is not None else (f"orphan/{namespace_of(obj)}",)


def kind_of(gvr: GVR) -> tuple[str, str]:
    """(apiVersion, kind) of a built-in resource."""
    info = builtin_by_gvr()[gvr]
    return gvr.api_version, info.kind
