"""The kubelet: where pods come from, who is told what, and what runs beside the pod workers. Decisions are in ``pod/``."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object, name_of, namespace_of, uid_of
from ..api.pod_resources import pod_requests
from ..api.resources import NODES, PODS, SERVICES
from ..client.events import WARNING, EventRecorder
from ..client.informer import DELETED, Informer
from ..client.rest import Client
from ..client.transport import TransportError
from ..concurrency import Clock, logger
from . import linux, lookups
from .allocation import Allocations
from .blocking import OwnThreads
from .cgroups import Cgroups
from .configuration import document_of
from .context import Context
from .cri import CRIClient, CRIError
from .images import ImageManager
from .interfaces import ContainerRef
from .node.cleaning import Cleaner
from .node.evicting import Evictor
from .node.machine import Machine, read_machine, with_extended
from .node.reporting import NodeReporter
from .node.shutdown import NOT_READY, REJECT_MESSAGE, REJECT_REASON, Shutdown, inhibited
from .objects import ObjectCache
from .orphans import pod_from_runtime
from .pod import lifecycle
from .pod.admission import Rejection, admission_order, admit, victims
from .pod.lifecycle import Stage
from .pod.model import is_critical, is_mirror
from .pod.naming import parse_resolv_conf
from .pod.probing import View
from .pod.qos import qos_class
from .pod.runtime_config import NodeSettings
from .pod_runtime import PodRuntime
from .preparing import Preparation
from .probes import Prober
from .runtime.images import PAUSE_IMAGE
from .runtime_cache import RuntimeCache
from .settings import KubeletSettings
from .static_pods import StaticPods, mirror_of
from .stats import Stats
from .stats.own_metrics import operation_type
from .status_manager import StatusManager
from .syncing import PodSteps
from .volumes.image import ImageMounts, mounts_images
from .volumes.manager import VolumeManager
from .volumes.tokens import TokenManager
from .workers import PodWorkers

log = logger("kubelet")

RUNTIME_DURATION = "kubelet_runtime_operations_duration_seconds"

_RUNTIME_CHECK, _NETWORK_CHECK = 5.0, 0.25
_HOUSEKEEPING = 2.0


class Kubelet:
    """One node's kubelet. ``run`` until cancelled; containers go on running then. Satisfies ``interfaces.KubeletApi``."""

    def __init__(
        self,
        settings: KubeletSettings,
        client: Client | None,
        *,
        clock: Clock,
        rng: random.Random | None = None,
        cri: CRIClient | None = None,
        machine: Machine | None = None,
        cgroups: Cgroups | None = None,
        threads: Executor | None = None,
    ) -> None:
        self._threads = threads or OwnThreads()
        self.settings, self.client, self.clock = settings, client, clock
        self.node_name = settings.node_name
        self._rng = rng or random.Random()
        endpoint = settings.container_runtime_endpoint
        self.runtime = cri or CRIClient(endpoint, image_endpoint=settings.image_service_endpoint)
        self.machine = machine or read_machine(settings)
        self.cgroups = cgroups or Cgroups(
            settings.cgroup_root,
            version=linux.cgroup_version(),
            pids_limit=settings.pod_pids_limit,
            per_qos=settings.cgroups_per_qos,
        )
        self.recorder = EventRecorder(client, clock, "kubelet", settings.node_name) if client is not None else None
        self.context = self._make_context()
        self.ready = asyncio.Event()
        """Set when the runtime answers and pods are being worked on."""
        self._informer, self._services, self._nodes = self._informers()
        self._network, self._runtime_problem = "container runtime is down", "container runtime is down"
        self._group: asyncio.TaskGroup | None = None
        self._pressures: frozenset[str] = frozenset()
        self._orphans: set[str] = set()
        self._burstable = -1
        self._build()

    # -- putting together ------------------------------------------------------------------------------------------

    def _make_context(self) -> Context:
        settings, machine = self.settings, self.machine
        node = NodeSettings(
            log_root=str(settings.pod_logs_dir),
            seccomp_root=str(settings.root_dir / "seccomp"),
            memory_capacity=machine.memory,
            cgroup2=linux.cgroup_version() == 2,
            cfs_quota=settings.cpu_cfs_quota,
            cfs_period=int(settings.cpu_cfs_quota_period * 1_000_000),
            seccomp_default=settings.seccomp_default,
            huge_page_sizes=machine.huge_pages if machine.huge_page_controller else (),
        )
        return Context(
            settings,
            self.clock,
            self._rng,
            self.runtime,
            self.client,
            node,
            self.recorder,
            host_ips=lambda: machine.addresses,
            allocatable=lambda: machine.allocatable,
            services=lambda: self._services.list() if self._services is not None else (),
        )

    def _informers(self) -> tuple[Informer | None, Informer | None, Informer | None]:
        if self.client is None:
            return None, None, None
        name, clock, client = self.settings.node_name, self.clock, self.client
        chosen = f"spec.nodeName={name}"
        pods = Informer(client, PODS, clock=clock, field_selector=chosen, transform=_slim, rng=self._rng)
        pods.add_index("uid", lambda pod: [uid_of(pod)])
        services = Informer(client, SERVICES, clock=clock, transform=_essence_of_service, rng=self._rng)
        nodes = Informer(
            client, NODES, clock=clock, field_selector=f"metadata.name={name}", transform=_slim, rng=self._rng
        )
        return pods, services, nodes

    def _build(self) -> None:
        settings, clock = self.settings, self.clock
        meters = self.context.meters
        self.runtime.took = lambda method, seconds: meters.observe(RUNTIME_DURATION, seconds, operation_type(method))
        self.cache = RuntimeCache(self.runtime, clock, self._runtime_changed, meters)
        self.objects = ObjectCache(self.client, clock)
        tokens = TokenManager(self.client, clock, self._rng)
        self.volumes = VolumeManager(settings, self.objects, tokens, ImageMounts(self.runtime), clock, self._threads)
        parallel = 1 if settings.serialize_image_pulls else settings.max_parallel_image_pulls
        self.images = ImageManager(self.runtime, clock, parallel)
        self.preparation = Preparation(self.context, self.objects, self.volumes)
        self.pod_runtime = PodRuntime(self.context, self.cache, self.images, self.preparation, self.cgroups)
        self.stats = Stats(self.context, self.machine, self)
        self.prober = Prober(self.runtime, clock, self, rng=self._rng, count=self.stats.count_probe)
        self.status = StatusManager(self.client, clock, stored=self._stored, observed=self._observed)
        self.allocations = Allocations(self.context, self._node, self._others)
        self.steps = PodSteps(
            self.context,
            cache=self.cache,
            status=self.status,
            volumes=self.volumes,
            objects=self.objects,
            preparation=self.preparation,
            runtime=self.pod_runtime,
            prober=self.prober,
            cgroups=self.cgroups,
            allocations=self.allocations,
            network_error=lambda: self._network,
            forget=self._forgotten,
        )
        self.workers = PodWorkers(self.steps, clock, meters)
        self.static = StaticPods(settings, clock, self._static_changed, self._static_gone)
        pause = settings.pod_infra_container_image or PAUSE_IMAGE
        self.cleaner = Cleaner(self.context, self.cache, self.images, self.workers.__contains__, pause)
        self.reporter = NodeReporter(self.context, self.machine, self)
        self.shutdown = Shutdown(settings, clock, self)
        self.evictor = Evictor(self.context, self, self.stats.sample, self.cleaner)

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        settings = self.settings
        for directory in (settings.root_dir, settings.pods_dir, settings.pod_logs_dir):
            directory.mkdir(parents=True, exist_ok=True)
        linux.make_shared(settings.root_dir)
        self.context.node_dns = parse_resolv_conf(_read(settings.resolv_conf))
        await asyncio.to_thread(self.cgroups.ensure_top, self.machine.allocatable)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for part in (self.workers.run, self.prober.run, self.status.run, self._runtime_checks):
                group.create_task(part())
            if self.recorder is not None:
                group.create_task(self.recorder.run())
            for informer in (self._services, self._nodes, self._informer):
                if informer is not None:
                    group.create_task(informer.run())
            group.create_task(self.reporter.run())
            await self._begin(group)

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        """Pods are looked at only when it is known what runs already: nothing that runs may be started twice."""
        while self._runtime_problem:
            await self.clock.sleep(0.02)
        await self.cache.relist()
        group.create_task(self.cache.run())
        # Static pods need no API server: one of them may be it.
        group.create_task(self.static.run())
        if self._services is not None and self._nodes is not None and self._informer is not None:
            for informer in (self._services, self._nodes, self._informer):
                await informer.wait_synced()
            self._informer.add_handler(self._pod_event, order=admission_order)
        self.ready.set()
        group.create_task(self._housekeeping())
        group.create_task(self.cleaner.run())
        group.create_task(self.evictor.run())
        if self.shutdown.configured and shutil.which("systemd-inhibit") and Path("/run/systemd/system").is_dir():
            group.create_task(inhibited(self.shutdown))

    async def _runtime_checks(self) -> None:
        while True:
            before = self._runtime_problem, self._network
            try:
                status = await self.runtime.call("Status", {}, timeout=10.0)
                if self._runtime_problem:
                    version = await self.runtime.version()
                    name = version.get("runtime_name", "")
                    self.cache.runtime = name
                    self.preparation.image_mounts = mounts_images(name, version.get("runtime_version", ""))
                self._note_runtime(status)
            except CRIError as failure:
                self._runtime_problem = f"container runtime is down: {failure}"
            if (self._runtime_problem, self._network) != before:
                self.reporter.poke()
            # A node that only waits for its runtime or its network must not wait for the next regular look as well.
            waiting = 0.1 if self._runtime_problem else _NETWORK_CHECK if self._network else _RUNTIME_CHECK
            await self.clock.sleep(waiting)

    def _note_runtime(self, status: Any) -> None:
        conditions = {c.get("type"): c for c in (status.get("status") or {}).get("conditions", ())}
        runtime, network = conditions.get("RuntimeReady") or {}, conditions.get("NetworkReady") or {}
        self._runtime_problem = "" if runtime.get("status") else f"container runtime not ready: {_condition(runtime)}"
        self._network = "" if network.get("status") else f"container runtime network not ready: {_condition(network)}"
        handlers = status.get("runtime_handlers", ())
        features = [h.get("features") or {} for h in handlers if not h.get("name")]
        self.preparation.recursive_read_only = any(f.get("recursive_read_only_mounts") for f in features)
        self.pod_runtime.user_namespaces_supported = any(f.get("user_namespaces") for f in features)

    # -- node health (node.reporting.NodeHealth) -------------------------------------------------------------------

    def not_ready(self) -> list[str]:
        found = [p for p in (self._runtime_problem, self._network) if p]
        if self.shutdown.under_way:
            found.append(NOT_READY)
        if not found and self.ready.is_set() and not self.cache.healthy:
            found.append("PLEG is not healthy: pleg was last seen active too long ago; threshold is 3m0s")
        return found

    def pressures(self) -> frozenset[str]:
        return self._pressures

    # -- eviction and shutdown (node.evicting.EvictionHost, node.shutdown.ShutdownHost) ----------------------------

    def set_pressures(self, conditions: frozenset[str]) -> None:
        if conditions != self._pressures:
            self._pressures = conditions
            self.reporter.poke()

    def disrupt(self, pod: Object, condition: Object) -> None:
        self.steps.memory(uid_of(pod)).disruption = condition

    def kill(self, pod: Object, status: dict[str, Any], *, grace: int | None) -> None:
        """Ends a pod for a reason of the node's own."""
        self.workers.send(uid_of(pod), lifecycle.KillRequested(status, grace))

    # -- pods from the API -----------------------------------------------------------------------------------------

    def _pod_event(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        uid = uid_of(pod)
        if is_mirror(pod):
            self._mirror_event(kind, pod)
            return
        if kind == DELETED:
            self.workers.send(uid, lifecycle.Gone())
        elif uid in self.workers:
            before = self.workers.stage(uid)
            self.workers.send(uid, lifecycle.Changed(pod))
            if before is Stage.FINISHED:
                self.status.finish(pod)
        else:
            self._add(pod)

    def _add(self, pod: Object) -> None:
        """A pod that was not known: taken, or turned away for good."""
        uid = uid_of(pod)
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if not ended and (pod["metadata"].get("deletionTimestamp") is None) and uid not in self.cache.pods:
            rejection = self._admit(pod)
            if rejection is not None:
                self._reject(pod, rejection)
                return
        self._orphans.discard(uid)
        self.workers.start(pod)

    def active_pods(self) -> list[Object]:
        """The pods that take up room on the node, with what they have been given."""
        found = (p for p in self.workers.pods() if self.workers.stage(uid_of(p)) in (Stage.SYNC, Stage.TERMINATING))
        return [self.allocations.effective(p) for p in found]

    def _others(self, uid: str) -> list[Object]:
        return [p for p in self.active_pods() if uid_of(p) != uid]

    def _admit(self, pod: Object) -> Rejection | None:
        if self.shutdown.under_way:
            return Rejection(REJECT_REASON, REJECT_MESSAGE)
        others = self.active_pods()
        node = self._node()
        pressure = self._pressure_rejection(pod)
        if pressure is not None:
            return pressure
        rejection = admit(pod, node, others, allowed_sysctls=self.settings.allowed_unsafe_sysctls)
        if rejection is not None:
            chosen = victims(pod, rejection, node, others)
            for victim in chosen:
                self.context.meters.count("kubelet_preemptions", "")
                message = "Preempted in order to admit critical pod"
                self.context.tell(victim, WARNING, "Preempting", message)
                self.kill(victim, {"phase": "Failed", "reason": "Preempting", "message": message}, grace=None)
            if chosen:
                return None
        return rejection

    def _pressure_rejection(self, pod: Object) -> Rejection | None:
        if not self._pressures or is_critical(pod):
            return None
        if self._pressures == {"MemoryPressure"} and qos_class(pod) != "BestEffort":
            return None
        return Rejection("Evicted", f"The node had condition: [{' '.join(sorted(self._pressures))}]. ")

    def _reject(self, pod: Object, rejection: Rejection) -> None:
        message = f"Pod was rejected: {rejection.message}"
        self.context.tell(pod, WARNING, rejection.reason, rejection.message)
        log.info("pod rejected", pod=name_of(pod), reason=rejection.reason, message=rejection.message)
        override = {"phase": "Failed", "reason": rejection.reason, "message": message}
        self.workers.start(pod, lifecycle.KillRequested(override, 0))

    def _node(self) -> Object:
        """The node as the API has it, else as it would be registered."""
        found = self._nodes.get("", self.settings.node_name) if self._nodes is not None else None
        node = found or self.reporter.fresh_node()
        status = node.get("status") or {}
        _, allocatable = with_extended(self.machine, status)
        return {**node, "status": {**status, "allocatable": allocatable}}

    # -- static pods -----------------------------------------------------------------------------------------------

    def _static_changed(self, pod: Object) -> None:
        uid = uid_of(pod)
        if uid in self.workers:
            self.workers.send(uid, lifecycle.Changed(pod))
        else:
            self._add(pod)
        self._ensure_mirror(pod)

    def _static_gone(self, pod: Object) -> None:
        self.workers.send(uid_of(pod), lifecycle.Gone())
        self._in_background(self._delete_mirror(pod))

    def _in_background(self, work: Any) -> None:
        if self._group is not None:
            self._group.create_task(work)
        else:
            work.close()

    def _mirror(self, pod: Object) -> Object | None:
        found = self._informer.get(namespace_of(pod), name_of(pod)) if self._informer is not None else None
        return found if found is not None and is_mirror(found) else None

    def _mirror_event(self, kind: str, mirror: Object) -> None:
        static = self.static.by_name(namespace_of(mirror), name_of(mirror))
        if static is None:
            if kind != DELETED:
                self._in_background(self._delete_mirror(mirror))
        elif kind == DELETED:
            self._ensure_mirror(static)
        else:
            self.status.touch(uid_of(static))

    def _ensure_mirror(self, pod: Object) -> None:
        if self.client is not None and self._mirror(pod) is None:
            self._in_background(self._create_mirror(pod))

    async def _create_mirror(self, pod: Object) -> None:
        assert self.client is not None and self._informer is not None
        await self.reporter.registered.wait()
        uid = ((self.reporter.node or {}).get("metadata") or {}).get("uid", "")
        mirror = mirror_of(pod, uid, self.settings.node_name)
        try:
            self._observed(await self.client.create(PODS, mirror))
            self.status.touch(uid_of(pod))
        except (StatusError, TransportError, TimeoutError) as failure:
            log.warning("mirror pod not created", pod=name_of(pod), error=str(failure))

    async def _delete_mirror(self, pod: Object) -> None:
        if self.client is None:
            return
        try:
            await self.client.delete(PODS, name_of(pod), namespace_of(pod), grace_period_seconds=0)
        except StatusError as failure:
            if failure.code != 404:
                log.warning("mirror pod not deleted", pod=name_of(pod), error=failure.message)
        except (TransportError, TimeoutError) as failure:
            log.warning("mirror pod not deleted", pod=name_of(pod), error=str(failure))

    # -- status ----------------------------------------------------------------------------------------------------

    def _stored(self, uid: str) -> Object | None:
        static = self.static.pods.get(uid)
        if static is not None:
            return self._mirror(static)
        if self._informer is None:
            return None
        found = self._informer.by_index("uid", uid)
        return found[0] if found else None

    def _observed(self, pod: Object) -> None:
        if self._informer is not None:
            self._informer.observe(pod)

    # -- runtime ---------------------------------------------------------------------------------------------------

    def _runtime_changed(self, uid: str) -> None:
        if uid in self.workers:
            self.workers.send(uid, lifecycle.Poked())
        elif self.ready.is_set() and self.cache.get(uid).sandboxes:
            self._orphans.add(uid)

    def _forgotten(self, pod: Object) -> None:
        uid = uid_of(pod)
        self.status.forget(uid)
        self.stats.forget(pod)
        for waiting in self.allocations.deferred():
            self.workers.send(waiting, lifecycle.Poked())
        self._in_background(self._remove_leftovers(uid))

    async def _remove_leftovers(self, uid: str) -> None:
        try:
            await self.pod_runtime.remove_pod(self.cache.get(uid))
        except CRIError as failure:
            log.warning("pod not removed from the runtime", uid=uid, error=str(failure))

    async def _housekeeping(self) -> None:
        """Ends what runs without being wanted, at the start and whenever something unknown turns up."""
        self._orphans |= {uid for uid in self.cache.pods if uid not in self.workers}
        while True:
            self._weigh_burstable()
            namespaces = {namespace_of(p) for p in self.workers.pods()} | {""}
            self.objects.prune(namespaces.__contains__)
            if self._sources_ready():
                for uid in list(self._orphans):
                    self._orphans.discard(uid)
                    runtime = self.cache.pods.get(uid)
                    if uid not in self.workers and runtime is not None:
                        log.info("ending a pod that nobody wants", uid=uid, name=runtime.name)
                        self.workers.start(pod_from_runtime(runtime), lifecycle.Gone())
                await self._remove_strays()
            await self.clock.sleep(_HOUSEKEEPING)

    def _sources_ready(self) -> bool:
        return self._informer is None or self._informer.synced

    async def _remove_strays(self) -> None:
        """Takes down directories and cgroups of pods that nobody works on and that the runtime does not hold."""
        pods = self.settings.pods_dir
        strays = {e.name for e in os.scandir(pods) if e.is_dir(follow_symlinks=False)} if pods.is_dir() else set()
        strays |= self.cgroups.pod_uids()
        for uid in strays - set(self.cache.pods) - {uid_of(p) for p in self.workers.pods()}:
            try:
                await self.volumes.unmount(uid)
                await asyncio.to_thread(self.cgroups.remove_pod, uid)
            except (OSError, CRIError) as failure:
                log.warning("stray pod not cleaned up", uid=uid, error=str(failure))

    def _weigh_burstable(self) -> None:
        """The burstable class weighs as much as its pods ask for together."""
        asked = (pod_requests(p["spec"]).get("cpu") for p in self.active_pods() if qos_class(p) == "Burstable")
        milli = sum(int(a * 1000) for a in asked if a is not None)
        if milli != self._burstable:
            self._burstable = milli
            self.cgroups.set_burstable_shares(milli)

    # -- probes (probes.ProbeHost) ---------------------------------------------------------------------------------

    def probe_view(self, uid: str, container: str) -> tuple[Object, View, str]:
        pod = self.workers.pod(uid) or {}
        return pod, lookups.probe_view(self, pod, uid, container), lookups.pod_address(self, uid)

    def probe_event(self, pod: Object, container: str, kind: str, reason: str, message: str) -> None:
        self.context.tell(pod, kind, reason, message, container=container)

    def probe_changed(self, uid: str) -> None:
        self.workers.send(uid, lifecycle.Poked())

    # -- what the server asks (interfaces.KubeletApi) --------------------------------------------------------------

    def pods(self) -> list[Object]:
        return lookups.pods(self)

    def find_pod(self, namespace: str, name: str, uid: str = "") -> Object:
        return lookups.find_pod(self, namespace, name, uid)

    async def find_container(
        self, namespace: str, name: str, container: str = "", uid: str = "", *, previous: bool = False
    ) -> ContainerRef:
        return lookups.find_container(self, namespace, name, container, uid, previous=previous)

    async def find_sandbox(self, namespace: str, name: str, uid: str = "") -> str:
        return lookups.find_sandbox(self, namespace, name, uid)

    def configz(self) -> dict[str, Any]:
        return document_of(self.settings)

    def health(self) -> dict[str, str]:
        problem = self.cache.error or ("" if self.cache.healthy else "pleg was last seen active too long ago")
        return {"ping": "", "log": "", "syncloop": problem if self.ready.is_set() else "not started"}


def _condition(condition: Any) -> str:
    return f"{condition.get('type', '')}={'true' if condition.get('status') else 'false'} reason:{condition.get('reason', '')} message:{condition.get('message', '')}"


def _slim(pod: Object) -> Object:
    """Without what only the API server and people who debug apply patches look at."""
    meta = pod.get("metadata") or {}
    return {**pod, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}


def _essence_of_service(service: Object) -> Object:
    """Only what makes environment variables: services are the one thing that a node knows of the whole cluster."""
    meta, spec = service.get("metadata") or {}, service.get("spec") or {}
    kept = {k: meta.get(k) for k in ("name", "namespace", "resourceVersion", "uid")}
    ports = [{k: p[k] for k in ("name", "port", "protocol") if k in p} for p in spec.get("ports") or ()]
    return {"metadata": kept, "spec": {"clusterIP": spec.get("clusterIP"), "ports": ports}}


def _read(path: Any) -> str:
    try:
        return str(path.read_text(errors="replace"))
    except OSError:
        return ""


__all__: Sequence[str] = ("Kubelet",)
