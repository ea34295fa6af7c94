"""The shell of the node lifecycle controller: taints follow conditions at once; life is looked for every few seconds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ...api.meta import Object, metadata, name_of, namespace_of
from ...api.resources import LEASES, NODES, PODS
from ...client.events import NORMAL, WARNING
from ...client.rest import MERGE_PATCH, STRATEGIC_MERGE_PATCH
from ..commands import Emit, Patch
from ..pods import node_of
from ..runtime import API_ERRORS, Controller, bound, in_parallel
from ..taints import Taint, ready_status
from . import decide

LEASE_NAMESPACE = "kube-node-lease"


class NodeLifecycleController(Controller):
    name = "node-lifecycle-controller"
    component = "node-controller"
    workers = 8

    def setup(self) -> None:
        self.nodes = self.watch(NODES)
        self.leases = self.informer(LEASES)
        self.pods = self.informer(PODS)
        if "node" not in self.pods.indexes:
            self.pods.add_index("node", lambda pod: (node_of(pod),) if node_of(pod) else ())
        self._health: dict[str, decide.Health] = {}
        self._limiters: dict[str, decide.Limiter] = {}
        self._known: dict[str, Object] = {}
        self._was_unknown: dict[str, bool] = {}
        self._all_broken = False

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._monitor,)

    async def sync(self, key: str) -> float | None:
        """One node changed: its labels and NoSchedule taints follow, and a NoExecute taint that holds no more goes."""
        node = self.nodes.get_key(key)
        if node is None:
            return None
        labels = decide.missing_labels(node)
        if labels:
            node = await self.writer.patch(NODES, key, {"metadata": {"labels": labels}})
        taints = decide.with_condition_taints(node)
        if taints is not None:
            node = await self._set_taints(node, taints)
        if ready_status(node) == "True":
            await self._clear(node)
        return None

    async def _set_taints(self, node: Object, taints: list[Taint]) -> Object:
        version = metadata(node).get("resourceVersion")
        patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": taints or None}}
        return await self.writer.patch(NODES, name_of(node), patch, patch_type=MERGE_PATCH)

    async def _clear(self, node: Object) -> None:
        taints = decide.without_execute_taint(node)
        if taints is not None:
            await self._set_taints(node, taints)

    # -- the monitor -----------------------------------------------------------------------------------------------

    async def _monitor(self) -> None:
        while True:
            try:
                await self._look_at_all()
            except API_ERRORS as failure:
                self.log.warning("monitoring failed", error=str(failure))
            await self.clock.sleep(self.context.settings.node_monitor_period)

    async def _look_at_all(self) -> None:
        nodes = self.nodes.list()
        self._note_known(nodes)
        failures = await in_parallel([bound(self._look_at, node) for node in nodes])
        for failure in failures:
            self.log.info("node not updated", error=str(failure))
        await self._taint_zones()

    def _note_known(self, nodes: list[Object]) -> None:
        now_known = {name_of(n): n for n in nodes}
        for name, node in now_known.items():
            if name not in self._known:
                self._node_event(node, NORMAL, "RegisteredNode", f"Registered Node {name} in Controller")
        for name, node in self._known.items():
            if name not in now_known:
                self._node_event(node, NORMAL, "RemovingNode", f"Removing Node {name} from Controller")
                self._health.pop(name, None)
                self._was_unknown.pop(name, None)
        self._known = now_known

    def _node_event(self, node: Object, kind: str, reason: str, text: str) -> None:
        about = {"kind": "Node", "apiVersion": "v1", "name": name_of(node), "uid": metadata(node).get("uid")}
        self.event(about, kind, reason, f"Node {name_of(node)} event: {text}")

    async def _look_at(self, node: Object) -> None:
        name, now, settings = name_of(node), self.clock.now(), self.context.settings
        health = decide.listen(self._health.get(name), node, self.leases.get(LEASE_NAMESPACE, name), now)
        self._health[name] = health
        if decide.is_silent(health, now, settings.node_monitor_grace_period, settings.node_startup_grace_period):
            changed = decide.marked_unknown(node, now)
            if changed is not None:
                node = await self.writer.update(NODES, changed, "status")
                about = {"kind": "Node", "apiVersion": "v1", "name": name, "uid": metadata(node).get("uid")}
                self.event(about, NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        unknown = ready_status(node) == "Unknown"
        if unknown and not self._was_unknown.get(name):
            await self._mark_pods(name, now)
        self._was_unknown[name] = unknown

    async def _mark_pods(self, node: str, now: float) -> None:
        jobs = []
        for pod in decide.pods_to_mark(self.pods.by_index("node", node)):
            patch = Patch(
                PODS,
                namespace_of(pod),
                name_of(pod),
                decide.not_ready_patch(pod, now),
                STRATEGIC_MERGE_PATCH,
                "status",
                unless_missing=True,
            )
            event = Emit(pod, WARNING, "NodeNotReady", "Node is not ready")
            jobs.append(bound(self.execute, [patch, event]))
        failures = await in_parallel(jobs)
        if failures:
            raise failures[0]

    # -- zones -----------------------------------------------------------------------------------------------------

    async def _taint_zones(self) -> None:
        """NoExecute taints, zone by zone at the rate that the zone's state allows; none where everything is broken."""
        nodes, now, settings = self.nodes.list(), self.clock.now(), self.context.settings
        states = decide.zone_states(nodes, settings.unhealthy_zone_threshold)
        broken = bool(states) and all(s is decide.ZoneState.FULL for s, _ in states.values())
        if broken:
            # All silent at once: more likely we are cut off than they are dead.
            for node in nodes:
                await self._clear(node)
        elif self._all_broken:
            # Contact again: everyone gets a full grace period to be heard.
            self._health = {n: decide.Health(now, h.heartbeat, h.renewed) for n, h in self._health.items()}
        self._all_broken = broken
        if broken:
            return
        for zone, (state, size) in states.items():
            rate = decide.eviction_rate(
                state,
                size,
                settings.node_eviction_rate,
                settings.secondary_node_eviction_rate,
                settings.large_cluster_size_threshold,
            )
            self._limiters.setdefault(zone, decide.Limiter(rate)).change(rate, now)
        for node in sorted(nodes, key=name_of):
            await self._taint(node, now)

    async def _taint(self, node: Object, now: float) -> None:
        taints = decide.with_execute_taint(node, now)
        if taints is None:
            return
        wants = decide.execute_taint(node) is not None
        # Swapping one taint for the other, or taking it away, empties nothing: only a first one counts.
        if wants and not decide.has_execute_taint(node):
            limiter = self._limiters.get(decide.zone_of(node))
            if limiter is not None and not limiter.take(now):
                return
        await self._set_taints(node, taints)
