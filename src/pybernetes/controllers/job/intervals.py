"""Sets of completion indexes in the compressed form of the status: ``1,3-5,7``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Interval = tuple[int, int]


class Indexes:
    """An ordered set of small integers, as intervals: a hundred thousand of them cost nothing."""

    __slots__ = ("intervals",)

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self.intervals: list[Interval] = _normal(intervals)

    @classmethod
    def of(cls, indexes: Iterable[int]) -> Indexes:
        return cls((i, i) for i in indexes)

    @classmethod
    def parse(cls, text: str | None, completions: int) -> Indexes:
        """Of a status; what cannot be read, or lies beyond the completions, is left out."""
        found: list[Interval] = []
        for part in (text or "").split(","):
            first, _, last = part.partition("-")
            if not first.isdigit() or (last and not last.isdigit()):
                continue
            start, end = int(first), int(last or first)
            if start < completions:
                found.append((start, min(end, completions - 1)))
        return cls(found)

    def __contains__(self, index: int) -> bool:
        return any(first <= index <= last for first, last in self.intervals)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.intervals)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.intervals:
            yield from range(first, last + 1)

    def __or__(self, other: Indexes) -> Indexes:
        return Indexes([*self.intervals, *other.intervals])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Indexes) and self.intervals == other.intervals

    def __str__(self) -> str:
        parts = []
        for first, last in self.intervals:
            if first == last:
                parts.append(str(first))
            else:
                parts.append(f"{first},{last}" if last == first + 1 else f"{first}-{last}")
        return ",".join(parts)

    def overlap(self, other: Indexes) -> int:
        """How many are in both."""
        count = at = 0
        for first, last in self.intervals:
            while at < len(other.intervals) and other.intervals[at][1] < first:
                at += 1
            scan = at
            while scan < len(other.intervals) and other.intervals[scan][0] <= last:
                low, high = other.intervals[scan]
                count += min(last, high) - max(first, low) + 1
                scan += 1
        return count

    def gaps(self, end: int) -> Iterator[int]:
        """The indexes below ``end`` that are not in the set."""
        at = 0
        for first, last in self.intervals:
            yield from range(at, min(first, end))
            at = max(at, last + 1)
        yield from range(at, end)


def _normal(intervals: Iterable[Interval]) -> list[Interval]:
    result: list[Interval] = []
    for first, last in sorted(intervals):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result
