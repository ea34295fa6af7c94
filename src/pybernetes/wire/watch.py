"""The framing of a watch in JSON: one ``{"type":...,"object":...}`` a line.

Specified by the "Kubernetes API Concepts" page. The object goes in as the bytes that the store keeps, encoded once.
"""

from __future__ import annotations

from .errors import ProtocolError

MAX_LINE = 64 << 20


def encode_event(kind: str, obj: bytes) -> bytes:
    """``kind`` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), obj)


class LineDecoder:
    """Bytes cut anywhere in, whole lines out, without the newline. Copies each byte once or twice, however it was cut."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Raises ProtocolError at a line without end."""
        head, newline, rest = data.partition(b"\n")
        if not newline:
            self._pending.append(data)
            self._size += len(data)
            if self._size > MAX_LINE:
                raise ProtocolError(f"a line of more than {MAX_LINE} bytes")
            return []
        first = b"".join((*self._pending, head))
        *lines, last = rest.split(b"\n")
        self._pending = [last] if last else []
        self._size = len(last)
        return [first, *lines]
