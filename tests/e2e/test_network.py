"""The network over three nodes, with real pods and real packets: pods, Services, DNS, policies, and what disturbs them."""

import errno
import ipaddress
import json
import os
import signal
import socket
import subprocess
import threading
import time

import dns.message
import dns.reversename
import pytest
from tests.proxy.policy_oracle import allowed
from tests.proxy.probing import measured, wrong

from pybernetes.cluster.layout import Layout

from .conftest import RealCluster, make_web_image
from .network import Here, Pods, node_place

IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
NAMESPACES = ("nx", "ny", "nz")
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{pod: {name}, app: web}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  {more}
  containers:
  - {{name: web, image: "web:1", ports: [{{name: http, containerPort: 80}}, {{name: high, containerPort: 81, protocol: UDP}}]}}
"""


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def net(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("net")
    cluster = RealCluster(directory)
    cluster.up("--nodes", "3", "--proxy-mode", request.param)
    pods = Pods(cluster)
    try:
        images = [make_web_image(directory, f"web:{v}", f"version {v}\n") for v in (1, 2)]
        cluster.p8s("image", "load", *map(str, images))
        yield Net(cluster, pods, request.param)
    finally:
        pods.close()
        cluster.p8s("down", "--purge")


whatever_the_proxy = pytest.mark.parametrize("net", ["nftables"], indirect=True, scope="module")
"""For what does not depend on the proxy's mode: once is enough."""


class Net:
    """Nine pods ``a``, ``b``, ``c`` in three namespaces; those of one name share a node."""

    def __init__(self, cluster: RealCluster, pods: Pods, mode: str) -> None:
        self.cluster, self.pods, self.mode = cluster, pods, mode
        self.kubectl = cluster.kubectl
        self.tag = Layout.of(cluster.data).tag
        for namespace in NAMESPACES:
            self.kubectl("create", "namespace", namespace)
            self.kubectl("label", "namespace", namespace, f"ns={namespace}")
        texts = [
            POD.format(name=name, namespace=namespace, node=f"node-{number}", more=MORE.get(f"{namespace}/{name}", ""))
            for namespace in NAMESPACES
            for number, name in enumerate("abc")
        ]
        self.kubectl("create", "-f", "-", stdin="---".join(texts))
        for namespace in NAMESPACES:
            self.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", namespace, "--timeout=60s")
        pods.load(*NAMESPACES)
        self.node_addresses = {
            n["metadata"]["name"]: n["status"]["addresses"][0]["address"]
            for n in json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        }
        self.here = Here(pods)
        self.gateway = ipaddress.ip_network(f"{self.node_addresses['node-0']}/24", strict=False)[1]

    def pod(self, key: str):
        return self.pods.places[key]

    def node(self, name: str):
        return node_place(self.pods, self.tag, name, self.node_addresses[name])

    def apply(self, *objects) -> None:
        self.kubectl("apply", "-f", "-", stdin="\n".join(map(json.dumps, objects)))

    def until(self, found, wanted, seconds: float = 10):
        deadline = time.monotonic() + seconds
        while (last := found()) != wanted:
            assert time.monotonic() < deadline, f"{last!r} did not become {wanted!r}"
            time.sleep(0.05)

    def run_in(self, key: str, *argv: str) -> str:
        namespace, _, name = key.partition("/")
        return self.kubectl("exec", "-n", namespace, name, "--", *argv)

    def pid(self, component: str) -> int:
        lines = self.cluster.p8s("status").stdout.splitlines()
        return next(int(line.split()[1]) for line in lines if line.split()[0] == component)


MORE = {"nx/b": "hostname: bee\n  subdomain: swarm"}


def get(place, address: str, port: int = 80, timeout: float = 1.0) -> str:
    """The page of a web server as a place sees it, or what went wrong."""
    with place.inside():
        connection = place.lab.socket("tcp")
    with connection:
        connection.settimeout(timeout)
        try:
            connection.connect((address, port))
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = b""
            while chunk := connection.recv(4096):
                data += chunk
        except OSError as failure:
            return type(failure).__name__
    return data.partition(b"\r\n\r\n")[2].decode().strip()


