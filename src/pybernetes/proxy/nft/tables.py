"""Tables, sets, chains and rules as descriptions, and the messages that make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from . import wire
from .expressions import GOTO, Expression
from .wire import attribute, be32, nested, text

Message = tuple[int, int, int, bytes]
"""(kind, flags, family, body): family 0 is the transaction's."""


class Field(NamedTuple):
    """A data type by nft's number, so that ``nft list`` prints it well, and its size in bytes."""

    number: int
    size: int


ADDRESS, PROTOCOL, SERVICE, MARK = Field(7, 4), Field(12, 1), Field(13, 2), Field(19, 4)
VERDICT = Field(0xFFFFFF00, 16)

_CONSTANT, INTERVAL, _MAP, _TIMEOUT, _EVALUATED, _CONCATENATED = 2, 4, 8, 0x10, 0x20, 0x80
INTERVAL_END = 1
_TYPE_BITS = 6
ELEMENTS_BYTES = 48 * 1024
"""Bytes of elements in one message: a netlink attribute holds less than 64 KiB."""


@dataclass(frozen=True, slots=True)
class Set:
    """A set, or a map where ``data`` says what belongs to a key. ``dynamic`` ones are filled by packets, up to ``size``."""

    name: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] = ()
    dynamic: bool = False
    size: int = 0
    interval: bool = False

    @property
    def is_verdict_map(self) -> bool:
        return self.data == (VERDICT,)


@dataclass(frozen=True, slots=True)
class Hook:
    """Where packets enter a base chain."""

    kind: str
    number: int
    priority: int


PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)


@dataclass(frozen=True, slots=True)
class Rule:
    expressions: tuple[Expression, ...]
    comment: str = ""


@dataclass(slots=True)
class Chain:
    name: str
    hook: Hook | None = None
    rules: list[Rule] = field(default_factory=list)

    def add(self, expressions: Sequence[Expression], comment: str = "") -> None:
        self.rules.append(Rule(tuple(expressions), comment))


@dataclass(slots=True)
class Table:
    """A whole table but for its elements."""

    name: str
    family: int
    sets: dict[str, Set] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)

    def add_set(self, item: Set) -> None:
        self.sets[item.name] = item

    def add_chain(self, name: str, hook: Hook | None = None) -> Chain:
        chain = self.chains[name] = Chain(name, hook)
        return chain


def _type_of(fields: Sequence[Field]) -> int:
    number = 0
    for one in fields:
        number = number << _TYPE_BITS | one.number
    return number


def _size_of(fields: Sequence[Field]) -> int:
    return fields[0].size if len(fields) == 1 else sum((f.size + 3) & ~3 for f in fields)


def new_table(table: str, userdata: bytes = b"") -> Message:
    body = text(1, table)
    if userdata:
        body += attribute(6, userdata)
    return wire.NEWTABLE, wire.CREATE, 0, body


def delete_table(table: str) -> Message:
    return wire.DELTABLE, 0, 0, text(1, table)


def new_set(table: str, item: Set, number: int) -> Message:
    flags = (_MAP if item.data else 0) | (INTERVAL if item.interval else 0)
    if item.dynamic:
        flags |= _TIMEOUT | _EVALUATED
    if item.interval and len(item.key) > 1:
        flags |= _CONCATENATED
    parts = [
        text(1, table),
        text(2, item.name),
        be32(3, flags),
        be32(4, _type_of(item.key)),
        be32(5, _size_of(item.key)),
    ]
    if item.data:
        parts += [be32(6, _type_of(item.data)), be32(7, _size_of(item.data))]
    description = [be32(1, item.size)] if item.size else []
    if flags & _CONCATENATED:
        description.append(nested(2, [nested(1, [be32(1, f.size)]) for f in item.key]))
    if description:
        parts.append(nested(9, description))
    parts.append(be32(10, number))
    return wire.NEWSET, wire.CREATE, 0, b"".join(parts)


