"""Pods that wait for a node which is being made free for them: others of lower priority must not take the room.

What they ask for is summed by priority and row, so that the check of resources counts them in one addition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from .columns import Array
from .podinfo import PodInfo

if TYPE_CHECKING:
    from .nodetable import NodeTable


class Sums:
    """What nominated pods ask of each row. Resources that nobody asks for have no array."""

    __slots__ = ("_capacity", "_requested", "count")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._requested: dict[int, Array] = {}
        self.count: Array = np.zeros(capacity, dtype=np.int64)

    def requested_of(self, resource: int) -> Array:
        found = self._requested.get(resource)
        if found is None:
            found = self._requested[resource] = np.zeros(self._capacity, dtype=np.int64)
        return found

    def add(self, table: NodeTable, pod: PodInfo, row: int, sign: int) -> None:
        for name, value in pod.facts.requests.items():
            self.requested_of(table.resource(name))[row] += sign * value
        self.count[row] += sign

    def plus(self, other: Sums) -> Sums:
        both = Sums(self._capacity)
        both.count = self.count + other.count
        for resource in {*self._requested, *other._requested}:
            both._requested[resource] = self.requested_of(resource) + other.requested_of(resource)
        return both


class Nominations:
    """Nominated pods by node name, whether or not the node is known (any more)."""

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self._node_of: dict[str, str] = {}
        self._by_node: dict[str, dict[str, PodInfo]] = {}
        self._levels: dict[int, Sums] = {}
        self._capacity = table.capacity
        self._suspended = False

    def __len__(self) -> int:
        return len(self._node_of)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Within, ``above`` counts nobody: who asks has put the nominated pods onto their nodes himself."""
        before, self._suspended = self._suspended, True
        try:
            yield
        finally:
            self._suspended = before

    def node_of(self, uid: str) -> str:
        return self._node_of.get(uid, "")

    def on(self, node: str) -> Sequence[PodInfo]:
        return list(self._by_node.get(node, {}).values())

    def nodes(self) -> Iterator[str]:
        return iter(self._by_node)

    def put(self, pod: PodInfo, node: str) -> None:
        """Nominates; an empty node takes the nomination back."""
        if self._node_of.get(pod.uid) == node and self._by_node[node][pod.uid] is pod:
            return
        self.remove(pod.uid)
        if node:
            self._node_of[pod.uid] = node
            self._by_node.setdefault(node, {})[pod.uid] = pod
            self._account(pod, node, 1)

    def remove(self, uid: str) -> tuple[PodInfo, str] | None:
        """What was nominated, to be put back."""
        node = self._node_of.pop(uid, None)
        if node is None:
            return None
        pods = self._by_node[node]
        pod = pods.pop(uid)
        if not pods:
            del self._by_node[node]
        self._account(pod, node, -1)
        return pod, node

    def _account(self, pod: PodInfo, node: str, sign: int) -> None:
        row = self._table.row(node)
        if row is None or self._capacity != self._table.capacity:
            return
        level = self._levels.get(pod.priority)
        if level is None:
            level = self._levels[pod.priority] = Sums(self._capacity)
        level.add(self._table, pod, row, sign)
        self._table.touch(row)

    def rebuild(self) -> None:
        """After rows have changed their nodes."""
        self._capacity = self._table.capacity
        self._levels.clear()
        for node, pods in self._by_node.items():
            for pod in pods.values():
                self._account(pod, node, 1)

    def above(self, priority: int) -> Sums | None:
        """The sums of pods of this priority or higher; None where there are none."""
        if not self._node_of or self._suspended:
            return None
        if self._capacity != self._table.capacity:
            self.rebuild()
        found: Sums | None = None
        for level, sums in self._levels.items():
            if level >= priority:
                found = sums if found is None else found.plus(sums)
        return found