def service(name, namespace="nx", **spec):
    spec = {"ports": [{"name": "http", "port": 80, "targetPort": 80}], "selector": {"app": "web"}, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


@whatever_the_proxy
def test_pods_reach_each_other_as_they_are(net):
    """One address a pod, no translation on any way, and packets as large as the link below allows."""
    addresses = [place.address for place in net.pods.places.values()]
    assert len(set(addresses)) == 9
    for place in net.pods.places.values():
        place.serve(7000)
    for source in net.pods.places.values():
        for target in net.pods.places.values():
            assert source.ask(target.address, 7000) == f"{target.name} {source.address}"
    near, far = net.pod("nx/a"), net.pod("nx/b")
    far.serve(7001, "udp")
    # The largest packet passes whole, one byte more is refused at the sender: nothing is cut on the way.
    headers = 28
    assert datagram(near, far.address, 7001, 1450 - headers) == "answered"
    assert datagram(near, far.address, 7001, 1450 - headers + 1) == "too long"


def datagram(place, address: str, port: int, size: int) -> str:
    """Sends one with "don't fragment"."""
    with place.inside():
        connection = place.lab.socket("udp")
    with connection:
        connection.settimeout(2)
        connection.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        connection.connect((address, port))
        try:
            connection.send(b"x" * size)
            return "answered" if connection.recv(100) else "empty"
        except TimeoutError:
            return "timeout"
        except OSError as failure:
            assert failure.errno == errno.EMSGSIZE
            return "too long"


def test_a_service_is_reached_from_everywhere(net):
    net.apply(service("web", type="LoadBalancer"))
    shown = {}

    def address():
        shown.update(json.loads(net.kubectl("get", "service", "web", "-n", "nx", "-o", "json")))
        return bool(shown["status"]["loadBalancer"].get("ingress"))

    net.until(address, True)
    cluster_ip, node_port = shown["spec"]["clusterIP"], shown["spec"]["ports"][0]["nodePort"]
    balancer = shown["status"]["loadBalancer"]["ingress"][0]["ip"]
    for place in (*net.pods.places.values(), net.here, net.node("node-2")):
        net.until(lambda place=place: get(place, cluster_ip), "version 1")
    for place in (net.pod("nx/a"), net.pod("nz/c"), net.here):
        assert get(place, balancer) == "version 1"
        for node in net.node_addresses.values():
            assert get(place, node, node_port) == "version 1"
    assert get(net.pod("nx/a"), cluster_ip, 81) != "version 1"
    assert _in(net.node("node-1"), "curl", "-s", "http://127.0.0.1:10249/proxyMode") == net.mode
    assert json.loads(_in(net.node("node-1"), "curl", "-s", "http://127.0.0.1:10256/healthz"))["healthy"]
    if net.mode == "iptables":
        shown = [line for line in _in(net.node("node-1"), "iptables-save").splitlines() if "nx/web:http" in line]
        assert len([line for line in shown if "-j KUBE-SEP-" in line]) == 3
        assert len([line for line in shown if "-j DNAT --to-destination" in line]) == 3


def _in(place, *argv: str) -> str:
    return subprocess.run(["nsenter", f"--net={place.namespace}", *argv], capture_output=True, text=True).stdout


def test_traffic_policies_and_affinity(net):
    """Each pod answers with its own name on port 7002, so it shows who was chosen."""
    for name in "abc":
        net.pod(f"nx/{name}").serve(7002)
    ports = [{"name": "who", "port": 7002, "targetPort": 7002}]
    net.apply(service("inner", ports=ports, internalTrafficPolicy="Local"))
    net.apply(service("outer", ports=ports, type="NodePort", externalTrafficPolicy="Local"))
    net.apply(service("sticky", ports=ports, sessionAffinity="ClientIP"))
    spec = {
        n: json.loads(net.kubectl("get", "svc", n, "-n", "nx", "-o", "json"))["spec"]
        for n in ("inner", "outer", "sticky")
    }
    for name, number in zip("abc", range(3), strict=True):
        client, inner = net.pod(f"ny/{name}"), spec["inner"]["clusterIP"]
        net.until(lambda c=client, a=inner: c.who(a, 7002, timeout=0.5), f"nx/{name}")
        assert {client.who(inner, 7002) for _ in range(5)} == {f"nx/{name}"}
        node_port = spec["outer"]["ports"][0]["nodePort"]
        node = net.node_addresses[f"node-{number}"]
        net.until(lambda n=node, p=node_port: net.here.who(n, p, timeout=0.5), f"nx/{name}")
        # The client's own address is kept.
        assert net.here.ask(node, node_port).split()[1] == str(net.gateway)
        assert len({client.who(spec["sticky"]["clusterIP"], 7002) for _ in range(8)}) == 1


def test_host_port_and_hairpin(net):
    text = POD.format(name="hp", namespace="nx", node="node-1", more="").replace("app: web", "app: hp")
    text = text.replace("containerPort: 80}", "containerPort: 80, hostPort: 18080}")
    net.kubectl("create", "-f", "-", stdin=text)
    net.kubectl("wait", "--for=condition=Ready", "pod/hp", "-n", "nx", "--timeout=60s")
    net.until(lambda: get(net.here, net.node_addresses["node-1"], 18080), "version 1")
    assert get(net.pod("nz/c"), net.node_addresses["node-1"], 18080) == "version 1"
    net.apply(service("self", selector={"app": "hp"}))
    address = net.kubectl("get", "svc", "self", "-n", "nx", "-o", "jsonpath={.spec.clusterIP}")
    own = Pods(net.cluster)
    own.load("nx", only="hp")
    net.until(lambda: get(own.places["nx/hp"], address), "version 1")
    assert get(own.places["nx/hp"], net.node_addresses["node-1"], 18080) == "version 1"
    net.kubectl("delete", "pod", "hp", "-n", "nx", "--now")
    net.until(lambda: get(net.here, net.node_addresses["node-1"], 18080), "ConnectionRefusedError")


@whatever_the_proxy
def test_names(net):
    net.apply(service("named"))
    net.apply(service("swarm", clusterIP="None", selector={"pod": "b"}))
    net.apply(
        service("alias", type="ExternalName", externalName="named.nx.svc.cluster.local", selector=None, ports=None)
    )
    client, server = (
        net.pod("nz/c"),
        net.kubectl("get", "svc", "kube-dns", "-n", "kube-system", "-o", "jsonpath={.spec.clusterIP}"),
    )

    def ask(name: str, kind: str) -> list[str]:
        query = dns.message.make_query(name, kind)
        with client.inside():
            connection = client.lab.socket("udp")
        with connection:
            connection.settimeout(2)
            connection.connect((server, 53))
            connection.send(query.to_wire())
            answer = dns.message.from_wire(connection.recv(4096))
        return sorted(text for found in answer.answer for text in (str(r) for r in found))

    address = net.kubectl("get", "svc", "named", "-n", "nx", "-o", "jsonpath={.spec.clusterIP}")
    bee = net.pod("nx/b").address
    net.until(lambda: ask("named.nx.svc.cluster.local", "A"), [address])
    net.until(lambda: ask("bee.swarm.nx.svc.cluster.local", "A"), [bee])
    assert ask("swarm.nx.svc.cluster.local", "A") == [bee]
    assert ask("_http._tcp.named.nx.svc.cluster.local", "SRV") == ["0 100 80 named.nx.svc.cluster.local."]
    assert ask("_http._tcp.swarm.nx.svc.cluster.local", "SRV") == ["0 100 80 bee.swarm.nx.svc.cluster.local."]
    assert ask(dns.reversename.from_address(bee).to_text(), "PTR") == ["bee.swarm.nx.svc.cluster.local."]
    assert ask(dns.reversename.from_address(address).to_text(), "PTR") == ["named.nx.svc.cluster.local."]
    assert ask("alias.nx.svc.cluster.local", "CNAME") == ["named.nx.svc.cluster.local."]
    assert ask(f"{bee.replace('.', '-')}.nx.pod.cluster.local", "A") == [bee]
    # As a program in a pod asks, by the search path of its own namespace.
    assert "version 1" in net.run_in("nx/a", "wget", "-qO-", "http://named")
    assert "version 1" in net.run_in("ny/a", "wget", "-qO-", "http://alias.nx")
    resolv = net.run_in("ny/a", "cat", "/etc/resolv.conf")
    assert f"nameserver {server}" in resolv and "search ny.svc.cluster.local svc.cluster.local cluster.local" in resolv
    assert "KUBERNETES_SERVICE_HOST=" in net.run_in("ny/a", "env")


def policy(namespace, name, selector=None, **spec):
    meta = {"namespace": namespace, "name": name}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta,
        "spec": {"podSelector": selector or {}, **spec},
    }


