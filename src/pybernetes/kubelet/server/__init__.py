"""The kubelet's HTTPS server (port 10250), over the protocols of ``kubelet.interfaces``.

``server`` routes, ``auth`` asks the API server who is calling and what they may, ``container_logs`` reads log files. Streams are
``kubelet.streaming``'s.
"""

from .server import KubeletServer, ServerSettings

__all__ = ["KubeletServer", "ServerSettings"]
