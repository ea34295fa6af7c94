"""Values at the simple paths of a definition: scale paths and selectable fields. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ...api.jsonpath import JSONPath, JSONPathError
from ...api.meta import Object

_GO = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    dict: "map[string]interface {}",
    list: "[]interface {}",
}


class WrongType(ValueError):
    """Another type than the path promises, in Go's words."""


def _steps(path: str) -> list[str]:
    return path.removeprefix(".").split(".")


def _at(obj: Object, path: str) -> tuple[Any, bool]:
    """(value, whether there is one). Raises WrongType."""
    value: Any = obj
    done: list[str] = []
    for step in _steps(path):
        if value is None:
            return None, False
        if not isinstance(value, dict):
            where = "." + ".".join([*done, step])
            words = f"{where} accessor error: {_shown(value)} is of the type {_GO[type(value)]}, expected map[string]interface{{}}"
            raise WrongType(words)
        if step not in value:
            return None, False
        value = value[step]
        done.append(step)
    return value, True


def _shown(value: Any) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _wrong(path: str, value: Any, wanted: str) -> WrongType:
    where = "." + ".".join(_steps(path))
    kind = "<nil>" if value is None else _GO[type(value)]
    return WrongType(f"{where} accessor error: {_shown(value)} is of the type {kind}, expected {wanted}")


def integer(obj: Object, path: str) -> int | None:
    """None where there is no value. Raises WrongType."""
    value, found = _at(obj, path)
    if not found:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(path, value, "int64")
    return value


def text(obj: Object, path: str) -> str | None:
    value, found = _at(obj, path)
    if not found:
        return None
    if not isinstance(value, str):
        raise _wrong(path, value, "string")
    return value


def put(obj: Object, path: str, value: Any) -> None:
    """Sets a value; what is on the way to it is copied, since it may be shared. Raises WrongType."""
    *steps, last = _steps(path)
    here = obj
    for step in steps:
        below = here.get(step)
        if below is None:
            below = {}
        elif not isinstance(below, dict):
            raise WrongType(f"value cannot be set because .{'.'.join(steps)} is not a map[string]interface{{}}")
        here[step] = below = dict(below)
        here = below
    here[last] = value


@lru_cache(maxsize=4096)
def _compiled(path: str) -> JSONPath | None:
    try:
        return JSONPath(path)
    except JSONPathError:
        return None


def printed(obj: Object, path: str) -> str:
    """A selectable field's text, '' where it is unset."""
    compiled = _compiled(path)
    values = compiled.find(obj) if compiled is not None else []
    value = values[0] if values else None
    if value is None:
        return ""
    return _shown(value)
