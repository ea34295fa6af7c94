"""Registers the simulated nodes, renews their leases, and reports on the pods that the scheduler gives them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object, is_deleting, key_of, metadata, name_of, namespace_of, uid_of
from ...api.resources import LEASES, NODES, PODS
from ...api.times import to_micro_time, to_time
from ...client.informer import Informer
from ...client.rest import STRATEGIC_MERGE_PATCH, Client
from ...client.transport import TransportError
from ...concurrency import Clock, WorkQueue, logger, run_workers
from ...controllers.nodeipam.decide import WITHOUT_RANGE
from .machine import Run, next_step, resumed
from .stages import DEFAULT_STAGES, Stage, course_of

log = logger("cluster.simulated")

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
_KEPT_SPEC = ("nodeName", "containers", "restartPolicy", "hostNetwork", "readinessGates")


def _only_what_runs(pod: Object) -> Object:
    """Ten thousand pods are kept here: no more of each than the simulation reads."""
    meta, spec = pod["metadata"], pod.get("spec") or {}
    meta.pop("managedFields", None)
    kept = {k: spec[k] for k in _KEPT_SPEC if k in spec}
    kept["containers"] = [{k: c[k] for k in ("name", "image") if k in c} for c in spec.get("containers") or []]
    return {**pod, "spec": kept}


class SimulatedNodes:
    """``run`` registers the nodes and works until cancelled. The nodes stay registered afterwards, and become NotReady."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        count: int,
        *,
        prefix: str = "sim-",
        stages: Sequence[Stage] = DEFAULT_STAGES,
        cpu: str = "32",
        memory: str = "256Gi",
        pods: int = 110,
        zones: int = 3,
        workers: int = 32,
        rng: random.Random | None = None,
    ) -> None:
        self.client, self.clock = client, clock
        self.names = [f"{prefix}{i}" for i in range(count)]
        self._index = {name: i for i, name in enumerate(self.names)}
        self._stages, self._rng = tuple(stages), rng or random.Random()
        self._resources = {"cpu": cpu, "memory": memory, "pods": str(pods), "ephemeral-storage": "100Gi"}
        self._zones, self._workers = zones, workers
        self._runs: dict[str, Run] = {}
        self._addresses: dict[str, str] = {}
        self._taken: set[str] = set()
        self.stopped: set[str] = set()
        """Nodes that play dead: no lease, no pod is looked after."""
        self.queue: WorkQueue[str] = WorkQueue(clock)
        self.pods = Informer(
            client, PODS, clock=clock, field_selector="spec.nodeName!=", transform=_only_what_runs, rng=self._rng
        )
        self.pods.add_handler(self._changed)
        self.registered = asyncio.Event()
        # Renewals cost the server most when nothing happens: many nodes renew less often, still well within the 50 s after
        # which the node lifecycle controller calls a node dead.
        self.lease_period = min(25.0, max(10.0, count / 20))

    async def run(self) -> None:
        await self._register_all()
        self.registered.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run())
            group.create_task(self._renew_leases())
            group.create_task(run_workers(self.queue, self._workers, self._sync, self._failed))

    # -- nodes -----------------------------------------------------------------------------------------------------

    async def _register_all(self) -> None:
        pending = iter(self.names)

        async def worker() -> None:
            for name in pending:
                await self._until_done(name)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(self.names), self._workers)):
                group.create_task(worker())

    async def _until_done(self, name: str) -> None:
        while True:
            try:
                await self._register(name)
                await self._renew(name)
                return
            except (StatusError, TransportError, TimeoutError) as failure:
                log.info("node not registered yet", node=name, error=str(failure))
                await self.clock.sleep(1.0)

    def host_ip(self, name: str) -> str:
        index = self._index[name]
        return f"10.{240 + index // 65536}.{index // 256 % 256}.{index % 256}"

    def _node(self, name: str) -> Object:
        zone = f"zone-{self._index[name] % self._zones}"
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": zone,
            "topology.kubernetes.io/region": "simulated",
            "pybernetes.io/simulated": "true",
        }
        # Their addresses are of no network: ranges are for nodes that route.
        meta = {"name": name, "labels": labels, "annotations": {WITHOUT_RANGE: "true"}}
        return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {}, "status": self._status(name)}

    def _status(self, name: str) -> dict[str, Any]:
        stamp = to_time(self.clock.now())
        conditions = [
            _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "no memory pressure", stamp),
            _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "no disk pressure", stamp),
            _condition("PIDPressure", "False", "KubeletHasSufficientPID", "no PID pressure", stamp),
            _condition("Ready", "True", "KubeletReady", "the simulated node is ready", stamp),
        ]
        info = {
            "machineID": name,
            "systemUUID": name,
            "bootID": name,
            "kernelVersion": "simulated",
            "osImage": "simulated",
            "containerRuntimeVersion": "simulated://1",
            "kubeletVersion": "v1.36.0",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        }
        return {
            "capacity": self._resources,
            "allocatable": self._resources,
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": self.host_ip(name)},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": info,
        }

    async def _register(self, name: str) -> None:
        try:
            node = await self.client.create(NODES, self._node(name))
        except StatusError as failure:
            if failure.reason != "AlreadyExists":
                raise
            node = {}
        if not (node.get("status") or {}).get("conditions"):
            patch = {"status": self._status(name)}
            node = await self.client.patch(NODES, name, patch, subresource="status", patch_type=STRATEGIC_MERGE_PATCH)

    async def _renew_leases(self) -> None:
        """One after the other through the period: no thundering herd every ten seconds."""
        while True:
            began = self.clock.monotonic()
            for position, name in enumerate(self.names):
                due = began + self.lease_period * position / len(self.names)
                if due > self.clock.monotonic():
                    await self.clock.sleep(due - self.clock.monotonic())
                if name in self.stopped:
                    continue
                try:
                    await self._renew(name)
                except (StatusError, TransportError, TimeoutError) as failure:
                    log.info("lease not renewed", node=name, error=str(failure))
            await self.clock.sleep(max(0.0, began + self.lease_period - self.clock.monotonic()))

    async def _renew(self, name: str) -> None:
        patch = {"spec": {"renewTime": to_micro_time(self.clock.now())}}
        try:
            await self.client.patch(LEASES, name, patch, LEASE_NAMESPACE)
            return
        except StatusError as failure:
            if failure.reason != "NotFound":
                raise
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, **patch["spec"]},
        }
        await self.client.create(LEASES, lease)

    # -- pods ------------------------------------------------------------------------------------------------------

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old
        if pod is None or (pod.get("spec") or {}).get("nodeName") not in self._index:
            return
        if kind == "DELETED":
            self._forget(uid_of(old or pod))
        else:
            self.queue.add(key_of(pod))

    def _forget(self, uid: str) -> None:
        self._runs.pop(uid, None)
        self._taken.discard(self._addresses.pop(uid, ""))

    async def _sync(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        if pod is None or pod["spec"]["nodeName"] in self.stopped:
            return None
        now = self.clock.now()
        run = self._run_of(pod, now)
        if is_deleting(pod) and run.deleted_at is None:
            run.deleted_at = now
        node = pod["spec"]["nodeName"]
        step = next_step(pod, run, now, self._address(pod, node), self.host_ip(node))
        if step.restart:
            course = course_of(pod, self._stages, self._rng)
            self._runs[uid_of(pod)] = Run(course, now, run.restarts + 1, run.deleted_at)
            return 0.0
        if step.status is not None:
            pod = await self._report(pod, step.status)
        if step.remove:
            await self._remove(pod)
        return None if step.again_at is None else max(0.0, step.again_at - self.clock.now())

    def _run_of(self, pod: Object, now: float) -> Run:
        run = self._runs.get(uid_of(pod))
        if run is None:
            run = self._runs[uid_of(pod)] = resumed(pod, course_of(pod, self._stages, self._rng), now)
        return run

    def _address(self, pod: Object, node: str) -> str:
        """What it has; else the next free one of the node's own range."""
        uid = uid_of(pod)
        had = self._addresses.get(uid) or (pod.get("status") or {}).get("podIP")
        if not had:
            index = self._index[node]
            cidr = f"10.{128 + index // 256 % 64}.{index % 256}.0/24"
            hosts = (str(h) for h in ip_network(cidr).hosts())
            had = next((h for h in hosts if h not in self._taken), "")
        self._addresses[uid] = had
        self._taken.add(had)
        return had

    async def _report(self, pod: Object, status: dict[str, Any]) -> Object:
        patch = {"metadata": {"uid": uid_of(pod)}, "status": status}
        try:
            answer = await self.client.patch(
                PODS,
                name_of(pod),
                patch,
                namespace_of(pod),
                subresource="status",
                patch_type=STRATEGIC_MERGE_PATCH,
            )
        except StatusError as failure:
            if failure.reason in ("NotFound", "Conflict", "Invalid"):
                return pod
            raise
        self.pods.observe(answer)
        return answer

    async def _remove(self, pod: Object) -> None:
        if metadata(pod).get("deletionGracePeriodSeconds") == 0 and metadata(pod).get("finalizers"):
            return
        try:
            await self.client.delete(PODS, name_of(pod), namespace_of(pod), grace_period_seconds=0, uid=uid_of(pod))
        except StatusError as failure:
            if failure.reason not in ("NotFound", "Conflict"):
                raise

    def _failed(self, key: str, failure: Exception) -> None:
        if isinstance(failure, StatusError | TransportError | TimeoutError):
            log.info("pod not reported", pod=key, error=str(failure))
        else:
            log.error("simulation failed", failure=failure, pod=key)


def _condition(kind: str, status: str, reason: str, message: str, stamp: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "lastHeartbeatTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }
