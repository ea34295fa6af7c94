"""The shell of the CronJob controller."""

from __future__ import annotations

from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, controller_of, name_of, namespace_of, uid_of
from ...api.resources import CRON_JOBS, JOBS
from ...api.times import to_time
from ...client.events import NORMAL, WARNING
from ..runtime import API_ERRORS, Controller, is_namespace_terminating, is_status
from ..values import same_status, with_status
from . import decide


class CronJobController(Controller):
    name = "cronjob-controller"

    def setup(self) -> None:
        self.cron_jobs = self.watch(CRON_JOBS)
        self.jobs = self.by_owner(JOBS)
        self.watch_owned(JOBS, "CronJob")

    async def sync(self, key: str) -> float | None:
        cron_job = self.cron_jobs.get_key(key)
        if cron_job is None:
            return None
        jobs = self.jobs.by_index("owner", uid_of(cron_job))
        gone = [r["uid"] for r in decide.missing(cron_job, jobs) if await self._is_gone(r)]
        plan = decide.decide(cron_job, jobs, gone, self.clock.now())
        await self.execute(plan.events)
        for job in plan.delete:
            await self._delete(cron_job, job, plan)
        try:
            if plan.start is not None:
                await self._start(cron_job, plan)
        finally:
            if not same_status(cron_job.get("status"), plan.status):
                await self.writer.update(CRON_JOBS, with_status(cron_job, plan.status), "status")
        return plan.after

    async def _is_gone(self, reference: dict[str, Any]) -> bool:
        try:
            await self.client.get(JOBS, reference["name"], reference["namespace"])
        except StatusError as failure:
            if failure.reason == "NotFound":
                return True
            raise
        return False

    async def _delete(self, cron_job: Object, job: Object, plan: decide.Plan) -> None:
        try:
            await self.writer.delete(JOBS, job, propagation="Background")
        except API_ERRORS as failure:
            self.event(cron_job, WARNING, "FailedDelete", f"Deleted job: {failure}")
            return
        plan.status["active"] = [r for r in plan.status["active"] if r.get("uid") != uid_of(job)]
        self.event(cron_job, NORMAL, "SuccessfulDelete", f"Deleted job {name_of(job)}")

    async def _start(self, cron_job: Object, plan: decide.Plan) -> None:
        for reference in plan.replace:
            job = self.jobs.get(reference["namespace"], reference["name"])
            if job is not None:
                await self._delete(cron_job, job, plan)
        wanted = plan.start
        assert wanted is not None and plan.scheduled is not None
        try:
            job = await self.writer.create(JOBS, wanted)
            self.event(cron_job, NORMAL, "SuccessfulCreate", f"Created job {name_of(job)}")
        except API_ERRORS as failure:
            if is_namespace_terminating(failure):
                return
            if not is_status(failure, "AlreadyExists"):
                self.event(cron_job, WARNING, "FailedCreate", f"Error creating job: {failure}")
                raise
            job = await self.client.get(JOBS, name_of(wanted), namespace_of(wanted))
            owner = controller_of(job)
            if owner is None or owner.get("uid") != uid_of(cron_job):
                return
        plan.status["active"] = [*plan.status["active"], decide.reference_to(job)]
        plan.status["lastScheduleTime"] = to_time(plan.scheduled)
