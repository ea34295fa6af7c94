"""exec, attach and port-forward on the node: the client's upgraded connection joined to the runtime's streaming server.

The runtime (containerd, CRI-O) speaks SPDY and the older WebSocket channels itself, so most connections pass as raw bytes. What
it does not know, WebSocket v5 and SPDY tunnelled in WebSocket (kubectl 1.31 and newer), is translated to SPDY here.
"""

from .runtime_streams import serve_command, serve_port_forward

__all__ = ["serve_command", "serve_port_forward"]
