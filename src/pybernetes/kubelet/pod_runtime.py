"""Carrying out what ``pod.actions`` decided: sandboxes and containers are made, started, stopped, through the CRI.

Order of steps, events and reasons are upstream's (``kuberuntime_manager.go``, ``kuberuntime_container.go``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from ..api.errors import StatusError
from ..api.meta import Object, uid_of
from ..api.resources import RUNTIME_CLASSES
from ..client.events import NORMAL, WARNING
from ..client.transport import TransportError
from ..concurrency import logger
from .cgroups import Cgroups
from .context import Context
from .cri import CRIError
from .cri.codec import Message
from .hooks import HookError, run_hook
from .images import ImageInfo, ImageManager, ImagePullError, Tell
from .pod.actions import LIVENESS, STARTUP, Actions
from .pod.env import ConfigError
from .pod.model import (
    EXITED,
    RUNNING,
    Container,
    RuntimePod,
    container_spec,
    full_name,
    grace_period,
    init_containers_of,
    is_sidecar,
    uses_host_network,
)
from .pod.naming import (
    NamingError,
    hostname_and_domain,
    kernel_hostname,
    legacy_log_name,
    pod_dns,
    pod_log_directory,
)
from .pod.restarts import CrashBackoff, go_duration
from .pod.runtime_config import container_config, container_resources, sandbox_config
from .preparing import Preparation, next_restart_count
from .runtime_cache import RuntimeCache
from .user_namespaces import UserNamespaces
from .volumes.payload import VolumeError
from .volumes.sources import Mounted
from .workers import Step

log = logger("kubelet.pod")

T = TypeVar("T")

# Even a forced end leaves a container this long between SIGTERM and SIGKILL.
MINIMUM_GRACE = 2


@dataclass(slots=True)
class Outcome:
    """What came of a sync. ``reasons``: container -> why its start failed, None where it succeeded."""

    reasons: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)
    """Container -> id of its new instance."""
    updated: list[str] = field(default_factory=list)
    """Containers whose resources were changed in place."""
    resize_error: str = ""
    ok: bool = True
    again: float | None = None

    def fail(self, container: str, reason: str, message: str, again: float | None = None) -> None:
        self.reasons[container] = (reason, message)
        self.later(again)

    def later(self, seconds: float | None) -> None:
        if seconds is not None:
            self.again = seconds if self.again is None else min(self.again, seconds)


class StartFailed(Exception):
    def __init__(self, reason: str, message: str, again: float | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.again = reason, message, again


# Without a time of its own a failure is tried again after upstream's back-off of a failed sync.
RETRY = 10.0


class PodRuntime:
    def __init__(
        self,
        context: Context,
        cache: RuntimeCache,
        images: ImageManager,
        preparation: Preparation,
        cgroups: Cgroups,
    ) -> None:
        self._context, self._cache, self._images = context, cache, images
        self._preparation, self._cgroups = preparation, cgroups
        settings = context.settings
        self.users = UserNamespaces(settings.pods_dir, maximum=max(settings.max_pods, 110))
        self.user_namespaces_supported = False
        self.backoff = CrashBackoff(maximum=context.settings.max_crash_backoff)

    # -- one sync --------------------------------------------------------------------------------------------------

    async def carry_out(
        self,
        pod: Object,
        actions: Actions,
        runtime: RuntimePod,
        mounted: Mapping[str, Mounted],
        pull_secrets: Sequence[Object],
        *,
        step: Step,
        sandbox_ready: Callable[[RuntimePod], object],
    ) -> Outcome:
        """Carries out the actions. ``step`` is asked in between whether to go on; ``sandbox_ready`` is told of a new sandbox."""
        outcome = Outcome()
        if actions.kill_pod:
            await self.kill_pod(pod, runtime, None)
            if actions.create_sandbox:
                await self._purge_init(pod, runtime)
        else:
            for kill in actions.kill:
                await self.kill_container(pod, kill.container, kill.message, kill.cause, None, runtime.ips)
            for container in actions.reset:
                await self._reset(pod, container, runtime)
        if step.stopping():
            return outcome
        if actions.update:
            await self._update(pod, actions, outcome)
        sandbox_id, ips = actions.sandbox_id, runtime.ips
        if actions.create_sandbox:
            created = await self._create_sandbox(pod, actions, outcome)
            if created is None:
                return outcome
            sandbox_id, ips = created.sandboxes[0].id, created.ips
            sandbox_ready(created)
            if self._context.protect is not None and ips and not uses_host_network(pod):
                await self._context.protect(pod, ips[0])
        elif actions.kill_pod:
            return outcome
        if uses_host_network(pod) and not ips:
            ips = tuple(self._context.host_ips())
        start = _Start(self, pod, runtime, mounted, pull_secrets, sandbox_id, actions.attempt, ips, outcome, step)
        await self._start_all(pod, actions, start, step)
        return outcome

    async def _start_all(self, pod: Object, actions: Actions, start: _Start, step: Step) -> None:
        for name in actions.start_ephemeral:
            await start.one(name)
        for name in actions.start_init:
            if step.stopping():
                return
            if not await start.one(name) and not is_sidecar(container_spec(pod, name) or {}):
                return
        for name in actions.start:
            if step.stopping():
                return
            await start.one(name)

    async def _update(self, pod: Object, actions: Actions, outcome: Outcome) -> None:
        """Changes resources in place: the pod's limits give way first where they grow, last where they shrink."""
        try:
            await self._cgroups.check_shrinking(pod, actions.update)
            await asyncio.to_thread(self._cgroups.ensure_pod, pod, growing_only=True)
            for change in actions.update:
                spec = container_spec(pod, change.name)
                assert spec is not None
                await self._context.cri.update_container_resources(
                    change.container_id, container_resources(pod, spec, self._context.node)
                )
                outcome.updated.append(change.name)
            await asyncio.to_thread(self._cgroups.ensure_pod, pod)
        except (CRIError, OSError) as failure:
            outcome.resize_error = str(failure)
            outcome.later(RETRY)

    async def _reset(self, pod: Object, container: Container, runtime: RuntimePod) -> None:
        if container.state == RUNNING:
            await self.kill_container(pod, container, "killing", "", 0, runtime.ips)
        await self._context.cri.remove_container(container.id)
        self._cache.container_removed(uid_of(pod), container.id)

    async def _purge_init(self, pod: Object, runtime: RuntimePod) -> None:
        """In a new sandbox all init containers run again: what is left of them would say otherwise."""
        names = {c["name"] for c in init_containers_of(pod)}
        for container in runtime.containers:
            if container.name in names and container.state != RUNNING:
                await self._context.cri.remove_container(container.id)
                self._cache.container_removed(uid_of(pod), container.id)

    # -- sandbox ---------------------------------------------------------------------------------------------------

    def sandbox_config(self, pod: Object, attempt: int) -> Message:
        """Raises NamingError and ConfigError."""
        context = self._context
        settings = context.settings
        hostname, domain = hostname_and_domain(pod, settings.cluster_domain)
        dns, warnings = pod_dns(pod, context.node_dns, settings.cluster_dns, settings.cluster_domain)
        for warning in warnings:
            kind = "MissingClusterDNS" if "ClusterDNS" in warning else "DNSConfigForming"
            context.tell(pod, WARNING, kind, warning)
        return sandbox_config(
            pod,
            attempt,
            hostname=kernel_hostname(pod, hostname, domain),
            dns=dns,
            cgroup_parent=self._cgroups.parent_for(pod),
            log_directory=pod_log_directory(context.node.log_root, pod),
            settings=context.node,
            user_namespace=self.user_namespace(pod),
        )

    def user_namespace(self, pod: Object) -> Object | None:
        """Raises ConfigError."""
        return self.users.options(pod, supported=self.user_namespaces_supported)

    async def _create_sandbox(self, pod: Object, actions: Actions, outcome: Outcome) -> RuntimePod | None:
        context = self._context
        if actions.sandbox_id:
            context.tell(pod, NORMAL, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        try:
            config = self.sandbox_config(pod, actions.attempt)
            Path(config["log_directory"]).mkdir(parents=True, exist_ok=True, mode=0o755)
            handler = await self.runtime_handler(pod)
            context.meters.count("kubelet_started_pods_total")
            identity = await context.cri.run_pod_sandbox(config, handler)
            return await self._cache.sandbox_made(uid_of(pod), identity)
        except (CRIError, NamingError, ConfigError, OSError) as failure:
            if isinstance(failure, ConfigError | NamingError):
                text = f'failed to generate sandbox config for pod "{full_name(pod)}": {failure}'
            else:
                text = f"{failure}"
            context.tell(pod, WARNING, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {text}")
            log.warning("sandbox not created", pod=full_name(pod), error=text)
            context.meters.count("kubelet_started_pods_errors_total")
            outcome.ok = False
            outcome.later(RETRY)
            return None

    async def runtime_handler(self, pod: Object) -> str:
        """The handler of the pod's RuntimeClass. Raises ConfigError where there is no such class."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        return await self.runtime_class(name)

    async def runtime_class(self, name: str) -> str:
        if self._context.client is None:
            raise ConfigError(f'RuntimeClass "{name}" not found')
        try:
            found = await self._context.client.get(RUNTIME_CLASSES, name)
        except StatusError as failure:
            raise ConfigError(f'failed to get RuntimeClass "{name}": {failure}') from failure
        return str(found.get("handler") or "")

    # -- stopping --------------------------------------------------------------------------------------------------

    async def kill_pod(self, pod: Object, runtime: RuntimePod, grace: int | None) -> None:
        """Stops all containers, sidecars after those that they serve, then the sandboxes. Raises CRIError."""
        running = [c for c in runtime.containers if c.state not in (EXITED, "created")]
        ended = {c.name: asyncio.Event() for c in running}
        order = [c["name"] for c in init_containers_of(pod) if is_sidecar(c)]
        async with asyncio.TaskGroup() as group:
            for container in running:
                if container.name in order:
                    later = order[order.index(container.name) + 1 :]
                    before = [n for n in ended if n not in order or n in later]
                else:
                    before = []
                waits = [ended[n] for n in before]
                group.create_task(self._kill_in_turn(pod, container, grace, runtime.ips, waits, ended[container.name]))
        for sandbox in runtime.sandboxes:
            self._cache.stopping.add(sandbox.id)
            try:
                await self._context.cri.stop_pod_sandbox(sandbox.id)
            except CRIError as failure:
                if not failure.not_found:
                    raise
            finally:
                self._cache.stopping.discard(sandbox.id)
            self._cache.sandbox_stopped(uid_of(pod), sandbox.id)

    async def _kill_in_turn(
        self,
        pod: Object,
        container: Container,
        grace: int | None,
        ips: Sequence[str],
        waits: Sequence[asyncio.Event],
        ended: asyncio.Event,
    ) -> None:
        try:
            await self.kill_container(pod, container, "", "", grace, ips, waits)
        finally:
            ended.set()

    async def kill_container(
        self,
        pod: Object,
        container: Container,
        message: str,
        cause: str,
        grace: int | None,
        ips: Sequence[str],
        waits: Sequence[asyncio.Event] = (),
    ) -> None:
        """Runs the preStop hook, waits for those that end first, then stops the container, all within the grace period."""
        clock, spec = self._context.clock, container_spec(pod, container.name) or {}
        text = message or f"Stopping container {container.name}"
        self._context.tell(pod, NORMAL, "Killing", text, container=container.name)
        left = float(_own_grace(pod, spec, cause) if grace is None else grace)
        begun = clock.monotonic()
        hook = (spec.get("lifecycle") or {}).get("preStop")
        if hook and left > 0 and container.state == RUNNING:
            await self._pre_stop(pod, spec, container, hook, left, ips)
        try:
            async with clock.timeout(max(0.0, left - (clock.monotonic() - begun))):
                for wait in waits:
                    await wait.wait()
        except TimeoutError:
            pass
        remaining = int(left - (clock.monotonic() - begun))
        self._cache.stopping.add(container.id)
        try:
            await self._context.cri.stop_container(container.id, max(MINIMUM_GRACE, remaining))
        except CRIError as failure:
            if not failure.not_found:
                raise
        finally:
            self._cache.stopping.discard(container.id)
        await self._cache.read_container(container.id)

    async def _pre_stop(
        self, pod: Object, spec: Object, container: Container, hook: Object, grace: float, ips: Sequence[str]
    ) -> None:
        context = self._context
        tell = self.teller(pod, container.name)
        try:
            async with context.clock.timeout(grace):
                address = ips[0] if ips else ""
                await run_hook(context.cri, context.clock, pod, spec, container.id, hook, address, tell)
        except TimeoutError:
            log.info("preStop hook not over within the grace period", pod=full_name(pod), container=container.name)
        except HookError as failure:
            log.warning("preStop hook failed", pod=full_name(pod), container=container.name, error=str(failure))
            tell(WARNING, "FailedPreStopHook", "PreStopHook failed")

    def teller(self, pod: Object, container: str) -> Tell:
        return lambda kind, reason, message: self._context.tell(pod, kind, reason, message, container=container)

    # -- removing --------------------------------------------------------------------------------------------------

    async def remove_pod(self, runtime: RuntimePod) -> None:
        """Removes all that is left of a pod that has ended. Raises CRIError."""
        cri = self._context.cri
        for container in runtime.containers:
            await cri.remove_container(container.id)
        for sandbox in runtime.sandboxes:
            if sandbox.ready:
                await cri.stop_pod_sandbox(sandbox.id)
            await cri.remove_pod_sandbox(sandbox.id)
        self._cache.forget(runtime.uid)
        self.backoff.forget(runtime.uid)
        self._images.forget(runtime.uid)


def _own_grace(pod: Object, spec: Object, cause: str) -> int:
    """The container's grace period; a failed probe may bring another."""
    if (pod.get("metadata") or {}).get("deletionGracePeriodSeconds") is None:
        probe = {LIVENESS: "livenessProbe", STARTUP: "startupProbe"}.get(cause)
        own = (spec.get(probe) or {}).get("terminationGracePeriodSeconds") if probe else None
        if own is not None:
            return int(own)
    return grace_period(pod)


class _Start:
    """Starting the containers of one sync."""

    def __init__(
        self,
        owner: PodRuntime,
        pod: Object,
        runtime: RuntimePod,
        mounted: Mapping[str, Mounted],
        pull_secrets: Sequence[Object],
        sandbox_id: str,
        attempt: int,
        ips: Sequence[str],
        outcome: Outcome,
        step: Step,
    ) -> None:
        self._step = step
        self._owner, self._pod, self._runtime, self._mounted = owner, pod, runtime, dict(mounted)
        self._pull_secrets, self._sandbox_id, self._ips, self._outcome = pull_secrets, sandbox_id, ips, outcome
        self._context = owner._context
        self._attempt = attempt
        self._config: Message | None = None

    def _sandbox_config(self) -> Message:
        if self._config is None:
            self._config = self._owner.sandbox_config(self._pod, self._attempt)
        return self._config

    async def one(self, name: str) -> bool:
        """True where the container has been started; the outcome knows why not."""
        spec = container_spec(self._pod, name)
        assert spec is not None
        tell = self._owner.teller(self._pod, name)
        try:
            self._back_off(spec, tell)
            await self._counted_start(spec, tell)
        except StartFailed as failure:
            if not failure.reason:
                return False
            self._outcome.fail(name, failure.reason, failure.message, failure.again)
            return False
        self._outcome.reasons[name] = None
        return True

    def _back_off(self, spec: Object, tell: Tell) -> None:
        name = spec["name"]
        ended = next((c for c in self._runtime.containers if c.name == name and c.state == EXITED), None)
        if ended is None:
            return
        key, now = f"{uid_of(self._pod)}/{name}/{spec.get('image', '')}", self._context.clock.now()
        waiting = self._owner.backoff.remaining(key, ended.finished_at, now)
        where = full_name(self._pod)
        if waiting is not None:
            tell(WARNING, "BackOff", f"Back-off restarting failed container {name} in pod {where}")
            text = f"back-off {go_duration(waiting[1])} restarting failed container={name} pod={where}"
            raise StartFailed("CrashLoopBackOff", text, waiting[0])
        self._owner.backoff.next(key, ended.finished_at, now)

    async def _counted_start(self, spec: Object, tell: Tell) -> None:
        meters, kind = self._context.meters, self._container_type(spec["name"])
        meters.count("kubelet_started_containers_total", kind)
        try:
            await self._start(spec, tell)
        except StartFailed as failure:
            meters.count("kubelet_started_containers_errors_total", kind, failure.reason)
            raise

    def _container_type(self, name: str) -> str:
        """As the metrics name it."""
        pod = self._pod["spec"]
        for section, kind in (("initContainers", "init_container"), ("ephemeralContainers", "ephemeral_container")):
            if any(c["name"] == name for c in pod.get(section) or ()):
                return kind
        return "container"

    async def _start(self, spec: Object, tell: Tell) -> None:
        context = self._context
        policy = spec.get("imagePullPolicy") or "IfNotPresent"
        try:
            sandbox = self._sandbox_config()
            image = await self._unless_stopped(
                self._owner._images.ensure(self._pod, spec.get("image", ""), policy, tell, self._pull_secrets, sandbox)
            )
        except ImagePullError as failure:
            tell(WARNING, "Failed", f"Error: {failure.reason}")
            raise StartFailed(failure.reason, failure.message, failure.again or RETRY) from failure
        await self._image_volumes(spec, tell, sandbox)
        config = await self._configure(spec, image, tell)
        try:
            identity = await context.cri.create_container(self._sandbox_id, config, sandbox)
        except CRIError as failure:
            tell(WARNING, "Failed", f"Error: {failure.detail}")
            raise StartFailed("CreateContainerError", failure.detail, RETRY) from failure
        self._outcome.started[spec["name"]] = identity
        tell(NORMAL, "Created", "Container created")
        try:
            await context.cri.start_container(identity)
        except CRIError as failure:
            tell(WARNING, "Failed", f"Error: {failure.detail}")
            raise StartFailed("RunContainerError", failure.detail, RETRY) from failure
        finally:
            await self._owner._cache.container_made(uid_of(self._pod), identity, self._sandbox_id)
        tell(NORMAL, "Started", "Container started")
        self._link_log(spec, identity, config)
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._post_start(spec, identity, hook, tell)

    async def _image_volumes(self, spec: Object, tell: Tell, sandbox: Message) -> None:
        """Gets the images that the container mounts as volumes, and mounts them where the runtime cannot."""
        owner = self._owner
        for mount in spec.get("volumeMounts") or ():
            name = mount["name"]
            volume = self._mounted.get(name)
            if volume is None or not volume.image:
                continue
            source = next(v["image"] for v in self._pod["spec"]["volumes"] if v["name"] == name)
            policy = source.get("pullPolicy") or "IfNotPresent"
            reference = source.get("reference") or ""
            pull = owner._images.ensure(self._pod, reference, policy, tell, self._pull_secrets, sandbox)
            try:
                found = await self._unless_stopped(pull)
                # The runtime wants what it has, not the name by which it was asked for.
                self._mounted[name] = replace(volume, image=found.ref)
                if not owner._preparation.image_mounts:
                    self._mounted[name] = await owner._preparation.mount_image(self._pod, name, found.ref)
            except ImagePullError as failure:
                tell(WARNING, "Failed", f"Error: {failure.reason}")
                raise StartFailed(failure.reason, failure.message, failure.again or RETRY) from failure
            except VolumeError as failure:
                tell(WARNING, "Failed", f"Error: {failure}")
                raise StartFailed("CreateContainerError", str(failure), RETRY) from failure

    async def _unless_stopped(self, work: Coroutine[None, None, T]) -> T:
        """A pull or a mount may take for ever: the end of the pod does not wait for it."""
        loop = asyncio.get_running_loop()
        task, stop = loop.create_task(work), loop.create_task(self._step.stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StartFailed("", "")
            return task.result()
        finally:
            stop.cancel()
            task.cancel()

    async def _configure(self, spec: Object, image: ImageInfo, tell: Tell) -> Message:
        name = spec["name"]
        newest = self._runtime.find(name)
        directory = Path(self._sandbox_config()["log_directory"]) / name
        count = newest.restart_count + 1 if newest is not None else next_restart_count(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            target = self._target(spec)
            prepared = await self._unless_stopped(
                self._owner._preparation.prepare(self._pod, spec, image, count, self._ips, self._mounted, target)
            )
        except (ConfigError, StatusError, TransportError, TimeoutError, OSError) as failure:
            tell(WARNING, "Failed", f"Error: {failure}")
            raise StartFailed("CreateContainerConfigError", str(failure), RETRY) from failure
        users = self._owner.user_namespace(self._pod)
        return container_config(self._pod, spec, prepared, self._context.node, user_namespace=users)

    def _target(self, spec: Object) -> str:
        """The container whose processes an ephemeral container wants to see."""
        name = spec.get("targetContainerName")
        if not name:
            return ""
        found = self._runtime.find(name)
        if found is None or found.state != RUNNING:
            raise ConfigError(f"unable to find target container {name}")
        return found.id

    def _link_log(self, spec: Object, identity: str, config: Message) -> None:
        directory = self._context.settings.container_logs_dir
        if directory is None:
            return
        directory.mkdir(parents=True, exist_ok=True)
        link = directory / legacy_log_name(self._pod, spec["name"], identity)
        target = f"{self._sandbox_config()['log_directory']}/{config['log_path']}"
        if not link.is_symlink():
            link.symlink_to(target)

    async def _post_start(self, spec: Object, identity: str, hook: Object, tell: Tell) -> None:
        context, owner = self._context, self._owner
        address = self._ips[0] if self._ips else ""
        try:
            await run_hook(context.cri, context.clock, self._pod, spec, identity, hook, address, tell)
        except HookError as failure:
            tell(WARNING, "FailedPostStartHook", "PostStartHook failed")
            started = Container(identity, spec["name"], self._sandbox_id, RUNNING)
            await owner.kill_container(self._pod, started, "FailedPostStartHook", "", None, self._ips)
            raise StartFailed("PostStartHookError", str(failure), RETRY) from failure
