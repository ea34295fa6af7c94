"""The CRI v1 client: ``RuntimeService`` and ``ImageService`` over gRPC on a unix socket, messages as dicts.

Specified by ``cri-api`` (``runtime/v1/api.proto``); ``messages.txt`` beside this file has its field numbers. A failure is a
``CRIError`` whose text is what upstream puts into events (``rpc error: code = NotFound desc = ...``).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

# Read when the library is loaded: it must not interfere with the processes that the node starts.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio

from ..interfaces import ExecResult
from .codec import Message, Schema

# Go's names for the codes, as google.golang.org/grpc/codes prints them.
_CODES = {
    "CANCELLED": "Canceled",
    "UNKNOWN": "Unknown",
    "INVALID_ARGUMENT": "InvalidArgument",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "NOT_FOUND": "NotFound",
    "ALREADY_EXISTS": "AlreadyExists",
    "PERMISSION_DENIED": "PermissionDenied",
    "UNAUTHENTICATED": "Unauthenticated",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "FAILED_PRECONDITION": "FailedPrecondition",
    "ABORTED": "Aborted",
    "OUT_OF_RANGE": "OutOfRange",
    "UNIMPLEMENTED": "Unimplemented",
    "INTERNAL": "Internal",
    "UNAVAILABLE": "Unavailable",
    "DATA_LOSS": "DataLoss",
}
RUNTIME, IMAGE = "/runtime.v1.RuntimeService/", "/runtime.v1.ImageService/"
_IMAGE_METHODS = frozenset(("ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo"))
# Upstream's --runtime-request-timeout, and its limit on one message.
REQUEST_TIMEOUT = 120.0
MAX_MESSAGE = 16 << 20


class CRIError(Exception):
    """A call that the runtime refused or that did not reach it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {detail}")
        self.code, self.detail = code, detail

    @property
    def not_found(self) -> bool:
        return self.code == "NotFound"


@cache
def schema() -> Schema:
    return Schema(resources.files(__package__).joinpath("messages.txt").read_text())


def error_of(failure: grpc.aio.AioRpcError) -> CRIError:
    return CRIError(_CODES.get(failure.code().name, failure.code().name), failure.details() or "")


def open_channel(endpoint: str) -> grpc.aio.Channel:
    """A channel to ``unix:///run/x.sock`` (or a bare path) that comes back fast after the peer was restarted."""
    target = endpoint if "://" in endpoint else f"unix://{endpoint}"
    return grpc.aio.insecure_channel(
        target,
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 3000),
            ("grpc.enable_retries", 0),
            # A proxy of the environment has no business with a unix socket.
            ("grpc.enable_http_proxy", 0),
        ],
    )


