"""What the runtime says of one pod, and how a pod's spec is read: the vocabulary of the pure part."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..cri.codec import Message

Object = dict[str, Any]

# Labels and annotations by which the kubelet finds its own sandboxes and containers again (upstream's names: tools read them).
POD_NAME, POD_NAMESPACE = "io.kubernetes.pod.name", "io.kubernetes.pod.namespace"
POD_UID, CONTAINER_NAME = "io.kubernetes.pod.uid", "io.kubernetes.container.name"
HASH, RESTART_COUNT = "io.kubernetes.container.hash", "io.kubernetes.container.restartCount"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
DELETION_GRACE = "io.kubernetes.pod.deletionGracePeriod"
TERMINATION_GRACE = "io.kubernetes.pod.terminationGracePeriod"
PRE_STOP, PORTS = "io.kubernetes.container.preStopHandler", "io.kubernetes.container.ports"

CONFIG_SOURCE, CONFIG_HASH = "kubernetes.io/config.source", "kubernetes.io/config.hash"
CONFIG_MIRROR, CONFIG_SEEN = "kubernetes.io/config.mirror", "kubernetes.io/config.seen"

CREATED, RUNNING, EXITED, UNKNOWN = "created", "running", "exited", "unknown"
_STATES = {
    "CONTAINER_CREATED": CREATED,
    "CONTAINER_RUNNING": RUNNING,
    "CONTAINER_EXITED": EXITED,
    "CONTAINER_UNKNOWN": UNKNOWN,
}


@dataclass(slots=True)
class Sandbox:
    """A pod sandbox. ``network`` is its namespace mode (``POD`` or ``NODE``); times are seconds since the epoch."""

    id: str
    attempt: int
    ready: bool
    created_at: float
    network: str = "POD"
    ips: tuple[str, ...] = ()
    runtime_handler: str = ""


@dataclass(slots=True)
class Container:
    """One instance of a container. Of every name there may be several, the newest first in ``RuntimePod``."""

    id: str
    name: str
    sandbox_id: str
    state: str
    restart_count: int = 0
    hash: str = ""
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    image: str = ""
    image_ref: str = ""
    reason: str = ""
    message: str = ""
    log_path: str = ""
    runtime: str = "containerd"
    resources: Mapping[str, Any] | None = None
    user: Mapping[str, Any] | None = None
    stop_signal: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def full_id(self) -> str:
        """``containerd://<id>``, as the API shows it."""
        return f"{self.runtime}://{self.id}"


@dataclass(slots=True)
class RuntimePod:
    """All that the runtime holds for one pod: sandboxes and containers, the newest first."""

    uid: str
    name: str = ""
    namespace: str = ""
    sandboxes: list[Sandbox] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)

    def find(self, name: str) -> Container | None:
        """The newest instance of a container."""
        return next((c for c in self.containers if c.name == name), None)

    @property
    def ips(self) -> tuple[str, ...]:
        """The addresses of the newest sandbox, where it is ready."""
        return self.sandboxes[0].ips if self.sandboxes and self.sandboxes[0].ready else ()

    def running(self) -> list[Container]:
        return [c for c in self.containers if c.state == RUNNING]

    def active(self) -> list[Container]:
        """The containers of the newest sandbox, where it is ready."""
        if not self.sandboxes or not self.sandboxes[0].ready:
            return []
        return [c for c in self.containers if c.sandbox_id == self.sandboxes[0].id]


def seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9


def sandbox_from_cri(status: Message) -> Sandbox:
    """From a ``PodSandboxStatus`` (or a list's ``PodSandbox``, which has no addresses)."""
    network = status.get("network") or {}
    addresses = [network.get("ip", ""), *(a.get("ip", "") for a in network.get("additional_ips", ()))]
    options = ((status.get("linux") or {}).get("namespaces") or {}).get("options") or {}
    return Sandbox(
        id=status["id"],
        attempt=(status.get("metadata") or {}).get("attempt", 0),
        ready=status["state"] == "SANDBOX_READY",
        created_at=seconds(status.get("created_at", 0)),
        network=options.get("network", "POD"),
        ips=tuple(a for a in addresses if a),
        runtime_handler=status.get("runtime_handler", ""),
    )


