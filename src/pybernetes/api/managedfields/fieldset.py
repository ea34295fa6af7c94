"""Sets of fields in the form of ``fieldsV1``: tries whose keys are path elements.

A key is ``f:<field>``, ``k:<keys of a list item as JSON>``, ``v:<value of a set item as JSON>`` or ``i:<index>``. An empty
node is a member of the set, a node with children is one where it has the key ``.``. The functions here never change
their arguments and may share nodes with them: treat sets as immutable.

Specified by "Server-Side Apply" (managedFields) and the FieldsV1 type.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

FieldSet = dict[str, Any]
Path = tuple[str, ...]

EMPTY: FieldSet = {}
SELF = "."


def is_member(node: FieldSet) -> bool:
    return not node or SELF in node


def _children(node: FieldSet) -> FieldSet:
    return {k: v for k, v in node.items() if k != SELF} if SELF in node else node


def _node(member: bool, children: FieldSet) -> FieldSet | None:
    """A node, or None where there would be nothing in it."""
    if member:
        return {SELF: EMPTY, **children} if children else EMPTY
    return children or None


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    if not right or left is right:
        return left
    if not left:
        return right
    out = dict(left)
    for key, node in right.items():
        if key == SELF:
            out[SELF] = EMPTY
            continue
        mine = out.get(key)
        out[key] = node if mine is None else _union_node(mine, node)
    return out


def _union_node(left: FieldSet, right: FieldSet) -> FieldSet:
    if left is right or left == right:
        return left
    node = _node(is_member(left) or is_member(right), union(_children(left), _children(right)))
    return EMPTY if node is None else node


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in ``left`` and not in ``right``; a member of ``right`` does not take its children with it."""
    if not right or left.keys().isdisjoint(right):
        return left
    out: FieldSet = {}
    for key, node in left.items():
        other = right.get(key)
        if other is None or key == SELF:
            out[key] = node
            continue
        member = is_member(node) and not is_member(other)
        rest = _node(member, difference(_children(node), _children(other)))
        if rest is not None:
            out[key] = rest
    return out


def recursive_difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Like ``difference``, and members of ``right`` take everything below them with them."""
    if not right or left.keys().isdisjoint(right):
        return left
    out: FieldSet = {}
    for key, node in left.items():
        other = right.get(key)
        if other is None or key == SELF:
            out[key] = node
            continue
        if is_member(other):
            continue
        rest = _node(is_member(node), recursive_difference(_children(node), _children(other)))
        if rest is not None:
            out[key] = rest
    return out


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    out: FieldSet = {}
    small, large = (left, right) if len(left) <= len(right) else (right, left)
    for key, node in small.items():
        other = large.get(key)
        if other is None or key == SELF:
            continue
        both = _node(is_member(node) and is_member(other), intersection(_children(node), _children(other)))
        if both is not None:
            out[key] = both
    return out


def below(fields: FieldSet, element: str) -> FieldSet:
    """The members under one element, without itself."""
    node = fields.get(element)
    return _children(node) if node else EMPTY


def has(fields: FieldSet, element: str) -> bool:
    """Whether the element itself is a member."""
    node = fields.get(element)
    return node is not None and is_member(node)


def contains(fields: FieldSet, path: Path) -> bool:
    for element in path[:-1]:
        fields = below(fields, element)
    return bool(path) and has(fields, path[-1])


def make(*paths: str | Path) -> FieldSet:
    """A set of paths of field names: ``make("kind", ("metadata", "name"))``."""
    out: FieldSet = {}
    for path in paths:
        parts = (path,) if isinstance(path, str) else path
        node: FieldSet = EMPTY
        for part in reversed(parts):
            node = {"f:" + part: node}
        out = union(out, node)
    return out


def iterate(fields: FieldSet, prefix: Path = ()) -> Iterator[Path]:
    """Every member: those of a level in order, then level by level what is below each."""
    keys = ordered_keys(fields)
    for key in keys:
        if is_member(fields[key]):
            yield (*prefix, key)
    for key in keys:
        yield from iterate(_children(fields[key]), (*prefix, key))


# -- order -----------------------------------------------------------------------------------------------------------

_KINDS = {".": 0, "f": 1, "k": 2, "v": 3, "i": 4}
# values of different JSON types compare by type: floats and integers, strings, booleans, lists, maps, null
_TYPES: dict[type, int] = {int: 0, float: 0, str: 1, bool: 2, list: 3, dict: 4, type(None): 5}


@lru_cache(maxsize=8192)
def _rank(key: str) -> tuple[Any, ...]:
    kind = _KINDS.get(key[:1], 5)
    if kind == 2:
        return (kind, [(name, _value_rank(v)) for name, v in sorted(orjson.loads(key[2:]).items())])
    if kind == 3:
        return (kind, _value_rank(orjson.loads(key[2:])))
    if kind == 4:
        return (kind, int(key[2:]))
    return (kind, key)


def _value_rank(value: Any) -> tuple[Any, ...]:
    return (
        _TYPES[type(value)],
        orjson.dumps(value) if isinstance(value, dict | list) else (value is not None and value),
    )


def ordered_keys(fields: FieldSet) -> list[str]:
    keys = [k for k in fields if k != SELF]
    if len(keys) > 1:
        if all(k[0] == "f" for k in keys):
            keys.sort()
        else:
            keys.sort(key=_rank)
    return keys


def ordered(fields: FieldSet) -> FieldSet:
    """The same set with its keys in the order in which upstream writes them."""
    if not fields:
        return EMPTY
    out: FieldSet = {SELF: EMPTY} if SELF in fields else {}
    for key in ordered_keys(fields):
        node = fields[key]
        out[key] = ordered(node) if node else EMPTY
    return out


# -- from outside ----------------------------------------------------------------------------------------------------


def parse(fields: Any) -> FieldSet:
    """The set that a client sent, with its path elements in canonical form. Raises ValueError."""
    if fields is None:
        return EMPTY
    if not isinstance(fields, dict):
        raise ValueError(f"unexpected value for a set of fields: {type(fields).__name__}")
    out: FieldSet = {}
    for key, node in fields.items():
        if key == SELF:
            out[SELF] = EMPTY
        else:
            out[canonical_element(key)] = parse(node)
    return out


@lru_cache(maxsize=8192)
def canonical_element(key: str) -> str:
    """A path element as we write it. Raises ValueError for what is none."""
    kind, text = key[:2], key[2:]
    if kind == "f:":
        return key
    if kind == "i:":
        return f"i:{int(text)}"
    if kind in ("k:", "v:"):
        value = orjson.loads(text)
        if kind == "k:" and (not isinstance(value, dict) or not value):
            raise ValueError(f"associative list key type path elements must have at least one key: {key}")
        return kind + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    raise ValueError(f"unknown type of path element {key!r}")


# -- for people ------------------------------------------------------------------------------------------------------


def path_text(path: Path) -> str:
    """``.spec.containers[name="a"].image``."""
    return "".join(map(_element_text, path))


def _element_text(element: str) -> str:
    kind, text = element[:2], element[2:]
    if kind == "f:":
        return "." + text
    if kind == "k:":
        return "[" + ",".join(f"{k}={_value_text(v)}" for k, v in sorted(orjson.loads(text).items())) + "]"
    if kind == "v:":
        return f"[={_value_text(orjson.loads(text))}]"
    return f"[{text}]"


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value).decode()
