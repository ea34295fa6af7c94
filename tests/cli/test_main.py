"""The command line: help is quick and complete, errors are one line."""

import subprocess
import sys

import click
import pytest

from pybernetes.cli.main import COMMANDS, main
from pybernetes.cli.main import cli as GROUP


def p8s(*arguments):
    return subprocess.run([sys.executable, "-m", "pybernetes.cli.main", *arguments], capture_output=True, text=True)


def test_help_names_every_command():
    shown = p8s("--help").stdout
    assert [name for name in COMMANDS if name not in shown] == []


def test_help_imports_nothing_heavy():
    script = "import sys; sys.argv = ['p8s']; import pybernetes.cli.main; print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert not [heavy for heavy in ("'grpc'", "'numpy'", "'cryptography'", "'yaml'", "'asyncio'") if heavy in modules]


def test_unknown_command_is_one_line_and_exit_2():
    done = p8s("upp")
    assert done.returncode == 2
    assert "No such command 'upp'" in done.stderr


def test_a_persons_error_is_one_line_with_its_remedy(tmp_path, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["kubeconfig", "--data-dir", str(tmp_path)])
    assert leaving.value.code == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "does not exist; start a cluster with `p8s up`" in shown


def test_down_where_nothing_runs_says_so(tmp_path):
    done = p8s("down", "--data-dir", str(tmp_path))
    assert done.returncode == 0
    assert "No cluster was running" in done.stdout


def test_status_where_nothing_runs(tmp_path):
    assert p8s("status", "--data-dir", str(tmp_path)).returncode == 3


def test_log_names_do_not_escape(tmp_path):
    done = p8s("logs", "../../etc/passwd", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "no log of" in done.stderr


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "version"])
def test_every_command_is_there_and_has_help(name, capsys):
    main([name, "--help"])
    assert f"Usage: p8s {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ("apiserver", "scheduler", "controller-manager", "kubelet", "proxy"))
def test_components_switches_are_written_as_go_has_them(name):
    command = GROUP.get_command(click.Context(GROUP), name)
    options = [p for p in command.params if isinstance(p, click.Option)]
    needed = [f"{o.opts[0]}=x" for o in options if o.required]
    switches = [o for o in options if isinstance(o.type, click.types.BoolParamType) and not o.callback]
    assert switches
    for switch in switches:
        flag = switch.opts[0]
        for text, expected in (("", True), ("=true", True), ("=false", False), ("=1", True), ("=F", False)):
            parsed = command.make_context(name, [flag + text, *needed]).params
            assert parsed[switch.name] is expected, flag
        with pytest.raises(click.ClickException):
            command.make_context(name, [f"{flag}=maybe", *needed])
