"""The shell of the TTL controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, annotations_of, name_of
from ...api.resources import NODES
from ..runtime import Controller
from . import decide


class TTLController(Controller):
    name = "ttl-controller"

    def setup(self) -> None:
        self._step = 0
        self.nodes = self.informer(NODES)
        self.watch(NODES, self._of_node)

    def _of_node(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        before = self._step
        if kind != "MODIFIED":
            self._step = decide.next_step(before, len(self.nodes))
        if self._step != before:
            return [name_of(n) for n in self.nodes.list()]
        return [name_of(new)] if new is not None and kind != "DELETED" else ()

    async def sync(self, key: str) -> float | None:
        node = self.nodes.get_key(key)
        wanted = str(decide.seconds(self._step))
        if node is not None and annotations_of(node).get(decide.ANNOTATION) != wanted:
            await self.writer.patch(NODES, key, {"metadata": {"annotations": {decide.ANNOTATION: wanted}}})
        return None
