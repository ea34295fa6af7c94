"""ResourceQuota: charges a namespace's quotas for what is made in it, before it is made.

What waits for the same namespace is charged in one write. A charge for an object that is refused after all is given back,
unless the quota controller has counted anew meanwhile. Specified by the "Resource Quotas" page; the messages are those of
``apiserver/pkg/admission/plugin/resourcequota``. Settings: ``limited-resources`` of the plugin's configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, metadata, name_of, resource_version_of
from ...api.pod_resources import Amounts, amounts
from ...api.quantity import canonical_quantity, format_quantity, quantity_form
from ...api.quota import Evaluator, Requirement, add_texts, evaluator_for, scope_requirements
from ...api.resources import GVR, RESOURCE_QUOTAS
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes, AdmissionContext
from .base import WRITES, Plugin, refuse

RETRIES = 3


def _texts(of: Mapping[str, Decimal], names: Iterable[str], like: Mapping[str, str]) -> str:
    return ",".join(f"{n}={format_quantity(of[n], quantity_form(like.get(n, '0')))}" for n in sorted(names))


def _listed(of: Mapping[str, str], names: Iterable[str]) -> str:
    return ",".join(f"{n}={canonical_quantity(of[n])}" for n in sorted(names) if n in of)


class _Waiter:
    """One write that waits for its charge."""

    __slots__ = ("attributes", "charges", "error", "evaluator", "settled")

    def __init__(self, attributes: AdmissionAttributes, evaluator: Evaluator) -> None:
        self.attributes, self.evaluator = attributes, evaluator
        self.charges: dict[str, Amounts] = {}
        self.error: StatusError | None = None
        self.settled = False

    def settle(self, error: StatusError | None = None) -> None:
        self.error, self.settled = error, True


class _Namespace:
    """Who waits in one namespace, and whose turn it is."""

    __slots__ = ("lock", "pending", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.pending: list[_Waiter] = []
        self.users = 0


class ResourceQuota(Plugin):
    name = "ResourceQuota"

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        self._limited: Sequence[Mapping[str, Any]] = context.settings.get("limited-resources") or ()
        self._namespaces: dict[str, _Namespace] = {}
        self._written: dict[tuple[str, str], int] = {}
        """The newest version of a quota that we wrote: while it is the newest of all, nobody else has counted."""

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        if operation not in WRITES or subresource not in ("", "resize", "status") or gvr.resource == "namespaces":
            return False
        if subresource == "status" and gvr.resource != "persistentvolumeclaims":
            return False
        return evaluator_for(gvr.group, gvr.resource) is not None

    async def validate(self, attributes: AdmissionAttributes) -> None:
        namespace = attributes.namespace
        if not namespace:
            return
        if not self._limited and not self.reader.list(RESOURCE_QUOTAS, namespace):
            return
        evaluator = evaluator_for(attributes.gvr.group, attributes.gvr.resource)
        if evaluator is None or not evaluator.handles(
            attributes.operation, attributes.subresource, attributes.object, attributes.old_object
        ):
            return
        waiter = _Waiter(attributes, evaluator)
        await self._charge(namespace, waiter)
        if waiter.error is not None:
            raise waiter.error
        if waiter.charges:
            attributes.rollbacks.append(lambda: self._give_back(namespace, waiter))

    async def _charge(self, namespace: str, waiter: _Waiter) -> None:
        place = self._namespaces.setdefault(namespace, _Namespace())
        place.users += 1
        place.pending.append(waiter)
        try:
            async with place.lock:
                # Whoever had the turn before may have charged for this one too.
                if not waiter.settled:
                    batch, place.pending = place.pending, []
                    try:
                        await self._charge_all(namespace, batch)
                    finally:
                        place.pending[:0] = [w for w in batch if not w.settled and w is not waiter]
        finally:
            if waiter in place.pending:
                place.pending.remove(waiter)
            place.users -= 1
            if not place.users:
                self._namespaces.pop(namespace, None)

    # -- deciding ------------------------------------------------------------------------------------------------------

    async def _charge_all(self, namespace: str, batch: Sequence[_Waiter]) -> None:
        last: StatusError | None = None
        for attempt in range(RETRIES + 1):
            waiting = [w for w in batch if not w.settled]
            if not waiting:
                return
            quotas = {name_of(q): q for q in await self._quotas(namespace, fresh=attempt > 0)}
            used = {n: dict((q.get("status") or {}).get("used") or {}) for n, q in quotas.items()}
            for waiter in waiting:
                try:
                    waiter.charges = self._check(waiter, quotas, used)
                except StatusError as failure:
                    waiter.settle(failure)
                    continue
                if waiter.attributes.dry_run or not waiter.charges:
                    waiter.charges = {}
                    waiter.settle()
                    continue
                for name, charge in waiter.charges.items():
                    hard = (quotas[name].get("status") or {}).get("hard") or {}
                    used[name] = add_texts(used[name], charge, hard)
            last = await self._write(namespace, quotas, used, [w for w in waiting if not w.settled])
            if last is None:
                return
        for waiter in batch:
            if not waiter.settled:
                waiter.settle(last)

    async def _quotas(self, namespace: str, *, fresh: bool) -> Sequence[Object]:
        """After a conflict from the store: another API server has written, and its write may not have come here yet."""
        if not fresh:
            return self.reader.list(RESOURCE_QUOTAS, namespace)
        listed = await self.context.request("GET", f"/api/v1/namespaces/{namespace}/resourcequotas")
        return listed.get("items") or []

    async def _write(
        self,
        namespace: str,
        quotas: Mapping[str, Object],
        used: Mapping[str, dict[str, str]],
        waiting: Sequence[_Waiter],
    ) -> StatusError | None:
        """Writes the changed quotas. A quota that somebody else changed meanwhile leaves its waiters to the next round."""
        touched = {name for w in waiting for name in w.charges}
        failed: StatusError | None = None
        done: set[str] = set()
        for name in sorted(touched):
            try:
                await self._put(namespace, quotas[name], used[name])
                done.add(name)
            except StatusError as failure:
                if failure.reason not in ("Conflict", "NotFound"):
                    failed = failure
                    break
                failed = failure
        for waiter in waiting:
            if done.issuperset(waiter.charges):
                waiter.settle()
            elif failed is not None and failed.reason not in ("Conflict", "NotFound"):
                waiter.settle(failed)
            else:
                # What was charged in part is taken back before the next round charges it again.
                for name in done.intersection(waiter.charges):
                    await self._return(namespace, name, waiter.charges[name])
        return failed if any(not w.settled for w in waiting) else None

    async def _put(self, namespace: str, quota: Object, used: dict[str, str]) -> None:
        name = name_of(quota)
        body = {**quota, "status": {**(quota.get("status") or {}), "used": used}}
        body["metadata"] = {**metadata(quota)}
        body.setdefault("kind", "ResourceQuota")
        body.setdefault("apiVersion", "v1")
        path = f"/api/v1/namespaces/{namespace}/resourcequotas/{name}/status"
        written = await self.context.request("PUT", path, body)
        self._written[namespace, name] = resource_version_of(written)

    async def _give_back(self, namespace: str, waiter: _Waiter) -> None:
        place = self._namespaces.setdefault(namespace, _Namespace())
        place.users += 1
        try:
            async with place.lock:
                for name, charge in waiter.charges.items():
                    await self._return(namespace, name, charge)
        finally:
            place.users -= 1
            if not place.users:
                self._namespaces.pop(namespace, None)

    async def _return(self, namespace: str, name: str, charge: Amounts) -> None:
        quota = self.reader.get(RESOURCE_QUOTAS, namespace, name)
        if quota is None or resource_version_of(quota) != self._written.get((namespace, name)):
            # The controller has counted what is there: the charge is not in its number.
            return
        status = quota.get("status") or {}
        used = add_texts(status.get("used") or {}, {n: -a for n, a in charge.items()}, status.get("hard") or {})
        try:
            await self._put(namespace, quota, used)
        except StatusError as failure:
            if failure.reason not in ("Conflict", "NotFound"):
                raise

    def _check(
        self, waiter: _Waiter, quotas: Mapping[str, Object], used: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Amounts]:
        """What each quota is to be charged. Raises StatusError where one refuses."""
        a, evaluator = waiter.attributes, waiter.evaluator
        obj = a.object or {}
        now = self.context.clock.now()
        requirements = [r for q in quotas.values() for r in scope_requirements(q) if evaluator.in_scope(r, obj)]
        interesting = self._interesting(a, evaluator, obj, quotas, used)
        usage = evaluator.usage(obj, now)
        negative = sorted(n for n, v in usage.items() if v < 0)
        if negative:
            raise refuse(a, f"quota usage is negative for resource(s): {','.join(negative)}")
        old = a.old_object if a.operation == UPDATE else None
        before = evaluator.usage(old, now) if old is not None and resource_version_of(old) else None
        delta = (
            usage if before is None else {n: max(v - before.get(n, Decimal(0)), Decimal(0)) for n, v in usage.items()}
        )
        deltas: dict[str, Amounts] = {}
        for name in interesting:
            same = before is not None and evaluator.matches(quotas[name], old or {})
            deltas[name] = {n: v for n, v in (delta if same else usage).items() if v}
        counts = any(deltas.values()) if interesting else any(delta.values())
        if not counts or (a.operation not in (CREATE, UPDATE)):
            return {}
        self._check_limited(a, evaluator, obj, delta, interesting, requirements)
        return {n: c for n in interesting if (c := self._fit(a, quotas[n], used[n], deltas[n]))}

    def _interesting(
        self,
        a: AdmissionAttributes,
        evaluator: Evaluator,
        obj: Object,
        quotas: Mapping[str, Object],
        used: Mapping[str, Mapping[str, str]],
    ) -> dict[str, list[str]]:
        """The quotas that count this object, with the names that they count it by."""
        found: dict[str, list[str]] = {}
        for name, quota in quotas.items():
            hard = (quota.get("status") or {}).get("hard") or {}
            counted = evaluator.counted(hard)
            if not counted or not all(evaluator.in_scope(r, obj) for r in scope_requirements(quota)):
                continue
            unsaid = evaluator.unsaid(counted, obj)
            if unsaid:
                raise refuse(a, f"failed quota: {name}: {unsaid}")
            if any(n not in used[name] for n in counted):
                raise refuse(a, f"status unknown for quota: {name}, resources: {','.join(sorted(counted))}")
            found[name] = counted
        return found

    @staticmethod
    def _fit(a: AdmissionAttributes, quota: Object, used: Mapping[str, str], delta: Amounts) -> Amounts:
        hard: Mapping[str, str] = (quota.get("status") or {}).get("hard") or {}
        requested = {n: v for n, v in delta.items() if n in hard}
        if a.subresource != "status":
            have, most = amounts(used), amounts(hard)
            exceeded = [n for n, v in requested.items() if have.get(n, Decimal(0)) + v > most[n]]
            if exceeded:
                raise refuse(
                    a,
                    f"exceeded quota: {name_of(quota)}, requested: {_texts(requested, exceeded, hard)}, "
                    f"used: {_listed(used, exceeded)}, limited: {_listed(hard, exceeded)}",
                )
        return requested

    # -- what must have a quota ----------------------------------------------------------------------------------------

    def _check_limited(
        self,
        a: AdmissionAttributes,
        evaluator: Evaluator,
        obj: Object,
        delta: Amounts,
        interesting: Mapping[str, list[str]],
        requirements: Sequence[Requirement],
    ) -> None:
        """Resources and scopes that the operator lets nobody use without a quota for them."""
        if not self._limited:
            return
        covered = {n for names in interesting.values() for n in names}
        wanted: set[str] = set()
        scopes: list[str] = []
        for entry in self._limited:
            if (entry.get("apiGroup") or "", entry.get("resource")) == (a.gvr.group, a.gvr.resource):
                parts = entry.get("matchContains") or ()
                wanted |= {n for n, v in delta.items() if v > 0 and any(p in n for p in parts)}
            for scope in entry.get("matchScopes") or ():
                if evaluator.in_scope(scope, obj):
                    scopes.append(scope.get("scopeName") or "")
        if wanted - covered:
            raise refuse(a, f"insufficient quota to consume: {','.join(sorted(wanted - covered))}")
        present = {r.get("scopeName") for r in requirements}
        missing = [s for s in scopes if s not in present]
        if missing:
            raise refuse(a, f"insufficient quota to match these scopes: [{' '.join(missing)}]")
