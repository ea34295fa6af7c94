"""What the elements of a table's sets should be, who wants them, and what must change in the kernel. Pure.

Every owner (a Service, a pod, a policy) says which elements it wants; ``take_changes`` gives the difference since it was last
called, so the cost of a change is that of its owner, whatever else the table holds. An element that two owners want stays until
both have gone; where they want different data, the first has it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

Item = tuple[str, bytes]
"""(name of the set, key)."""


class _Owners(dict[Hashable, None]):
    """Several owners of one element, in the order of their coming."""


@dataclass(slots=True)
class Changes:
    """Elements to delete and to add, by set; a replaced one is in both."""

    delete: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    add: dict[str, dict[bytes, bytes]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.delete or self.add)

    def __len__(self) -> int:
        return sum(map(len, self.delete.values())) + sum(map(len, self.add.values()))


class Contents:
    """The wanted elements of one table."""

    def __init__(self) -> None:
        self._wanted: dict[Hashable, Mapping[Item, bytes]] = {}
        # Most elements have one owner, but one may have as many as there are Services: the former must be small, the
        # latter quick to join and to leave.
        self._claims: dict[Item, Hashable | _Owners] = {}
        self._sets: dict[str, dict[bytes, bytes]] = {}
        self._before: dict[Item, bytes | None] = {}

    def __len__(self) -> int:
        return sum(map(len, self._sets.values()))

    def owners(self) -> list[Hashable]:
        return list(self._wanted)

    def of_owner(self, owner: Hashable) -> Mapping[Item, bytes]:
        return self._wanted.get(owner, {})

    def of_set(self, name: str) -> Mapping[bytes, bytes]:
        return self._sets.get(name, {})

    def set_names(self) -> list[str]:
        return list(self._sets)

    def assign(self, owner: Hashable, wanted: Mapping[Item, bytes]) -> None:
        """All that ``owner`` wants from now on; nothing means it is gone. The mapping is kept: do not change it."""
        old = self._wanted.get(owner, {})
        if wanted:
            self._wanted[owner] = wanted
        else:
            self._wanted.pop(owner, None)
        for item in old:
            if wanted.get(item) is None:
                self._release(owner, item)
        for item, data in wanted.items():
            if old.get(item) != data:
                self._claim(owner, item)

    def _claim(self, owner: Hashable, item: Item) -> None:
        known = self._claims.get(item)
        if known is None:
            self._claims[item] = owner
        elif isinstance(known, _Owners):
            known.setdefault(owner)
        elif known != owner:
            self._claims[item] = _Owners(dict.fromkeys((known, owner)))
        self._settle(item)

    def _release(self, owner: Hashable, item: Item) -> None:
        known = self._claims[item]
        if isinstance(known, _Owners):
            del known[owner]
        if not isinstance(known, _Owners) or not known:
            del self._claims[item]
        self._settle(item)

    def _settle(self, item: Item) -> None:
        name, key = item
        known = self._claims.get(item)
        first = next(iter(known)) if isinstance(known, _Owners) else known
        elements = self._sets.setdefault(name, {})
        now = elements.get(key)
        wanted = self._wanted[first][item] if first is not None else None
        if now == wanted:
            return
        self._before.setdefault(item, now)
        if wanted is None:
            del elements[key]
        else:
            elements[key] = wanted

    def take_changes(self) -> Changes:
        """What changed since the last call."""
        changes = Changes()
        for (name, key), before in self._before.items():
            now = self._sets[name].get(key)
            if before == now:
                continue
            if before is not None:
                changes.delete.setdefault(name, {})[key] = before
            if now is not None:
                changes.add.setdefault(name, {})[key] = now
        self._before.clear()
        return changes

    def validate_state(self) -> None:
        """Raises AssertionError where the bookkeeping contradicts itself."""
        items = {(name, key) for name, elements in self._sets.items() for key in elements}
        assert items == self._claims.keys()
        listed = {i: [*k] if isinstance(k, _Owners) else [k] for i, k in self._claims.items()}
        for owner, wanted in self._wanted.items():
            assert all(owner in listed[item] for item in wanted)
        assert sum(map(len, listed.values())) == sum(map(len, self._wanted.values()))


def difference(
    wanted: Mapping[bytes, bytes], present: Mapping[bytes, bytes]
) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """(what to delete, what to add) to make a set's elements ``wanted``."""
    delete = {k: d for k, d in present.items() if wanted.get(k) != d}
    add = {k: d for k, d in wanted.items() if present.get(k) != d}
    return delete, add
