"""Brings a table of the kernel to what is wanted: by small changes, or by comparing all there is.

Every write is one transaction: whoever is killed half-way has changed nothing.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Mapping, Sequence

from . import wire
from .contents import Changes, Contents, difference
from .kernel import Netfilter, NftError
from .tables import (
    Chain,
    Message,
    Set,
    Table,
    creation,
    delete_chain,
    delete_set,
    delete_table,
    elements,
    encode_elements,
    flush_chain,
    new_chain,
    new_rule,
    new_set,
    verdict_value,
)

_SET_NUMBER = 1000
"""Numbers that name new sets within one transaction; any will do that is not used twice."""


class TableWriter:
    """Writes one table. ``table`` has the fixed part; what grows with use is passed along."""

    def __init__(self, netfilter: Netfilter, table: Table) -> None:
        self._netfilter, self._table = netfilter, table
        # A table that another version made is not compared but replaced.
        fixed = b"".join(body for _, _, _, body in creation(table))
        self._fingerprint = hashlib.sha256(fixed).hexdigest()[:32].encode()
        self._sets: dict[str, Set] = dict(table.sets)

    @property
    def name(self) -> str:
        return self._table.name

    def close(self) -> None:
        self._netfilter.close()

    def commit(self, messages: Sequence[Message]) -> None:
        self._netfilter.commit(messages, self._table.family)

    def apply(
        self,
        changes: Changes,
        *,
        sets: Sequence[Set] = (),
        chains: Sequence[Chain] = (),
        replaced: Sequence[Chain] = (),
    ) -> None:
        """Raises NftError: the kernel holds something else than was thought, so ``rebuild``."""
        messages: list[Message] = []
        for number, item in enumerate(sets, _SET_NUMBER):
            self._sets[item.name] = item
            messages.append(new_set(self.name, item, number))
        messages += [new_chain(self.name, c) for c in (*chains, *replaced)]
        messages += [flush_chain(self.name, c.name) for c in replaced]
        messages += [new_rule(self.name, c.name, r) for c in (*chains, *replaced) for r in c.rules]
        messages += self._element_messages(changes.delete, changes.add)
        self.commit(messages)

    def rebuild(self, contents: Contents, sets: Sequence[Set], chains: Sequence[Chain]) -> None:
        """Makes everything as wanted, whatever is there; what packets wrote into dynamic sets stays where it can."""
        self._sets = {**self._table.sets, **{s.name: s for s in sets}}
        wanted = {name: contents.of_set(name) for name in self._sets}
        if self._is_ours():
            try:
                self.commit(list(self._repair(wanted, sets, chains)))
                return
            except NftError:
                pass  # changed so that it cannot be repaired, a chain's hook for instance: replaced below
        self.commit(list(self._replacement(wanted, sets, chains)))

    def remove(self) -> None:
        """Takes the table away; none there is no error."""
        try:
            self.commit([delete_table(self.name)])
        except NftError as failure:
            if failure.code != errno.ENOENT:
                raise

    # -- what is there ---------------------------------------------------------------------------------------------

    def _is_ours(self) -> bool:
        try:
            found = self._netfilter.get(wire.GETTABLE, self._table.family, wire.text(1, self.name))
        except NftError as failure:
            if failure.code == errno.ENOENT:
                return False
            raise
        return wire.attributes(found).get(6, b"") == self._fingerprint

    def _names(self, kind: int, attribute: int) -> list[str]:
        """Of the table's sets or chains. The kernel filters chains by no table, so that is done here."""
        found = []
        for body in self._netfilter.dump(kind, self._table.family, wire.text(1, self.name)):
            parts = wire.attributes(body)
            if parts.get(1, b"").rstrip(b"\0").decode() == self.name:
                found.append(parts[attribute].rstrip(b"\0").decode())
        return found

    def present(self, name: str) -> dict[bytes, bytes]:
        """The elements of a set as they are in the kernel."""
        body = wire.text(1, self.name) + wire.text(2, name)
        found: dict[bytes, bytes] = {}
        item = self._sets[name]
        for answer in self._netfilter.dump(wire.GETSETELEM, self._table.family, body):
            for _, element in wire.attribute_list(wire.attributes(answer).get(3, b"")):
                key, data = _element(element, item)
                found[key] = data
        return found

    def delete_if_there(self, name: str, key: bytes) -> None:
        """Deletes one element of a dynamic set, which may have run out meanwhile."""
        try:
            encoded = encode_elements(self._sets[name], {key: b""}, with_data=False)
            self.commit(list(elements(wire.DELSETELEM, self.name, name, encoded)))
        except NftError as failure:
            if failure.code != errno.ENOENT:
                raise

    # -- messages --------------------------------------------------------------------------------------------------

    def _repair(
        self, wanted: Mapping[str, Mapping[bytes, bytes]], sets: Sequence[Set], chains: Sequence[Chain]
    ) -> Iterator[Message]:
        known_sets, known_chains = set(self._names(wire.GETSET, 2)), set(self._names(wire.GETCHAIN, 3))
        all_chains = [*self._table.chains.values(), *chains]
        stale_chains = known_chains - {c.name for c in all_chains}
        for name in sorted(known_chains):
            yield flush_chain(self.name, name)
        delete: dict[str, dict[bytes, bytes]] = {}
        add: dict[str, Mapping[bytes, bytes]] = {}
        for name, item in self._sets.items():
            if item.dynamic:
                continue
            present = self.present(name) if name in known_sets else {}
            delete[name], add[name] = difference(wanted[name], present)
        yield from self._element_messages(delete, {})
        for number, item in enumerate(self._sets.values(), _SET_NUMBER):
            if item.name not in known_sets:
                yield new_set(self.name, item, number)
        for chain in all_chains:
            yield new_chain(self.name, chain)
        for chain in all_chains:
            for rule in chain.rules:
                yield new_rule(self.name, chain.name, rule)
        yield from self._element_messages({}, add)
        for name in sorted(stale_chains):
            yield delete_chain(self.name, name)
        for name in sorted(known_sets - self._sets.keys()):
            yield delete_set(self.name, name)

    def _replacement(
        self, wanted: Mapping[str, Mapping[bytes, bytes]], sets: Sequence[Set], chains: Sequence[Chain]
    ) -> Iterator[Message]:
        if self._table_exists():
            yield delete_table(self.name)
        whole = Table(self.name, self._table.family, dict(self._sets), dict(self._table.chains))
        whole.chains.update({c.name: c for c in chains})
        yield from creation(whole, self._fingerprint)
        yield from self._element_messages({}, {n: e for n, e in wanted.items() if not self._sets[n].dynamic})

    def _table_exists(self) -> bool:
        try:
            self._netfilter.get(wire.GETTABLE, self._table.family, wire.text(1, self.name))
            return True
        except NftError as failure:
            if failure.code == errno.ENOENT:
                return False
            raise

    def _element_messages(
        self, delete: Mapping[str, Mapping[bytes, bytes]], add: Mapping[str, Mapping[bytes, bytes]]
    ) -> list[Message]:
        messages: list[Message] = []
        for name, pairs in delete.items():
            encoded = encode_elements(self._sets[name], pairs, with_data=False)
            messages += elements(wire.DELSETELEM, self.name, name, encoded)
        for name, pairs in add.items():
            messages += elements(wire.NEWSETELEM, self.name, name, encode_elements(self._sets[name], pairs))
        return messages


def _element(encoded: bytes, item: Set) -> tuple[bytes, bytes]:
    """(key, data) as ``encode_elements`` takes them."""
    parts = wire.attributes(encoded)
    key = wire.attributes(parts[1])[1]
    if item.interval and 10 in parts:
        key += wire.attributes(parts[10])[1]
    if 2 not in parts:
        return key, b""
    data = wire.attributes(parts[2])
    if 1 in data:
        return key, data[1]
    verdict = wire.attributes(data[2])
    code = int.from_bytes(verdict[1], "big", signed=True)
    return key, verdict_value(code, verdict.get(2, b"").rstrip(b"\0").decode())
