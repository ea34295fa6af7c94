"""Data directories: what is refused, and that refusing changes nothing."""

import fcntl
import os
import threading

import pytest

from pybernetes.cluster import lifecycle
from pybernetes.cluster.layout import ClusterError, Layout, Settings
from pybernetes.cluster.lifecycle import settings_for


def test_a_fresh_directory_is_made_and_accepted_again(tmp_path):
    layout = Layout.of(tmp_path / "data")
    layout.check_version()
    layout.create()
    layout.check_version()
    assert layout.pki.is_dir()


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ClusterError, match="not empty and not a Pybernetes data directory"):
        Layout.of(tmp_path).check_version()
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_another_data_version_is_refused(tmp_path):
    layout = Layout.of(tmp_path)
    layout.create()
    (tmp_path / "version").write_text("99\n")
    with pytest.raises(ClusterError, match="data version '99'"):
        layout.check_version()


def test_damaged_settings_are_refused(tmp_path):
    layout = Layout.of(tmp_path)
    layout.create()
    layout.settings_file.write_text("{not json")
    with pytest.raises(ClusterError, match="damaged"):
        Settings.load(layout)
    layout.settings_file.write_text('{"colour": "red"}')
    with pytest.raises(ClusterError, match="damaged"):
        Settings.load(layout)


def test_settings_last_and_networks_cannot_change(tmp_path):
    layout = Layout.of(tmp_path)
    layout.create()
    Settings(nodes=3, pod_cidr="10.1.0.0/16").save(layout)
    assert settings_for(layout, {"nodes": None, "api_port": 7000}).nodes == 3
    with pytest.raises(ClusterError, match="other networks"):
        settings_for(layout, {"pod_cidr": "10.2.0.0/16"})


def test_two_directories_have_two_tags(tmp_path):
    assert Layout.of(tmp_path / "a").tag != Layout.of(tmp_path / "b").tag


def test_registries_are_configured_per_cluster_before_the_machine():
    layout = Layout.of("/somewhere")
    assert layout.registry_hosts == "/somewhere/registries:/etc/containerd/certs.d"


@pytest.mark.root
def test_clusters_that_come_up_at_once_choose_their_networks_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(lifecycle, "RUN_ROOT", tmp_path)
    inside, entered = threading.Event(), []

    def second():
        inside.wait()
        with lifecycle.alone_on_machine():
            entered.append("second")

    other = threading.Thread(target=second)
    other.start()
    with lifecycle.alone_on_machine():
        inside.set()
        directory = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(directory)
        entered.append("first")
    other.join(5)
    assert entered == ["first", "second"] and list(tmp_path.iterdir()) == []
