"""Objects seen through their schema: comparing, listing, merging and removing by fields.

The rules are those of the "Merge strategy" section of the server-side apply page: scalars and atomic lists and maps are
leaves; structs and granular maps merge by key; list maps by their keys; sets by value. Values without a schema are
deduced: objects merge, lists are atomic. An empty or null container is a leaf, so that presence is tracked too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from ..schema.node import ANY, LIST, MAP, STRUCT, Node
from .fieldset import EMPTY, SELF, FieldSet, ordered_keys, path_text

DEDUCED = Node(ANY)


class _Absent:
    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()
"""There is no value (null is one)."""


class TypedError(ValueError):
    """A value that does not fit its schema in a way that matters for ownership."""


@dataclass(slots=True)
class Comparison:
    added: FieldSet = field(default_factory=dict)
    modified: FieldSet = field(default_factory=dict)
    removed: FieldSet = field(default_factory=dict)


def child_of(node: Node, key: str) -> Node:
    return node.child(key) or DEDUCED


def _shape(node: Node, value: Any) -> str:
    """How a present value is walked: ``map``, ``list`` or ``leaf``; nulls take the shape of their schema."""
    if value is None or value is ABSENT:
        if node.kind in (STRUCT, MAP, ANY):
            return "map"
        return "list" if node.kind == LIST else "leaf"
    if value.__class__ is dict:
        return "map"
    return "list" if value.__class__ is list else "leaf"


def _atomic(node: Node, shape: str) -> bool:
    if shape == "map":
        return node.atomic if node.kind in (STRUCT, MAP) else node.go == "runtime.RawExtension"
    if shape == "list":
        return node.kind != LIST or node.atomic
    return True


# -- list items ------------------------------------------------------------------------------------------------------


def is_atomic(node: Node, value: Any) -> bool:
    """Whether such a list or map is one value, owned and replaced as a whole."""
    return _atomic(node, _shape(node, value))


def item_key(node: Node, item: Any) -> str:
    """The path element of an item of a list map or a set. Raises TypedError."""
    if node.list_type == "set":
        if item.__class__ is dict:
            raise TypedError("associative list without keys has an element that's a map type")
        if item.__class__ is list:
            raise TypedError("not supported: associative list with lists as elements")
        if item is None:
            raise TypedError("associative list without keys has an element that's an explicit null")
        return "v:" + orjson.dumps(item).decode()
    if item is None:
        raise TypedError("associative list with keys may not have a null element")
    if item.__class__ is not dict:
        raise TypedError("associative list with keys may not have non-map elements")
    keys = node.list_map_keys
    if len(keys) == 1 and (value := item.get(keys[0])).__class__ is str:
        return f'k:{{"{keys[0]}":{orjson.dumps(value).decode()}}}'
    found = {}
    for name in keys:
        value = item.get(name, ABSENT)
        if value is ABSENT:
            child = node.items.child(name) if node.items is not None else None
            if child is None or child.default is None:
                continue
            value = child.default
        found[name] = value
    if not found:
        shown = " ".join(f'"{k}"' for k in keys)
        raise TypedError(
            f"associative list with keys has an element that omits all key fields [{shown}] "
            "(and doesn't have default values for any key fields)"
        )
    return "k:" + orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()


def _index(node: Node, items: list[Any] | None) -> dict[str, list[Any]]:
    """Items by their path element; more than one where there are duplicates."""
    found: dict[str, list[Any]] = {}
    for item in items or ():
        try:
            found.setdefault(item_key(node, item), []).append(item)
        except TypedError:
            continue
    return found


# -- compare ---------------------------------------------------------------------------------------------------------


def compare(node: Node, old: Any, new: Any) -> Comparison:
    """Which fields were added, modified and removed between two versions of an object."""
    result = Comparison()
    if old is not new:
        _compare_maps(node, old or {}, new or {}, result.added, result.modified, result.removed)
    return result


def _compare_maps(
    node: Node, old: dict[str, Any], new: dict[str, Any], added: FieldSet, modified: FieldSet, removed: FieldSet
) -> None:
    table = table_of(node)
    for key, value in new.items():
        before = old.get(key, ABSENT)
        if before is not value:
            if before is ABSENT:
                element, child = table.get(key) or _unlisted(node, key)
                added[element] = EMPTY if child is None else everything(child, value)
            elif before.__class__ is not value.__class__ or before != value:
                element, child = table.get(key) or _unlisted(node, key)
                if child is None and value is not None and before is not None:
                    modified[element] = EMPTY
                else:
                    _compare_child(element, child or child_of(node, key), before, value, added, modified, removed)
    if len(added) > 1:
        _sort(added)
    for key, value in old.items():
        if key not in new:
            element, child = table.get(key) or _unlisted(node, key)
            removed[element] = EMPTY if child is None else everything(child, value)


def _sort(fields: FieldSet) -> None:
    """Puts keys into order in place, so that what was built here need not be ordered again."""
    items = sorted(fields.items())
    fields.clear()
    fields.update(items)


Table = dict[str, tuple[str, Node | None]]


def table_of(node: Node) -> Table:
    """By field name of a struct: its path element, and its node where there may be fields below."""
    known: Table | None = node.compiled.get("table")
    if known is None:
        known = {
            name: ("f:" + name, field.node if field.node.kind in _CONTAINERS else None)
            for name, field in node.fields.items()
        }
        node.compiled["table"] = known
    return known


_CONTAINERS = (STRUCT, MAP, LIST, ANY)


def _unlisted(node: Node, key: str) -> tuple[str, Node | None]:
    child = child_of(node, key)
    return "f:" + key, child if child.kind in _CONTAINERS else None


def _compare_child(
    key: str, node: Node, old: Any, new: Any, added: FieldSet, modified: FieldSet, removed: FieldSet
) -> None:
    """Two present values that differ."""
    more: FieldSet = {}
    changed: FieldSet = {}
    less: FieldSet = {}
    leaf = _compare_values(node, old, new, more, changed, less)
    if leaf:
        modified[key] = {SELF: EMPTY, **changed} if changed else EMPTY
    elif changed:
        modified[key] = changed
    if more:
        added[key] = more
    if less:
        removed[key] = less


def _compare_values(node: Node, old: Any, new: Any, added: FieldSet, modified: FieldSet, removed: FieldSet) -> bool:
    """Fills in what is below; gives whether the value itself was modified as a leaf."""
    before, after = _shape(node, old), _shape(node, new)
    if old is None:
        before = after
    elif new is None:
        after = before
    if before != after:
        # the type changed (only where the schema does not say which): both forms count
        if before != "leaf" and not _atomic(node, before):
            removed.update(_children_of(everything(node, old)))
        if after != "leaf" and not _atomic(node, after):
            added.update(_children_of(everything(node, new)))
        return True
    if before == "leaf" or _atomic(node, before) or not (old or new):
        return bool(old.__class__ is not new.__class__ or old != new)
    if before == "map":
        _compare_maps(node, old or {}, new or {}, added, modified, removed)
    else:
        _compare_lists(node, old or [], new or [], added, modified, removed)
    return False


def _children_of(fields: FieldSet) -> FieldSet:
    return {k: v for k, v in fields.items() if k != SELF}


def _compare_lists(
    node: Node, old: list[Any], new: list[Any], added: FieldSet, modified: FieldSet, removed: FieldSet
) -> None:
    left, right = _index(node, old), _index(node, new)
    items = node.items or DEDUCED
    for key, after in right.items():
        before = left.get(key, [])
        if len(before) <= 1 and len(after) <= 1:
            if not before:
                added[key] = everything(items, after[0])
            elif before[0] is not after[0] and before[0] != after[0]:
                _compare_child(key, items, before[0], after[0], added, modified, removed)
        elif len(before) >= 2 and len(after) >= 2:
            if before != after:
                modified[key] = EMPTY
        elif len(before) >= 2:
            added[key] = everything(items, after[0])
            removed[key] = EMPTY
        else:
            if before:
                removed[key] = everything(items, before[0])
            added[key] = EMPTY
    for key, before in left.items():
        if key not in right:
            removed[key] = everything(items, before[0]) if len(before) == 1 else EMPTY


def everything(node: Node, value: Any) -> FieldSet:
    """The set of a value that appeared or went as a whole: itself and every field below, in order."""
    if value.__class__ is dict:
        if not value or _atomic(node, "map"):
            return EMPTY
        out: FieldSet = {SELF: EMPTY}
        table = table_of(node)
        for key in sorted(value) if len(value) > 1 else value:
            element, child = table.get(key) or _unlisted(node, key)
            out[element] = EMPTY if child is None else everything(child, value[key])
        return out
    if value.__class__ is list and value and not _atomic(node, "list"):
        out = {SELF: EMPTY}
        items = node.items or DEDUCED
        found = _index(node, value)
        for element in ordered_keys(found) if len(found) > 1 else found:
            same = found[element]
            out[element] = everything(items, same[0]) if len(same) == 1 else EMPTY
        return out
    return EMPTY


# -- the set of an applied configuration -----------------------------------------------------------------------------


def to_field_set(node: Node, value: Any) -> FieldSet:
    """The fields that a configuration claims: leaves, list items and keys of maps, not the structs on the way."""
    return _children_of(_claims(node, value, member=False) or {})


def _claims(node: Node, value: Any, *, member: bool) -> FieldSet | None:
    shape = _shape(node, value)
    if shape == "leaf" or _atomic(node, shape):
        return EMPTY
    children: FieldSet = {}
    if shape == "map":
        fields = node.fields
        for key, item in (value or {}).items():
            own = item is None or item == {} or key not in fields
            claimed = _claims(child_of(node, key), item, member=own)
            if claimed is not None:
                children["f:" + key] = claimed
    else:
        items = node.items or DEDUCED
        for element, found in _index(node, value).items():
            claimed = _claims(items, found[0], member=True) if len(found) == 1 else EMPTY
            if claimed is not None:
                children[element] = claimed
    if member:
        return {SELF: EMPTY, **children} if children else EMPTY
    return children or None


# -- validation ------------------------------------------------------------------------------------------------------


def check(node: Node, value: Any, path: str, found: list[str], *, duplicates: bool = False) -> None:
    """Collects what keeps a configuration from being merged, in upstream's words."""
    if value is None:
        return
    kind = node.kind
    if kind in (STRUCT, MAP):
        if not isinstance(value, dict):
            found.append(f"{path}: expected map, got {_go_value(value)}")
            return
        for key, item in value.items():
            child = node.child(key)
            if child is None:
                if node.preserve_unknown or (node.struct is not None and not node.fields and node.openapi is not None):
                    continue
                found.append(f"{path}.{key}: field not declared in schema")
                continue
            check(child, item, f"{path}.{key}", found, duplicates=duplicates)
    elif kind == LIST:
        if not isinstance(value, list):
            found.append(f"{path}: expected list, got {_go_value(value)}")
            return
        _check_items(node, value, path, found, duplicates=duplicates)
    elif kind != ANY:
        _check_scalar(node, value, path, found)


