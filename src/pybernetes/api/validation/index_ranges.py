"""Lists of index intervals such as ``1,3-5``: of indexed Jobs' success rules and status."""

from __future__ import annotations

import re

from ..errors import go_quote

_INTEGER = re.compile(r"[+-]?[0-9]+")


class BadIndexes(ValueError):
    """An interval list that cannot be read; the message is upstream's."""


def _index(text: str, completions: int) -> int:
    if not _INTEGER.fullmatch(text) or abs(int(text)) >= 1 << 63:
        raise BadIndexes(f"cannot convert string to integer for index: {go_quote(text)}")
    if int(text) >= completions:
        raise BadIndexes(f"too large index: {go_quote(text)}")
    return int(text)


def interval(text: str, completions: int) -> tuple[int, int]:
    limits = text.split("-")
    if len(limits) > 2:
        raise BadIndexes(
            f"the fragment {go_quote(text)} violates the requirement that an index interval can have at most two parts "
            "separated by '-'"
        )
    first = _index(limits[0], completions)
    if len(limits) == 1:
        return first, first
    last = _index(limits[1], completions)
    if first >= last:
        raise BadIndexes(f"non-increasing order, previous: {first}, current: {last}")
    return first, last


def count_indexes(text: str, completions: int) -> int:
    """How many indexes the list has. Raises BadIndexes."""
    total, before = 0, None
    for part in text.split(",") if text else ():
        first, last = interval(part, completions)
        if before is not None and before >= first:
            raise BadIndexes(f"non-increasing order, previous: {before}, current: {first}")
        total += last - first + 1
        before = last
    return total


def _readable(text: str, completions: int) -> list[tuple[int, int]]:
    found = []
    for part in text.split(","):
        try:
            found.append(interval(part, completions))
        except BadIndexes:
            continue
    return found


def first_overlap(completed: str, failed: str, completions: int) -> int | None:
    """An index in both lists; what cannot be read is passed over."""
    done, broken = _readable(completed, completions), _readable(failed, completions)
    i = j = 0
    while i < len(done) and j < len(broken):
        (low, high), (start, end) = done[i], broken[j]
        if low <= end and start <= high:
            return max(low, start)
        if low <= start:
            i += 1
        else:
            j += 1
    return None
