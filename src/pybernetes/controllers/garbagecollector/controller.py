"""The shell of the garbage collector: monitors every resource that discovery knows, custom ones too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, finalizers_of, is_deleting, uid_of
from ...api.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR, ResourceInfo
from ...client.discovery import discover, preferred
from ...client.events import WARNING
from ...client.informer import METADATA_WATCH, Handler, Informer
from ...client.rest import path_for
from ..commands import Command
from ..runtime import API_ERRORS, Controller, bound, in_parallel
from . import decide
from .graph import FOREGROUND, ORPHAN, Graph, Node, Reference, Wake, coordinates_of

_RESYNC_PERIOD = 30.0
_SYNC_TIMEOUT = 30.0
_OWNER_MAY_BE_LATE = 1.0
_IGNORED = {("", "events"), ("events.k8s.io", "events")}
_ORPHAN_PREFIX = "orphan:"


class UnknownKind(Exception):
    """An owner reference names a kind that discovery does not know (yet)."""


class GarbageCollector(Controller):
    name = "garbage-collector-controller"
    workers = 20

    def setup(self) -> None:
        self.graph = Graph()
        self._monitors: dict[GVR, Informer] = {}
        self._handlers: dict[GVR, Handler] = {}
        self._kinds: dict[tuple[str, str], ResourceInfo] = {}
        self._resync = asyncio.Event()
        self._ready = asyncio.Event()
        self.informer(CUSTOM_RESOURCE_DEFINITIONS).add_handler(self._of_definition)

    def _of_definition(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._resync.set()

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._follow_discovery,)

    # -- monitors --------------------------------------------------------------------------------------------------

    async def _follow_discovery(self) -> None:
        while True:
            self._resync.clear()
            try:
                await self._discover()
            except API_ERRORS as failure:
                self.log.warning("discovery failed", error=str(failure))
            else:
                self._ready.set()
            try:
                async with self.clock.timeout(_RESYNC_PERIOD if self._ready.is_set() else 1.0):
                    await self._resync.wait()
            except TimeoutError:
                pass

    async def _discover(self) -> None:
        infos, failed = await discover(self.client)
        self._kinds = {(i.gvr.api_version, i.kind): i for i in reversed(infos) if "get" in i.verbs}
        wanted = {
            i.gvr: i
            for i in preferred(infos)
            if {"delete", "list", "watch"} <= set(i.verbs) and (i.gvr.group, i.gvr.resource) not in _IGNORED
        }
        for gvr in [g for g in self._monitors if g not in wanted and g.api_version not in failed]:
            self._stop_monitor(gvr)
        for gvr, info in wanted.items():
            if gvr not in self._monitors:
                self._start_monitor(gvr, info)
        try:
            async with self.clock.timeout(_SYNC_TIMEOUT):
                for informer in list(self._monitors.values()):
                    await informer.wait_synced()
        except TimeoutError:
            missing = [str(g) for g, i in self._monitors.items() if not i.synced]
            self.log.warning("resources cannot be listed", resources=",".join(missing))

    def _start_monitor(self, gvr: GVR, info: ResourceInfo) -> None:
        def changed(kind: str, old: Object | None, new: Object | None) -> None:
            if kind == "DELETED":
                self._wake(self.graph.remove(uid_of(old or new or {})))
                return
            if old is not None and new is not None and uid_of(old) != uid_of(new):
                self._wake(self.graph.remove(uid_of(old)))
            self._wake(self.graph.put(gvr, gvr.api_version, info.kind, new or {}))

        informer = self.context.informers.metadata_informer(gvr)
        self._monitors[gvr], self._handlers[gvr] = informer, changed
        informer.add_handler(changed)

    def _stop_monitor(self, gvr: GVR) -> None:
        self._monitors.pop(gvr).remove_handler(self._handlers.pop(gvr))
        self.context.informers.remove_metadata_informer(gvr)
        self.graph.forget_resource(gvr)

    def _wake(self, wake: Wake) -> None:
        for uid in wake.delete:
            self.queue.add(uid)
        for uid in wake.later:
            self.queue.add_after(uid, _OWNER_MAY_BE_LATE)
        for uid in wake.orphan:
            self.queue.add(_ORPHAN_PREFIX + uid)
        for uid, reference in wake.invalid_namespace:
            self._complain(uid, reference)

    def _complain(self, uid: str, reference: Reference) -> None:
        node = self.graph.nodes[uid]
        about = {
            "kind": node.kind,
            "apiVersion": node.api_version,
            "namespace": node.namespace,
            "name": node.name,
            "uid": uid,
        }
        identity = (
            f"[{reference.get('apiVersion')}/{reference.get('kind')}, namespace: {node.namespace}, "
            f"name: {reference.get('name')}, uid: {reference.get('uid')}]"
        )
        message = f'ownerRef {identity} does not exist in namespace "{node.namespace}"'
        self.event(about, WARNING, "OwnerRefInvalidNamespace", message)

    # -- one object ------------------------------------------------------------------------------------------------

    async def sync(self, key: str) -> float | None:
        await self._ready.wait()
        orphaning = key.startswith(_ORPHAN_PREFIX)
        node = self.graph.nodes.get(key.removeprefix(_ORPHAN_PREFIX))
        obj = self._object_of(node) if node is not None else None
        if node is None or obj is None:
            return None
        if orphaning:
            await self._orphan(node, obj)
        elif node.foreground:
            await self._go_on_deleting(node, obj)
        elif not node.deleting:
            await self._collect(node, obj)
        return None

    def _object_of(self, node: Node) -> Object | None:
        """The newest metadata known; None where another object has the name now."""
        informer = self._monitors.get(node.gvr)
        obj = informer.get_key(node.key) if informer is not None else None
        return obj if obj is not None and uid_of(obj) == node.uid else None

    async def _collect(self, node: Node, obj: Object) -> None:
        owners = decide.Owners()
        for reference in node.owners:
            found = await self._classify(node, reference, owners)
            if not found:
                return
        await self._carry_out(node, decide.decide(node, obj, owners, self.graph.dependents(node.uid)))

    async def _classify(self, node: Node, reference: Reference, owners: decide.Owners) -> bool:
        """Sorts one reference; False where nothing can be said of the object at all."""
        owner = self.graph.nodes.get(reference.get("uid") or "")
        if owner is not None and owner.is_named_by(reference, node.namespace):
            (owners.waiting if owner.foreground else owners.solid).append(reference)
            return True
        if self.graph.is_absent(reference, node.namespace):
            owners.dangling.append(reference)
            return True
        info = self._kinds.get((reference.get("apiVersion") or "", reference.get("kind") or ""))
        if info is None:
            self._resync.set()
            raise UnknownKind(f"no resource for {reference.get('apiVersion')} {reference.get('kind')}")
        if info.namespaced and not node.namespace:
            self._complain(node.uid, reference)
            return False
        namespace = node.namespace if info.namespaced else ""
        live = await self._look_up(info.gvr, namespace, reference["name"])
        if live is None or uid_of(live) != reference.get("uid"):
            self.graph.note_absent(coordinates_of(reference, namespace))
            owners.dangling.append(reference)
        elif is_deleting(live) and FOREGROUND in finalizers_of(live):
            owners.waiting.append(reference)
        else:
            owners.solid.append(reference)
        return True

    async def _look_up(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        try:
            answer: Object = await self.client.request("GET", path_for(gvr, namespace, name), accept=METADATA_WATCH)
            return answer
        except StatusError as failure:
            if failure.reason == "NotFound":
                return None
            raise

    async def _go_on_deleting(self, node: Node, obj: Object) -> None:
        blocking = self.graph.blocking(node.uid)
        if not blocking:
            await self._carry_out(node, decide.without_finalizer(node, obj, FOREGROUND))
        for dependent in blocking:
            if not dependent.foreground:
                self.queue.add(dependent.uid)

    async def _orphan(self, node: Node, obj: Object) -> None:
        jobs = []
        for dependent in self.graph.dependents(node.uid):
            found = self._object_of(dependent)
            if found is not None:
                jobs.append(bound(self._carry_out, dependent, decide.release(dependent, found, node.uid)))
        failures = await in_parallel(jobs)
        if failures:
            raise failures[0]
        if node.orphaning:
            await self._carry_out(node, decide.without_finalizer(node, obj, ORPHAN))

    async def _carry_out(self, node: Node, commands: list[Command]) -> None:
        """A conflict means that our copy is behind: the key comes back."""
        try:
            await self.execute(commands)
        except StatusError as failure:
            # What we deleted may be gone already.
            if failure.reason != "NotFound":
                raise

    def failed(self, key: str, failure: Exception) -> None:
        if isinstance(failure, UnknownKind):
            self.log.debug("owner not understood", uid=key, error=str(failure))
        else:
            super().failed(key, failure)
