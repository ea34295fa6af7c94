"""Which handler serves which subresource."""

from __future__ import annotations

from collections.abc import Mapping

from .context import StreamingHandler
from .logs import pod_log
from .pods import pod_attach, pod_exec, pod_port_forward
from .proxies import node_proxy, pod_proxy, service_proxy

HANDLERS: Mapping[tuple[str, str], StreamingHandler] = {
    ("pods", "log"): pod_log,
    ("pods", "exec"): pod_exec,
    ("pods", "attach"): pod_attach,
    ("pods", "portforward"): pod_port_forward,
    ("pods", "proxy"): pod_proxy,
    ("services", "proxy"): service_proxy,
    ("nodes", "proxy"): node_proxy,
}
