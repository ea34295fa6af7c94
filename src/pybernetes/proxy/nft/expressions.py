"""The expressions that rules are made of, and how fields lie in the kernel's sixteen 4-byte registers.

A rule is a list of expressions evaluated from left to right; one that does not match ends the rule. ``load`` puts several
fields side by side into registers, which makes them one key for ``lookup``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .wire import attribute, be32, be64, nested, text

_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_LIST_ELEMENT = 1
_DATA_VALUE, _DATA_VERDICT = 1, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2

DROP, ACCEPT = 0, 1
JUMP, GOTO, RETURN = -3, -4, -5
EQUAL, DIFFERENT, LESS, AT_MOST, GREATER, AT_LEAST = range(6)

Expression = bytes


def register(number: int) -> int:
    """The kernel's name of 4-byte register 0..15."""
    return 8 + number


def expression(name: str, *parts: bytes) -> Expression:
    return nested(_LIST_ELEMENT, [text(_EXPRESSION_NAME, name), nested(_EXPRESSION_DATA, parts)])


def value(kind: int, data: bytes) -> bytes:
    return nested(kind, [attribute(_DATA_VALUE, data)])


def verdict_data(kind: int, code: int, chain: str = "") -> bytes:
    parts = [be32(_VERDICT_CODE, code)]
    if chain:
        parts.append(text(_VERDICT_CHAIN, chain))
    return nested(kind, [nested(_DATA_VERDICT, parts)])


def payload(base: int, offset: int, size: int, to: int) -> Expression:
    return expression("payload", be32(1, register(to)), be32(2, base), be32(3, offset), be32(4, size))


def source_address(to: int) -> Expression:
    return payload(1, 12, 4, to)


def destination_address(to: int) -> Expression:
    return payload(1, 16, 4, to)


def destination_port(to: int) -> Expression:
    return payload(2, 2, 2, to)


def protocol(to: int) -> Expression:
    return meta(16, to)


def meta(key: int, to: int) -> Expression:
    return expression("meta", be32(1, register(to)), be32(2, key))


META_MARK, META_IIF, META_OIF, META_IIFNAME, META_OIFNAME = 3, 4, 5, 6, 7


def set_meta(key: int, from_: int) -> Expression:
    return expression("meta", be32(3, register(from_)), be32(2, key))


def immediate(to: int, data: bytes) -> Expression:
    return expression("immediate", be32(1, register(to)), value(2, data))


def frontend(to: int) -> list[Expression]:
    """Destination address, protocol and port as one key in three registers."""
    return [destination_address(to), protocol(to + 1), destination_port(to + 2)]


CT_STATE, CT_STATUS, CT_PROTOCOL_DESTINATION, CT_SOURCE_IP, CT_DESTINATION_IP = 0, 2, 12, 19, 20
STATE_INVALID, STATE_ESTABLISHED, STATE_RELATED, STATE_NEW, STATE_UNTRACKED = 1, 2, 4, 8, 64
STATUS_SNAT, STATUS_DNAT = 0x10, 0x20


def conntrack(key: int, to: int, *, original: bool = False) -> Expression:
    parts = [be32(1, register(to)), be32(2, key)]
    if original:
        parts.append(attribute(3, b"\0"))
    return expression("ct", *parts)


def original_frontend(to: int) -> list[Expression]:
    """As ``frontend``, of the connection's first packet before any translation."""
    return [
        conntrack(CT_DESTINATION_IP, to, original=True),
        protocol(to + 1),
        conntrack(CT_PROTOCOL_DESTINATION, to + 2, original=True),
    ]


def compare(from_: int, operator: int, data: bytes) -> Expression:
    return expression("cmp", be32(1, register(from_)), be32(2, operator), value(3, data))


def mask(from_: int, bits: bytes) -> Expression:
    size = len(bits)
    return expression(
        "bitwise",
        be32(1, register(from_)),
        be32(2, register(from_)),
        be32(3, size),
        value(4, bits),
        value(5, b"\0" * size),
    )


def has_state(states: int, to: int) -> list[Expression]:
    """Matches a connection in one of these states."""
    return _any_bit(conntrack(CT_STATE, to), states, to)


def was_translated(to: int) -> list[Expression]:
    """Matches a connection whose destination was rewritten."""
    return _any_bit(conntrack(CT_STATUS, to), STATUS_DNAT, to)


def _any_bit(load: Expression, bits: int, to: int) -> list[Expression]:
    return [load, mask(to, bits.to_bytes(4, sys.byteorder)), compare(to, DIFFERENT, b"\0\0\0\0")]


def lookup(name: str, from_: int, to: int | None = None, *, inverted: bool = False) -> Expression:
    """Matches what is in the set (or is not); of a map, loads what belongs to the key."""
    parts = [text(1, name), be32(2, register(from_))]
    if to is not None:
        parts.append(be32(3, register(to)))
    if inverted:
        parts.append(be32(5, 1))
    return expression("lookup", *parts)


def lookup_verdict(name: str, from_: int) -> Expression:
    return expression("lookup", text(1, name), be32(2, register(from_)), be32(3, 0))


def random_below(modulus: int, to: int) -> Expression:
    return expression("numgen", be32(1, register(to)), be32(2, modulus), be32(3, 1))


def destination_nat(family: int, address: int, port: int) -> Expression:
    return expression("nat", be32(1, 1), be32(2, family), be32(3, register(address)), be32(5, register(port)))


def masquerade() -> Expression:
    """With fully random source ports: two connections that race for one port do not lose packets."""
    return expression("masq", be32(1, 0x10))


def address_type(to: int, *, of_source: bool = False) -> Expression:
    """Loads what the routing table says an address is (``LOCAL_ADDRESS`` for the node's own)."""
    return expression("fib", be32(1, register(to)), be32(2, 3), be32(3, 1 if of_source else 2))


LOCAL_ADDRESS = (2).to_bytes(4, sys.byteorder)

DYNAMIC_ADD, DYNAMIC_UPDATE, DYNAMIC_DELETE = range(3)


def dynamic(name: str, operation: int, key: int, data: int | None = None, timeout: float = 0) -> Expression:
    """Changes a set from the packet path: adds, renews or removes the element of this key."""
    parts = [text(1, name), be32(3, operation), be32(4, register(key))]
    if data is not None:
        parts.append(be32(5, register(data)))
    if timeout:
        parts.append(be64(6, int(timeout * 1000)))
    return expression("dynset", *parts)


def reject() -> Expression:
    """Answers port unreachable, which a client sees as connection refused."""
    return expression("reject", be32(1, 0), attribute(2, b"\3"))


def notrack() -> Expression:
    """Leaves a packet out of connection tracking."""
    return expression("notrack")


def verdict(code: int, chain: str = "") -> Expression:
    return expression("immediate", be32(1, 0), verdict_data(2, code, chain))


def counter() -> Expression:
    return expression("counter", be64(1, 0), be64(2, 0))


def in_network(network: tuple[bytes, bytes], load: Expression, at: int, *, inside: bool = True) -> list[Expression]:
    """Matches an address (loaded by ``load`` into register ``at``) inside or outside a network given as (address, mask)."""
    address, bits = network
    return [load, mask(at, bits), compare(at, EQUAL if inside else DIFFERENT, address)]


def join(*parts: Expression | Sequence[Expression]) -> list[Expression]:
    """Flattens expressions and lists of such into one rule."""
    found: list[Expression] = []
    for part in parts:
        if isinstance(part, bytes):
            found.append(part)
        else:
            found.extend(part)
    return found
