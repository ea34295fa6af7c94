"""The CEL environment of device selectors: ``device`` with its driver, attributes and capacity.

Specified by "Dynamic Resource Allocation" and KEP-4381; names, bounds and words of refusals are those of
``k8s.io/dynamic-resource-allocation/cel`` with consumable capacity, and without attributes that are lists.
"""

from __future__ import annotations

from functools import cache

from . import celtypes as t
from .celtypes import ObjectField, Type
from .environment import CompileError, Environment, Program, ProgramError
from .estimate import estimate
from .selftypes import Declared

MAX_COST = 1_000_000
_DRIVER, _DOMAIN, _IDENTIFIER, _VALUE, _ENTRIES = 63, 63, 32, 64, 32


class SelectorError(ValueError):
    """A selector that cannot be used; the message says why, in upstream's words."""


class TooComplex(SelectorError):
    """A selector that may cost too much for the largest device there can be."""


@cache
def _device() -> Declared:
    """The variable ``device`` with the bounds of its parts, from which the cost is estimated."""
    quantity = t.opaque("kubernetes.Quantity")
    fields = {
        "driver": Declared(t.STRING, _DRIVER),
        "allowMultipleAllocations": Declared(t.BOOL, 1),
        "attributes": _by_domain(Declared(t.ANY, _VALUE)),
        "capacity": _by_domain(Declared(quantity, 1)),
    }
    type_ = t.object_type("kubernetes.DRADevice", {n: ObjectField(d.type, n) for n, d in fields.items()})
    return Declared(type_, fields=fields)


def _by_domain(value: Declared) -> Declared:
    inner = _map(_IDENTIFIER, value)
    return _map(_DOMAIN, inner)


def _map(longest_key: int, value: Declared) -> Declared:
    return Declared(t.map_of(t.STRING, value.type), _ENTRIES, item=value, key=Declared(t.STRING, longest_key))


@cache
def _environment() -> Environment:
    variables: dict[str, Type] = {"device": _device().type}
    return Environment(variables, bindings=True)


def compile_selector(expression: str) -> Program:
    """A selector's program, which gives a bool for a device. Raises SelectorError."""
    try:
        program = _environment().compile(expression)
    except ProgramError as failure:
        raise SelectorError(f"program instantiation failed: {failure}") from failure
    except CompileError as failure:
        raise SelectorError(f"compilation failed: {failure}") from failure
    if program.type.kind not in ("bool", "dyn"):
        raise SelectorError(f"must evaluate to bool or the unknown type, not {program.type}")
    if estimate(program.tree, _device()) > MAX_COST:
        raise TooComplex("too complex, exceeds cost limit")
    return program
