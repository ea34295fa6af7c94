"""The shell of the ServiceAccount controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, name_of, namespace_of
from ...api.resources import NAMESPACES, SERVICE_ACCOUNTS
from ..runtime import API_ERRORS, Controller, is_namespace_terminating, is_status
from . import decide


class ServiceAccountController(Controller):
    name = "serviceaccount-controller"
    workers = 1

    def setup(self) -> None:
        self.namespaces = self.watch(NAMESPACES)
        self.accounts = self.watch(SERVICE_ACCOUNTS, self._of_account)

    def _of_account(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        if kind == "DELETED":
            yield namespace_of(old or new or {})

    async def sync(self, key: str) -> float | None:
        present = {name_of(a) for a in self.accounts.list(key)}
        try:
            await self.execute(decide.decide(self.namespaces.get_key(key), present))
        except API_ERRORS as failure:
            # The namespace went, or goes away, meanwhile.
            if not is_namespace_terminating(failure) and not is_status(failure, "NotFound"):
                raise
        return None
