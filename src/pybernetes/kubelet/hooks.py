"""postStart and preStop: exec, HTTP, TCP, sleep. Messages are upstream's (``lifecycle/handlers.go``)."""

from __future__ import annotations

from ..api.meta import Object
from ..client.events import WARNING
from ..concurrency import Clock
from . import http
from .cri import CRIError
from .images import Tell
from .interfaces import StreamingRuntime
from .pod.model import full_name
from .pod.probing import resolve_port

AGENT = "kube-lifecycle/1.36"
# Upstream's HTTP client for hooks has no limit of its own; a hook that never answers must not hold its pod for ever.
HTTP_TIMEOUT = 3600.0


class HookError(Exception):
    """The hook failed; the message is for the container's status, not for events (it may hold secrets)."""


def _go_list(words: list[str]) -> str:
    return "[" + " ".join(words) + "]"


async def run_hook(
    runtime: StreamingRuntime,
    clock: Clock,
    pod: Object,
    container: Object,
    identity: str,
    handler: Object,
    address: str,
    tell: Tell,
) -> None:
    """Runs one handler to its end. Raises HookError."""
    where = f'for Container "{container["name"]}" in Pod "{full_name(pod)}" failed - error'
    if handler.get("exec"):
        command = list(handler["exec"].get("command") or ())
        title = f"Exec lifecycle hook ({_go_list(command)}) {where}"
        try:
            result = await runtime.exec_sync(identity, command)
        except CRIError as failure:
            raise HookError(f'{title}: {failure}, message: ""') from failure
        if result.exit_code != 0:
            output = (result.stdout + result.stderr).decode("utf-8", "replace")
            error = f"command '{' '.join(command)}' exited with {result.exit_code}: {result.stderr.decode('utf-8', 'replace')}"
            raise HookError(f'{title}: {error}, message: "{output}"')
    elif handler.get("httpGet"):
        action = handler["httpGet"]
        try:
            await _http(clock, action, container, address, tell)
        except (http.HttpError, ValueError, TimeoutError) as failure:
            raise HookError(f"HTTP lifecycle hook ({action.get('path', '')}) {where}: {failure}") from failure
    elif handler.get("sleep"):
        await clock.sleep(float(handler["sleep"].get("seconds") or 0))
    elif handler.get("tcpSocket"):
        # Kept in the API for old objects; upstream refuses to run it too.
        raise HookError("Cannot run handler: invalid handler: tcpSocket")


async def _http(clock: Clock, action: Object, container: Object, address: str, tell: Tell) -> None:
    scheme = (action.get("scheme") or "HTTP").lower()
    host = action.get("host") or address
    if not host:
        raise http.HttpError("failed to find networking container")
    port = resolve_port(action.get("port"), container)
    headers, path = action.get("httpHeaders") or (), action.get("path") or "/"
    async with clock.timeout(HTTP_TIMEOUT):
        try:
            await http.get(scheme, host, port, path, headers, agent=AGENT)
        except http.HttpError as failure:
            if scheme != "https" or "tls:" not in str(failure):
                raise
            # The server speaks plain HTTP: old hooks said HTTPS and never meant it.
            kept = [h for h in headers if h.get("name", "").lower() != "authorization"]
            await http.get("http", host, port, path, kept, agent=AGENT)
            text = f"request to HTTPS lifecycle hook {host}:{port} got HTTP response, retry with HTTP succeeded"
            tell(WARNING, "LifecycleHTTPFallback", text)
