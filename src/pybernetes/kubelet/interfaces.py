"""What the node's HTTPS server (port 10250) asks of the kubelet, and nothing more.

The server is built over these protocols, so that it can be tested with a fake and so that the kubelet knows nothing of HTTP.
Failures are ``StatusError`` in upstream's words (404 for an unknown pod or container, 400 for a container that is not running).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..api.meta import Object
from ..client.rest import Client
from ..concurrency import Clock


@dataclass(frozen=True, slots=True)
class ContainerRef:
    """One container of one pod in the runtime. ``log_path`` is the CRI log file (it may be gone, or rotated beside it)."""

    id: str
    pod_sandbox_id: str
    name: str
    state: str
    """``running``, ``created``, ``exited`` or ``unknown``."""
    log_path: Path
    tty: bool
    stdin: bool


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What ``ExecSync`` gives: output whole, and the exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class StreamingRuntime(Protocol):
    """The part of the CRI that streams. The URLs are the runtime's own streaming server, on the loopback."""

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: float = 0) -> ExecResult:
        """``timeout`` 0 means none. Raises TimeoutError where the command did not end in time (the runtime kills it)."""
        ...

    async def exec_url(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str: ...

    async def attach_url(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str: ...

    async def port_forward_url(self, pod_sandbox_id: str, ports: Sequence[int] = ()) -> str: ...

    async def container_running(self, container_id: str) -> bool:
        """False also where the container is gone (a log that is followed ends then)."""
        ...


class StatsSource(Protocol):
    """Figures for ``/stats/summary`` and ``/metrics/*``; the kubelet caches what is dear."""

    async def summary(self, only_cpu_and_memory: bool = False) -> dict[str, Any]:
        """The body of ``/stats/summary`` (``stats/v1alpha1`` Summary)."""
        ...

    async def metrics(self) -> bytes:
        """``/metrics``: the kubelet's own, Prometheus text."""
        ...

    async def cadvisor_metrics(self) -> bytes:
        """``/metrics/cadvisor``."""
        ...

    async def resource_metrics(self) -> bytes:
        """``/metrics/resource``."""
        ...

    async def probe_metrics(self) -> bytes:
        """``/metrics/probes``."""
        ...


class KubeletApi(Protocol):
    """The kubelet as its server sees it; ``kubelet.kubelet.Kubelet`` is one."""

    node_name: str
    client: Client | None
    """None without an API server (static pods only): then nobody can be authenticated by token or authorized by review."""
    clock: Clock

    @property
    def runtime(self) -> StreamingRuntime: ...

    @property
    def stats(self) -> StatsSource: ...

    def pods(self) -> list[Object]:
        """All pods bound here, with the newest status (``/pods``)."""
        ...

    def find_pod(self, namespace: str, name: str, uid: str = "") -> Object:
        """Raises 404 (``pod does not exist``). A mirror pod's uid finds its static pod."""
        ...

    async def find_container(
        self, namespace: str, name: str, container: str = "", uid: str = "", *, previous: bool = False
    ) -> ContainerRef:
        """The newest instance of a container (the only one where unnamed), or the one before with ``previous``.

        Raises 404 or 400 as upstream's log and exec handlers do.
        """
        ...

    async def find_sandbox(self, namespace: str, name: str, uid: str = "") -> str:
        """The id of the pod's ready sandbox."""
        ...

    def configz(self) -> dict[str, Any]:
        """The running KubeletConfiguration, for ``/configz``."""
        ...

    def health(self) -> dict[str, str]:
        """Check name -> '' where it is well, else why not (``/healthz``: ping, log, syncloop)."""
        ...
