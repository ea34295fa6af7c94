"""Running probes: one task a probe, and the results by container. What is due and what counts is decided in ``pod.probing``.

Messages are upstream's (``prober.go`` and ``pkg/probe``): people search for them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..api.meta import Object
from ..client.events import WARNING
from ..concurrency import Clock, logger
from . import http
from .cri import CRIError
from .interfaces import StreamingRuntime
from .pod.actions import FAILURE, SUCCESS, Probes
from .pod.model import containers_of, init_containers_of, is_sidecar
from .pod.probing import KINDS, LIVENESS, READINESS, STARTUP, TITLES, ProbeState, View, resolve_port, static_command

log = logger("kubelet.probes")

AGENT = "kube-probe/1.36"
_RETRIES = 3
_MAX_OUTPUT = 10 * 1024


class ProbeWarning(Exception):
    """The probe succeeded, with something to tell."""


class ProbeFailure(Exception):
    """The container's answer was no; the message is why."""


class ProbeHost(Protocol):
    """What the prober asks of the kubelet."""

    def probe_view(self, uid: str, container: str) -> tuple[Object, View, str]:
        """(pod, view, pod address) as they are now."""
        ...

    def probe_event(self, pod: Object, container: str, kind: str, reason: str, message: str) -> None: ...

    def probe_changed(self, uid: str) -> None: ...


@dataclass(slots=True)
class _Worker:
    state: ProbeState
    task: asyncio.Task[None] | None = None
    kick: asyncio.Event = field(default_factory=asyncio.Event)