A, B = {"matchLabels": {"pod": "a"}}, {"matchLabels": {"pod": "b"}}
NS_Y = {"matchLabels": {"ns": "ny"}}
POLICIES = {
    "deny all of one namespace": [policy("nx", "deny", policyTypes=["Ingress", "Egress"])],
    "selectors, ports and names": [
        policy(
            "nx",
            "in",
            A,
            ingress=[{"from": [{"namespaceSelector": NS_Y, "podSelector": B}], "ports": [{"port": "http"}]}],
        ),
        policy("ny", "out", B, policyTypes=["Egress"], egress=[{"to": [{"namespaceSelector": {}, "podSelector": A}]}]),
        policy(
            "nz",
            "sctp",
            ingress=[{"ports": [{"protocol": "SCTP", "port": 80, "endPort": 81}, {"protocol": "UDP", "port": "high"}]}],
        ),
    ],
    "blocks with exceptions": [
        policy(
            "nx",
            "block",
            policyTypes=["Egress"],
            egress=[{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["NODE1"]}}]}],
        ),
        policy(
            "nz",
            "block",
            ingress=[
                {"from": [{"ipBlock": {"cidr": "NODE0"}}], "ports": [{"port": 80}, {"protocol": "UDP", "port": 81}]}
            ],
        ),
    ],
}


