"""What a codec raises when the peer breaks the protocol."""

from __future__ import annotations


class ProtocolError(ValueError):
    """The peer sent what the protocol does not allow. The connection cannot be used any more: close it."""
