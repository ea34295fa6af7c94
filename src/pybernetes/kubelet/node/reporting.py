"""The Node object: registering, status, conditions, lease. Cadence and words are upstream's (``kubelet_node_status.go``).

The status is looked at every ten seconds and written when something changed, or every five minutes; the lease, renewed every ten
seconds, is what tells the cluster that the node lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ...api.errors import StatusError
from ...api.meta import Object, get_condition
from ...api.resources import LEASES, NODES
from ...api.times import to_micro_time, to_time
from ...client.events import NORMAL
from ...client.rest import STRATEGIC_MERGE_PATCH, Client
from ...client.transport import TransportError
from ...concurrency import Backoff, logger
from ..context import Context
from ..cri import CRIError
from ..cri.codec import Message
from .machine import Machine, with_extended

log = logger("kubelet.node")

VERSION = "v1.36.2"
_PRESSURES = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
}
_UNDER_PRESSURE = {
    "MemoryPressure": ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    "DiskPressure": ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    "PIDPressure": ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
}
_EVENTS = {
    "KubeletHasSufficientMemory": "NodeHasSufficientMemory",
    "KubeletHasInsufficientMemory": "NodeHasInsufficientMemory",
    "KubeletHasNoDiskPressure": "NodeHasNoDiskPressure",
    "KubeletHasDiskPressure": "NodeHasDiskPressure",
    "KubeletHasSufficientPID": "NodeHasSufficientPID",
    "KubeletHasInsufficientPID": "NodeHasInsufficientPID",
}
DECLARED_FEATURES = (
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
)
"""What API servers and schedulers may count on, in order: a pod that needs one of these only comes to a node that has it."""


class NodeHealth(Protocol):
    """What the reporter asks of the kubelet."""

    def not_ready(self) -> list[str]:
        """Why the node is not ready (nothing where it is)."""
        ...

    def pressures(self) -> frozenset[str]:
        """Conditions of pressure that hold (MemoryPressure ...)."""
        ...


def condition(kind: str, holds: bool, reason: str, message: str) -> Object:
    return {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}


def stamped(conditions: Sequence[Object], old: Mapping[str, Any], now: float) -> list[Object]:
    found = []
    for entry in conditions:
        before = get_condition({"status": old}, entry["type"])
        same = before is not None and before.get("status") == entry["status"]
        since = before.get("lastTransitionTime") if same and before is not None else to_time(now)
        found.append({**entry, "lastHeartbeatTime": to_time(now), "lastTransitionTime": since})
    return found


def without_heartbeats(status: Mapping[str, Any]) -> dict[str, Any]:
    """What counts when asking whether a status has changed."""
    plain = [{k: v for k, v in c.items() if k != "lastHeartbeatTime"} for c in status.get("conditions") or ()]
    return {**status, "conditions": plain}


class NodeReporter:
    """``run`` registers the node and keeps its status and lease until cancelled."""

    def __init__(self, context: Context, machine: Machine, health: NodeHealth) -> None:
        self._context, self._machine, self._health = context, machine, health
        self._clock, self._client, self._settings = context.clock, context.client, context.settings
        self.node: Object | None = None
        """The node as the API last answered it."""
        self.registered = asyncio.Event()
        self._runtime_version = ""
        self._features: Message = {}
        self._reported_at = float("-inf")
        self._wake = asyncio.Event()

    def poke(self) -> None:
        """Something about the node changed: look now."""
        self._wake.set()

    async def run(self) -> None:
        if self._client is None:
            return
        await self._read_runtime()
        await self._register(self._client)
        self.registered.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._status_loop(self._client))
            group.create_task(self._lease_loop(self._client))

    async def _read_runtime(self) -> None:
        try:
            version = await self._context.cri.version()
            self._runtime_version = f"{version.get('runtime_name')}://{version.get('runtime_version')}"
            self._features = await self._context.cri.status()
        except CRIError as failure:
            log.warning("runtime does not answer", error=str(failure))

    # -- registering -----------------------------------------------------------------------------------------------

    def labels(self) -> dict[str, str]:
        name, architecture = self._settings.node_name, self._machine.architecture
        return {
            "beta.kubernetes.io/arch": architecture,
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": architecture,
            "kubernetes.io/hostname": self._machine.hostname or name,
            "kubernetes.io/os": "linux",
            **self._settings.node_labels,
        }

    def fresh_node(self) -> Object:
        taints = [dict(t) for t in self._settings.register_with_taints]
        spec: Object = {}
        if not self._settings.register_schedulable:
            spec["unschedulable"] = True
            taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
        if taints:
            spec["taints"] = taints
        if self._settings.provider_id:
            spec["providerID"] = self._settings.provider_id
        annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._settings.node_name, "labels": self.labels(), "annotations": annotations},
            "spec": spec,
        }

    async def _register(self, client: Client) -> None:
        backoff = Backoff(0.1, 7.0)
        while True:
            try:
                await self._register_once(client)
                return
            except (StatusError, TransportError, TimeoutError) as failure:
                log.warning("node not registered", error=str(failure))
                await self._clock.sleep(backoff.next())

    async def _register_once(self, client: Client) -> None:
        name = self._settings.node_name
        if self._settings.register_node:
            node = self.fresh_node()
            node["status"] = await self._status({})
            try:
                self._tell("Starting", "Starting kubelet.")
                self._tell_changes({}, node["status"])
                self.node = await client.create(NODES, node)
                await self._report(client)
                return
            except StatusError as failure:
                if failure.reason != "AlreadyExists":
                    raise
        node = await client.get(NODES, name)
        labels = (node.get("metadata") or {}).get("labels") or {}
        wanted = {k: v for k, v in self.labels().items() if labels.get(k) != v}
        if wanted and self._settings.register_node:
            node = await client.patch(NODES, name, {"metadata": {"labels": wanted}}, patch_type=STRATEGIC_MERGE_PATCH)
        before = ((node.get("status") or {}).get("nodeInfo") or {}).get("bootID")
        self.node = node
        self._tell("Starting", "Starting kubelet.")
        if before and before != self._machine.boot_id:
            self._tell("Rebooted", f"Node {name} has been rebooted, boot id: {self._machine.boot_id}", "Warning")
        await self._report(client)

    def _tell(self, reason: str, message: str, kind: str = NORMAL) -> None:
        if self._context.recorder is None:
            return
        name = self._settings.node_name
        # Upstream's events about nodes carry the name as the UID: tools look for it there.
        reference = {"kind": "Node", "name": name, "uid": name}
        self._context.recorder.event(reference, kind, reason, message)

    # -- status ----------------------------------------------------------------------------------------------------

    async def _status(self, old: Mapping[str, Any]) -> Object:
        machine, settings = self._machine, self._settings
        capacity, allocatable = with_extended(machine, old)
        addresses = [{"type": "InternalIP", "address": a} for a in machine.addresses]
        addresses.append({"type": "Hostname", "address": machine.hostname or settings.node_name})
        status: Object = {
            "addresses": addresses,
            "capacity": capacity,
            "allocatable": allocatable,
            "conditions": self._conditions(old),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": settings.port}},
            "nodeInfo": {
                "machineID": machine.machine_id,
                "systemUUID": machine.system_uuid,
                "bootID": machine.boot_id,
                "kernelVersion": machine.kernel,
                "osImage": machine.os_image,
                "containerRuntimeVersion": self._runtime_version,
                "kubeletVersion": VERSION,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": machine.architecture,
            },
        }
        images = await self._images()
        if images is not None:
            status["images"] = images
        handlers = [_handler(h) for h in self._features.get("runtime_handlers", ())]
        if handlers:
            status["runtimeHandlers"] = handlers
        policy = (self._features.get("features") or {}).get("supplemental_groups_policy", False)
        status["features"] = {"supplementalGroupsPolicy": policy}
        status["declaredFeatures"] = list(DECLARED_FEATURES)
        return status

    async def _images(self) -> list[Object] | None:
        try:
            listed = await self._context.cri.list_images()
        except CRIError:
            return None
        listed.sort(key=lambda i: (i.get("size", 0), i["id"]), reverse=True)
        limit = self._settings.node_status_max_images
        found = []
        for image in listed if limit < 0 else listed[:limit]:
            names = [*image.get("repo_digests", ()), *image.get("repo_tags", ())][:5]
            found.append({"names": names, "sizeBytes": image.get("size", 0)})
        return found

    def _conditions(self, old: Mapping[str, Any]) -> list[Object]:
        held = self._health.pressures()
        found = []
        for kind, calm in _PRESSURES.items():
            found.append(condition(kind, kind in held, *(_UNDER_PRESSURE[kind] if kind in held else calm)))
        problems = self._health.not_ready()
        if problems:
            found.append(condition("Ready", False, "KubeletNotReady", _aggregate(problems)))
        else:
            found.append(condition("Ready", True, "KubeletReady", "kubelet is posting ready status"))
        return stamped(found, old, self._clock.now())

    async def _report(self, client: Client) -> None:
        """Writes the status where it differs from what the API has, or is older than the report frequency."""
        assert self.node is not None
        old = self.node.get("status") or {}
        new = await self._status(old)
        now = self._clock.monotonic()
        mine = {k: old.get(k) for k in new}
        overdue = now - self._reported_at >= self._settings.node_status_report_frequency
        if not overdue and without_heartbeats(mine) == without_heartbeats(new):
            return
        self._tell_changes(old, new)
        changed = {k: v for k, v in new.items() if v != old.get(k)}
        for field in ("capacity", "allocatable"):
            if field in changed:
                gone = (old.get(field) or {}).keys() - new[field].keys()
                changed[field] = {**new[field], **dict.fromkeys(gone)}
        if "addresses" in changed:
            # A list that merges by type cannot hold two of one type: it is replaced as a whole.
            changed["addresses"] = [*new["addresses"], {"$patch": "replace"}]
        self.node = await client.patch(
            NODES,
            self._settings.node_name,
            {"status": changed},
            subresource="status",
            patch_type=STRATEGIC_MERGE_PATCH,
        )
        self._reported_at = now

    def _tell_changes(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        name = self._settings.node_name
        for entry in new["conditions"]:
            before = get_condition({"status": old}, entry["type"])
            if before is not None and before.get("status") == entry["status"]:
                continue
            if entry["type"] == "Ready":
                word = "NodeReady" if entry["status"] == "True" else "NodeNotReady"
                self._tell(word, f"Node {name} status is now: {word}")
            else:
                word = _EVENTS[entry["reason"]]
                self._tell(word, f"Node {name} status is now: {word}")

    async def _status_loop(self, client: Client) -> None:
        while True:
            try:
                async with self._clock.timeout(self._settings.node_status_update_frequency):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                if not self._features:
                    await self._read_runtime()
                self.node = await client.get(NODES, self._settings.node_name)
                await self._report(client)
            except StatusError as failure:
                log.warning("node status not written", error=failure.message)
                if failure.code == 404 and self._settings.register_node:
                    await self._register(client)
            except (TransportError, TimeoutError) as failure:
                log.warning("node status not written", error=str(failure))

    # -- lease -----------------------------------------------------------------------------------------------------

    def _lease(self) -> Object:
        assert self.node is not None
        name = self._settings.node_name
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self.node["metadata"].get("uid", "")}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
            "spec": {
                "holderIdentity": name,
                "leaseDurationSeconds": self._settings.node_lease_duration_seconds,
                "renewTime": to_micro_time(self._clock.now()),
            },
        }

    async def _lease_loop(self, client: Client) -> None:
        lease: Object | None = None
        interval = self._settings.node_lease_duration_seconds / 4
        while True:
            try:
                lease = await self._renew(client, lease)
                await self._clock.sleep(interval * (1.0 + 0.04 * self._context.rng.random()))
            except (StatusError, TransportError, TimeoutError) as failure:
                log.warning("lease not renewed", error=str(failure))
                lease = None
                await self._clock.sleep(1.0)

    async def _renew(self, client: Client, lease: Object | None) -> Object:
        name, namespace = self._settings.node_name, "kube-node-lease"
        if lease is None:
            try:
                lease = await client.get(LEASES, name, namespace)
            except StatusError as failure:
                if failure.code != 404:
                    raise
                return await client.create(LEASES, self._lease(), namespace)
        fresh = self._lease()
        return await client.update(LEASES, {**lease, "spec": {**(lease.get("spec") or {}), **fresh["spec"]}})


def _aggregate(problems: Sequence[str]) -> str:
    return problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]"


def _handler(handler: Message) -> Object:
    features = handler.get("features") or {}
    return {
        "name": handler.get("name", ""),
        "features": {
            "recursiveReadOnlyMounts": features.get("recursive_read_only_mounts", False),
            "userNamespaces": features.get("user_namespaces", False),
        },
    }
