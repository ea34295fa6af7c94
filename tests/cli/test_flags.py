"""Upstream's flags: each of kube-apiserver's, kube-controller-manager's and kube-scheduler's is here, or named as one that is not."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pybernetes.cli.main import cli
from pybernetes.cli.reference import commands

DOCS = Path(__file__).parents[2] / "docs"
ALL = dict(commands(cli))
UPSTREAM = {
    name: set(flags.split())
    for name, flags in re.findall(
        r"^# kube-(\S+) .*\n((?:--\S+\n)+)", (Path(__file__).parent / "upstream_flags.txt").read_text(), re.MULTILINE
    )
}


def test_three_programs_are_compared():
    assert list(UPSTREAM) == ["apiserver", "controller-manager", "scheduler"]
    assert all(len(flags) > 50 for flags in UPSTREAM.values())


@pytest.mark.parametrize("name", UPSTREAM)
def test_every_flag_of_upstream_is_accounted_for(name):
    command = ALL[f"p8s {name}"]
    here = {opt for p in command.params for opt in p.opts}
    assert UPSTREAM[name] - here == set(command.upstream)


@pytest.mark.parametrize("name", UPSTREAM)
def test_what_is_not_here_stands_in_the_docs(name):
    section = (DOCS / "flags.md").read_text().partition(f"## kube-{name}\n")[2].partition("\n## ")[0]
    command = ALL[f"p8s {name}"]
    assert set(re.findall(r"`(--[a-z0-9-]+)`", section)) >= set(command.upstream)


@pytest.mark.parametrize("name", UPSTREAM)
@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--nonsense=1", "Error: unknown flag: --nonsense"),
        ("--vmodule=x=1", "Error: the flag --vmodule of kube-{name} is not implemented here (docs/flags.md)"),
        ("--secure-port=x", "Error: Invalid value for '--secure-port': 'x' is not a valid integer range."),
    ],
)
def test_a_flag_that_cannot_be_taken_is_one_line(name, flag, line):
    result = CliRunner().invoke(cli, [name, flag])
    assert result.exit_code != 0
    assert result.output.strip().splitlines() == [line.format(name=name)]


@pytest.mark.parametrize("name", UPSTREAM)
def test_the_version_is_told(name):
    result = CliRunner().invoke(cli, [name, "--version"])
    assert (result.exit_code, result.output) == (0, "Kubernetes v1.36.2\n")


@pytest.mark.parametrize("name", UPSTREAM)
def test_flags_without_effect_take_what_upstream_takes(name):
    command = ALL[f"p8s {name}"]
    idle = [p.opts[0] for p in command.params if isinstance(p, click.Option) and (p.help or "").startswith("No effect")]
    assert len(idle) > 10
    given = [f"{flag}=true" for flag in idle] + ["--profiling", "--feature-gates=A=true", "--feature-gates=B=false"]
    needed = ["--kubeconfig=/nowhere"] if name != "apiserver" else []
    command.make_context(name, [*given, *needed])  # raises where one is refused
