"""What the runtime holds, pod by pod, and who is told when it changes (upstream's PLEG).

Changes come as events where the runtime has them: from the CRI (containerd 1.7 and newer), or from containerd's own event
service. A relist at intervals finds what was missed; without events it runs every second. Statuses of containers that have
ended never change, so they are read once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path

from ..concurrency import Backoff, Clock, logger
from . import log_writer
from .cri import CRIClient, CRIError
from .cri.codec import Message
from .cri.containerd_events import containerd_exits
from .meters import Meters
from .pod.model import (
    CREATED,
    EXITED,
    MESSAGE_PATH,
    MESSAGE_POLICY,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    RUNNING,
    UNKNOWN,
    Container,
    RuntimePod,
    Sandbox,
    container_from_cri,
    sandbox_from_cri,
)

log = logger("kubelet.runtime")

RELIST, RELIST_WITH_EVENTS = 1.0, 10.0
STUCK_AFTER = 180.0
MAX_MESSAGE, MAX_MESSAGE_LOGS, MAX_MESSAGE_LINES = 4096, 2048, 80
_STATES = {"CONTAINER_CREATED": CREATED, "CONTAINER_RUNNING": RUNNING, "CONTAINER_EXITED": EXITED}


class RuntimeCache:
    """``pods`` by UID. ``changed(uid)`` is called for every pod whose sandboxes or containers changed."""

    def __init__(
        self, cri: CRIClient, clock: Clock, changed: Callable[[str], None], meters: Meters | None = None
    ) -> None:
        self._meters = meters or Meters()
        self.pods: dict[str, RuntimePod] = {}
        self._cri, self._clock, self._changed = cri, clock, changed
        self._containers: dict[str, Container] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._owners: dict[str, str] = {}
        self.runtime = "containerd"
        self.relisted_at: float | None = None
        self.error = ""
        self.stopping: set[str] = set()
        """Containers and sandboxes that the kubelet itself is stopping: it reads them when they have stopped."""
        self._streaming = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._early: OrderedDict[str, None] = OrderedDict()
        """Containers that ended before their first reading: the event was faster than our own list."""

    def get(self, uid: str) -> RuntimePod:
        return self.pods.get(uid) or RuntimePod(uid)

    def owner(self, identity: str) -> str:
        """The UID of the pod that a container or sandbox belongs to ('' where it is unknown)."""
        return self._owners.get(identity, "")

    @property
    def healthy(self) -> bool:
        return self.relisted_at is not None and self._clock.monotonic() - self.relisted_at < STUCK_AFTER

    # -- reading ---------------------------------------------------------------------------------------------------

    async def refresh(self, uid: str) -> RuntimePod:
        """Reads one pod anew. Raises CRIError."""
        labels = {POD_UID: uid}
        sandboxes, containers = await asyncio.gather(
            self._cri.list_pod_sandboxes(labels), self._cri.list_containers(labels)
        )
        return await self._assemble(uid, sandboxes, containers)

    async def _assemble(self, uid: str, sandboxes: list[Message], containers: list[Message]) -> RuntimePod:
        pod = RuntimePod(uid)
        for listed in sandboxes:
            sandbox = await self._sandbox(listed)
            if sandbox is not None:
                pod.sandboxes.append(sandbox)
                labels = listed.get("labels") or {}
                pod.name, pod.namespace = labels.get(POD_NAME, ""), labels.get(POD_NAMESPACE, "")
                self._owners[sandbox.id] = uid
        for listed in containers:
            container = await self._container(listed)
            if container is not None:
                pod.containers.append(container)
                self._own(uid, container)
        pod.sandboxes.sort(key=lambda s: (s.created_at, s.attempt), reverse=True)
        pod.containers.sort(key=lambda c: (c.created_at, c.restart_count), reverse=True)
        self._forget_gone(uid, pod)
        if pod.sandboxes or pod.containers:
            self.pods[uid] = pod
        else:
            self.pods.pop(uid, None)
        return pod

    def _own(self, uid: str, container: Container) -> None:
        self._owners[container.id] = uid
        if container.id in self._early:
            del self._early[container.id]
            if container.state == RUNNING:
                self._look_after(container.id)

    def _forget_gone(self, uid: str, pod: RuntimePod) -> None:
        before = self.pods.get(uid)
        if before is None:
            return
        kept = {s.id for s in pod.sandboxes} | {c.id for c in pod.containers}
        for identity in [*(s.id for s in before.sandboxes), *(c.id for c in before.containers)]:
            if identity not in kept:
                self._owners.pop(identity, None)
                self._containers.pop(identity, None)
                self._sandboxes.pop(identity, None)

    async def _sandbox(self, listed: Message) -> Sandbox | None:
        identity, ready = listed["id"], listed["state"] == "SANDBOX_READY"
        known = self._sandboxes.get(identity)
        if known is not None and known.ready == ready:
            return known
        try:
            status = (await self._cri.pod_sandbox_status(identity))["status"]
        except CRIError as failure:
            if failure.not_found:
                return None
            raise
        sandbox = sandbox_from_cri(status)
        self._sandboxes[identity] = sandbox
        return sandbox

    async def _container(self, listed: Message) -> Container | None:
        identity, state = listed["id"], _STATES.get(listed["state"], UNKNOWN)
        known = self._containers.get(identity)
        if known is not None and known.state == state and state != CREATED:
            return known
        return await self.read_container(identity, listed.get("pod_sandbox_id", ""))

    async def read_container(self, identity: str, sandbox_id: str = "") -> Container | None:
        """Reads one container anew; None where it is gone."""
        known = self._containers.get(identity)
        try:
            status = (await self._cri.container_status(identity))["status"]
        except CRIError as failure:
            if failure.not_found:
                return None
            raise
        container = container_from_cri(status, sandbox_id or (known.sandbox_id if known else ""), self.runtime)
        if container.state == EXITED:
            if container.log_path:
                await log_writer.written(Path(container.log_path), self._clock)
            written = await asyncio.to_thread(termination_message, status, container)
            if written:
                container.message = f"{container.message}: {written}" if container.message else written
        self._containers[identity] = container
        pod = self.pods.get(self.owner(identity))
        if pod is not None:
            pod.containers = [container if c.id == identity else c for c in pod.containers]
        return container

    # -- what the kubelet did itself: the lists need not be read for it ---------------------------------------------

    async def sandbox_made(self, uid: str, identity: str) -> RuntimePod:
        status = (await self._cri.pod_sandbox_status(identity))["status"]
        pod = self.pods.setdefault(uid, RuntimePod(uid))
        meta = status.get("metadata") or {}
        pod.name, pod.namespace = meta.get("name", ""), meta.get("namespace", "")
        sandbox = self._sandboxes[identity] = sandbox_from_cri(status)
        pod.sandboxes = [sandbox, *(s for s in pod.sandboxes if s.id != identity)]
        self._owners[identity] = uid
        return pod

    async def container_made(self, uid: str, identity: str, sandbox_id: str) -> None:
        container = await self.read_container(identity, sandbox_id)
        if container is not None:
            pod = self.pods.setdefault(uid, RuntimePod(uid))
            pod.containers = [container, *(c for c in pod.containers if c.id != identity)]
            self._own(uid, container)

    def sandbox_stopped(self, uid: str, identity: str) -> None:
        """Notes what was read of it before, no longer ready."""
        for sandbox in self.get(uid).sandboxes:
            if sandbox.id == identity:
                sandbox.ready = False

    def container_removed(self, uid: str, identity: str) -> None:
        pod = self.get(uid)
        pod.containers = [c for c in pod.containers if c.id != identity]
        self._containers.pop(identity, None)
        self._owners.pop(identity, None)

    def forget(self, uid: str) -> None:
        """All of the pod was removed from the runtime."""
        self._forget_gone(uid, RuntimePod(uid))
        self.pods.pop(uid, None)

    async def relist(self) -> None:
        """Reads the lists of all pods, and anew what differs from what is known."""
        begun, before = self._clock.monotonic(), self.relisted_at
        if before is not None:
            self._meters.observe("kubelet_pleg_relist_interval_seconds", begun - before)
        sandboxes, containers = await asyncio.gather(self._cri.list_pod_sandboxes(), self._cri.list_containers())
        by_pod: dict[str, tuple[list[Message], list[Message]]] = defaultdict(lambda: ([], []))
        for index, items in enumerate((sandboxes, containers)):
            for item in items:
                uid = (item.get("labels") or {}).get(POD_UID) or (item.get("metadata") or {}).get("uid", "")
                by_pod[uid][index].append(item)
        for uid in {*by_pod, *self.pods}:
            listed = by_pod.get(uid, ([], []))
            if self._differs(uid, *listed):
                await self._assemble(uid, *listed)
                self._changed(uid)
        self.relisted_at = self._clock.monotonic()
        self._meters.observe("kubelet_pleg_relist_duration_seconds", self.relisted_at - begun)

    def _differs(self, uid: str, sandboxes: list[Message], containers: list[Message]) -> bool:
        pod = self.pods.get(uid)
        if pod is None:
            return True
        known = {(s.id, s.ready) for s in pod.sandboxes}, {(c.id, c.state) for c in pod.containers}
        now = (
            {(s["id"], s["state"] == "SANDBOX_READY") for s in sandboxes},
            {(c["id"], _STATES.get(c["state"], UNKNOWN)) for c in containers},
        )
        return known != now

    # -- following -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps ``pods`` true until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._relisting())
            self._group = group
            group.create_task(self._events())

    async def _relisting(self) -> None:
        while True:
            try:
                await self.relist()
                self.error = ""
            except CRIError as failure:
                if not self.error:
                    log.warning("runtime does not answer", error=str(failure))
                self.error = str(failure)
            await self._clock.sleep(RELIST_WITH_EVENTS if self._streaming.is_set() and not self.error else RELIST)

    async def _events(self) -> None:
        backoff = Backoff(0.2, 10.0)
        cri_events = True
        while True:
            try:
                if cri_events:
                    await self._cri_events()
                else:
                    await self._containerd_events()
                backoff.reset()
            except CRIError as failure:
                if failure.code == "Unimplemented":
                    if not cri_events:
                        log.info("the runtime has no events: relisting every second")
                        return
                    cri_events = False
                    continue
                log.debug("event stream ended", error=str(failure))
            finally:
                self._streaming.clear()
            await self._clock.sleep(backoff.next())

    async def _cri_events(self) -> None:
        async for event in self._cri.container_events():
            self._streaming.set()
            uid = ((event.get("pod_sandbox_status") or {}).get("metadata") or {}).get("uid", "")
            uid = uid or self.owner(event.get("container_id", ""))
            if uid:
                before = self._signature(uid)
                await self.refresh(uid)
                if self._signature(uid) != before:
                    self._changed(uid)

    async def _containerd_events(self) -> None:
        async for identity in containerd_exits(self._cri.endpoint):
            self._streaming.set()
            if identity and self.owner(identity):
                self._look_after(identity)
            elif identity:
                self._early[identity] = None
                while len(self._early) > 1000:
                    self._early.popitem(last=False)

    def _look_after(self, identity: str) -> None:
        if self._group is not None and identity not in self.stopping:
            self._group.create_task(self._after_exit(identity))

    async def _after_exit(self, identity: str) -> None:
        """The event may be ahead of the CRI's own bookkeeping: looks until the state has changed."""
        uid, delay = self.owner(identity), 0.01
        try:
            while delay < 3.0 and self.owner(identity):
                if await self._has_ended(uid, identity):
                    self._changed(uid)
                    return
                await self._clock.sleep(delay)
                delay *= 2
        except CRIError as failure:
            log.debug("pod not read after an exit", uid=uid, error=str(failure))

    async def _has_ended(self, uid: str, identity: str) -> bool:
        known = self._containers.get(identity)
        if known is not None:
            if known.state == EXITED:
                # Whoever stopped it has read it already.
                return True
            container = await self.read_container(identity)
            return container is None or container.state != RUNNING
        sandbox = self._sandboxes.get(identity)
        if sandbox is None or not sandbox.ready:
            return True
        before = self._signature(uid)
        await self.refresh(uid)
        return self._signature(uid) != before

    def _signature(self, uid: str) -> tuple[object, ...]:
        pod = self.pods.get(uid)
        if pod is None:
            return ()
        return (*((s.id, s.ready) for s in pod.sandboxes), *((c.id, c.state) for c in pod.containers))


