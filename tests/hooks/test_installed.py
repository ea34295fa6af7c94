"""Entry points of installed packages, found without the standard library's reader where there are none."""

import subprocess
import sys

from pybernetes.hooks import installed


def announce(directory, group, name="one"):
    info = directory / "plug-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = os:getcwd\n")


def test_what_a_package_announces_is_found(tmp_path, monkeypatch):
    assert installed.entry_points("pybernetes.test") == ()
    announce(tmp_path / "site", "pybernetes.test")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (found,) = installed.entry_points("pybernetes.test")
    assert found.name == "one" and callable(found.load())
    assert installed.entry_points("pybernetes.other") == ()


def test_an_archive_on_the_path_may_announce_anything(tmp_path):
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"PK\x05\x06" + bytes(18))
    assert installed._may_be_announced("pybernetes.test", [str(archive)])
    assert not installed._may_be_announced("pybernetes.test", [str(tmp_path / "missing")])


def test_an_api_server_starts_without_readers_that_it_does_not_need():
    """Each takes 15 to 30 ms to load: YAML, and the metadata of packages."""
    script = "import sys, pybernetes.apiserver.command; print(*(m for m in ('yaml', 'importlib.metadata') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
