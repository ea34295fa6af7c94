"""The routes of the kubelet's server and what each answers. Specified by ``pkg/kubelet/server``; messages are upstream's."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ...api.errors import StatusError
from ...api.meta import uid_of
from ...api.times import parse_time
from ...concurrency import logger
from ...streams.http_server import HttpRequest, HttpResponse, HttpServer
from ...streams.relay import IDLE_TIMEOUT
from ...wire.portforward import ports_from_query, tunnelled
from ...wire.remotecommand import options_from_query
from ...wire.upgrade import is_websocket, websocket_protocols
from ..interfaces import KubeletApi
from ..stats.exposition import Exposition, labels
from ..streaming import serve_command, serve_port_forward
from ..streaming.runtime_streams import text_response
from .auth import AuthorizationFailed, KubeletAuth
from .container_logs import LogFileError, open_log, read_log
from .crilog import LogOptions
from .system_logs import serve_file

log = logger("kubelet.server")

METHODS = frozenset(("OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"))
LONG_RUNNING = frozenset(("exec", "attach", "portForward"))
TEXT_METRICS = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Of KubeletConfiguration."""

    address: str = "0.0.0.0"
    port: int = 10250
    anonymous_auth: bool = False
    enable_debugging_handlers: bool = True
    enable_system_log_handler: bool = True
    streaming_connection_idle_timeout: float = IDLE_TIMEOUT
    system_log_dir: Path = Path("/var/log")


Route = Callable[[HttpRequest, list[str]], Awaitable[HttpResponse]]


