"""What several plugins share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...api.meta import Object
from ...hooks.scheduling import MAX_NODE_SCORE, Code, Status, Verdicts
from ..columns import Array


def refused_where(mask: Array, status: Status) -> Verdicts:
    return Verdicts(mask.astype(np.int16), (status,))


def unresolvable(plugin: str, *reasons: str) -> Status:
    return Status(Code.UNRESOLVABLE, reasons, plugin)


def unschedulable(plugin: str, *reasons: str) -> Status:
    return Status(Code.UNSCHEDULABLE, reasons, plugin)


def normalize_by_maximum(scores: Array, *, reverse: bool) -> Array:
    """Scores as hundredths of the highest one, or of what is left to it."""
    highest = int(scores.max()) if len(scores) else 0
    if highest == 0:
        return np.full_like(scores, MAX_NODE_SCORE) if reverse else scores
    scaled = MAX_NODE_SCORE * scores // highest
    return MAX_NODE_SCORE - scaled if reverse else scaled


def broken_line(points: Sequence[tuple[int, int]], at: Array) -> Array:
    """Values of the line through (x, y) points, flat outside them; integer division rounds to zero as Go's does."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    found = np.full(at.shape, ys[-1], dtype=np.int64)
    for i in range(len(points) - 1, -1, -1):
        inside = at <= xs[i]
        if i == 0:
            found[inside] = ys[0]
        else:
            rise, run = ys[i] - ys[i - 1], xs[i] - xs[i - 1]
            offset = rise * (at[inside] - xs[i - 1])
            found[inside] = ys[i - 1] + np.sign(offset) * (np.abs(offset) // run)
    return found


def labels_changed(old: Object | None, new: Object | None) -> bool:
    return _labels(old) != _labels(new)


def _labels(obj: Object | None) -> Mapping[str, Any]:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}
