"""The shell of the Job controller: pods first, then the status in the order that counts every pod once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...api.meta import (
    Object,
    controller_of,
    controller_reference,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from ...api.resources import JOBS, PODS
from ...api.selectors import selector_from_object
from ...client.rest import STRATEGIC_MERGE_PATCH
from ..claims import claim
from ..commands import CreatePods, DeletePods, Patch
from ..runtime import API_ERRORS, Controller, bound, in_parallel
from ..values import with_status
from . import decide, tracking
from .pods import FINALIZER, is_tracked, untrack_patch

_POD_PREFIX = "pod:"
_BATCH_PERIOD = 0.2
"""Pods of a Job end in crowds: waiting a little makes one status update of many."""
MANAGER = "kubernetes.io/job-controller"


class JobController(Controller):
    name = "job-controller"

    def setup(self) -> None:
        self._backoffs: dict[str, decide.Backoff] = {}
        self.jobs = self.informer(JOBS)
        self.pods = self.by_owner(PODS)
        self.watch(JOBS, self._of_job)
        self.pods.add_handler(self._of_pod)

    def _of_job(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        job = new or old or {}
        if kind == "DELETED":
            self._backoffs.pop(uid_of(job), None)
        if kind == "DELETED" or decide.is_finished(job):
            for pod in self.pods.by_index("owner", uid_of(job)):
                if is_tracked(pod):
                    yield _POD_PREFIX + key_of(pod)
        yield key_of(job)

    def _of_pod(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        owners = [controller_of(o) for o in (old, new) if o is not None]
        keys = {f"{namespace_of(pod)}/{r['name']}" for r in owners if r is not None and r.get("kind") == "Job"}
        if kind != "DELETED" and owners[-1] is None:
            keys.update(self._matching(pod))
        for key in keys:
            if kind == "ADDED":
                self.queue.add(key)
            else:
                self.queue.add_after(key, _BATCH_PERIOD)
        if kind != "DELETED" and is_tracked(pod) and self._is_orphan(pod):
            self.queue.add(_POD_PREFIX + key_of(pod))

    def _matching(self, pod: Object) -> Iterable[str]:
        for job in self.jobs.list(namespace_of(pod)) if labels_of(pod) else ():
            selector = selector_from_object(job["spec"].get("selector"))
            if not selector.everything and selector.matches(labels_of(pod)):
                yield key_of(job)

    def _is_orphan(self, pod: Object) -> bool:
        """Nobody will count it any more."""
        reference = controller_of(pod)
        if reference is None or reference.get("kind") != "Job":
            return True
        job = self.jobs.get(namespace_of(pod), reference["name"])
        if job is None or uid_of(job) != reference.get("uid"):
            return True
        return decide.is_finished(job) and not _is_managed_elsewhere(job)

    async def sync(self, key: str) -> float | None:
        if key.startswith(_POD_PREFIX):
            pod = self.pods.get_key(key.removeprefix(_POD_PREFIX))
            if pod is not None and is_tracked(pod) and self._is_orphan(pod):
                await self._untrack(pod)
            return None
        job = self.jobs.get_key(key)
        if job is None or _is_managed_elsewhere(job) or decide.is_finished(job):
            return None
        return await self._sync_job(job)

    async def _sync_job(self, job: Object) -> float | None:
        reference = controller_reference(job, "batch/v1", "Job")
        pods = await self._claim(job, reference)
        view = decide.look(job, pods, self.clock.now())
        before = self._backoffs.get(uid_of(job))
        backoff = decide.next_backoff(decide.remembered_backoff(view) if before is None else before, view)
        management = decide.manage(view, backoff, reference)
        failure = await self._manage(job, management)
        # Once more, for what was made and deleted is in the copy now.
        owned = {uid_of(p) for p in pods}
        pods = [p for p in self.pods.by_index("owner", uid_of(job)) if uid_of(p) in owned or not is_deleting(p)]
        view = decide.look(job, pods, self.clock.now())
        await self._track(job, view, backoff, managed=view.finished is None and not is_deleting(job))
        if failure is not None:
            raise failure
        waits = [w for w in (management.after, view.deadline_in) if w is not None]
        return min(waits, default=None)

    async def _claim(self, job: Object, reference: dict[str, Any]) -> list[Object]:
        selector = selector_from_object(job["spec"].get("selector"))
        own = self.pods.by_index("owner", uid_of(job))
        orphans = self.pods.by_index("owner", f"orphan/{namespace_of(job)}")
        return await claim(self, job, JOBS, reference, PODS, selector, [*own, *orphans], [FINALIZER])

    async def _manage(self, job: Object, management: decide.Management) -> Exception | None:
        try:
            if management.drop:
                failures = await in_parallel([bound(self._untrack, p) for p in management.drop])
                if failures:
                    return failures[0]
            doomed = [*management.end, *management.drop]
            if doomed:
                await self.execute([DeletePods(job, doomed)])
            if management.create:
                await self.execute([CreatePods(job, management.create)])
        except API_ERRORS as failure:
            return failure
        return None

    async def _untrack(self, pod: Object) -> None:
        patch = untrack_patch(pod)
        command = Patch(PODS, namespace_of(pod), name_of(pod), patch, STRATEGIC_MERGE_PATCH, unless_missing=True)
        await self.execute([command])

    async def _track(self, job: Object, view: decide.View, backoff: decide.Backoff, *, managed: bool) -> None:
        status, events = tracking.base_status(view, managed=managed)
        finished = tracking.ending(view)
        releasable = tracking.record(view, status, finished)
        job = await self._store(job, status)
        self._backoffs[uid_of(job)] = backoff
        for event in events:
            self.event(job, *event)
        failures = await in_parallel([bound(self._untrack, p) for p in releasable])
        left = self.pods.by_index("owner", uid_of(job))
        after = decide.look(job, left, self.clock.now())
        events = tracking.settle(after, status, finished)
        job = await self._store(job, status)
        for event in events:
            self.event(job, *event)
        if failures:
            raise failures[0]

    async def _store(self, job: Object, status: tracking.Status) -> Object:
        sent = tracking.cleaned(status)
        if tracking.is_stored(sent, job):
            return job
        return await self.writer.update(JOBS, with_status(job, sent), "status")


def _is_managed_elsewhere(job: Object) -> bool:
    manager = job["spec"].get("managedBy")
    return manager is not None and manager != MANAGER
