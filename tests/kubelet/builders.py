"""Short ways to write pods and runtime states in tests."""

from __future__ import annotations

from typing import Any

from pybernetes.api.meta import is_condition_true
from pybernetes.kubelet.pod.model import EXITED, RUNNING, Container, RuntimePod, Sandbox, container_hash

NOW = 1_700_000_000.0


def container(name: str = "c", image: str = "app:1", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, **more}


def sidecar(name: str = "s", **more: Any) -> dict[str, Any]:
    return container(name, restartPolicy="Always", **more)


def pod(
    *containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), status: Any = None, **spec: Any
) -> dict[str, Any]:
    meta = spec.pop("meta", {})
    found = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u1", "generation": 1, **meta},
        "spec": {"restartPolicy": "Always", "containers": list(containers or (container(),)), **spec},
        "status": status or {},
    }
    if init:
        found["spec"]["initContainers"] = list(init)
    return found


def sandbox(
    attempt: int = 0, ready: bool = True, ips: tuple[str, ...] = ("10.0.0.5",), network: str = "POD"
) -> Sandbox:
    return Sandbox(f"sb{attempt}", attempt, ready, NOW + attempt, network, ips)


def instance(
    spec: dict[str, Any],
    state: str = RUNNING,
    *,
    n: int = 0,
    code: int = 0,
    at: float = NOW,
    sb: str = "sb0",
    **more: Any,
) -> Container:
    values: dict[str, Any] = {
        "image": spec["image"],
        "hash": container_hash(spec),
        "restart_count": n,
        "created_at": at + n,
        "started_at": at + n,
        "exit_code": code,
    }
    if state == EXITED:
        values |= {"finished_at": at + n + 1, "reason": "Completed" if code == 0 else "Error"}
    return Container(f"{spec['name']}-{n}", spec["name"], sb, state, **(values | more))


def runtime(*containers: Container, sandboxes: tuple[Sandbox, ...] | None = None) -> RuntimePod:
    boxes = [sandbox()] if sandboxes is None else list(sandboxes)
    ordered = sorted(containers, key=lambda c: c.created_at, reverse=True)
    return RuntimePod("u1", "p", "default", boxes, ordered)


NOTHING = RuntimePod("u1")


def ready(p):
    return is_condition_true(p, "Ready")


def by_name(p, key="containerStatuses"):
    return {s["name"]: s for s in p["status"].get(key, [])}
