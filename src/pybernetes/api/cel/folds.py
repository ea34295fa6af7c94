"""The loops of macros as closures.

Each stands for a fold in upstream's interpreter; the constants are the costs of the fold's own steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import lists, values
from .costs import quadratic
from .operators import has_key, show_key
from .running import MISSING, CostExceeded, Eval, Run, spend
from .values import CelError, NoSuchOverload

Binder = Callable[[Run, Any], Iterable[None]]


def binder(first: int, second: int) -> Binder:
    """Sets the variables for one element after the other."""

    def single(run: Run, over: Any) -> Iterable[None]:
        slots = run.slots
        if not isinstance(over, list | dict):
            raise _not_iterable(over)
        for element in over:
            slots[first] = element
            yield

    def double(run: Run, over: Any) -> Iterable[None]:
        slots = run.slots
        if not isinstance(over, list | dict):
            raise _not_iterable(over)
        for key, element in over.items() if isinstance(over, dict) else enumerate(over):
            slots[first] = key
            slots[second] = element
            yield

    return single if second < 0 else double


def _not_iterable(value: Any) -> CelError:
    name = "Null" if value is None else values.type_name(value).rpartition(".")[2].capitalize()
    return CelError(f"got 'types.{name}', expected iterable type")


def _more(elements: Iterator[None]) -> bool:
    """Whether a loop that is left early had more to do: then its condition is looked at once more."""
    return next(elements, MISSING) is not MISSING


def _all(over: Eval, bind: Binder, _: Eval | None, body: Eval | None) -> Eval:
    assert body is not None
    test = body

    def check(run: Run) -> Any:
        failure: CelError | None = None
        elements = iter(bind(run, over(run)))
        for _ in elements:
            try:
                value = test(run)
            except CostExceeded:
                raise
            except CelError as error:
                failure = failure or error
                value = None
            spend(run, 3)
            if value is False:
                spend(run, 3 if _more(elements) else 1)
                return False
            if value is not True and failure is None:
                failure = NoSuchOverload()
        spend(run, 1)
        if failure is not None:
            raise failure
        return True

    return check


def _exists(over: Eval, bind: Binder, _: Eval | None, body: Eval | None) -> Eval:
    assert body is not None
    test = body

    def check(run: Run) -> Any:
        failure: CelError | None = None
        elements = iter(bind(run, over(run)))
        for _ in elements:
            try:
                value = test(run)
            except CostExceeded:
                raise
            except CelError as error:
                failure = failure or error
                value = None
            spend(run, 4)
            if value is True:
                spend(run, 4 if _more(elements) else 1)
                return True
            if value is not False and failure is None:
                failure = NoSuchOverload()
        spend(run, 1)
        if failure is not None:
            raise failure
        return False

    return check


def _exists_one(over: Eval, bind: Binder, _: Eval | None, body: Eval | None) -> Eval:
    assert body is not None
    test = body

    def check(run: Run) -> Any:
        count = 0
        for _ in bind(run, over(run)):
            value = test(run)
            if value is True:
                count += 1
                spend(run, 2)
            elif value is not False:
                raise NoSuchOverload
        spend(run, 2)
        return count == 1

    return check


def _map(over: Eval, bind: Binder, chosen: Eval | None, body: Eval | None) -> Eval:
    assert body is not None
    transform = body

    def make(run: Run) -> Any:
        out = []
        for _ in bind(run, over(run)):
            if chosen is not None and not _holds(chosen(run)):
                continue
            out.append(transform(run))
            spend(run, 12)
        spend(run, 1)
        return out

    return make


def _holds(value: Any) -> bool:
    if value.__class__ is not bool:
        raise NoSuchOverload
    return bool(value)


def _filter(over: Eval, bind: Binder, chosen: Eval | None, _: Eval | None) -> Eval:
    assert chosen is not None
    test = chosen

    def make(run: Run) -> Any:
        out: list[Any] = []
        held = over(run)
        elements: Iterator[Any] = iter(held if isinstance(held, list | dict) else ())
        for _ in bind(run, held):
            element = next(elements)
            if _holds(test(run)):
                out.append(element)
                spend(run, 13)
        spend(run, 1)
        return out

    return make


def sort_by(over: Eval, bind: Binder, body: Eval | None, *, typed: bool) -> Eval:
    assert body is not None
    key = body

    def make(run: Run) -> Any:
        held = over(run)
        if not isinstance(held, list):
            raise NoSuchOverload
        keys = []
        for _ in bind(run, held):
            keys.append(key(run))
            spend(run, 12)
        spend(run, 3 + (quadratic((held,), None) if typed else 1))
        return lists.sorted_by(held, keys)

    return make


def _transform_map(over: Eval, bind: Binder, chosen: Eval | None, body: Eval | None) -> Eval:
    assert body is not None
    transform = body

    def make(run: Run) -> Any:
        out: dict[Any, Any] = {}
        held = over(run)
        keys = iter(held if isinstance(held, dict) else range(len(held)) if isinstance(held, list) else ())
        for _ in bind(run, held):
            key = next(keys)
            if chosen is not None and not _holds(chosen(run)):
                continue
            out[key] = transform(run)
            spend(run, 3)
        spend(run, 1)
        return out

    return make


def _transform_entry(over: Eval, bind: Binder, chosen: Eval | None, body: Eval | None) -> Eval:
    assert body is not None
    transform = body

    def make(run: Run) -> Any:
        out: dict[Any, Any] = {}
        for _ in bind(run, over(run)):
            if chosen is not None and not _holds(chosen(run)):
                continue
            entries = transform(run)
            if not isinstance(entries, dict):
                raise NoSuchOverload
            for key, value in entries.items():
                if has_key(out, key):
                    raise CelError(f"insert failed: key {show_key(key)} already exists")
                out[key] = value
            spend(run, 2)
        spend(run, 1)
        return out

    return make


MACROS: dict[str, Any] = {
    "all": _all,
    "exists": _exists,
    "exists_one": _exists_one,
    "existsOne": _exists_one,
    "map": _map,
    "transformList": _map,
    "filter": _filter,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entry,
}
