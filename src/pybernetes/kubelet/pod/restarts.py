"""When a container that keeps ending may be started again: ten seconds, doubled each time, at most five minutes.

The curve starts anew when a container ran for twice the maximum. Figures and rules of upstream's crash loop back-off.
"""

from __future__ import annotations

from dataclasses import dataclass

BASE, MAXIMUM = 10.0, 300.0


@dataclass(slots=True)
class _Entry:
    delay: float
    updated: float
    ahead: float | None = None
    """An end that lies in the future (the clock was set back since), and ``seen``: when that was found."""
    seen: float = 0.0


class CrashBackoff:
    """One curve a key (pod, container, image). All moments are the wall clock's: they are compared with the runtime's."""

    def __init__(self, base: float = BASE, maximum: float = MAXIMUM) -> None:
        self._base, self._maximum = base, maximum
        self._entries: dict[str, _Entry] = {}

    def remaining(self, key: str, ended: float, now: float) -> tuple[float, float] | None:
        """(seconds to wait still, the whole delay) for what ended at ``ended``; None where it may go now."""
        entry = self._entries.get(key)
        if entry is None or ended - entry.updated > 2 * self._maximum:
            return None
        if ended > now:
            # A clock that was set back must not make anybody wait longer than the delay.
            if entry.ahead != ended:
                entry.ahead, entry.seen = ended, now
            ended = entry.seen
        left = ended + entry.delay - now
        return (left, entry.delay) if left > 0 else None

    def next(self, key: str, ended: float, now: float) -> None:
        """Notes a start after an end at ``ended``: the next delay is longer."""
        entry = self._entries.get(key)
        if entry is None or ended - entry.updated > 2 * self._maximum:
            self._entries[key] = _Entry(self._base, now)
        else:
            entry.delay, entry.updated = min(entry.delay * 2, self._maximum), now

    def forget(self, prefix: str) -> None:
        """Drops all keys of a pod."""
        for key in [k for k in self._entries if k.startswith(prefix)]:
            del self._entries[key]


def go_duration(seconds: float) -> str:
    """``100ms``, ``10s``, ``1m20s``, ``2h0m0s``: as Go prints a duration."""
    if 0 < seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, text = int(seconds // 60), f"{seconds % 60:g}s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    return f"{minutes // 60}h{text}" if minutes >= 60 else text
