"""pods/log: the kubelet's ``/containerLogs`` passed through, as text or, for browsers, over a WebSocket."""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import urlencode

from ...api.errors import StatusError, bad_request, internal_error
from ...api.meta import Object, name_of, namespace_of
from ...streams.connection import RawConnection
from ...streams.http_client import ClientExchange, exchange
from ...wire.errors import ProtocolError
from ...wire.upgrade import NegotiationError, accept_websocket, is_websocket
from ...wire.websocket import WebSocket, WebSocketClosed
from ..request import Request, Response
from .context import NODES, PODS, StreamingContext, info_of, plain_error
from .forwarding import Backend
from .kubelets import kubelet_address
from .options import log_options, validate_log_options
from .pods import container_of

MAX_ERROR_BODY = 50_000
BINARY = "binary.k8s.io"
BASE64 = "base64.binary.k8s.io"


async def pod_log(request: Request, context: StreamingContext) -> Response:
    """GET pods/log."""
    info = info_of(request)
    options = log_options(request.query)
    validate_log_options(info.name, options)
    pod = context.get(PODS, info.namespace, info.name)
    container = container_of(pod, options.get("container", ""))
    if not pod["spec"].get("nodeName"):
        return Response(204, content_type="")
    backend = _backend(pod, container, options, context)
    answer = await _ask(backend, context)
    try:
        await _check(answer, info.name)
        if is_websocket(request.headers):
            return _over_websocket(request, answer)
    except BaseException:
        answer.close()
        raise
    return Response(200, answer.body(), "text/plain")


def _backend(pod: Object, container: str, options: Object, context: StreamingContext) -> Backend:
    address = kubelet_address(context.get(NODES, "", pod["spec"]["nodeName"]), context.kubelet)
    query = [
        (name, value if isinstance(value, str) else str(value).lower())
        for name in ("follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes")
        if (value := options.get(name)) is not None
    ]
    return Backend(
        address.host,
        address.port,
        f"/containerLogs/{namespace_of(pod)}/{name_of(pod)}/{container}",
        urlencode(sorted(query)),
        context.kubelet.tls(insecure=bool(options.get("insecureSkipTLSVerifyBackend"))),
        dial_timeout=context.kubelet.dial_timeout,
    )


async def _ask(backend: Backend, context: StreamingContext) -> ClientExchange:
    try:
        connection = await backend.dial(context.clock)
        try:
            return await exchange(
                connection, "GET", backend.target, [("Host", backend.authority), ("Connection", "close")]
            )
        except BaseException:
            connection.abort()
            raise
    except ConnectionError as failure:
        raise plain_error(f'Get "{backend.url}": {failure}') from failure


async def _check(answer: ClientExchange, name: str) -> None:
    if 200 <= answer.status <= 206:
        return
    if 300 <= answer.status < 400:
        raise plain_error("redirects forbidden")
    body = (await answer.read(MAX_ERROR_BODY)).decode("utf-8", "replace")
    if answer.status == 500:
        raise internal_error(body)
    if answer.status == 400:
        raise bad_request(body)
    raise _generic(answer.status, body, name)


def _generic(status: int, body: str, name: str) -> StatusError:
    """The error of a backend that says no Status of its own."""
    reason, message = {
        401: ("Unauthorized", "the server has asked for the client to provide credentials"),
        403: ("Forbidden", body),
        404: ("NotFound", "the server could not find the requested resource"),
        405: ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
        422: ("Invalid", "the server rejected our request due to an error in our request"),
        429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
        503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504: (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request",
        ),
    }.get(status, ("", f"the server responded with the status code {status} but did not return more information"))
    if not reason and status >= 500:
        reason = "InternalError"
        message = f'an error on the server ("{body}") has prevented the request from succeeding'
    return StatusError(status, reason, f"{message} ( pods/log {name})", {"name": name, "kind": "pods/log"})


def _over_websocket(request: Request, answer: ClientExchange) -> Response:
    try:
        protocol, headers = accept_websocket(request.headers, ("", BINARY, BASE64))
    except NegotiationError as refusal:
        answer.close()
        return Response(refusal.status, str(refusal).encode() + b"\n", "text/plain; charset=utf-8", refusal.headers)

    async def run(client: RawConnection) -> None:
        await _stream(client, answer, as_text=protocol == BASE64)

    return Response(101, content_type="", headers=headers, upgrade=run)


async def _stream(client: RawConnection, answer: ClientExchange, *, as_text: bool) -> None:
    """Each piece of the log is a message. What the client says is read only for its close frame."""
    socket = WebSocket(client=False)

    async def send() -> None:
        socket.send(b"")
        async for chunk in answer.chunks():
            if as_text:
                socket.send_text(base64.b64encode(chunk).decode())
            else:
                socket.send(chunk)
            await client.write(socket.take_output())
        socket.close()
        await client.write(socket.take_output())

    async def listen() -> None:
        while data := await client.read():
            if any(isinstance(event, WebSocketClosed) for event in socket.receive(data)):
                return

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(send()), group.create_task(listen())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
    except* (ConnectionError, ProtocolError):
        pass
    finally:
        answer.close()
        client.close()
