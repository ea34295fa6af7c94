"""Finding pods and containers for those who ask from outside: the HTTPS server and the prober."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..api.errors import StatusError, bad_request, not_found
from ..api.meta import Object, name_of, namespace_of, uid_of
from .interfaces import ContainerRef
from .pod.model import (
    EXITED,
    RUNNING,
    Container,
    all_containers_of,
    container_spec,
    containers_of,
    is_mirror,
    uses_host_network,
)
from .pod.probing import View

if TYPE_CHECKING:
    from .kubelet import Kubelet

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def pods(kubelet: Kubelet) -> list[Object]:
    found = []
    for pod in kubelet.workers.pods():
        status = kubelet.status.current(uid_of(pod)) or pod.get("status") or {}
        found.append({"apiVersion": "v1", "kind": "Pod", **pod, "status": status})
    return found


def find_pod(kubelet: Kubelet, namespace: str, name: str, uid: str = "") -> Object:
    for pod in pods(kubelet):
        if (namespace_of(pod), name_of(pod)) == (namespace, name):
            if not uid or uid == uid_of(pod):
                return pod
            mirror = kubelet._mirror(pod)
            if mirror is not None and is_mirror(mirror) and uid_of(mirror) == uid:
                return pod
    raise StatusError(404, "NotFound", "pod does not exist")


def _newest(kubelet: Kubelet, pod: Object, container: str) -> list[Container]:
    runtime = kubelet.cache.get(uid_of(pod))
    return [c for c in runtime.containers if c.name == container]


def find_container(
    kubelet: Kubelet, namespace: str, name: str, container: str = "", uid: str = "", *, previous: bool = False
) -> ContainerRef:
    pod = find_pod(kubelet, namespace, name, uid)
    if not container:
        annotations = (pod.get("metadata") or {}).get("annotations") or {}
        container = annotations.get(DEFAULT_CONTAINER) or containers_of(pod)[0]["name"]
    spec = container_spec(pod, container)
    if spec is None:
        raise not_found_container(container, pod)
    chosen = _chosen(kubelet, pod, container, previous)
    return _reference(kubelet, pod, spec, chosen)


def _chosen(kubelet: Kubelet, pod: Object, container: str, previous: bool) -> Container:
    """The instance that the status speaks of: a container that waits to be started again is still known by its last end."""
    status = _status_of(kubelet, pod, container)
    state = status.get("state") or {}
    ended = ((status.get("lastState") or {}).get("terminated") or {}).get("containerID")
    where = f'container "{container}" in pod "{name_of(pod)}"'
    if previous:
        identity = ended
        missing = f"previous terminated {where} not found"
    else:
        here = (state.get("terminated") or {}).get("containerID")
        identity = (status.get("containerID") if "running" in state else here) or ended
        missing = _waiting_text(kubelet, pod, container)
    found = next((c for c in _newest(kubelet, pod, container) if c.full_id == identity), None)
    if found is None:
        raise bad_request(missing)
    return found


def _status_of(kubelet: Kubelet, pod: Object, container: str) -> Object:
    status = kubelet.status.current(uid_of(pod)) or {}
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(key) or ():
            if entry.get("name") == container:
                found: Object = entry
                return found
    return {}


def _waiting_text(kubelet: Kubelet, pod: Object, container: str) -> str:
    waiting = (_status_of(kubelet, pod, container).get("state") or {}).get("waiting") or {}
    where = f'container "{container}" in pod "{name_of(pod)}" is waiting to start'
    reason = waiting.get("reason")
    if not reason:
        return f'container "{container}" in pod "{name_of(pod)}" is not available'
    words = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    return f"{where}: {words.get(reason, reason)}"


def not_found_container(container: str, pod: Object) -> StatusError:
    return bad_request(f"container {container} not found in pod {name_of(pod)}_{namespace_of(pod)}")


def _reference(kubelet: Kubelet, pod: Object, spec: Object, chosen: Container) -> ContainerRef:
    return ContainerRef(
        id=chosen.id,
        pod_sandbox_id=chosen.sandbox_id,
        name=chosen.name,
        state=chosen.state,
        log_path=Path(chosen.log_path),
        tty=bool(spec.get("tty")),
        stdin=bool(spec.get("stdin")),
    )


def find_sandbox(kubelet: Kubelet, namespace: str, name: str, uid: str = "") -> str:
    pod = find_pod(kubelet, namespace, name, uid)
    runtime = kubelet.cache.get(uid_of(pod))
    if not runtime.sandboxes or not runtime.sandboxes[0].ready:
        raise not_found("", "pods", name)
    return runtime.sandboxes[0].id


# -- for the prober ------------------------------------------------------------------------------------------------------


def pod_address(kubelet: Kubelet, uid: str) -> str:
    ips = kubelet.cache.get(uid).ips
    pod = kubelet.workers.pod(uid)
    if not ips and pod is not None and uses_host_network(pod):
        ips = tuple(kubelet.machine.addresses)
    return ips[0] if ips else ""


def probe_view(kubelet: Kubelet, pod: Object, uid: str, name: str) -> View:
    status = kubelet.status.current(uid) or pod.get("status") or {}
    terminal = not pod or status.get("phase") in ("Succeeded", "Failed")
    container = kubelet.cache.get(uid).find(name)
    if container is None:
        return View(terminal=terminal)
    spec = next((c for c in all_containers_of(pod) if c["name"] == name), {})
    stored = _stored_status(pod, name)
    same = stored.get("containerID") == container.full_id
    startup = kubelet.prober.results().startup.get(container.id)
    started = (
        not spec.get("startupProbe") or startup == "success" or bool(same and stored.get("started") and not startup)
    )
    return View(
        container_id=container.id,
        running=container.state == RUNNING,
        started_at=container.started_at,
        started=started and container.state == RUNNING,
        exit_code=container.exit_code if container.state == EXITED else None,
        deleting=(pod.get("metadata") or {}).get("deletionTimestamp") is not None,
        terminal=terminal,
        was_ready=bool(same and stored.get("ready")),
    )


def _stored_status(pod: Object, name: str) -> Object:
    for key in ("containerStatuses", "initContainerStatuses"):
        for entry in (pod.get("status") or {}).get(key) or ():
            if entry.get("name") == name:
                found: Object = entry
                return found
    return {}