def termination_message(status: Message, container: Container) -> str:
    """What the container left in its termination log, or the end of its log where its policy says so."""
    path = container.annotations.get(MESSAGE_PATH, "")
    policy = container.annotations.get(MESSAGE_POLICY, "")
    fallback = (
        policy == "FallbackToLogsOnError" and container.exit_code != 0 and container.reason != "ContainerCannotRun"
    )
    host = (
        next((m["host_path"] for m in status.get("mounts", ()) if m.get("container_path") == path), "") if path else ""
    )
    if host:
        try:
            text = _tail(Path(host), MAX_MESSAGE).decode("utf-8", "replace")
        except FileNotFoundError:
            text = ""
        except OSError as failure:
            return f"Error on reading termination log {host}: {failure.strerror}"
        if text:
            return text
    return _last_of_log(Path(container.log_path)) if fallback and container.log_path else ""


def _tail(path: Path, limit: int) -> bytes:
    """The end of a regular file. The container may have put anything there: a FIFO would be waited for for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        size = file.seek(0, 2)
        file.seek(max(0, size - limit))
        return file.read(limit)


def _last_of_log(path: Path) -> str:
    """The last lines that the container wrote, without the CRI's time stamps."""
    try:
        # Twice the size for the stamps and tags before every line, and then some.
        raw = _tail(path, 2 * MAX_MESSAGE_LOGS + 80 * MAX_MESSAGE_LINES)
    except OSError:
        return ""
    lines = []
    for line in raw.split(b"\n")[-MAX_MESSAGE_LINES - 1 :]:
        parts = line.split(b" ", 3)
        if len(parts) == 4:
            lines.append(parts[3] + (b"" if parts[2].startswith(b"P") else b"\n"))
    return b"".join(lines)[-MAX_MESSAGE_LOGS:].decode("utf-8", "replace")