def _check_items(node: Node, value: list[Any], path: str, found: list[str], *, duplicates: bool) -> None:
    seen: set[str] = set()
    for index, item in enumerate(value):
        element = f"[{index}]"
        if not node.atomic:
            try:
                key = item_key(node, item)
            except TypedError as failure:
                found.append(f"{path}: element {index}: {failure}")
                return
            element = path_text((key,))
            if key in seen and not duplicates:
                found.append(f"{path}: duplicate entries for key {element}")
            seen.add(key)
        if node.items is not None:
            check(node.items, item, path + element, found, duplicates=duplicates)


_NUMERIC, _BOOLEAN, _UNTYPED = ("int", "number"), "bool", ("intorstring", "quantity")


def _check_scalar(node: Node, value: Any, path: str, found: list[str]) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if node.kind in _NUMERIC:
        if not number:
            found.append(f"{path}: expected numeric (int or float), got {_go_type(value)}")
    elif node.kind == _BOOLEAN:
        if not isinstance(value, bool):
            found.append(f"{path}: expected boolean, got {_go_value(value)}")
    elif node.kind in _UNTYPED:
        if isinstance(value, dict | list):
            found.append(f"{path}: expected any scalar, got {_go_value(value)}")
    elif not isinstance(value, str):
        shown = _go_type(value) + "{...}" if isinstance(value, dict | list) else str(value).lower()
        found.append(f"{path}: expected string, got &value.valueUnstructured{{Value:{shown}}}")


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return {str: "string", int: "int64", float: "float64"}.get(type(value), "nil")


