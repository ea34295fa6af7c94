"""The shell of the TTL-after-finished controller."""

from __future__ import annotations

from ...api.errors import StatusError
from ...api.meta import name_of, namespace_of
from ...api.resources import JOBS
from ..runtime import Controller
from . import decide


class TTLAfterFinishedController(Controller):
    name = "ttl-after-finished-controller"

    def setup(self) -> None:
        self.jobs = self.watch(JOBS)

    async def sync(self, key: str) -> float | None:
        job = self.jobs.get_key(key)
        due = decide.expires_at(job) if job is not None else None
        if job is None or due is None:
            return None
        now = self.clock.now()
        if due > now:
            return due - now
        # The copy may be behind a change of the time: the server's word counts.
        try:
            fresh = await self.client.get(JOBS, name_of(job), namespace_of(job))
        except StatusError as failure:
            if failure.reason == "NotFound":
                return None
            raise
        due = decide.expires_at(fresh)
        if due is None or due > now:
            return None if due is None else due - now
        await self.writer.delete(JOBS, fresh, propagation="Foreground")
        return None
