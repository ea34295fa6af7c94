"""etcd's messages, as far as the store needs them: bytes to values and back. Specified by etcd's ``rpc.proto``, ``kv.proto``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..wire.protobuf.varint import delimited, fields, signed, tag, varint

_VARINT, _BYTES = 0, 2
MOD = 2
"""Compare target: the revision of the last write of a key."""


def _number(number: int, value: int) -> bytes:
    return tag(number, _VARINT) + varint(value) if value else b""


def _data(number: int, value: bytes) -> bytes:
    return delimited(tag(number, _BYTES), value) if value else b""


def _message(number: int, value: bytes) -> bytes:
    return delimited(tag(number, _BYTES), value)


def _int(value: int | bytes) -> int:
    return signed(value) if isinstance(value, int) else 0


def _bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


# -- requests -----------------------------------------------------------------------------------------------------------


def range_request(
    key: bytes,
    end: bytes = b"",
    *,
    limit: int = 0,
    revision: int = 0,
    keys_only: bool = False,
    count_only: bool = False,
) -> bytes:
    return (
        _data(1, key)
        + _data(2, end)
        + _number(3, limit)
        + _number(4, revision)
        + _number(8, keys_only)
        + _number(9, count_only)
    )


def put_request(key: bytes, value: bytes, lease: int = 0) -> bytes:
    return _data(1, key) + _data(2, value) + _number(3, lease)


def delete_request(key: bytes) -> bytes:
    return _data(1, key)


def guarded(key: bytes, expected: int, success: bytes) -> bytes:
    """A transaction: ``success`` if the key's revision is the expected one, else its current value."""
    compare = _number(2, MOD) + _data(3, key) + tag(6, _VARINT) + varint(expected)
    return _message(1, compare) + _message(2, success) + _message(3, _message(1, range_request(key)))


def put_op(key: bytes, value: bytes, lease: int = 0) -> bytes:
    return _message(2, put_request(key, value, lease))


def delete_op(key: bytes) -> bytes:
    return _message(3, delete_request(key))


def compaction_request(revision: int) -> bytes:
    return _number(1, revision)


def lease_request(seconds: int) -> bytes:
    return _number(1, seconds)


def watch_request(key: bytes, end: bytes, start: int) -> bytes:
    create = _data(1, key) + _data(2, end) + _number(3, start) + _number(4, 1)
    return _message(1, create)


def progress_request() -> bytes:
    """A question on a watch stream, which is answered whether or not anything has happened."""
    return _message(3, b"")


# -- responses ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Pair:
    """A key's state."""

    key: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    value: bytes = b""


def _pair(data: bytes) -> Pair:
    pair = Pair()
    for number, _, value in fields(data):
        if number == 1:
            pair.key = _bytes(value)
        elif number == 2:
            pair.create_revision = _int(value)
        elif number == 3:
            pair.mod_revision = _int(value)
        elif number == 5:
            pair.value = _bytes(value)
    return pair


def _revision(header: bytes) -> int:
    return next((_int(v) for n, _, v in fields(header) if n == 3), 0)


@dataclass(slots=True)
class RangeAnswer:
    revision: int = 0
    pairs: list[Pair] = field(default_factory=list)
    count: int = 0


def range_answer(data: bytes) -> RangeAnswer:
    answer = RangeAnswer()
    for number, _, value in fields(data):
        if number == 1:
            answer.revision = _revision(_bytes(value))
        elif number == 2:
            answer.pairs.append(_pair(_bytes(value)))
        elif number == 4:
            answer.count = _int(value)
    return answer


@dataclass(slots=True)
class TransactionAnswer:
    revision: int = 0
    succeeded: bool = False
    current: Pair | None = None
    """Where the guard did not hold: the key's state, None where there is none."""


def transaction_answer(data: bytes) -> TransactionAnswer:
    answer = TransactionAnswer()
    for number, _, value in fields(data):
        if number == 1:
            answer.revision = _revision(_bytes(value))
        elif number == 2:
            answer.succeeded = bool(value)
        elif number == 3:
            for inner, _, response in fields(_bytes(value)):
                if inner == 1:
                    pairs = range_answer(_bytes(response)).pairs
                    answer.current = pairs[0] if pairs else None
    return answer


def header_revision(data: bytes) -> int:
    """Of any response: its header is always the first field."""
    return next((_revision(_bytes(v)) for n, _, v in fields(data) if n == 1), 0)


def lease_answer(data: bytes) -> int:
    return next((_int(v) for n, _, v in fields(data) if n == 2), 0)


def database_size(data: bytes) -> int:
    """Of a StatusResponse."""
    return next((_int(v) for n, _, v in fields(data) if n == 3), 0)


def snapshot_blob(data: bytes) -> bytes:
    return next((_bytes(v) for n, _, v in fields(data) if n == 3), b"")


@dataclass(slots=True)
class WatchAnswer:
    revision: int = 0
    created: bool = False
    canceled: bool = False
    compacted: int = 0
    reason: str = ""
    asked: bool = False
    """It answers a ``progress_request``: it belongs to no watch."""
    events: list[tuple[bool, Pair]] = field(default_factory=list)
    """(whether it is a deletion, the state)."""


def watch_answer(data: bytes) -> WatchAnswer:
    answer = WatchAnswer()
    for number, _, value in fields(data):
        if number == 1:
            answer.revision = _revision(_bytes(value))
        elif number == 2:
            answer.asked = _int(value) == -1
        elif number == 3:
            answer.created = bool(value)
        elif number == 4:
            answer.canceled = bool(value)
        elif number == 5:
            answer.compacted = _int(value)
        elif number == 6:
            answer.reason = _bytes(value).decode("utf-8", "replace")
        elif number == 11:
            answer.events.append(_event(_bytes(value)))
    return answer


def _event(data: bytes) -> tuple[bool, Pair]:
    deleted, pair = False, Pair()
    for number, _, value in fields(data):
        if number == 1:
            deleted = value == 1
        elif number == 2:
            pair = _pair(_bytes(value))
    return deleted, pair
