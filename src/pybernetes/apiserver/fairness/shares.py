"""How many seats each priority level has: nominal ones by share, borrowed and lent ones by demand. Pure.

Specified by "API Priority and Fairness", "Seats Borrowing and Lending", and KEP-1040.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SMOOTHING = 0.977
"""How much of the past stays in the smoothed demand over one period of adjustment."""
MINIMUM_TARGET = 0.001
MAX_SEATS_SHARE = 0.15
"""The most of a level's seats that one request may take."""


class Demand:
    """The seats that a level could use, over one period: average, deviation, most."""

    __slots__ = ("_at", "_since", "_sum", "_squares", "average", "deviation", "highest", "most", "smoothed", "value")

    def __init__(self, now: float) -> None:
        self.value = self.most = 0
        self._at = self._since = now
        self._sum = self._squares = 0.0
        self.average = self.deviation = self.smoothed = 0.0
        self.highest = 0
        """Of the last whole period."""

    def set(self, value: int, now: float) -> None:
        passed = now - self._at
        if passed > 0:
            held = self.value * passed
            self._sum += held
            self._squares += held * self.value
            self._at = now
        self.value = value
        if value > self.most:
            self.most = value

    def close(self, now: float) -> None:
        """Ends the period."""
        self.set(self.value, now)
        self.highest, self.most = self.most, self.value
        length = now - self._since
        if length > 0:
            self.average = self._sum / length
            self.deviation = math.sqrt(max(0.0, self._squares / length - self.average**2))
            envelope = self.average + self.deviation
            self.smoothed = max(envelope, SMOOTHING * self.smoothed + (1 - SMOOTHING) * envelope)
        self._since, self._sum, self._squares = now, 0.0, 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seats of one level."""

    nominal: int
    lower: int
    upper: int


def limits_of(spec: Mapping[str, Any], server: int, shares: float) -> Limits:
    """``server`` is the seats of the whole server, ``shares`` the sum of all levels' shares."""
    own = common(spec)
    nominal = math.ceil(server * (own.get("nominalConcurrencyShares") or 0) / shares) if shares else 0
    lendable = _rounded(nominal * (own.get("lendablePercent") or 0) / 100)
    borrowing = own.get("borrowingLimitPercent")
    extra = server if borrowing is None else _rounded(nominal * borrowing / 100)
    return Limits(nominal, nominal - lendable, nominal + extra)


def common(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """What limited and exempt levels both say."""
    found: Mapping[str, Any] = spec.get("limited") or spec.get("exempt") or {}
    return found


def max_seats(spec: Mapping[str, Any], nominal: int) -> int:
    """The most seats of one request; 0 where the level has no queues."""
    queuing = (((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing")) or {}
    hand = queuing.get("handSize") or 0
    return max(1, min(math.ceil(nominal * MAX_SEATS_SHARE), nominal // hand)) if hand else 0


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one level asks for in an adjustment."""

    exempt: bool
    limits: Limits
    highest: int
    smoothed: float

    @property
    def least(self) -> int:
        """What it keeps in any case: what it used, up to its nominal seats."""
        if self.exempt:
            return max(self.limits.lower, self.highest)
        return max(self.limits.lower, min(self.limits.nominal, self.highest))

    @property
    def target(self) -> float:
        return max(self.least, self.smoothed)


def adjust(claims: Mapping[str, Claim]) -> tuple[dict[str, int], float]:
    """(the seats of each level until the next adjustment, the fair fraction)."""
    found = {n: c.least for n, c in claims.items() if c.exempt}
    limited = {n: c for n, c in claims.items() if not c.exempt}
    remaining = sum(c.limits.nominal for c in claims.values()) - sum(found.values())
    lowest = sum(c.limits.lower for c in limited.values())
    least = sum(c.least for c in limited.values())
    if remaining <= lowest:
        return found | {n: c.limits.lower for n, c in limited.items()}, 0.0
    if remaining <= least:
        part = (remaining - lowest) / (least - lowest)
        shared = {n: c.limits.lower + _rounded((c.least - c.limits.lower) * part) for n, c in limited.items()}
        return found | shared, 0.0
    bounds = [(float(c.least), float(c.limits.upper), c.target) for c in limited.values()]
    amounts, fraction = allocate(float(remaining), bounds)
    return found | {n: _rounded(a) for n, a in zip(limited, amounts, strict=True)}, fraction


def allocate(total: float, bounds: Sequence[tuple[float, float, float]]) -> tuple[list[float], float]:
    """Shares out ``total`` in proportion to the targets, between (lower, upper, target) bounds: the one fraction f for which
    the clamped f * target add up. Where the bounds allow no such fraction, all are at the nearer bound."""
    bounds = [(low, high, max(target, MINIMUM_TARGET)) for low, high, target in bounds]

    def at(fraction: float) -> float:
        return sum(max(low, min(high, fraction * target)) for low, high, target in bounds)

    if not bounds:
        return [], 0.0
    # The sum is piecewise linear in the fraction and never falls: between two neighbouring bounds it is a straight line.
    corners = sorted({0.0, *(low / t for low, _, t in bounds), *(high / t for _, high, t in bounds)})
    fraction = corners[-1]
    for left, right in zip(corners, corners[1:], strict=False):
        below, above = at(left), at(right)
        if above >= total:
            fraction = left if above == below else left + max(0.0, total - below) * (right - left) / (above - below)
            break
    return [max(low, min(high, fraction * target)) for low, high, target in bounds], fraction
