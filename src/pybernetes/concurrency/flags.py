"""Kinds of values that flags of several components take. Only command modules import this: it needs click."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .. import KUBERNETES_VERSION


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


IGNORED = {
    "--contention-profiling": "Go's profiles have no place in Python",
    "--disable-http2-serving": "it speaks HTTP/1.1 only",
    "--feature-gates": "gates are not switched here",
    "--http2-max-streams-per-connection": "it speaks HTTP/1.1 only",
    "--log-flush-frequency": "each line is written at once",
    "--log-json-info-buffer-size": "each line is written at once",
    "--log-json-split-stream": "all lines go to standard error",
    "--log-text-info-buffer-size": "each line is written at once",
    "--log-text-split-stream": "all lines go to standard error",
    "--profiling": "Go's profiles have no place in Python",
    "--show-hidden-metrics-for-version": "no metric is hidden",
}
"""Flags of all of upstream's components that change nothing here, and why."""


class Component(click.Command):
    """A command that is started by scripts: what is wrong with its flags is one line, as upstream's programs say it."""

    upstream: frozenset[str] = frozenset()
    """Flags of the program that it stands for which are not here."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as failure:
            name = failure.option_name
            if name in self.upstream:
                words = f"the flag {name} of kube-{self.name} is not implemented here (docs/flags.md)"
                raise click.ClickException(words) from failure
            close = f" (did you mean {failure.possibilities[0]}?)" if failure.possibilities else ""
            raise click.ClickException(f"unknown flag: {name}{close}") from failure
        except click.BadParameter as failure:
            raise click.ClickException(failure.format_message()) from failure


def logging_format() -> Any:
    return click.option(
        "--logging-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
        help="How lines are written to standard error.",
    )  # fmt: skip


def version_flag() -> Any:
    """``--version`` as upstream's programs answer it."""

    def show(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value and not context.resilient_parsing:
            click.echo(f"Kubernetes {KUBERNETES_VERSION}")
            context.exit()

    return click.option(
        "--version", is_flag=False, flag_value="true", default=None, is_eager=True, expose_value=False, callback=show,
        help="Print the version and end.",
    )  # fmt: skip


def ignored(flags: Mapping[str, str]) -> list[Any]:
    """Flags that are taken so that a manifest of upstream's works unchanged, each with why it has no effect."""
    return [
        click.option(
            name, is_flag=False, flag_value="true", default=None, multiple=True, expose_value=False,
            help=f"No effect: {why}.",
        )
        for name, why in flags.items()
    ]  # fmt: skip
