"""CRI log lines to what a reader of the log sees. Pure.

A line is ``<time> <stdout|stderr> <F|P> <text>``; P (partial) marks a piece of a longer line. Specified by the CRI's
"Container logging" design; what is shown follows cri-client's ``logs`` package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...api.times import parse_time

_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_STREAMS = (b"stdout", b"stderr")


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Of ``v1.PodLogOptions``; ``since`` is seconds since the epoch."""

    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: float | None = None
    timestamps: bool = False
    follow: bool = False


class LogFormatter:
    """Feeds on whole lines (without their newline), gives the bytes to show. ``finished`` when a limit is reached."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit_bytes
        # A log that is followed has no last line to count to.
        self._lines_left = None if options.follow else options.tail_lines
        self._at_line_start = True
        self.finished = self._lines_left == 0

    def feed(self, lines: Iterable[bytes]) -> bytes:
        out: list[bytes] = []
        for line in lines:
            if self.finished:
                break
            shown = self._show(line)
            if shown is None:
                continue
            if self._left is not None:
                shown = shown[: self._left]
                self._left -= len(shown)
                self.finished = self._left <= 0
            out.append(shown)
        return b"".join(out)

    def _show(self, line: bytes) -> bytes | None:
        parts = line.split(b" ", 3)
        if len(parts) != 4 or parts[1] not in _STREAMS or not _TIME.fullmatch(parts[0]):
            # Half a line after a full disk, say: what is around it is still worth showing.
            return None
        if self._lines_left is not None:
            self._lines_left -= 1
            self.finished = self._lines_left <= 0
        partial = parts[2].partition(b":")[0] == b"P"
        prefixed = self._options.timestamps and self._at_line_start
        since = self._options.since
        # An empty piece counts as a new line's start, as it does upstream.
        self._at_line_start = not partial or not parts[3]
        if since is not None and parse_time(parts[0].decode()) < since:
            return None
        text = parts[3] if partial else parts[3] + b"\n"
        return full_time(parts[0]) + b" " + text if prefixed else text


def full_time(text: bytes) -> bytes:
    """With nine digits of fraction, which is how upstream prints it."""
    match = _TIME.fullmatch(text)
    if match is None or match[2] is not None and len(match[2]) == 9:
        return text
    return b"%b.%b%b" % (match[1], (match[2] or b"").ljust(9, b"0"), match[3])
