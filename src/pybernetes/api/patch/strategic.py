"""Strategic merge patch: merging lists by key, with directives. Only built-in kinds have it.

Specified by "Strategic Merge Patch" in the API conventions and the design notes on retainKeys and on preserving order:
``$patch: delete|replace|merge``, ``$retainKeys``, ``$deleteFromPrimitiveList/<field>``, ``$setElementOrder/<field>``.
Order of a merged list: the order list first, then the patch, then the live object.
"""

from __future__ import annotations

from typing import Any

from .. import errors
from ..errors import StatusError
from ..meta import Object
from ..schema import Node, Schema, mismatch
from .jsonpatch import rejected

_DIRECTIVE, _RETAIN = "$patch", "$retainKeys"
_DELETE_LIST, _ORDER_LIST = "$deleteFromPrimitiveList", "$setElementOrder"


class _Drop:
    """What a directive in the place of a value leaves: nothing."""


_DROP = _Drop()


def strategic_merge_patch(obj: Object, patch: Any, schema: Schema) -> Object:
    """``obj`` with ``patch`` merged in by the merge keys of ``schema``. Raises 400 or 422 with upstream's words."""
    if not schema.builtin:
        raise errors.bad_request("strategic merge patch format is not supported")
    if not isinstance(patch, dict):
        raise errors.bad_request(
            mismatch.cannot_unmarshal(mismatch.json_kind(patch), "map[string]interface {}", "", ())
        )
    try:
        return _merge_map(obj, patch, schema.root)
    except RecursionError:
        raise errors.bad_request("json: exceeded max depth") from None


def _failed(message: str) -> StatusError:
    """Errors that upstream leaves untyped reach clients as a 500; a client's mistake is a 400 here."""
    return errors.bad_request(message)


# -- maps ------------------------------------------------------------------------------------------------------------


def _merge_map(original: Object, patch: Object, node: Node | None) -> Object:
    if _DIRECTIVE in patch:
        return _map_directive(patch)
    result = dict(original)
    if _RETAIN in patch:
        _retain_keys(result, patch)
    done = _merge_ordered_lists(result, patch, node)
    for key, value in patch.items():
        if key in done or key == _RETAIN or key.startswith(_ORDER_LIST):
            continue
        deleting = key.startswith(_DELETE_LIST)
        name = _field_of(key, _DELETE_LIST) if deleting else key
        if value is None:
            result.pop(name, None)
            continue
        existing: Any = result.get(name)
        if name not in result or existing.__class__ is not value.__class__:
            if not deleting:
                _set(result, name, _without_directives(value, discard_nulls=True))
            continue
        if isinstance(value, dict):
            result[name] = _merge_child_map(existing, value, _child(node, name))
        elif isinstance(value, list):
            result[name] = _merge_child_list(existing, value, _child(node, name), deleting)
        else:
            result[name] = value
    return result


def _set(target: Object, key: str, value: Any) -> None:
    if value is _DROP:
        target.pop(key, None)
    else:
        target[key] = value


def _map_directive(patch: Object) -> Object:
    directive = patch[_DIRECTIVE]
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != _DIRECTIVE}
    if directive == "delete":
        return {}
    raise _failed(f"unknown patch type: {directive} in map: {go_map(patch)}")


def _retain_keys(result: Object, patch: Object) -> None:
    keep = patch[_RETAIN]
    if not isinstance(keep, list):
        raise errors.bad_request("invalid patch format of retainKeys")
    names = {k for k in keep if isinstance(k, str)}
    for key, value in patch.items():
        if value is None or key == _RETAIN or key.startswith((_DELETE_LIST, _ORDER_LIST)):
            continue
        if key not in names:
            raise errors.bad_request("invalid patch format of retainKeys")
    for key in [k for k in result if k not in names]:
        del result[key]


def _field_of(key: str, prefix: str) -> str:
    head, slash, field = key.partition("/")
    if not slash or head != prefix:
        what = "primitive list" if prefix == _DELETE_LIST else "setElementOrder list"
        raise errors.bad_request(f"invalid patch format of {what}")
    return field


def _child(node: Node | None, key: str) -> Node | None:
    return node.child(key) if node is not None else None


