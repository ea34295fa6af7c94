"""JSON patch, RFC 6902, with the behaviour and the words of the library that upstream uses.

That library is more lenient than the RFC in ways that clients rely on: ``replace`` of a missing object key adds it,
negative indices count from the end, ``test`` of a missing key against null succeeds.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import orjson

from .. import errors
from ..errors import StatusError
from ..meta import Object
from ..schema import mismatch

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024
_MISSING, _INVALID_INDEX, _TEST_FAILED = "missing value", "invalid index referenced", "test failed"
_INTEGER = re.compile(r"[+-]?\d+")
Container = dict[str, Any] | list[Any]


class _Failed(Exception):
    """An operation that cannot be done; the message is what the client gets."""


def json_patch(obj: Object, ops: Any) -> Object:
    """``obj`` after the operations, in order; all or nothing.

    Raises 400 (no list of operations), 413 (too many) or 422 (one of them failed).
    """
    _check(ops)
    document = _Document(copy.deepcopy(obj))
    for op in ops or ():
        kind = _text(op, "op") or "unknown"
        run = _OPERATIONS.get(kind)
        try:
            if run is None:
                raise _Failed(f"Unexpected kind: {kind}")
            run(document, op)
        except _Failed as failure:
            raise rejected() from failure
    if not isinstance(document.root, dict):
        raise errors.bad_request("json: cannot unmarshal array into Go value of type map[string]interface {}")
    return document.root


def rejected() -> StatusError:
    """What upstream answers for a patch that does not apply: the reason stays in the server."""
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _check(ops: Any) -> None:
    if ops is not None and not isinstance(ops, list):
        raise errors.bad_request(_undecodable(ops, "[]handlers.jsonPatchOp"))
    ops = ops or []
    if len(ops) > MAX_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{MAX_OPERATIONS}, got {len(ops)}",
        )
    for op in ops:
        if op is not None and not isinstance(op, dict):
            raise errors.bad_request(_undecodable(op, "handlers.jsonPatchOp"))


def _undecodable(value: Any, go: str) -> str:
    return "error decoding patch: " + mismatch.cannot_unmarshal(mismatch.json_kind(value), go, "", ())


def _text(op: Any, name: str) -> str | None:
    value = op.get(name) if op else None
    return value if isinstance(value, str) else None


def _decode(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


class _Document:
    __slots__ = ("copied", "root")

    def __init__(self, root: Any) -> None:
        self.root = root
        self.copied = 0

    def find(self, path: str) -> tuple[Container | None, str]:
        """The container that a pointer's last part is looked up in, and that part."""
        parts = path.split("/")
        if len(parts) < 2:
            return None, ""
        at = self.root
        for part in parts[1:-1]:
            try:
                at = _get(at, _decode(part))
            except _Failed:
                return None, ""
            if not isinstance(at, dict | list):
                return None, ""
        return at, _decode(parts[-1])


def _index(key: str) -> int:
    if not _INTEGER.fullmatch(key):
        raise _Failed(f"strconv.Atoi: parsing {errors.go_quote(key)}: invalid syntax")
    number = int(key) if len(key) < 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise _Failed(f"strconv.Atoi: parsing {errors.go_quote(key)}: value out of range")
    return number


def _bounded(key: str, length: int, limit: int) -> int:
    index = _index(key)
    if index >= limit or index < -length:
        raise _Failed(f"Unable to access invalid index: {index}: {_INVALID_INDEX}")
    return index + length if index < 0 else index


def _get(at: Container, key: str) -> Any:
    if isinstance(at, dict):
        return at.get(key)
    return at[_bounded(key, len(at), len(at))]


def _remove(at: Container, key: str) -> None:
    if isinstance(at, dict):
        if key not in at:
            raise _Failed(f"Unable to remove nonexistent key: {key}: {_MISSING}")
        del at[key]
    else:
        del at[_bounded(key, len(at), len(at))]


def _add(at: Container, key: str, value: Any) -> None:
    if isinstance(at, dict):
        at[key] = value
    elif key == "-":
        at.append(value)
    else:
        try:
            _index(key)
        except _Failed as failure:
            raise _Failed(f"value was not a proper array index: '{key}': {failure}") from failure
        at.insert(_bounded(key, len(at) + 1, len(at) + 1), value)


def _within(where: str, step: Callable[[], Any]) -> Any:
    try:
        return step()
    except _Failed as failure:
        raise _Failed(f"{where}: {failure}") from failure


