"""The Store contract: what the API server asks of the place where objects rest.

A store is one log of writes over byte keys and values; a write's place in the log is its revision, which becomes the
``resourceVersion`` that clients see. Specified by the "etcd API guarantees" page (ordered, unique, atomic, reliable,
resumable) and by ``docs/storage.md``. ``pybernetes.testing.store_suite`` checks every engine against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class StoreError(Exception):
    """The store could not do what it was asked."""

    answered = True
    """Whether that is an answer of a store that works."""


class RevisionMismatch(StoreError):
    """A write's expectation did not hold. ``actual`` is the key's revision now, 0 where it does not exist."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        super().__init__(f"{key}: expected revision {expected}, found {actual}")
        self.key, self.expected, self.actual = key, expected, actual


class Compacted(StoreError):
    """The asked revision is older than the history that is kept; ``oldest`` is the first one that can be asked."""

    def __init__(self, requested: int, oldest: int) -> None:
        super().__init__(f"revision {requested} has been compacted, the oldest kept is {oldest}")
        self.requested, self.oldest = requested, oldest


class FutureRevision(StoreError):
    """The asked revision has not been written yet."""

    def __init__(self, requested: int, current: int) -> None:
        super().__init__(f"revision {requested} is ahead of the current one, {current}")
        self.requested, self.current = requested, current


class StoreDamaged(StoreError):
    """What the store holds cannot be trusted; the message says what to do."""


class StoreUnavailable(StoreError):
    """The store cannot answer now (no leader, disk full, closed); whether a write happened may be unknown."""

    answered = False


class KeyValue(NamedTuple):
    """A value and the revision of the write that put it there."""

    key: str
    value: bytes
    revision: int


class Page(NamedTuple):
    """Part of a listing, in key order. ``remaining`` counts what comes after it."""

    items: Sequence[KeyValue]
    revision: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Event:
    """One committed write. ``value`` is None for a deletion; ``previous_revision`` is 0 for a creation.

    ``note`` is what the writer in this process attached to its ``put`` or ``delete``; None for writes from elsewhere.
    """

    revision: int
    key: str
    value: bytes | None
    previous_revision: int = 0
    note: Any = None


Deliver = Callable[[Sequence[Event]], None]
Progress = Callable[[int], None]
Cancel = Callable[[], None]


class Store(Protocol):
    """Keys are text, compared as UTF-8 bytes. Every method may raise StoreUnavailable."""

    engine: str
    """Its name, for metrics."""
    single_writer: bool
    """No other process writes: what was delivered to a watcher of this process is all there is."""

    async def open(self) -> None:
        """Before anything else."""
        ...

    async def close(self) -> None:
        """Ends watches and background work; what was acknowledged is safe."""
        ...

    async def get(self, key: str) -> KeyValue | None:
        """The newest value."""
        ...

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Keys that begin with ``prefix`` and come after ``after``, as they were at ``revision`` (0: now).

        Raises Compacted and FutureRevision.
        """
        ...

    async def count(self, prefix: str) -> int: ...

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, note: Any = None, ttl: float = 0
    ) -> int:
        """Writes and returns the revision, once the write is durable and has been delivered to watchers of this process.

        ``expected`` is the revision that the key must have (0: must not exist, None: any). ``ttl`` seconds later the key is
        deleted unless it was written again. Raises RevisionMismatch.
        """
        ...

    async def delete(self, key: str, *, expected: int | None = None, note: Any = None) -> int:
        """As ``put``. Deleting what does not exist raises RevisionMismatch."""
        ...

    def watch(
        self,
        prefix: str,
        after: int,
        deliver: Deliver,
        failed: Callable[[StoreError], None],
        progress: Progress | None = None,
    ) -> Cancel:
        """Delivers every write under ``prefix`` with a revision above ``after``, in order, once, in batches, from the
        event loop, and only after it was committed. ``failed`` is called once when the watch cannot go on (with Compacted
        where the engine finds that out later). ``progress`` is told revisions up to which everything has been delivered,
        where writes elsewhere in the store have brought it on.

        Raises Compacted.
        """
        ...

    async def current_revision(self) -> int:
        """The revision of the newest write of anybody that was acknowledged before the call."""
        ...

    async def compact(self, revision: int) -> None:
        """Forgets history: afterwards only ``revision`` and newer ones can be listed or watched from."""
        ...

    async def snapshot(self, path: Path) -> int:
        """Writes a consistent copy to a new file and returns the copy's revision."""
        ...

    async def size(self) -> int:
        """Bytes that the store takes where it keeps them."""
        ...


def prefix_end(prefix: str) -> str:
    """The first text that comes after all texts with this prefix (``prefix`` ends with an ASCII character)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"