def _go_value(value: Any) -> str:
    """How Go prints the wrapper of a value with %v."""
    from ..patch.strategic import go_value

    return "&{" + go_value(value) + "}"


# -- merge -----------------------------------------------------------------------------------------------------------


def merge(node: Node, live: Any, applied: Any) -> Any:
    """``live`` with ``applied`` laid over it. The result shares what did not change."""
    merged = _merge(node, live, applied)
    return {} if merged is ABSENT else merged


def _merge(node: Node, left: Any, right: Any) -> Any:
    if right is ABSENT:
        return left
    if left is ABSENT:
        return right
    shape = _shape(node, right)
    before = _shape(node, left)
    if left is None:
        before = shape
    if right is None:
        shape = before
    if shape != before or shape == "leaf" or _atomic(node, shape) or not (left or right):
        return right
    if shape == "map":
        out = dict(left or {})
        for key, value in (right or {}).items():
            out[key] = _merge(child_of(node, key), out.get(key, ABSENT), value)
        return out
    return _merge_lists(node, left or [], right or [])


def _merge_lists(node: Node, left: list[Any], right: list[Any]) -> list[Any]:
    """Items of both lists in the applied order; live ones keep their places between those they share."""
    items = node.items or DEDUCED
    right_by_key = {item_key(node, item): item for item in right}
    left_keys = [item_key(node, item) for item in left]
    left_by_key: dict[str, Any] = {}
    for key, item in zip(left_keys, left, strict=True):
        left_by_key[key] = None if key in left_by_key else item
    right_keys = list(right_by_key)
    shared = iter([key for key in right_keys if key in left_by_key])
    next_shared = next(shared, None)
    done: set[str] = set()
    out: list[Any] = []
    at_left = at_right = 0
    while at_left < len(left_keys) or at_right < len(right_keys):
        if at_left < len(left_keys) and at_right < len(right_keys):
            key = left_keys[at_left]
            if key == right_keys[at_right]:
                done.add(key)
                out.append(_merge(items, left_by_key[key], right_by_key[key]))
                at_left += 1
                at_right += 1
                next_shared = next(shared, None)
                continue
            if key in right_by_key and next_shared is not None and next_shared != key:
                at_left += 1
                continue
        if at_left < len(left_keys):
            key = left_keys[at_left]
            if key not in right_by_key:
                out.append(left[at_left])
                at_left += 1
                continue
            if key in done:
                at_left += 1
        if at_right < len(right_keys):
            key = right_keys[at_right]
            done.add(key)
            out.append(_merge(items, left_by_key.get(key, ABSENT), right_by_key[key]))
            at_right += 1
            if next_shared == key:
                next_shared = next(shared, None)
    return out


