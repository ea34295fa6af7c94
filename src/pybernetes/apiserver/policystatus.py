"""Writes what type checking found into the status of ValidatingAdmissionPolicies.

Upstream's controller manager does this from OpenAPI; here it is done where the schemas are. Specified by "Validating Admission
Policy", "Type checking".
"""

from __future__ import annotations

from collections.abc import Iterator

from ..api.meta import Object, name_of
from ..api.resources import GVK
from ..api.schema.node import Node
from ..api.typechecking import warnings
from ..concurrency import Clock, WorkQueue, logger, run_workers
from ..hooks.admission import Requester
from ..hooks.reading import ObjectReader
from .admission.policies import POLICIES
from .registry import Registry

log = logger("apiserver.policies")

MANAGER = "validatingadmissionpolicy-status"


class PolicyStatus:
    """Background work on the policies of one server."""

    def __init__(self, reader: ObjectReader, request: Requester, registry: Registry, clock: Clock) -> None:
        self._reader, self._request, self._registry = reader, request, registry
        self._queue: WorkQueue[str] = WorkQueue(clock)
        reader.subscribe(POLICIES, self._changed)

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and kind != "DELETED":
            self._queue.add(name_of(new))

    async def run(self) -> None:
        """Until cancelled."""
        for policy in self._reader.list(POLICIES):
            self._queue.add(name_of(policy))
        await run_workers(self._queue, 1, self._sync, self._failed)

    @staticmethod
    def _failed(key: str, failure: Exception) -> None:
        log.info("type checking not written", policy=key, error=str(failure))

    async def _sync(self, name: str) -> None:
        policy = self._reader.get(POLICIES, "", name)
        if policy is None:
            return
        generation = int(policy["metadata"].get("generation") or 0)
        if generation <= int((policy.get("status") or {}).get("observedGeneration") or 0):
            return
        found = warnings(policy.get("spec") or {}, self._kinds_for, self._node_of)
        checked = {"expressionWarnings": found} if found else {}
        body = {
            "apiVersion": POLICIES.api_version,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "status": {"observedGeneration": generation, "typeChecking": checked},
        }
        path = f"{POLICIES.path}/{POLICIES.resource}/{name}/status?fieldManager={MANAGER}&force=true"
        await self._request("PATCH", path, body, content_type="application/apply-patch+yaml")

    def _kinds_for(self, group: str, version: str, resource: str) -> Iterator[tuple[GVK, Node | None]]:
        found = self._registry.lookup(group, version, resource)
        if found is not None:
            yield found.gvk, found.kind.schema.root

    def _node_of(self, gvk: GVK) -> Node | None:
        found = self._registry.by_kind(gvk)
        return found.kind.schema.root if found is not None else None
