"""Kinds of values that flags of several components take. Only command modules import this: it needs click."""

from __future__ import annotations

from typing import Any

import click


class Duration(click.ParamType[float]):
    """Go's: ``40s``, ``5m0s``, ``1h30m``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        from ..api.schema.scalars import parse_duration

        try:
            return parse_duration(value) / 1e9
        except ValueError as failure:
            self.fail(str(failure), param, context)


DURATION = Duration()


def boolean(name: str, *parameter: str, default: bool | None, help: str, **more: Any) -> Any:
    """A flag as Go has them: ``--name``, ``--name=true`` and ``--name=false``. ``parameter``: the function's, if not the flag's own name."""
    return click.option(name, *parameter, is_flag=False, flag_value=True, type=bool, default=default, help=help, **more)
