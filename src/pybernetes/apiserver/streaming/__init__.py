"""Subresources that stream or proxy: pods/log, exec, attach, portforward, and proxy of pods, services and nodes.

``HANDLERS`` maps (resource, subresource) of the core group to ``async handler(request, context) -> Response``; the pipeline has
authenticated, authorized and routed the request before. ``options.connect_options`` gives the object that admission sees for a CONNECT.
"""

from .context import StreamingContext, StreamingHandler
from .handlers import HANDLERS
from .kubelets import KubeletTLS

__all__ = ["HANDLERS", "KubeletTLS", "StreamingContext", "StreamingHandler"]
