"""``docs/commands.md``, written from the commands themselves: ``python -m pybernetes.cli.reference docs/commands.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

HEAD = """# Commands and flags

Written by `python -m pybernetes.cli.reference docs/commands.md` from the commands themselves; do not edit it. The pages of the
components say what the flags mean together.
"""
NO_VALUES = (None, "", (), False)


def commands(group: click.Group, name: str = "p8s") -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, by its full name."""
    context = click.Context(group)
    for child in group.list_commands(context):
        command = group.get_command(context, child)
        if command is None:
            continue
        yield f"{name} {child}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {child}")


def flags(command: click.Command) -> Iterator[tuple[str, str]]:
    """(flag, what it says) of each option that is shown."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            names = ", ".join(f"`{n}`" for n in (*parameter.opts, *parameter.secondary_opts))
            yield names, " ".join((parameter.help or "").split()) + _default(parameter)


def _default(option: click.Option) -> str:
    value = option.default
    if callable(value) or any(value is n or value == n for n in NO_VALUES) or isinstance(value, bool):
        return ""
    shown = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return "" if "Sentinel" in shown or "UNSET" in shown else f" Default: `{shown}`."


def page(group: click.Group) -> str:
    parts = [HEAD]
    for name, command in commands(group):
        arguments = " ".join(
            p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)
        )
        text = " ".join((command.help or "").split())
        parts.append(f"## {f'{name} {arguments}'.strip()}\n\n{text}\n")
        rows = [f"- {flag}: {words}" for flag, words in flags(command)]
        if rows:
            parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def main() -> None:
    from pybernetes.cli.main import cli

    text = page(cli)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        click.echo(text)


if __name__ == "__main__":
    main()