@whatever_the_proxy
def test_policies_as_a_matrix(net):
    """Every pod to every other by three protocols and two ports, against a table worked out from the objects alone."""
    served = {("TCP", 81), ("UDP", 80), ("UDP", 81), ("SCTP", 80), ("SCTP", 81)}  # TCP 80 is the container's
    for place in net.pods.places.values():
        for protocol, port in served:
            place.serve(port, protocol.lower())
    namespaces = {n: {"ns": n, "kubernetes.io/metadata.name": n} for n in NAMESPACES}
    ends = {
        key: {
            "namespace": pod["metadata"]["namespace"],
            "labels": pod["metadata"]["labels"],
            "address": pod["status"]["podIP"],
            "named": {"http": ("TCP", 80), "high": ("UDP", 81)},
        }
        for key, pod in net.pods.objects.items()
    }
    cidrs = {f"NODE{n}": net.kubectl("get", "node", f"node-{n}", "-o", "jsonpath={.spec.podCIDR}") for n in (0, 1)}
    for title, templates in POLICIES.items():
        text = json.dumps(templates)
        for word, cidr in cidrs.items():
            text = text.replace(word, cidr)
        policies = json.loads(text)
        net.apply(*policies)
        expected = {
            (a, b, protocol, port): allowed(policies, namespaces, ends[a], ends[b], protocol, port)
            for a in ends
            for b in ends
            for protocol, port in (*served, ("TCP", 80))
        }
        assert len(set(expected.values())) == 2, title
        net.until(lambda e=expected: wrong(e, measured(e, net.pod)), {})
        net.kubectl("delete", "networkpolicy", "--all", "-n", "nx")
        net.kubectl("delete", "networkpolicy", "--all", "-n", "ny")
        net.kubectl("delete", "networkpolicy", "--all", "-n", "nz")
    everything = dict.fromkeys(expected, True)
    net.until(lambda: wrong(everything, measured(everything, net.pod)), {})


class Load:
    """Asks a Service without pause from some places; ``failures`` has every request that was not answered."""

    def __init__(self, places, address: str, port: int = 80) -> None:
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(p, address, port)) for p in places]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, place, address, port) -> None:
        while not self._stop.is_set():
            found = get(place, address, port, timeout=5)
            if found.startswith("version"):
                self.answers[found] = self.answers.get(found, 0) + 1
            else:
                self.failures.append(f"{place.name}: {found}")


