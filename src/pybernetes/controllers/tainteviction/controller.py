"""The shell of taint eviction: keys are pods; a node's change of taints wakes its pods."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, key_of, name_of, namespace_of
from ...api.resources import NODES, PODS
from ...client.events import NORMAL
from ...client.rest import STRATEGIC_MERGE_PATCH
from ..commands import Delete, Emit, Patch
from ..pods import node_of
from ..runtime import Controller
from . import decide


class TaintEvictionController(Controller):
    name = "taint-eviction-controller"
    workers = 8

    def setup(self) -> None:
        self._first_seen: dict[str, dict[decide.TaintKey, float]] = {}
        self._planned: dict[str, float] = {}
        self.pods = self.watch(PODS, self._of_pod)
        if "node" not in self.pods.indexes:
            self.pods.add_index("node", lambda pod: (node_of(pod),) if node_of(pod) else ())
        self.nodes = self.watch(NODES, self._of_node)

    def _of_pod(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        """Only pods on tainted nodes need a look; most clusters have none."""
        pod = new or old or {}
        if kind == "DELETED":
            self._planned.pop(key_of(pod), None)
        elif self._first_seen.get(node_of(pod)):
            yield key_of(pod)

    def _of_node(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        node = new or old or {}
        name = name_of(node)
        before = decide.execute_taints(old) if old is not None else []
        after = decide.execute_taints(node) if kind != "DELETED" else []
        if not after:
            self._first_seen.pop(name, None)
        else:
            seen = self._first_seen.get(name, {})
            now = self.clock.now()
            self._first_seen[name] = {k: seen.get(k, now) for k in map(decide.taint_key, after)}
        if before != after and kind != "DELETED":
            return [key_of(pod) for pod in self.pods.by_index("node", name)]
        return ()

    async def sync(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        node = self.nodes.get("", node_of(pod)) if pod is not None else None
        if pod is None or node is None:
            return None
        taints = decide.execute_taints(node)
        due = decide.eviction_time(pod, taints, self._first_seen.get(name_of(node), {}))
        about = {"kind": "Pod", "apiVersion": "v1", "name": name_of(pod), "namespace": namespace_of(pod)}
        if due is None:
            if self._planned.pop(key, None) is not None and "deletionTimestamp" not in pod["metadata"]:
                self.event(about, NORMAL, "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        now = self.clock.now()
        if due > now:
            self._planned[key] = due
            return due - now
        self._planned.pop(key, None)
        message = "Taint manager: deleting due to NoExecute taint"
        patch = decide.disruption_patch(pod, "DeletionByTaintManager", message, now)
        await self.execute(
            [
                Emit(about, NORMAL, "TaintManagerEviction", f"Marking for deletion Pod {key}"),
                Patch(
                    PODS, namespace_of(pod), name_of(pod), patch, STRATEGIC_MERGE_PATCH, "status", unless_missing=True
                ),
                Delete(PODS, pod),
            ]
        )
        return None
