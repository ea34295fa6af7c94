"""Sets of tolerations: whether one says more than another, and joining two sets. Pure.

Specified by ``kubernetes/pkg/util/tolerations``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Toleration = Mapping[str, Any]


def _normal(t: Toleration) -> tuple[Any, ...]:
    return tuple(t.get(k) or "" for k in ("key", "operator", "value", "effect")) + (t.get("tolerationSeconds"),)


def is_superset(big: Toleration, small: Toleration) -> bool:
    """Whether ``big`` tolerates all that ``small`` does."""
    if _normal(big) == _normal(small):
        return True
    if (small.get("key") or "") != (big.get("key") or "") and (big.get("key") or big.get("operator") != "Exists"):
        return False
    if (small.get("effect") or "") != (big.get("effect") or "") and big.get("effect"):
        return False
    limit, seconds = big.get("tolerationSeconds"), small.get("tolerationSeconds")
    if big.get("effect") == "NoExecute" and limit is not None and (seconds is None or seconds > limit):
        return False
    if big.get("operator") == "Exists":
        return True
    if big.get("operator") in (None, "", "Equal"):
        return small.get("operator") == "Equal" and (small.get("value") or "") == (big.get("value") or "")
    return False


def merge(first: Sequence[Toleration], second: Sequence[Toleration]) -> list[dict[str, Any]]:
    """Both sets, without what another toleration of them covers."""
    everything = [*first, *second]
    merged: list[Toleration] = []
    for i, t in enumerate(everything):
        if any(is_superset(m, t) for m in merged):
            continue
        if any(_normal(later) != _normal(t) and is_superset(later, t) for later in everything[i + 1 :]):
            continue
        merged.append(t)
    return [dict(t) for t in merged]


def within(tolerations: Iterable[Toleration], allowed: Sequence[Toleration]) -> bool:
    """Whether each of them is covered by one that is allowed; nothing allowed means all is."""
    return not allowed or all(any(is_superset(a, t) for a in allowed) for t in tolerations)
