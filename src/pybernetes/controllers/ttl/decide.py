"""The time by cluster size. The ranges overlap so that a cluster at an edge does not go back and forth. Pure."""

from __future__ import annotations

ANNOTATION = "node.alpha.kubernetes.io/ttl"
_STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 2**31, 300))


def next_step(step: int, nodes: int) -> int:
    """The step that a cluster of so many nodes is on, coming from ``step``."""
    while step + 1 < len(_STEPS) and nodes > _STEPS[step][1]:
        step += 1
    while step > 0 and nodes < _STEPS[step][0]:
        step -= 1
    return step


def seconds(step: int) -> int:
    return _STEPS[step][2]