def _strategies(node: Node | None) -> tuple[str, ...]:
    return tuple(node.patch_strategy.split(",")) if node is not None and node.patch_strategy else ()


def _merge_child_map(existing: Object, value: Object, node: Node | None) -> Object:
    if "replace" in _strategies(node):
        return value
    return _merge_map(existing, value, node)


def _merge_child_list(existing: list[Any], value: list[Any], node: Node | None, deleting: bool) -> list[Any]:
    if not deleting and "merge" not in _strategies(node):
        return value
    return _merge_list(existing, value, node, deleting)


def _without_directives(value: Any, *, discard_nulls: bool) -> Any:
    """A patch value that becomes content: directives have nothing to act on, nulls nothing to delete."""
    if isinstance(value, dict):
        if _DIRECTIVE in value:
            return _DROP
        kept = {}
        for key, item in value.items():
            if item is None and discard_nulls:
                continue
            new = _without_directives(item, discard_nulls=discard_nulls)
            if new is not _DROP:
                kept[key] = new
        return kept
    if isinstance(value, list):
        items = (_without_directives(item, discard_nulls=discard_nulls) for item in value)
        return [item for item in items if item is not _DROP]
    return value


# -- lists -----------------------------------------------------------------------------------------------------------


def _merge_ordered_lists(result: Object, patch: Object, node: Node | None) -> set[str]:
    """Lists that come with a ``$setElementOrder``; gives the keys of the patch that are dealt with."""
    done: set[str] = set()
    for key, order in patch.items():
        if not key.startswith(_ORDER_LIST):
            continue
        if not isinstance(order, list):
            raise _failed(f"expected a []interface {{}}, but received a {_go_type(order)}")
        field = _field_of(key, _ORDER_LIST)
        live, change = result.get(field), patch.get(field)
        for value, present in ((live, field in result), (change, field in patch)):
            if present and not isinstance(value, list):
                raise _failed(f"expected a []interface {{}}, but received a {_go_type(value)}")
        child = _child(node, field)
        merge_key = child.patch_merge_key if child is not None else ""
        _check_order(change or [], order, merge_key)
        if field in patch:
            done.add(field)
        merged = _merge_by_presence(result, patch, field, child)
        if merged is not None:
            result[field] = _arrange(merged, order, live if isinstance(live, list) else [], merge_key)
    return done


def _merge_by_presence(result: Object, patch: Object, field: str, child: Node | None) -> list[Any] | None:
    if field in result and field in patch:
        return _merge_child_list(result[field], patch[field], child, deleting=False)
    if field in result:
        return list(result[field])
    if field in patch:
        new = _without_directives(patch[field], discard_nulls=False)
        return new if isinstance(new, list) else None
    return None