class CRIClient:
    """One runtime. Requests and answers are dicts with the proto's field names; enums are names, absent means zero."""

    def __init__(self, endpoint: str, *, image_endpoint: str = "") -> None:
        self.endpoint = endpoint
        self._runtime = open_channel(endpoint)
        self._images = open_channel(image_endpoint) if image_endpoint and image_endpoint != endpoint else self._runtime
        self._calls: dict[str, Callable[..., Any]] = {}
        self.operations: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        """How often each method was called, and how often it failed."""
        self.took: Callable[[str, float], None] = lambda method, seconds: None
        """Told how long each call took."""

    async def close(self) -> None:
        await self._runtime.close()
        if self._images is not self._runtime:
            await self._images.close()

    def _method(self, name: str) -> Callable[..., Any]:
        call = self._calls.get(name)
        if call is None:
            table = schema()
            images = name in _IMAGE_METHODS
            call = (self._images if images else self._runtime).unary_unary(
                (IMAGE if images else RUNTIME) + name,
                request_serializer=lambda message: table.encode(f"{name}Request", message),
                response_deserializer=lambda data: table.decode(f"{name}Response", data),
            )
            self._calls[name] = call
        return call

    async def call(
        self, name: str, request: Message | None = None, *, timeout: float | None = REQUEST_TIMEOUT
    ) -> Message:
        """Any unary method by its name. Raises CRIError."""
        self.operations[name] += 1
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            answer: Message = await self._method(name)(request or {}, timeout=timeout)
        except grpc.aio.AioRpcError as failure:
            self.failures[name] += 1
            raise error_of(failure) from failure
        finally:
            self.took(name, loop.time() - begun)
        return answer

    async def container_events(self) -> AsyncIterator[Message]:
        """``GetContainerEvents``, where the runtime has it (CRIError with code Unimplemented where not)."""
        table = schema()
        call = self._runtime.unary_stream(
            RUNTIME + "GetContainerEvents",
            request_serializer=lambda message: table.encode("GetEventsRequest", message),
            response_deserializer=lambda data: table.decode("ContainerEventResponse", data),
        )({})
        try:
            async for event in call:
                yield event
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        finally:
            call.cancel()

    # -- sandboxes -------------------------------------------------------------------------------------------------

    async def version(self) -> Message:
        return await self.call("Version", {"version": "v1"})

    async def status(self, *, verbose: bool = False) -> Message:
        return await self.call("Status", {"verbose": verbose})

    async def run_pod_sandbox(self, config: Message, runtime_handler: str = "") -> str:
        # Twice the time: it may pull the pause image and waits for the network.
        request = {"config": config, "runtime_handler": runtime_handler}
        answer = await self.call("RunPodSandbox", request, timeout=2 * REQUEST_TIMEOUT)
        return str(answer["pod_sandbox_id"])

    async def stop_pod_sandbox(self, sandbox: str) -> None:
        await self.call("StopPodSandbox", {"pod_sandbox_id": sandbox})

    async def remove_pod_sandbox(self, sandbox: str) -> None:
        await self.call("RemovePodSandbox", {"pod_sandbox_id": sandbox})

    async def pod_sandbox_status(self, sandbox: str, *, verbose: bool = False) -> Message:
        return await self.call("PodSandboxStatus", {"pod_sandbox_id": sandbox, "verbose": verbose})

    async def list_pod_sandboxes(self, labels: dict[str, str] | None = None) -> list[Message]:
        answer = await self.call("ListPodSandbox", {"filter": {"label_selector": labels}} if labels else {})
        return list(answer.get("items", ()))

    # -- containers ------------------------------------------------------------------------------------------------

    async def create_container(self, sandbox: str, config: Message, sandbox_config: Message) -> str:
        request = {"pod_sandbox_id": sandbox, "config": config, "sandbox_config": sandbox_config}
        return str((await self.call("CreateContainer", request))["container_id"])

    async def start_container(self, container: str) -> None:
        await self.call("StartContainer", {"container_id": container})

    async def stop_container(self, container: str, timeout: int) -> None:
        """SIGTERM (or the image's stop signal), SIGKILL after ``timeout`` seconds; returns when it has stopped."""
        request = {"container_id": container, "timeout": timeout}
        await self.call("StopContainer", request, timeout=REQUEST_TIMEOUT + timeout)

    async def remove_container(self, container: str) -> None:
        await self.call("RemoveContainer", {"container_id": container})

    async def container_status(self, container: str, *, verbose: bool = False) -> Message:
        return await self.call("ContainerStatus", {"container_id": container, "verbose": verbose})

    async def list_containers(self, labels: dict[str, str] | None = None) -> list[Message]:
        answer = await self.call("ListContainers", {"filter": {"label_selector": labels}} if labels else {})
        return list(answer.get("containers", ()))

    async def update_container_resources(self, container: str, linux: Message) -> None:
        await self.call("UpdateContainerResources", {"container_id": container, "linux": linux})

    async def reopen_container_log(self, container: str) -> None:
        await self.call("ReopenContainerLog", {"container_id": container})

    # -- streaming (interfaces.StreamingRuntime) -------------------------------------------------------------------

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: float = 0) -> ExecResult:
        request = {"container_id": container_id, "cmd": list(command), "timeout": int(-(-timeout // 1))}
        try:
            answer = await self.call("ExecSync", request, timeout=REQUEST_TIMEOUT + timeout if timeout else None)
        except CRIError as failure:
            if failure.code == "DeadlineExceeded":
                raise TimeoutError(str(failure)) from failure
            raise
        return ExecResult(answer.get("stdout", b""), answer.get("stderr", b""), answer.get("exit_code", 0))

    async def exec_url(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        request = {"container_id": container_id, "cmd": list(command), "tty": tty}
        answer = await self.call("Exec", {**request, "stdin": stdin, "stdout": stdout, "stderr": stderr})
        return str(answer["url"])

    async def attach_url(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str:
        request = {"container_id": container_id, "tty": tty, "stdin": stdin, "stdout": stdout, "stderr": stderr}
        return str((await self.call("Attach", request))["url"])

    async def port_forward_url(self, pod_sandbox_id: str, ports: Sequence[int] = ()) -> str:
        request = {"pod_sandbox_id": pod_sandbox_id, "port": list(ports)}
        return str((await self.call("PortForward", request))["url"])

    async def container_running(self, container_id: str) -> bool:
        try:
            status = (await self.container_status(container_id))["status"]
        except CRIError as failure:
            if failure.not_found:
                return False
            raise
        return bool(status["state"] == "CONTAINER_RUNNING")

    # -- images ----------------------------------------------------------------------------------------------------

    async def list_images(self) -> list[Message]:
        return list((await self.call("ListImages")).get("images", ()))

    async def image_status(self, image: str, *, verbose: bool = False) -> Message | None:
        """None where the runtime does not have it."""
        answer = await self.call("ImageStatus", {"image": {"image": image}, "verbose": verbose})
        found: Message | None = answer.get("image")
        return found

    async def pull_image(self, image: Message, auth: Message | None = None, sandbox: Message | None = None) -> str:
        # The runtime decides when a pull has stalled: upstream gives no deadline either.
        request = {"image": image, "auth": auth, "sandbox_config": sandbox}
        return str((await self.call("PullImage", request, timeout=None))["image_ref"])

    async def remove_image(self, image: str) -> None:
        await self.call("RemoveImage", {"image": {"image": image}})

    async def image_fs_info(self) -> Message:
        return await self.call("ImageFsInfo")
