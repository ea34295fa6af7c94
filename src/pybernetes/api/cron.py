"""Cron schedules as CronJobs take them: five fields, names, ranges, steps, descriptors, time zones.

The syntax is that of the "standard" parser of the Go library ``robfig/cron`` v3, which upstream uses; so are the error texts.
Times of day that a change of the clocks leaves out do not happen on that day; those that come twice happen twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import tzinfo as TimeZone
from zoneinfo import ZoneInfo

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_NO_NAMES: dict[str, int] = {}
_BOUNDS = ((0, 59, _NO_NAMES), (0, 23, _NO_NAMES), (1, 31, _NO_NAMES), (1, 12, _MONTHS), (0, 6, _DAYS))
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_HORIZON_DAYS = 5 * 366


class CronError(ValueError):
    """A schedule that cannot be read; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times at which the fields match, or every so many seconds."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """The day of the month, or that of the week, is a star: then both must match, else one is enough."""
    zone: TimeZone
    every: float = 0.0

    def next(self, after: float) -> float | None:
        """The first moment after ``after`` (seconds since the epoch); None where there is none in five years."""
        if self.every:
            return float(int(after)) + self.every
        start = datetime.fromtimestamp(after, self.zone)
        day = start.date()
        for offset in range(_HORIZON_DAYS):
            today = day + timedelta(days=offset)
            if today.month not in self.months or not self._matches_day(today):
                continue
            first_hour = start.hour - 1 if offset == 0 else 0
            for moment in self._moments(today, first_hour):
                if moment > after:
                    return moment
        return None

    def _matches_day(self, day: date) -> bool:
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_month and by_week) if self.any_day else (by_month or by_week)

    def _moments(self, day: date, first_hour: int) -> Iterator[float]:
        for hour in sorted(h for h in self.hours if h >= first_hour):
            for fold in self._folds(day, hour):
                for minute in sorted(self.minutes):
                    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone, fold=fold)
                    moment = local.timestamp()
                    back = datetime.fromtimestamp(moment, self.zone)
                    # A time that the clocks skip comes back as another one.
                    if (back.hour, back.minute, back.fold) == (hour, minute, fold):
                        yield moment

    def _folds(self, day: date, hour: int) -> tuple[int, ...]:
        offsets = {
            datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone, fold=fold).utcoffset()
            for minute in (0, 59)
            for fold in (0, 1)
        }
        return (0, 1) if len(offsets) > 1 else (0,)


def load_zone(name: str) -> TimeZone:
    """Raises CronError for a name that the time zone database does not have."""
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as failure:
        raise CronError(f"unknown time zone {name}") from failure


def parse(text: str, zone: str = "") -> Schedule:
    """``zone`` is a name of the time zone database; a ``TZ=`` before the fields counts more. Raises CronError."""
    if not text:
        raise CronError("empty spec string")
    if text.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, rest = text.partition(" ")
        zone = prefix.partition("=")[2]
        try:
            location = load_zone(zone)
        except CronError as failure:
            raise CronError(f"provided bad location {zone}: {failure}") from failure
        text = rest.strip()
    else:
        location = load_zone(zone)
    if text.startswith("@every "):
        return _every(text, location)
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise CronError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != 5:
        raise CronError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    parsed = [_field(f, *bounds) for f, bounds in zip(fields, _BOUNDS, strict=True)]
    sets = [values for values, _ in parsed]
    return Schedule(sets[0], sets[1], sets[2], sets[3], sets[4], parsed[2][1] or parsed[4][1], location)


def _every(text: str, zone: TimeZone) -> Schedule:
    from .schema.scalars import parse_duration

    try:
        seconds = parse_duration(text.removeprefix("@every ")) // 1_000_000_000
    except ValueError as failure:
        raise CronError(f"failed to parse duration {text}: {failure}") from failure
    nothing: frozenset[int] = frozenset()
    return Schedule(nothing, nothing, nothing, nothing, nothing, True, zone, max(1.0, float(seconds)))


def _field(text: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    """(values, whether a star without step is among them)."""
    values: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            found, is_star = _range(part, low, high, names)
            values |= found
            star = star or is_star
    return frozenset(values), star


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[set[int], bool]:
    span, *steps = text.split("/")
    ends = span.split("-")
    star = ends[0] in ("*", "?")
    if star:
        start, end = low, high
    else:
        if len(ends) > 2:
            raise CronError(f"too many hyphens: {text}")
        start = _number(ends[0], names)
        end = _number(ends[-1], names)
    if len(steps) > 1:
        raise CronError(f"too many slashes: {text}")
    step = _number(steps[0], _NO_NAMES) if steps else 1
    if steps and len(ends) == 1:
        end = high
    if start < low:
        raise CronError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise CronError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise CronError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {text}")
    return set(range(start, end + 1, step)), star and step == 1


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[+-]?\d+", text):
        raise CronError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise CronError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)
