"""``p8s join``: a network namespace stands for the other machine, with a link to this one and nothing else of it."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.proxy.lab import Place

from pybernetes.cluster.layout import Layout

from .conftest import P8S, RealCluster, make_web_image
from .network import Pods
from .test_network import get

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: web}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{name: web, image: "web:1"}}]
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Elsewhere:
    """The other machine."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "other"
        self.name = f"p8sjoin{os.getpid()}"
        self.link, second = f"p8sj{os.getpid() % 10**6}", os.getpid() % 200 + 20
        self.here, self.address = f"172.31.{second}.1", f"172.31.{second}.2"
        ip("netns", "add", self.name)
        ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("addr", "add", f"{self.here}/24", "dev", self.link)
        ip("link", "set", self.link, "up")
        for command in (
            ["link", "set", "lo", "up"],
            ["addr", "add", f"{self.address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", self.here],
        ):
            ip("-n", self.name, *command)

    def run(self, *argv, check=True):
        # Not ``ip netns exec``, which gives every command mounts of its own: a machine's programs see the same.
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.name}", *argv], capture_output=True, text=True, timeout=120
        )  # fmt: skip
        logs = "".join(p.read_text()[-2000:] for p in (self.data / "logs").glob("*.log")) if check else ""
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}{logs}"
        return done

    def p8s(self, *arguments, check=True):
        return self.run(*P8S, *arguments, "--data-dir", str(self.data), check=check)

    def close(self) -> None:
        self.p8s("down", "--purge", check=False)
        ip("netns", "delete", self.name)


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    directory = tmp_path_factory.mktemp("join")
    cluster, other = RealCluster(directory), Elsewhere(directory)
    try:
        cluster.up("--nodes", "1")
        yield cluster, other
    finally:
        other.close()
        cluster.p8s("down", "--purge")


def test_who_does_not_know_enough_stays_out(machines):
    cluster, other = machines
    server = f"https://{other.here}:{cluster.port}"
    words = cluster.p8s("token", "create", "--ttl", "1h", "--description", "mine", "--server", server).stdout.split()
    assert words[:3] == ["p8s", "join", server]
    token, digest = words[4], words[6]
    listed = cluster.p8s("token", "list").stdout
    assert token in listed and "mine" in listed
    pin = ("--discovery-token-ca-cert-hash", digest)
    for arguments, complaint in (
        ((server, "--token", token), "--discovery-token-ca-cert-hash is missing"),
        ((server, "--token", token, pin[0], "sha256:" + "0" * 64), "the cluster's authority has the hash"),
        ((server, "--token", token[:7] + "0" * 16, *pin), "is not signed with this token"),
        ((server, "--token", "abc", *pin), "not of the form"),
        ((f"https://{other.here}:1", "--token", token, *pin), "cannot ask"),
        ((server, "--token", token, *pin, "--node-name", "node-0"), "a node 'node-0' is there already"),
    ):
        refused = other.p8s("join", *arguments, check=False)
        assert refused.returncode == 1 and complaint in refused.stderr and refused.stderr.count("\n") == 1
    cluster.p8s("token", "delete", token)
    assert token not in cluster.p8s("token", "list").stdout
    assert not (other.data / "nodes").exists(), "whoever is refused has left nothing behind"


def test_a_machine_joins_and_pods_meet(machines, tmp_path):
    cluster, other = machines
    command = cluster.p8s("token", "create", "--server", f"https://{other.here}:{cluster.port}").stdout.split()
    joined = other.p8s(*command[1:], "--node-name", "elsewhere")
    assert "This machine is node elsewhere." in joined.stdout
    cluster.kubectl("wait", "--for=condition=Ready", "node/elsewhere", "--timeout=30s")
    image = str(make_web_image(tmp_path, "web:1", "version 1\n"))
    cluster.p8s("image", "load", image)
    other.p8s("image", "load", image)
    texts = (POD.format(name=n, node=node) for n, node in (("near", "node-0"), ("far", "elsewhere")))
    cluster.kubectl("create", "-f", "-", stdin="---".join(texts))
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    pods = Pods(cluster)
    try:
        pods.load("default")
        near, far = pods.places["default/near"], pods.places["default/far"]
        for place in (near, far):
            place.serve(7000)
        assert near.ask(far.address, 7000) == f"{far.name} {near.address}"
        assert far.ask(near.address, 7000) == f"{near.name} {far.address}"
        cluster.kubectl("expose", "pod", "near", "--name=web", "--port=80")
        address = cluster.kubectl("get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
        deadline = time.monotonic() + 10
        while get(far, address) != "version 1":
            assert time.monotonic() < deadline
        # The API server reaches the kubelet there, and pods there the API server and their own node's DNS.
        assert "version 1" in cluster.kubectl(
            "exec", "far", "--", "wget", "-qO-", "http://web.default.svc.cluster.local"
        )
        kubernetes = cluster.kubectl("get", "svc", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
        with far.inside():
            far.lab.socket("tcp").connect((kubernetes, 443))
        outside = Place(pods, "elsewhere", other.address, Path(f"/run/netns/{other.name}"))
        assert get(outside, near.address) == "version 1"
    finally:
        pods.close()


def test_it_comes_back_after_a_restart_and_leaves_nothing(machines):
    cluster, other = machines
    other.p8s("down")
    assert "node elsewhere is Ready" in other.p8s("up").stdout
    other.p8s("down", "--purge")
    tag = Layout.of(other.data).tag
    links = json.loads(other.run("ip", "-json", "link").stdout)
    assert sorted(link["ifname"] for link in links) == ["eth0", "lo"]
    assert other.run("nft", "list", "ruleset").stdout == ""
    routes = json.loads(other.run("ip", "-json", "route").stdout)
    assert sorted(r["dst"] for r in routes) == sorted(["default", other.address.rpartition(".")[0] + ".0/24"])
    assert not Path("/run/pybernetes", tag).exists() and not other.data.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/pybernetes-{tag}*"))


def test_the_first_machine_may_have_no_nodes_of_its_own(machines, tmp_path):
    _, other = machines
    cluster = RealCluster(tmp_path)
    cluster.up("--nodes", "0")
    try:
        command = cluster.p8s("token", "create", "--server", f"https://{other.here}:{cluster.port}").stdout.split()
        assert "node alone is Ready" in other.p8s(*command[1:], "--node-name", "alone").stdout
        slices = ("get", "endpointslice", "kube-dns-nodes", "-n", "kube-system", "-o")
        cluster.kubectl_eventually(*slices, "jsonpath={.endpoints[0].addresses[0]}")
        assert cluster.kubectl(*slices, "jsonpath={.endpoints[*].addresses[0]}") == other.address
        other.p8s("down", "--purge")
    finally:
        cluster.p8s("down", "--purge")
