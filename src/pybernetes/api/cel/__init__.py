"""CEL, the Common Expression Language, as a v1.36 server has it: its syntax, types, libraries and cost limits.

``Environment(variables).compile(text)`` gives a ``Program``; ``rules`` checks and runs the validation rules of custom
resources. Everything is pure: values in, values out, no clock and no I/O. Expressions are hostile input: parsing is
bounded by length and depth, patterns run on RE2, evaluation by cost.
"""

from __future__ import annotations

from .environment import (
    PER_CALL_LIMIT,
    RUNTIME_BUDGET,
    CelError,
    CompileError,
    CostExceeded,
    Environment,
    Program,
    dynamic,
)

__all__ = [
    "PER_CALL_LIMIT",
    "RUNTIME_BUDGET",
    "CelError",
    "CompileError",
    "CostExceeded",
    "Environment",
    "Program",
    "dynamic",
]
