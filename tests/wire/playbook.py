"""Whole conversations with a codec as one expression: what the peer sends, what happens, what goes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Playbook:
    """``connection`` has ``receive`` and ``take_output``; ``encode`` and ``decode`` are the peer's side of the wire."""

    def __init__(self, connection: Any, encode: Callable[[Any], bytes], decode: Callable[[bytes], list[Any]]) -> None:
        self.connection = connection
        self._encode, self._decode = encode, decode
        self._events: list[Any] = []

    def peer(self, *frames: Any) -> Playbook:
        """The peer sends frames."""
        self._done()
        for frame in frames:
            self._events += self.connection.receive(self._encode(frame))
        return self

    def happens(self, *events: Any) -> Playbook:
        """The events of the last ``peer`` are exactly these."""
        assert self._events == list(events)
        self._events = []
        return self

    def do(self, action: Callable[[Any], Any]) -> Playbook:
        """The application acts."""
        self._done()
        action(self.connection)
        return self

    def sends(self, *frames: Any) -> Playbook:
        """What has gone out since the last look is exactly this."""
        assert self._decode(self.connection.take_output()) == list(frames)
        return self

    def _done(self) -> None:
        assert self._events == [], f"events that nobody expected: {self._events}"

    def end(self) -> None:
        self._done()
        assert self.connection.take_output() == b""


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` cut at the given places (modulo its length)."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]
