"""Each lack is one line with its remedy, found before anything was changed."""

import socket

import pytest

from pybernetes.cluster import preflight
from pybernetes.cluster.layout import ClusterError, Layout


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"port {port} is in use") as refused:
            preflight.check_ports([port])
    assert "--api-port" in refused.value.remedy


def test_missing_programs_name_their_packages(monkeypatch):
    monkeypatch.setattr(preflight, "PROGRAMS", {"no-such-program": "some-package", "sh": "dash"})
    with pytest.raises(ClusterError, match="missing: some-package") as refused:
        preflight.check_programs()
    assert refused.value.remedy.startswith("apt-get install some-package")


def test_not_root(monkeypatch):
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="needs root"):
        preflight.check_root()


def test_too_little_space(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "MINIMUM_FREE_BYTES", 1 << 60)
    with pytest.raises(ClusterError, match="MiB free"):
        preflight.check_space(Layout.of(tmp_path / "not" / "yet"))
