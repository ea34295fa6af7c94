"""Randomness of the operating system, taken in larger pieces.

Each call of the system lets go of the interpreter's lock, and on a busy server another thread takes it: an event loop that
makes a UID a request then waits for the thread that writes to disk, in the middle of the request.
"""

from __future__ import annotations

import os
import random


class PooledRandom(random.SystemRandom):
    """``random.SystemRandom`` that asks the system once for ``POOL`` bytes. For one thread; no byte is used twice."""

    POOL = 4096

    def __init__(self) -> None:
        super().__init__()
        self._pool = b""
        self._at = 0

    def randbytes(self, n: int) -> bytes:
        if n > self.POOL:
            return os.urandom(n)
        if self._at + n > len(self._pool):
            self._pool, self._at = os.urandom(self.POOL), 0
        start = self._at
        self._at = start + n
        return self._pool[start : self._at]

    def getrandbits(self, k: int) -> int:
        if k < 0:
            raise ValueError("number of bits must be non-negative")
        size = (k + 7) // 8
        return int.from_bytes(self.randbytes(size), "big") >> (size * 8 - k)

    def random(self) -> float:
        return (int.from_bytes(self.randbytes(7), "big") >> 3) * 2.0**-53