def _do_add(document: _Document, op: dict[str, Any]) -> None:
    path = _text(op, "path")
    if path is None:
        raise _Failed(f"add operation failed to decode path: {_MISSING}")
    at, key = document.find(path)
    if at is None:
        raise _Failed(f'add operation does not apply: doc is missing path: "{path}": {_MISSING}')
    _within(f"error in add for path: '{path}'", lambda: _add(at, key, copy.deepcopy(op.get("value"))))


def _do_remove(document: _Document, op: dict[str, Any]) -> None:
    path = _text(op, "path")
    if path is None:
        raise _Failed(f"remove operation failed to decode path: {_MISSING}")
    at, key = document.find(path)
    if at is None:
        raise _Failed(f'remove operation does not apply: doc is missing path: "{path}": {_MISSING}')
    _within(f"error in remove for path: '{path}'", lambda: _remove(at, key))


def _do_replace(document: _Document, op: dict[str, Any]) -> None:
    path = _text(op, "path")
    if path is None:
        raise _Failed(f"replace operation failed to decode path: operation missing path field: {_MISSING}")
    value = copy.deepcopy(op.get("value"))
    if path == "":
        if not isinstance(value, dict | list):
            raise _Failed("replace operation value must be object or array")
        document.root = value
        return
    at, key = document.find(path)
    if at is None:
        raise _Failed(f"replace operation does not apply: doc is missing path: {path}: {_MISSING}")
    if isinstance(at, dict):
        at[key] = value
        return
    try:
        at[_bounded(key, len(at), len(at))] = value
    except _Failed as failure:
        raise _Failed(f"replace operation does not apply: doc is missing key: {path}: {_MISSING}") from failure


def _do_move(document: _Document, op: dict[str, Any]) -> None:
    origin = _text(op, "from")
    if origin is None:
        raise _Failed(f"move operation failed to decode from: operation, missing from field: {_MISSING}")
    at, key = document.find(origin)
    if at is None:
        raise _Failed(f"move operation does not apply: doc is missing from path: {origin}: {_MISSING}")
    container = at
    where = f"error in move for path: '{key}'"
    value = _within(where, lambda: _get(container, key))
    _within(where, lambda: _remove(container, key))
    path = _text(op, "path")
    if path is None:
        raise _Failed(f"move operation failed to decode path: operation missing path field: {_MISSING}")
    target, last = document.find(path)
    if target is None:
        raise _Failed(f"move operation does not apply: doc is missing destination path: {path}: {_MISSING}")
    _within(f"error in move for path: '{path}'", lambda: _add(target, last, value))


def _do_copy(document: _Document, op: dict[str, Any]) -> None:
    origin = _text(op, "from")
    if origin is None:
        raise _Failed(f"copy operation failed to decode from: operation, missing from field: {_MISSING}")
    at, key = document.find(origin)
    if at is None:
        raise _Failed(f"copy operation does not apply: doc is missing from path: {origin}: {_MISSING}")
    container = at
    value = _within(f"error in copy for from: '{origin}'", lambda: _get(container, key))
    path = _text(op, "path")
    if path is None:
        raise _Failed(f"copy operation failed to decode path: {_MISSING}")
    target, last = document.find(path)
    if target is None:
        raise _Failed(f"copy operation does not apply: doc is missing destination path: {path}: {_MISSING}")
    document.copied += len(orjson.dumps(value))
    if document.copied > MAX_COPIED_BYTES:
        raise _Failed(
            f"Unable to complete the copy, the accumulated size increase of copy is {document.copied}, "
            f"exceeding the limit {MAX_COPIED_BYTES}"
        )
    _within("error while adding value during copy", lambda: _add(target, last, copy.deepcopy(value)))


def _do_test(document: _Document, op: dict[str, Any]) -> None:
    path = _text(op, "path")
    if path is None:
        raise _Failed(f"test operation failed to decode path: operation missing path field: {_MISSING}")
    wanted = op.get("value")
    if path == "":
        have = document.root
    else:
        at, key = document.find(path)
        if at is None:
            raise _Failed(f"test operation does not apply: is missing path: {path}: {_MISSING}")
        container = at
        have = _within(f"error in test for path: '{path}'", lambda: _get(container, key))
    if not same_json(have, wanted):
        raise _Failed(f"testing value {path} failed: {_TEST_FAILED}")


def same_json(left: Any, right: Any) -> bool:
    """Equality that tells true from 1 and 1 from 1.0, as their JSON texts differ."""
    if left.__class__ is not right.__class__:
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same_json(v, right[k]) for k, v in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)


_OPERATIONS: dict[str, Callable[[_Document, dict[str, Any]], None]] = {
    "add": _do_add,
    "remove": _do_remove,
    "replace": _do_replace,
    "move": _do_move,
    "copy": _do_copy,
    "test": _do_test,
}
