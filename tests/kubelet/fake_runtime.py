"""A container runtime made of memory and a clock: what containers do is scripted, what the kubelet asked for is recorded."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pybernetes.concurrency import Clock
from pybernetes.kubelet.cri import CRIError
from pybernetes.kubelet.interfaces import ExecResult


@dataclass
class Program:
    """What a container does: ends after ``runs`` seconds with ``code`` (None: runs until it is stopped)."""

    runs: float | None = None
    code: int = 0
    ignores_term: bool = False
    stops_in: float = 0.0
    """How long it takes to end after SIGTERM."""


@dataclass
class FakeContainer:
    id: str
    sandbox: str
    config: dict[str, Any]
    state: str = "CONTAINER_CREATED"
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    code: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    timers: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.config["metadata"]["name"]


class FakeRuntime:
    """Has the methods of ``CRIClient``. ``script`` gives a container's program by its name and attempt."""

    endpoint = "unix:///fake"

    def __init__(self, clock: Clock, script: Callable[[str, int], Program] | None = None) -> None:
        self.clock = clock
        self.script = script or (lambda name, attempt: Program())
        self.sandboxes: dict[str, dict[str, Any]] = {}
        self.containers: dict[str, FakeContainer] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.registry: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.starts: list[tuple[str, float]] = []
        """(container, moment)."""
        self.failures: dict[str, list[CRIError]] = {}
        self.exec_results: Callable[[str, list[str]], ExecResult] = lambda name, command: ExecResult(b"", b"", 0)
        self._numbers = itertools.count(1)
        self._listeners: list[asyncio.Queue[str]] = []
        self.network_ready = True

    # -- scripting -------------------------------------------------------------------------------------------------

    def has_image(self, *names: str) -> None:
        for name in names:
            self.images[name] = {"id": f"sha256:{name}", "repo_tags": [name], "size": 1000}

    def of(self, name: str) -> list[FakeContainer]:
        return [c for c in self.containers.values() if c.name == name]

    def fail(self, call: str, message: str, code: str = "Unknown") -> None:
        """The next such call fails."""
        self.failures.setdefault(call, []).append(CRIError(code, message))

    def _note(self, call: str, what: str = "") -> None:
        self.calls.append((call, what))
        if self.failures.get(call):
            raise self.failures[call].pop(0)

    def asked(self, *calls: str) -> list[str]:
        return [f"{c} {w}" for c, w in self.calls if c in calls]

    # -- sandboxes -------------------------------------------------------------------------------------------------

    async def version(self):
        return {"runtime_name": "containerd", "runtime_version": "2.1.0"}

    async def status(self, *, verbose: bool = False):
        return await self.call("Status")

    async def call(self, name: str, request: Any = None, *, timeout: float | None = None):
        if name != "Status":
            raise CRIError("Unimplemented", f"unknown method {name}")
        conditions = [{"type": "RuntimeReady", "status": True}, {"type": "NetworkReady", "status": self.network_ready}]
        return {"status": {"conditions": conditions}}

    async def close(self) -> None: ...

    async def run_pod_sandbox(self, config, runtime_handler: str = "") -> str:
        self._note("RunPodSandbox", config["metadata"]["name"])
        number = next(self._numbers)
        identity = f"sandbox-{number}"
        network = config["linux"]["security_context"]["namespace_options"]["network"]
        self.sandboxes[identity] = {
            "id": identity,
            "metadata": config["metadata"],
            "state": "SANDBOX_READY",
            "created_at": int(self.clock.now() * 1e9),
            "labels": config["labels"],
            "network": {"ip": f"10.0.0.{number}"} if network == "POD" else {},
            "linux": {"namespaces": {"options": {"network": network}}},
        }
        return identity

    async def stop_pod_sandbox(self, sandbox: str) -> None:
        self._note("StopPodSandbox", sandbox)
        for container in list(self.containers.values()):
            if container.sandbox == sandbox:
                self._end(container, 137)
        if sandbox in self.sandboxes:
            self.sandboxes[sandbox]["state"] = "SANDBOX_NOTREADY"

    async def remove_pod_sandbox(self, sandbox: str) -> None:
        self._note("RemovePodSandbox", sandbox)
        self.sandboxes.pop(sandbox, None)

    async def pod_sandbox_status(self, sandbox: str, *, verbose: bool = False):
        if sandbox not in self.sandboxes:
            raise CRIError("NotFound", f"sandbox {sandbox} not found")
        return {"status": dict(self.sandboxes[sandbox])}

    async def list_pod_sandboxes(self, labels=None):
        wanted = (labels or {}).items()
        return [dict(s) for s in self.sandboxes.values() if wanted <= s["labels"].items()]

    def kill_sandbox(self, sandbox: str) -> None:
        """It dies by itself."""
        self.sandboxes[sandbox]["state"] = "SANDBOX_NOTREADY"
        for container in self.containers.values():
            if container.sandbox == sandbox:
                self._end(container, 137)

    # -- containers ------------------------------------------------------------------------------------------------

    async def create_container(self, sandbox: str, config, sandbox_config) -> str:
        self._note("CreateContainer", config["metadata"]["name"])
        container = FakeContainer(f"container-{next(self._numbers)}", sandbox, config, created=self.clock.now())
        self.containers[container.id] = container
        return container.id

    async def start_container(self, container: str) -> None:
        found = self.containers[container]
        try:
            self._note("StartContainer", found.name)
        except CRIError:
            self._end(found, 128)
            raise
        found.state, found.started = "CONTAINER_RUNNING", self.clock.now()
        self.starts.append((found.name, found.started))
        program = self.script(found.name, found.config["metadata"].get("attempt", 0))
        if program.runs is not None:
            found.timers.append(self.clock.call_later(program.runs, lambda: self._end(found, program.code)))

    def _end(self, container: FakeContainer, code: int) -> None:
        if container.state == "CONTAINER_EXITED":
            return
        for timer in container.timers:
            timer.cancel()
        container.state, container.code, container.finished = "CONTAINER_EXITED", code, self.clock.now()
        container.ended.set()
        for listener in self._listeners:
            listener.put_nowait(container.id)

    def crash(self, name: str, code: int = 1) -> None:
        for container in self.of(name):
            if container.state == "CONTAINER_RUNNING":
                self._end(container, code)

    async def stop_container(self, container: str, timeout: int) -> None:
        found = self.containers[container]
        self._note("StopContainer", f"{found.name} {timeout}")
        program = self.script(found.name, found.config["metadata"].get("attempt", 0))
        if found.state == "CONTAINER_RUNNING":
            delay = timeout if program.ignores_term else min(timeout, program.stops_in)
            code = 137 if program.ignores_term or program.stops_in > timeout else 143
            await self.clock.sleep(delay)
            self._end(found, code)

    async def remove_container(self, container: str) -> None:
        self._note("RemoveContainer", self.containers[container].name if container in self.containers else "")
        self.containers.pop(container, None)

    def _listed(self, container: FakeContainer):
        return {
            "id": container.id,
            "pod_sandbox_id": container.sandbox,
            "metadata": container.config["metadata"],
            "state": container.state,
            "labels": container.config["labels"],
            "created_at": int(container.created * 1e9),
        }

    async def container_status(self, container: str, *, verbose: bool = False):
        found = self.containers.get(container)
        if found is None:
            raise CRIError("NotFound", f"container {container} not found")
        reason = ""
        if found.state == "CONTAINER_EXITED":
            reason = "Completed" if found.code == 0 else "Error"
        return {
            "status": {
                **self._listed(found),
                "started_at": int(found.started * 1e9),
                "finished_at": int(found.finished * 1e9),
                "exit_code": found.code,
                "reason": reason,
                "annotations": found.config["annotations"],
                "image": {"image": found.config["image"]["user_specified_image"]},
                "image_ref": found.config["image"]["image"],
                "log_path": "",
            }
        }

    async def list_containers(self, labels=None):
        wanted = (labels or {}).items()
        return [self._listed(c) for c in self.containers.values() if wanted <= c.config["labels"].items()]

    async def update_container_resources(self, container: str, linux) -> None:
        self._note("UpdateContainerResources", f"{self.containers[container].name} {linux.get('cpu_shares')}")

    async def container_events(self):
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.append(queue)
        while True:
            yield {"container_id": await queue.get()}

    async def container_running(self, container_id: str) -> bool:
        found = self.containers.get(container_id)
        return found is not None and found.state == "CONTAINER_RUNNING"

    async def exec_sync(self, container_id: str, command, timeout: float = 0) -> ExecResult:
        name = self.containers[container_id].name
        self._note("ExecSync", f"{name} {' '.join(command)}")
        return self.exec_results(name, list(command))

    # -- images ----------------------------------------------------------------------------------------------------

    async def list_images(self):
        return list(self.images.values())

    async def image_status(self, image: str, *, verbose: bool = False):
        return self.images.get(image)

    async def pull_image(self, image, auth=None, sandbox=None) -> str:
        name = image["image"]
        self._note("PullImage", name)
        if name not in self.registry:
            raise CRIError("NotFound", f'failed to pull and unpack image "{name}": not found')
        self.has_image(name)
        return self.images[name]["id"]

    async def remove_image(self, image: str) -> None:
        self._note("RemoveImage", image)
        self.images = {k: v for k, v in self.images.items() if v["id"] != image}

    async def image_fs_info(self):
        return {}