def new_chain(table: str, chain: Chain) -> Message:
    parts = [text(1, table), text(3, chain.name)]
    if chain.hook is not None:
        parts.append(nested(4, [be32(1, chain.hook.number), be32(2, chain.hook.priority)]))
        parts += [be32(5, 1), text(7, chain.hook.kind)]
    return wire.NEWCHAIN, wire.CREATE, 0, b"".join(parts)


def delete_chain(table: str, chain: str) -> Message:
    return wire.DELCHAIN, 0, 0, text(1, table) + text(3, chain)


def new_rule(table: str, chain: str, rule: Rule) -> Message:
    parts = [text(1, table), text(2, chain), nested(4, rule.expressions)]
    if rule.comment:
        comment = rule.comment.encode()[:250] + b"\0"
        parts.append(attribute(7, bytes((0, len(comment))) + comment))
    return wire.NEWRULE, wire.CREATE | wire.APPEND, 0, b"".join(parts)


def flush_chain(table: str, chain: str) -> Message:
    return wire.DELRULE, 0, 0, text(1, table) + text(2, chain)


def delete_set(table: str, name: str) -> Message:
    return wire.DELSET, 0, 0, text(1, table) + text(2, name)


def flush_set(table: str, name: str) -> Message:
    return wire.DELSETELEM, 0, 0, text(1, table) + text(2, name)


def element(key: bytes, data: bytes = b"", *, verdict_map: bool = False) -> bytes:
    parts = nested(1, [attribute(1, key)])
    if data:
        parts += nested(2, [data if verdict_map else attribute(1, data)])
    return attribute(1 | wire.NESTED, parts)


def interval_element(first: bytes, last: bytes) -> bytes:
    """One element of a concatenated interval set: first and last key, field by field."""
    return attribute(1 | wire.NESTED, nested(1, [attribute(1, first)]) + nested(10, [attribute(1, last)]))


def verdict_value(code: int, chain: str = "") -> bytes:
    """What a verdict map holds."""
    parts = [be32(1, code)]
    if chain:
        parts.append(text(2, chain))
    return nested(2, parts)


def goto_data(chain: str) -> bytes:
    return verdict_value(GOTO, chain)


def elements(kind: int, table: str, name: str, encoded: Iterable[bytes]) -> Iterator[Message]:
    """Messages that add (``wire.NEWSETELEM``) or delete (``wire.DELSETELEM``) elements of one set."""
    flags = wire.CREATE if kind == wire.NEWSETELEM else 0
    head = text(1, table) + text(2, name)
    chunk: list[bytes] = []
    size = 0
    for one in encoded:
        if size + len(one) > ELEMENTS_BYTES:
            yield kind, flags, 0, head + nested(3, chunk)
            chunk, size = [], 0
        chunk.append(one)
        size += len(one)
    if chunk:
        yield kind, flags, 0, head + nested(3, chunk)


def encode_elements(item: Set, pairs: Mapping[bytes, bytes], *, with_data: bool = True) -> Iterator[bytes]:
    """Encoded elements of a set. In an interval set a key is the first and the last key, one after the other."""
    if item.interval:
        half = _size_of(item.key)
        for key in pairs:
            yield interval_element(key[:half], key[half:])
        return
    verdict_map = item.is_verdict_map
    for key, data in pairs.items():
        yield element(key, data if with_data else b"", verdict_map=verdict_map)


def creation(table: Table, userdata: bytes = b"") -> Iterator[Message]:
    """Messages that make a table with its sets, chains and rules, empty of elements."""
    yield new_table(table.name, userdata)
    for number, item in enumerate(table.sets.values(), 1):
        yield new_set(table.name, item, number)
    for chain in table.chains.values():
        yield new_chain(table.name, chain)
    for chain in table.chains.values():
        for rule in chain.rules:
            yield new_rule(table.name, chain.name, rule)
