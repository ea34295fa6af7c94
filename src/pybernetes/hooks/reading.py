"""A view of the cluster's objects from inside the API server, always at least as new as the last finished write there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ..api.meta import Object
from ..api.resources import GVR

Listener = Callable[[str, Object | None, Object | None], None]
"""(``ADDED`` | ``MODIFIED`` | ``DELETED``, old, new), called in commit order from the event loop; must not block."""


class ObjectReader(Protocol):
    """Objects are shared: never mutate."""

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None: ...

    def each(self, gvr: GVR, namespace: str = "") -> Iterator[Object]:
        """One after the other, for a look at all of them: of a hundred thousand decoded pods no two are held at a time."""
        ...

    def list(self, gvr: GVR, namespace: str = "") -> Sequence[Object]: ...

    def subscribe(self, gvr: GVR, listener: Listener) -> Callable[[], None]:
        """Tells the listener of every later change; what it returns ends that. Used to invalidate caches."""
        ...