# -- remove ----------------------------------------------------------------------------------------------------------


def remove(node: Node, value: Any, gone: FieldSet) -> Any:
    """``value`` without the members of a set; containers that lose all their content stay, empty."""
    if not gone:
        return value
    shape = _shape(node, value)
    if shape == "leaf" or not value:
        return value
    if _atomic(node, shape):
        return None
    return _remove_fields(node, value, gone) if shape == "map" else _remove_items(node, value, gone)


def _remove_fields(node: Node, value: dict[str, Any], gone: FieldSet) -> dict[str, Any] | None:
    out: dict[str, Any] = {}
    touched = False
    for key, item in value.items():
        target = gone.get("f:" + key)
        if target is None:
            out[key] = item
        elif target and SELF not in target:
            touched = True
            out[key] = _emptied(item, remove(child_of(node, key), item, target))
    return out if out or touched else None


def _remove_items(node: Node, value: list[Any], gone: FieldSet) -> list[Any] | None:
    out: list[Any] = []
    touched = False
    for item in value:
        try:
            target = gone.get(item_key(node, item))
        except TypedError:
            target = None
        if target is None:
            out.append(item)
        elif target and SELF not in target:
            touched = True
            out.append(_emptied(item, remove(node.items or DEDUCED, item, target)))
    return out if out or touched else None


def _emptied(before: Any, after: Any) -> Any:
    if after is None and isinstance(before, dict | list):
        return {} if isinstance(before, dict) else []
    return after


def with_named_fields(node: Node, fields: FieldSet) -> FieldSet:
    """The same set with the struct fields on the way as members too (maps' keys and list items are so already)."""
    out: FieldSet = {}
    for key, below in fields.items():
        if key == SELF or not below:
            out[key] = below
            continue
        child = _node_at(node, key)
        deeper = with_named_fields(child, below)
        if SELF not in deeper and key[:2] == "f:" and key[2:] in node.fields:
            deeper = {SELF: EMPTY, **deeper}
        out[key] = deeper
    return out


def _node_at(node: Node, key: str) -> Node:
    if key[:2] == "f:":
        return child_of(node, key[2:])
    return node.items or DEDUCED
