"""The node table: what the scheduler knows of nodes and of the pods on them, as columns of numbers.

One row a node; rows of deleted nodes are reused. Every change of what is placed on a node is noted in ``touched``, so that
who keeps results by row redoes only those (see ``results``). Everything happens in one event loop, and a pod's scheduling
cycle never waits: the live table is its own snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..api.meta import Object, labels_of, name_of
from .columns import Array, LabelColumn, PodCounts
from .existing import TermIndex
from .images import ImageTable
from .nodeaffinity import NAME_FIELD, Taint, taints_of
from .nominations import Nominations
from .podinfo import PodInfo
from .requests import ANY_ADDRESS, HostPort, amounts, ports_conflict

CPU, MEMORY = "cpu", "memory"
PODS_RESOURCE = "pods"
_LOG_LIMIT = 50_000


class NodeView:
    """One row, for plugins that look at nodes one at a time."""

    __slots__ = ("_table", "row")

    def __init__(self, table: NodeTable, row: int) -> None:
        self._table, self.row = table, row

    @property
    def object(self) -> Object:
        return self._table.objects[self.row] or {}

    @property
    def name(self) -> str:
        return name_of(self.object)

    @property
    def labels(self) -> Mapping[str, str]:
        return labels_of(self.object)

    @property
    def allocatable(self) -> Mapping[str, int]:
        found = {name: int(self._table.allocatable[at, self.row]) for name, at in self._table.resources.items()}
        return {**found, PODS_RESOURCE: int(self._table.allowed_pods[self.row])}

    @property
    def requested(self) -> Mapping[str, int]:
        return {name: int(self._table.requested[at, self.row]) for name, at in self._table.resources.items()}

    @property
    def pods(self) -> Sequence[PodInfo]:
        return list(self._table.pods[self.row].values())


class NodeTable:
    """See the module. ``rows`` arguments are ``slice(None)`` or integer arrays."""

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self.rows: dict[str, int] = {}
        self.objects: list[Object | None] = [None] * capacity
        self.pods: list[dict[str, PodInfo]] = [{} for _ in range(capacity)]
        self._free = list(range(capacity - 1, -1, -1))
        self.valid: Array = np.zeros(capacity, dtype=bool)
        self.resources: dict[str, int] = {CPU: 0, MEMORY: 1}
        self.allocatable: Array = np.zeros((2, capacity), dtype=np.int64)
        self.requested: Array = np.zeros((2, capacity), dtype=np.int64)
        self.non_zero: Array = np.zeros((2, capacity), dtype=np.int64)
        self.allowed_pods: Array = np.zeros(capacity, dtype=np.int64)
        self.pod_count: Array = np.zeros(capacity, dtype=np.int64)
        self.unschedulable: Array = np.zeros(capacity, dtype=bool)
        self.taint_ids: Array = np.zeros(capacity, dtype=np.int32)
        self.taint_sets: list[tuple[Taint, ...]] = [()]
        self._taint_numbers: dict[tuple[Taint, ...], int] = {(): 0}
        self._labels: dict[str, LabelColumn] = {}
        self.counts = PodCounts(capacity)
        self.terms = TermIndex(self)
        self.images = ImageTable()
        self.nominations = Nominations(self)
        self.ports: dict[tuple[str, int], dict[str, dict[int, int]]] = {}
        self.disk_pods: dict[int, int] = {}
        """How many pods of a row have volumes that matter to the scheduler."""
        self.claims: dict[str, int] = {}
        """How many placed pods use a claim, by its key."""
        self.versions: list[int] = [0] * capacity
        """Raised with every change of a row, its nominations included."""
        self.generation = 0
        """Raised by every change of a node that can matter to a plugin."""
        self.touched: list[int] = []
        """Rows in the order in which pods came to them or left them."""
        self.touched_before = 0
        """How many entries of ``touched`` have been forgotten."""

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, name: str) -> int | None:
        return self.rows.get(name)

    def view(self, row: int) -> NodeView:
        return NodeView(self, row)

    def indices(self, rows: Any) -> Array:
        if isinstance(rows, slice):
            return np.arange(self.capacity)[rows]
        found: Array = rows
        return found

    def size(self, rows: Any) -> int:
        return self.capacity if isinstance(rows, slice) else len(rows)

    def name(self, row: int) -> str:
        return name_of(self.objects[row] or {})

    # -- nodes -----------------------------------------------------------------------------------------------------

    def put_node(self, node: Object) -> int:
        """Adds or renews a node; its row."""
        name = name_of(node)
        row = self.rows.get(name)
        old: Object | None = None
        if row is None:
            if not self._free:
                self._grow()
            row = self.rows[name] = self._free.pop()
            self.valid[row] = True
            self.generation += 1
            fresh = True
        else:
            fresh = False
            old = self.objects[row]
        self.objects[row] = node
        self.versions[row] += 1
        self._set_resources(row, (node.get("status") or {}).get("allocatable"), old)
        self._set_labels(row, name, labels_of(node), old)
        self._set_taints(row, node)
        if self.images.put(row, (node.get("status") or {}).get("images")):
            self.generation += 1
        if fresh and len(self.nominations):
            self.nominations.rebuild()
        return row

    def remove_node(self, name: str) -> list[PodInfo]:
        """Forgets a node; the pods that were on it, which are then placed nowhere."""
        row = self.rows.get(name)
        if row is None:
            return []
        left = list(self.pods[row].values())
        for pod in left:
            self.remove_pod(pod)
        del self.rows[name]
        self.objects[row] = None
        self.valid[row] = False
        self.allocatable[:, row] = 0
        self.allowed_pods[row] = 0
        for column in self._labels.values():
            column.put(row, None)
        self.unschedulable[row] = False
        self.taint_ids[row] = 0
        self.images.put(row, None)
        self._free.append(row)
        self.generation += 1
        if len(self.nominations):
            self.nominations.rebuild()
        return left

    def _set_resources(self, row: int, allocatable: Any, old: Object | None) -> None:
        if old is not None and (old.get("status") or {}).get("allocatable") == allocatable:
            return
        found = amounts(allocatable)
        self.allowed_pods[row] = found.pop(PODS_RESOURCE, 0)
        self.allocatable[:, row] = 0
        for name, value in found.items():
            at = self.resource(name)
            self.allocatable[at, row] = value
        self.generation += 1

    def resource(self, name: str) -> int:
        """The index of a resource's row in ``allocatable`` and ``requested``."""
        at = self.resources.get(name)
        if at is None:
            at = self.resources[name] = len(self.resources)
            blank = np.zeros((1, self.capacity), dtype=np.int64)
            self.allocatable = np.vstack([self.allocatable, blank])
            self.requested = np.vstack([self.requested, blank])
        return at

    def _set_labels(self, row: int, name: str, labels: Mapping[str, str], old: Object | None) -> None:
        if old is not None and labels_of(old) == labels:
            return
        for key, column in self._labels.items():
            column.put(row, name if key == NAME_FIELD else labels.get(key))
        self.generation += 1

    def _set_taints(self, row: int, node: Object) -> None:
        taints = taints_of(node)
        number = self._taint_numbers.get(taints)
        if number is None:
            number = self._taint_numbers[taints] = len(self.taint_sets)
            self.taint_sets.append(taints)
        cordoned = bool((node.get("spec") or {}).get("unschedulable"))
        if self.taint_ids[row] != number or self.unschedulable[row] != cordoned:
            self.taint_ids[row], self.unschedulable[row] = number, cordoned
            self.generation += 1

    def labels(self, key: str) -> LabelColumn:
        """The column of a label key; ``metadata.name`` stands for the nodes' names."""
        column = self._labels.get(key)
        if column is None:
            column = self._labels[key] = LabelColumn(self.capacity)
            for name, row in self.rows.items():
                column.put(row, name if key == NAME_FIELD else labels_of(self.objects[row] or {}).get(key))
        return column

    def _grow(self) -> None:
        before, after = self.capacity, self.capacity * 2
        self.capacity = after
        self.objects += [None] * before
        self.pods += [{} for _ in range(before)]
        self.versions += [0] * before
        self._free = list(range(after - 1, before - 1, -1))
        for field in ("valid", "unschedulable", "taint_ids", "allowed_pods", "pod_count"):
            old = getattr(self, field)
            setattr(self, field, np.concatenate([old, np.zeros(before, dtype=old.dtype)]))
        for field in ("allocatable", "requested", "non_zero"):
            old = getattr(self, field)
            setattr(self, field, np.concatenate([old, np.zeros((len(old), before), dtype=old.dtype)], axis=1))
        for column in self._labels.values():
            column.grow(after)
        self.counts.grow(after)
        self.terms.grow(after)
        self.generation += 1

    # -- pods ------------------------------------------------------------------------------------------------------

    def add_pod(self, pod: PodInfo, row: int) -> None:
        """Places a pod, for real or as assumed."""
        pod.row = row
        self.pods[row][pod.uid] = pod
        pod.label_set = self.counts.label_set(pod.namespace, dict(pod.labels), pod.terminating)
        self._account(pod, row, 1)

    def remove_pod(self, pod: PodInfo) -> None:
        row = pod.row
        if row < 0 or self.pods[row].pop(pod.uid, None) is None:
            return
        self._account(pod, row, -1)
        pod.row = -1

    def _account(self, pod: PodInfo, row: int, sign: int) -> None:
        facts = pod.facts
        for name, value in facts.requests.items():
            at = self.resource(name)
            self.requested[at, row] += sign * value
        cpu, memory = facts.non_zero
        self.non_zero[0, row] += sign * cpu
        self.non_zero[1, row] += sign * memory
        self.pod_count[row] += sign
        for port in facts.ports:
            self._account_port(port, row, sign)
        if facts.volumes:
            self._account_volumes(pod, row, sign)
        pod.label_set.add(row, sign)
        if facts.affinity:
            self.terms.add(pod, row, sign)
        self.touch(row)

    def touch(self, row: int) -> None:
        """Notes that what is placed on a row, or nominated for it, has changed."""
        self.versions[row] += 1
        self.touched.append(row)
        if len(self.touched) > _LOG_LIMIT:
            half = len(self.touched) // 2
            del self.touched[:half]
            self.touched_before += half

    def _account_volumes(self, pod: PodInfo, row: int, sign: int) -> None:
        self.disk_pods[row] = self.disk_pods.get(row, 0) + sign
        for volume in pod.facts.volumes:
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if name:
                key = f"{pod.namespace}/{name}"
                left = self.claims.get(key, 0) + sign
                if left:
                    self.claims[key] = left
                else:
                    del self.claims[key]

    def _account_port(self, port: HostPort, row: int, sign: int) -> None:
        address, protocol, number = port
        rows = self.ports.setdefault((protocol, number), {}).setdefault(address, {})
        rows[row] = rows.get(row, 0) + sign
        if not rows[row]:
            del rows[row]

    def rows_with_ports(self, wanted: Iterable[HostPort]) -> set[int]:
        """Rows where one of the ports is taken."""
        taken: set[int] = set()
        for port in wanted:
            for address, rows in self.ports.get(port[1:], {}).items():
                if ports_conflict(port, (address, *port[1:])):
                    taken.update(rows)
        return taken

    def touched_since(self, position: int) -> tuple[Sequence[int] | None, int]:
        """(rows touched since then, where we are now); None in place of the rows where it was too long ago."""
        now = self.touched_before + len(self.touched)
        if position < self.touched_before:
            return None, now
        return self.touched[position - self.touched_before :], now

    def all_pods(self) -> Iterator[PodInfo]:
        for pods in self.pods:
            yield from pods.values()


__all__ = ["ANY_ADDRESS", "CPU", "MEMORY", "NodeTable", "NodeView"]
