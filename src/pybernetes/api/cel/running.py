"""One evaluation of a program: the values of its variables, and the budget that it spends (see ``program``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .values import CelError


class CostExceeded(CelError):
    """The budget is spent."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class Run:
    """One evaluation: values of variables by slot, the cost so far, the limit."""

    __slots__ = ("cost", "limit", "slots")

    def __init__(self, slots: list[Any], limit: int) -> None:
        self.slots = slots
        self.limit = limit
        self.cost = 0


Eval = Callable[[Run], Any]


class _Missing:
    __slots__ = ()


MISSING: Any = _Missing()
"""A variable that has no value."""


def spend(run: Run, cost: int) -> None:
    run.cost += cost
    if run.cost > run.limit:
        raise CostExceeded
