"""Back-off: exponential, bounded, with jitter from a random source given by argument."""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Backoff:
    """Delays ``base, base*factor, ...`` up to ``maximum``, each stretched by up to ``jitter`` of itself."""

    base: float
    maximum: float
    factor: float = 2.0
    jitter: float = 0.0
    rng: random.Random = field(default_factory=random.Random)
    _failures: int = 0

    def next(self) -> float:
        # The exponent is bounded so that a very long series of failures cannot overflow a float.
        delay = min(self.maximum, self.base * self.factor ** min(self._failures, 64))
        self._failures += 1
        return delay * (1.0 + self.jitter * self.rng.random()) if self.jitter else delay

    def reset(self) -> None:
        self._failures = 0


class ItemBackoff(Generic[K]):
    """One exponential delay a key: what a work queue asks when a key failed."""

    def __init__(self, base: float = 0.005, maximum: float = 1000.0) -> None:
        self.base = base
        self.maximum = maximum
        self._failures: dict[K, int] = {}

    def next(self, key: K) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(self.maximum, self.base * 2.0 ** min(failures, 64))

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)