class Prober:
    """``add`` and ``remove`` pods; ``results`` gives what counts now."""

    def __init__(
        self,
        runtime: StreamingRuntime,
        clock: Clock,
        host: ProbeHost,
        *,
        rng: random.Random,
        count: Callable[[str, Object, str, str], None] | None = None,
    ) -> None:
        self._runtime, self._clock, self._host, self._rng = runtime, clock, host, rng
        self._count = count
        self._workers: dict[str, dict[tuple[str, str], _Worker]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._results: dict[str, dict[str, str]] = {LIVENESS: {}, READINESS: {}, STARTUP: {}}
        self._began = clock.monotonic()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def results(self) -> Probes:
        return Probes(self._results[LIVENESS], self._results[STARTUP], self._results[READINESS])

    def add(self, pod: Object) -> None:
        """Starts what is not started yet; ``kick`` makes the tasks look at the pod anew."""
        uid = pod["metadata"]["uid"]
        probed = [*containers_of(pod), *(c for c in init_containers_of(pod) if is_sidecar(c))]
        workers = self._workers.setdefault(uid, {}) if any(k in c for c in probed for k in KINDS.values()) else {}
        for container in probed:
            for kind, key in KINDS.items():
                if container.get(key) and (container["name"], kind) not in workers and self._group is not None:
                    worker = _Worker(ProbeState(kind, pod, container))
                    workers[container["name"], kind] = worker
                    worker.task = self._group.create_task(self._work(uid, container["name"], worker))

    def kick(self, uid: str) -> None:
        for worker in self._workers.get(uid, {}).values():
            worker.kick.set()

    def stop_liveness(self, uid: str) -> None:
        """While a pod ends, only readiness is still asked for."""
        for (_, kind), worker in self._workers.get(uid, {}).items():
            if kind != READINESS and worker.task is not None:
                worker.task.cancel()

    def remove(self, uid: str) -> None:
        for worker in self._workers.pop(uid, {}).values():
            if worker.task is not None:
                worker.task.cancel()

    # -- one probe -------------------------------------------------------------------------------------------------

    async def _work(self, uid: str, name: str, worker: _Worker) -> None:
        state = worker.state
        try:
            if self._clock.monotonic() - self._began < state.period:
                # After a restart of the kubelet not all probes of the node at one moment.
                await self._wait(worker, self._rng.random() * min(1.0, state.period))
            while True:
                pod, view, address = self._host.probe_view(uid, name)
                step = state.step(view, self._clock.now(), self._clock.monotonic())
                self._note(uid, state)
                if step.stop:
                    return
                if not step.probe:
                    await self._wait(worker, step.wait)
                    continue
                result = await self._probe(state, pod, name, view.container_id, address)
                if state.record(result, self._clock.monotonic()):
                    self._note(uid, state)
        finally:
            self._results[state.kind].pop(state.container_id, None)

    def _note(self, uid: str, state: ProbeState) -> None:
        known = self._results[state.kind]
        if state.result and known.get(state.container_id) != state.result:
            known[state.container_id] = state.result
            self._host.probe_changed(uid)

    async def _wait(self, worker: _Worker, seconds: float | None) -> None:
        try:
            async with self._clock.timeout(seconds):
                await worker.kick.wait()
        except TimeoutError:
            pass
        worker.kick.clear()

    async def _probe(self, state: ProbeState, pod: Object, name: str, identity: str, address: str) -> str | None:
        container = next(c for c in (*containers_of(pod), *init_containers_of(pod)) if c["name"] == name)
        title, error = TITLES[state.kind], ""
        for _ in range(_RETRIES):
            try:
                await self._ask(state.spec, state.timeout, container, identity, address)
            except ProbeWarning as warning:
                self._host.probe_event(pod, name, WARNING, "ProbeWarning", f"{title} probe warning: {warning}")
            except ProbeFailure as failure:
                self._host.probe_event(pod, name, WARNING, "Unhealthy", f"{title} probe failed: {failure}")
                self._counted(state.kind, pod, name, "failed")
                return FAILURE
            except (CRIError, ValueError) as failure:
                error = str(failure)
                continue
            self._counted(state.kind, pod, name, "successful")
            return SUCCESS
        text = f"{title} probe errored and resulted in unknown state: {error}"
        self._host.probe_event(pod, name, WARNING, "Unhealthy", text)
        self._counted(state.kind, pod, name, "unknown")
        return None

    def _counted(self, kind: str, pod: Object, name: str, result: str) -> None:
        if self._count is not None:
            self._count(kind, pod, name, result)

    async def _ask(self, spec: Any, timeout: float, container: Object, identity: str, address: str) -> None:
        if spec.get("exec"):
            command = static_command(list(spec["exec"].get("command") or ()), container)
            await self._exec(identity, command, timeout)
        elif spec.get("httpGet"):
            await self._http(spec["httpGet"], timeout, container, address)
        elif spec.get("tcpSocket"):
            action = spec["tcpSocket"]
            await self._tcp(action.get("host") or address, resolve_port(action.get("port"), container), timeout)
        elif spec.get("grpc"):
            action = spec["grpc"]
            await grpc_health(address, action["port"], action.get("service") or "", timeout)
        else:
            raise ValueError(f"missing probe handler for {container['name']}")

    async def _exec(self, identity: str, command: list[str], timeout: float) -> None:
        try:
            result = await self._runtime.exec_sync(identity, command, timeout)
        except TimeoutError as failure:
            text = f'command timed out: "{" ".join(command)}" timed out after {int(timeout)}s'
            raise ProbeFailure(text) from failure
        if result.exit_code != 0:
            output = (result.stdout + result.stderr)[:_MAX_OUTPUT]
            raise ProbeFailure(output.decode("utf-8", "replace"))

    async def _http(self, action: Object, timeout: float, container: Object, address: str) -> None:
        scheme = (action.get("scheme") or "HTTP").lower()
        host = action.get("host") or address
        port = resolve_port(action.get("port"), container)
        path = action.get("path") or "/"
        shown = f"[{host}]" if ":" in host else host
        url = f"{scheme}://{shown}:{port}{path if path.startswith('/') else '/' + path}"
        try:
            async with self._clock.timeout(timeout):
                answer = await http.get(scheme, host, port, path, action.get("httpHeaders") or (), agent=AGENT)
        except TimeoutError as failure:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            raise ProbeFailure(f'Get "{url}": {why}') from failure
        except http.HttpError as failure:
            raise ProbeFailure(f'Get "{url}": {failure}') from failure
        if not 200 <= answer.status < 400:
            raise ProbeFailure(f"HTTP probe failed with statuscode: {answer.status}")
        if answer.status >= 300:
            raise ProbeWarning(f"Probe terminated redirects, Response body: {answer.body}")

    async def _tcp(self, host: str, port: int, timeout: float) -> None:
        try:
            async with self._clock.timeout(timeout):
                async with http.connection(host, port):
                    return
        except TimeoutError as failure:
            raise ProbeFailure(http.go_dial_error(host, port, failure)) from failure
        except http.HttpError as failure:
            raise ProbeFailure(str(failure)) from failure


async def grpc_health(host: str, port: int, service: str, timeout: float) -> None:
    """``grpc.health.v1.Health/Check``. Raises ProbeFailure."""
    import grpc
    import grpc.aio

    from .cri.codec import Schema

    table = Schema("enum S UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN\nRequest service=1\nResponse status=1:S\n")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    seconds = f"{int(timeout)}s"
    options = [("grpc.primary_user_agent", AGENT), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(f"dns:{address}", options=options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=lambda message: table.encode("Request", message),
            response_deserializer=lambda data: table.decode("Response", data),
        )
        try:
            answer = await check({"service": service}, timeout=timeout)
        except grpc.aio.AioRpcError as failure:
            code, detail = failure.code(), failure.details() or ""
            if code is grpc.StatusCode.UNIMPLEMENTED:
                text = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                raise ProbeFailure(f"{text}: {detail}") from failure
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ProbeFailure(f"timeout: health rpc did not complete within {seconds}") from failure
            if code is grpc.StatusCode.UNAVAILABLE:
                text = f'timeout: failed to connect service "{address}" within {seconds}: context deadline exceeded'
                raise ProbeFailure(text) from failure
            name = code.name.title().replace("_", "")
            text = f"error: health rpc probe failed: rpc error: code = {name} desc = {detail}"
            raise ProbeFailure(text) from failure
    if answer["status"] != "SERVING":
        raise ProbeFailure(f'service unhealthy (responded with "{answer["status"]}")')
