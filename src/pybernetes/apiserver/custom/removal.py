"""Removing all instances of a custom resource before its definition goes.

They are deleted as anybody's request would: finalizers are waited for. Specified by "Delete a CustomResourceDefinition".
"""

from __future__ import annotations

import asyncio

from ...api.errors import StatusError
from ...concurrency import Clock
from ...hooks.identity import LOOPBACK, Credentials
from ..cache import ResourceCache
from ..deleting import DeleteOptions, Deleter
from ..registry import Resource
from ..request import Request, RequestInfo

PATIENCE = 60.0
"""As long as upstream waits for instances to go before it begins anew."""


class Remover:
    """Removes the instances of one resource at a time a call."""

    def __init__(self, deleter: Deleter, clock: Clock) -> None:
        self._deleter = deleter
        self._clock = clock

    async def remove_all(self, resource: Resource) -> tuple[str, str] | None:
        """None when none is left; else (reason, message) of the Terminating condition."""
        problems = await self._delete_all(resource)
        if problems:
            text = problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]"
            return "InstanceDeletionFailed", f"could not issue all deletes: {text}"
        gone = _Gone(resource.cache)
        try:
            async with self._clock.timeout(PATIENCE):
                await gone.wait()
        except TimeoutError:
            why = "could not confirm zero CustomResources remaining: context deadline exceeded"
            return "InstanceDeletionCheck", why
        finally:
            gone.close()
        return None

    async def _delete_all(self, resource: Resource) -> list[str]:
        problems: list[str] = []
        gvr = resource.gvr
        for entry in list(resource.cache):
            parts = (gvr.resource, entry.name)
            path = f"{gvr.path}/{gvr.resource}/{entry.name}"
            info = RequestInfo(
                True, "delete", path, gvr.group, gvr.version, gvr.resource, "", entry.namespace, entry.name, parts
            )
            request = Request("DELETE", path, credentials=Credentials({}), user=LOOPBACK)
            request.info = info
            try:
                await self._deleter.remove(request, info, resource, entry.name, DeleteOptions())
            except StatusError as failure:
                if failure.code != 404 and str(failure) not in problems:
                    problems.append(str(failure))
        return problems


class _Gone:
    """Waits until a cache is empty."""

    def __init__(self, cache: ResourceCache) -> None:
        self._cache = cache
        self._event = asyncio.Event()
        self._cancel = cache.subscribe(lambda kind, old, new: self._look())
        self._look()

    def _look(self) -> None:
        if not self._cache.count:
            self._event.set()

    async def wait(self) -> None:
        await self._event.wait()

    def close(self) -> None:
        self._cancel()
