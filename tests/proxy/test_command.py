"""``p8s proxy``: flags, configuration file, cleanup."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from pybernetes.proxy.command import endpoint, merged, proxy

from .lab import Lab, missing

FLAGS = {
    "config_file": "",
    "kubeconfig": "",
    "hostname_override": "",
    "proxy_mode": "",
    "cluster_cidr": "",
    "healthz_bind_address": "",
    "metrics_bind_address": "",
}


def test_flags_go_before_the_file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "kind: KubeProxyConfiguration\nmode: nftables\nclusterCIDR: 10.1.0.0/16\nhostnameOverride: a\n"
        "clientConnection: {kubeconfig: /k}\n"
    )
    values = merged({**FLAGS, "config_file": str(file), "hostname_override": "b"})
    assert (values["cluster_cidr"], values["hostname_override"], values["kubeconfig"]) == ("10.1.0.0/16", "b", "/k")


def test_bad_values_are_one_line(tmp_path):
    with pytest.raises(click.ClickException, match="choose one of nftables, iptables"):
        merged({**FLAGS, "proxy_mode": "ipvs"})
    with pytest.raises(click.ClickException, match="no KubeProxyConfiguration"):
        file = tmp_path / "config.yaml"
        file.write_text("kind: Pod\n")
        merged({**FLAGS, "config_file": str(file)})
    assert "--kubeconfig is needed" in CliRunner().invoke(proxy, []).output


def test_addresses():
    assert endpoint("", "0.0.0.0", 1) == ("0.0.0.0", 1)
    assert endpoint("127.0.0.1:0", "0.0.0.0", 1) == ("127.0.0.1", 0)
    assert endpoint(":5", "0.0.0.0", 1) == ("0.0.0.0", 5)
    with pytest.raises(click.ClickException):
        endpoint("a:b", "", 1)


@pytest.mark.network
@pytest.mark.root
@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
def test_cleanup_leaves_nothing_and_touches_nothing_else():
    with Lab() as lab:
        node = lab.node(0)
        for table in ("p8s_services", "p8s_policies", "theirs"):
            node.run("nft", "add", "table", "ip", table)
        for _ in range(2):
            node.run(sys.executable, "-m", "pybernetes.cli.main", "proxy", "--cleanup")
        assert node.run("nft", "list", "tables").split() == ["table", "ip", "theirs"]