def container_from_cri(status: Message, sandbox_id: str, runtime: str) -> Container:
    """From a ``ContainerStatus``. The termination message is the shell's to add (it is in a file)."""
    annotations = status.get("annotations") or {}
    metadata = status.get("metadata") or {}
    count = annotations.get(RESTART_COUNT, "")
    return Container(
        id=status["id"],
        name=metadata.get("name", ""),
        sandbox_id=sandbox_id,
        state=_STATES.get(status["state"], UNKNOWN),
        restart_count=int(count) if count.isdigit() else metadata.get("attempt", 0),
        hash=annotations.get(HASH, ""),
        created_at=seconds(status.get("created_at", 0)),
        started_at=seconds(status.get("started_at", 0)),
        finished_at=seconds(status.get("finished_at", 0)),
        exit_code=status.get("exit_code", 0),
        image=(status.get("image") or {}).get("image", ""),
        image_ref=status.get("image_ref", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        log_path=status.get("log_path", ""),
        runtime=runtime,
        resources=(status.get("resources") or {}).get("linux"),
        user=(status.get("user") or {}).get("linux"),
        stop_signal=status.get("stop_signal", ""),
        annotations=annotations,
    )


# -- reading a pod's spec ------------------------------------------------------------------------------------------------


def spec_of(pod: Mapping[str, Any]) -> Object:
    spec: Object = pod.get("spec") or {}
    return spec


def containers_of(pod: Mapping[str, Any]) -> list[Object]:
    return list(spec_of(pod).get("containers") or ())


def init_containers_of(pod: Mapping[str, Any]) -> list[Object]:
    return list(spec_of(pod).get("initContainers") or ())


def ephemeral_containers_of(pod: Mapping[str, Any]) -> list[Object]:
    return list(spec_of(pod).get("ephemeralContainers") or ())


def all_containers_of(pod: Mapping[str, Any]) -> Iterator[Object]:
    yield from init_containers_of(pod)
    yield from containers_of(pod)
    yield from ephemeral_containers_of(pod)


def container_spec(pod: Mapping[str, Any], name: str) -> Object | None:
    return next((c for c in all_containers_of(pod) if c.get("name") == name), None)


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """An init container that stays (``restartPolicy: Always``). Meaningful for init containers only."""
    return container.get("restartPolicy") == "Always"


def uses_host_network(pod: Mapping[str, Any]) -> bool:
    return bool(spec_of(pod).get("hostNetwork"))


def is_privileged(container: Mapping[str, Any]) -> bool:
    return bool((container.get("securityContext") or {}).get("privileged"))


def grace_period(pod: Mapping[str, Any]) -> int:
    """The pod's own grace period in seconds: that of its deletion where it is being deleted."""
    deletion = (pod.get("metadata") or {}).get("deletionGracePeriodSeconds")
    if deletion is not None:
        return int(deletion)
    value = spec_of(pod).get("terminationGracePeriodSeconds")
    return 30 if value is None else int(value)


def is_static(pod: Mapping[str, Any]) -> bool:
    """Comes from a file of this node, not from the API."""
    source = ((pod.get("metadata") or {}).get("annotations") or {}).get(CONFIG_SOURCE)
    return source is not None and source != "api"


def is_mirror(pod: Mapping[str, Any]) -> bool:
    """The API's picture of a static pod."""
    return CONFIG_MIRROR in ((pod.get("metadata") or {}).get("annotations") or {})


def is_critical(pod: Mapping[str, Any]) -> bool:
    """Static, mirror or system-critical pods may displace others at admission and are evicted last."""
    return is_static(pod) or is_mirror(pod) or int(spec_of(pod).get("priority") or 0) >= 2_000_000_000


def full_name(pod: Mapping[str, Any]) -> str:
    """``name_namespace(uid)``: how messages name a pod."""
    meta = pod.get("metadata") or {}
    return f"{meta.get('name', '')}_{meta.get('namespace', '')}({meta.get('uid', '')})"


def container_hash(container: Mapping[str, Any]) -> str:
    """Changes when a running container has to be replaced: by its name and image alone, as upstream decides it."""
    picked = {"name": container.get("name", ""), "image": container.get("image", "")}
    return f"{zlib.crc32(orjson.dumps(picked)):x}"


# -- restart rules -------------------------------------------------------------------------------------------------------


def matching_rule(container: Mapping[str, Any], exit_code: int) -> Object | None:
    """The first of a container's ``restartPolicyRules`` that speaks of this exit code."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes")
        if codes is not None:
            listed = exit_code in (codes.get("values") or ())
            if listed == (codes.get("operator") == "In"):
                found: Object = rule
                return found
    return None


def should_restart(container: Mapping[str, Any], pod: Mapping[str, Any], exit_code: int) -> bool:
    """Whether a container that ended with ``exit_code`` is started again: rule, container's policy, pod's policy."""
    policy = container.get("restartPolicy")
    if policy is not None:
        rule = matching_rule(container, exit_code)
        if rule is not None and rule.get("action") in ("Restart", "RestartAllContainers"):
            return True
    else:
        policy = spec_of(pod).get("restartPolicy") or "Always"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def restarts_when_killed(container: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a container that the kubelet itself kills (a failed probe) comes back: rules need an exit code, so not they."""
    policy = container.get("restartPolicy") or spec_of(pod).get("restartPolicy") or "Always"
    return bool(policy != "Never")


def is_restartable(container: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether any end of the container could lead to a restart."""
    if container.get("restartPolicy") is not None:
        if any(r.get("action") == "Restart" for r in container.get("restartPolicyRules") or ()):
            return True
    return restarts_when_killed(container, pod)


def should_be_restarted(container: Mapping[str, Any], pod: Mapping[str, Any], runtime: RuntimePod) -> bool:
    """Whether the container is to be started in the next sync, by what became of its newest instance."""
    if (pod.get("metadata") or {}).get("deletionTimestamp") is not None:
        return False
    newest = runtime.find(container.get("name", ""))
    if newest is None or newest.state in (UNKNOWN, CREATED):
        return True
    if newest.state == RUNNING:
        return False
    return should_restart(container, pod, newest.exit_code)


def any_regular_container_created(pod: Mapping[str, Any], runtime: RuntimePod) -> bool:
    newest = (runtime.find(c["name"]) for c in containers_of(pod))
    return any(c is not None and c.state in (CREATED, RUNNING, EXITED) for c in newest)


def restarts_all(container: Mapping[str, Any], exit_code: int) -> bool:
    rule = matching_rule(container, exit_code)
    return rule is not None and rule.get("action") == "RestartAllContainers"


def could_restart_all(pod: Mapping[str, Any]) -> bool:
    rules = (r for c in (*init_containers_of(pod), *containers_of(pod)) for r in c.get("restartPolicyRules") or ())
    return any(r.get("action") == "RestartAllContainers" for r in rules)
