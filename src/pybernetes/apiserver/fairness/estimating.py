"""How many seats a request takes. Pure. Specified by ``apiserver/pkg/util/flowcontrol/request`` (size-based, as by default)."""

from __future__ import annotations

import math

from .queueset import ONE, Work

MAX_LIST_SEATS = 100
MAX_MUTATING_SEATS = 10
BYTES_A_SEAT = 100_000
STREAMED_AT_ONCE = 1_000_000
"""A list from the cache is written as it is made: more than this is never in memory for it."""
WATCHERS_A_SEAT = 10
SECONDS_AN_EVENT = 0.005


def list_seats(count: int, average: float, most: int) -> int:
    """For ``count`` objects of ``average`` bytes, read from the cache; ``most`` is the level's own bound, 0 for none."""
    bound = min(most, MAX_LIST_SEATS) if most else MAX_LIST_SEATS
    return max(1, min(bound, math.ceil(min(count * average, STREAMED_AT_ONCE) / BYTES_A_SEAT)))


def write_work(watchers: int, most: int) -> Work:
    """A write with many watchers holds seats until its events are out."""
    if watchers < WATCHERS_A_SEAT:
        return ONE
    bound = min(most, MAX_MUTATING_SEATS) if most else MAX_MUTATING_SEATS
    wanted = math.ceil(watchers / WATCHERS_A_SEAT)
    seats = min(wanted, bound)
    return Work(1, seats, wanted * SECONDS_AN_EVENT / seats)
