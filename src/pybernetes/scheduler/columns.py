"""Columns of the node table for labels, and counts of pods along them.

A label key becomes a column of small integers (one a distinct value) when somebody first asks for it. Counts are kept by
row as pods come and go, and, for the topology keys that are asked for, by value; so the number of matching pods in every
node's zone is one indexing operation, whatever the number of pods.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..api.selectors import EXISTS, IN, LabelSelector, Requirement

Array = np.ndarray[Any, Any]
ABSENT = -1


class LabelColumn:
    """One label key: the value's number for each row, ABSENT where the node has no such label."""

    __slots__ = ("generation", "ids", "numbers", "values")

    def __init__(self, capacity: int) -> None:
        self.ids: Array = np.full(capacity, ABSENT, dtype=np.int32)
        self.numbers: dict[str, int] = {}
        self.values: list[str] = []
        self.generation = 0
        """Raised whenever any row changes."""

    def put(self, row: int, value: str | None) -> None:
        number = ABSENT
        if value is not None:
            found = self.numbers.get(value)
            if found is None:
                found = self.numbers[value] = len(self.values)
                self.values.append(value)
            number = found
        if self.ids[row] != number:
            self.ids[row] = number
            self.generation += 1

    def grow(self, capacity: int) -> None:
        grown = np.full(capacity, ABSENT, dtype=np.int32)
        grown[: len(self.ids)] = self.ids
        self.ids = grown
        self.generation += 1

    def where(self, requirement: Requirement, rows: Any) -> Array:
        """Which of the rows satisfy a condition on this label."""
        # One answer a distinct value, and a last one for "absent", which index -1 finds.
        key = requirement.key
        answers = np.fromiter(
            (requirement.matches({key: value}) for value in self.values), dtype=bool, count=len(self.values)
        )
        answers = np.append(answers, requirement.matches({}))
        found: Array = answers[self.ids[rows]]
        return found

    def equals(self, value: str, rows: Any) -> Array:
        found: Array = self.ids[rows] == self.numbers.get(value, -2)
        return found


class RowCounts:
    """How many pods of some kind are placed on each row, and, on demand, in each value of a label."""

    __slots__ = ("_by_value", "by_row", "total")

    def __init__(self, capacity: int) -> None:
        self.by_row: Array = np.zeros(capacity, dtype=np.int64)
        self.total = 0
        self._by_value: dict[str, tuple[LabelColumn, int, Array]] = {}

    def add(self, row: int, count: int) -> None:
        self.by_row[row] += count
        self.total += count
        for column, generation, values in self._by_value.values():
            if column.generation == generation:
                number = column.ids[row]
                if number >= 0:
                    values[number] += count

    def grow(self, capacity: int) -> None:
        grown = np.zeros(capacity, dtype=np.int64)
        grown[: len(self.by_row)] = self.by_row
        self.by_row = grown
        self._by_value.clear()

    def by_value(self, key: str, column: LabelColumn) -> Array:
        """The number of pods in each value of the column, and a last 0, which index -1 ("absent") finds."""
        known = self._by_value.get(key)
        if known is not None and known[0] is column and known[1] == column.generation:
            return known[2]
        present = column.ids >= 0
        values = np.bincount(
            column.ids[present], weights=self.by_row[present], minlength=len(column.values) + 1
        ).astype(np.int64)
        self._by_value[key] = (column, column.generation, values)
        return values


class LabelSet:
    """Pods of one namespace with the same labels, counted by row. Terminating pods are a set of their own."""

    __slots__ = ("counters", "items", "labels", "memo", "namespace", "rows", "terminating")

    def __init__(self, namespace: str, labels: dict[str, str], terminating: bool) -> None:
        self.namespace, self.labels, self.terminating = namespace, labels, terminating
        self.rows: dict[int, int] = {}
        self.counters: list[RowCounts] = []
        self.memo: dict[Any, Any] = {}
        """Answers about these labels that others have worked out (with what they hold for)."""

    def add(self, row: int, count: int) -> None:
        left = self.rows.get(row, 0) + count
        if left:
            self.rows[row] = left
        else:
            self.rows.pop(row, None)
        for counter in self.counters:
            counter.add(row, count)


class PodQuery:
    """Which pods to count: of these namespaces (None: all), with all these selectors, with or without terminating ones."""

    __slots__ = ("_hash", "namespaces", "selectors", "terminating")

    def __init__(
        self, namespaces: tuple[frozenset[str] | None, ...], selectors: tuple[LabelSelector, ...], terminating: bool
    ) -> None:
        self.namespaces, self.selectors, self.terminating = namespaces, selectors, terminating
        self._hash = hash((namespaces, selectors, terminating))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PodQuery)
            and self._hash == other._hash
            and self.namespaces == other.namespaces
            and self.selectors == other.selectors
            and self.terminating == other.terminating
        )

    def matches(self, labels: LabelSet) -> bool:
        if labels.terminating and not self.terminating:
            return False
        return all(
            (namespaces is None or labels.namespace in namespaces) and selector.matches(labels.labels)
            for namespaces, selector in zip(self.namespaces, self.selectors, strict=True)
        )


class PodCounts:
    """Placed pods by label set, and the counters that were asked for."""

    LIMIT = 512

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._sets: dict[tuple[Any, ...], LabelSet] = {}
        self._counters: dict[PodQuery, RowCounts] = {}

    def label_set(self, namespace: str, labels: dict[str, str], terminating: bool) -> LabelSet:
        key = (namespace, terminating, *sorted(labels.items()))
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = LabelSet(namespace, labels, terminating)
            for query, counter in self._counters.items():
                if query.matches(found):
                    found.counters.append(counter)
        return found

    def counter(self, query: PodQuery) -> RowCounts:
        """The counts of a query, kept up to date from now on."""
        found = self._counters.get(query)
        if found is not None:
            return found
        if len(self._counters) >= self.LIMIT:
            self._forget_counters()
        found = self._counters[query] = RowCounts(self._capacity)
        for labels in self._sets.values():
            if query.matches(labels):
                labels.counters.append(found)
                for row, count in labels.rows.items():
                    found.add(row, count)
        return found

    def _forget_counters(self) -> None:
        self._counters.clear()
        for labels in self._sets.values():
            labels.counters.clear()

    def forget_empty(self) -> None:
        """Drops label sets without pods, where there are many (pods of jobs have labels of their own)."""
        if len(self._sets) > 1000 and len(self._sets) > 2 * sum(1 for s in self._sets.values() if s.rows):
            self._sets = {k: s for k, s in self._sets.items() if s.rows}

    def grow(self, capacity: int) -> None:
        self._capacity = capacity
        for counter in self._counters.values():
            counter.grow(capacity)

    def __len__(self) -> int:
        return len(self._sets)


__all__ = ["EXISTS", "IN", "Array", "LabelColumn", "LabelSet", "PodCounts", "PodQuery", "RowCounts"]
