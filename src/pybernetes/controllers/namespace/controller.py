"""The shell of the namespace controller.

Unlike upstream's it does not only wait for half of the longest grace period: the last pod that goes wakes its namespace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, is_deleting, metadata, name_of, namespace_of
from ...api.resources import GVR, NAMESPACES, PODS, ResourceInfo
from ...client.discovery import discover, preferred
from ...client.informer import METADATA_LIST
from ...client.rest import path_for
from ..runtime import API_ERRORS, Controller, bound, in_parallel
from . import decide

_BACKGROUND = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
_LOOK_AGAIN = 2.0


class NamespaceController(Controller):
    name = "namespace-controller"
    workers = 10

    def setup(self) -> None:
        self.namespaces = self.watch(NAMESPACES, self._of_namespace)
        self.pods = self.watch(PODS, self._of_pod)

    def _of_namespace(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        if new is not None and kind != "DELETED" and is_deleting(new):
            yield name_of(new)

    def _of_pod(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        pod = new or old or {}
        if kind == "DELETED" and not self.pods.list(namespace_of(pod)):
            namespace = self.namespaces.get("", namespace_of(pod))
            if namespace is not None and is_deleting(namespace):
                yield namespace_of(pod)

    async def sync(self, key: str) -> float | None:
        try:
            namespace = await self.client.get(NAMESPACES, key)
        except StatusError as failure:
            if failure.reason == "NotFound":
                return None
            raise
        if not decide.is_held(namespace):
            return None
        marked = decide.marked_terminating(namespace)
        if marked is not None:
            namespace = await self.writer.update(NAMESPACES, marked, "status")
        remains = await self._delete_content(namespace)
        changed = decide.with_conditions(namespace, remains, self.clock.now())
        if changed is not None:
            namespace = await self.writer.update(NAMESPACES, changed, "status")
        if remains.errors or remains.discovery_error:
            raise StatusError(500, "", "; ".join([*remains.errors, remains.discovery_error]))
        if remains.resources:
            return min(remains.estimate / 2 + 1, _LOOK_AGAIN)
        await self.writer.update(NAMESPACES, decide.finalized(namespace), "finalize")
        return None

    async def _delete_content(self, namespace: Object) -> decide.Remains:
        remains = decide.Remains()
        infos, failed = await discover(self.client)
        if failed:
            listed = ", ".join(sorted(failed))
            remains.discovery_error = f"Discovery failed for some groups, {len(failed)} failing: {listed}"
        infos = decide.deletable(preferred(infos))
        pods = [i for i in infos if i.gvr == PODS]
        await self._delete_all(namespace, pods, remains)
        if remains.resources:
            # The pods go first: what they use (claims, secrets, network policies) stays until they are gone.
            return remains
        await self._delete_all(namespace, [i for i in infos if i.gvr != PODS], remains)
        return remains

    async def _delete_all(self, namespace: Object, infos: list[ResourceInfo], remains: decide.Remains) -> None:
        await in_parallel([bound(self._delete_one, namespace, info, remains) for info in infos])

    async def _delete_one(self, namespace: Object, info: ResourceInfo, remains: decide.Remains) -> None:
        name, gvr = name_of(namespace), info.gvr
        try:
            items = await self._list(gvr, name, whole=gvr == PODS)
            if not items:
                return
            estimate = 0
            if gvr == PODS:
                estimate = decide.grace_estimate(items, metadata(namespace)["deletionTimestamp"], self.clock.now())
            if "deletecollection" in info.verbs:
                await self.client.request("DELETE", path_for(gvr, name), _BACKGROUND)
            else:
                for item in items:
                    await self.writer.delete(gvr, item, propagation="Background")
            remains.add(gvr, await self._list(gvr, name), estimate, name)
        except StatusError as failure:
            # A resource that went away (its CRD is being deleted too), or that only looks listable.
            if failure.reason not in ("NotFound", "MethodNotAllowed"):
                remains.errors.append(str(failure))
        except API_ERRORS as failure:
            remains.errors.append(str(failure))

    async def _list(self, gvr: GVR, namespace: str, *, whole: bool = False) -> list[dict[str, Any]]:
        accept = "application/json" if whole else METADATA_LIST
        answer = await self.client.list(gvr, namespace, accept=accept)
        return answer.get("items") or []
