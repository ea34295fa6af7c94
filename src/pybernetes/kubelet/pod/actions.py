"""What has to be done so that the runtime holds what a pod's spec asks for: ``compute_actions``.

The rules are upstream's (``kuberuntime_manager.go``, computePodActions): when a sandbox is replaced, in which order init
containers and sidecars start, what a failed probe or a changed image means, when nothing is left to run and the pod is ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .model import (
    CREATED,
    EXITED,
    RUNNING,
    UNKNOWN,
    Container,
    Object,
    RuntimePod,
    any_regular_container_created,
    container_hash,
    containers_of,
    ephemeral_containers_of,
    init_containers_of,
    is_sidecar,
    restarts_all,
    restarts_when_killed,
    should_be_restarted,
    should_restart,
    spec_of,
    uses_host_network,
)
from .resize import Change

SUCCESS, FAILURE = "success", "failure"
LIVENESS, STARTUP, OTHER = "liveness", "startup", ""
"""Why a container is killed: a probe may bring its own grace period."""


@dataclass(frozen=True, slots=True)
class Probes:
    """Last decided results by container id; a container that is absent has not been probed yet."""

    liveness: Mapping[str, str] = field(default_factory=dict)
    startup: Mapping[str, str] = field(default_factory=dict)
    readiness: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kill:
    """One container to stop. ``message`` is that of the Killing event."""

    container: Container
    message: str
    cause: str = OTHER


@dataclass(slots=True)
class Actions:
    """The instructions of one sync, in the order in which they are carried out. Containers are given by their name."""

    kill_pod: bool = False
    create_sandbox: bool = False
    sandbox_id: str = ""
    attempt: int = 0
    reset: list[Container] = field(default_factory=list)
    """Removed, after being killed at once where they run: all containers start over."""
    kill: list[Kill] = field(default_factory=list)
    start_ephemeral: list[str] = field(default_factory=list)
    start_init: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    update: list[Change] = field(default_factory=list)
    """Running containers whose resources are changed in place."""

    @property
    def idle(self) -> bool:
        """Nothing to do."""
        return not (
            self.kill_pod
            or self.create_sandbox
            or self.reset
            or self.kill
            or self.start_ephemeral
            or self.start_init
            or self.start
            or self.update
        )


def sandbox_changed(pod: Object, runtime: RuntimePod) -> tuple[bool, int, str]:
    """(a new sandbox is needed, its attempt, the id of the one before or of the one to keep)."""
    if not runtime.sandboxes:
        return True, 0, ""
    newest = runtime.sandboxes[0]
    if sum(s.ready for s in runtime.sandboxes) > 1 or not newest.ready:
        return True, newest.attempt + 1, newest.id
    if newest.network != ("NODE" if uses_host_network(pod) else "POD"):
        return True, newest.attempt + 1, ""
    if not uses_host_network(pod) and not newest.ips:
        return True, newest.attempt + 1, newest.id
    return False, newest.attempt, newest.id


def compute_actions(
    pod: Object, runtime: RuntimePod, probes: Probes, *, restart_all: bool = False, resized: Sequence[Change] = ()
) -> Actions:
    """``resized`` are running containers that have been given other resources than are in force."""
    create, attempt, sandbox_id = sandbox_changed(pod, runtime)
    actions = Actions(kill_pod=create, create_sandbox=create, sandbox_id=sandbox_id, attempt=attempt)
    if restart_all:
        actions.reset = _to_reset(pod, runtime)
        return actions
    if create:
        return _with_new_sandbox(pod, runtime, actions)
    names = {c.name for c in runtime.containers}
    actions.start_ephemeral = [c["name"] for c in ephemeral_containers_of(pod) if c["name"] not in names]
    initialized = _InitContainers(pod, runtime, probes, actions).decide()
    if actions.kill_pod:
        return actions
    if initialized:
        _regular_containers(pod, runtime, probes, actions)
    if not actions.kill_pod:
        _resize(pod, runtime, resized, actions)
    return actions


def _resize(pod: Object, runtime: RuntimePod, resized: Sequence[Change], actions: Actions) -> None:
    ending = {k.container.id for k in actions.kill}
    init = {c["name"] for c in init_containers_of(pod)}
    for change in resized:
        if change.container_id in ending:
            continue
        if not change.restart:
            actions.update.append(change)
            continue
        container = runtime.find(change.name)
        assert container is not None
        actions.kill.append(Kill(container, f"Container {change.name} resize requires restart"))
        (actions.start_init if change.name in init else actions.start).append(change.name)


def _with_new_sandbox(pod: Object, runtime: RuntimePod, actions: Actions) -> Actions:
    restarts = spec_of(pod).get("restartPolicy") != "Never"
    if not restarts and actions.attempt and runtime.containers:
        # It ran once and may not run again: a sandbox would only confuse.
        actions.create_sandbox = False
        return actions
    start = []
    for container in containers_of(pod):
        policy = container.get("restartPolicy") or spec_of(pod).get("restartPolicy")
        newest = runtime.find(container["name"])
        succeeded = newest is not None and newest.state == EXITED and newest.exit_code == 0
        if not (policy == "OnFailure" and succeeded):
            start.append(container["name"])
    if not start and any_regular_container_created(pod, runtime):
        actions.create_sandbox = False
        return actions
    init = init_containers_of(pod)
    if init:
        actions.start_init = [init[0]["name"]]
    else:
        actions.start = start
    return actions


def _to_reset(pod: Object, runtime: RuntimePod) -> list[Container]:
    """Every container in reverse order, those whose exit asked for the restart last."""
    targets: list[Container] = []
    sources: list[Container] = []
    for group in (containers_of(pod), init_containers_of(pod)):
        for spec in reversed(group):
            newest = runtime.find(spec["name"])
            if newest is not None:
                asked = newest.state == EXITED and restarts_all(spec, newest.exit_code)
                (sources if asked else targets).append(newest)
    return targets + sources


class _InitContainers:
    """Walks the init containers from the last to the first: what ran later tells what must have succeeded before."""

    def __init__(self, pod: Object, runtime: RuntimePod, probes: Probes, actions: Actions) -> None:
        self._pod, self._runtime, self._probes, self._actions = pod, runtime, probes, actions
        self._containers = init_containers_of(pod)
        self._start: list[int] = []
        self._initialized = any(
            (c := runtime.find(spec["name"])) is not None and c.state in (CREATED, RUNNING)
            for spec in containers_of(pod)
        )

    def decide(self) -> bool:
        """Fills in ``start_init`` and ``kill``; True where the regular containers may run."""
        if not self._containers:
            return True
        # Something behind the container at hand was seen: the one at hand must have been through its initialization.
        passed = self._initialized
        for index in reversed(range(len(self._containers))):
            spec = self._containers[index]
            newest = self._runtime.find(spec["name"])
            if newest is None:
                if passed and is_sidecar(spec):
                    self._start.append(index)
                continue
            if passed and not is_sidecar(spec):
                continue
            if not self._one(index, spec, newest, passed):
                self._actions.kill_pod = True
                self._actions.start_init = []
                return False
            passed = True
        if not passed:
            self._start.append(0)
        names = [self._containers[i]["name"] for i in reversed(self._start)]
        self._actions.start_init = list(dict.fromkeys(names))
        return self._initialized

    def _one(self, index: int, spec: Object, newest: Container, passed: bool) -> bool:
        """One container that exists; False where it failed for good."""
        if newest.state == CREATED:
            # Created and started are one step: what is only created failed to start.
            self._start.append(index)
        elif newest.state == RUNNING:
            if is_sidecar(spec):
                self._running_sidecar(index, spec, newest, passed)
        elif newest.state == EXITED:
            if is_sidecar(spec):
                self._start.append(index)
            elif newest.exit_code != 0:
                if not should_restart(spec, self._pod, newest.exit_code):
                    return False
                self._start.append(index)
            else:
                self._done(index, False)
        else:
            if not is_sidecar(spec) and not restarts_when_killed(spec, self._pod):
                return False
            message = f'Init container is in "{newest.state}" state, try killing it before restart'
            self._restart(index, newest, message, OTHER)
        return True

    def _done(self, index: int, passed: bool) -> None:
        if index == len(self._containers) - 1:
            self._initialized = True
        elif not passed:
            self._start.append(index + 1)

    def _restart(self, index: int, newest: Container, message: str, cause: str) -> None:
        self._actions.kill.append(Kill(newest, message, cause))
        self._start.append(index)

    def _running_sidecar(self, index: int, spec: Object, newest: Container, passed: bool) -> None:
        name = spec["name"]
        if spec.get("startupProbe"):
            startup = self._probes.startup.get(newest.id)
            if startup == FAILURE:
                self._restart(index, newest, f"Init container {name} failed startup probe", STARTUP)
            if startup != SUCCESS:
                return
        self._done(index, passed)
        if newest.hash != container_hash(spec):
            self._restart(index, newest, f"Init container {name} definition changed", OTHER)
        elif spec.get("livenessProbe") and self._probes.liveness.get(newest.id) == FAILURE:
            self._restart(index, newest, f"Init container {name} failed liveness probe", LIVENESS)


def _regular_containers(pod: Object, runtime: RuntimePod, probes: Probes, actions: Actions) -> None:
    keep = 0
    for spec in containers_of(pod):
        name = spec["name"]
        newest = runtime.find(name)
        if newest is None or newest.state != RUNNING:
            if should_be_restarted(spec, pod, runtime):
                actions.start.append(name)
                if newest is not None and newest.state == UNKNOWN:
                    # Whether it runs is not known: two instances at once must not be.
                    message = f'Container is in "{newest.state}" state, try killing it before restart'
                    actions.kill.append(Kill(newest, message))
            continue
        restart = restarts_when_killed(spec, pod)
        if newest.hash != container_hash(spec):
            message, cause, restart = f"Container {name} definition changed", OTHER, True
        elif probes.liveness.get(newest.id) == FAILURE:
            message, cause = f"Container {name} failed liveness probe", LIVENESS
        elif probes.startup.get(newest.id) == FAILURE:
            message, cause = f"Container {name} failed startup probe", STARTUP
        else:
            keep += 1
            continue
        if restart:
            message += ", will be restarted"
            actions.start.append(name)
        actions.kill.append(Kill(newest, message, cause))
    if keep == 0 and not actions.start:
        actions.kill_pod = True
        # Sidecars must not keep a pod alive whose work is done.
        actions.start_init = []
