"""The shell of the cleaner of legacy tokens: one pass at the start, and one a day."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, name_of, namespace_of, resource_version_of, uid_of
from ...api.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
from ...client.rest import MERGE_PATCH
from ..runtime import API_ERRORS, Controller
from . import decide


class LegacyTokenCleaner(Controller):
    name = "legacy-serviceaccount-token-cleaner-controller"
    workers = 1

    def setup(self) -> None:
        self.secrets, self.accounts = self.informer(SECRETS), self.informer(SERVICE_ACCOUNTS)
        self.pods = self.informer(PODS)

    async def sync(self, key: str) -> float | None:
        return None

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._passes,)

    async def _passes(self) -> None:
        while True:
            try:
                await self.clean()
            except API_ERRORS as failure:
                self.log.warning("legacy tokens are not looked at", error=str(failure))
            await self.clock.sleep(decide.DAY)

    async def clean(self) -> None:
        now, period = self.clock.now(), self.context.settings.legacy_service_account_token_clean_up_period
        found = await self.client.get(CONFIG_MAPS, decide.TRACKING_NAME, decide.TRACKING_NAMESPACE)
        since = decide.tracked_since(found)
        if since is None:
            self.log.warning("since when legacy tokens are tracked is not known", config_map=decide.TRACKING_NAME)
            return
        if now < since + period:
            return
        for verdict in decide.verdicts(self.secrets.list(), self.accounts.get, self.pods.list, now, period):
            try:
                await self._carry_out(verdict)
            except API_ERRORS as failure:
                self.log.warning("legacy token not cleaned", secret=name_of(verdict.secret), error=str(failure))

    async def _carry_out(self, verdict: decide.Verdict) -> None:
        secret, name, namespace = verdict.secret, name_of(verdict.secret), namespace_of(verdict.secret)
        if verdict.delete:
            self.log.info("delete auto-generated service account token", secret=name, namespace=namespace)
            await self._delete(secret)
            return
        self.log.info("mark the auto-generated service account token as invalid", secret=name, namespace=namespace)
        labels = {decide.INVALID_SINCE: verdict.invalid_since}
        patch = {"metadata": {"uid": uid_of(secret), "labels": labels}}
        await self.client.patch(SECRETS, name, patch, namespace, patch_type=MERGE_PATCH)

    async def _delete(self, secret: Object) -> None:
        try:
            await self.writer.delete(SECRETS, secret, resource_version=str(resource_version_of(secret)))
        except StatusError as failure:
            if failure.reason not in (
                "Conflict",
                "NotFound",
            ):  # it has been used, or is gone: the next pass looks again
                raise