def _check_order(change: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's items must be among the order list's, in the same order."""
    if not change or not order:
        return
    items = [i for i in change if not (isinstance(i, dict) and _DIRECTIVE in i)]
    at = 0
    keys = [_identity(o, merge_key) for o in order]
    for item in items:
        wanted = _identity(item, merge_key)
        while at < len(keys) and keys[at] != wanted:
            at += 1
        if at == len(keys):
            raise _failed(
                f"The order in patch list:\n{go_value(change)}\n doesn't match {_ORDER_LIST} list:\n{go_value(order)}\n"
            )
        at += 1


def _identity(item: Any, merge_key: str) -> tuple[type, Any]:
    """What makes two items the same: the merge key's value, or the item itself."""
    value = item
    if merge_key:
        if not isinstance(item, dict):
            raise _failed(f"expected a map[string]interface {{}}, but received a {_go_type(item)}")
        if merge_key not in item:
            raise _failed(f"map: {go_map(item)} does not contain declared merge key: {merge_key}")
        value = item[merge_key]
    if isinstance(value, dict | list):
        raise _failed("invalid patch format of primitive list")
    return (type(value), value)


def _merge_list(original: list[Any], patch: list[Any], node: Node | None, deleting: bool) -> list[Any]:
    if not original and not patch:
        return original
    _check_element_types(original, patch)
    first = (original or patch)[0]
    merge_key = node.patch_merge_key if node is not None else ""
    if not isinstance(first, dict):
        if deleting:
            gone = {_identity(item, "") for item in patch}
            return [item for item in original if _identity(item, "") not in gone]
        merged = _distinct([*original, *patch])
        return _arrange(merged, patch, original, "")
    if not merge_key:
        raise _failed(f"cannot merge lists without merge key for {node.go if node is not None else ''}".rstrip())
    base, plain = _special_elements(original, patch, merge_key)
    merged = _merge_items(base, plain, merge_key, node.items if node is not None else None)
    return _arrange(merged, plain, base, merge_key)


def _check_element_types(original: list[Any], patch: list[Any]) -> None:
    kind: type | None = None
    for item in (*original, *patch):
        if kind is None:
            kind = type(item)
            if kind is list:
                raise rejected()
        elif type(item) is not kind:
            shown = " ".join(go_value(items) for items in (original, patch))
            raise _failed(f"list element types are not identical: [{shown}]")


def _distinct(items: list[Any]) -> list[Any]:
    return list({_identity(item, ""): item for item in items}.values())


def _special_elements(original: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """Acts on items that carry ``$patch``; gives what is left of the live list and of the patch."""
    plain: list[Any] = []
    gone: set[tuple[type, Any]] = set()
    replace = False
    for item in patch:
        directive = item.get(_DIRECTIVE)
        if _DIRECTIVE not in item:
            plain.append(item)
        elif directive == "delete":
            gone.add(_identity(item, merge_key))
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _failed("merging lists cannot yet be specified in the patch")
        else:
            raise _failed(f"unknown patch type: {directive} in map: {go_map(item)}")
    if replace:
        return plain, []
    if gone:
        original = [i for i in original if merge_key not in i or _identity(i, merge_key) not in gone]
    return original, plain


def _merge_items(base: list[Any], patch: list[Any], merge_key: str, node: Node | None) -> list[Any]:
    merged = list(base)
    places: dict[tuple[type, Any], int] = {}
    for index, item in enumerate(merged):
        if merge_key in item:
            places.setdefault(_identity(item, merge_key), index)
    for item in patch:
        identity = _identity(item, merge_key)
        place = places.get(identity)
        if place is not None:
            merged[place] = _merge_map(merged[place], item, node)
        else:
            places[identity] = len(merged)
            merged.append(_without_directives(item, discard_nulls=False))
    return merged


def _arrange(merged: list[Any], order: list[Any], live: list[Any], merge_key: str) -> list[Any]:
    """Items named by ``order`` in that order, the others in the live list's, merged by their places in the live list."""
    wanted = _places(order, merge_key)
    lived = _places(live, merge_key)
    keyed = [(_identity(item, merge_key), item) for item in merged]
    named = sorted((k for k in keyed if k[0] in wanted), key=lambda k: wanted[k[0]])
    others = sorted((k for k in keyed if k[0] not in wanted), key=lambda k: lived.get(k[0], len(lived)))
    arranged: list[Any] = []
    left, right = 0, 0
    while left < len(others) and right < len(named):
        at_left, at_right = lived.get(others[left][0]), lived.get(named[right][0])
        if at_left is not None and at_right is not None and at_left < at_right:
            arranged.append(others[left][1])
            left += 1
        else:
            arranged.append(named[right][1])
            right += 1
    arranged += [item for _, item in others[left:]]
    arranged += [item for _, item in named[right:]]
    return arranged


def _places(items: list[Any], merge_key: str) -> dict[tuple[type, Any], int]:
    places: dict[tuple[type, Any], int] = {}
    for index, item in enumerate(items):
        places.setdefault(_identity(item, merge_key), index)
    return places


# -- Go's %v ---------------------------------------------------------------------------------------------------------


def _go_type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    if isinstance(value, bool):
        return "bool"
    return {str: "string", int: "int64", float: "float64"}.get(type(value), "%!s(<nil>)")


def go_map(value: Object) -> str:
    """``map[a:1 b:x]``: Go prints maps with sorted keys."""
    return "map[" + " ".join(f"{k}:{go_value(value[k])}" for k in sorted(value)) + "]"


def go_value(value: Any) -> str:
    if isinstance(value, dict):
        return go_map(value)
    if isinstance(value, list):
        return "[" + " ".join(go_value(v) for v in value) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
