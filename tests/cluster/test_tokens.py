"""Bootstrap tokens and the signed description of a cluster."""

import base64

import pytest

from pybernetes.client import signing
from pybernetes.cluster import tokens
from pybernetes.cluster.layout import ClusterError, Settings
from pybernetes.controllers.bootstraptoken.decide import signed

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def authority():
    return signing.new_authority("kubernetes", now=NOW, lifetime=1e6).pem


def description(authority, token, expires=None):
    info = tokens.cluster_info("https://192.0.2.1:6443", authority)
    return signed(info, [tokens.token_secret(token, expires=expires)], NOW) or info


def test_a_token_vouches_for_the_authority(authority):
    token = tokens.new_token()
    info = description(authority, token)
    assert tokens.verified_authority(info, token, []) == authority
    assert tokens.verified_authority(info, token, [tokens.public_key_hash(authority)]) == authority
    assert tokens.join_command("https://a", token, authority).endswith(tokens.public_key_hash(authority))


def test_whoever_changes_the_description_is_found_out(authority):
    token, other = tokens.new_token(), signing.new_authority("kubernetes", now=NOW, lifetime=1e6).pem
    info, forged = description(authority, token), description(other, token)
    with pytest.raises(ClusterError, match="not signed with this token"):
        tokens.verified_authority({"data": {**info["data"], "kubeconfig": forged["data"]["kubeconfig"]}}, token, [])
    with pytest.raises(ClusterError, match="has the hash"):
        tokens.verified_authority(forged, token, [tokens.public_key_hash(authority)])
    with pytest.raises(ClusterError, match="does not know the token"):
        tokens.verified_authority(info, "abcdef.0123456789abcdef", [])
    with pytest.raises(ClusterError, match="does not know the token"):
        tokens.verified_authority(description(authority, token, expires=NOW - 1), token, [])


@pytest.mark.parametrize(
    "text", ["a", "x: 1", "clusters: []", "clusters: [{cluster: {certificate-authority-data: '!'}}]"]
)
def test_garbage_that_is_signed_is_one_line(text):
    token = tokens.new_token()
    info = {"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": text}}
    info = signed(info, [tokens.token_secret(token, expires=None)], NOW)
    with pytest.raises(ClusterError, match="cannot be read"):
        tokens.verified_authority(info, token, [])


def test_a_node_hears_of_the_networks():
    settings = Settings(nodes=2, pod_cidr="10.9.0.0/16", network="routes", proxy_mode="iptables")
    config = tokens.node_config(settings, "10.96.0.10")
    fields = tokens.settings_from(config, node="n", address="192.0.2.7", server="https://a:1")
    joined = Settings(**fields)
    assert (joined.pod_cidr, joined.network, joined.proxy_mode) == ("10.9.0.0/16", "routes", "iptables")
    assert joined.node_names == ("n",) and joined.node_cidr == settings.node_cidr
    with pytest.raises(ClusterError, match="lacks"):
        tokens.settings_from({"data": {}}, node="n", address="", server="")
    # Nodes that are all elsewhere need no way to the first machine's bridge.
    assert tokens.node_config(Settings(nodes=0), "")["data"]["nodeCIDR"] == ""


def test_a_secret_reads_back():
    secret = tokens.token_secret("abcdef.0123456789abcdef", expires=NOW, description="for the shed")
    data = tokens.read_secret(secret)
    assert data["description"] == "for the shed" and data["expiration"].startswith("2027")
    assert base64.b64decode(secret["data"]["token-id"]) == b"abcdef"
    with pytest.raises(ClusterError):
        tokens.token_secret("abc", expires=None)