def deployment(version: str):
    container = {
        "name": "web",
        "image": f"web:{version}",
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
        # What every guide says: go on serving until the last proxy has heard of it.
        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "roll", "namespace": "nx"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "roll"}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "roll"}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
            },
        },
    }


@pytest.fixture(scope="module")
def rolling(net):
    net.apply(deployment("1"))
    net.apply(service("roll", selector={"app": "roll"}))
    net.kubectl("rollout", "status", "deployment/roll", "-n", "nx", "--timeout=60s")
    address = net.kubectl("get", "svc", "roll", "-n", "nx", "-o", "jsonpath={.spec.clusterIP}")
    net.until(lambda: get(net.pod("ny/a"), address), "version 1")
    return address


def test_a_rolling_update_loses_not_one_request(net, rolling):
    clients = [net.pod("ny/a"), net.pod("ny/b"), net.pod("ny/c"), net.here]
    with Load(clients, rolling) as load:
        net.until(lambda: load.answers.get("version 1", 0) > 50, True)
        net.apply(deployment("2"))
        net.kubectl("rollout", "status", "deployment/roll", "-n", "nx", "--timeout=60s")
        seen = load.answers.get("version 2", 0)
        net.until(lambda: load.answers.get("version 2", 0) > seen + 50, True)
    assert load.failures == []


@whatever_the_proxy
def test_agents_and_the_api_server_may_die_and_traffic_goes_on(net, rolling):
    clients = [net.pod("ny/a"), net.pod("ny/b"), net.here]
    with Load(clients, rolling) as load:
        # All agents, while endpoints change.
        net.kubectl("scale", "deployment/roll", "-n", "nx", "--replicas=4")
        for name in ("node-0", "node-1", "node-2", "apiserver"):
            os.kill(net.pid(name), signal.SIGKILL)
        net.cluster.kubectl_eventually("get", "--raw", "/readyz")
        net.cluster.kubectl_eventually("scale", "deployment/roll", "-n", "nx", "--replicas=3")
        net.cluster.kubectl_eventually("rollout", "status", "deployment/roll", "-n", "nx", "--timeout=30s")
    assert load.failures == []
    # And what changes now reaches the kernel of every node.
    net.apply(service("after", selector={"app": "web"}))
    address = net.kubectl("get", "svc", "after", "-n", "nx", "-o", "jsonpath={.spec.clusterIP}")
    for name in "abc":
        net.until(lambda n=name: get(net.pod(f"nz/{n}"), address), "version 1", 30)


def test_flushed_rules_come_back(net, rolling):
    for name, client in (("node-0", "ny/a"), ("node-2", "ny/c")):
        _in(net.node(name), "nft", "flush", "ruleset")
        net.until(lambda c=client: get(net.pod(c), rolling, timeout=0.3).startswith("version"), True)


@whatever_the_proxy
def test_a_node_cut_off_catches_up_when_it_heals(net):
    """Pods of the other nodes go on; what changed meanwhile is in its rules soon after the link is back."""
    net.apply(service("steady", selector={"app": "web", "pod": "a"}))
    steady = net.kubectl("get", "svc", "steady", "-n", "nx", "-o", "jsonpath={.spec.clusterIP}")
    net.until(lambda: get(net.pod("ny/b"), steady), "version 1")
    link = f"p8s{net.tag}n2"
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    try:
        with Load([net.pod("ny/a"), net.pod("ny/b")], steady) as load:
            assert get(net.pod("ny/c"), steady, timeout=0.3) == "TimeoutError"
            net.apply(service("meanwhile", selector={"app": "web", "pod": "a"}))
            net.until(lambda: load.answers.get("version 1", 0) > 50, True)
    finally:
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
    assert load.failures == []
    address = net.kubectl("get", "svc", "meanwhile", "-n", "nx", "-o", "jsonpath={.spec.clusterIP}")
    net.until(lambda: get(net.pod("ny/c"), address, timeout=0.5), "version 1", 60)
    assert get(net.pod("ny/a"), net.pod("nx/c").address) == "version 1"
