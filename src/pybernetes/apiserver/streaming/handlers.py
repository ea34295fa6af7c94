"""Which handler serves which subresource.

The codecs behind them (SPDY, WebSocket, HTTP to kubelets) are loaded by the first request that streams: an API server in a
hurry to become ready does without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from ..request import Request, Response
from .context import StreamingContext, StreamingHandler


def _loaded_late(module: str, name: str) -> StreamingHandler:
    async def handle(request: Request, context: StreamingContext) -> Response:
        handler: StreamingHandler = getattr(import_module(f".{module}", __package__), name)
        return await handler(request, context)

    return handle


HANDLERS: Mapping[tuple[str, str], StreamingHandler] = {
    ("pods", "log"): _loaded_late("logs", "pod_log"),
    ("pods", "exec"): _loaded_late("pods", "pod_exec"),
    ("pods", "attach"): _loaded_late("pods", "pod_attach"),
    ("pods", "portforward"): _loaded_late("pods", "pod_port_forward"),
    ("pods", "proxy"): _loaded_late("proxies", "pod_proxy"),
    ("services", "proxy"): _loaded_late("proxies", "service_proxy"),
    ("nodes", "proxy"): _loaded_late("proxies", "node_proxy"),
}
