"""Telling the API what became of pods: the newest status of each, written once, as the smallest patch.

A status that did not change is not written; what several changes add up to is written once. A pod that is being deleted and has
ended is deleted from the API for good. Rules of upstream's ``status_manager.go``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object, key_of, name_of, namespace_of, uid_of
from ..api.resources import PODS
from ..client.rest import STRATEGIC_MERGE_PATCH, Client
from ..client.transport import TransportError
from ..concurrency import Backoff, Clock, logger

log = logger("kubelet.status")

# Fields that the API server or others own; a patch of ours never touches them.
_FOREIGN = ("resourceClaimStatuses", "extendedResourceClaimStatus", "nominatedNodeName", "resize")
_KEYED = "conditions"


def status_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The strategic merge patch that makes ``old`` into ``new``; empty where they are the same."""
    patch: dict[str, Any] = {}
    for key in {*old, *new} - {*_FOREIGN, _KEYED}:
        if key in new:
            if new[key] != old.get(key):
                patch[key] = new[key] if key not in ("podIPs", "hostIPs") else _replaced(old.get(key), new[key])
        else:
            patch[key] = None
    before = {c["type"]: c for c in old.get(_KEYED) or ()}
    after = {c["type"]: c for c in new.get(_KEYED) or ()}
    changed = [c for kind, c in after.items() if not _same_condition(before.get(kind), c)]
    gone = [{"$patch": "delete", "type": kind} for kind in before if kind not in after]
    dropped = [_without(before.get(c["type"]), c) for c in changed]
    if changed or gone:
        order = [{"type": c["type"]} for c in new.get(_KEYED) or ()]
        patch[f"$setElementOrder/{_KEYED}"] = order
        patch[_KEYED] = [*dropped, *gone]
    return patch


def _replaced(old: Any, new: list[Object]) -> list[Object]:
    """podIPs and hostIPs merge by address: what is no longer there has to be taken out by name."""
    kept = {entry["ip"] for entry in new}
    return [*new, *({"$patch": "delete", "ip": e["ip"]} for e in old or () if e["ip"] not in kept)]


def _same_condition(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    if old is None:
        return False
    return {k: v for k, v in old.items() if v is not None} == {k: v for k, v in new.items() if v is not None}


def _without(old: Mapping[str, Any] | None, new: Object) -> Object:
    """The condition, with null for what it no longer has (a reason that is over)."""
    return {**{k: None for k in old or () if k not in new}, **new}


@dataclass(slots=True)
class _Entry:
    pod: Object
    status: Object
    finished: bool = False
    """Nothing runs and nothing is left on disk: it may be deleted from the API."""
    dirty: bool = True


class StatusManager:
    """``current`` gives the newest status; ``run`` writes."""

    PARALLEL = 8

    def __init__(
        self,
        client: Client | None,
        clock: Clock,
        *,
        stored: Callable[[str], Object | None],
        observed: Callable[[Object], None],
    ) -> None:
        """``stored(uid)`` is the pod as the API has it (for a static pod its mirror); ``observed`` takes the API's answers."""
        self._client, self._clock = client, clock
        self._stored, self._observed = stored, observed
        self._entries: dict[str, _Entry] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._busy: set[str] = set()

    def current(self, uid: str) -> Object | None:
        entry = self._entries.get(uid)
        return entry.status if entry is not None else None

    def set(self, pod: Object, status: Object) -> None:
        uid = uid_of(pod)
        entry = self._entries.get(uid)
        if entry is None:
            self._entries[uid] = entry = _Entry(pod, status)
        elif entry.status == status and not entry.dirty and entry.pod is pod:
            return
        else:
            entry.pod, entry.status, entry.dirty = pod, status, True
        self._queue.put_nowait(uid)

    def finish(self, pod: Object) -> None:
        """The pod's last status is known and nothing of it is left: where it is being deleted, it can go."""
        entry = self._entries.get(uid_of(pod))
        if entry is not None:
            entry.pod, entry.finished, entry.dirty = pod, True, True
            self._queue.put_nowait(uid_of(pod))

    def touch(self, uid: str) -> None:
        """The API's picture changed: compare again."""
        entry = self._entries.get(uid)
        if entry is not None:
            entry.dirty = True
            self._queue.put_nowait(uid)

    def forget(self, uid: str) -> None:
        self._entries.pop(uid, None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.PARALLEL):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            entry = self._entries.get(uid)
            if entry is None or not entry.dirty or uid in self._busy or self._client is None:
                continue
            self._busy.add(uid)
            try:
                await self._write(uid, entry)
            finally:
                self._busy.discard(uid)

    async def _write(self, uid: str, entry: _Entry) -> None:
        backoff = Backoff(0.2, 10.0)
        while entry.dirty and self._entries.get(uid) is entry:
            entry.dirty = False
            try:
                await self._once(uid, entry)
            except StatusError as failure:
                if failure.code in (404, 409) and failure.reason in ("NotFound", "Conflict"):
                    # Gone, or another pod under the name: there is nobody left to tell.
                    return
                log.warning("status not written", pod=key_of(entry.pod), error=failure.message)
                if failure.code in (400, 422):
                    return
                entry.dirty = True
            except (TransportError, TimeoutError) as failure:
                log.warning("status not written", pod=key_of(entry.pod), error=str(failure))
                entry.dirty = True
            if entry.dirty and entry.status is not None:
                await self._clock.sleep(backoff.next())

    async def _once(self, uid: str, entry: _Entry) -> None:
        assert self._client is not None
        stored = self._stored(uid)
        if stored is None:
            return
        name, namespace = name_of(stored), namespace_of(stored)
        patch = status_patch(stored.get("status") or {}, entry.status)
        if patch:
            body = {"metadata": {"uid": uid_of(stored)}, "status": patch}
            answer = await self._client.patch(
                PODS, name, body, namespace, subresource="status", patch_type=STRATEGIC_MERGE_PATCH
            )
            self._observed(answer)
            stored = answer
        if entry.finished and (stored.get("metadata") or {}).get("deletionTimestamp") is not None:
            await self._client.delete(PODS, name, namespace, grace_period_seconds=0, uid=uid_of(stored))