class KubeletServer:
    """HTTPS on ``address:port`` until cancelled. ``tls`` asks for client certificates and trusts the cluster's CA."""

    def __init__(self, api: KubeletApi, tls: ssl.SSLContext | None, settings: ServerSettings | None = None) -> None:
        self.settings = settings or ServerSettings()
        self._api = api
        self._auth = KubeletAuth(api.node_name, api.client, api.clock, anonymous=self.settings.anonymous_auth)
        self.http = HttpServer(
            self.handle, clock=api.clock, host=self.settings.address, port=self.settings.port, tls=tls
        )
        always: dict[str, tuple[str, Route]] = {
            "healthz": ("GET", self._healthz),
            "pods": ("GET", self._pods),
            "stats": ("GET", self._stats),
            "metrics": ("GET", self._metrics),
        }
        debugging: dict[str, tuple[str, Route]] = {
            "run": ("POST", self._run),
            "exec": ("GET POST", self._exec),
            "attach": ("GET POST", self._attach),
            "portForward": ("GET POST", self._port_forward),
            "containerLogs": ("GET", self._container_logs),
            "configz": ("GET", self._configz),
            "runningpods": ("GET", self._running_pods),
            "logs": ("GET", self._logs),
        }
        if not self.settings.enable_debugging_handlers:
            disabled = ("GET POST", self._disabled)
            debugging = {name: disabled for name in debugging if name != "configz"}
        self._routes = always | debugging
        self._served: Counter[tuple[str, str]] = Counter()

    async def run(self) -> None:
        await self.http.run()

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Authentication, authorization, then the route."""
        user = await self._auth.authenticate(request)
        if user is None:
            return text_response(401, "Unauthorized")
        try:
            if not await self._auth.authorize(user, request.method, request.path):
                return text_response(403, self._auth.forbidden(user, request.method, request.path))
        except AuthorizationFailed as failure:
            return text_response(500, str(failure))
        root, *rest = request.path.strip("/").split("/")
        self._count(request.method, root, rest)
        methods, route = self._routes.get(root, ("", None))
        if route is None:
            return text_response(404, "404: Page Not Found")
        if request.method not in methods.split() and not (request.method == "HEAD" and "GET" in methods):
            return text_response(405, "405: Method Not Allowed")
        try:
            return await route(request, rest)
        except StatusError as failure:
            answer = text_response(failure.code, failure.message)
            if failure.retry_after is not None:
                answer.headers.append(("Retry-After", str(failure.retry_after)))
            return answer

    # --- health, pods, configuration

    async def _healthz(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        checks = self._api.health()
        if rest:
            why = checks.get(rest[0])
            if why is None:
                return text_response(404, "404: Page Not Found")
            return text_response(200, "ok") if not why else text_response(500, f"internal server error: {why}")
        excluded = set(request.query.get("exclude", ()))
        chosen = {name: why for name, why in checks.items() if name not in excluded}
        failed = [name for name, why in chosen.items() if why]
        if not failed and "verbose" not in request.query:
            return text_response(200, "ok")
        lines = [
            f"[-]{name} failed: reason withheld\n" if why else f"[+]{name} ok\n" for name, why in sorted(chosen.items())
        ]
        text = "".join(lines) + ("healthz check failed\n" if failed else "healthz check passed\n")
        return text_response(500 if failed else 200, text)

    async def _pods(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        if rest and rest != [""]:
            return text_response(404, "404: Page Not Found")
        return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._api.pods()})

    async def _running_pods(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        """As the runtime sees them: names and containers, no status."""
        items = []
        for pod in self._api.pods():
            status = pod.get("status") or {}
            statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
            running = {c.get("name") for c in statuses if "running" in (c.get("state") or {})}
            if not running:
                continue
            meta = pod["metadata"]
            containers = [
                {"name": c["name"], "image": c.get("image", ""), "resources": {}}
                for c in pod["spec"].get("containers") or ()
                if c["name"] in running
            ]
            named = {key: meta[key] for key in ("name", "namespace", "uid") if key in meta}
            items.append(
                {"metadata": {**named, "creationTimestamp": None}, "spec": {"containers": containers}, "status": {}}
            )
        return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _configz(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        return _json({"kubeletconfig": self._api.configz()})

    # --- figures

    async def _stats(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        if rest != ["summary"]:
            return text_response(404, "404: Page Not Found")
        only = request.query.get("only_cpu_and_memory", ["false"])[0].lower() in ("1", "t", "true")
        return _json(await self._api.stats.summary(only))

    async def _metrics(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        stats = self._api.stats
        source = {
            "": stats.metrics,
            "cadvisor": stats.cadvisor_metrics,
            "resource": stats.resource_metrics,
            "probes": stats.probe_metrics,
        }.get("/".join(rest))
        if source is None:
            return text_response(404, "404: Page Not Found")
        body = await source()
        return HttpResponse(200, body if rest else body + self._own_metrics(), TEXT_METRICS)

    def _count(self, method: str, root: str, rest: list[str]) -> None:
        bucket = root if root in self._routes else "other"
        if bucket == "metrics" and rest:
            bucket = f"metrics/{rest[0]}" if rest[0] in ("cadvisor", "resource", "probes") else "other"
        self._served[method if method in METHODS else "other", bucket] += 1

    def _own_metrics(self) -> bytes:
        out = Exposition()
        out.family(
            "kubelet_http_requests_total",
            "counter",
            "[ALPHA] Number of the http requests received since the server started",
            [
                (
                    labels(
                        {
                            "long_running": str(path in LONG_RUNNING).lower(),
                            "method": method,
                            "path": path,
                            "server_type": "readwrite",
                        }
                    ),
                    count,
                    None,
                )
                for (method, path), count in sorted(self._served.items())
            ],
        )
        return out.render()

    # --- logs

    async def _logs(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        if not self.settings.enable_system_log_handler:
            return text_response(405, "logs endpoint is disabled.")
        return serve_file(self.settings.system_log_dir, "/".join(rest), request)

    async def _container_logs(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        if len(rest) != 3 or not all(rest):
            return text_response(404, "404: Page Not Found")
        namespace, name, container = rest
        try:
            options, previous = log_options(request.query, self._api.clock.now())
        except ValueError as failure:
            return text_response(400, f'{{"message": "{failure}"}}')
        if not valid(options):
            return text_response(422, '{"message": "Invalid request."}')
        self._api.find_pod(namespace, name)
        found = await self._api.find_container(namespace, name, container, previous=previous)
        try:
            file = open_log(found.log_path)
        except LogFileError as failure:
            return text_response(400, str(failure))

        async def running() -> bool:
            return await self._api.runtime.container_running(found.id)

        body = read_log(file, options, clock=self._api.clock, running=running)
        return HttpResponse(200, body, "text/plain; charset=utf-8")

    # --- commands and streams

    async def _disabled(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        return text_response(405, "Debug endpoints are disabled.\n")

    async def _run(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        namespace, name, uid, container = _target(rest)
        found = await self._api.find_container(namespace, name, container, uid)
        command = request.query.get("cmd", [""])[0].split(" ")
        result = await self._api.runtime.exec_sync(found.id, command)
        if result.exit_code != 0:
            return text_response(500, f"command terminated with exit code {result.exit_code}")
        return HttpResponse(200, result.stdout + result.stderr, "application/json")

    async def _exec(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        return await self._command(request, rest, attach=False)

    async def _attach(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        return await self._command(request, rest, attach=True)

    async def _command(self, request: HttpRequest, rest: list[str], *, attach: bool) -> HttpResponse:
        namespace, name, uid, container = _target(rest)
        try:
            options = options_from_query(request.query)
        except ValueError as failure:
            return text_response(400, str(failure))
        found = await self._api.find_container(namespace, name, container, uid)
        flags: dict[str, Any] = {
            "tty": options.tty,
            "stdin": options.stdin,
            "stdout": options.stdout,
            "stderr": options.stderr,
        }
        runtime = self._api.runtime
        if attach:
            # Whether there is a terminal was decided when the container was made.
            flags["tty"] = options.tty and found.tty
            url = await runtime.attach_url(found.id, **flags)
        else:
            url = await runtime.exec_url(found.id, request.query.get("command", []), **flags)
        return await serve_command(
            request,
            url,
            options,
            clock=self._api.clock,
            idle_timeout=self.settings.streaming_connection_idle_timeout,
        )

    async def _port_forward(self, request: HttpRequest, rest: list[str]) -> HttpResponse:
        if len(rest) not in (2, 3) or not all(rest):
            return text_response(404, "404: Page Not Found")
        namespace, name, *given = rest
        ports: list[int] = []
        if is_websocket(request.headers) and not tunnelled(websocket_protocols(request.headers)):
            try:
                ports = ports_from_query(request.query.get("port", []))
            except ValueError as failure:
                return text_response(400, str(failure))
        pod = self._api.find_pod(namespace, name)
        if given and given[0] != uid_of(pod):
            return text_response(404, "pod not found")
        sandbox = await self._api.find_sandbox(namespace, name, uid_of(pod))
        url = await self._api.runtime.port_forward_url(sandbox, ports)
        return await serve_port_forward(
            request, url, clock=self._api.clock, idle_timeout=self.settings.streaming_connection_idle_timeout
        )


def _target(rest: list[str]) -> tuple[str, str, str, str]:
    """namespace, pod, uid, container of a path that may leave the uid out. Raises 404."""
    if len(rest) == 3 and all(rest):
        return rest[0], rest[1], "", rest[2]
    if len(rest) == 4 and all(rest):
        return rest[0], rest[1], rest[2], rest[3]
    raise StatusError(404, "NotFound", "404: Page Not Found")


def log_options(query: dict[str, list[str]], now: float) -> tuple[LogOptions, bool]:
    """(what to show, of the instance before). Raises ValueError in upstream's words."""

    def flag(name: str) -> bool:
        return name in query and query[name][0] not in ("0", "false", "False", "FALSE")

    def number(name: str) -> int | None:
        try:
            return int(query[name][0]) if name in query else None
        except ValueError:
            raise ValueError("Unable to decode query.") from None

    tail = query.get("tail", [""])[0]
    if tail:
        query = {k: v for k, v in query.items() if k != "tailLines"}
        if tail != "all":
            query["tailLines"] = [tail]
    seconds, moment = number("sinceSeconds"), query.get("sinceTime", [""])[0]
    try:
        since = parse_time(moment) if moment else None
    except ValueError:
        raise ValueError("Unable to decode query.") from None
    if seconds is not None:
        if seconds < 1 or since is not None:
            raise ValueError("Invalid request.")
        since = now - seconds
    options = LogOptions(number("tailLines"), number("limitBytes"), since, flag("timestamps"), flag("follow"))
    return options, flag("previous")


def valid(options: LogOptions) -> bool:
    """As upstream's ``ValidatePodLogOptions``."""
    return (options.tail_lines or 0) >= 0 and (options.limit_bytes is None or options.limit_bytes >= 1)


def _json(value: Any) -> HttpResponse:
    return HttpResponse(200, orjson.dumps(value), "application/json")
