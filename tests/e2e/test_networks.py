"""The other ways to join nodes: plain routes, and none, where the user brings a CNI plugin."""

import json

import pytest

from .conftest import RealCluster, make_web_image
from .network import Pods
from .test_network import POD, datagram


@pytest.fixture
def fresh(tmp_path):
    made = RealCluster(tmp_path)
    pods = Pods(made)
    yield made, pods
    pods.close()
    made.p8s("down", "--purge")


def two_pods(cluster, pods, directory, nodes=2):
    cluster.p8s("image", "load", str(make_web_image(directory, "web:1", "version 1\n")))
    texts = [POD.format(name=n, namespace="default", node=f"node-{i % nodes}", more="") for i, n in enumerate("ab")]
    cluster.kubectl("create", "-f", "-", stdin="---".join(texts))
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    pods.load("default")
    a, b = pods.places["default/a"], pods.places["default/b"]
    for place in (a, b):
        place.serve(7000)
        place.serve(7001, "udp")
    return a, b


def test_routes(fresh, tmp_path):
    cluster, pods = fresh
    cluster.up("--nodes", "2", "--network", "routes")
    a, b = two_pods(cluster, pods, tmp_path)
    assert a.ask(b.address, 7000) == f"{b.name} {a.address}"
    assert b.ask(a.address, 7000) == f"{a.name} {b.address}"
    # No header, so the whole of what the link carries.
    assert datagram(a, b.address, 7001, 1500 - 28) == "answered"
    assert datagram(a, b.address, 7001, 1500 - 27) == "too long"


def test_none_waits_for_a_plugin_of_the_users(fresh, tmp_path):
    """A bridge by hand: about the smallest network there is."""
    cluster, pods = fresh
    shown = cluster.up("--network", "none").stdout
    assert "with a CNI plugin of yours" in shown
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = [c for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready"]
    assert [c["status"] for c in ready] == ["False"]
    assert all("cni plugin not initialized" in c["message"] for c in ready)
    for node in nodes:
        directory = cluster.data / "nodes" / node["metadata"]["name"] / "cni"
        ipam = {"type": "host-local", "subnet": node["spec"]["podCIDR"], "dataDir": str(directory.parent / "theirs")}
        ipam["routes"] = [{"dst": "0.0.0.0/0"}]
        plugin = {"type": "bridge", "bridge": "theirs0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
        directory.mkdir(exist_ok=True)
        (directory / "05-theirs.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "theirs", "plugins": [plugin]})
        )
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
    a, b = two_pods(cluster, pods, tmp_path, nodes=1)
    assert a.ask(b.address, 7000) == f"{b.name} {a.address}"
    assert a.ask(a.address, 7000).split()[0] == a.name
