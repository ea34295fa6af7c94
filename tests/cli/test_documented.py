"""Nothing of the command line is without a word: every command and flag has help, and stands in ``docs/``."""

from pathlib import Path

import click
import pytest

from pybernetes.cli.main import cli
from pybernetes.cli.reference import commands, flags, page

DOCS = Path(__file__).parents[2] / "docs"
ALL = dict(commands(cli))


@pytest.fixture(scope="module")
def text():
    return (DOCS / "commands.md").read_text()


@pytest.mark.parametrize("name", ALL)
def test_commands_and_flags_stand_in_the_docs(name, text):
    missing = [] if f"## {name}" in text else [name]
    _, _, section = text.partition(f"## {name}")
    section = section.partition("\n## ")[0]
    missing += [flag for flag, _ in flags(ALL[name]) if flag not in section]
    assert not missing, "run: python -m pybernetes.cli.reference docs/commands.md"


@pytest.mark.parametrize("name", ALL)
def test_every_flag_has_help(name):
    options = [p for p in ALL[name].params if isinstance(p, click.Option) and not p.hidden]
    assert [o.opts for o in options if not o.help and o.name != "help"] == []


def test_the_page_is_of_this_state(text):
    known = {f"## {name}" for name in ALL}
    stale = [
        line for line in text.splitlines() if line.startswith("## ") and not any(line.startswith(k) for k in known)
    ]
    assert stale == []
    assert page(cli).startswith("# Commands and flags")
